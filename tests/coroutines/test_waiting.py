"""Waits for time and for each other: `WaitQueue`, `sleep`, breaks and `Event`."""

import math
import threading

import pytest

from reactor import Cancelled, CancelScope, Event, Reactor, TaskGroup, move_on_after, run, sleep, spawn
from reactor.coroutines.scopes import current_task
from reactor.coroutines.waiting import STEPS_PER_TURN, WaitQueue, step, take_a_break
from tests.coroutines.programs import FakeReactor, now, simulate, tell, turns, within

# The queue of tasks.


def test_tasks_are_woken_first_come_first_served_in_the_next_turn():
    seen = []

    async def waiter(queue, name):
        await queue.wait()
        seen.append(name)

    async def main():
        queue = WaitQueue()
        async with TaskGroup() as group:
            for name in "abc":
                group.start_soon(waiter, queue, name)
            await turns(2)
            assert len(queue) == 3
            assert queue.wake() and queue.wake()
            assert len(queue) == 1 and seen == []
            await turns(1)
            assert seen == ["a", "b"]
            queue.wake()
        assert queue.wake() is False and len(queue) == 0

    simulate(main)
    assert seen == ["a", "b", "c"]


def test_all_are_woken_in_their_order():
    seen = []

    async def waiter(queue, name):
        await queue.wait()
        seen.append(name)

    async def main():
        queue = WaitQueue()
        queue.wake_all()
        async with TaskGroup() as group:
            for name in range(1000):
                group.start_soon(waiter, queue, name)
            await turns(2)
            queue.wake_all()
            assert len(queue) == 0

    simulate(main)
    assert seen == list(range(1000))


def test_a_task_that_is_cancelled_leaves_its_place():
    async def main():
        queue, scope, told = WaitQueue(), CancelScope(), []
        async with TaskGroup() as group:
            group.start_soon(within, scope, queue.wait)
            task = group.start_soon(queue.wait)
            await turns(2)
            scope.cancel()
            await turns(1)
            assert len(queue) == 1
            queue.wake()
            await turns(1)
            assert task.has_ended()
        return told

    simulate(main)


@pytest.mark.parametrize("order", ["wake, then cancel", "cancel, then wake"])
def test_a_wake_up_is_never_lost_when_its_task_is_cancelled_in_the_same_turn(order):
    """The first goes on or the second does: never both, and never none."""
    told = []

    async def main():
        queue, scope = WaitQueue(), CancelScope()
        async with TaskGroup() as group:
            group.start_soon(within, scope, first, queue)
            group.start_soon(second, queue)
            await turns(2)
            for action in (queue.wake, scope.cancel) if order.startswith("wake") else (scope.cancel, queue.wake):
                action()
            await turns(3)
            group.cancel()

    async def first(queue):
        await queue.wait()
        told.append("first")

    async def second(queue):
        await queue.wait()
        told.append("second")

    simulate(main)
    assert told == (["first"] if order.startswith("wake") else ["second"])


def test_what_passes_on_is_called_once_if_the_task_was_woken_and_not_otherwise():
    passed = []

    async def main():
        queue, woken, waiting = WaitQueue(), CancelScope(), CancelScope()
        async with TaskGroup() as group:
            group.start_soon(within, woken, queue.wait, lambda: passed.append("woken"))
            group.start_soon(within, waiting, queue.wait, lambda: passed.append("waiting"))
            await turns(2)
            woken.cancel()
            queue.wake()
            waiting.cancel()
            await turns(2)
            assert len(queue) == 0

    simulate(main)
    assert passed == ["woken"]


def test_a_doomed_task_takes_no_place():
    async def main():
        queue = WaitQueue()
        with CancelScope() as scope:
            scope.cancel()
            try:
                await queue.wait()
            finally:
                assert len(queue) == 0
        return scope.cancelled_caught

    assert simulate(main) is True


@pytest.mark.timeout(60)
def test_the_first_is_found_at_once_however_many_were_woken_before():
    """Not by passing over the places that are free by now. That would take minutes, and this takes half a second."""
    queue = WaitQueue()
    woken = []

    class Place:
        def __init__(self, number):
            self.number, self.task, self.call = number, self, None

        def wake(self):
            woken.append(self.number)

    for number in range(300_000):
        queue._places[Place(number)] = None
    queue.wake_all()
    assert woken == list(range(300_000))


# Time.


def test_sleep_is_over_at_its_time_and_never_earlier():
    async def main():
        times = []
        for seconds in (1, 0.25, 2.5):
            await sleep(seconds)
            times.append(now())
        return times

    assert simulate(main) == [1001.0, 1001.25, 1003.75]


@pytest.mark.parametrize("seconds", [0, -1, -math.inf])
def test_no_sleep_at_all_ends_in_the_next_turn(seconds):
    seen = []

    async def sleeper():
        seen.append("begun")
        await sleep(seconds)
        seen.append("on")

    with FakeReactor() as reactor:
        spawn(reactor, sleeper)
        reactor.run_once(0)
        assert seen == ["begun"]
        reactor.run_once(0)
        assert seen == ["begun", "on"]
        assert len(reactor.timers) == 0


def test_an_infinite_sleep_waits_until_it_is_cancelled():
    async def main():
        with move_on_after(900) as scope:
            await sleep(math.inf)
        return scope.cancelled_caught, now()

    assert simulate(main) == (True, 1900.0)


def test_what_is_no_time_is_refused():
    async def main():
        with pytest.raises(ValueError, match="NaN"):
            await sleep(math.nan)
        with pytest.raises(TypeError):
            await sleep("1")
        await sleep(1)
        return now()

    assert simulate(main) == 1001.0


def test_a_sleep_that_is_cancelled_leaves_no_timer():
    async def main():
        timers = current_task().reactor.timers
        with CancelScope() as scope:
            current_task().reactor.call_soon(scope.cancel)
            await sleep(100)
        assert len(timers) == 0
        with CancelScope() as scope:
            scope.cancel()
            try:
                await sleep(100)
            finally:
                assert len(timers) == 0

    simulate(main)


def test_a_sleep_whose_time_comes_in_the_turn_in_which_it_is_cancelled_comes_once():
    seen = []

    async def main():
        async with TaskGroup() as group:
            scope = CancelScope()
            group.start_soon(within, scope, sleep, 0)
            await turns(1)
            scope.cancel()
            await turns(3)
            seen.append(scope.cancelled_caught)

    simulate(main)
    assert seen == [False]  # it was woken first, and had left the block


# Breaks.


def test_step_says_when_a_break_is_due():
    async def main():
        answers = [step() for _ in range(STEPS_PER_TURN + 2)]
        with CancelScope() as scope:
            scope.cancel()
            step()
        return answers, scope.cancelled_caught

    assert simulate(main) == ([False] * STEPS_PER_TURN + [True, False], True)


def test_two_tasks_that_never_have_to_wait_share_the_loop():
    turn_of = []

    async def busy(name):
        for _ in range(3 * STEPS_PER_TURN):
            await take_a_break()
            if not turn_of or turn_of[-1] != name:
                turn_of.append(name)

    async def main():
        async with TaskGroup() as group:
            group.start_soon(busy, "a")
            group.start_soon(busy, "b")

    simulate(main)
    assert turn_of == list("ababab")


def test_a_wait_outside_a_task_is_refused():
    event = Event()
    for wait in (event.wait(), sleep(1), WaitQueue().wait()):
        with pytest.raises(RuntimeError, match="this needs a task"):
            wait.send(None)
    event.set()
    with pytest.raises(RuntimeError, match="this needs a task"):
        event.wait().send(None)


# Events.


def test_set_wakes_all_that_wait_and_later_waits_are_over_at_once():
    seen = []

    async def waiter(event, name):
        await event.wait()
        seen.append(name)

    async def main():
        event = Event()
        assert not event.is_set() and not event.is_awaited()
        async with TaskGroup() as group:
            for name in "abc":
                group.start_soon(waiter, event, name)
            await turns(2)
            assert event.is_awaited() and seen == []
            event.set()
            assert event.is_set() and not event.is_awaited() and seen == []
            await turns(1)
            assert seen == ["a", "b", "c"]
            event.set()
            iterations = current_task().reactor.counters.iterations
            await event.wait()
            assert current_task().reactor.counters.iterations == iterations

    simulate(main)


def test_clear_has_tasks_wait_again_but_who_was_woken_goes_on():
    async def main():
        event, told = Event(), []
        async with TaskGroup() as group:
            group.start_soon(tell, told, CancelScope(), event.wait)
            await turns(2)
            event.set()
            event.clear()
            assert not event.is_set()
            await turns(1)
            assert told == [None]
            with move_on_after(1) as scope:
                await event.wait()
            return scope.cancelled_caught

    assert simulate(main) is True


@pytest.mark.parametrize("order", ["set, then cancel", "cancel, then set"])
def test_an_event_that_is_set_when_one_that_waits_is_cancelled(order):
    told = []

    async def waiter(event, name):
        await event.wait()
        told.append(name)

    async def main():
        event, scope = Event(), CancelScope()
        async with TaskGroup() as group:
            group.start_soon(within, scope, waiter, event, "cancelled")
            group.start_soon(waiter, event, "other")
            await turns(2)
            for action in (event.set, scope.cancel) if order.startswith("set") else (scope.cancel, event.set):
                action()
            await turns(2)
            assert not event.is_awaited()

    simulate(main)
    assert told == (["cancelled", "other"] if order.startswith("set") else ["other"])


def test_a_set_event_takes_breaks_and_raises_if_cancelled():
    async def main():
        event = Event()
        event.set()
        iterations = current_task().reactor.counters.iterations
        for _ in range(STEPS_PER_TURN + 1):
            await event.wait()
        assert current_task().reactor.counters.iterations == iterations + 1
        with CancelScope() as scope:
            scope.cancel()
            await event.wait()
        return scope.cancelled_caught

    assert simulate(main) is True


def test_set_on_another_thread_is_refused_and_changes_nothing_but_the_loop_can_be_asked():
    refused = []

    def foreign(event, reactor):
        try:
            event.set()
        except RuntimeError as exc:
            refused.append(str(exc))
        refused.append(event.is_set())
        reactor.call_soon_threadsafe(event.set)

    async def main():
        event = Event()
        thread = threading.Thread(target=foreign, args=[event, current_task().reactor])
        async with TaskGroup() as group:
            group.start_soon(event.wait)
            await turns(2)
            thread.start()
            await event.wait()
        thread.join()
        return "woken"

    with Reactor() as reactor:
        assert run(main, reactor=reactor) == "woken"
    assert "another thread runs this loop: use reactor.call_soon_threadsafe" in refused[0]
    assert refused[1] is False


def test_cancelled_is_raised_by_each_wait_of_a_cancelled_task():
    async def main():
        event, raised = Event(), []
        with CancelScope() as scope:
            scope.cancel()
            for wait in (event.wait, take_a_break, lambda: sleep(0), lambda: sleep(1), WaitQueue().wait):
                with pytest.raises(Cancelled):
                    await wait()
                raised.append(wait)
        return len(raised)

    assert simulate(main) == 5

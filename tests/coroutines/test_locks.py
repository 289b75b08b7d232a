"""`Semaphore` and `Lock`: first come, first served, and a place that a cancelled task was to have goes to the next."""

import threading

import pytest

from reactor import CancelScope, Lock, Semaphore, TaskGroup, sleep
from reactor.coroutines.scopes import current_task
from reactor.coroutines.waiting import STEPS_PER_TURN
from tests.coroutines.programs import simulate, tell, turns, within


async def has(thing, seen, name, turns_long=1):
    async with thing:
        seen.append(("has", name))
        await turns(turns_long)
    seen.append(("gave", name))


def test_as_many_have_a_place_as_there_are_and_the_others_follow_in_order():
    seen = []

    async def main():
        semaphore = Semaphore(2)
        async with TaskGroup() as group:
            for name in "abcd":
                group.start_soon(has, semaphore, seen, name)
            await turns(2)
            assert semaphore.locked()
        assert not semaphore.locked()

    simulate(main)
    assert seen[:2] == [("has", "a"), ("has", "b")]
    assert [name for what, name in seen if what == "has"] == list("abcd")
    held = most = 0
    for what, _ in seen:
        held += 1 if what == "has" else -1
        most = max(most, held)
    assert most == 2


def test_a_semaphore_without_places_waits_for_the_first_release():
    async def main():
        semaphore, told = Semaphore(0), []
        assert semaphore.locked()
        async with TaskGroup() as group:
            group.start_soon(tell, told, CancelScope(), semaphore.acquire)
            await turns(2)
            assert told == []
            semaphore.release()
            assert semaphore.locked()  # the place is promised
            await turns(1)
            assert told == [None]
        semaphore.release()
        assert not semaphore.locked()

    simulate(main)


@pytest.mark.parametrize("places", [-1, 1.5, "1", None])
def test_the_places_of_a_semaphore_are_a_whole_number(places):
    with pytest.raises(ValueError, match="the places of a semaphore must be a whole number from 0, not"):
        Semaphore(places)


def test_a_place_that_is_promised_is_not_taken_by_another():
    seen = []

    async def main():
        semaphore = Semaphore(1)
        await semaphore.acquire()
        async with TaskGroup() as group:
            group.start_soon(has, semaphore, seen, "waits", 3)
            await turns(2)
            semaphore.release()
            await has(semaphore, seen, "comes late", 0)

    simulate(main)
    assert [name for what, name in seen if what == "has"] == ["waits", "comes late"]


@pytest.mark.parametrize("order", ["release, then cancel", "cancel, then release"])
@pytest.mark.parametrize("next_waits", [False, True])
def test_a_place_is_never_lost_when_its_task_is_cancelled_in_the_same_turn(order, next_waits):
    seen = []

    async def main():
        semaphore, scope = Semaphore(1), CancelScope()
        await semaphore.acquire()
        async with TaskGroup() as group:
            group.start_soon(within, scope, has, semaphore, seen, "first")
            if next_waits:
                group.start_soon(has, semaphore, seen, "second")
            await turns(2)
            actions = [semaphore.release, scope.cancel]
            for action in actions if order.startswith("release") else reversed(actions):
                action()
            await turns(3)
        assert not semaphore.locked()
        for _ in range(2):  # there is one place, neither more nor fewer
            await within(CancelScope(), semaphore.acquire)
            assert semaphore.locked()
            semaphore.release()

    simulate(main)
    # Woken first, the task had its place; its next wait was broken off, and the place was given back.
    expected = ["first"] * order.startswith("release") + ["second"] * next_waits
    assert [name for what, name in seen if what == "has"] == expected


def test_a_task_that_is_cancelled_while_it_waits_takes_nothing():
    async def main():
        semaphore = Semaphore(0)
        with CancelScope() as scope:
            current_task().reactor.call_soon(scope.cancel)
            await semaphore.acquire()
        assert scope.cancelled_caught
        semaphore.release()
        assert not semaphore.locked()
        with CancelScope() as scope:
            scope.cancel()
            await semaphore.acquire()
        return scope.cancelled_caught, semaphore.locked()

    assert simulate(main) == (True, False)


def test_the_place_is_given_back_when_the_block_raises():
    async def main():
        semaphore, lock = Semaphore(1), Lock()
        for thing in (semaphore, lock):
            with pytest.raises(LookupError):
                async with thing:
                    assert thing.locked()
                    raise LookupError
            assert not thing.locked()

    simulate(main)


@pytest.mark.parametrize("make", [Semaphore, Lock])
def test_a_task_that_never_has_to_wait_takes_breaks(make):
    async def main():
        thing = make()
        iterations = current_task().reactor.counters.iterations
        for _ in range(STEPS_PER_TURN + 1):
            async with thing:
                pass
        return current_task().reactor.counters.iterations - iterations

    assert simulate(main) == 1


def test_a_place_that_is_taken_during_the_break_is_waited_for():
    seen = []

    async def main():
        semaphore = Semaphore(1)
        current_task().steps = STEPS_PER_TURN
        async with TaskGroup() as group:
            group.start_soon(has, semaphore, seen, "meanwhile", 5)
            await has(semaphore, seen, "after the break")

    simulate(main)
    assert seen == [(what, name) for name in ("meanwhile", "after the break") for what in ("has", "gave")]


def test_release_on_another_thread_is_refused_while_a_task_waits_and_changes_nothing():
    refused = []

    def foreign(semaphore):
        try:
            semaphore.release()
        except RuntimeError as exc:
            refused.append(str(exc))

    async def main():
        semaphore = Semaphore(0)
        async with TaskGroup() as group:
            task = group.start_soon(semaphore.acquire)
            await turns(2)
            thread = threading.Thread(target=foreign, args=[semaphore])
            thread.start()
            thread.join()
            await turns(2)
            assert not task.has_ended()
            semaphore.release()
        return semaphore.locked()

    assert simulate(main) is True
    assert "another thread" in refused[0]


# Locks.


def test_only_one_task_has_a_lock_and_they_follow_in_order():
    seen = []

    async def main():
        lock = Lock()
        assert not lock.locked()
        async with TaskGroup() as group:
            for name in "abc":
                group.start_soon(has, lock, seen, name, 2)
            await turns(2)
            assert lock.locked()
        assert not lock.locked()

    simulate(main)
    assert seen == [(what, name) for name in "abc" for what in ("has", "gave")]


def test_a_task_that_has_the_lock_cannot_take_it_again():
    async def main():
        lock = Lock()
        async with lock:
            with pytest.raises(RuntimeError, match="this task has the lock already, and would wait for itself"):
                await lock.acquire()
            assert lock.locked()
        async with lock:
            pass

    simulate(main)


def test_only_the_task_that_has_the_lock_gives_it_back():
    async def other(lock):
        with pytest.raises(RuntimeError, match="^this task does not have the lock$"):
            lock.release()

    async def main():
        lock = Lock()
        with pytest.raises(RuntimeError, match="does not have the lock"):
            lock.release()
        async with lock:
            async with TaskGroup() as group:
                group.start_soon(other, lock)
            assert lock.locked()

    simulate(main)


@pytest.mark.parametrize("order", ["release, then cancel", "cancel, then release"])
def test_a_lock_is_never_lost_when_the_next_is_cancelled_in_the_same_turn(order):
    seen = []

    async def main():
        lock, scope = Lock(), CancelScope()
        await lock.acquire()
        async with TaskGroup() as group:
            group.start_soon(within, scope, has, lock, seen, "first")
            group.start_soon(has, lock, seen, "second")
            await turns(2)
            actions = [lock.release, scope.cancel]
            for action in actions if order.startswith("release") else reversed(actions):
                action()
        assert not lock.locked()
        async with lock:
            await sleep(1)

    simulate(main)
    expected = ["first", "second"] if order.startswith("release") else ["second"]
    assert [name for what, name in seen if what == "has"] == expected


def test_a_lock_whose_release_is_refused_is_still_held():
    async def main():
        lock, reactor = Lock(), current_task().reactor
        async with TaskGroup() as group:
            async with lock:
                group.start_soon(lock.acquire)
                await turns(2)
                ours, reactor.thread_id = reactor.thread_id, -1  # as if another thread ran the loop
                with pytest.raises(RuntimeError, match="another thread"):
                    lock.release()
                reactor.thread_id = ours
                assert lock.locked()
        assert lock.locked(), "the one that waited has it now"

    simulate(main)

"""A call that blocks, as a wait: its outcome, its bounds, and what it means to cancel it.

No function sleeps: a thread waits for a gate that the test opens, with a deadline.
"""

import contextvars
import gc
import queue
import threading

import pytest

from reactor import Cancelled, CancelScope, Limits, Reactor, TaskGroup, run, run_in_thread, shield, spawn
from reactor.coroutines.scopes import current_task
from tests.coroutines.programs import count_alive, tell, turns, within, without_collector
from tests.rig import DEADLINE_SECONDS, turn_until


class Gate:
    """A function for a thread: it says that it has begun, and returns once it is let go."""

    def __init__(self):
        self.begun, self._open, self.ended = threading.Event(), threading.Event(), threading.Event()

    def __call__(self, outcome="done"):
        self.begun.set()
        assert self._open.wait(DEADLINE_SECONDS)
        self.ended.set()
        return outcome

    def open(self):
        self._open.set()


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open()


@pytest.fixture
def one_thread(descriptors_come_back):
    """A reactor with one thread, where one more call may wait."""
    with Reactor(limits=Limits(max_threads=1, max_thread_queue=1)) as reactor:
        yield reactor


def begin(reactor, gate):
    """Turn the loop until the function of `gate` has begun on its thread."""
    turn_until(reactor, gate.begun.is_set, "the function has begun")


# Outcomes.


def test_it_returns_what_the_function_returns_and_runs_it_elsewhere(reactor):
    def work(*args):
        return args, threading.get_ident()

    async def main():
        return await run_in_thread(work, 1, "two")

    args, thread = run(main, reactor=reactor)
    assert args == (1, "two") and thread != threading.get_ident()


def test_the_others_go_on_meanwhile(reactor, gate):
    async def main():
        told = []
        async with TaskGroup() as group:
            group.start_soon(tell, told, CancelScope(), run_in_thread, gate)
            while not gate.begun.is_set():
                await turns(1)
            assert told == []
            gate.open()
        return told

    assert run(main, reactor=reactor) == ["done"]


@pytest.mark.parametrize("error", [LookupError, SystemExit, KeyboardInterrupt])
def test_it_raises_what_the_function_raises(reactor, error):
    def work():
        raise error("of the function")

    async def main():
        with pytest.raises(error, match="of the function"):
            await run_in_thread(work)
        return "went on"

    assert run(main, reactor=reactor) == "went on"


@pytest.mark.parametrize("wrong", [5, None, "name"])
def test_what_cannot_be_called_is_refused(reactor, wrong):
    async def main():
        with pytest.raises(TypeError, match="^the function for a thread must be callable, not of type "):
            await run_in_thread(wrong)

    run(main, reactor=reactor)


def test_it_needs_a_task():
    with pytest.raises(RuntimeError, match="this needs a task"):
        run_in_thread(print).send(None)


def test_the_function_sees_a_copy_of_the_variables(reactor):
    variable = contextvars.ContextVar("variable")

    def work():
        seen = variable.get()
        variable.set("changed on the thread")
        return seen

    async def main():
        variable.set("of the task")
        return await run_in_thread(work), variable.get()

    assert run(main, reactor=reactor) == ("of the task", "of the task")


def test_the_function_is_no_part_of_the_task(reactor):
    def work():
        with pytest.raises(RuntimeError, match="this needs a task"):
            current_task()
        with pytest.raises(RuntimeError, match="this needs a task"):
            CancelScope().__enter__()
        return run(nested)

    async def nested():
        await turns(1)
        return "a reactor of the thread's own"

    async def main():
        return await run_in_thread(work)

    assert run(main, reactor=reactor) == "a reactor of the thread's own"


# Bounds.


def test_a_call_beyond_the_bound_is_refused(one_thread, gate):
    async def main():
        told = []
        async with TaskGroup() as group:
            group.start_soon(tell, told, CancelScope(), run_in_thread, gate)
            while not gate.begun.is_set():
                await turns(1)
            group.start_soon(tell, told, CancelScope(), run_in_thread, int)
            await turns(2)
            with pytest.raises(queue.Full, match="max_threads"):
                await run_in_thread(int)
            gate.open()
        return told, await run_in_thread(int)

    assert run(main, reactor=one_thread) == (["done", 0], 0)


def test_a_thread_that_the_system_does_not_give(reactor, monkeypatch):
    async def main():
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await run_in_thread(int)
        return "went on"

    def refuse(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert run(main, reactor=reactor) == "went on"


# Cancelling.


def test_a_cancelled_wait_still_waits_for_the_thread_and_raises_then(reactor, gate):
    seen = []

    async def main():
        with CancelScope() as scope:
            reactor.call_soon(cancel_when_begun, scope)
            try:
                await run_in_thread(gate)
            finally:
                seen.append(gate.ended.is_set())
        seen.append(scope.cancelled_caught)

    def cancel_when_begun(scope):
        if gate.begun.is_set():
            scope.cancel()
            reactor.call_soon(reactor.call_soon, gate.open)  # the wait has had its turn to raise
        else:
            reactor.call_soon(cancel_when_begun, scope)

    run(main, reactor=reactor)
    assert seen == [True, True]


def test_an_abandoned_wait_is_over_at_once_and_the_outcome_is_dropped(reactor, gate):
    seen = []

    async def main():
        async with TaskGroup() as group:
            scope = CancelScope()
            group.start_soon(waits, scope)
            while not gate.begun.is_set():
                await turns(1)
            scope.cancel()
            await turns(2)
            seen.append("the test goes on")
        gate.open()
        while not gate.ended.is_set():
            await turns(1)
        assert await run_in_thread(int) == 0

    async def waits(scope):
        with scope:
            try:
                await run_in_thread(gate, abandon=True)
            finally:
                seen.append(gate.ended.is_set())

    run(main, reactor=reactor)
    assert seen == [False, "the test goes on"]
    assert reactor.counters.callback_errors == 0


@pytest.mark.parametrize("abandon", [False, True])
def test_a_call_that_is_cancelled_before_it_began_is_never_made_and_not_waited_for(one_thread, gate, abandon):
    called = []

    async def main():
        async with TaskGroup() as group:
            group.start_soon(run_in_thread, gate)
            while not gate.begun.is_set():
                await turns(1)
            scope = CancelScope()
            task = group.start_soon(waits, scope)
            await turns(2)
            scope.cancel()
            await turns(2)
            assert task.has_ended() and scope.cancelled_caught
            gate.open()
        await run_in_thread(called.append, "a later one")

    async def waits(scope):
        with scope:
            await run_in_thread(called.append, "cancelled", abandon=abandon)

    run(main, reactor=one_thread)
    assert called == ["a later one"]


@pytest.mark.parametrize("abandon", [False, True])
def test_a_doomed_task_calls_nothing(reactor, abandon):
    called = []

    async def main():
        with CancelScope() as scope:
            scope.cancel()
            await run_in_thread(called.append, "called", abandon=abandon)
        await run_in_thread(int)
        return scope.cancelled_caught

    assert run(main, reactor=reactor) is True
    assert called == []


def test_an_answer_that_came_before_the_cancel_is_not_lost(reactor):
    """As with any wait: the answer was there first."""

    async def main():
        with CancelScope() as scope:
            def deliver_and_cancel(call):
                reactor.call_soon_threadsafe(lambda: call.run() and scope.cancel())

            reactor.threads._deliver = deliver_and_cancel
            return await run_in_thread(int, "7"), scope.cancel_called

    assert run(main, reactor=reactor) == (7, True)


def test_it_can_be_awaited_behind_a_shield(reactor):
    async def main():
        with CancelScope() as scope:
            scope.cancel()
            with shield():
                return await run_in_thread(int, "7"), scope.cancelled_caught

    assert run(main, reactor=reactor) == (7, False)


@pytest.mark.parametrize("abandon", [False, True])
def test_a_reactor_that_closes_waits_for_no_thread(descriptors_come_back, gate, abandon):
    seen = []

    async def waits():
        try:
            await run_in_thread(gate, abandon=abandon)
        except Cancelled:
            seen.append(gate.ended.is_set())
            raise

    with Reactor() as reactor:
        spawn(reactor, waits)
        begin(reactor, gate)
    assert seen == [False]
    gate.open()
    assert gate.ended.wait(DEADLINE_SECONDS)


def test_no_call_leaves_anything_alive_without_the_garbage_collector(reactor):
    def fail():
        raise LookupError("on purpose")

    async def main():
        for _ in range(3):
            await run_in_thread(int)
            try:
                await run_in_thread(fail)
            except LookupError:
                pass
            await within_cancelled()
            await within(CancelScope(), run_in_thread, int)

    async def within_cancelled():
        with CancelScope() as scope:
            reactor.call_soon(scope.cancel)
            await run_in_thread(int)

    run(main, reactor=reactor)
    with without_collector():
        before = count_alive()
        run(main, reactor=reactor)
        assert count_alive() == before
    gc.collect()

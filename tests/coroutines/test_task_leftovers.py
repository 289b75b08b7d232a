"""What is left of a task that has ended: nothing that the garbage collector must find; and tasks in a fork's child."""

import gc
import logging
import warnings

import pytest

from reactor import Cancelled, CancelScope, Reactor, TaskGroup, run, sleep, spawn, timeout
from reactor.coroutines.scopes import current_task
from tests.coroutines.programs import (
    FakeReactor,
    Foreign,
    count_alive,
    simulate,
    within,
    without_collector,
)
from tests.loop.test_fork import ask_child
from tests.rig import leave

# What is left behind.


async def returns():
    await sleep(0)


async def raises():
    await sleep(0)
    raise LookupError("on purpose")


async def is_cancelled():
    current_task().cancel()
    await sleep(10)


async def is_cancelled_in_a_scope():
    with CancelScope() as scope:
        scope.cancel()
        await sleep(10)


async def times_out():
    with timeout(1):
        await sleep(10)


async def times_out_and_goes_on():
    try:
        with timeout(1):
            await sleep(10)
    except TimeoutError:
        pass


async def awaits_something_foreign():
    await Foreign()


async def has_children_that_return():
    async with TaskGroup() as group:
        group.start_soon(returns)
        group.start_soon(returns)


async def has_children_that_are_cancelled():
    async with TaskGroup() as group:
        group.start_soon(sleep, 10)
        group.start_soon(is_cancelled)
        await sleep(0)
        group.cancel()


async def has_children_that_raise():
    async with TaskGroup() as group:
        group.start_soon(raises)
        group.start_soon(sleep, 10)
        group.start_soon(times_out)


async def catches_what_children_raise():
    try:
        await has_children_that_raise()
    except* LookupError:
        pass


KINDS = [
    returns, raises, is_cancelled, is_cancelled_in_a_scope, times_out, times_out_and_goes_on, awaits_something_foreign,
    has_children_that_return, has_children_that_are_cancelled, has_children_that_raise, catches_what_children_raise,
]  # fmt: skip


@pytest.mark.parametrize("function", KINDS, ids=lambda function: function.__name__)
@pytest.mark.parametrize("kept", [False, True])
def test_nothing_is_left_alive_without_the_garbage_collector(function, kept):
    """With `kept`, the program still holds the task, but no longer what it ran."""

    async def main():
        for _ in range(5):
            tasks = [spawn(current_task().reactor, function) for _ in range(3)]
            await sleep(20)
            assert all(task.has_ended() for task in tasks)
            if not kept:
                tasks.clear()

    logging.disable(logging.CRITICAL)  # a captured record would hold the traceback
    try:
        with FakeReactor() as reactor, without_collector():
            before = count_alive()
            run(main, reactor=reactor)
            assert count_alive() == before
            assert len(reactor.timers) == 0
    finally:
        logging.disable(logging.NOTSET)


def test_a_coroutine_that_is_never_awaited_warns():
    async def forgotten():
        pass

    async def main():
        with pytest.warns(RuntimeWarning, match="coroutine '.*forgotten' was never awaited"):
            forgotten()
            gc.collect()

    simulate(main)


def test_a_task_that_was_started_warns_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with FakeReactor() as reactor:
            spawn(reactor, sleep, 10)
        gc.collect()


# A fork.


def test_a_child_that_is_forked_in_a_task_is_told_at_its_next_wait_and_the_parent_goes_on():
    async def main():
        said = ask_child(try_to_sleep)
        await sleep(0)
        return said

    def try_to_sleep():
        with pytest.raises(RuntimeError, match="this loop is of process .*: make one after the fork"):
            sleep(1).send(None)
        with pytest.raises(RuntimeError, match="of process"):
            spawn(current_task().reactor, sleep, 1)
        return run(fresh)

    async def fresh():
        await sleep(0)
        return "a fresh reactor works"

    with Reactor() as reactor:
        assert run(main, reactor=reactor) == "a fresh reactor works"


def test_leaving_by_a_callback_keeps_the_tasks():
    """SystemExit out of a callback: the tasks are there when the loop runs again."""
    with FakeReactor() as reactor:
        task = spawn(reactor, sleep, 5)
        reactor.call_soon(leave)
        with pytest.raises(SystemExit):
            reactor.run_once(0)
        assert not task.has_ended()
        reactor.timers.clock.now += 10
        for _ in range(3):
            reactor.run_once(0)
        assert task.has_ended() and task.error is None


def test_a_task_that_raises_cancelled_itself_ends_without_a_word(caplog):
    async def main():
        raise Cancelled

    with FakeReactor() as reactor:
        spawn(reactor, main)
        reactor.run_once(0)
        assert reactor.counters.callback_errors == 0 and caplog.records == []


def test_a_look_judges_no_later_than_what_was_asked():
    """P2: the clock has gone on since the kernel was asked. A deadline that came only then is not judged yet."""
    with FakeReactor() as reactor:
        scope = CancelScope(5)
        task = spawn(reactor, within, scope, sleep, 100)
        reactor.run_once(0)
        reactor.timers.asked_at = 1004.0
        reactor.timers.clock.now = 1006.0
        task._look()
        assert not scope.cancel_called
        reactor.timers.asked_at = 1006.0
        task._look()
        assert scope.cancel_called

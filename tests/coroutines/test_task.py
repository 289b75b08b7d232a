"""A coroutine on its way: what resumes it, what it leaves behind, and how it ends."""

import asyncio
import contextvars
import decimal
import logging
import os

import pytest

from reactor import Cancelled, CancelScope, Limits, Reactor, TaskGroup, move_on_after, sleep, spawn
from reactor.coroutines.pausing import pause
from reactor.coroutines.scopes import current_task
from reactor.coroutines.task import STEPS_PER_TURN
from reactor.coroutines.waiting import take_a_break
from reactor.loop.watchdog import Watchdog
from tests.coroutines.programs import (
    FakeReactor,
    Foreign,
    now,
    simulate,
    turns,
)
from tests.support import wait_until

# Running.


def test_a_task_begins_in_the_next_turn_and_keeps_what_it_returns():
    seen = []

    async def main():
        seen.append("begun")
        return 5

    with FakeReactor() as reactor:
        task = spawn(reactor, main)
        assert seen == [] and not task.has_ended()
        reactor.run_once(0)
        assert seen == ["begun"]
        assert task.has_ended() and task.result == 5 and task.error is None and task.reactor is reactor


def test_what_has_the_answer_resumes_the_task_at_once():
    seen = []

    async def main():
        seen.append(await pause())

    with FakeReactor() as reactor:
        task = spawn(reactor, main)
        reactor.run_once(0)
        task.resume("answer")
        assert seen == ["answer"] and task.has_ended()


def test_an_exception_is_thrown_into_the_wait():
    seen = []

    async def main():
        try:
            await pause()
        except LookupError as exc:
            seen.append(str(exc))

    with FakeReactor() as reactor:
        task = spawn(reactor, main)
        reactor.run_once(0)
        task.throw(LookupError("thrown"))
        assert seen == ["thrown"] and task.has_ended()


def test_a_task_that_never_has_to_wait_takes_a_break_after_so_many_steps():
    steps = []

    async def main():
        for number in range(2 * STEPS_PER_TURN + 2):
            await take_a_break()
            steps.append(number)

    with FakeReactor() as reactor:
        spawn(reactor, main)
        counts = []
        for _ in range(4):
            reactor.run_once(0)
            counts.append(len(steps))
    # The wait that takes the break is over a turn later; then it counts anew.
    assert counts == [STEPS_PER_TURN, 2 * STEPS_PER_TURN + 1, 2 * STEPS_PER_TURN + 2, 2 * STEPS_PER_TURN + 2]


def test_a_break_is_a_wait_that_raises_if_the_task_is_cancelled():
    async def main():
        with CancelScope() as scope:
            scope.cancel()
            await take_a_break()
        return scope.cancelled_caught

    assert simulate(main) is True


def test_a_task_that_is_cancelled_after_it_was_resumed_does_not_notice():
    """The answer comes first, and the task is past its wait when the loop comes to break it off."""

    async def main():
        with CancelScope() as scope:
            task = current_task()
            task.reactor.call_soon(task.resume, "answer")
            task.reactor.call_soon(scope.cancel)
            answer = await pause()
        await turns(2)
        return answer, scope.cancel_called, scope.cancelled_caught

    assert simulate(main) == ("answer", True, False)


def test_a_task_that_is_resumed_after_it_was_cancelled_goes_on_to_its_next_wait():
    """The loop was asked to break the wait off, but the answer comes before. The state is not lost with the event."""
    seen = []

    async def main():
        with CancelScope() as scope:
            task = current_task()
            task.reactor.call_soon(task.resume, "answer")
            scope.cancel()
            try:
                seen.append(await pause())
            except Cancelled:
                seen.append("broken off")
                raise
            await sleep(1)
        return scope.cancelled_caught, now()

    assert simulate(main) == (True, 1000.0)
    assert seen == ["answer"]


# Contexts.


def test_each_task_has_its_own_decimal_context():
    async def count(precision, seen):
        with decimal.localcontext() as context:
            context.prec = precision
            await turns(3)
            seen.append((precision, decimal.getcontext().prec, str(decimal.Decimal(1) / 3)))

    async def main():
        seen = []
        async with TaskGroup() as group:
            group.start_soon(count, 3, seen)
            group.start_soon(count, 5, seen)
        return seen

    assert simulate(main) == [(3, 3, "0.333"), (5, 5, "0.33333")]


def test_a_task_sees_the_variables_of_what_started_it_and_not_those_of_others():
    variable = contextvars.ContextVar("variable", default="nothing")
    seen = []

    async def child(name):
        seen.append((name, variable.get()))
        variable.set(name)
        await sleep(0)
        seen.append((name, variable.get()))

    async def main():
        variable.set("main")
        async with TaskGroup() as group:
            group.start_soon(child, "one")
            group.start_soon(child, "two")
            variable.set("changed")
        seen.append(variable.get())

    simulate(main)
    assert seen == [("one", "main"), ("two", "main"), ("one", "one"), ("two", "two"), "changed"]
    assert variable.get() == "nothing"


def test_each_task_is_the_current_one_while_it_runs():
    async def child(tasks):
        before = current_task()
        await sleep(0)
        tasks += [before, current_task()]

    async def main():
        tasks = []
        async with TaskGroup() as group:
            started = [group.start_soon(child, tasks) for _ in range(2)]
            me = current_task()
        return tasks == [started[0], started[0], started[1], started[1]], current_task() is me

    assert simulate(main) == (True, True)


# What is not ours.


def test_something_of_asyncio_is_refused_with_its_name():
    loop = asyncio.new_event_loop()
    future = loop.create_future()
    try:
        async def main():
            await future

        with pytest.raises(TypeError, match="^a task of reactor cannot await this: _?Future belongs to another event"):
            simulate(main)
    finally:
        future.cancel()
        loop.close()


def test_a_sleep_of_asyncio_is_refused():
    async def main():
        await asyncio.sleep(1)

    with pytest.raises(RuntimeError, match="no running event loop"):
        simulate(main)


def test_a_task_that_goes_on_after_the_refusal_is_refused_as_often_as_it_tries():
    async def main():
        refused = 0
        for _ in range(5000):  # more than Python may recurse
            try:
                await Foreign()
            except TypeError as exc:
                assert "str belongs to another event loop" in str(exc)
                refused += 1
        await sleep(1)
        return refused, now()

    assert simulate(main) == (5000, 1001.0)


def test_a_refusal_during_a_clean_up_ends_the_task_with_it():
    async def main():
        try:
            await sleep(100)
        finally:
            await Foreign()

    with FakeReactor() as reactor:
        task = spawn(reactor, main)
        reactor.run_once(0)
        task.cancel()
        reactor.run_once(0)
        assert task.has_ended()
        assert reactor.counters.callback_errors == 1


# Ending.


def test_what_a_task_of_spawn_raises_is_logged_and_counted(caplog):
    async def raises():
        raise LookupError("on purpose")

    with FakeReactor() as reactor:
        spawn(reactor, raises)
        reactor.run_once(0)
        assert reactor.counters.callback_errors == 1
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("reactor.coroutines", logging.ERROR)
    assert record.getMessage().startswith("a task raised: ") and "raises" in record.getMessage()
    assert isinstance(record.exc_info[1], LookupError)


def test_a_task_that_is_cancelled_is_no_error(caplog):
    with FakeReactor() as reactor:
        task = spawn(reactor, sleep, 100)
        reactor.run_once(0)
        task.cancel()
        reactor.run_once(0)
        assert task.has_ended() and task.cancel_called
        assert reactor.counters.callback_errors == 0
    assert caplog.records == []


def test_a_task_is_cancelled_before_it_has_begun_and_runs_up_to_its_first_wait():
    seen = []

    async def main():
        seen.append("begun")
        try:
            await sleep(10)
        finally:
            seen.append("cleaned up")

    with FakeReactor() as reactor:
        task = spawn(reactor, main)
        task.cancel()
        reactor.run_once(0)
        assert seen == ["begun", "cleaned up"] and task.has_ended()


def test_a_task_that_has_ended_can_be_cancelled():
    async def main():
        pass

    with FakeReactor() as reactor:
        task = spawn(reactor, main)
        reactor.run_once(0)
        task.cancel()
        reactor.run_once(0)
        assert reactor.counters.callback_errors == 0


@pytest.mark.parametrize("leaving", [SystemExit, KeyboardInterrupt])
def test_what_ends_the_program_leaves_the_loop_once(leaving):
    async def main():
        await sleep(0)
        raise leaving("bye")

    with FakeReactor() as reactor:
        task = spawn(reactor, main)
        reactor.run_once(0)
        with pytest.raises(leaving, match="bye"):
            reactor.run_once(0)
        assert task.has_ended()
        reactor.run_once(0)
    assert reactor.counters.callback_errors == 0


def test_a_swallowed_cancellation_that_blocks_the_loop_is_named_by_the_watchdog(caplog):
    reported = []

    async def swallows():
        with move_on_after(0):
            while True:
                try:
                    await sleep(10)
                except BaseException:
                    if any("has blocked the loop" in record.getMessage() for record in caplog.records):
                        reported.append(True)
                        break

    with Reactor(limits=Limits(blocked_seconds=0.02)) as reactor:
        spawn(reactor, swallows)
        watchdog = Watchdog(reactor)
        try:
            reactor.run_once(0)
            wait_until(lambda: reactor.run_once(0.01) or reported, "a report")
        finally:
            watchdog.stop()
    text = next(record.getMessage() for record in caplog.records if "has blocked the loop" in record.getMessage())
    assert f'{os.path.basename(__file__)}", line' in text and "in swallows" in text

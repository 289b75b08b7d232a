"""Scopes in the wrong hands: out of order, in other tasks and threads, by the thousand, and in `except*`."""

import threading

import pytest

from reactor import Cancelled, CancelScope, TaskGroup, move_on_after, sleep, spawn, timeout
from reactor.coroutines.scopes import current_task
from tests.coroutines.programs import FakeReactor, now, simulate, turns

# Misuse.


def test_a_scope_is_entered_only_once():
    async def main():
        scope = CancelScope()
        with scope:
            with pytest.raises(RuntimeError, match="a scope can be entered only once: make another one"):
                scope.__enter__()
        with pytest.raises(RuntimeError, match="only once"):
            with scope:
                pass
        async with TaskGroup() as group:
            group.start_soon(refused, scope)
        await sleep(1)
        return now()

    async def refused(scope):
        with pytest.raises(RuntimeError, match="only once"):
            with scope:
                pass

    assert simulate(main) == 1001.0


def test_a_scope_needs_a_task():
    with pytest.raises(RuntimeError, match="this needs a task: call it from a coroutine that runs on a reactor"):
        with timeout(5):
            pass
    with FakeReactor() as reactor:
        errors = []

        def callback():
            with pytest.raises(RuntimeError, match="this needs a task"):
                CancelScope().__enter__()
            errors.append("refused")

        reactor.call_soon(callback)
        reactor.run_once(0)
        assert errors == ["refused"]


def test_current_task_needs_a_task():
    with pytest.raises(RuntimeError, match="this needs a task"):
        current_task()


def test_scopes_that_are_left_out_of_order_raise_and_can_still_be_left():
    async def main():
        outer, inner = CancelScope(), CancelScope()
        outer.__enter__()
        inner.__enter__()
        with pytest.raises(RuntimeError, match="reverse order, by the task that entered them"):
            outer.__exit__(None, None, None)
        inner.__exit__(None, None, None)
        outer.__exit__(None, None, None)
        with pytest.raises(RuntimeError, match="reverse order"):
            outer.__exit__(None, None, None)
        await sleep(1)
        return now()

    assert simulate(main) == 1001.0


def test_a_scope_that_was_not_entered_cannot_be_left():
    async def main():
        with pytest.raises(RuntimeError, match="reverse order"):
            CancelScope().__exit__(None, None, None)

    simulate(main)


def test_a_scope_that_another_task_leaves_raises_there_and_does_not_stay_around_its_own_task():
    async def host(scope, seen):
        with move_on_after(100) as around:
            scope.__enter__()
            await turns(3)
            with move_on_after(1):
                await sleep(10)
            around.cancel()
            await sleep(1)
        seen.append((around.cancelled_caught, now()))

    async def other(scope):
        await turns(1)
        with pytest.raises(RuntimeError, match="by the task that entered them"):
            scope.__exit__(None, None, None)
        scope.cancel()

    async def main():
        scope, seen = CancelScope(), []
        async with TaskGroup() as group:
            group.start_soon(host, scope, seen)
            group.start_soon(other, scope)
        return seen

    assert simulate(main) == [(True, 1001.0)]


def test_a_task_is_no_block():
    async def main():
        task = spawn(current_task().reactor, sleep, 1)
        with pytest.raises(RuntimeError, match="a task is no block"):
            with task:
                pass
        await sleep(2)
        return task.has_ended()

    assert simulate(main) is True


def test_cancel_from_another_thread_is_refused_and_changes_nothing():
    async def main():
        task, refused = current_task(), []

        def foreign(scope):
            try:
                scope.cancel()
            except RuntimeError as exc:
                refused.append(str(exc))

        with CancelScope() as scope:
            thread = threading.Thread(target=foreign, args=[scope])
            thread.start()
            thread.join()
            assert "another thread runs this loop" in refused[0]
            assert not scope.cancel_called and not task.doomed
            await sleep(0)
            thread = threading.Thread(target=task.reactor.call_soon_threadsafe, args=[scope.cancel])
            thread.start()
            thread.join()
            await sleep(10)
        return scope.cancelled_caught

    assert simulate(main) is True


# Many.


@pytest.mark.parametrize("count", [1000, 5000])
def test_a_thousand_blocks_in_each_other_are_cancelled_and_left(count):
    async def main():
        scopes = [CancelScope() for _ in range(count)]
        for scope in scopes:
            scope.__enter__()
        scopes[0].cancel()
        raised = False
        try:
            await sleep(10)
        except Cancelled:
            raised = True
        for scope in reversed(scopes):
            scope.__exit__(None, None, None)
        await sleep(1)
        return raised, now()

    assert simulate(main) == (True, 1001.0)


# `except*` makes a group of what its clauses raise and leave over, and a `Cancelled` may be in it.


async def waits_in_a_clause_for_groups(error=None):
    try:
        raise ExceptionGroup("on purpose", [LookupError(), *([error] if error else [])])
    except* LookupError:
        await sleep(100)


async def waits_in_two_clauses():
    try:
        raise ExceptionGroup("on purpose", [LookupError(), ValueError()])
    except* LookupError:
        await sleep(100)
    except* ValueError:
        await sleep(100)


@pytest.mark.parametrize("make", [move_on_after, timeout])
@pytest.mark.parametrize("function", [waits_in_a_clause_for_groups, waits_in_two_clauses])
def test_a_wait_in_a_clause_for_groups_is_cancelled_like_any_other(make, function):
    async def main():
        try:
            with make(1) as scope:
                await function()
        except TimeoutError as exc:
            assert make is timeout and isinstance(exc.__cause__, BaseException)
        await sleep(1)
        return scope.cancelled_caught, now()

    assert simulate(main) == (True, 1002.0)


def test_what_is_left_of_a_group_goes_on_and_no_cancelled_is_in_it():
    async def main():
        with timeout(1) as scope:
            try:
                with move_on_after(1) as inner:
                    await waits_in_a_clause_for_groups(ValueError("left"))
            finally:
                assert scope.cancel_called and not inner.cancelled_caught

    with pytest.raises(ExceptionGroup) as caught:
        simulate(main)
    assert caught.value.split(ValueError)[1] is None
    assert caught.value.__suppress_context__


def test_a_group_of_a_block_that_was_not_cancelled_goes_through():
    async def main():
        with CancelScope() as scope:
            raise ExceptionGroup("on purpose", [LookupError()])
        return scope

    with pytest.raises(ExceptionGroup, match="on purpose"):
        simulate(main)


def test_a_task_that_is_cancelled_in_a_clause_for_groups_does_not_end_the_program(caplog):
    with FakeReactor() as reactor:
        tasks = [
            spawn(reactor, waits_in_two_clauses),
            spawn(reactor, waits_in_a_clause_for_groups, ValueError()),
        ]
        reactor.run_once(0)
        for task in tasks:
            task.cancel()
        reactor.run_once(0)
        assert all(task.has_ended() for task in tasks)
        assert reactor.counters.callback_errors == 1
    (record,) = caplog.records
    assert record.exc_info[1].split(ValueError)[1] is None


@pytest.mark.parametrize("error", [None, ValueError("left")])
def test_a_group_whose_tasks_and_block_are_cancelled_in_a_clause_for_groups(error):
    async def main():
        caught = None
        try:
            async with TaskGroup() as group:
                group.start_soon(waits_in_two_clauses)
                current_task().reactor.call_later(1, group.cancel)
                await waits_in_a_clause_for_groups(error)
        except ExceptionGroup as exc:
            caught = exc.split(ValueError)[1] is None
        return caught, now()

    assert simulate(main) == (error and True, 1001.0)

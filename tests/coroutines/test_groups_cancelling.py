"""Who is told when a group is cancelled, or what is around it; groups left in the middle; thousands of tasks."""


import pytest

from reactor import Cancelled, CancelScope, Event, TaskGroup, move_on_after, run, shield, sleep, spawn, timeout
from reactor.coroutines.scopes import current_task
from tests.coroutines.programs import FakeReactor, cleans_up, now, simulate, turns

# Cancelling.


def test_cancel_ends_the_tasks_and_the_block_without_an_error():
    seen = []

    async def main():
        async with TaskGroup() as group:
            group.start_soon(cleans_up, seen, "child", 2)
            await sleep(1)
            group.cancel()
            await sleep(100)
            seen.append("not reached")
        return now()

    assert simulate(main) == 1003.0
    assert seen == [("child", 1003.0)]


def test_a_task_cancels_its_own_group_and_returns_a_value():
    async def child(group):
        await sleep(1)
        group.cancel()
        return 5

    async def main():
        async with TaskGroup() as group:
            task = group.start_soon(child, group)
            group.start_soon(sleep, 100)
        return task.result, now()

    assert simulate(main) == (5, 1001.0)


def test_a_child_that_is_cancelled_before_it_began_runs_up_to_its_first_wait():
    seen = []

    async def child():
        seen.append("begun")
        try:
            await sleep(10)
        finally:
            seen.append("cleaned up")

    async def main():
        async with TaskGroup() as group:
            group.start_soon(child)
            group.cancel()
        return now()

    assert simulate(main) == 1000.0
    assert seen == ["begun", "cleaned up"]


def test_a_task_that_is_started_in_a_cancelled_group_runs_up_to_its_first_wait():
    async def child(seen):
        seen.append("begun")
        await sleep(10)
        seen.append("not reached")

    async def main():
        seen = []
        async with TaskGroup() as group:
            group.cancel()
            group.start_soon(child, seen)
        return seen, now()

    assert simulate(main) == (["begun"], 1000.0)


def test_one_task_alone_can_be_cancelled():
    async def main():
        async with TaskGroup() as group:
            one, other = group.start_soon(sleep, 100), group.start_soon(sleep, 5)
            await sleep(1)
            one.cancel()
            await sleep(1)
            assert one.has_ended() and not other.has_ended()
        return now()

    assert simulate(main) == 1005.0


def test_a_group_that_was_cancelled_before_it_is_entered():
    async def main():
        group = TaskGroup()
        group.cancel()
        async with group:
            group.start_soon(sleep, 10)
            await sleep(10)
        return now()

    assert simulate(main) == 1000.0


def test_a_parent_that_is_cancelled_while_a_child_cleans_up_waits_for_it():
    seen = []

    async def main():
        with move_on_after(5) as scope:
            async with TaskGroup() as group:
                group.start_soon(cleans_up, seen, "child", 10)
                await sleep(1)
                group.cancel()
            seen.append("the block is cancelled by the scope around it by now")
        return scope.cancelled_caught, now()

    assert simulate(main) == (True, 1011.0)
    assert seen == [("child", 1011.0)]


def test_the_wait_for_the_tasks_is_a_wait_and_raises_if_it_was_cancelled():
    seen = []

    async def main():
        with CancelScope() as scope:
            async with TaskGroup() as group:
                group.start_soon(swallows)
                current_task().reactor.call_soon(scope.cancel)
            seen.append("not reached")
        return scope.cancelled_caught

    async def swallows():
        try:
            await sleep(100)
        except Cancelled:
            pass

    assert simulate(main) is True
    assert seen == []


def test_a_timeout_around_a_group_ends_its_tasks():
    seen = []

    async def main():
        with timeout(5):
            async with TaskGroup() as group:
                group.start_soon(cleans_up, seen, "child", 2)

    with pytest.raises(TimeoutError):
        simulate(main)
    assert seen == [("child", 1007.0)]


def test_a_timeout_inside_the_block_does_not_concern_the_tasks():
    async def main():
        async with TaskGroup() as group:
            task = group.start_soon(sleep, 5)
            with move_on_after(1):
                await sleep(100)
            assert not task.doomed
        return now()

    assert simulate(main) == 1005.0


def test_a_group_inside_a_shield_inside_a_cancelled_scope_goes_on():
    async def main():
        with CancelScope() as outer:
            outer.cancel()
            try:
                await sleep(1)
            finally:
                with shield():
                    async with TaskGroup() as group:
                        tasks = [group.start_soon(sleep, 3), group.start_soon(fast)]
                        await sleep(1)
        return [task.result for task in tasks], outer.cancelled_caught, now()

    async def fast():
        await sleep(2)
        return "done"

    assert simulate(main) == ([None, "done"], True, 1003.0)


def test_a_cancel_reaches_children_of_children_and_not_what_a_shield_protects():
    seen = []

    async def middle():
        async with TaskGroup() as group:
            group.start_soon(cleans_up, seen, "grandchild", 1)
            with shield():
                async with TaskGroup() as protected:
                    protected.start_soon(slow)

    async def slow():
        await sleep(5)
        seen.append(("protected", now()))

    async def main():
        async with TaskGroup() as group:
            group.start_soon(middle)
            await sleep(1)
            group.cancel()
        return now()

    assert simulate(main) == 1005.0
    assert seen == [("grandchild", 1002.0), ("protected", 1005.0)]


# Misuse.


def test_a_generator_with_a_group_that_is_left_in_the_middle_ends_its_tasks_and_not_the_program(caplog):
    seen = []

    async def generator():
        async with TaskGroup() as group:
            group.start_soon(cleans_up, seen, "child", 1)
            yield 1

    async def main():
        async for _ in generator():
            await sleep(1)
            break
        await sleep(5)
        with move_on_after(1) as scope:
            await sleep(5)
        async with TaskGroup() as group:
            group.start_soon(sleep, 2)
        return scope.cancelled_caught, now()

    assert simulate(main) == (True, 1009.0)
    assert seen == [("child", 1002.0)]
    (record,) = caplog.records
    assert "scopes must be left in reverse order, by the task that entered them" in str(record.exc_info[1])


def test_a_generator_with_a_scope_that_is_left_in_the_middle_does_not_cancel_the_program(caplog):
    async def generator():
        with move_on_after(3):
            yield 1

    async def main():
        async for _ in generator():
            break
        with move_on_after(10) as scope:
            await sleep(5)
        return scope.cancelled_caught, now()

    assert simulate(main) == (False, 1005.0)
    (record,) = caplog.records
    assert "by the task that entered them" in str(record.exc_info[1])


@pytest.mark.parametrize("closed", [False, True])
def test_a_generator_with_a_group_that_outlives_its_task_ends_its_tasks_when_it_is_collected(caplog, closed):
    seen, kept = [], []

    async def child():
        try:
            await sleep(500)
        finally:
            seen.append("child")

    async def generator():
        with move_on_after(900):
            async with TaskGroup() as group:
                group.start_soon(child)
                yield 1

    async def main():
        kept.append(generator())
        await anext(kept[0])
        await turns(2)

    with FakeReactor() as reactor:
        run(main, reactor=reactor)
        assert seen == []
        if not closed:
            kept.clear()
            run(turns, 5, reactor=reactor)
    kept.clear()
    assert seen == ["child"]
    (record,) = caplog.records
    assert "by the task that entered them" in str(record.exc_info[1])


def test_a_group_that_is_left_out_of_order_raises_after_its_tasks_have_ended():
    async def main():
        seen = []
        group = TaskGroup()
        await group.__aenter__()
        group.start_soon(cleans_up, seen, "child", 1)
        await sleep(0)
        inner = CancelScope()
        inner.__enter__()
        group.cancel()
        with pytest.raises(RuntimeError, match="reverse order"):
            await group.__aexit__(None, None, None)
        inner.__exit__(None, None, None)
        return seen

    assert simulate(main) == [("child", 1001.0)]


# Many.


def test_thousands_of_tasks_end_in_one_turn():
    async def main():
        event, ended = Event(), []

        async def child(number):
            await event.wait()
            ended.append(number)

        async with TaskGroup() as group:
            for number in range(5000):
                group.start_soon(child, number)
            await turns(2)
            event.set()
            await turns(1)
            assert len(ended) == 5000
        return ended == list(range(5000))

    assert simulate(main) is True


def test_ten_thousand_tasks_are_cancelled_each_told_once():
    told = []

    async def child():
        try:
            await sleep(100)
        except Cancelled:
            told.append(True)
            raise

    async def main():
        async with TaskGroup() as group:
            for _ in range(10_000):
                group.start_soon(child)
            await turns(2)
            group.cancel()
            group.cancel()
        return now()

    assert simulate(main) == 1000.0
    assert len(told) == 10_000


def test_a_scope_inside_the_block_that_is_cancelled_does_not_look_at_the_tasks():
    """A program with 10,000 tasks, in whose block a timeout ends again and again, must not pay for all of them."""
    looked = []

    async def main():
        async with TaskGroup() as group:
            task = group.start_soon(sleep, 100)
            await sleep(0)
            watched = type("Watched", (dict,), {"__iter__": lambda self: looked.append(1) or dict.__iter__(self)})
            group.tasks = watched(group.tasks)
            for _ in range(3):
                with move_on_after(1):
                    await sleep(10)
            assert looked == []
            group.cancel()
        return looked, task.has_ended()

    assert simulate(main) == ([1], True)


@pytest.mark.parametrize("close", [False, True])
def test_a_thousand_groups_in_each_others_tasks_are_cancelled(close):
    depth, ended = 1500, []

    async def child(level):
        try:
            if level:
                async with TaskGroup() as group:
                    group.start_soon(child, level - 1)
            else:
                await sleep(100)
        finally:
            ended.append(level)

    with FakeReactor() as reactor:
        task = spawn(reactor, child, depth)
        for _ in range(depth + 2):
            reactor.run_once(0)
        assert ended == []
        if not close:
            task.cancel()
            while not task.has_ended():
                reactor.run_once(0)
    assert ended == list(range(depth + 1))

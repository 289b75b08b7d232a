"""Tasks that begin and end together: whatever happens in a block or a task, the block ends last."""

import functools
import gc
import threading
import warnings

import pytest

from reactor import TaskGroup, run, sleep, spawn
from reactor.coroutines.scopes import current_task
from tests.coroutines.programs import now, simulate

# Beginning and ending.


def test_a_task_begins_in_the_next_turn_and_the_block_ends_after_the_tasks():
    seen = []

    async def child(name, seconds):
        seen.append(("begun", name))
        await sleep(seconds)
        seen.append(("ended", name))
        return name

    async def main():
        async with TaskGroup() as group:
            tasks = [group.start_soon(child, "slow", 5), group.start_soon(child, "fast", 1)]
            seen.append("block")
        seen.append(now())
        return [task.result for task in tasks]

    assert simulate(main) == ["slow", "fast"]
    assert seen == ["block", ("begun", "slow"), ("begun", "fast"), ("ended", "fast"), ("ended", "slow"), 1005.0]


def test_a_group_without_tasks_ends_at_once():
    async def main():
        async with TaskGroup():
            pass
        return now()

    assert simulate(main) == 1000.0


def test_a_task_may_start_others_in_its_group():
    seen = []

    async def child(group, depth):
        await sleep(1)
        seen.append(now())
        if depth:
            group.start_soon(child, group, depth - 1)

    async def main():
        async with TaskGroup() as group:
            group.start_soon(child, group, 2)
        return now()

    assert simulate(main) == 1003.0
    assert seen == [1001.0, 1002.0, 1003.0]


def test_another_task_may_start_one_while_the_group_waits_for_its_last():
    seen = []

    async def adds(group):
        await sleep(1)
        group.start_soon(added)

    async def added():
        await sleep(5)
        seen.append("added")

    async def main():
        async with TaskGroup() as outer:
            async with TaskGroup() as group:
                group.start_soon(sleep, 2)
                outer.start_soon(adds, group)
            seen.append(now())

    simulate(main)
    assert seen == ["added", 1006.0]


def test_a_task_that_is_started_after_the_last_one_has_ended_but_before_the_block_goes_on_is_waited_for():
    seen = []

    async def added():
        await sleep(3)
        seen.append("added")

    async def last(group):
        await sleep(1)
        # In the next turn the block's task is woken; this call was queued before.
        current_task().reactor.call_soon(group.start_soon, added)

    async def main():
        async with TaskGroup() as group:
            group.start_soon(last, group)
        seen.append(now())

    simulate(main)
    assert seen == ["added", 1004.0]


def test_start_soon_outside_the_block_is_refused_and_makes_no_coroutine():
    async def never():
        raise AssertionError("not to be called")

    async def main():
        group = TaskGroup()
        with pytest.raises(RuntimeError, match="^this group takes no tasks: its block was not entered, or has ended$"):
            group.start_soon(never)
        async with group:
            pass
        with pytest.raises(RuntimeError, match="takes no tasks"):
            group.start_soon(never)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        simulate(main)
        gc.collect()


def test_a_group_is_entered_only_once():
    async def main():
        group = TaskGroup()
        async with group:
            with pytest.raises(RuntimeError, match="^a group can be entered only once: make another one$"):
                await group.__aenter__()
        with pytest.raises(RuntimeError, match="only once"):
            async with group:
                pass

    simulate(main)


def test_a_group_needs_a_task_and_can_be_entered_later():
    group = TaskGroup()
    with pytest.raises(RuntimeError, match="this needs a task"):
        group.__aenter__().send(None)

    async def main():
        async with group:
            group.start_soon(sleep, 1)
        return now()

    assert simulate(main) == 1001.0


# What start_soon takes.


async def nothing(*_):
    pass


def test_a_coroutine_in_place_of_a_function_is_refused_without_a_second_warning():
    async def main():
        async with TaskGroup() as group:
            with pytest.raises(TypeError, match=r"^give the function and its arguments, not the coroutine nothing\("):
                group.start_soon(nothing())
        with pytest.raises(TypeError, match=r"not the coroutine nothing\(\.\.\.\)$"):
            spawn(current_task().reactor, nothing())

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        simulate(main)
        with pytest.raises(TypeError, match="not the coroutine nothing"):
            run(nothing())
        gc.collect()


@pytest.mark.parametrize(
    "function, text",
    [
        (5, "^a task needs an async function, not 5$"),
        (lambda: 5, "must be an `async def`: it returned int, not a coroutine$"),
        (print, "^print must be an `async def`: it returned NoneType"),
        (lambda: (yield_ for yield_ in ()).__iter__, "it returned method-wrapper"),
    ],
)
def test_what_makes_no_coroutine_is_refused(function, text):
    async def main():
        async with TaskGroup() as group:
            with pytest.raises(TypeError, match=text):
                group.start_soon(function)
            assert group.tasks == {}

    simulate(main)


def test_an_asynchronous_generator_is_refused():
    async def generator():
        yield 1

    async def main():
        async with TaskGroup() as group:
            with pytest.raises(TypeError, match="it returned async_generator, not a coroutine"):
                group.start_soon(generator)

    simulate(main)


def test_what_the_call_itself_raises_is_raised_at_once():
    async def one(argument):
        pass

    async def main():
        async with TaskGroup() as group:
            with pytest.raises(TypeError, match="missing 1 required positional argument"):
                group.start_soon(one)
            assert group.tasks == {}

    simulate(main)


def test_partials_and_methods_are_functions_too():
    class Thing:
        async def method(self, seen):
            seen.append("method")

        async def __call__(self, seen):
            seen.append("call")

    async def main():
        seen = []
        async with TaskGroup() as group:
            group.start_soon(functools.partial(Thing().method, seen))
            group.start_soon(Thing(), seen)
            group.start_soon(lambda: Thing().method(seen))
        return seen

    assert simulate(main) == ["method", "call", "method"]


def test_start_soon_on_another_thread_is_refused_and_leaves_nothing_behind():
    refused = []

    def foreign(group):
        try:
            group.start_soon(nothing)
        except RuntimeError as exc:
            refused.append(str(exc))

    async def main():
        async with TaskGroup() as group:
            thread = threading.Thread(target=foreign, args=[group])
            thread.start()
            thread.join()
            assert group.tasks == {}
        return "ended"

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert simulate(main) == "ended"
        gc.collect()
    assert "another thread runs this loop" in refused[0]

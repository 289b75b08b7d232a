"""What the tasks of a group raise, and what its block does then; SystemExit too."""


import pytest

from reactor import Cancelled, CancelScope, TaskGroup, run, sleep, spawn
from tests.coroutines.programs import FakeReactor, cleans_up, fails, now, simulate

# Errors.


def test_an_error_cancels_the_other_tasks_and_the_block_and_comes_in_a_group():
    seen = []

    async def main():
        try:
            async with TaskGroup() as group:
                group.start_soon(fails, LookupError("first"), 1)
                group.start_soon(cleans_up, seen, "child", 2)
                await cleans_up(seen, "block", 1)
        except ExceptionGroup as caught:
            seen.append(now())
            return caught

    caught = simulate(main)
    assert caught.message == "errors in a TaskGroup"
    assert [repr(error) for error in caught.exceptions] == ["LookupError('first')"]
    assert seen == [("block", 1002.0), ("child", 1003.0), 1003.0]


def test_two_errors_come_in_one_group_in_their_order():
    async def late():
        try:
            await sleep(100)
        finally:
            raise KeyError("second")

    async def main():
        try:
            async with TaskGroup() as group:
                group.start_soon(late)
                group.start_soon(fails, LookupError("first"), 1)
                try:
                    await sleep(100)
                finally:
                    raise ValueError("of the block")
        except ExceptionGroup as caught:
            return [repr(error) for error in caught.exceptions]

    # The block was told to end before the tasks.
    assert simulate(main) == ["LookupError('first')", "ValueError('of the block')", "KeyError('second')"]


def test_two_tasks_that_raise_in_one_turn():
    async def main():
        try:
            async with TaskGroup() as group:
                group.start_soon(fails, LookupError("one"), 1)
                group.start_soon(fails, LookupError("other"), 1)
        except ExceptionGroup as caught:
            return [str(error) for error in caught.exceptions]

    assert simulate(main) == ["one", "other"]


def test_an_error_of_the_block_alone_cancels_the_tasks_and_comes_in_a_group():
    seen = []

    async def main():
        try:
            async with TaskGroup() as group:
                group.start_soon(cleans_up, seen, "child", 2)
                await sleep(1)
                raise LookupError("of the block")
        except ExceptionGroup as caught:
            seen.append((str(caught.exceptions[0]), now()))

    simulate(main)
    assert seen == [("child", 1003.0), ("of the block", 1003.0)]


def test_an_error_goes_through_the_groups_around_it():
    async def main():
        try:
            async with TaskGroup():
                async with TaskGroup() as inner:
                    inner.start_soon(fails, LookupError("deep"), 1)
        except ExceptionGroup as caught:
            return caught

    (inner,) = simulate(main).exceptions
    assert [str(error) for error in inner.exceptions] == ["deep"]


def test_an_error_is_not_lost_when_the_block_was_cancelled_from_outside():
    async def main():
        with CancelScope() as outer:
            try:
                async with TaskGroup() as group:
                    group.start_soon(fails_when_cancelled)
                    await sleep(1)
                    outer.cancel()
            except ExceptionGroup as caught:
                return str(caught.exceptions[0])

    async def fails_when_cancelled():
        try:
            await sleep(100)
        finally:
            raise LookupError("in the clean-up")

    assert simulate(main) == "in the clean-up"


def test_a_block_that_catches_its_cancellation_still_gets_the_error():
    async def main():
        with pytest.raises(ExceptionGroup):
            async with TaskGroup() as group:
                group.start_soon(fails, LookupError())
                try:
                    await sleep(100)
                except Cancelled:
                    pass
        return now()

    assert simulate(main) == 1000.0


# SystemExit.


def test_system_exit_of_a_task_leaves_run_at_once_and_cancels_the_others():
    seen = []

    async def waits(name):
        try:
            await sleep(500)
        finally:
            seen.append(name)

    async def main():
        async with TaskGroup() as group:
            group.start_soon(fails, SystemExit(3), 1)
            group.start_soon(waits, "child")
            await waits("block")

    with FakeReactor() as reactor:
        with pytest.raises(SystemExit) as caught:
            run(main, reactor=reactor)
        assert caught.value.code == 3
        assert seen == []
    assert sorted(seen) == ["block", "child"]


def test_system_exit_comes_once_and_close_does_not_raise_it_again():
    async def main():
        async with TaskGroup() as group:
            group.start_soon(fails, SystemExit(3))

    reactor = FakeReactor()
    with pytest.raises(SystemExit):
        run(main, reactor=reactor)
    reactor.close()
    reactor.close()


def test_system_exit_of_the_block_comes_after_the_tasks_have_ended():
    seen = []

    async def main():
        async with TaskGroup() as group:
            group.start_soon(cleans_up, seen, "child", 1)
            await sleep(1)
            raise SystemExit(4)

    with pytest.raises(SystemExit) as caught:
        simulate(main)
    assert caught.value.code == 4
    assert seen == [("child", 1002.0)]


def test_system_exit_of_the_block_wins_over_errors_of_the_tasks():
    async def main():
        async with TaskGroup() as group:
            group.start_soon(fails, LookupError())
            try:
                await sleep(100)
            finally:
                raise SystemExit(5)

    with pytest.raises(SystemExit):
        simulate(main)


def test_a_block_that_raises_while_a_task_leaves_the_program():
    """The loop is left by SystemExit; what the block raises comes when it is run again."""
    ended = []

    async def main():
        try:
            async with TaskGroup() as group:
                group.start_soon(fails, SystemExit(6), 1)
                try:
                    await sleep(100)
                finally:
                    raise LookupError("of the block")
        except ExceptionGroup as caught:
            ended.append(str(caught.exceptions[0]))

    with FakeReactor() as reactor:
        task = spawn(reactor, main)
        with pytest.raises(SystemExit):
            reactor.run()
        assert not task.has_ended()
        reactor.run_once(0)
        reactor.run_once(0)
        assert task.has_ended()
    assert ended == ["of the block"]

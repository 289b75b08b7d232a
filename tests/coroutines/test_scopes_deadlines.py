"""Deadlines of scopes: when a block is broken off, what wins, and what a deadline costs."""

import math

import pytest

from reactor import Cancelled, CancelScope, move_on_after, run, shield, sleep, spawn, timeout
from reactor.coroutines.pausing import pause
from reactor.coroutines.scopes import current_task
from tests.coroutines.programs import FakeReactor, now, simulate
from tests.rig import pass_time

# Deadlines.


def test_timeout_raises_timeout_error_with_its_seconds():
    async def main():
        with timeout(2.5):
            await sleep(10)

    with pytest.raises(TimeoutError, match=r"^not done within 2\.5 seconds$") as caught:
        simulate(main)
    assert isinstance(caught.value.__cause__, Cancelled)


def test_the_time_runs_from_the_beginning_of_the_block():
    async def main():
        scope = timeout(2)
        await sleep(5)
        with pytest.raises(TimeoutError):
            with scope:
                await sleep(10)
        return scope.deadline, now()

    assert simulate(main) == (1007.0, 1007.0)


def test_move_on_after_goes_on_behind_the_block():
    async def main():
        with move_on_after(2) as scope:
            await sleep(10)
        with move_on_after(2) as kept:
            await sleep(1)
        return scope.cancelled_caught, kept.cancelled_caught, now()

    assert simulate(main) == (True, False, 1003.0)


def test_a_block_whose_waits_are_over_when_the_time_comes_is_left_without_an_error():
    async def main():
        with timeout(2) as scope:
            try:
                await sleep(10)
            except Cancelled:
                pass
        return scope.cancel_called, scope.cancelled_caught

    assert simulate(main) == (True, False)


@pytest.mark.parametrize("seconds", [0, -1, -math.inf])
def test_with_no_time_left_the_first_wait_that_takes_a_turn_is_broken_off(seconds):
    async def main():
        with move_on_after(seconds) as scope:
            await sleep(5)
        assert scope.cancelled_caught
        with pytest.raises(TimeoutError):
            with timeout(seconds):
                await sleep(5)
        with timeout(seconds):
            pass
        return now()

    assert simulate(main) == 1000.0


def test_an_infinite_time_is_none_and_costs_no_timer():
    async def main():
        with timeout(math.inf) as scope:
            assert len(current_task().reactor.timers) == 0
            await sleep(5)
        return scope.cancel_called, now()

    assert simulate(main) == (False, 1005.0)


@pytest.mark.parametrize("make", [CancelScope, timeout, move_on_after, shield])
def test_what_is_no_time_is_refused_when_the_scope_is_made(make):
    with pytest.raises(ValueError, match="^the seconds of a scope must be a number, not NaN$"):
        make(math.nan)
    for wrong in ("5", None):
        with pytest.raises(TypeError, match="^the seconds of a scope must be a number, not"):
            make(wrong)


def test_a_time_that_is_too_large_for_a_clock_leaves_nothing_behind():
    async def main():
        with CancelScope() as around:
            with pytest.raises(OverflowError):
                with timeout(10**400):
                    pass
            assert current_task().scope is around
            around.cancel()
            await sleep(1)
        return around.cancelled_caught

    assert simulate(main) is True


def test_the_outer_of_two_timeouts_ends_first_and_the_inner_one_says_nothing():
    async def main():
        with timeout(1):
            with timeout(10) as inner:
                try:
                    await sleep(100)
                finally:
                    assert now() == 1001.0 and not inner.cancel_called

    with pytest.raises(TimeoutError, match="not done within 1 seconds"):
        simulate(main)


def test_the_inner_of_two_timeouts_ends_first_and_the_outer_one_still_holds():
    async def main():
        with move_on_after(3) as outer:
            with move_on_after(1) as inner:
                await sleep(100)
            assert inner.cancelled_caught and now() == 1001.0
            await sleep(100)
        return outer.cancelled_caught, now()

    assert simulate(main) == (True, 1003.0)


def test_of_two_timeouts_at_one_moment_the_outer_one_raises():
    async def main():
        with timeout(1) as outer:
            try:
                with timeout(1) as inner:
                    await sleep(100)
            except TimeoutError:
                raise AssertionError("the inner one took the exception of the outer one") from None
            finally:
                assert outer.cancel_called and inner.cancel_called

    with pytest.raises(TimeoutError):
        simulate(main)


def test_a_deadline_behind_a_shield_is_looked_at_too():
    async def main():
        with move_on_after(1) as outer:
            with shield():
                await sleep(2)
            assert outer.cancel_called
            await sleep(2)
        return outer.cancelled_caught, now()

    assert simulate(main) == (True, 1002.0)


def test_what_came_while_the_loop_was_away_wins_over_the_deadline(timed, pair):
    """P2: the loop was held up for longer than the time that the block has. First the data, then the judgement."""
    ours, theirs = pair
    read = []

    async def main():
        with move_on_after(5) as scope:
            read.append(await wait_readable(ours))
        read.append(scope.cancelled_caught)

    async def wait_readable(sock):
        task = current_task()
        task.reactor.add_reader(sock, task.resume, "data")
        try:
            return await pause()
        finally:
            task.reactor.remove_reader(sock)

    spawn(timed, main)
    timed.run_once(0)
    theirs.sendall(b"x")
    pass_time(timed, 50)
    timed.run_once(0)
    assert read == ["data", False]


# One timer for all.


def test_timeouts_that_are_kept_cost_no_timer():
    async def main():
        timers = current_task().reactor.timers
        counts = set()
        for _ in range(1000):
            with timeout(5):
                await sleep(0)
                counts.add(len(timers))
        return counts, len(timers._heap)

    assert simulate(main) == ({1}, 1)


def test_the_scopes_of_a_task_share_one_timer_and_each_ends_at_its_time():
    async def main():
        ends = []
        with move_on_after(9):
            with move_on_after(1):
                with move_on_after(5):
                    await sleep(100)
            ends.append(now())
            with move_on_after(6):
                with move_on_after(2):
                    assert len(current_task().reactor.timers) == 1
                    await sleep(100)  # this is a second timer
                ends.append(now())
                await sleep(100)
            ends.append(now())
            await sleep(100)
        return [*ends, now()]

    assert simulate(main) == [1001.0, 1003.0, 1007.0, 1009.0]


def test_the_timer_of_a_task_goes_with_it():
    async def main():
        with timeout(500):
            await sleep(0)

    with FakeReactor() as reactor:
        run(main, reactor=reactor)
        assert len(reactor.timers) == 0

"""Cancelling is a state of a block: who is told, where the exception ends, and what a shield keeps out."""

import math

import pytest

from reactor import Cancelled, CancelScope, TaskGroup, shield, sleep, spawn
from reactor.coroutines.scopes import current_task
from tests.coroutines.programs import FakeReactor, now, simulate, turns, within

# Cancelling.


def test_a_wait_inside_raises_cancelled_which_ends_at_the_block():
    seen = []

    async def main():
        with CancelScope() as scope:
            current_task().reactor.call_soon(scope.cancel)
            try:
                await sleep(10)
            except Exception:
                seen.append("taken for an error")
            except BaseException as exc:
                seen.append(type(exc))
                raise
        await sleep(0)
        return scope.cancel_called, scope.cancelled_caught, now()

    assert simulate(main) == (True, True, 1000.0)
    assert seen == [Cancelled]


def test_a_block_that_is_not_cancelled_says_so():
    async def main():
        with CancelScope() as scope:
            await sleep(1)
        return scope.cancel_called, scope.cancelled_caught, scope.deadline

    assert simulate(main) == (False, False, math.inf)


def test_a_wait_that_has_begun_raises_in_the_next_turn_and_not_inside_cancel():
    seen = []

    async def waiter(scope):
        with scope:
            try:
                await sleep(10)
            finally:
                seen.append("raised")

    async def main():
        scope = CancelScope()
        async with TaskGroup() as group:
            group.start_soon(waiter, scope)
            await turns(2)
            scope.cancel()
            seen.append("cancelled")
            await turns(1)
            seen.append("a turn later")

    simulate(main)
    assert seen == ["cancelled", "raised", "a turn later"]


def test_every_wait_raises_until_the_block_is_left():
    async def main():
        raised = 0
        with CancelScope() as scope:
            scope.cancel()
            for _ in range(3):
                try:
                    await sleep(10)
                except Cancelled:
                    raised += 1
        await sleep(1)
        return raised, scope.cancelled_caught, now()

    assert simulate(main) == (3, False, 1001.0)  # nothing reached the end of the block


def test_an_await_in_finally_raises_again_unless_it_is_shielded():
    seen = []

    async def main():
        with CancelScope() as scope:
            scope.cancel()
            try:
                await sleep(10)
            finally:
                try:
                    await sleep(10)
                except Cancelled:
                    seen.append("again")
                with shield(5):
                    await sleep(1)
                    seen.append(now())
                try:
                    await sleep(10)
                except Cancelled:
                    seen.append("behind the shield")
        return scope.cancelled_caught

    assert simulate(main) is True
    assert seen == ["again", 1001.0, "behind the shield"]


def test_a_task_that_computes_is_not_interrupted():
    async def main():
        with CancelScope() as scope:
            scope.cancel()
            return "computed", scope.cancelled_caught

    assert simulate(main) == ("computed", False)


def test_a_cancelled_block_that_is_left_has_no_effect_on_the_waits_behind_it():
    async def main():
        with CancelScope() as scope:
            scope.cancel()  # the loop is asked to break a wait off, and the block is left before
        await sleep(3)
        return now()

    assert simulate(main) == 1003.0


def test_a_second_cancel_and_one_after_the_block_do_nothing():
    async def main():
        with CancelScope() as scope:
            scope.cancel()
            scope.cancel()
            await sleep(1)
        late = CancelScope()
        with late:
            await sleep(0)
        late.cancel()
        await sleep(1)
        return scope.cancelled_caught, late.cancel_called, late.cancelled_caught, now()

    assert simulate(main) == (True, True, False, 1001.0)


def test_a_scope_may_be_cancelled_before_it_is_entered():
    async def main():
        scope = CancelScope()
        scope.cancel()
        with scope:
            await sleep(10)
        return scope.cancelled_caught, now()

    assert simulate(main) == (True, 1000.0)


def test_an_error_goes_through_a_cancelled_block():
    async def main():
        with CancelScope() as scope:
            scope.cancel()
            try:
                await sleep(1)
            finally:
                raise LookupError("of the clean-up")

    with pytest.raises(LookupError, match="of the clean-up"):
        simulate(main)


def test_a_cancelled_that_a_program_raises_is_not_caught_by_a_scope_that_was_not_cancelled():
    async def main():
        with CancelScope() as scope:
            try:
                with CancelScope() as inner:
                    raise Cancelled
            except Cancelled:
                return scope.cancelled_caught, inner.cancelled_caught

    assert simulate(main) == (False, False)


def test_the_outer_of_two_cancelled_blocks_catches():
    async def main():
        with CancelScope() as outer:
            with CancelScope() as inner:
                inner.cancel()
                outer.cancel()
                await sleep(1)
            raise AssertionError("the exception has to go on to the outer block")
        return outer.cancelled_caught, inner.cancelled_caught

    assert simulate(main) == (True, False)


def test_the_inner_of_two_blocks_alone_is_left_if_it_alone_is_cancelled():
    async def main():
        with CancelScope() as outer:
            with CancelScope() as inner:
                inner.cancel()
                await sleep(1)
            await sleep(2)
        return outer.cancelled_caught, inner.cancelled_caught, now()

    assert simulate(main) == (False, True, 1002.0)


def test_cancel_from_a_plain_callback_between_two_turns_breaks_the_wait_off():
    with FakeReactor() as reactor:
        scope, seen = CancelScope(), []
        spawn(reactor, within, scope, sleep, 100)
        reactor.run_once(0)
        scope.cancel()
        reactor.call_soon(seen.append, "later")
        reactor.run_once(0)
        assert scope.cancelled_caught
        assert seen == ["later"]


def test_a_scope_that_a_clean_up_cancels_is_left_all_the_same():
    class Cancels:
        def __init__(self, scope):
            self.scope = scope

        def __enter__(self):
            pass

        def __exit__(self, *_):
            self.scope.cancel()

    async def main():
        with CancelScope() as scope, Cancels(scope):
            await sleep(1)
        assert not scope.cancelled_caught
        with CancelScope() as scope:
            with Cancels(scope):
                pass
            await sleep(1)
        return scope.cancelled_caught, now()

    assert simulate(main) == (True, 1001.0)


# A shield.


def test_a_shield_keeps_the_blocks_around_it_out_and_not_itself():
    async def main():
        with CancelScope() as outer:
            with shield() as shielded:
                outer.cancel()
                await sleep(1)
                shielded.cancel()
                await sleep(1)
            assert shielded.cancelled_caught and now() == 1001.0
            await sleep(1)
        return outer.cancelled_caught, now()

    assert simulate(main) == (True, 1001.0)


def test_a_shield_whose_time_is_up_is_left_and_the_clean_up_goes_on_behind_it():
    seen = []

    async def main():
        with CancelScope() as outer:
            outer.cancel()
            try:
                await sleep(1)
            finally:
                with shield(2) as shielded:
                    await sleep(100)
                seen.append((now(), shielded.cancelled_caught))
        return outer.cancelled_caught

    assert simulate(main) is True
    assert seen == [(1002.0, True)]


def test_a_block_inside_a_shield_can_be_cancelled():
    async def main():
        with CancelScope() as outer:
            outer.cancel()
            with shield():
                with CancelScope() as inner:
                    inner.cancel()
                    await sleep(10)
                await sleep(1)
            assert inner.cancelled_caught
            await sleep(10)
        return outer.cancelled_caught, now()

    assert simulate(main) == (True, 1001.0)


def test_a_shield_inside_a_shield():
    async def main():
        with CancelScope() as outer:
            with shield():
                outer.cancel()
                with shield(1) as inner:
                    await sleep(10)
                assert inner.cancelled_caught
                await sleep(1)
            await sleep(10)
        return outer.cancelled_caught, now()

    assert simulate(main) == (True, 1002.0)


def test_a_shield_ends_when_the_reactor_closes():
    seen = []

    async def main():
        try:
            with shield(50) as shielded:
                await sleep(100)
        finally:
            seen.append(shielded.cancelled_caught)
            try:
                with shield(50):  # nor does a new one help
                    await sleep(100)
            finally:
                seen.append("again")

    with FakeReactor() as reactor:
        spawn(reactor, main)
        reactor.run_once(0)
        assert seen == []
    assert seen == [False, "again"]

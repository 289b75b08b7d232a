"""Programs that are not servers: `run` and `spawn`, their outcomes, their misuse, and Ctrl-C."""

import gc
import signal
import threading
import warnings

import pytest

from reactor import Cancelled, Limits, Protocol, Reactor, TaskGroup, run, shield, sleep, spawn
from reactor.coroutines.scopes import current_task
from tests.coroutines.programs import FakeReactor, now, turns
from tests.rig import adopt, turn_until


def interrupt():
    """Press Ctrl-C."""
    signal.raise_signal(signal.SIGINT)


async def returns(*args):
    await sleep(0)
    return args


async def fails(error):
    await sleep(0)
    raise error


# Outcomes.


def test_run_returns_what_the_coroutine_returns(descriptors_come_back):
    assert run(returns, 1, "two") == (1, "two")


@pytest.mark.parametrize("error", [LookupError("on purpose"), SystemExit(3), KeyboardInterrupt("by the program")])
def test_run_raises_what_the_coroutine_raises(descriptors_come_back, error, caplog):
    with pytest.raises(type(error)) as caught:
        run(fails, error)
    assert caught.value is error
    assert caplog.records == []


def test_a_new_reactor_has_the_limits_and_is_closed_afterwards(descriptors_come_back):
    async def main():
        return current_task().reactor

    limits = Limits(max_threads=7)
    reactor = run(main, limits=limits)
    assert reactor.limits is limits
    with pytest.raises(RuntimeError, match="this loop is closed"):
        reactor.call_soon(print)


def test_a_reactor_that_is_given_is_not_closed_and_can_run_again():
    with FakeReactor() as reactor:
        assert run(returns, 1, reactor=reactor) == (1,)
        assert run(returns, 2, reactor=reactor) == (2,)
        reactor.run_once(0)


def test_other_tasks_of_the_reactor_stay_when_the_main_one_has_ended():
    seen = []

    async def other():
        await sleep(5)
        seen.append("other")

    async def main():
        spawn(current_task().reactor, other)
        await sleep(1)

    with FakeReactor() as reactor:
        run(main, reactor=reactor)
        assert seen == []
        run(sleep, 10, reactor=reactor)
        assert seen == ["other"]


def test_other_tasks_of_a_new_reactor_are_cancelled_when_the_main_one_has_ended(descriptors_come_back):
    seen = []

    async def other():
        try:
            await sleep(500)
        except Cancelled:
            seen.append("cancelled")
            raise

    async def main():
        spawn(current_task().reactor, other)
        await turns(2)

    run(main)
    assert seen == ["cancelled"]


def test_an_error_of_another_task_does_not_end_the_program(caplog):
    async def main():
        spawn(current_task().reactor, fails, LookupError("of another"))
        await turns(3)
        return "went on"

    with FakeReactor() as reactor:
        assert run(main, reactor=reactor) == "went on"
        assert reactor.counters.callback_errors == 1
    assert "of another" in caplog.text


def test_it_runs_off_the_main_thread():
    told = []
    thread = threading.Thread(target=lambda: told.append(run(returns, 1)))
    thread.start()
    thread.join()
    assert told == [(1,)]


# Misuse of run.


def test_limits_belong_to_a_reactor():
    with FakeReactor() as reactor:
        with pytest.raises(TypeError, match=r"^give limits to the reactor: Reactor\(limits=\.\.\.\)$"):
            run(returns, reactor=reactor, limits=Limits())


@pytest.mark.parametrize("wrong", [5, print, lambda: 5])
def test_what_is_no_coroutine_is_refused(descriptors_come_back, wrong):
    with pytest.raises(TypeError, match="a task needs an async function, not 5|must be an `async def`"):
        run(wrong)
    with FakeReactor() as reactor:
        with pytest.raises(TypeError):
            run(wrong, reactor=reactor)
        with pytest.raises(TypeError):
            spawn(reactor, wrong)
        assert run(returns, reactor=reactor) == ()


def test_a_reactor_that_runs_already_is_refused_and_makes_no_coroutine():
    async def main():
        with pytest.raises(RuntimeError, match="^this loop is already running$"):
            run(returns, reactor=current_task().reactor)
        return "went on"

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with FakeReactor() as reactor:
            assert run(main, reactor=reactor) == "went on"
        gc.collect()


def test_a_reactor_that_is_closed_is_refused():
    reactor = FakeReactor()
    reactor.close()
    with pytest.raises(RuntimeError, match="^this loop is closed$"):
        run(returns, reactor=reactor)
    with pytest.raises(RuntimeError, match="^this loop is closed$"):
        spawn(reactor, returns)


def test_a_reactor_that_is_stopped_before_the_end_is_an_error_after_the_clean_up():
    seen = []

    async def main():
        current_task().reactor.stop()
        try:
            await sleep(500)
        finally:
            with shield():
                await sleep(1)
            seen.append(now())

    with FakeReactor() as reactor:
        with pytest.raises(RuntimeError, match="^the reactor was stopped before the coroutine had ended$"):
            run(main, reactor=reactor)
        assert seen == [1001.0]
        assert run(returns, reactor=reactor) == ()


def test_a_reactor_that_is_stopped_in_the_turn_in_which_the_coroutine_ends_is_no_error():
    async def main():
        current_task().reactor.stop()
        return "ended"

    with FakeReactor() as reactor:
        assert run(main, reactor=reactor) == "ended"


def test_a_reactor_that_is_closed_before_the_end_is_an_error_after_the_clean_up():
    seen = []

    async def main():
        current_task().reactor.close()
        try:
            await sleep(500)
        finally:
            seen.append("cleaned up")

    with FakeReactor() as reactor:
        with pytest.raises(RuntimeError, match="^the reactor was closed before the coroutine had ended$"):
            run(main, reactor=reactor)
    assert seen == ["cleaned up"]


def test_a_coroutine_that_closes_its_reactor_and_returns_is_no_error():
    async def main():
        current_task().reactor.close()
        return "ended"

    assert run(main) == "ended"


# Ctrl-C.


def test_ctrl_c_cancels_the_coroutine_which_can_clean_up(descriptors_come_back):
    seen = []

    async def main():
        interrupt()
        seen.append("not in the middle of it")
        try:
            await sleep(500)
        except Cancelled:
            with shield():
                await turns(3)
            seen.append("cleaned up")
            raise

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert seen == ["not in the middle of it", "cleaned up"]


def test_ctrl_c_ends_the_children_too():
    seen = []

    async def child():
        try:
            await sleep(500)
        finally:
            with shield():
                await sleep(3)
            seen.append(now())

    async def main():
        async with TaskGroup() as group:
            group.start_soon(child)
            await sleep(1)
            interrupt()

    with FakeReactor() as reactor:
        with pytest.raises(KeyboardInterrupt):
            run(main, reactor=reactor)
        assert seen == [1004.0]


def test_a_second_ctrl_c_does_not_wait_for_the_clean_up():
    seen = []

    async def main():
        interrupt()
        try:
            await sleep(500)
        finally:
            try:
                with shield():
                    current_task().reactor.call_soon(interrupt)
                    await sleep(300)
                    seen.append("not reached")
            finally:
                seen.append("the close breaks it off")

    with FakeReactor() as reactor:
        with pytest.raises(KeyboardInterrupt):
            run(main, reactor=reactor)
        assert seen == [] and reactor.timers.clock.now == 1000.0
    assert seen == ["the close breaks it off"]


def test_a_coroutine_that_ends_in_the_turn_of_a_ctrl_c_still_raises_it():
    async def main():
        interrupt()
        return "ended"

    with FakeReactor() as reactor:
        with pytest.raises(KeyboardInterrupt):
            run(main, reactor=reactor)
        assert run(returns, reactor=reactor) == ()


def test_an_error_of_the_clean_up_after_a_ctrl_c_is_shown_with_it():
    async def main():
        interrupt()
        try:
            await sleep(500)
        finally:
            raise LookupError("of the clean-up")

    with FakeReactor() as reactor:
        with pytest.raises(KeyboardInterrupt) as caught:
            run(main, reactor=reactor)
    assert str(caught.value.__cause__) == "of the clean-up"


def test_a_program_that_swallows_the_cancellation_still_ends_by_ctrl_c():
    async def main():
        interrupt()
        try:
            await sleep(500)
        except BaseException:
            return "swallowed"

    with pytest.raises(KeyboardInterrupt):
        run(main)


# spawn.


def test_spawn_starts_from_a_callback_of_a_protocol(reactor, pair):
    ours, theirs = pair
    seen = []

    class Program(Protocol):
        def data_received(self, data):
            spawn(reactor, later, data)

    async def later(data):
        await sleep(0)
        seen.append(data)

    adopt(reactor, ours.dup(), Program())
    ours.close()
    theirs.sendall(b"x")
    turn_until(reactor, lambda: seen, "the coroutine ran")
    assert seen == [b"x"]


def test_what_spawn_returns_is_cancelled_alone():
    with FakeReactor() as reactor:
        one, other = spawn(reactor, sleep, 500), spawn(reactor, sleep, 500)
        reactor.run_once(0)
        one.cancel()
        reactor.run_once(0)
        assert one.has_ended() and not other.has_ended()


def test_what_spawn_started_is_inside_no_scope_of_the_task_that_started_it():
    async def main():
        with shield(1) as scope:
            task = spawn(current_task().reactor, sleep, 5)
            scope.cancel()
        await sleep(3)
        assert not task.has_ended()
        await sleep(3)
        return task.has_ended() and not task.cancel_called

    with FakeReactor() as reactor:
        assert run(main, reactor=reactor) is True


def test_spawn_on_another_thread_is_refused(reactor):
    refused = []

    def foreign():
        try:
            spawn(reactor, sleep, 1)
        except RuntimeError as exc:
            refused.append(str(exc))

    async def main():
        thread = threading.Thread(target=foreign)
        thread.start()
        thread.join()

    run(main, reactor=reactor)
    assert "another thread runs this loop" in refused[0]


def test_a_coroutine_that_the_loop_is_asked_for_by_another_thread(reactor):
    seen = []

    async def later():
        seen.append("ran")

    async def main():
        thread = threading.Thread(target=reactor.call_soon_threadsafe, args=[spawn, reactor, later])
        thread.start()
        while not seen:
            await turns(1)
        thread.join()

    run(main, reactor=reactor)
    assert seen == ["ran"]


def test_a_new_reactor_is_closed_also_after_an_error_of_the_loop(descriptors_come_back):
    """`run` outside of everything: whatever ends it, nothing is left open."""
    with pytest.raises(ExceptionGroup):
        run(with_children)


async def with_children():
    async with TaskGroup() as group:
        group.start_soon(fails, LookupError())
        group.start_soon(sleep, 500)


def test_nothing_of_a_reactor_is_kept_by_a_program_that_has_ended():
    reactor = Reactor()
    with reactor:
        run(returns, reactor=reactor)
    assert reactor.at_close == set()

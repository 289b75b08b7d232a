"""Asynchronous generators that are left in the middle are finished, wherever and whenever they are collected."""

import logging
import sys
import threading

import pytest

from reactor import Reactor, run, sleep, spawn
from reactor.coroutines.roots import roots_of
from reactor.coroutines.scopes import current_task
from tests.coroutines.programs import FakeReactor, simulate, turns, waits
from tests.rig import DEADLINE_SECONDS, turn_until


async def numbers(seen, wait=1):
    """A generator whose clean-up waits."""
    try:
        yield 1
        yield 2
    finally:
        seen.append("cleaning")
        await sleep(wait)
        seen.append("clean")


def test_a_generator_that_is_left_by_break_is_finished_by_a_task():
    seen = []

    async def main():
        async for _ in numbers(seen):
            break
        seen.append("behind the loop")
        await sleep(5)

    simulate(main)
    assert seen == ["behind the loop", "cleaning", "clean"]


def test_a_generator_that_was_used_up_or_closed_is_not_finished_again():
    seen = []

    async def main():
        async for _ in numbers(seen):
            pass
        generator = numbers(seen)
        await anext(generator)
        await generator.aclose()
        del generator
        numbers(seen)  # never begun: its `finally` never runs
        await turns(3)
        return list(roots_of(current_task().reactor).tasks) == [current_task()]

    assert simulate(main) is True
    assert seen == ["cleaning", "clean"] * 2


def test_an_error_in_its_clean_up_is_logged_and_counted(caplog):
    async def fails():
        try:
            yield 1
        finally:
            await sleep(0)
            raise LookupError("of the generator")

    async def main():
        async for _ in fails():
            break
        await turns(5)
        return current_task().reactor.counters.callback_errors

    assert simulate(main) == 1
    (record,) = caplog.records
    assert "of the generator" in str(record.exc_info[1])


def test_a_generator_that_another_thread_collects_is_finished_in_the_loop(reactor):
    seen = []

    async def main():
        generator = numbers(seen, 0)
        await anext(generator)
        box.append(generator)
        del generator
        thread = threading.Thread(target=box.clear)
        thread.start()
        thread.join()
        while "clean" not in seen:
            await turns(1)
        return threading.get_ident()

    box = []
    assert run(main, reactor=reactor) == threading.get_ident()
    assert seen == ["cleaning", "clean"]


@pytest.mark.parametrize("wait", [0, 1])
def test_a_generator_that_is_collected_after_the_reactor_was_closed_is_finished_and_its_waits_raise(wait):
    seen = []

    async def main():
        generator = numbers(seen, wait)
        await anext(generator)
        return generator

    with FakeReactor() as reactor:
        generator = run(main, reactor=reactor)
    assert seen == []
    del generator
    assert seen == ["cleaning"]
    assert roots_of(reactor).tasks == {}


def test_a_generator_of_a_task_that_the_close_breaks_off_is_finished_and_its_waits_raise():
    seen = []

    async def main(name):
        async for number in numbers(seen):
            await waits(seen, name)
            raise AssertionError(number)

    with FakeReactor() as reactor:
        tasks = [spawn(reactor, main, name) for name in "ab"]
        reactor.run_once(0)
    assert sorted(map(str, seen)) == ["('a', 'Cancelled')", "('b', 'Cancelled')", "cleaning", "cleaning"]
    assert all(task.has_ended() for task in tasks) and roots_of(reactor).tasks == {}
    assert reactor.counters.callback_errors == 0


def test_a_task_that_drops_a_generator_while_it_closes_is_not_called_inside_itself():
    """The task was woken and is to be broken off: both calls are pending when its generator asks for a third one."""
    seen = []

    async def main():
        generator = numbers(seen)
        await anext(generator)
        await sleep(0)
        del generator
        seen.append("dropped")
        try:
            await sleep(500)
        finally:
            seen.append("ended")

    with FakeReactor() as reactor:
        task = spawn(reactor, main)
        reactor.run_once(0)
    assert sorted(seen) == ["cleaning", "dropped", "ended"] and seen[0] == "dropped"
    assert task.has_ended() and roots_of(reactor).tasks == {}
    assert reactor.counters.callback_errors == 0


def test_the_hook_of_before_comes_back():
    before = sys.get_asyncgen_hooks()
    with FakeReactor() as reactor:
        roots_of(reactor)
        reactor.run_once(0)
        assert sys.get_asyncgen_hooks().finalizer is not before.finalizer
    assert sys.get_asyncgen_hooks() == before


@pytest.mark.parametrize("first", [0, 1])
def test_the_hook_of_before_comes_back_in_whatever_order_two_reactors_are_closed(first):
    before = sys.get_asyncgen_hooks()
    reactors = [FakeReactor(), FakeReactor()]
    for reactor in reactors:
        roots_of(reactor)
        reactor.run_once(0)
    reactors[first].close()
    assert sys.get_asyncgen_hooks().finalizer.__self__.reactor is reactors[1 - first]
    reactors[1 - first].close()
    assert sys.get_asyncgen_hooks() == before


def test_a_hook_that_another_library_has_set_meanwhile_stays():
    before = sys.get_asyncgen_hooks()

    def foreign(generator):
        pass

    with FakeReactor() as reactor:
        roots_of(reactor)
        reactor.run_once(0)
        sys.set_asyncgen_hooks(finalizer=foreign)
    try:
        assert sys.get_asyncgen_hooks().finalizer is foreign
    finally:
        sys.set_asyncgen_hooks(*before)


def test_a_program_that_is_started_before_another_thread_runs_the_reactor_has_its_generators_finished():
    seen = []

    async def main():
        async for _ in numbers(seen, 0):
            break
        while "clean" not in seen:
            await turns(1)
        current_task().reactor.close()

    reactor = Reactor()
    spawn(reactor, main)
    thread = threading.Thread(target=reactor.run)
    thread.start()
    thread.join(DEADLINE_SECONDS)
    assert not thread.is_alive()
    assert seen == ["cleaning", "clean"]


def test_a_task_of_a_reactor_that_runs_here_can_run_another_reactor():
    async def inner():
        await sleep(1)
        return current_task()

    async def main():
        me = current_task()
        other = simulate(inner)
        assert other is not me and other.has_ended()
        assert current_task() is me
        await sleep(0)
        return "went on"

    assert simulate(main) == "went on"


def test_what_is_logged_names_the_function(caplog):
    async def breaks_down():
        raise LookupError

    with FakeReactor() as reactor:
        spawn(reactor, breaks_down)
        turn_until(reactor, lambda: reactor.counters.callback_errors, "the error")
    (record,) = caplog.records
    assert record.levelno == logging.ERROR and "breaks_down (test_roots_generators.py:" in record.getMessage()

"""The tasks that belong to no group: all of them end when the reactor closes, and so do generators that were left."""


import pytest

from reactor import Cancelled, CancelScope, Event, Queue, Reactor, TaskGroup, shield, sleep, spawn
from reactor.coroutines.handlers import ServedStream
from reactor.coroutines.roots import outliving, roots_of, tell_draining
from reactor.coroutines.scopes import current_task
from tests.coroutines.programs import FakeReactor, turns, waits
from tests.rig import adopt

# What the roots know.


def test_a_reactor_without_tasks_has_no_roots():
    with FakeReactor() as reactor:
        assert tell_draining(reactor) is False
        assert outliving(reactor) == 0
        assert reactor.extensions == {}


def test_there_is_one_object_for_each_reactor():
    with FakeReactor() as one, FakeReactor() as other:
        assert roots_of(one) is roots_of(one) is not roots_of(other)


def test_a_task_is_known_until_it_has_ended():
    with FakeReactor() as reactor:
        task = spawn(reactor, turns, 1)
        assert list(roots_of(reactor).tasks) == [task]
        for _ in range(3):
            reactor.run_once(0)
        assert list(roots_of(reactor).tasks) == []


def test_a_drain_is_told_and_says_whether_a_task_waits_for_it():
    seen = []

    async def waits_for_it():
        await roots_of(current_task().reactor).draining.wait()
        seen.append("told")

    with FakeReactor() as reactor:
        roots_of(reactor)
        assert tell_draining(reactor) is False
        assert roots_of(reactor).draining.is_set()
    with FakeReactor() as reactor:
        spawn(reactor, waits_for_it)
        reactor.run_once(0)
        assert tell_draining(reactor) is True
        reactor.run_once(0)
        assert seen == ["told"]


# Closing.


def test_every_task_is_cancelled_and_ends_before_close_returns():
    seen = []
    with FakeReactor() as reactor:
        for name in "ab":
            spawn(reactor, waits, seen, name)
        reactor.run_once(0)
    assert seen == [("a", "Cancelled"), ("b", "Cancelled")]


def test_groups_in_groups_end_from_the_inside():
    seen = []

    async def parent(name, depth):
        try:
            async with TaskGroup() as group:
                group.start_soon(waits, seen, name + "1")
                if depth:
                    group.start_soon(parent, name + "2", depth - 1)
                await sleep(500)
        finally:
            seen.append((name, "left"))

    with FakeReactor() as reactor:
        task = spawn(reactor, parent, "", 2)
        for _ in range(5):
            reactor.run_once(0)
        assert seen == []
    assert task.has_ended()
    assert sorted(seen) == sorted(
        [("1", "Cancelled"), ("21", "Cancelled"), ("221", "Cancelled"), ("22", "left"), ("2", "left"), ("", "left")]
    )
    assert [name for name, what in seen if what == "left"] == ["22", "2", ""]


def test_a_group_that_waits_for_its_tasks_when_the_reactor_closes():
    seen = []

    async def main():
        async with TaskGroup() as group:
            group.start_soon(waits, seen, "child")
        seen.append("not reached")

    with FakeReactor() as reactor:
        task = spawn(reactor, main)
        reactor.run_once(0)
        reactor.run_once(0)
    assert seen == [("child", "Cancelled")] and task.has_ended()


def test_a_task_that_was_woken_goes_on_and_is_cancelled_at_its_next_wait():
    seen = []

    async def main():
        await sleep(0)
        seen.append("went on")
        await waits(seen, "next")

    with FakeReactor() as reactor:
        spawn(reactor, main)
        reactor.run_once(0)  # it was woken for the next turn
    assert seen == ["went on", ("next", "Cancelled")]


def test_a_thing_that_was_promised_when_the_reactor_closes_is_taken():
    got = []

    async def main(queue):
        got.append(await queue.get())

    with FakeReactor() as reactor:
        queue = Queue(1)
        spawn(reactor, main, queue)
        reactor.run_once(0)
        queue.put_nowait("thing")
    assert got == ["thing"]


def test_a_task_that_has_not_begun_runs_up_to_its_first_wait():
    seen = []

    async def main():
        seen.append("begun")
        await waits(seen, "first")

    async def parent():
        async with TaskGroup() as group:
            group.start_soon(main)

    with FakeReactor() as reactor:
        spawn(reactor, main)
    assert seen == ["begun", ("first", "Cancelled")]
    seen.clear()
    with FakeReactor() as reactor:
        spawn(reactor, parent)
        reactor.run_once(0)
    assert seen == ["begun", ("first", "Cancelled")]


def test_a_wait_that_was_cancelled_but_not_broken_off_yet():
    """`cancel` has asked the loop to break the wait off in the next turn, which never comes."""
    seen = []
    with FakeReactor() as reactor:
        task = spawn(reactor, waits, seen, "cancelled")
        reactor.run_once(0)
        task.cancel()
    assert seen == [("cancelled", "Cancelled")] and task.has_ended()


def test_a_shielded_wait_ends_and_so_do_the_waits_behind_it():
    seen = []

    async def main():
        try:
            with shield():
                await waits(seen, "shielded")
        finally:
            with shield():
                await waits(seen, "behind")

    with FakeReactor() as reactor:
        spawn(reactor, main)
        reactor.run_once(0)
    assert seen == [("shielded", "Cancelled"), ("behind", "Cancelled")]


def test_a_shield_inside_a_group_inside_a_shield():
    seen = []

    async def child():
        with shield():
            await waits(seen, "child")

    async def main():
        with shield():
            async with TaskGroup() as group:
                group.start_soon(child)
                with shield():
                    await waits(seen, "block")

    with FakeReactor() as reactor:
        task = spawn(reactor, main)
        reactor.run_once(0)
        reactor.run_once(0)
    assert sorted(seen) == [("block", "Cancelled"), ("child", "Cancelled")] and task.has_ended()


def test_a_task_that_swallows_its_cancellation_and_returns():
    async def main():
        try:
            await sleep(500)
        except Cancelled:
            return "swallowed"

    with FakeReactor() as reactor:
        task = spawn(reactor, main)
        reactor.run_once(0)
    assert task.result == "swallowed"


@pytest.mark.parametrize("wait", [0, 1])
def test_a_clean_up_that_waits_is_told_at_once(wait):
    seen = []

    async def main():
        try:
            await sleep(500)
        finally:
            try:
                await sleep(wait)
            except Cancelled:
                seen.append("told")

    with FakeReactor() as reactor:
        spawn(reactor, main)
        reactor.run_once(0)
    assert seen == ["told"]


def test_a_clean_up_may_use_a_group_whose_tasks_end_at_their_first_wait():
    seen = []

    async def main():
        try:
            await sleep(500)
        finally:
            async with TaskGroup() as group:
                group.start_soon(waits, seen, "started while it closes")

    with FakeReactor() as reactor:
        task = spawn(reactor, main)
        reactor.run_once(0)
    assert seen == [("started while it closes", "Cancelled")] and task.has_ended()


def test_a_clean_up_may_wake_others():
    seen = []

    async def first(event):
        try:
            await sleep(500)
        finally:
            event.set()

    async def second(event):
        with shield():
            await event.wait()
        seen.append("woken")

    with FakeReactor() as reactor:
        event = Event()
        tasks = [spawn(reactor, function, event) for function in (first, second)]
        reactor.run_once(0)
    assert all(task.has_ended() for task in tasks)


def test_a_handler_that_is_woken_while_the_reactor_closes_is_cancelled_at_its_next_wait(pair, caplog):
    """Its connection still lives. It must not meet a RuntimeError of a loop that is closed."""
    ours, _ = pair
    seen = []

    async def wakes(event):
        try:
            await sleep(500)
        finally:
            event.set()

    async def handler(stream):
        await event.wait()
        seen.append("woken")
        await waits(seen, "next")

    with Reactor() as reactor:
        event = Event()
        spawn(reactor, wakes, event)
        adopt(reactor, ours, ServedStream(handler))
        for _ in range(3):
            reactor.run_once(0)
    assert seen == ["woken", ("next", "Cancelled")]
    assert caplog.records == []


def test_a_clean_up_may_close_and_stop_the_reactor_again():
    seen = []

    async def main(reactor):
        try:
            await sleep(500)
        finally:
            reactor.close()
            reactor.stop()
            seen.append("closed again")

    with FakeReactor() as reactor:
        spawn(reactor, main, reactor)
        spawn(reactor, waits, seen, "other")
        reactor.run_once(0)
    assert seen == ["closed again", ("other", "Cancelled")]


def test_spawn_is_refused_while_it_closes():
    seen = []

    async def main(reactor):
        try:
            await sleep(500)
        finally:
            with pytest.raises(RuntimeError, match="this loop is closed"):
                spawn(reactor, sleep, 1)
            seen.append("refused")

    with FakeReactor() as reactor:
        spawn(reactor, main, reactor)
        reactor.run_once(0)
    assert seen == ["refused"]


def test_an_error_of_a_clean_up_is_logged_and_counted_and_the_others_end(caplog):
    seen = []

    async def fails():
        try:
            await sleep(500)
        finally:
            raise LookupError("of the clean-up")

    with FakeReactor() as reactor:
        spawn(reactor, fails)
        spawn(reactor, waits, seen, "other")
        reactor.run_once(0)
    assert seen == [("other", "Cancelled")]
    assert reactor.counters.callback_errors == 1
    assert "a task raised" in caplog.text


def test_system_exit_of_a_clean_up_comes_when_all_have_ended():
    seen = []

    async def leaves():
        try:
            await sleep(500)
        finally:
            raise SystemExit(7)

    reactor = FakeReactor()
    spawn(reactor, leaves)
    spawn(reactor, waits, seen, "other")
    reactor.run_once(0)
    with pytest.raises(SystemExit) as caught:
        reactor.close()
    assert caught.value.code == 7
    assert seen == [("other", "Cancelled")]
    reactor.close()


def test_after_system_exit_close_ends_the_others_and_does_not_raise_it_again():
    seen = []

    async def leaves():
        raise SystemExit

    reactor = FakeReactor()
    spawn(reactor, waits, seen, "other")
    spawn(reactor, leaves)
    with pytest.raises(SystemExit):
        reactor.run_once(0)
    reactor.close()
    assert seen == [("other", "Cancelled")]


def test_close_inside_a_task_takes_effect_at_its_next_wait():
    seen = []

    async def main(reactor):
        reactor.close()
        seen.append("still here")
        await waits(seen, "next")

    with FakeReactor() as reactor:
        spawn(reactor, main, reactor)
        spawn(reactor, waits, seen, "other")
        reactor.run()
    assert seen == ["still here", ("next", "Cancelled"), ("other", "Cancelled")]


def test_close_inside_a_task_of_a_group_ends_the_group():
    seen = []

    async def child(reactor):
        reactor.close()
        await waits(seen, "child")

    async def main(reactor):
        async with TaskGroup() as group:
            group.start_soon(child, reactor)
            await waits(seen, "block")

    with FakeReactor() as reactor:
        task = spawn(reactor, main, reactor)
        reactor.run()
    assert sorted(seen) == [("block", "Cancelled"), ("child", "Cancelled")] and task.has_ended()


def test_close_in_a_shield_that_holds_a_cancel_back():
    seen = []

    async def main(reactor):
        with CancelScope() as scope:
            scope.cancel()
            with shield():
                reactor.close()
                await waits(seen, "shielded")

    with FakeReactor() as reactor:
        task = spawn(reactor, main, reactor)
        reactor.run()
    assert seen == [("shielded", "Cancelled")] and task.has_ended()


def test_ten_thousand_tasks_end():
    ended = []

    async def child():
        try:
            await sleep(500)
        finally:
            ended.append(True)

    async def main():
        async with TaskGroup() as group:
            for _ in range(10_000):
                group.start_soon(child)

    with FakeReactor() as reactor:
        spawn(reactor, main)
        reactor.run_once(0)
        reactor.run_once(0)
    assert len(ended) == 10_000

"""`Queue`: in order, bounded, and nothing is lost or comes twice, whoever is cancelled when."""

import threading

import pytest

from reactor import CancelScope, Queue, QueueEmpty, QueueFull, TaskGroup, move_on_after, sleep
from reactor.coroutines.scopes import current_task
from reactor.coroutines.waiting import STEPS_PER_TURN
from tests.coroutines.programs import now, simulate, tell, turns, within


@pytest.mark.parametrize("maxsize, count", [(1, 1000), (2, 1000), (1000, 2), (1000, 5000)])
def test_all_comes_in_order_and_never_more_than_the_bound_is_in_it(maxsize, count):
    async def produce(queue):
        for number in range(count):
            await queue.put(number)
            assert len(queue) <= maxsize

    async def main():
        queue, got = Queue(maxsize), []
        async with TaskGroup() as group:
            group.start_soon(produce, queue)
            for _ in range(count):
                got.append(await queue.get())
        return got, len(queue)

    assert simulate(main) == (list(range(count)), 0)


def test_a_producer_waits_while_the_queue_is_full():
    async def main():
        queue, told = Queue(2), []
        async with TaskGroup() as group:
            for number in range(4):
                group.start_soon(tell, told, CancelScope(), queue.put, number)
            await turns(3)
            assert told == [None, None] and queue.full() and queue.qsize() == len(queue) == 2
            assert [await queue.get() for _ in range(4)] == [0, 1, 2, 3]
            assert told == [None] * 4 and queue.empty()

    simulate(main)


def test_a_consumer_waits_while_it_is_empty():
    async def main():
        queue, told = Queue(2), []
        async with TaskGroup() as group:
            for _ in range(2):
                group.start_soon(tell, told, CancelScope(), queue.get)
            await turns(2)
            assert queue.empty()
            await queue.put("a")
            assert queue.empty() and len(queue) == 1  # it is promised
            await queue.put("b")
            await turns(1)
            return told

    assert simulate(main) == ["a", "b"]


def test_without_waiting():
    queue = Queue(2)
    with pytest.raises(QueueEmpty, match="^the queue is empty$"):
        queue.get_nowait()
    queue.put_nowait(1)
    queue.put_nowait(2)
    with pytest.raises(QueueFull, match="^the queue holds 2 things, as many as it may$"):
        queue.put_nowait(3)
    assert [queue.get_nowait(), queue.get_nowait()] == [1, 2]
    assert queue.maxsize == 2


@pytest.mark.parametrize("maxsize", [0, -1, 1.5, "1", None])
def test_there_is_no_queue_without_a_bound(maxsize):
    with pytest.raises(ValueError, match="the size of a queue must be a whole number from 1, not"):
        Queue(maxsize)


def test_what_is_promised_is_not_taken_by_another():
    async def main():
        queue, told = Queue(1), []
        async with TaskGroup() as group:
            group.start_soon(tell, told, CancelScope(), queue.get)
            await turns(2)
            queue.put_nowait("thing")
            with pytest.raises(QueueEmpty):
                queue.get_nowait()
            await turns(1)
            assert told == ["thing"]

            queue.put_nowait("first")
            group.start_soon(queue.put, "second")
            await turns(2)
            assert queue.get_nowait() == "first"
            assert queue.full()
            with pytest.raises(QueueFull):
                queue.put_nowait("third")
            await turns(1)
            return await queue.get()

    assert simulate(main) == "second"


@pytest.mark.parametrize("order", ["put, then cancel", "cancel, then put"])
@pytest.mark.parametrize("next_waits", [False, True])
def test_a_thing_is_never_lost_when_its_getter_is_cancelled_in_the_same_turn(order, next_waits):
    async def main():
        queue, scope, first, second = Queue(5), CancelScope(), [], []
        async with TaskGroup() as group:
            group.start_soon(tell, first, scope, queue.get)
            if next_waits:
                group.start_soon(tell, second, CancelScope(), queue.get)
            await turns(2)
            actions = [lambda: queue.put_nowait("thing"), scope.cancel]
            for action in actions if order.startswith("put") else reversed(actions):
                action()
            await turns(2)
            left = [] if queue.empty() else [queue.get_nowait()]
            assert queue.empty() and len(queue) == 0
            group.cancel()
        return first, second, left

    taken = ["thing"]
    if order.startswith("put"):
        assert simulate(main) == (taken, [], [])
    else:
        assert simulate(main) == ([], taken, []) if next_waits else ([], [], taken)


@pytest.mark.parametrize("order", ["get, then cancel", "cancel, then get"])
@pytest.mark.parametrize("next_waits", [False, True])
def test_room_is_never_lost_when_its_putter_is_cancelled_in_the_same_turn(order, next_waits):
    async def main():
        queue, scope, got = Queue(1), CancelScope(), []
        queue.put_nowait("before")
        async with TaskGroup() as group:
            group.start_soon(within, scope, queue.put, "first")
            if next_waits:
                group.start_soon(queue.put, "second")
            await turns(2)
            actions = [lambda: got.append(queue.get_nowait()), scope.cancel]
            for action in actions if order.startswith("get") else reversed(actions):
                action()
            await turns(2)
            while not queue.empty():
                got.append(queue.get_nowait())
                await turns(1)
            assert not queue.full()
            queue.put_nowait("there is room")
        return got

    expected = ["before"] + ["first"] * order.startswith("get") + ["second"] * next_waits
    assert simulate(main) == expected


def test_a_chain_of_getters_that_are_all_woken_and_cancelled_keeps_all_things():
    async def main():
        queue, told, scopes = Queue(100), [], [CancelScope() for _ in range(50)]
        async with TaskGroup() as group:
            for scope in scopes:
                group.start_soon(tell, told, scope, queue.get)
            await turns(2)
            for number, scope in enumerate(scopes):
                if number % 3:
                    scope.cancel()
                queue.put_nowait(number)
                if not number % 3:
                    scope.cancel()
            await turns(5)
            left = []
            while not queue.empty():
                left.append(queue.get_nowait())
        assert len(queue) == 0
        return sorted(told + left), told == sorted(told)

    assert simulate(main) == (list(range(50)), True)


def test_a_put_that_is_cancelled_adds_nothing():
    async def main():
        queue = Queue(1)
        queue.put_nowait("before")
        with move_on_after(1) as scope:
            await queue.put("late")
        assert scope.cancelled_caught and queue.get_nowait() == "before" and queue.empty()
        with CancelScope() as scope:
            scope.cancel()
            await queue.put("never")
        return scope.cancelled_caught, len(queue)

    assert simulate(main) == (True, 0)


def test_a_get_that_is_cancelled_takes_nothing():
    async def main():
        queue = Queue(1)
        queue.put_nowait("thing")
        with CancelScope() as scope:
            scope.cancel()
            await queue.get()
        return scope.cancelled_caught, queue.get_nowait()

    assert simulate(main) == (True, "thing")


@pytest.mark.parametrize("action", ["put", "get"])
def test_a_task_whose_puts_and_gets_need_not_wait_takes_breaks(action):
    async def main():
        queue = Queue(10_000)
        for number in range(5000):
            queue.put_nowait(number)
        iterations = current_task().reactor.counters.iterations
        for _ in range(STEPS_PER_TURN + 1):
            await (queue.put(0) if action == "put" else queue.get())
        return current_task().reactor.counters.iterations - iterations

    assert simulate(main) == 1


@pytest.mark.parametrize("action", ["put", "get"])
def test_what_is_gone_after_the_break_is_waited_for(action):
    async def main():
        queue = Queue(1)
        reactor = current_task().reactor
        if action == "get":
            queue.put_nowait("first")
            reactor.call_soon(queue.get_nowait)
            reactor.call_later(5, queue.put_nowait, "second")
            current_task().steps = STEPS_PER_TURN
            return await queue.get(), now()
        reactor.call_soon(queue.put_nowait, "first")
        reactor.call_later(5, queue.get_nowait)
        current_task().steps = STEPS_PER_TURN
        await queue.put("second")
        return queue.get_nowait(), now()

    assert simulate(main) == ("second", 1005.0)


def test_another_thread_is_refused_while_a_task_waits_and_changes_nothing():
    refused = []

    def foreign(method, *args):
        try:
            method(*args)
        except RuntimeError as exc:
            refused.append(str(exc))

    async def main():
        queue = Queue(1)
        async with TaskGroup() as group:
            getter = group.start_soon(queue.get)
            await turns(2)
            call_on_a_thread(foreign, queue.put_nowait, "foreign")
            assert len(queue) == 0 and not getter.has_ended()
            queue.put_nowait("ours")
            await turns(1)
            assert getter.result == "ours"

            queue.put_nowait("kept")
            group.start_soon(queue.put, "next")
            await turns(2)
            call_on_a_thread(foreign, queue.get_nowait)
            assert [await queue.get(), await queue.get()] == ["kept", "next"]

    simulate(main)
    assert len(refused) == 2 and all("another thread" in text for text in refused)


def call_on_a_thread(function, *args):
    thread = threading.Thread(target=function, args=args)
    thread.start()
    thread.join()


def test_many_producers_and_consumers_with_timeouts_lose_nothing():
    """Timeouts of all lengths meet puts and gets: what was put and not taken is in the queue."""

    async def main():
        queue, put, got = Queue(2), [], []

        async def produce(first):
            for number in range(first, first + 100):
                with move_on_after(number % 3) as scope:
                    await queue.put(number)
                    put.append(number)
                if scope.cancelled_caught:
                    await sleep(number % 2)

        async def consume(pause):
            for _ in range(150):
                with move_on_after(pause % 4):
                    got.append(await queue.get())
                await sleep(pause % 3)

        async with TaskGroup() as group:
            for index in range(4):
                group.start_soon(produce, index * 100)
                group.start_soon(consume, index)
        while not queue.empty():
            got.append(queue.get_nowait())
        return sorted(put) == sorted(got), len(put) > 100

    assert simulate(main) == (True, True)

"""The tree of tasks: where each one waits, in a bounded number of lines, and no text of a peer in them."""

import logging
import os
import re
import signal
import socket

import pytest

from reactor import Event, Protocol, Queue, Server, TaskGroup, run_in_thread, shield, sleep, spawn
from reactor.coroutines.tree import MOST_PLACES, task_tree
from tests import rig


async def numbers(queue):
    while True:
        yield await queue.get()


async def from_generator(queue):
    async for _ in numbers(queue):
        pass


async def deep(depth):
    await (deep(depth - 1) if depth else sleep(1000))


async def nested(depth):
    async with TaskGroup() as group:
        if depth:
            group.start_soon(nested, depth - 1)
        await sleep(1000)


async def reads(stream):
    await stream.read()


async def reads_what_is_kept(stream):
    while True:
        await stream.read_until(b"x")


def without_lines(text):
    """The places of a line, without the numbers of lines."""
    return re.sub(r":\d+\)", ")", text)


def test_without_tasks_there_is_nothing(reactor):
    assert task_tree(reactor) == []


@pytest.mark.parametrize(("function", "places"), [
    (lambda stream: sleep(1000), "sleep (waiting.py)"),
    (reads, "reads (test_tree.py) > read (stream.py)"),
    (lambda stream: stream.read(), "read (stream.py)"),
    (reads_what_is_kept, "reads_what_is_kept (test_tree.py) > read_until (stream.py) > _find (stream.py)"
     " > _more (stream.py) > pause (pausing.py)"),
    (lambda stream: Queue(1).get(), "get (waiting.py) > wait (waiting.py) > pause (pausing.py)"),
    (lambda stream: Event().wait(), "wait (waiting.py) > wait (waiting.py) > pause (pausing.py)"),
    (lambda stream: from_generator(Queue(1)), "from_generator (test_tree.py) > numbers (test_tree.py)"
     " > get (waiting.py) > wait (waiting.py) > pause (pausing.py)"),
])  # fmt: skip
def test_a_handler_is_shown_with_its_connection_and_where_it_waits(serving, function, places):
    stream, _ = serving.connect(function)
    serving.turn()
    [line] = task_tree(serving.reactor)
    title, _, shown = line.partition(": ")
    assert title == f"handler of {stream.connection}"
    assert without_lines(shown).removesuffix(" > pause (pausing.py)") == places.removesuffix(" > pause (pausing.py)")


def test_the_number_is_that_of_the_line_that_waits(serving):
    serving.connect(reads)
    serving.turn()
    assert f"(test_tree.py:{reads.__code__.co_firstlineno + 1})" in task_tree(serving.reactor)[0]


def test_a_read_of_what_is_kept_shows_its_break(serving):
    async def handler(stream):
        while True:
            await stream.read_exactly(1)
            stream._kept.add(b"x")

    async def whole(stream):
        while True:
            await stream.read()
            stream._keep(b"x")

    _, peer = serving.connect(whole)
    peer.sendall(b"x")
    serving.reactor.run_once(0)
    [line] = task_tree(serving.reactor)
    assert "read (stream.py) > _read_kept (stream.py) > sleep (waiting.py)" in without_lines(line)
    serving.reactor.dispatcher.connections()[0].abort()


def test_a_thread_is_waited_for(reactor):
    release = rig.socket.socketpair()
    with release[0], release[1]:
        spawn(reactor, run_in_thread, release[0].recv, 1)
        rig.turn_until(reactor, lambda: reactor.threads.unanswered, "the call")
        [line] = task_tree(reactor)
        assert line.startswith("run_in_thread: run_in_thread (threads.py:")
        release[1].send(b"x")
        rig.turn_until(reactor, lambda: not task_tree(reactor), "its end")


def test_children_stand_below_their_parents_in_the_order_of_their_start(serving):
    async def child(name):
        await sleep(1000)

    async def parent(stream):
        async with TaskGroup() as group:
            group.start_soon(nested, 1)
            group.start_soon(child, "a")
            await sleep(1000)

    serving.connect(parent)
    serving.turn()
    indents = [(len(line) - len(line.lstrip())) // 4 for line in task_tree(serving.reactor)]
    names = [line.split(": ")[0].split(".")[-1].strip() for line in task_tree(serving.reactor)]
    assert indents == [0, 1, 2, 1]
    assert names[1:] == ["nested", "nested", "child"]


def test_a_task_that_has_not_begun_says_so(reactor):
    spawn(reactor, sleep, 1)
    assert task_tree(reactor) == ["sleep: has not begun"]
    rig.turns(reactor, 1)
    assert task_tree(reactor)[0].startswith("sleep: sleep (waiting.py:")


def test_handlers_without_a_connection_are_shown_once(serving):
    async def outlives(stream):
        try:
            await stream.read()
        finally:
            with shield():
                await sleep(1)

    async def hands_over(stream):
        stream.connection.set_protocol(Protocol())
        await sleep(1)

    _, peer = serving.connect(outlives, rig.tcp_pair)
    serving.connect(hands_over)
    serving.turn()
    rig.reset(peer)
    rig.turn_until(serving.reactor, lambda: serving.reactor.counters.open == 1, "the end of the connection")
    shown = [line.partition(": ")[0] for line in task_tree(serving.reactor)]
    assert shown == ["handler of a connection that has ended, or was handed over"] * 2
    serving.pass_time(1)
    assert task_tree(serving.reactor) == []


@pytest.mark.parametrize(("count", "most", "shown", "last"), [
    (5, 5, 5, None), (6, 5, 5, "... and 2 more tasks"), (100, 5, 5, "... and 96 more tasks"),
    (3, 1, 1, "... and 3 more tasks"),
])  # fmt: skip
def test_there_are_at_most_so_many_lines(reactor, count, most, shown, last):
    for _ in range(count):
        spawn(reactor, sleep, 1000)
    lines = task_tree(reactor, most)
    assert len(lines) == shown
    assert (lines[-1] if lines[-1].startswith("...") else None) == last


def test_ten_thousand_tasks_are_200_lines(reactor):
    for _ in range(10_000):
        spawn(reactor, sleep, 1000)
    assert len(task_tree(reactor)) == 200


def test_a_deep_recursion_is_a_line_of_bounded_length(reactor):
    spawn(reactor, deep, 300)
    rig.turns(reactor, 1)
    [line] = task_tree(reactor)
    assert line.count(" > ") == MOST_PLACES and "... 291 more ..." in line
    assert line.endswith(")") and "sleep (waiting.py" in line


def test_groups_may_be_nested_deeply(reactor):
    spawn(reactor, nested, 300)
    rig.turns(reactor, 310)
    assert [line.index("nested") for line in task_tree(reactor, 1000)] == [4 * depth for depth in range(301)]


def test_the_name_of_a_peer_cannot_bring_control_characters_into_the_log(serving):
    ours, peer = socket.socketpair()
    serving.sockets.append(peer)
    stream, _ = serving.connect(reads)
    stream.connection._peername = b"\x00\x1b[31mred\n"
    serving.turn()
    assert all(line.isprintable() for line in task_tree(serving.reactor))
    ours.close()


def test_sigusr1_logs_the_tree_after_the_statistics(caplog, descriptors_come_back):
    async def handler(stream):
        await stream.write(b"hello")
        await stream.read()
        os.kill(os.getpid(), signal.SIGUSR1)
        await stream.read()
        server.close()

    caplog.set_level(logging.INFO)
    server = Server(handler, bind="127.0.0.1:0")
    host, port = server.listen()[0].split(":")
    with socket.create_connection((host, int(port)), timeout=rig.DEADLINE_SECONDS) as client:
        client.sendall(b"1")

        def go_on():
            if any("tasks" in record.getMessage() for record in caplog.records):
                client.sendall(b"2")
            else:
                server.reactor.call_later(0.01, go_on)

        server.reactor.call_later(0.01, go_on)
        server.run()
    [tree] = [record.getMessage() for record in caplog.records if record.getMessage().startswith("tasks\n")]
    title, _, places = tree.partition(">: ")
    assert re.fullmatch(r"tasks\nhandler of <Connection 1 open peer=127\.0\.0\.1:\d+", title)
    assert without_lines(places) == "handler (test_tree.py) > read (stream.py)"

"""What a task is told when its connection is lost: ConnectionError and nothing else, and no traceback in the log."""

import logging
import socket

import pytest

from reactor import Cancelled, CloseReason, Limits, Reactor, TaskGroup, open_stream, run, shield, sleep
from reactor.coroutines.endings import error_of
from reactor.net.addresses import Endpoint
from tests import rig
from tests.coroutines.conftest import Serving

MUCH = bytes(8_000_000)


async def reads(stream):
    while await stream.read():
        pass


async def reads_a_line(stream):
    await stream.read_until()


async def reads_so_many(stream):
    await stream.read_exactly(100)


async def reads_lines(stream):
    async for _ in stream.lines():
        pass


async def writes(stream):
    while True:
        await stream.write(MUCH)


async def sleeps(stream):
    await sleep(1000)


READS = [reads, reads_a_line, reads_so_many, reads_lines]
WAYS = [*READS, writes, sleeps]


def in_a_group(way):
    async def handler(stream):
        async with TaskGroup() as group:
            group.start_soon(way, stream)
            group.start_soon(sleeps, stream)
    return handler


def noting(handler, errors):
    async def noted(stream):
        try:
            await handler(stream)
        except BaseException as exc:
            errors.append(exc)
            raise
    return noted


# How each end is brought about: (limits, what is done), and what it is called.


def reset(serving, stream, peer):
    rig.reset(peer)


def idle(serving, stream, peer):
    serving.pass_time(60)


def slow_line(serving, stream, peer):
    while stream.task is not None:
        peer.sendall(b"x")
        serving.pass_time(1)


def stalled(serving, stream, peer):
    serving.pass_time(30)


def too_much(serving, stream, peer):
    for _ in range(5):
        stream.connection.write(MUCH)


def too_much_in_all(serving, stream, peer):
    serving.reactor.dispatcher.memory._most = 1000
    peer.sendall(b"x" * 2000)
    stream.connection._keep_input(2000, stream.connection._frame_since)


def aborted(serving, stream, peer):
    stream.connection.abort()


def drained(serving, stream, peer):
    stream.connection._end(CloseReason.DRAIN_TIMEOUT, TimeoutError("not finished"))


def shut_down(serving, stream, peer):
    serving.reactor.close()


def closed_below(serving, stream, peer):
    stream.connection.close()
    serving.turn()
    peer.close()


ENDS = {
    "reset": (reset, WAYS),
    "idle_timeout": (idle, [reads, sleeps]),
    "frame_timeout": (slow_line, READS[1:]),
    "write_stalled": (stalled, [writes]),
    "slow_reader": (too_much, [writes]),
    "memory": (too_much_in_all, [sleeps, reads_a_line]),
    "aborted": (aborted, WAYS),
    "drain_timeout": (drained, WAYS),
    "shutdown": (shut_down, WAYS),
    "closed": (closed_below, [*READS, sleeps]),
}
CASES = [(reason, end, way) for reason, (end, ways) in ENDS.items() for way in ways]
LIMITS = {"idle_seconds": 50, "frame_seconds": 10, "write_stall_seconds": 20}


@pytest.mark.parametrize(("reason", "end", "way"), CASES, ids=[f"{case[0]}-{case[2].__name__}" for case in CASES])
@pytest.mark.parametrize("grouped", [False, True], ids=["alone", "in a group"])
def test_a_task_is_told_of_the_loss_and_the_log_has_no_traceback(serving, caplog, reason, end, way, grouped):
    errors = []
    handler = noting(in_a_group(way) if grouped else way, errors)
    stream, peer = serving.connect(handler, rig.tcp_pair, **LIMITS)
    serving.hear(peer, b"x")
    end(serving, stream, peer)
    if reason != "shutdown":
        rig.turn_until(serving.reactor, lambda: stream.task is None, "the end of the handler")
    assert stream.task is None
    assert {each.value for each, count in serving.reactor.counters.closed.items() if count} == {reason}
    [error] = errors
    if way is sleeps:
        assert type(error) is Cancelled
    elif grouped:
        assert type(error) is ExceptionGroup
        assert all(isinstance(each, ConnectionError) for each in error.exceptions)
    else:
        assert type(error) is (ConnectionResetError if reason == "reset" else ConnectionAbortedError)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR or record.exc_info] == []
    assert serving.buffered == 0


@pytest.mark.parametrize("call", [
    lambda stream: stream.read(), lambda stream: stream.read_exactly(1),
    lambda stream: stream.read_until(), lambda stream: stream.read_lines(), lambda stream: anext(stream.lines()),
    lambda stream: stream.write(b"x"),
])  # fmt: skip
@pytest.mark.parametrize("turn", [True, False], ids=["later", "in the turn of the end"])
def test_whatever_is_asked_after_a_loss_raises_again_and_again(serving, call, turn):
    async def handler(stream):
        stream.connection.abort()
        with shield():  # else the loss would cancel it
            if turn:
                await sleep(0)
            for _ in range(3):
                try:
                    await call(stream)
                except ConnectionAbortedError as exc:
                    got.append(exc)

    got = []
    serving.connect(handler)
    serving.turn()
    assert [str(each) for each in got] == ["the connection has ended: aborted"] * 3
    assert len({id(each) for each in got}) == 3, "one exception that is raised three times keeps three tracebacks"


def test_what_came_before_a_reset_is_read_before_the_error():
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as server:
            stream = await open_stream([Endpoint(socket.AF_INET, server.getsockname())])
            peer, _ = server.accept()
            peer.sendall(b"data")
            while stream._kept is None:
                await sleep(0)
            rig.reset(peer)
            while stream._lost is None:
                await sleep(0)
            got.append(await stream.read())
            try:
                await stream.read()
            except ConnectionResetError as exc:
                got.append(exc.errno is not None)

    got = []
    run(main)
    assert got == [b"data", True]


def test_the_text_of_a_programs_exception_is_not_asked_for():
    class Silent(Exception):
        def __str__(self):
            raise AssertionError

    connection = rig.make_connection()
    connection.close_reason = CloseReason.HANDLER_ERROR
    assert str(error_of(connection, Silent())) == "the connection has ended: handler_error"


def test_a_thousand_handlers_may_end_in_one_turn(caplog):
    async def handler(stream):
        try:
            async with TaskGroup() as group:
                group.start_soon(reads_lines, stream)
                await sleep(1000)
        finally:
            ended.append(stream)

    ended = []
    with Reactor(clock=rig.FakeClock(), limits=Limits(idle_seconds=10)) as reactor:
        serving = Serving(reactor)
        streams = [serving.connect(handler)[0] for _ in range(300)]
        serving.turn()
        serving.pass_time(1)
        serving.pass_time(100)
        assert len(ended) == 300 and {stream.task for stream in streams} == {None}
        assert reactor.counters.open == 0
    for sock in serving.sockets:
        sock.close()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []

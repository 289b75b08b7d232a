"""What a task writes to a stream: all of it arrives, and a task that writes waits for a peer that does not read."""

import contextlib
import gc
import socket
import warnings

import pytest

from reactor import (
    CloseReason,
    FramedProtocol,
    Stream,
    TaskGroup,
    move_on_after,
    sleep,
    spawn,
)
from tests import rig

CHUNK = b"x" * 10_000
MUCH = rig.patterned(3_000_000)


def firehose(stream):
    async def forever(stream):
        while True:
            await stream.write(CHUNK)
    return forever(stream)


def closing(stream):
    stream.close()


def aborting(stream):
    stream.abort()


# Being held back.


def test_what_a_task_writes_before_it_waits_leaves_in_one_send(serving):
    async def handler(stream):
        await stream.read()
        await stream.write(b"one ")
        stream.write(b"two ")
        await stream.write(bytearray(b"three "))
        await stream.write(memoryview(b"four"))
        await stream.read()

    _, peer = serving.connect(handler)
    serving.hear(peer, b"go")
    assert serving.reactor.counters.sends == 1
    assert peer.recv(100) == b"one two three four"


def test_bytes_that_change_after_the_write_are_sent_as_they_were(serving):
    async def handler(stream):
        data = bytearray(b"before")
        await stream.write(data)
        data[:] = b"after!"

    _, peer = serving.connect(handler)
    serving.turn()
    assert peer.recv(100) == b"before"


@pytest.mark.parametrize("wrong", ["text", 5, None])
def test_only_bytes_can_be_written(play, wrong):
    played = play()

    async def write(stream):
        await stream.write(wrong)

    assert type(played.do(write)[0]) is TypeError


def test_an_endless_write_waits_while_the_peer_does_not_read_and_then_goes_on(serving):
    stream, peer = serving.connect(firehose)
    serving.turn()
    waiting = stream.connection.get_write_buffer_size()
    assert 0 < waiting <= stream.connection.limits.output_high_bytes + len(CHUNK)
    serving.turn()
    assert stream.connection.get_write_buffer_size() == waiting
    received = 0
    while received < 5_000_000:
        received += len(peer.recv(1 << 20))
        serving.turn()
    assert stream.task is not None and stream._writers is not None and len(stream._writers) == 1


def test_a_write_that_waits_goes_on_when_the_peer_reads_and_each_byte_comes_once(serving):
    async def handler(stream):
        for start in range(0, len(MUCH), 100_000):
            await stream.write(MUCH[start : start + 100_000])
        ended.append("written")

    ended = []
    _, peer = serving.connect(handler)
    serving.turn()
    assert ended == []
    assert rig.receive_all(serving.reactor, peer) == MUCH
    assert ended == ["written"]


def test_a_write_that_is_cancelled_while_it_waits_is_sent_all_the_same(play):
    async def impatient(stream):
        with move_on_after(1) as scope:
            await stream.write(MUCH)
            await stream.write(b"!")
        return scope.cancelled_caught

    played = play()
    played.do(impatient)
    played.serving.pass_time(1)
    assert played.outcomes == [True]
    assert len(played.stream._writers) == 0
    played.puppet.calls.put_nowait(None)
    assert rig.receive_all(played.serving.reactor, played.peer) == MUCH + b"!"


def test_several_tasks_may_write_and_all_go_on(serving):
    async def write(stream, number):
        for _ in range(20):
            await stream.write(bytes([number]) * 50_000)
        done.append(number)

    async def handler(stream):
        async with TaskGroup() as group:
            for number in range(3):
                group.start_soon(write, stream, number)

    done = []
    _, peer = serving.connect(handler)
    data = rig.receive_all(serving.reactor, peer)
    assert sorted(done) == [0, 1, 2]
    assert [data.count(bytes([number])) for number in range(3)] == [1_000_000] * 3


def test_a_write_that_is_not_awaited_is_sent_and_warns_of_nothing(play):
    async def write(stream):
        for _ in range(20):
            stream.write(MUCH[:100_000])

    played = play()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        played.do(write)
        gc.collect()
    assert caught == []
    assert played.stream._held
    played.puppet.calls.put_nowait(None)
    assert rig.receive_all(played.serving.reactor, played.peer) == MUCH[:100_000] * 20


def test_a_program_that_never_waits_is_ended_at_the_hard_mark(play):
    async def write(stream):
        for _ in range(100):
            stream.write(MUCH)
        await stream.write(b"more")

    played = play()
    played.do(write)
    assert played.serving.closed() == {"slow_reader": 1}


# After our own end.


def test_after_write_eof_reading_goes_on_and_a_write_is_a_mistake(play):
    async def write(stream):
        await stream.write(b"more")

    played = play()
    played.do(lambda stream: stream.write(b"last"))
    played.stream.write_eof()
    played.serving.turn()
    assert rig.receive_all(played.serving.reactor, played.peer) == b"last"
    played.do(lambda stream: stream.read(), write)
    [data, error] = played.hear(b"answer")[1:]
    assert data == b"answer" and type(error) is RuntimeError


@pytest.mark.parametrize("kept", [b"", b"kept"])
def test_after_close_a_write_raises_and_a_read_returns_the_end(play, kept):
    async def write(stream):
        await stream.write(b"more")

    played = play()
    played.hear(kept or b"x")
    if not kept:
        played.do(lambda stream: stream.read())
        played.outcomes.clear()
    played.do(lambda stream: stream.write(b"last"))
    played.stream.close()
    played.stream.close()
    read, exactly, until, lines, written = played.do(
        lambda stream: stream.read(),
        lambda stream: stream.read_exactly(0),
        lambda stream: stream.read_until(),
        lambda stream: stream.read_lines(),
        write,
    )[1:]
    assert (read, exactly, until, lines) == (b"", b"", b"", [])
    assert type(written) is BrokenPipeError and "the stream is closed" in str(written)
    assert played.serving.buffered == 0
    assert rig.receive_all(played.serving.reactor, played.peer) == b"last"


@pytest.mark.parametrize(("end", "told"), [(closing, b""), (aborting, ConnectionAbortedError)])
@pytest.mark.parametrize("call", [lambda stream: stream.read(), lambda stream: stream.read_until()])
def test_a_read_in_another_task_is_told(serving, end, told, call):
    async def reader(stream):
        try:
            got.append(await call(stream))
        except ConnectionError as exc:
            got.append(type(exc))

    async def handler(stream):
        async with TaskGroup() as group:
            group.start_soon(reader, stream)
            await sleep(1)
            end(stream)
            got.append("ended")

    got = []
    serving.connect(handler)
    serving.pass_time(1)
    assert got == ["ended", told]


def test_a_write_that_waits_in_another_task_is_told_of_a_close(serving):
    async def handler(stream):
        async with TaskGroup() as group:
            group.start_soon(firehose, stream)
            await sleep(1)
            stream.close()

    stream, peer = serving.connect(handler)
    serving.pass_time(1)
    assert stream.task is None, "the firehose has ended by its error"
    assert set(rig.receive_all(serving.reactor, peer)) == {ord("x")}


@pytest.mark.parametrize("end", [
    lambda stream: stream.close(), lambda stream: stream.abort(),
    lambda stream: stream.connection.close(), lambda stream: stream.connection._end(CloseReason.SHUTDOWN, None),
], ids=["close", "abort", "connection.close", "a limit"])  # fmt: skip
def test_a_task_that_only_writes_does_not_hold_up_the_loop_after_the_end(serving, end):
    async def handler(stream):
        end(stream)
        for _ in range(1000):
            await stream.write(b"x")
        raise AssertionError("it never waited")

    stream, peer = serving.connect(handler)
    peer.close()
    serving.turn()
    assert stream.task is None
    assert serving.reactor.counters.dropped_writes == 1


# The block.


@pytest.mark.parametrize("way", ["end", "return", "break", "raise", "cancel"])
def test_a_stream_is_closed_or_aborted_at_the_end_of_its_block(play, way):
    async def block(stream):
        with contextlib.suppress(LookupError), move_on_after(1) as scope:
            for _ in range(1):
                async with stream as same:
                    assert same is stream
                    if way == "return":
                        return
                    if way == "break":
                        break
                    if way == "raise":
                        raise LookupError
                    if way == "cancel":
                        scope.cancel()
                        await sleep(5)

    played = play()
    played.do(block, lambda stream: sleep(10))
    if way in ("raise", "cancel"):
        assert played.serving.closed() == {"aborted": 1}
    else:
        assert played.peer.recv(10) == b""
        played.peer.close()
        assert played.serving.closed() == {"closed": 1}


# Handing over.


class Lines(FramedProtocol):
    """Notes what it gets."""

    def __init__(self):
        self.got = []

    def frame_received(self, frame):
        self.got.append(frame)

    def frames_ended(self):
        self.got.append("end")

    def connection_lost(self, exc):
        self.got.append("lost")


def handed_over(played):
    lines = Lines()
    lines.connection_made(played.connection)
    played.connection.set_protocol(lines)
    played.serving.turn()
    return lines


def test_a_protocol_that_takes_over_gets_what_was_kept(play):
    played = play()
    played.do(lambda stream: stream.read_until())
    played.hear(b"one\ntwo\nthr")
    lines = handed_over(played)
    assert lines.got == [b"two"] and played.serving.buffered == 3
    played.hear(b"ee\n")
    assert lines.got == [b"two", b"three"] and played.serving.buffered == 0


@pytest.mark.parametrize("at_end", [True, False])
def test_a_protocol_that_takes_over_is_told_of_the_end(play, at_end):
    played = play()
    played.hear(b"one\n")
    if at_end:
        played.serving.end(played.peer)
    lines = handed_over(played)
    if not at_end:
        played.serving.end(played.peer)
    assert lines.got == [b"one", "end", "lost"]


def test_after_close_a_protocol_that_takes_over_gets_nothing(play):
    played = play()
    played.hear(b"one\n")
    played.serving.end(played.peer)
    played.stream.close()
    assert handed_over(played).got == ["lost"]


def test_a_protocol_that_takes_over_reads_on_though_the_stream_held_the_peer_back(play):
    played = play(frame_bytes=1000, receive_bytes=400)
    played.hear(b"line\n" * 1000)
    assert not played.connection.is_reading()
    assert handed_over(played).got == [b"line"] * 1000


def test_the_stream_has_no_connection_any_more(play):
    async def write(stream):
        await stream.write(b"not for the peer")

    played = play()
    lines = handed_over(played)
    calls = [lambda stream: stream.read(), lambda stream: stream.read_exactly(1), lambda stream: stream.read_until()]
    outcomes = played.do(*calls, write)
    assert {type(each) for each in outcomes} == {ConnectionAbortedError}
    assert {str(each) for each in outcomes} == {"the connection was handed over to another protocol"}
    for end in (played.stream.write_eof, played.stream.close, played.stream.abort):
        end()
    played.finish()
    played.hear(b"on\n")
    lines.connection.write(b"from the protocol")
    played.serving.turn()
    assert lines.got == [b"on"]
    assert played.peer.recv(100) == b"from the protocol"
    assert played.serving.closed() == {}


def test_a_reader_in_another_task_is_told_that_the_connection_was_handed_over(serving):
    async def reader(stream):
        try:
            await stream.read_until()
        except ConnectionAbortedError as exc:
            got.append(str(exc))

    async def handler(stream):
        async with TaskGroup() as group:
            group.start_soon(reader, stream)
            await sleep(1)
            stream.connection.set_protocol(lines)
            got.append("handed over")

    got, lines = [], Lines()
    stream, peer = serving.connect(handler)
    lines.connection_made(stream.connection)
    serving.hear(peer, b"half")
    serving.pass_time(1)
    serving.hear(peer, b" a line\n")
    assert got == ["handed over", "the connection was handed over to another protocol"]
    assert lines.got == [b"half a line"]


# A program's own kind of stream.


def test_a_program_may_derive_from_stream(serving):
    class Counted(Stream):
        def __init__(self, _):
            super().__init__()
            self.count = 0

        def connection_made(self, connection):
            super().connection_made(connection)
            spawn(connection.reactor, self.serve)

        async def serve(self):
            async with self:
                async for line in self.lines():
                    self.count += 1
                    await self.write(b"%d %s\n" % (self.count, line))

    _, peer = serving.connect(None, stream=Counted)
    serving.hear(peer, b"one\ntwo\n")
    peer.shutdown(socket.SHUT_WR)
    serving.turn()
    assert rig.receive_all(serving.reactor, peer) == b"1 one\n2 two\n"
    assert serving.closed() == {"peer_closed": 1}

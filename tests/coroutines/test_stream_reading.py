"""What a task reads from a stream: nothing is lost, nothing comes twice, and what is kept is bounded and counted."""

import gc
import socket
import warnings

import pytest

from reactor import (
    Cancelled,
    CancelScope,
    FrameTooLarge,
    IncompleteReadError,
    TaskGroup,
    move_on_after,
    sleep,
    timeout,
)
from tests import rig
from tests.coroutines.conftest import Played, Serving

LINE_FEED, CRLF = b"\n", b"\r\n"


async def all_lines(stream):
    return [line async for line in stream.lines()]


def read(stream):
    return stream.read()


def exactly(count):
    return lambda stream: stream.read_exactly(count)


def until(*arguments):
    return lambda stream: stream.read_until(*arguments)


def batch(stream):
    return stream.read_lines()


async def one_line(stream):
    return await anext(stream.lines(), None)


def within(seconds, call):
    """The same call, with so much time."""

    async def in_time(stream):
        with timeout(seconds):
            return await call(stream)

    return in_time


def shown(outcomes):
    """The outcomes, with the class of each exception in its place."""
    return [type(each) if isinstance(each, Exception) else each for each in outcomes]


# What each call returns.


def test_read_returns_the_bytes_as_they_come(play):
    played = play()
    played.do(read, read)
    played.hear(b"one")
    assert played.hear(b"two") == [b"one", b"two"]


def test_read_returns_all_that_has_come_meanwhile(play):
    played = play()
    played.hear(b"one")
    played.hear(b"two")
    assert played.do(read) == [b"onetwo"]
    played.do(read)
    assert played.hear(b"three")[1:] == [b"three"]


def test_read_exactly_takes_so_many_and_leaves_the_rest(play):
    played = play()
    played.do(exactly(3), exactly(0), exactly(2), read)
    assert played.hear(b"abcde") == [b"abc", b"", b"de"]
    assert played.hear(b"f")[3:] == [b"f"]


def test_nothing_is_there_at_once(play):
    assert play().do(exactly(0)) == [b""]


@pytest.mark.parametrize("delimiter", [LINE_FEED, CRLF, b";"])
def test_read_until_returns_the_delimiter_too(play, delimiter):
    played = play()
    assert played.do(until(delimiter), until(delimiter)) == []
    assert played.hear(b"one" + delimiter + delimiter + b"rest") == [b"one" + delimiter, delimiter]
    assert played.do(read)[2:] == [b"rest"]


def test_read_until_ends_at_a_newline_unless_told_otherwise(play):
    played = play()
    played.do(until())
    assert played.hear(b"one\ntwo\n") == [b"one\n"]


def test_read_lines_returns_the_lines_that_are_there(play):
    played = play()
    played.do(batch)
    assert played.hear(b"one\r\n\nthree\nre") == [[b"one\r", b"", b"three"]]
    played.do(batch)
    assert played.hear(b"st\n")[1:] == [[b"rest"]]


def test_read_lines_returns_no_more_than_it_is_asked_for(play):
    played = play()
    played.hear(b"1\n2\n3\n")
    assert played.do(lambda stream: stream.read_lines(2), lambda stream: stream.read_lines(1)) == [[b"1", b"2"], [b"3"]]
    played.hear(b"\n" * 1000)
    assert [len(lines) for lines in played.do(batch, batch)[2:]] == [256, 256]


@pytest.mark.parametrize("call", [until(b""), exactly(-1), lambda stream: stream.read_lines(0)])
def test_a_call_that_makes_no_sense_is_refused(play, call):
    [error] = play().do(call)
    assert type(error) is ValueError
    assert "must" in str(error) and "\n" not in str(error)


def test_lines_end_with_the_peer(play):
    played = play()
    played.do(all_lines)
    played.hear(b"one\r\n\ntw")
    played.hear(b"o\nrest")
    assert played.outcomes == []
    played.serving.end(played.peer)
    assert played.outcomes == [[b"one\r", b"", b"two", b"rest"]]
    assert played.do(all_lines)[1:] == [[]]


def test_break_out_of_lines_leaves_the_others_to_be_read(play):
    async def first(stream):
        async for line in stream.lines():
            return line

    played = play()
    played.do(first)
    played.hear(b"one\ntwo\nthree\nre")
    assert played.do(first, until(), read) == [b"one", b"two", b"three\n", b"re"]


# The peer's end.


def test_the_end_is_told_as_often_as_it_is_asked_for(play):
    played = play()
    played.do(read, read, read)
    played.hear(b"a")
    played.serving.end(played.peer)
    assert played.outcomes == [b"a", b"", b""]
    assert played.do(until(), batch, one_line, exactly(0), read)[3:] == [b"", [], None, b"", b""]
    played.do(lambda stream: stream.write(b"bye"))
    assert played.peer.recv(10) == b"bye"


def test_the_end_does_not_overtake_what_was_sent_before(play):
    played = play()
    data = rig.patterned(300_000)
    sent = 0
    played.peer.setblocking(False)
    while sent < len(data):
        try:
            sent += played.peer.send(data[sent : sent + 10_000])
        except BlockingIOError:
            played.do(read)
        played.serving.turn()
    played.serving.end(played.peer)
    while played.do(read)[-1]:
        pass
    assert b"".join(played.outcomes) == data


@pytest.mark.parametrize("ending_first", ["ours", "the peer's"])
def test_what_is_unread_when_both_sides_have_ended_is_read_and_then_the_end(play, ending_first):
    played = play()
    endings = [lambda: played.stream.write_eof(), lambda: played.serving.end(played.peer)]
    played.hear(b"x" * 1000)
    for ending in endings if ending_first == "ours" else endings[::-1]:
        ending()
        played.serving.turn()
    assert played.serving.closed() == {"peer_closed": 1}
    assert played.do(read, read, until()) == [b"x" * 1000, b"", b""]
    [error] = played.do(lambda stream: stream.write(b"more"))[3:]
    assert type(error) is BrokenPipeError
    played.finish()
    assert played.puppet.ended is None


def test_a_handler_that_has_ended_its_side_goes_on_after_the_peers_end(serving):
    async def handler(stream):
        stream.write_eof()
        while data := await stream.read():
            got.append(data)
        await sleep(5)  # for example, it saves what has come
        got.append("saved")

    got = []
    stream, peer = serving.connect(handler)
    serving.hear(peer, b"data")
    serving.end(peer)
    assert serving.closed() == {"peer_closed": 1}
    serving.pass_time(5)
    assert got == [b"data", "saved"]
    assert stream.task is None


def test_read_exactly_leaves_what_is_too_little(play):
    played = play()
    played.do(exactly(5))
    played.hear(b"abc")
    played.serving.end(played.peer)
    [error] = played.outcomes
    assert type(error) is IncompleteReadError and isinstance(error, EOFError)
    assert str(error) == "the peer has ended its side after 3 of 5 bytes"
    assert played.do(exactly(3), exactly(1))[1] == b"abc"
    assert str(played.outcomes[2]) == "the peer has ended its side after 0 of 1 bytes"


@pytest.mark.parametrize(("call", "outcome"), [(until(), b"re"), (batch, [b"re"]), (one_line, b"re"), (read, b"re")])
def test_an_unfinished_last_line_comes_too(play, call, outcome):
    played = play()
    played.hear(b"re")
    played.serving.end(played.peer)
    assert played.do(call, read) == [outcome, b""]


# A read that is broken off.


@pytest.mark.parametrize(("call", "outcome"), [
    (exactly(10), b"1234567\n90"), (until(), b"1234567\n"), (batch, [b"1234567"]), (one_line, b"1234567"),
])  # fmt: skip
def test_a_read_that_times_out_loses_nothing(play, call, outcome):
    played = play()
    played.do(within(1, call))
    played.hear(b"1234")
    played.serving.pass_time(1)
    assert shown(played.outcomes) == [TimeoutError]
    assert played.serving.buffered == 4
    played.do(call)
    assert played.hear(b"567\n90")[1:] == [outcome]


@pytest.mark.parametrize(("call", "outcome"), [
    (read, b"ab\n"), (exactly(3), b"ab\n"), (until(), b"ab\n"), (batch, [b"ab"]), (one_line, b"ab"),
])  # fmt: skip
@pytest.mark.parametrize("data_first", [True, False])
def test_data_and_a_cancel_in_one_turn(serving, call, outcome, data_first):
    async def handler(stream):
        with CancelScope() as scope:
            scopes.append(scope)
            got.append(await call(stream))
        got.append(scope.cancelled_caught)
        got.append(await stream.read())

    scopes, got = [], []
    _, peer = serving.connect(handler)
    serving.turn()
    peer.sendall(b"ab\n")
    if data_first:  # it is told of the cancel in the turn after this one, and the data comes in this one
        serving.reactor.call_soon(scopes[0].cancel)
    else:
        scopes[0].cancel()
    serving.turn()
    serving.hear(peer, b"more")
    assert got == ([outcome, False, b"more"] if data_first else [True, b"ab\n"])


@pytest.mark.parametrize("call", [read, exactly(3), until(), batch, one_line])
@pytest.mark.parametrize("kept", [b"", b"abc\n"])
def test_a_read_in_a_cancelled_scope_raises_and_takes_nothing(play, call, kept):
    async def cancelled(stream):
        with CancelScope() as scope:
            scope.cancel()
            try:
                await call(stream)
            except Cancelled:
                return "cancelled"

    played = play()
    if kept:
        played.hear(kept)
    assert played.do(cancelled) == ["cancelled"]
    played.do(read)
    assert played.hear(b"more")[1] == (kept or b"more")


# Two tasks.


@pytest.mark.parametrize("second", [read, exactly(3), exactly(1), until(), until(b"b"), batch, one_line])
@pytest.mark.parametrize("kept", [b"", b"abc"])
def test_the_second_reader_is_refused_and_the_first_goes_on(serving, kept, second):
    async def first(stream):
        got.append(await stream.read_until())

    async def handler(stream):
        async with TaskGroup() as group:
            group.start_soon(first, stream)
            await go_on(stream)
            try:
                await second(stream)
            except RuntimeError as exc:
                got.append(str(exc))

    async def go_on(stream):
        await sleep(1)

    got = []
    _, peer = serving.connect(handler)
    if kept:
        serving.hear(peer, kept)
    serving.pass_time(1)
    serving.hear(peer, b"d\n")
    assert got == ["another task is reading from this stream", kept + b"d\n"]


def test_two_tasks_may_read_in_turn(serving):
    async def reader(stream, name):
        for _ in range(3):
            got.append((name, await stream.read_until()))
            await sleep(1)

    async def handler(stream):
        async with TaskGroup() as group:
            group.start_soon(reader, stream, 1)
            await sleep(0.5)
            group.start_soon(reader, stream, 2)

    got = []
    _, peer = serving.connect(handler)
    serving.hear(peer, b"1\n2\n3\n4\n5\n6\n")
    for _ in range(10):
        serving.pass_time(0.5)
    assert got == [(1, b"1\n"), (2, b"2\n"), (1, b"3\n"), (2, b"4\n"), (1, b"5\n"), (2, b"6\n")]


def test_a_reader_that_took_a_break_does_not_take_what_another_one_waits_for(serving):
    async def long(stream):
        for _ in range(256):
            await stream.read_exactly(1)
        try:
            await stream.read_exactly(1)  # this one takes a break before
        except RuntimeError as exc:
            got.append(str(exc))

    async def other(stream):
        got.append(await stream.read_until())

    async def handler(stream):
        await stream.read_exactly(1)
        async with TaskGroup() as group:
            group.start_soon(long, stream)
            group.start_soon(other, stream)

    got = []
    _, peer = serving.connect(handler)
    serving.hear(peer, b"x" * 300)
    serving.hear(peer, b"\n")
    assert got == ["another task is reading from this stream", b"x" * 43 + b"\n"]


# Nobody starves.


def counting(handled):
    async def handler(stream):
        async for _ in stream.lines():
            handled.append(stream)
    return handler


async def in_batches(stream, handled):
    while lines := await stream.read_lines():
        handled += [stream] * len(lines)


async def byte_by_byte(stream, handled):
    while await stream.read_exactly(2):
        handled.append(stream)


@pytest.mark.parametrize("way", [None, in_batches, byte_by_byte])
def test_a_client_with_50_000_lines_lets_the_others_have_their_turn(serving, way):
    handled = []
    handler = counting(handled) if way is None else lambda stream: way(stream, handled)
    _, flood = serving.connect(handler, rig.tcp_pair)
    calm, peer = serving.connect(handler, rig.tcp_pair)
    flood.setblocking(False)
    left = b"x\n" * 50_000
    while left or len(handled) < 50_000:
        if left:
            try:
                left = left[flood.send(left) :]
            except BlockingIOError:
                pass
        if len(handled) > 10_000 and calm not in handled:
            before = len(handled)
            peer.sendall(b"x\n")
            while calm not in handled:
                serving.reactor.run_once(1)
            assert len(handled) - before < 2_000
        serving.reactor.run_once(0)
    assert len(handled) == 50_001


# The frame: how long a line may be.


@pytest.mark.parametrize("delimiter", [LINE_FEED, CRLF])
@pytest.mark.parametrize("size", [0, 9, 10, 11, 12])
@pytest.mark.parametrize("bound", ["frame_bytes", "most"])
def test_a_line_may_have_so_many_bytes_and_no_more_however_it_is_cut(serving, delimiter, size, bound):
    line = b"x" * size + delimiter
    for cut in range(len(line) + 1):
        call = until(delimiter) if bound == "frame_bytes" else until(delimiter, 10)
        played = Played(serving, frame_bytes=10 if bound == "frame_bytes" else 1000)
        played.do(call)
        for piece in (line[:cut], line[cut:]):
            if piece:
                played.hear(piece)
        assert shown(played.outcomes) == [line if size <= 10 else FrameTooLarge]
        if size > 10:
            assert str(played.outcomes[0]) == f"more than 10 bytes before {delimiter!r}"
            while played.stream._kept is not None:
                played.do(read)
            assert b"".join(played.outcomes[1:]) == line, "what is too long stays to be read"


@pytest.mark.parametrize("call", [batch, one_line, until()])
@pytest.mark.parametrize("size", [10, 11])
def test_lines_have_the_same_bound(serving, call, size):
    for cut in range(1, size + 1):
        played = Played(serving, frame_bytes=10)
        played.do(call)
        line = b"x" * size + b"\n"
        played.hear(line[:cut])
        played.hear(line[cut:])
        assert (shown(played.outcomes) == [FrameTooLarge]) is (size > 10)


@pytest.mark.parametrize("delimiter", [LINE_FEED, CRLF])
@pytest.mark.parametrize("size", [10, 11])
def test_an_unfinished_last_line_has_the_same_bound(play, delimiter, size):
    played = play(frame_bytes=10)
    played.do(until(delimiter))
    played.hear(b"x" * size)
    played.serving.end(played.peer)
    assert shown(played.outcomes) == [b"x" * 10 if size == 10 else FrameTooLarge]


@pytest.mark.parametrize("kept", [b"", b"abc"])
def test_read_exactly_has_the_same_bound(play, kept):
    played = play(frame_bytes=10)
    if kept:
        played.hear(kept)
    [error] = played.do(exactly(11))
    assert str(error) == "11 bytes are more than frame_bytes (10)"
    played.do(exactly(10))
    assert played.hear(b"0123456789")[1] == (kept + b"0123456789")[:10]


# The frame: how long it may take.


@pytest.mark.parametrize("call", [exactly(100), until(), batch, one_line])
def test_a_peer_that_sends_a_line_byte_by_byte_has_frame_seconds_for_it(play, call):
    played = play(frame_seconds=10, idle_seconds=60)
    played.do(call)
    played.serving.pass_time(40)  # nothing has begun
    for _ in range(19):
        played.hear(b"x")
        played.serving.pass_time(0.5)
    assert played.serving.closed() == {}
    played.hear(b"x")
    played.serving.pass_time(1)
    assert played.serving.closed() == {"frame_timeout": 1}
    assert played.puppet.ended is Cancelled


def test_each_line_has_its_own_time(play):
    played = play(frame_seconds=10, idle_seconds=60)
    for number in range(5):
        played.do(until())
        played.hear(b"half ")
        played.serving.pass_time(8)
        assert len(played.hear(b"line\nnext ")) == number + 1
        played.do(until())
        played.serving.pass_time(8)
        played.hear(b"line\n")
        played.outcomes.pop()
    assert played.serving.closed() == {}


def test_what_a_peer_has_spent_on_one_line_is_not_charged_to_the_next(play):
    played = play(frame_seconds=10, idle_seconds=60)
    played.do(within(6, until()))
    played.hear(b"half ")
    played.serving.pass_time(6)
    played.do(until(), until())
    assert played.hear(b"line\nhalf ")[1:] == [b"half line\n"]
    played.serving.pass_time(8)
    assert played.hear(b"line\n")[2:] == [b"half line\n"]


def test_a_line_whose_beginning_came_with_the_last_one_has_its_time_from_when_it_is_asked_for(play):
    played = play(frame_seconds=10, idle_seconds=60)
    played.do(until())
    played.hear(b"one\ntw")
    played.serving.pass_time(20)
    played.do(until())
    played.serving.pass_time(9)
    assert played.hear(b"o\n") == [b"one\n", b"two\n"]


def test_while_no_task_reads_the_peer_is_not_late(play):
    played = play(frame_seconds=10, idle_seconds=60)
    played.do(within(1, until()))
    played.hear(b"half")
    played.serving.pass_time(1)
    played.serving.pass_time(20)
    assert played.serving.closed() == {}


def test_after_the_peers_end_nothing_of_a_line_is_late(play):
    played = play(frame_seconds=10, idle_seconds=60)
    played.do(exactly(10))
    played.hear(b"half")
    played.serving.end(played.peer)
    played.serving.pass_time(20)
    assert played.serving.closed() == {}
    assert shown(played.outcomes) == [IncompleteReadError]


@pytest.mark.parametrize("trickle", [True, False])
def test_a_program_that_looks_again_and_again_does_not_give_the_peer_more_time(play, trickle):
    async def impatient(stream):
        while True:
            with move_on_after(1):
                return await stream.read_until()
            await sleep(1)

    played = play(frame_seconds=10, idle_seconds=60)
    played.do(impatient)
    played.hear(b"half")
    for _ in range(18):
        if trickle:
            played.hear(b"x")
        played.serving.pass_time(1)
    assert played.serving.closed() == {}, "half of the time nobody waits for the line"
    for _ in range(5):
        played.serving.pass_time(1)
    assert played.serving.closed() == {"frame_timeout": 1}


# What is kept is counted, and bounded.


def test_what_is_kept_is_counted_at_each_step(play):
    played = play()
    assert played.hear(b"one\ntwo\nthr") == [] and played.serving.buffered == 11
    for call, left in [(until(), 7), (until(), 3), (within(1, until()), 3)]:
        played.do(call)
        assert played.serving.buffered == left
    played.hear(b"ee\nfo")
    assert (played.outcomes[2], played.serving.buffered) == (b"three\n", 2)
    played.do(exactly(4))
    assert played.serving.buffered == 2
    played.hear(b"u")
    assert played.serving.buffered == 3
    played.hear(b"r\nfive\n\n")
    assert (played.outcomes[3], played.serving.buffered) == (b"four", 7)
    played.do(batch)
    assert (played.outcomes[4], played.serving.buffered) == ([b"", b"five", b""], 0)
    played.do(read)
    played.hear(b"direct")
    assert (played.outcomes[5], played.serving.buffered) == (b"direct", 0)


def test_lines_that_are_in_the_hand_of_a_loop_count_until_it_asks_for_more(play):
    async def slow(stream):
        async for line in stream.lines():
            got.append(line)
            await sleep(1)

    got = []
    played = play()
    played.do(slow)
    played.hear(b"one\ntwo\nhalf")
    assert (got, played.serving.buffered) == ([b"one"], 8)
    played.serving.pass_time(1)
    assert (got, played.serving.buffered) == ([b"one", b"two"], 8)
    played.serving.pass_time(1)
    assert played.serving.buffered == 4
    played.hear(b"\n")
    assert (got, played.serving.buffered) == ([b"one", b"two", b"half"], 0)


@pytest.mark.parametrize("kept", [b"", b"two\n", b"half"])
def test_after_the_last_line_of_a_loop_that_was_left_a_read_waits(play, kept):
    played = play()
    played.hear(b"one\n" + kept)
    played.do(one_line, read)
    assert played.hear(b"more")[0] == b"one"
    assert played.outcomes[1] == (kept or b"more")


@pytest.mark.parametrize("way", ["reset", "end", "abort", "close", "finish", "too long"])
@pytest.mark.parametrize("reading", [True, False])
def test_nothing_is_counted_after_the_end(play, way, reading):
    played = play(frame_bytes=1000)
    if reading:
        played.do(until())
    played.hear(b"x" * 900)
    assert played.serving.buffered == 900
    if way == "reset":
        played.serving.reset(played.peer)
    elif way == "end":
        played.serving.end(played.peer)
    elif way in ("abort", "close"):
        getattr(played.stream, way)()
    elif way == "too long":
        played.hear(b"x" * 900)
        played.do(until())
    played.finish()
    played.peer.close()
    played.serving.turn()
    assert sum(played.serving.closed().values()) == 1
    assert played.serving.buffered == 0


def test_reading_pauses_above_frame_bytes_and_goes_on(play):
    played = play(frame_bytes=1000, receive_bytes=400)
    data = rig.patterned(20_000)
    played.hear(data)
    assert 1000 < len(played.stream._kept) <= 1400 and not played.connection.is_reading()
    while sum(map(len, played.outcomes)) < len(data):
        played.do(read)
    assert b"".join(played.outcomes) == data
    assert played.connection.is_reading() and played.serving.buffered == 0


def test_a_line_longer_than_what_is_kept_can_be_asked_for(play):
    played = play(frame_bytes=1000, receive_bytes=400)
    played.hear(b"x" * 5000 + b"\n")
    assert not played.connection.is_reading()
    assert played.do(until(b"\n", 5000)) == [b"x" * 5000 + b"\n"]


def test_peers_that_send_to_handlers_that_sleep_cannot_fill_the_memory():
    async def sleeps(stream):
        await sleep(1000)

    limits = rig.Limits(memory_bytes=1_000_000)
    with rig.Reactor(limits=limits, clock=rig.FakeClock()) as reactor:
        serving = Serving(reactor)
        peers = [serving.connect(sleeps)[1] for _ in range(40)]
        for peer in peers:
            peer.setblocking(False)
            for _ in range(30):
                try:
                    peer.send(b"line\n" * 4000)
                except (BlockingIOError, ConnectionError):
                    break
                reactor.run_once(0)
        serving.turn()
        held = sum(len(each._protocol._kept._data) for each in reactor.dispatcher.connections())
        assert serving.buffered == held <= limits.memory_bytes
        assert serving.closed()["memory"] >= 20
    for peer in peers:
        peer.close()
    assert serving.buffered == 0


# A read that nobody awaits.


def test_a_read_that_is_never_awaited_is_told(play):
    played = play()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for call in (read, exactly(1), until(), batch):
            call(played.stream)
        gc.collect()
    assert [str(each.message) for each in caught] == [
        f"coroutine 'Stream.{name}' was never awaited" for name in ("read", "read_exactly", "read_until", "read_lines")
    ]


def test_a_unix_and_a_tcp_stream_know_their_peer(serving):
    stream, peer = serving.connect(lambda stream: sleep(1), rig.tcp_pair)
    assert stream.get_extra_info("sockname") == stream.get_extra_info("socket").getsockname()
    assert stream.peername == "peer" and stream.get_extra_info("what", 7) == 7
    assert isinstance(peer, socket.socket)

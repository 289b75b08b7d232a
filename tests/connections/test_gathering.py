"""Small writes of one callback are gathered, and leave as one `send`. The marks hold for them as for all output."""

import itertools

import pytest

from reactor import CloseReason, Limits, State
from reactor.connections.buffers import BLOCK_BYTES, LARGE_BYTES
from reactor.loop.poller import READABLE, WRITABLE
from tests.rig import make_connection, stubbed, told, write

LINES = [b"line %d\n" % number for number in range(16)]
MARKS = Limits(output_high_bytes=100, output_low_bytes=0, output_hard_bytes=200)


@pytest.fixture(params=["fast path", "plain path"])
def happens(request, stub):
    """Dispatch an event of a connection, on the path of this case."""
    if request.param == "fast path":
        return stub.happens
    return lambda connection, events: stub.dispatcher.dispatch([(connection._fd, events)])


def gathering(*chunks, limits=None, **reactions):
    """A connection whose own callback runs and has written `chunks`."""
    connection = make_connection(limits=limits, **reactions)
    connection._steady, connection._attended = READABLE, True
    connection.writelines(chunks)
    return connection


def paused(connection):
    return connection._protocol.names == ["pause_writing"]


# What is sent.


def test_many_small_writes_of_a_callback_leave_as_one_send(stub, happens):
    steady = []

    def answer(recorder, data):
        recorder.connection.writelines(LINES)
        steady.append(recorder.connection._steady)

    connection = stubbed(stub, receives=[b"?"], data_received=answer)
    changes = stub.poller.changes
    happens(connection, READABLE)
    assert connection._socket.sent == [b"".join(LINES)]
    assert steady == [READABLE] and stub.poller.changes == changes, "it is as simple as an echo"
    assert not connection.has_output() and stub.counters.buffered_bytes == 0


def test_the_next_callback_begins_anew(stub, happens):
    connection = stubbed(stub, receives=[b"1", b"2", b"3"], data_received=write(*LINES))
    for _ in range(3):
        happens(connection, READABLE)
    assert connection._socket.sent == [b"".join(LINES)] * 3


def test_many_small_writes_from_outside_leave_as_one_send_too(stub):
    connection = stubbed(stub)
    connection.writelines(LINES)
    stub.dispatcher.flush()
    assert connection._socket.sent == [b"".join(LINES)]


PIECES = {"small": b"small, ", "empty": b"", "just not large": b"n" * (LARGE_BYTES - 1), "large": b"L" * LARGE_BYTES}


@pytest.mark.parametrize("names", list(itertools.product(PIECES, repeat=4)), ids=", ".join)
def test_small_and_large_pieces_keep_their_order(stub, names):
    chunks = [PIECES[name] + b"%d" % number if PIECES[name] else b"" for number, name in enumerate(names)]
    connection = stubbed(stub, receives=[b"?"], data_received=write(*chunks), limits=Limits(output_high_bytes=1 << 20))
    stub.happens(connection, READABLE)
    while connection.has_output():
        stub.happens(connection, WRITABLE)
    assert b"".join(connection._socket.sent) == b"".join(chunks)


@pytest.mark.parametrize("before, after", [(0, 0), (0, 3), (3, 0), (3, 3)])
def test_a_large_chunk_is_kept_as_it_is_and_not_copied(before, after):
    large = b"x" * BLOCK_BYTES
    connection = gathering(*LINES[:before], large, *LINES[:after], limits=Limits(output_high_bytes=1 << 20))
    kept = [connection._unsent, *(connection._output._blocks if connection._output is not None else ())]
    assert any(block is large for block in kept)


def test_what_is_gathered_is_not_copied_again_when_the_kernel_takes_a_part():
    connection = gathering(*LINES)
    gathered = connection._take_output()
    assert not connection._put_back(gathered, 10)
    assert connection._output._blocks[0] is gathered


@pytest.mark.parametrize("sends", [[0, 5], [1] * 200, [10, BlockingIOError(), 20]], ids=str)
def test_what_the_kernel_leaves_of_it_follows_and_is_counted_meanwhile(stub, happens, sends):
    connection = stubbed(stub, receives=[b"?"], sends=sends, data_received=write(*LINES))
    whole, turns = b"".join(LINES), 0
    happens(connection, READABLE)
    while connection.has_output():
        left = len(whole) - sum(map(len, connection._socket.sent))
        assert connection.get_write_buffer_size() == stub.counters.buffered_bytes == left
        happens(connection, WRITABLE)
        turns += 1
        assert turns < 300
    assert b"".join(connection._socket.sent) == whole
    assert stub.counters.buffered_bytes == 0 and stub.counters.bytes_sent == len(whole)


def test_the_end_comes_behind_what_is_gathered(stub, happens):
    def answer(recorder, data):
        recorder.connection.writelines(LINES)
        recorder.connection.close()
        recorder.connection.write(b"too late")

    connection = stubbed(stub, receives=[b"?"], data_received=answer)
    happens(connection, READABLE)
    assert connection._socket.sent == [b"".join(LINES)]
    assert connection.state is State.LINGERING and stub.counters.dropped_writes == 1


@pytest.mark.parametrize("wrap", [bytearray, lambda data: memoryview(bytearray(data))], ids=["bytearray", "memoryview"])
def test_what_its_owner_may_change_is_copied_into_it(wrap):
    connection = gathering()
    pieces = [wrap(data) for data in LINES]
    for piece in pieces:
        connection.write(piece)
        piece[:] = b"?" * len(piece)
    assert bytes(connection._unsent) == b"".join(LINES)


# The marks. What waits is 90 bytes in three chunks.

THREE = [b"x" * 30] * 3


@pytest.mark.parametrize("state", ["attended", "from outside", "not steady"])
@pytest.mark.parametrize("size, is_paused", [(10, False), (11, True)])
def test_the_write_that_goes_over_the_high_mark_pauses(state, size, is_paused):
    connection = gathering(limits=MARKS)
    connection._attended, connection._steady = state != "from outside", READABLE * (state != "not steady")
    connection.writelines(THREE)
    assert not paused(connection)
    connection.write(b"y" * size)
    assert paused(connection) == is_paused, "inside the write, or a loop of writes would never be paused"
    assert connection.get_write_buffer_size() == 90 + size


@pytest.mark.parametrize("mark, is_paused", [(90, False), (89, True), (0, True)])
def test_a_mark_that_is_lowered_counts_what_is_gathered(mark, is_paused):
    connection = gathering(*THREE, limits=MARKS)
    connection.set_write_buffer_limits(high=mark)
    assert paused(connection) == is_paused


@pytest.mark.parametrize("empty", [[], [b""], [b"", b""]], ids=["alone", "and nothing", "and nothing twice"])
def test_a_mark_that_is_lowered_does_not_count_a_single_chunk(empty):
    connection = gathering(b"x" * 90, *empty, limits=MARKS)
    connection.set_write_buffer_limits(high=0)
    assert not paused(connection)


@pytest.mark.parametrize("when", ["before", "between"])
def test_the_hard_mark_holds_though_the_high_one_is_set_above_it(when):
    connection = gathering(*THREE * (when == "between"), limits=MARKS)
    connection.set_write_buffer_limits(high=1000)
    connection._steady = READABLE * (connection._output is None)
    connection.writelines(THREE * (when == "before"))
    connection.write(b"x" * 111)
    assert connection.state is State.OPEN and connection.get_write_buffer_size() == 201
    connection.write(b"y")
    assert connection.state is State.ENDED and connection.close_reason is CloseReason.SLOW_READER
    assert not connection._protocol.calls


def test_a_program_that_ignores_the_pause_meets_the_hard_mark():
    connection = gathering(*THREE, limits=MARKS)
    for _ in range(111):
        connection.write(b"y")
    assert connection.state is State.OPEN and connection.get_write_buffer_size() == 201
    connection.write(b"y")
    assert connection.state is State.ENDED and connection.close_reason is CloseReason.SLOW_READER


def test_what_is_gathered_counts_for_all_buffers_once_the_kernel_has_left_it(stub):
    connection = stubbed(stub, sends=[BlockingIOError()])
    connection.writelines(LINES)
    assert stub.counters.buffered_bytes == connection._buffered_bytes() == 0
    stub.dispatcher.flush()
    assert stub.counters.buffered_bytes == connection._buffered_bytes() == len(b"".join(LINES))
    assert told(connection).names == ["connection_made"]

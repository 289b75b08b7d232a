"""Sending: all output in order, however little the kernel takes, and a bound on what is kept (W1-W7)."""

import errno

import pytest

from reactor import CloseReason, Limits, State
from reactor.loop.poller import BROKEN, READABLE, WRITABLE
from tests.rig import StubReactor, ended, leave, os_error, readable, stubbed, told, write

# Writing.


def test_what_one_callback_writes_leaves_as_one_system_call(stub):
    def write_three(recorder, data):
        for piece in (b"one ", b"two ", b"three"):
            recorder.connection.write(piece)

    connection = stubbed(stub, receives=[b"x"], data_received=write_three)
    stub.happens(connection, READABLE)
    assert connection._socket.sent == [b"one two three"]


def test_several_writes_from_outside_leave_as_one_system_call_when_they_are_flushed(stub):
    connection = stubbed(stub)
    connection.write(b"one ")
    connection.write(b"two")
    assert connection._socket.sent == []
    stub.dispatcher.flush()
    assert connection._socket.sent == [b"one two"]


@pytest.mark.parametrize("sends", [[1] * 2000, [0, 3, BlockingIOError()] * 700, [999, BlockingIOError()] * 5])
def test_however_little_the_kernel_takes_all_arrives_in_order(stub, sends):
    message = bytes(range(256)) * 4
    connection = stubbed(stub, sends=sends)
    for start in range(0, len(message), 100):
        connection.write(message[start : start + 100])
        stub.finish()
    turns = 0
    while connection.has_output():
        assert stub.poller.watched[connection._fd] & WRITABLE
        stub.happens(connection, WRITABLE)
        turns += 1
        assert turns < 3000
    assert b"".join(connection._socket.sent) == message
    assert stub.counters.bytes_sent == len(message)
    assert not stub.poller.watched[connection._fd] & WRITABLE


def test_a_full_kernel_is_asked_again_only_when_it_has_room(stub):
    connection = stubbed(stub, sends=[BlockingIOError()])
    connection.write(b"data")
    stub.dispatcher.flush()
    stub.dispatcher.flush()
    assert connection._socket.sent == []
    assert stub.poller.watched[connection._fd] == READABLE | WRITABLE | BROKEN
    stub.happens(connection, WRITABLE)
    assert connection._socket.sent == [b"data"]
    assert stub.poller.watched[connection._fd] == READABLE | BROKEN


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ECONNRESET, errno.ETIMEDOUT], ids=errno.errorcode.get)
def test_an_error_while_sending_ends_it_with_that_error(stub, number):
    connection = stubbed(stub, sends=[os_error(number)])
    connection.write(b"data")
    stub.finish()
    assert ended(connection) is CloseReason.RESET
    assert told(connection).calls[-1][1].errno == number
    assert not connection.has_output()


def test_ten_thousand_writes_after_the_reset_raise_nothing_and_log_once(stub, caplog):
    caplog.set_level("INFO")
    connection = stubbed(stub, receives=[os_error(errno.ECONNRESET)])
    stub.happens(connection, READABLE)
    for _ in range(10_000):
        connection.write(b"late")
    stub.finish()
    connection.write(b"later")
    assert connection._socket.sent == []
    assert len(caplog.records) == 1


def test_sending_has_a_budget_so_that_a_fast_reader_starves_nobody(stub):
    limits = Limits(send_bytes=100_000)
    connection = stubbed(stub, limits=limits)
    for _ in range(20):
        connection.write(b"x" * 50_000)
    stub.dispatcher.flush()
    sent = sum(map(len, connection._socket.sent))
    assert 100_000 <= sent < 200_000
    assert stub.poller.watched[connection._fd] & WRITABLE
    while connection.has_output():
        stub.happens(connection, WRITABLE)
    assert sum(map(len, connection._socket.sent)) == 1_000_000


# The marks.


@pytest.mark.parametrize("how", ["its own event", "flush"])
@pytest.mark.parametrize("taken, paused", [(1000, False), (900, False), (899, True), (0, True)])
def test_a_large_reply_is_paused_for_by_what_the_kernel_leaves_of_it(stub, how, taken, paused):
    limits = Limits(output_high_bytes=100, output_low_bytes=0)
    sends = [taken, BlockingIOError(), BlockingIOError()]
    connection = stubbed(stub, receives=[b"?"], sends=sends, limits=limits, data_received=write(b"x" * 1000))
    if how == "flush":
        connection.write(b"x" * 1000)
        stub.dispatcher.flush()
    else:
        stub.happens(connection, READABLE)
    assert ("pause_writing" in told(connection).names) == paused
    assert connection.get_write_buffer_size() == 1000 - taken
    assert bool(stub.poller.watched[connection._fd] & WRITABLE) == (taken < 1000)


def test_what_follows_a_first_chunk_is_judged_inside_the_write(stub):
    connection = stubbed(stub, limits=Limits(output_high_bytes=100, output_low_bytes=0))
    connection.write(b"x" * 100)
    connection.write(b"y")
    assert told(connection).names[1:] == ["pause_writing"], "else a loop of writes would never be paused"


@pytest.mark.parametrize("end", ["close", "write_eof"])
def test_who_has_said_its_last_is_not_asked_to_pause(stub, end):
    connection = stubbed(stub, sends=[BlockingIOError()], limits=Limits(output_high_bytes=0, output_low_bytes=0))
    connection.write(b"last")
    getattr(connection, end)()
    stub.dispatcher.flush()
    assert told(connection).names[1:] == []


def test_pause_writing_can_abort_while_the_kernel_takes_part_after_part(stub):
    limits = Limits(output_high_bytes=100, output_low_bytes=0, send_bytes=1000)
    connection = stubbed(stub, sends=[0], limits=limits, pause_writing=lambda recorder: recorder.connection.abort())
    connection.write(b"x" * 1000)
    stub.finish()
    assert connection._socket.sent == [b""]
    assert ended(connection) is CloseReason.ABORTED


def test_resume_writing_comes_at_the_low_mark_and_not_before(stub):
    limits = Limits(output_high_bytes=100, output_low_bytes=50)
    connection = stubbed(stub, sends=[0, 50, 1], limits=limits)
    connection.write(b"x" * 101)
    stub.dispatcher.flush()
    assert told(connection).names[1:] == ["pause_writing"]
    stub.happens(connection, WRITABLE)
    assert connection.get_write_buffer_size() == 51
    assert told(connection).names[1:] == ["pause_writing"]
    stub.happens(connection, WRITABLE)
    assert connection.get_write_buffer_size() == 50
    assert told(connection).names[1:] == ["pause_writing", "resume_writing"]


def test_resume_writing_comes_when_the_marks_are_raised_above_what_waits(stub):
    connection = stubbed(stub, sends=[BlockingIOError()] * 10)
    connection.set_write_buffer_limits(high=10)
    connection.write(b"x" * 100)
    stub.dispatcher.flush()
    assert told(connection).names[1:] == ["pause_writing"]
    connection.set_write_buffer_limits(high=1000, low=100)
    stub.dispatcher.flush()
    assert told(connection).names[1:] == ["pause_writing", "resume_writing"]


def test_a_low_mark_of_zero_resumes_when_all_is_sent(stub):
    connection = stubbed(stub, sends=[1])
    connection.set_write_buffer_limits(high=0)
    connection.write(b"xy")
    stub.dispatcher.flush()
    assert told(connection).names[1:] == ["pause_writing"]
    stub.happens(connection, WRITABLE)
    assert told(connection).names[1:] == ["pause_writing", "resume_writing"]


def test_what_resume_writing_writes_has_its_turn_after_the_others(stub):
    limits = Limits(output_high_bytes=0, output_low_bytes=0)
    endless = stubbed(stub, limits=limits, resume_writing=write(b"mo", b"re"))
    other = stubbed(stub)
    endless.writelines([b"fi", b"rst"])
    other.write(b"other")
    stub.dispatcher.flush()
    assert endless._socket.sent == [b"first"]
    assert other._socket.sent == [b"other"]
    stub.dispatcher.flush()
    assert endless._socket.sent == [b"first", b"more"]


def test_a_protocol_that_always_has_more_to_say_gets_no_more_turns_the_longer_it_speaks(stub):
    limits = Limits(output_high_bytes=0, output_low_bytes=0)
    connection = stubbed(stub, receives=[b"x"] * 100, limits=limits, resume_writing=write(b"mo", b"re"))
    connection.writelines([b"fi", b"rst"])
    for _ in range(50):
        sent = len(connection._socket.sent)
        readable(stub, connection)
        assert len(connection._socket.sent) - sent <= 2
    assert len(stub.dispatcher.attention) <= 1


# Memory (W5).


def full(stub, size, **reactions):
    """A connection that keeps `size` bytes, because the kernel has no room."""
    connection = stubbed(stub, sends=[0] * 1000, **reactions)
    connection.write(b"x" * size)
    return connection


def test_when_all_keep_too_much_they_are_asked_to_pause_and_then_the_largest_is_ended():
    stub = StubReactor(Limits(memory_bytes=100, output_high_bytes=80, output_low_bytes=10))
    small, large, medium = full(stub, 20), full(stub, 60), full(stub, 40)
    idle = stubbed(stub)
    stub.finish()
    assert stub.counters.buffered_bytes == 120
    for connection in (small, large, medium):
        assert told(connection).names == ["connection_made", "pause_writing"]
    assert told(idle).names == ["connection_made"]
    stub.finish()
    assert ended(large) is CloseReason.MEMORY
    assert "60 bytes" in str(told(large).calls[-1][1])
    assert [connection.state for connection in (small, medium, idle)] == [State.OPEN] * 3
    assert stub.counters.buffered_bytes == 60


def test_no_more_are_ended_than_have_to_be_and_no_fewer():
    stub = StubReactor(Limits(memory_bytes=100))
    connections = [full(stub, size) for size in (50, 60, 70, 80)]
    for _ in range(3):
        stub.finish()
    assert [connection.state is State.CLOSED for connection in connections] == [False, True, True, True]


def test_who_leaves_the_loop_when_asked_does_not_keep_the_others_from_being_asked():
    stub = StubReactor(Limits(memory_bytes=100, output_high_bytes=80, output_low_bytes=10))
    first, second = full(stub, 60, pause_writing=leave), full(stub, 60)
    with pytest.raises(SystemExit):
        stub.finish()
    assert told(first).names[-1] == "pause_writing" and told(second).names == ["connection_made"]
    stub.finish()
    assert told(second).names == ["connection_made", "pause_writing"]
    assert [connection.state for connection in (first, second)] == [State.OPEN] * 2


def test_who_makes_room_when_asked_is_not_ended():
    stub = StubReactor(Limits(memory_bytes=100))
    connections = [full(stub, 60), full(stub, 60)]
    stub.finish()
    connections[0]._socket.sends.clear()
    stub.happens(connections[0], WRITABLE)
    for _ in range(3):
        stub.finish()
    assert [connection.state for connection in connections] == [State.OPEN] * 2


def test_the_next_time_there_is_too_much_there_is_a_warning_again():
    stub = StubReactor(Limits(memory_bytes=100))
    connections = [full(stub, 60), full(stub, 60)]
    stub.finish()
    for connection in connections:
        connection._socket.sends.clear()
        stub.happens(connection, WRITABLE)
    stub.finish()
    connections = [full(stub, 60), full(stub, 60)]
    stub.finish()
    assert [connection.state for connection in connections] == [State.OPEN] * 2


def test_who_cannot_write_any_more_is_not_asked_to_pause():
    stub = StubReactor(Limits(memory_bytes=100))
    closing, writing = full(stub, 60), full(stub, 60)
    closing.close()
    stub.finish()
    assert told(closing).names == ["connection_made"]
    assert told(writing).names == ["connection_made", "pause_writing"]


@pytest.mark.parametrize("how", ["abort", "reset"])
def test_who_ends_gives_back_what_was_kept(stub, how):
    connection = full(stub, 60)
    connection._keep_input(40, stub.timers.now)
    stub.finish()
    assert stub.counters.buffered_bytes == 100
    connection.abort() if how == "abort" else connection._end(CloseReason.RESET, None)
    stub.finish()
    assert stub.counters.buffered_bytes == 0

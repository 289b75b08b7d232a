"""Every answer that a system call can give, and what becomes of the connection: first with stubs, then for real."""

import errno
import socket

import pytest

from reactor import CloseReason, Limits, State
from reactor.core.poller import BROKEN, PEER_FIN, READABLE, WRITABLE
from tests import rig
from tests.rig import Recorder, StubReactor, StubSocket, adopt, break_down, leave, os_error, turn_until, turn_until_idle

RECEIVE_ERRNOS = [errno.ECONNRESET, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.EPIPE, errno.ENOBUFS]


def write(data):
    """A reaction: write `data`."""
    return lambda recorder, *_: recorder.connection.write(data)


def call(name):
    """A reaction: call that method of the connection."""
    return lambda recorder, *_: getattr(recorder.connection, name)()


@pytest.fixture
def stub():
    return StubReactor()


def stubbed(stub, *, receives=(), sends=(), limits=None, **reactions):
    """A connection over a stub socket, its protocol introduced."""
    sock = StubSocket(receives=receives, sends=sends)
    return adopt(stub, sock, Recorder(**reactions), limits)


def readable(stub, connection):
    """As the loop: an event, and then all that is owed."""
    stub.dispatcher.dispatch(connection, READABLE)
    stub.finish()


def ended(connection):
    """The reason, once all of the end is done: the socket is closed, off the list, and counted once."""
    assert connection.state is State.LOST
    assert connection.socket.closed
    assert connection.protocol is None or connection.protocol.names.count("connection_lost") == 1
    return connection.close_reason


# Coming in.


def test_tcp_no_delay_is_set_on_tcp_alone(stub):
    option = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for family, expected in [(socket.AF_INET, True), (socket.AF_INET6, True), (socket.AF_UNIX, False)]:
        sock = StubSocket()
        sock.family = family
        adopt(stub, sock, Recorder())
        assert (option in sock.options) is expected


def test_a_peer_that_left_before_its_options_could_be_set_is_no_trouble(stub):
    class Refusing(StubSocket):
        family = socket.AF_INET

        def setsockopt(self, *_arguments):
            raise os_error(errno.EINVAL)

    assert adopt(stub, Refusing(), Recorder()).state is State.OPEN


def test_what_connection_made_writes_is_sent_at_once(stub):
    connection = stubbed(stub, connection_made=write(b"220 ready"))
    assert connection.socket.sent == [b"220 ready"]


# Exceptions out of callbacks (E9).


@pytest.mark.parametrize("callback", ["connection_made", "data_received", "eof_received", "resume_writing"])
def test_an_exception_in_a_callback_ends_its_connection_with_one_log_line(stub, callback, caplog):
    other = stubbed(stub)
    connection = stubbed(stub, receives=[b"data", b""], limits=Limits(output_high_bytes=0, output_low_bytes=0),
                         **{"data_received": write(b"x"), callback: break_down})  # fmt: skip
    for _ in range(2):
        if connection.state is not State.LOST:
            readable(stub, connection)
    stub.finish()
    assert ended(connection) is CloseReason.HANDLER_ERROR
    assert isinstance(connection.protocol.calls[-1][1], LookupError)
    (record,) = caplog.records
    assert callback in record.getMessage() and record.exc_info[0] is LookupError
    assert connection.socket.resets, "the peer must not take what it has for the whole"
    assert other.state is State.OPEN
    assert stub.counters.closed[CloseReason.HANDLER_ERROR] == 1


def test_an_exception_in_connection_lost_is_logged_and_counted_and_the_others_are_told(stub, caplog):
    first = stubbed(stub, connection_lost=break_down)
    second = stubbed(stub)
    first.abort()
    second.abort()
    stub.finish()
    assert ended(first) is ended(second) is CloseReason.ABORTED
    assert len(caplog.records) == stub.counters.callback_errors == 1


@pytest.mark.parametrize("callback", ["connection_made", "data_received"])
def test_what_was_written_before_system_exit_is_sent(stub, callback):
    def write_and_leave(recorder, *_):
        recorder.connection.write(b"last words")
        raise SystemExit

    sock, recorder = StubSocket(receives=[b"data", b"more"]), Recorder(**{callback: write_and_leave})
    with pytest.raises(SystemExit):
        readable(stub, adopt(stub, sock, recorder))
    assert sock.sent == [b"last words"]
    (connection,) = stub.dispatcher.connections()
    recorder.reactions.clear()
    readable(stub, connection)
    assert recorder.calls[-1][0] == "data_received", "it is served on"
    assert recorder.names.count("connection_made") == 1


def test_after_system_exit_from_eof_received_the_connection_closes_as_it_would_have(stub):
    connection = stubbed(stub, receives=[b""], eof_received=leave)
    with pytest.raises(SystemExit):
        readable(stub, connection)
    stub.finish()
    assert ended(connection) is CloseReason.PEER_CLOSED


@pytest.mark.parametrize("event", ["its own event", "flush"])
def test_after_system_exit_from_resume_writing_the_connection_is_settled_on(stub, event):
    connection = stubbed(stub, sends=[BlockingIOError()], resume_writing=leave)
    connection.write(b"x" * 100_000)
    stub.dispatcher.flush()
    connection.close()
    with pytest.raises(SystemExit):
        if event == "flush":
            stub.dispatcher.flush()
        else:
            stub.dispatcher.dispatch(connection, WRITABLE)
    stub.finish()
    assert connection.state is State.LINGERING
    assert b"".join(connection.socket.sent) == b"x" * 100_000
    connection.abort()
    stub.finish()
    assert ended(connection) is CloseReason.ABORTED


def test_system_exit_from_connection_lost_keeps_the_others_to_be_told_and_closes_its_own(stub):
    first, second = stubbed(stub, connection_lost=leave), stubbed(stub)
    first.abort()
    second.abort()
    stub.dispatcher.flush()
    with pytest.raises(SystemExit):
        stub.dispatcher.reap()
    assert ended(first) is CloseReason.ABORTED
    assert second.protocol.names == ["connection_made"]
    stub.dispatcher.reap()
    assert ended(second) is CloseReason.ABORTED


# Reading.


def test_one_event_is_one_recv_so_that_a_firehose_starves_nobody(stub):
    connection = stubbed(stub, receives=[b"1", b"2", b"3"])
    readable(stub, connection)
    assert connection.protocol.received == b"1"
    readable(stub, connection)
    assert connection.protocol.received == b"12"


def test_no_more_is_read_at_once_than_its_own_limits_allow(stub):
    connection = stubbed(stub, receives=[b"1234567890"], limits=Limits(receive_bytes=4))
    for expected in (b"1234", b"12345678", b"1234567890"):
        readable(stub, connection)
        assert connection.protocol.received == expected


@pytest.mark.parametrize("small", [1, 3])
def test_little_is_asked_for_until_that_was_not_enough_and_then_all_that_is_allowed(stub, small):
    connection = stubbed(stub, receives=[b"x"] * small + [b"y" * 100_000], limits=Limits(receive_bytes=60_000))
    for _ in range(small + 3):
        readable(stub, connection)
    sizes = [len(data) for name, data in connection.protocol.calls[1:]]
    asked = sizes[small]
    assert sizes == [1] * small + [asked, 60_000, 40_000 - asked] and asked < 1000


def test_one_byte_results_are_put_together_in_order(stub):
    message = bytes(range(256))
    connection = stubbed(stub, receives=[bytes([byte]) for byte in message])
    for _ in message:
        readable(stub, connection)
    assert connection.protocol.received == message


def test_a_spurious_event_is_nothing(stub):
    connection = stubbed(stub, receives=[BlockingIOError(), b"data"])
    readable(stub, connection)
    assert connection.protocol.names == ["connection_made"]
    readable(stub, connection)
    assert connection.protocol.received == b"data"


@pytest.mark.parametrize("number", RECEIVE_ERRNOS, ids=errno.errorcode.get)
def test_an_error_while_reading_ends_it_with_that_error(stub, number):
    connection = stubbed(stub, receives=[os_error(number)])
    readable(stub, connection)
    assert ended(connection) is CloseReason.RESET
    assert connection.protocol.calls[-1][1].errno == number


def test_an_error_and_input_together_are_fetched_by_reading(stub):
    connection = stubbed(stub, receives=[b"last", os_error(errno.ECONNRESET)])
    stub.dispatcher.dispatch(connection, READABLE | WRITABLE | BROKEN | PEER_FIN)
    assert connection.protocol.received == b"last"
    stub.dispatcher.dispatch(connection, BROKEN)
    stub.finish()
    assert ended(connection) is CloseReason.RESET


@pytest.mark.parametrize("keep_open", [None, False, 0, True, "yes"], ids=repr)
def test_what_eof_received_returns_decides_whether_it_stays_open_for_writing(stub, keep_open):
    connection = stubbed(stub, receives=[b"data", b""], eof_received=lambda recorder: keep_open)
    readable(stub, connection)
    readable(stub, connection)
    if not keep_open:
        assert ended(connection) is CloseReason.PEER_CLOSED
        assert connection.protocol.calls[-1] == ("connection_lost", None)
        return
    assert connection.state is State.HALF_CLOSED_REMOTE
    connection.write(b"more")
    stub.finish()
    assert connection.socket.sent == [b"more"]
    connection.close()
    stub.finish()
    assert ended(connection) is CloseReason.PEER_CLOSED
    assert connection.protocol.names == ["connection_made", "data_received", "eof_received", "connection_lost"]


def test_write_eof_after_the_peers_end_closes(stub):
    connection = stubbed(stub, receives=[b""], eof_received=lambda recorder: True)
    readable(stub, connection)
    connection.write(b"last")
    connection.write_eof()
    stub.finish()
    assert connection.socket.sent == [b"last"]
    assert ended(connection) is CloseReason.PEER_CLOSED


def test_output_that_waits_at_the_peers_end_is_sent_first(stub):
    connection = stubbed(stub, receives=[b""], sends=[2, BlockingIOError()], eof_received=write(b" late"))
    connection.write(b"reply")
    readable(stub, connection)
    assert connection.state is State.FLUSHING
    assert stub.poller.watched[connection.fd] == WRITABLE | BROKEN
    stub.dispatcher.dispatch(connection, WRITABLE)
    stub.finish()
    stub.dispatcher.dispatch(connection, WRITABLE) if connection.state is State.FLUSHING else None
    stub.finish()
    assert b"".join(connection.socket.sent) == b"reply late"
    assert ended(connection) is CloseReason.PEER_CLOSED


@pytest.mark.parametrize("keep_open", [None, True])
def test_when_both_sides_have_ended_it_is_over_whatever_eof_received_returns(stub, keep_open):
    connection = stubbed(stub, receives=[b"data", b""], eof_received=lambda recorder: keep_open)
    connection.write_eof()
    stub.dispatcher.flush()
    assert connection.socket.shut == [socket.SHUT_WR]
    readable(stub, connection)
    assert connection.protocol.received == b"data", "reading goes on"
    readable(stub, connection)
    assert ended(connection) is CloseReason.PEER_CLOSED
    assert "eof_received" in connection.protocol.names


def test_a_paused_reader_is_left_alone_and_a_resumed_one_is_not(stub):
    connection = stubbed(stub, receives=[b"data"])
    connection.pause_reading()
    stub.dispatcher.dispatch(connection, READABLE)  # of this batch still
    stub.finish()
    assert connection.protocol.received == b""
    assert stub.poller.watched[connection.fd] == PEER_FIN | BROKEN
    connection.resume_reading()
    stub.finish()
    assert stub.poller.watched[connection.fd] == READABLE | BROKEN
    readable(stub, connection)
    assert connection.protocol.received == b"data"


@pytest.mark.parametrize("answer", [b"data", b"", os_error(errno.ECONNRESET)], ids=["data", "end", "error"])
def test_what_another_has_aborted_in_the_same_batch_is_not_read_any_more(stub, answer):
    connection = stubbed(stub, receives=[answer])
    connection.abort()  # by another's callback
    readable(stub, connection)
    assert len(connection.socket.receives) == 1
    assert ended(connection) is CloseReason.ABORTED
    assert connection.protocol.names == ["connection_made", "connection_lost"]


# Peers that leave while nobody reads (R5, E5).


def paused(stub, *receives, **reactions):
    connection = stubbed(stub, receives=receives, **reactions)
    connection.pause_reading()
    stub.dispatcher.flush()
    return connection


def test_a_reset_while_reading_is_paused_ends_it(stub):
    connection = paused(stub, b"unread")
    connection.socket.error = errno.ECONNRESET
    stub.dispatcher.dispatch(connection, BROKEN | PEER_FIN)
    stub.finish()
    assert ended(connection) is CloseReason.RESET
    assert connection.protocol.calls[-1][1].errno == errno.ECONNRESET
    assert connection.protocol.received == b""


def test_a_fin_with_nothing_unread_is_told_to_a_paused_reader(stub):
    connection = paused(stub, b"", eof_received=lambda recorder: True)
    stub.dispatcher.dispatch(connection, PEER_FIN)
    assert connection.protocol.names == ["connection_made", "eof_received"]
    assert stub.poller.watched[connection.fd] == BROKEN


def test_a_fin_behind_unread_data_waits_for_its_turn_and_is_not_asked_for_again(stub):
    connection = paused(stub, b"unread", b"")
    stub.dispatcher.dispatch(connection, PEER_FIN)
    assert connection.protocol.names == ["connection_made"]
    assert stub.poller.watched[connection.fd] == BROKEN, "it would spin"
    connection.resume_reading()
    stub.finish()
    readable(stub, connection)
    assert connection.protocol.names == ["connection_made", "data_received"]
    assert connection.protocol.received == b"unread"
    readable(stub, connection)
    assert ended(connection) is CloseReason.PEER_CLOSED


def test_a_fin_whose_data_is_gone_again_is_no_end_yet(stub):
    connection = paused(stub, BlockingIOError())
    stub.dispatcher.dispatch(connection, PEER_FIN)
    assert connection.state is State.OPEN


def test_an_error_found_while_looking_ends_it(stub):
    connection = paused(stub, os_error(errno.ECONNRESET))
    stub.dispatcher.dispatch(connection, PEER_FIN)
    stub.finish()
    assert ended(connection) is CloseReason.RESET


def test_a_reset_after_the_fin_ends_it(stub):
    connection = stubbed(stub, receives=[b""], eof_received=lambda recorder: True)
    readable(stub, connection)
    connection.socket.error = errno.EPIPE
    stub.dispatcher.dispatch(connection, BROKEN)
    stub.finish()
    assert ended(connection) is CloseReason.RESET
    assert connection.protocol.calls[-1][1].errno == errno.EPIPE


def test_a_hang_up_after_the_fin_ends_it_though_there_is_no_error(stub):
    connection = stubbed(stub, receives=[b""], eof_received=lambda recorder: True)
    readable(stub, connection)
    stub.dispatcher.dispatch(connection, BROKEN)
    stub.finish()
    assert ended(connection) is CloseReason.RESET
    assert connection.protocol.calls[-1][1].errno == errno.EPIPE


@pytest.mark.parametrize("end", ["close", "abort"])
def test_a_hang_up_that_was_fetched_before_another_ended_the_connection_changes_nothing(stub, end):
    connection = paused(stub, b"")
    connection.write_eof()
    stub.finish()
    getattr(connection, end)()  # by another's callback, in the same batch
    stub.dispatcher.dispatch(connection, BROKEN | PEER_FIN)
    stub.finish()
    if connection.state is not State.LOST:
        readable(stub, connection)
    assert ended(connection) is (CloseReason.CLOSED if end == "close" else CloseReason.ABORTED)


# Writing.


def test_what_one_callback_writes_leaves_as_one_system_call(stub):
    def write_three(recorder, data):
        for piece in (b"one ", b"two ", b"three"):
            recorder.connection.write(piece)

    connection = stubbed(stub, receives=[b"x"], data_received=write_three)
    stub.dispatcher.dispatch(connection, READABLE)
    assert connection.socket.sent == [b"one two three"]


def test_several_writes_from_outside_leave_as_one_system_call_when_they_are_flushed(stub):
    connection = stubbed(stub)
    connection.write(b"one ")
    connection.write(b"two")
    assert connection.socket.sent == []
    stub.dispatcher.flush()
    assert connection.socket.sent == [b"one two"]


@pytest.mark.parametrize("sends", [[1] * 2000, [0, 3, BlockingIOError()] * 700, [999, BlockingIOError()] * 5])
def test_however_little_the_kernel_takes_all_arrives_in_order(stub, sends):
    message = bytes(range(256)) * 4
    connection = stubbed(stub, sends=sends)
    for start in range(0, len(message), 100):
        connection.write(message[start : start + 100])
        stub.finish()
    turns = 0
    while connection.has_output():
        assert stub.poller.watched[connection.fd] & WRITABLE
        stub.dispatcher.dispatch(connection, WRITABLE)
        turns += 1
        assert turns < 3000
    assert b"".join(connection.socket.sent) == message
    assert stub.counters.bytes_sent == len(message)
    assert not stub.poller.watched[connection.fd] & WRITABLE


def test_a_full_kernel_is_asked_again_only_when_it_has_room(stub):
    connection = stubbed(stub, sends=[BlockingIOError()])
    connection.write(b"data")
    stub.dispatcher.flush()
    stub.dispatcher.flush()
    assert connection.socket.sent == []
    assert stub.poller.watched[connection.fd] == READABLE | WRITABLE | BROKEN
    stub.dispatcher.dispatch(connection, WRITABLE)
    assert connection.socket.sent == [b"data"]
    assert stub.poller.watched[connection.fd] == READABLE | BROKEN


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ECONNRESET, errno.ETIMEDOUT], ids=errno.errorcode.get)
def test_an_error_while_sending_ends_it_with_that_error(stub, number):
    connection = stubbed(stub, sends=[os_error(number)])
    connection.write(b"data")
    stub.finish()
    assert ended(connection) is CloseReason.RESET
    assert connection.protocol.calls[-1][1].errno == number
    assert not connection.has_output()


def test_ten_thousand_writes_after_the_reset_raise_nothing_and_log_once(stub, caplog):
    caplog.set_level("INFO")
    connection = stubbed(stub, receives=[os_error(errno.ECONNRESET)])
    stub.dispatcher.dispatch(connection, READABLE)
    for _ in range(10_000):
        connection.write(b"late")
    stub.finish()
    connection.write(b"later")
    assert connection.socket.sent == []
    assert len(caplog.records) == 1


def test_sending_has_a_budget_so_that_a_fast_reader_starves_nobody(stub):
    limits = Limits(send_bytes=100_000)
    connection = stubbed(stub, limits=limits)
    for _ in range(20):
        connection.write(b"x" * 50_000)
    stub.dispatcher.flush()
    sent = sum(map(len, connection.socket.sent))
    assert 100_000 <= sent < 200_000
    assert stub.poller.watched[connection.fd] & WRITABLE
    while connection.has_output():
        stub.dispatcher.dispatch(connection, WRITABLE)
    assert sum(map(len, connection.socket.sent)) == 1_000_000


# The marks.


def test_resume_writing_comes_at_the_low_mark_and_not_before(stub):
    limits = Limits(output_high_bytes=100, output_low_bytes=50)
    connection = stubbed(stub, sends=[0, 50, 1], limits=limits)
    connection.write(b"x" * 101)
    stub.dispatcher.flush()
    assert connection.protocol.names[1:] == ["pause_writing"]
    stub.dispatcher.dispatch(connection, WRITABLE)
    assert connection.get_write_buffer_size() == 51
    assert connection.protocol.names[1:] == ["pause_writing"]
    stub.dispatcher.dispatch(connection, WRITABLE)
    assert connection.get_write_buffer_size() == 50
    assert connection.protocol.names[1:] == ["pause_writing", "resume_writing"]


def test_resume_writing_comes_when_the_marks_are_raised_above_what_waits(stub):
    connection = stubbed(stub, sends=[BlockingIOError()] * 10)
    connection.set_write_buffer_limits(high=10)
    connection.write(b"x" * 100)
    stub.dispatcher.flush()
    assert connection.protocol.names[1:] == ["pause_writing"]
    connection.set_write_buffer_limits(high=1000, low=100)
    stub.dispatcher.flush()
    assert connection.protocol.names[1:] == ["pause_writing", "resume_writing"]


def test_a_low_mark_of_zero_resumes_when_all_is_sent(stub):
    connection = stubbed(stub, sends=[1])
    connection.set_write_buffer_limits(high=0)
    connection.write(b"xy")
    stub.dispatcher.flush()
    assert connection.protocol.names[1:] == ["pause_writing"]
    stub.dispatcher.dispatch(connection, WRITABLE)
    assert connection.protocol.names[1:] == ["pause_writing", "resume_writing"]


def test_what_resume_writing_writes_has_its_turn_after_the_others(stub):
    limits = Limits(output_high_bytes=0, output_low_bytes=0)
    endless = stubbed(stub, limits=limits, resume_writing=write(b"more"))
    other = stubbed(stub)
    endless.write(b"first")
    other.write(b"other")
    stub.dispatcher.flush()
    assert endless.socket.sent == [b"first"]
    assert other.socket.sent == [b"other"]
    stub.dispatcher.flush()
    assert endless.socket.sent == [b"first", b"more"]


def test_a_protocol_that_always_has_more_to_say_gets_no_more_turns_the_longer_it_speaks(stub):
    limits = Limits(output_high_bytes=0, output_low_bytes=0)
    connection = stubbed(stub, receives=[b"x"] * 100, limits=limits, resume_writing=write(b"more"))
    connection.write(b"first")
    for _ in range(50):
        sent = len(connection.socket.sent)
        readable(stub, connection)
        assert len(connection.socket.sent) - sent <= 2
    assert len(stub.dispatcher.attention) <= 1


# Memory (W5).


def full(stub, size, **reactions):
    """A connection that keeps `size` bytes the kernel has no room for."""
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
        assert connection.protocol.names == ["connection_made", "pause_writing"]
    assert idle.protocol.names == ["connection_made"]
    stub.finish()
    assert ended(large) is CloseReason.MEMORY
    assert "60 bytes" in str(large.protocol.calls[-1][1])
    assert [connection.state for connection in (small, medium, idle)] == [State.OPEN] * 3
    assert stub.counters.buffered_bytes == 60


def test_no_more_are_ended_than_have_to_be_and_no_fewer():
    stub = StubReactor(Limits(memory_bytes=100))
    connections = [full(stub, size) for size in (50, 60, 70, 80)]
    for _ in range(3):
        stub.finish()
    assert [connection.state is State.LOST for connection in connections] == [False, True, True, True]


def test_who_makes_room_when_asked_is_not_ended():
    stub = StubReactor(Limits(memory_bytes=100))
    connections = [full(stub, 60), full(stub, 60)]
    stub.finish()
    connections[0].socket.sends.clear()
    stub.dispatcher.dispatch(connections[0], WRITABLE)
    for _ in range(3):
        stub.finish()
    assert [connection.state for connection in connections] == [State.OPEN] * 2


def test_the_next_time_there_is_too_much_there_is_a_warning_again():
    stub = StubReactor(Limits(memory_bytes=100))
    connections = [full(stub, 60), full(stub, 60)]
    stub.finish()
    for connection in connections:
        connection.socket.sends.clear()
        stub.dispatcher.dispatch(connection, WRITABLE)
    stub.finish()
    connections = [full(stub, 60), full(stub, 60)]
    stub.finish()
    assert [connection.state for connection in connections] == [State.OPEN] * 2


def test_who_cannot_write_any_more_is_not_asked_to_pause():
    stub = StubReactor(Limits(memory_bytes=100))
    closing, writing = full(stub, 60), full(stub, 60)
    closing.close()
    stub.finish()
    assert closing.protocol.names == ["connection_made"]
    assert writing.protocol.names == ["connection_made", "pause_writing"]


@pytest.mark.parametrize("how", ["abort", "reset"])
def test_who_ends_gives_back_what_was_kept(stub, how):
    connection = full(stub, 60)
    connection.keep_input(40, stub.timers.now)
    stub.finish()
    assert stub.counters.buffered_bytes == 100
    connection.abort() if how == "abort" else connection.end(CloseReason.RESET, None)
    stub.finish()
    assert stub.counters.buffered_bytes == 0


# Ending.


def test_close_sends_what_was_written_then_our_fin_and_waits_for_the_peers(stub):
    connection = stubbed(stub, receives=[b"thrown away", b""], sends=[2])
    connection.write(b"reply")
    connection.close()
    stub.finish()
    assert (connection.state, connection.socket.shut) == (State.CLOSING, [])
    stub.dispatcher.dispatch(connection, WRITABLE)
    assert (connection.state, connection.socket.shut) == (State.LINGERING, [socket.SHUT_WR])
    assert b"".join(connection.socket.sent) == b"reply"
    readable(stub, connection)
    assert connection.state is State.LINGERING
    readable(stub, connection)
    assert ended(connection) is CloseReason.CLOSED
    assert connection.protocol.calls == [("connection_made",), ("connection_lost", None)]
    assert not connection.socket.resets


def test_input_is_read_and_thrown_away_while_the_reply_is_still_being_sent(stub):
    connection = stubbed(stub, receives=[b"x"] * 5, sends=[BlockingIOError()] * 6)
    connection.write(b"reply")
    connection.close()
    stub.finish()
    for _ in range(5):
        readable(stub, connection)
    assert not connection.socket.receives
    assert connection.protocol.received == b""
    assert connection.state is State.CLOSING


def test_a_large_rest_is_thrown_away_in_large_pieces(stub):
    connection = stubbed(stub, receives=[bytes(1 << 20), b""])
    connection.close()
    stub.finish()
    turns = 0
    while connection.state is not State.LOST:
        readable(stub, connection)
        turns += 1
    assert turns <= (1 << 20) / connection.limits.receive_bytes + 2
    assert connection.close_reason is CloseReason.CLOSED


def test_the_peers_fin_while_we_flush_ends_it_when_all_is_sent_and_is_not_told(stub):
    connection = stubbed(stub, receives=[b""], sends=[BlockingIOError(), BlockingIOError()])
    connection.write(b"reply")
    connection.close()
    stub.finish()
    readable(stub, connection)
    assert connection.state is State.FLUSHING
    stub.dispatcher.dispatch(connection, WRITABLE)
    stub.finish()
    assert connection.socket.sent == [b"reply"]
    assert ended(connection) is CloseReason.CLOSED
    assert connection.protocol.names == ["connection_made", "connection_lost"]


def test_a_paused_reader_that_closes_still_throws_its_input_away(stub):
    connection = paused(stub, b"unread", b"")
    connection.close()
    stub.finish()
    assert stub.poller.watched[connection.fd] & READABLE
    readable(stub, connection)
    readable(stub, connection)
    assert ended(connection) is CloseReason.CLOSED


def test_lingering_has_a_deadline(stub):
    connection = stubbed(stub, limits=Limits(linger_seconds=5))
    connection.close()
    stub.finish()
    stub.pass_time(4.999)
    stub.finish()
    assert connection.state is State.LINGERING
    stub.pass_time(0.001)
    stub.finish()
    assert ended(connection) is CloseReason.LINGER_TIMEOUT


def test_a_deadline_that_is_not_needed_is_taken_back(stub):
    connection = stubbed(stub, receives=[b""])
    connection.close()
    stub.finish()
    assert len(stub.timers) == 1
    readable(stub, connection)
    assert len(stub.timers) == 0


def test_our_fin_is_sent_once(stub):
    connection = stubbed(stub)
    connection.write_eof()
    stub.finish()
    connection.pause_reading()
    stub.finish()
    connection.close()
    stub.finish()
    assert connection.state is State.LINGERING
    assert connection.socket.shut == [socket.SHUT_WR]


def test_write_eof_waits_until_all_is_sent(stub):
    connection = stubbed(stub, sends=[BlockingIOError()])
    connection.write(b"last")
    connection.write_eof()
    stub.dispatcher.flush()
    assert connection.socket.shut == []
    stub.dispatcher.dispatch(connection, WRITABLE)
    assert (connection.socket.sent, connection.socket.shut) == ([b"last"], [socket.SHUT_WR])
    assert connection.state is State.HALF_CLOSED_LOCAL


def test_a_fin_that_cannot_be_sent_means_that_the_peer_is_gone(stub):
    connection = stubbed(stub)

    def shutdown(_how):
        raise os_error(errno.ENOTCONN)

    connection.socket.shutdown = shutdown
    connection.close()
    stub.finish()
    assert ended(connection) is CloseReason.RESET
    assert connection.protocol.calls[-1][1].errno == errno.ENOTCONN


@pytest.mark.parametrize(
    ("end", "resets"),
    [
        (lambda connection: connection.abort(), True),
        (lambda connection: connection.fail("a callback", LookupError()), True),
        (lambda connection: connection.end(CloseReason.SHUTDOWN, None), False),
    ],
    ids="abort handler_error shutdown".split(),
)
@pytest.mark.parametrize("waiting", [b"", b"waiting"])
def test_the_peer_sees_a_reset_unless_it_has_everything(stub, end, resets, waiting):
    connection = stubbed(stub, sends=[BlockingIOError()] * 10)
    connection.write(waiting)
    stub.finish()
    end(connection)
    stub.finish()
    ended(connection)
    assert connection.socket.resets is (resets or bool(waiting))
    assert connection.socket.sent == []


def test_the_socket_is_closed_in_the_last_phase_only_after_connection_lost(stub):
    seen = []
    connection = stubbed(
        stub,
        receives=[b"x"],
        data_received=call("abort"),
        connection_lost=lambda recorder, exc: seen.append(recorder.connection.socket.closed),
    )
    stub.dispatcher.dispatch(connection, READABLE)
    assert connection.state is State.CLOSED
    assert not connection.socket.closed and not seen
    assert stub.dispatcher.connections() == [], "nothing stale can reach it any more"
    stub.dispatcher.reap()
    assert seen == [False]
    assert ended(connection) is CloseReason.ABORTED


def test_an_end_is_counted_and_logged_once_with_its_reason(stub, caplog):
    caplog.set_level("DEBUG")
    connection = stubbed(stub)
    connection.abort()
    for _ in range(3):
        connection.abort()
        stub.finish()
    assert stub.counters.closed[CloseReason.ABORTED] == 1
    assert [record.getMessage() for record in caplog.records] == [f"{connection!r}: aborted"]


CALLBACKS = ["connection_made", "data_received", "eof_received", "pause_writing", "resume_writing", "connection_lost"]


@pytest.mark.parametrize("how", ["close", "abort"])
@pytest.mark.parametrize("callback", CALLBACKS)
@pytest.mark.parametrize("whose", ["its own", "another's", "its own, twice"])
def test_a_connection_can_be_ended_from_every_callback_and_ends_once(stub, how, callback, whose):
    other = stubbed(stub, receives=[b""])

    def end(recorder, *_):
        if whose == "another's":
            getattr(other, how)()
        else:
            getattr(recorder.connection, how)()
        if whose == "its own, twice":
            recorder.connection.abort()

    reactions = {"data_received": write(b"x"), callback: end}
    connection = stubbed(
        stub,
        receives=[b"x", b""],
        limits=Limits(output_high_bytes=0, output_low_bytes=0),
        **reactions,
    )
    for _ in range(4):
        for each in (connection, other):
            if each.state not in (State.CLOSED, State.LOST):
                stub.dispatcher.dispatch(each, READABLE)
        stub.finish()
    for each in (connection, other):
        ended(each)
    assert sum(stub.counters.closed.values()) == 2
    assert connection.protocol.names[-1] == "connection_lost"


# What the kernel is asked.


def test_the_kernel_is_told_only_what_changed(stub):
    connection = stubbed(stub, receives=[b"x"] * 10, data_received=write(b"echo"))
    changes = stub.poller.changes
    for _ in range(10):
        readable(stub, connection)
    assert connection.socket.sent == [b"echo"] * 10
    assert stub.poller.changes == changes


# With a kernel.


@pytest.fixture(params=["unix", "tcp"])
def any_pair(request):
    return request.getfixturevalue("pair" if request.param == "unix" else "tcp_pair")


def receive_all(reactor, sock):
    """Read to the end of the stream while the loop turns."""
    sock.setblocking(False)
    received = bytearray()

    def at_end():
        try:
            while data := sock.recv(1 << 20):
                received.extend(data)
        except BlockingIOError:
            return False
        return True

    turn_until(reactor, at_end, "the end of the stream")
    return bytes(received)


def send_all(reactor, sock, data):
    """Send all of `data` while the loop turns."""
    sock.setblocking(False)
    left = memoryview(data)

    def sent():
        nonlocal left
        try:
            left = left[sock.send(left) :]
        except BlockingIOError:
            pass
        return not left

    turn_until(reactor, sent, "all is sent")


def patterned(size):
    return b"".join(number.to_bytes(4, "big") for number in range(size // 4))


def test_megabytes_of_output_arrive_in_order_through_a_small_window(reactor, any_pair):
    ours, theirs = any_pair
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    reply = patterned(2_000_000)

    def answer(recorder, data):
        view = memoryview(reply)
        recorder.connection.writelines([view[:7], view[7:500_000], b"", view[500_000:500_001], view[500_001:]])
        recorder.connection.close()

    protocol = Recorder(data_received=answer)
    adopt(reactor, ours, protocol)
    theirs.send(b"go")
    assert receive_all(reactor, theirs) == reply
    theirs.close()
    turn_until(reactor, lambda: protocol.lost, "the end")
    assert protocol.names.count("pause_writing") == protocol.names.count("resume_writing") == 1


def test_the_reply_to_a_client_that_has_ended_its_side_arrives_whole(reactor, any_pair):
    ours, theirs = any_pair
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    request, reply = patterned(300_000), patterned(3_000_000)
    protocol = Recorder(eof_received=lambda recorder: recorder.connection.write(reply))
    connection = adopt(reactor, ours, protocol)
    send_all(reactor, theirs, request)
    theirs.shutdown(socket.SHUT_WR)
    turn_until(reactor, lambda: connection.state is State.FLUSHING, "the end of the request")
    turn_until_idle(reactor)
    assert receive_all(reactor, theirs) == reply
    turn_until(reactor, lambda: protocol.lost, "the end")
    assert protocol.received == request
    assert connection.close_reason is CloseReason.PEER_CLOSED


def test_after_write_eof_the_other_direction_goes_on(reactor, any_pair):
    ours, theirs = any_pair
    protocol = Recorder(connection_made=lambda recorder: (recorder.connection.write(b"greeting"),
                                                          recorder.connection.write_eof()))  # fmt: skip
    connection = adopt(reactor, ours, protocol)
    assert receive_all(reactor, theirs) == b"greeting"
    message = patterned(1_000_000)
    send_all(reactor, theirs, message)
    turn_until(reactor, lambda: protocol.received == message, "the other direction")
    assert connection.state is State.HALF_CLOSED_LOCAL
    theirs.close()
    turn_until(reactor, lambda: protocol.lost, "the end")
    assert protocol.names == ["connection_made", "data_received", "eof_received", "connection_lost"]


@pytest.mark.parametrize("attempt", range(10))
def test_a_reply_is_read_though_the_client_was_still_sending_when_the_server_closed(reactor, tcp_pair, attempt):
    ours, theirs = tcp_pair
    reply = patterned(50_000)

    def answer(recorder, data):
        recorder.connection.write(reply)
        recorder.connection.close()

    connection = adopt(reactor, ours, Recorder(data_received=answer))
    send_all(reactor, theirs, b"x" * 1_000_000)
    turn_until(reactor, lambda: connection.state is State.LINGERING, "our end")
    send_all(reactor, theirs, b"and more")
    assert receive_all(reactor, theirs) == reply
    theirs.close()
    turn_until(reactor, lambda: connection.state is State.LOST, "the end")
    assert connection.close_reason is CloseReason.CLOSED


def test_abort_sends_a_reset(reactor, tcp_pair):
    ours, theirs = tcp_pair
    connection = adopt(reactor, ours, Recorder())
    connection.write(b"unsent")
    connection.abort()
    turn_until(reactor, lambda: connection.state is State.LOST, "the end")
    with pytest.raises(ConnectionResetError):
        theirs.recv(1)


@pytest.mark.parametrize("unread", [b"", b"unread"])
def test_a_reset_is_noticed_while_reading_is_paused(reactor, tcp_pair, unread):
    ours, theirs = tcp_pair
    protocol = Recorder(connection_made=call("pause_reading"))
    connection = adopt(reactor, ours, protocol)
    if unread:
        theirs.send(unread)
    turn_until_idle(reactor)
    rig.reset(theirs)
    turn_until(reactor, lambda: protocol.lost, "the reset")
    assert protocol.names == ["connection_made", "connection_lost"]
    assert isinstance(protocol.calls[-1][1], ConnectionResetError)
    assert connection.close_reason is CloseReason.RESET


def test_a_fin_is_noticed_while_reading_is_paused(reactor, any_pair):
    ours, theirs = any_pair
    protocol = Recorder(connection_made=call("pause_reading"))
    adopt(reactor, ours, protocol)
    theirs.close()
    turn_until(reactor, lambda: protocol.lost, "the end")
    assert protocol.names == ["connection_made", "eof_received", "connection_lost"]


def test_a_fin_behind_unread_data_is_noticed_in_its_turn_and_nothing_spins(reactor, any_pair):
    ours, theirs = any_pair
    protocol = Recorder(connection_made=call("pause_reading"))
    connection = adopt(reactor, ours, protocol)
    theirs.send(b"unread")
    theirs.close()
    turn_until(reactor, lambda: connection.known, "that the peer has left")
    turn_until_idle(reactor)
    assert protocol.names == ["connection_made"]
    connection.resume_reading()
    turn_until(reactor, lambda: protocol.lost, "the end")
    assert protocol.received == b"unread"
    assert protocol.names == ["connection_made", "data_received", "eof_received", "connection_lost"]


def test_a_fin_that_came_behind_unread_data_is_noticed_in_the_next_pause(reactor, any_pair):
    ours, theirs = any_pair
    protocol = Recorder(connection_made=call("pause_reading"), data_received=call("pause_reading"))
    connection = adopt(reactor, ours, protocol)
    protocol.reactions["data_received"] = lambda recorder, data: connection.pause_reading()
    theirs.send(b"unread")
    theirs.close()
    turn_until(reactor, lambda: connection.known, "that the peer has left")
    connection.resume_reading()
    turn_until(reactor, lambda: protocol.lost, "the end, though reading is paused")
    assert protocol.received == b"unread"


def test_a_reset_after_the_fin_is_noticed_while_the_reply_is_being_made(reactor, tcp_pair):
    ours, theirs = tcp_pair
    protocol = Recorder(eof_received=lambda recorder: True)
    adopt(reactor, ours, protocol)
    theirs.shutdown(socket.SHUT_WR)
    turn_until(reactor, lambda: "eof_received" in protocol.names, "the end of input")
    turn_until_idle(reactor)
    rig.reset(theirs)
    turn_until(reactor, lambda: protocol.lost, "the reset")
    assert isinstance(protocol.calls[-1][1], OSError)


def test_a_hang_up_of_a_unix_peer_after_its_end_neither_spins_nor_goes_unnoticed(reactor, pair):
    ours, theirs = pair
    protocol = Recorder(eof_received=lambda recorder: True)
    connection = adopt(reactor, ours, protocol)
    theirs.close()
    turn_until(reactor, lambda: protocol.lost, "the hang-up")
    assert connection.close_reason is CloseReason.RESET
    turn_until_idle(reactor)


@pytest.mark.parametrize("paused", [False, True])
def test_a_client_that_has_ended_its_side_and_waits_keeps_nobody_busy(reactor, tcp_pair, paused):
    ours, theirs = tcp_pair
    protocol = Recorder(eof_received=lambda recorder: True)
    connection = adopt(reactor, ours, protocol)
    if paused:
        connection.pause_reading()
    connection.write(b"x" * 5_000_000)
    theirs.shutdown(socket.SHUT_WR)
    turn_until(reactor, lambda: "eof_received" in protocol.names, "the end of input")
    turn_until_idle(reactor)
    connection.close()
    turn_until_idle(reactor)
    assert receive_all(reactor, theirs) == b"x" * 5_000_000


def first_of_two_ready(reactor, reaction):
    """Two connections with input in one batch; the first to be told runs `reaction(the other one)`.

    Returns both connections, first the one that was told, and their peers' sockets to close.
    """
    told, peers, connections = [], [], []

    def tell(recorder, data):
        if not told:
            told.append(recorder.connection)
            reaction(*[each for each in connections if each is not recorder.connection])

    for _ in range(2):
        ours, theirs = socket.socketpair()
        peers.append(theirs)
        connections.append(adopt(reactor, ours, Recorder(data_received=tell)))
    for theirs in peers:
        theirs.send(b"both are ready")
    reactor.run_once(rig.DEADLINE_SECONDS)
    assert len(told) == 1
    for theirs in peers:
        theirs.close()
    return told[0], next(each for each in connections if each is not told[0])


def test_an_event_of_a_connection_closed_in_the_same_batch_is_dropped_and_its_number_not_used_again(reactor):
    newcomers = []

    def close_and_open(victim):
        number = victim.socket.fileno()
        victim.abort()
        ours, theirs = socket.socketpair()
        newcomers.append((adopt(reactor, ours, Recorder()), theirs))
        assert number not in (ours.fileno(), theirs.fileno())

    _first, second = first_of_two_ready(reactor, close_and_open)
    ((newcomer, theirs),) = newcomers
    with theirs:
        assert second.protocol.names == ["connection_made", "connection_lost"]
        assert newcomer.protocol.names == ["connection_made"]
        assert newcomer.state is State.OPEN


def test_a_thousand_short_connections_over_the_same_numbers_get_their_own_bytes(reactor):
    listener = reactor.listen(
        socket.create_server(("127.0.0.1", 0)),
        lambda: Recorder(data_received=lambda recorder, data: (recorder.connection.write(data),
                                                              recorder.connection.close())),
    )  # fmt: skip
    for number in range(0, 1000, 10):
        clients = [socket.create_connection(listener.address) for _ in range(10)]
        for offset, client in enumerate(clients):
            client.sendall(b"tag %d" % (number + offset))
        for offset, client in enumerate(clients):
            assert receive_all(reactor, client) == b"tag %d" % (number + offset)
            client.close()
    turn_until(reactor, lambda: reactor.counters.open == 0, "all ends")
    assert reactor.counters.accepted == reactor.counters.closed[CloseReason.CLOSED] == 1000

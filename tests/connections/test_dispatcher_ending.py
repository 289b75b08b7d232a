"""A connection ends by the program, the peer or an exception: once, and with its reason (E3-E9)."""

import errno
import socket

import pytest

from reactor import CloseReason, Limits, State
from reactor.connections.derived import next_deadline
from reactor.loop.poller import READABLE, WRITABLE
from tests.rig import (
    Recorder,
    StubSocket,
    adopt,
    break_down,
    call,
    ended,
    leave,
    os_error,
    paused,
    readable,
    stubbed,
    told,
    write,
)

# Ending.


def test_close_sends_what_was_written_then_our_fin_and_waits_for_the_peers(stub):
    connection = stubbed(stub, receives=[b"thrown away", b""], sends=[2])
    connection.write(b"reply")
    connection.close()
    stub.finish()
    assert (connection.state, connection._socket.shut) == (State.CLOSING, [])
    stub.happens(connection, WRITABLE)
    assert (connection.state, connection._socket.shut) == (State.LINGERING, [socket.SHUT_WR])
    assert b"".join(connection._socket.sent) == b"reply"
    readable(stub, connection)
    assert connection.state is State.LINGERING
    readable(stub, connection)
    assert ended(connection) is CloseReason.CLOSED
    assert told(connection).calls == [("connection_made",), ("connection_lost", None)]
    assert not connection._socket.resets


def test_input_is_read_and_thrown_away_while_the_reply_is_still_being_sent(stub):
    connection = stubbed(stub, receives=[b"x"] * 5, sends=[BlockingIOError()] * 6)
    connection.write(b"reply")
    connection.close()
    stub.finish()
    for _ in range(5):
        readable(stub, connection)
    assert not connection._socket.receives
    assert told(connection).received == b""
    assert connection.state is State.CLOSING


def test_a_large_rest_is_thrown_away_in_large_pieces(stub):
    connection = stubbed(stub, receives=[bytes(1 << 20), b""])
    connection.close()
    stub.finish()
    turns = 0
    while connection.state is not State.CLOSED:
        readable(stub, connection)
        turns += 1
    assert turns <= (1 << 20) / connection.limits.receive_bytes + 4
    assert connection.close_reason is CloseReason.CLOSED


def test_the_peers_fin_while_we_flush_ends_it_when_all_is_sent_and_is_not_told(stub):
    connection = stubbed(stub, receives=[b""], sends=[BlockingIOError(), BlockingIOError()])
    connection.write(b"reply")
    connection.close()
    stub.finish()
    readable(stub, connection)
    assert connection.state is State.FLUSHING
    stub.happens(connection, WRITABLE)
    stub.finish()
    assert connection._socket.sent == [b"reply"]
    assert ended(connection) is CloseReason.CLOSED
    assert told(connection).names == ["connection_made", "connection_lost"]


def test_after_the_peers_clean_end_no_error_is_told_though_our_own_end_has_one(stub):
    connection = stubbed(stub, receives=[b""], eof_received=lambda recorder: True)
    readable(stub, connection)
    connection._finish(CloseReason.FRAME_TOO_LARGE, ValueError("behind the end"))
    stub.finish()
    assert ended(connection) is CloseReason.PEER_CLOSED
    assert told(connection).calls[-1] == ("connection_lost", None)


def test_a_fin_counts_as_hearing(stub):
    connection = stubbed(stub, receives=[b""], eof_received=lambda recorder: True)
    stub.timers.clock.now += 7
    stub.timers.now = stub.timers.clock()
    readable(stub, connection)
    assert next_deadline(connection) == (1007 + connection.limits.idle_seconds, CloseReason.IDLE_TIMEOUT)


def test_a_paused_reader_that_closes_still_throws_its_input_away(stub):
    connection = paused(stub, b"unread", b"")
    connection.close()
    stub.finish()
    assert stub.poller.watched[connection._fd] & READABLE
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
    assert connection._socket.shut == [socket.SHUT_WR]


def test_write_eof_waits_until_all_is_sent(stub):
    connection = stubbed(stub, sends=[BlockingIOError()])
    connection.write(b"last")
    connection.write_eof()
    stub.dispatcher.flush()
    assert connection._socket.shut == []
    stub.happens(connection, WRITABLE)
    assert (connection._socket.sent, connection._socket.shut) == ([b"last"], [socket.SHUT_WR])
    assert connection.state is State.HALF_CLOSED_LOCAL


def test_a_fin_that_cannot_be_sent_means_that_the_peer_is_gone(stub):
    connection = stubbed(stub)

    def shutdown(_how):
        raise os_error(errno.ENOTCONN)

    connection._socket.shutdown = shutdown
    connection.close()
    stub.finish()
    assert ended(connection) is CloseReason.RESET
    assert told(connection).calls[-1][1].errno == errno.ENOTCONN


def test_system_exit_out_of_a_signal_handler_during_the_fin_loses_no_step(stub):
    connection = stubbed(stub)

    def shutdown(_how):
        raise SystemExit(1)

    connection._socket.shutdown = shutdown
    connection.close()
    with pytest.raises(SystemExit):
        stub.finish()
    stub.finish()
    assert connection.state is State.LINGERING and connection._state_since == stub.timers.now


@pytest.mark.parametrize(
    ("end", "resets"),
    [
        (lambda connection: connection.abort(), True),
        (lambda connection: connection._fail("a callback", LookupError()), True),
        (lambda connection: connection._end(CloseReason.SHUTDOWN, None), False),
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
    assert connection._socket.resets is (resets or bool(waiting))
    assert connection._socket.sent == []


def test_the_socket_is_closed_in_the_last_phase_only_after_connection_lost(stub):
    seen = []
    connection = stubbed(
        stub,
        receives=[b"x"],
        data_received=call("abort"),
        connection_lost=lambda recorder, exc: seen.append(recorder.connection._socket.closed),
    )
    stub.happens(connection, READABLE)
    assert connection.state is State.ENDED
    assert not connection._socket.closed and not seen
    assert not stub.dispatcher.connections(), "nothing stale can reach it any more"
    stub.dispatcher.reaper.reap()
    assert seen == [False]
    assert ended(connection) is CloseReason.ABORTED


@pytest.mark.parametrize("touch", ["close", "abort", "pause_reading", "resume_reading", "set_write_buffer_limits"])
def test_who_was_lost_while_its_writing_was_paused_is_not_resumed_by_a_late_touch(stub, touch):
    connection = stubbed(stub, sends=[0], limits=Limits(output_high_bytes=0, output_low_bytes=0))
    connection.write(b"waiting")
    stub.finish()
    connection.abort()
    stub.finish()
    getattr(connection, touch)()
    stub.finish()
    assert told(connection).names == ["connection_made", "pause_writing", "connection_lost"]


def test_an_end_is_counted_and_logged_once_with_its_reason(stub, caplog):
    caplog.set_level("DEBUG")
    connection = stubbed(stub)
    connection.abort()
    for _ in range(3):
        connection.abort()
        stub.finish()
    assert stub.counters.closed[CloseReason.ABORTED] == 1
    assert [record.getMessage() for record in caplog.records] == ["connection 1 to unix:peer: aborted after 0.000 s"]


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

    reactions = {"data_received": write(b"x", b"y"), callback: end}
    connection = stubbed(
        stub,
        receives=[b"x", b""],
        limits=Limits(output_high_bytes=0, output_low_bytes=0),
        **reactions,
    )
    for _ in range(4):
        for each in (connection, other):
            if each.state not in (State.ENDED, State.CLOSED):
                stub.happens(each, READABLE)
        stub.finish()
    for each in (connection, other):
        ended(each)
    assert sum(stub.counters.closed.values()) == 2
    assert told(connection).names[-1] == "connection_lost"


# Exceptions in callbacks (E9).


@pytest.mark.parametrize("callback", ["connection_made", "data_received", "eof_received", "resume_writing"])
def test_an_exception_in_a_callback_ends_its_connection_with_one_log_line(stub, callback, caplog):
    other = stubbed(stub)
    connection = stubbed(stub, receives=[b"data", b""], limits=Limits(output_high_bytes=0, output_low_bytes=0),
                         **{"data_received": write(b"x", b"y"), callback: break_down})  # fmt: skip
    for _ in range(2):
        if connection.state is not State.CLOSED:
            readable(stub, connection)
    stub.finish()
    assert ended(connection) is CloseReason.HANDLER_ERROR
    assert isinstance(told(connection).calls[-1][1], LookupError)
    (record,) = caplog.records
    assert callback in record.getMessage() and record.exc_info[0] is LookupError
    assert connection._socket.resets, "the peer must not take what it has for the whole"
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
def test_after_system_exit_from_pause_writing_the_connection_is_settled_on(stub, event):
    connection = stubbed(stub, receives=[b"?"], sends=[50_000, BlockingIOError(), BlockingIOError()],
                         data_received=write(b"x" * 200_000), pause_writing=leave)  # fmt: skip
    with pytest.raises(SystemExit):
        if event == "flush":
            connection.write(b"x" * 200_000)
            stub.dispatcher.flush()
        else:
            stub.happens(connection, READABLE)
    stub.finish()
    for _ in range(2):
        assert stub.poller.watched[connection._fd] & WRITABLE or not connection.has_output()
        stub.happens(connection, WRITABLE)
    assert b"".join(connection._socket.sent) == b"x" * 200_000
    assert told(connection).names[-1] == "resume_writing"


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
            stub.happens(connection, WRITABLE)
    stub.finish()
    assert connection.state is State.LINGERING
    assert b"".join(connection._socket.sent) == b"x" * 100_000
    connection.abort()
    stub.finish()
    assert ended(connection) is CloseReason.ABORTED


def test_system_exit_from_connection_lost_keeps_the_others_to_be_told_and_closes_its_own(stub):
    first, second = stubbed(stub, connection_lost=leave), stubbed(stub)
    first.abort()
    second.abort()
    stub.dispatcher.flush()
    with pytest.raises(SystemExit):
        stub.dispatcher.reaper.reap()
    assert ended(first) is CloseReason.ABORTED
    assert told(second).names == ["connection_made"]
    stub.dispatcher.reaper.reap()
    assert ended(second) is CloseReason.ABORTED


# What the kernel is asked.


def test_the_kernel_is_told_only_what_changed(stub):
    connection = stubbed(stub, receives=[b"x"] * 10, data_received=write(b"echo"))
    changes = stub.poller.changes
    for _ in range(10):
        readable(stub, connection)
    assert connection._socket.sent == [b"echo"] * 10
    assert stub.poller.changes == changes

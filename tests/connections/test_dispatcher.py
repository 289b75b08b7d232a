"""Coming in and reading: every answer that a system call can give, and what happens to the connection."""

import errno
import socket
import sys

import pytest

from reactor import CloseReason, Limits, State
from reactor.apps.echo import Echo
from reactor.connections import fast_path
from reactor.connections.dispatcher import RECEIVE_GROWTH
from reactor.connections.socket_options import send_at_once
from reactor.loop.poller import BROKEN, PEER_FIN, READABLE, WRITABLE
from tests.rig import StubSocket, adopt, ended, os_error, paused, readable, stubbed, told, write

RECEIVE_ERRNOS = [errno.ECONNRESET, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.EPIPE, errno.ENOBUFS]


# Coming in.


def test_tcp_no_delay_is_set_on_tcp_alone():
    option = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for family, expected in [(socket.AF_INET, True), (socket.AF_INET6, True), (socket.AF_UNIX, False)]:
        sock = StubSocket()
        sock.family = family
        send_at_once(sock)
        assert (option in sock.options) is expected


def test_a_peer_that_left_before_its_options_could_be_set_is_no_trouble():
    class Refusing(StubSocket):
        family = socket.AF_INET

        def setsockopt(self, *_arguments):
            raise os_error(errno.EINVAL)

    send_at_once(Refusing())


def test_what_connection_made_writes_is_sent_at_once(stub):
    connection = stubbed(stub, connection_made=write(b"220 ready"))
    assert connection._socket.sent == [b"220 ready"]


# Reading.


def test_one_event_is_one_recv_so_that_a_firehose_starves_nobody(stub):
    connection = stubbed(stub, receives=[b"1", b"2", b"3"])
    readable(stub, connection)
    assert told(connection).received == b"1"
    readable(stub, connection)
    assert told(connection).received == b"12"


def test_no_more_is_read_at_once_than_its_own_limits_allow(stub):
    connection = stubbed(stub, receives=[b"1234567890"], limits=Limits(receive_bytes=4))
    for expected in (b"1234", b"12345678", b"1234567890"):
        readable(stub, connection)
        assert told(connection).received == expected


@pytest.mark.parametrize("small", [1, 3])
def test_little_is_asked_for_until_that_was_not_enough_and_then_ever_more_up_to_what_is_allowed(stub, small):
    connection = stubbed(stub, receives=[b"x"] * small + [b"y" * 100_000], limits=Limits(receive_bytes=60_000))
    for _ in range(small + 4):
        readable(stub, connection)
    first, second, most, rest = (len(data) for name, data in told(connection).calls[1 + small :])
    assert first < 1000 and second == RECEIVE_GROWTH * first < 60_000
    assert (most, rest) == (60_000, 40_000 - first - second)


def test_what_was_echoed_is_let_go_before_more_is_received(stub):
    blocks, held = [], []

    def references():
        return [sys.getrefcount(block) for block in blocks]

    class Watched(StubSocket):
        def recv(self, size, flags=0):
            held.extend(references())
            blocks.append(bytes(100))
            return blocks[-1]

        def send(self, data):
            return len(data)

    connections = [adopt(stub, Watched(), Echo()) for _ in range(3)]
    fast_path.dispatch(stub.dispatcher, [(connection._fd, READABLE) for connection in connections])
    assert len(held) == 1 + 2 and set(held) == set(references())  # as many as after the batch


def test_one_byte_results_are_put_together_in_order(stub):
    message = bytes(range(256))
    connection = stubbed(stub, receives=[bytes([byte]) for byte in message])
    for _ in message:
        readable(stub, connection)
    assert told(connection).received == message


def test_a_spurious_event_is_nothing(stub):
    connection = stubbed(stub, receives=[BlockingIOError(), b"data"])
    readable(stub, connection)
    assert told(connection).names == ["connection_made"]
    readable(stub, connection)
    assert told(connection).received == b"data"


@pytest.mark.parametrize("number", RECEIVE_ERRNOS, ids=errno.errorcode.get)
def test_an_error_while_reading_ends_it_with_that_error(stub, number):
    connection = stubbed(stub, receives=[os_error(number)])
    readable(stub, connection)
    assert ended(connection) is CloseReason.RESET
    assert told(connection).calls[-1][1].errno == number


def test_an_error_and_input_together_are_fetched_by_reading(stub):
    connection = stubbed(stub, receives=[b"last", os_error(errno.ECONNRESET)])
    stub.happens(connection, READABLE | WRITABLE | BROKEN | PEER_FIN)
    assert told(connection).received == b"last"
    stub.happens(connection, BROKEN)
    stub.finish()
    assert ended(connection) is CloseReason.RESET


@pytest.mark.parametrize("keep_open", [None, False, 0, True, "yes"], ids=repr)
def test_what_eof_received_returns_decides_whether_it_stays_open_for_writing(stub, keep_open):
    connection = stubbed(stub, receives=[b"data", b""], eof_received=lambda recorder: keep_open)
    readable(stub, connection)
    readable(stub, connection)
    if not keep_open:
        assert ended(connection) is CloseReason.PEER_CLOSED
        assert told(connection).calls[-1] == ("connection_lost", None)
        return
    assert connection.state is State.HALF_CLOSED_REMOTE
    connection.write(b"more")
    stub.finish()
    assert connection._socket.sent == [b"more"]
    connection.close()
    stub.finish()
    assert ended(connection) is CloseReason.PEER_CLOSED
    assert told(connection).names == ["connection_made", "data_received", "eof_received", "connection_lost"]


def test_write_eof_after_the_peers_end_closes(stub):
    connection = stubbed(stub, receives=[b""], eof_received=lambda recorder: True)
    readable(stub, connection)
    connection.write(b"last")
    connection.write_eof()
    stub.finish()
    assert connection._socket.sent == [b"last"]
    assert ended(connection) is CloseReason.PEER_CLOSED


def test_output_that_waits_at_the_peers_end_is_sent_first(stub):
    connection = stubbed(stub, receives=[b""], sends=[2, BlockingIOError()], eof_received=write(b" late"))
    connection.write(b"reply")
    readable(stub, connection)
    assert connection.state is State.FLUSHING
    assert stub.poller.watched[connection._fd] == WRITABLE | BROKEN
    stub.happens(connection, WRITABLE)
    stub.finish()
    stub.happens(connection, WRITABLE) if connection.state is State.FLUSHING else None
    stub.finish()
    assert b"".join(connection._socket.sent) == b"reply late"
    assert ended(connection) is CloseReason.PEER_CLOSED


@pytest.mark.parametrize("keep_open", [None, True])
def test_when_both_sides_have_ended_it_is_over_whatever_eof_received_returns(stub, keep_open):
    connection = stubbed(stub, receives=[b"data", b""], eof_received=lambda recorder: keep_open)
    connection.write_eof()
    stub.dispatcher.flush()
    assert connection._socket.shut == [socket.SHUT_WR]
    readable(stub, connection)
    assert told(connection).received == b"data", "reading goes on"
    readable(stub, connection)
    assert ended(connection) is CloseReason.PEER_CLOSED
    assert "eof_received" in told(connection).names


def test_a_paused_reader_is_left_alone_and_a_resumed_one_is_not(stub):
    connection = stubbed(stub, receives=[b"data"])
    connection.pause_reading()
    stub.happens(connection, READABLE)  # an event of the same batch, from before the pause
    stub.finish()
    assert told(connection).received == b""
    assert stub.poller.watched[connection._fd] == PEER_FIN | BROKEN
    connection.resume_reading()
    stub.finish()
    assert stub.poller.watched[connection._fd] == READABLE | BROKEN
    readable(stub, connection)
    assert told(connection).received == b"data"


@pytest.mark.parametrize("answer", [b"data", b"", os_error(errno.ECONNRESET)], ids=["data", "end", "error"])
def test_what_another_has_aborted_in_the_same_batch_is_not_read_any_more(stub, answer):
    connection = stubbed(stub, receives=[answer])
    connection.abort()  # by the callback of another connection
    readable(stub, connection)
    assert len(connection._socket.receives) == 1
    assert ended(connection) is CloseReason.ABORTED
    assert told(connection).names == ["connection_made", "connection_lost"]


# Peers that leave while reading is paused (R5, E5).


def test_a_reset_while_reading_is_paused_ends_it(stub):
    connection = paused(stub, b"unread")
    connection._socket.error = errno.ECONNRESET
    stub.happens(connection, BROKEN | PEER_FIN)
    stub.finish()
    assert ended(connection) is CloseReason.RESET
    assert told(connection).calls[-1][1].errno == errno.ECONNRESET
    assert told(connection).received == b""


def test_a_fin_with_nothing_unread_is_told_to_a_paused_reader(stub):
    connection = paused(stub, b"", eof_received=lambda recorder: True)
    stub.happens(connection, PEER_FIN)
    assert told(connection).names == ["connection_made", "eof_received"]
    assert stub.poller.watched[connection._fd] == BROKEN


def test_a_fin_behind_unread_data_waits_for_its_turn_and_is_not_asked_for_again(stub):
    connection = paused(stub, b"unread", b"")
    stub.happens(connection, PEER_FIN)
    assert told(connection).names == ["connection_made"]
    assert stub.poller.watched[connection._fd] == BROKEN, "it would spin"
    connection.resume_reading()
    stub.finish()
    readable(stub, connection)
    assert told(connection).names == ["connection_made", "data_received"]
    assert told(connection).received == b"unread"
    readable(stub, connection)
    assert ended(connection) is CloseReason.PEER_CLOSED


def test_a_fin_whose_data_is_gone_again_is_no_end_yet(stub):
    connection = paused(stub, BlockingIOError())
    stub.happens(connection, PEER_FIN)
    assert connection.state is State.OPEN
    assert stub.poller.watched[connection._fd] == PEER_FIN | BROKEN, "it is to be told again"


def test_an_error_found_while_looking_ends_it(stub):
    connection = paused(stub, os_error(errno.ECONNRESET))
    stub.happens(connection, PEER_FIN)
    stub.finish()
    assert ended(connection) is CloseReason.RESET


def test_a_reset_after_the_fin_ends_it(stub):
    connection = stubbed(stub, receives=[b""], eof_received=lambda recorder: True)
    readable(stub, connection)
    connection._socket.error = errno.EPIPE
    stub.happens(connection, BROKEN)
    stub.finish()
    assert ended(connection) is CloseReason.RESET
    assert told(connection).calls[-1][1].errno == errno.EPIPE


def test_a_hang_up_after_the_fin_ends_it_though_there_is_no_error(stub):
    connection = stubbed(stub, receives=[b""], eof_received=lambda recorder: True)
    readable(stub, connection)
    stub.happens(connection, BROKEN)
    stub.finish()
    assert ended(connection) is CloseReason.RESET
    assert told(connection).calls[-1][1].errno == errno.EPIPE


@pytest.mark.parametrize("end", ["close", "abort"])
def test_a_hang_up_that_was_fetched_before_another_ended_the_connection_changes_nothing(stub, end):
    connection = paused(stub, b"")
    connection.write_eof()
    stub.finish()
    getattr(connection, end)()  # by the callback of another connection, in the same batch
    stub.happens(connection, BROKEN | PEER_FIN)
    stub.finish()
    if connection.state is not State.CLOSED:
        readable(stub, connection)
    assert ended(connection) is (CloseReason.CLOSED if end == "close" else CloseReason.ABORTED)

"""Echo sends back what comes, and no peer can make it keep more than its limits."""

import socket

import pytest

from reactor import CloseReason, Limits, State
from reactor.apps import echo
from reactor.apps.echo import Echo
from reactor.loop.poller import READABLE, WRITABLE
from tests.rig import StubReactor, StubSocket, adopt, receive_all, turn_until, turn_until_idle

LIMITS = Limits(output_high_bytes=100_000, output_low_bytes=10_000)


@pytest.fixture
def stub():
    return StubReactor(LIMITS)


def test_what_comes_is_sent_back_in_order(stub):
    connection = adopt(stub, StubSocket(receives=[b"one ", b"two ", b"three"]), Echo())
    for _ in range(3):
        stub.happens(connection, READABLE)
    assert connection._socket.sent == [b"one ", b"two ", b"three"]


def test_it_is_what_the_command_line_serves_under_that_name():
    assert echo.PROGRAM is Echo


def test_it_reads_no_more_from_a_peer_that_does_not_read_and_goes_on_when_it_does(stub):
    connection = adopt(stub, StubSocket(receives=[b"x" * 50_000] * 100, sends=[0] * 100), Echo())
    for _ in range(100):
        if connection.is_reading():
            stub.happens(connection, READABLE)
    waiting = connection.get_write_buffer_size()
    assert LIMITS.output_high_bytes < waiting <= LIMITS.output_high_bytes + LIMITS.receive_bytes
    connection._socket.sends.clear()
    assert not connection.is_reading()
    assert not stub.poller.watched[connection._fd] & READABLE
    while connection.has_output():
        assert stub.poller.watched[connection._fd] & WRITABLE
        stub.happens(connection, WRITABLE)
    assert connection.is_reading()
    assert stub.poller.watched[connection._fd] & READABLE


def test_a_chunk_larger_than_the_mark_that_leaves_at_once_does_not_stop_it(stub):
    connection = adopt(stub, StubSocket(receives=[b"x" * 65536] * 10), Echo(), Limits(output_high_bytes=16384))
    while connection._socket.receives:
        stub.happens(connection, READABLE)
        stub.finish()
        assert connection.is_reading()
    assert sum(map(len, connection._socket.sent)) == 10 * 65536


@pytest.mark.parametrize("kind", ["pair", "tcp_pair"])
def test_a_peer_that_sends_without_reading_is_held_back_and_then_gets_every_byte(reactor, kind, request):
    ours, theirs = request.getfixturevalue(kind)
    connection = adopt(reactor, ours, Echo(), LIMITS)
    theirs.setblocking(False)
    sent = bytearray()
    number = 0

    def send_until_full():
        nonlocal number
        try:
            while len(sent) < 50_000_000:
                piece = number.to_bytes(4, "big") * 4096
                count = theirs.send(piece)
                sent.extend(piece[:count])
                number += 1
        except BlockingIOError:
            pass

    for _ in range(3):
        send_until_full()
        turn_until_idle(reactor)
    send_until_full()
    assert len(sent) < 50_000_000, "nobody held it back"
    assert connection.get_write_buffer_size() <= LIMITS.output_high_bytes + LIMITS.receive_bytes
    theirs.shutdown(socket.SHUT_WR)
    assert receive_all(reactor, theirs) == sent
    turn_until(reactor, lambda: connection.state is State.CLOSED, "the end")
    assert connection.close_reason is CloseReason.PEER_CLOSED


def test_it_has_one_slot_and_no_dict():
    assert not hasattr(Echo(), "__dict__")

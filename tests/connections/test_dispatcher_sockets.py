"""The dispatcher with a kernel: real sockets, and a loop that the test turns."""

import gc
import os
import socket
import weakref

import pytest

from reactor import CloseReason, State
from reactor.connections.socket_options import undelivered_bytes
from tests import rig
from tests.rig import (
    Recorder,
    adopt,
    call,
    patterned,
    receive_all,
    reset,
    send_all,
    tcp_pair,
    turn_until,
    turn_until_idle,
)


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
    turn_until(reactor, lambda: connection.state is State.CLOSED, "the end")
    assert connection.close_reason is CloseReason.CLOSED


def test_abort_sends_a_reset(reactor, tcp_pair):
    ours, theirs = tcp_pair
    connection = adopt(reactor, ours, Recorder())
    connection.write(b"unsent")
    connection.abort()
    turn_until(reactor, lambda: connection.state is State.CLOSED, "the end")
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
    turn_until(reactor, lambda: connection._reported, "that the peer has left")
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
    turn_until(reactor, lambda: connection._reported, "that the peer has left")
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
    """Make two connections with input in one batch. The first that gets its input calls `reaction(the other one)`.

    Returns both connections, that first one first.
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
    newcomers, told = [], []

    def close_and_open(victim):
        number = victim._socket.fileno()
        told.append(victim._protocol)
        victim.abort()
        ours, theirs = socket.socketpair()
        newcomers.append((adopt(reactor, ours, Recorder()), theirs))
        assert number not in (ours.fileno(), theirs.fileno())

    first_of_two_ready(reactor, close_and_open)
    ((newcomer, theirs),) = newcomers
    with theirs:
        assert told[0].names == ["connection_made", "connection_lost"]
        assert newcomer._protocol.names == ["connection_made"]
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


@pytest.mark.parametrize("end", ["close", "reset"])
def test_what_has_ended_is_freed_at_once_and_not_by_the_cycle_collector(reactor, end):
    held = [Recorder()]
    ours, theirs = tcp_pair()
    adopt(reactor, ours, held[0])
    (reset if end == "reset" else socket.socket.close)(theirs)
    gone = weakref.ref(ours), weakref.ref(held[0])
    del ours
    gc.collect()
    gc.disable()
    try:
        turn_until(reactor, lambda: held[0].lost, "the end")
        held.clear()  # also frees the exception that `connection_lost` got
        assert [reference() for reference in gone] == [None, None]
    finally:
        gc.enable()


def test_lingering_does_not_begin_while_the_peer_still_takes_what_the_kernel_has_of_us(timed, clock):
    ours, theirs = tcp_pair()
    with theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        reply, limits = patterned(400_000), timed.limits
        connection = adopt(timed, ours, Recorder(), limits)
        connection.write(reply)
        connection.close()
        turn_until(timed, lambda: connection.state is State.LINGERING, "all is the kernel's, and our end behind it")
        received = b""
        for _ in range(4):
            before = undelivered_bytes(ours)
            while undelivered_bytes(ours) >= before:
                received += theirs.recv(50_000)
            theirs.send(b"a heartbeat")
            rig.pass_time(timed, limits.linger_seconds + 1)
            turn_until_idle(timed)
            rig.turns(timed, 2)
            assert connection.state is State.LINGERING, f"ended after {len(received)} bytes were read"
        rig.pass_time(timed, limits.linger_seconds + 1)
        rig.turns(timed, 3)
        assert connection.close_reason is CloseReason.LINGER_TIMEOUT, "a peer that takes nothing is not waited for"
        assert received == reply[: len(received)]


def test_a_program_that_closes_its_own_socket_disturbs_nobody_that_gets_the_number(timed):
    ours, theirs = tcp_pair()
    first = Recorder()
    connection = adopt(timed, ours, first)
    rig.turns(timed, 2)
    number = ours.fileno()
    ours.close()
    theirs.close()
    ours, theirs = tcp_pair()
    with theirs:
        if ours.fileno() != number:
            os.dup2(ours.fileno(), number)
            ours.close()
            ours = socket.socket(fileno=number)
        newcomer = adopt(timed, ours, Recorder())
        rig.turns(timed, 2)
        assert first.lost and connection.close_reason is CloseReason.HANDLER_ERROR
        theirs.send(b"hello")
        turn_until(timed, lambda: newcomer._protocol.received, "what the newcomer is told")
        assert newcomer._protocol.received == b"hello" and newcomer.close_reason is None

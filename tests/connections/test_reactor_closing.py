"""`close` gives everything back, wherever it is called (E6); and what a reactor says of itself."""

import gc
import logging
import math
import signal
import socket
import weakref

import pytest

from reactor import CloseReason, Limits, Reactor, State
from reactor.loop.counters import LAG_BUCKETS
from tests import rig
from tests.rig import Recorder, adopt, leave, turn_until, turn_until_idle, turns

# Closing.


def test_close_ends_every_connection_tells_each_and_gives_back_every_descriptor(descriptors_come_back):
    reactor = Reactor()
    listener = reactor.listen(socket.create_server(("127.0.0.1", 0)), Recorder)
    address = listener.address
    clients = [socket.create_connection(address) for _ in range(20)]
    turn_until(reactor, lambda: reactor.counters.accepted == 20, "all of them")
    protocols = [connection._protocol for connection in reactor.dispatcher.connections()]
    protocols[0].connection.write(b"x" * 10_000_000)
    protocols[1].connection.close()
    protocols[2].connection.abort()
    protocols[3].connection.pause_reading()
    for _ in range(2):
        reactor.close()
    for protocol in protocols:
        assert protocol.names[-1] == "connection_lost" and protocol.names.count("connection_lost") == 1
        assert protocol.connection.state is State.CLOSED
    assert reactor.counters.open == 0
    assert reactor.counters.closed[CloseReason.SHUTDOWN] == 19
    assert reactor.counters.closed[CloseReason.ABORTED] == 1
    for client in clients:
        client.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


CALLBACKS = "connection_made data_received eof_received pause_writing resume_writing connection_lost".split()


@pytest.mark.parametrize("driven_by", ["run", "run_once"])
@pytest.mark.parametrize("callback", [*CALLBACKS, "call_soon", "call_at"])
def test_the_reactor_can_be_closed_from_every_callback_and_nobody_is_told_inside_it(
    descriptors_come_back, callback, driven_by
):
    reactor = Reactor(limits=Limits(output_low_bytes=0, output_high_bytes=0))
    told_inside = []

    def close(*_):
        before = len(protocol.calls), len(other.calls)
        reactor.close()
        told_inside.append((len(protocol.calls), len(other.calls)) != before)

    ours, theirs = socket.socketpair()
    other_ours, other_theirs = socket.socketpair()
    other = Recorder()
    protocol = Recorder(**{"data_received": rig.write(b"x", b"y"), callback: close})
    with theirs, other_theirs:
        adopt(reactor, other_ours, other)
        reactor.call_soon(adopt, reactor, ours, protocol)
        if callback == "call_soon":
            reactor.call_soon(close)
        elif callback == "call_at":
            reactor.call_at(-math.inf, reactor.call_at, -math.inf, close)
        theirs.send(b"x")
        theirs.shutdown(socket.SHUT_WR)
        if driven_by == "run":
            reactor.run()
        else:
            while not told_inside:
                reactor.run_once(rig.DEADLINE_SECONDS)
    assert told_inside == [False]
    assert protocol.lost and protocol.names.count("connection_lost") == 1
    assert other.names == ["connection_made", "connection_lost"]
    assert reactor.counters.open == 0
    with pytest.raises(RuntimeError, match="closed"):
        reactor.run_once(0)


def test_a_connection_that_is_opened_while_closing_is_ended_too(descriptors_come_back):
    reactor = Reactor()
    opened = []

    def open_another(_recorder, _exc):
        ours, theirs = socket.socketpair()
        theirs.close()
        opened.append(adopt(reactor, ours, Recorder()))

    ours, theirs = socket.socketpair()
    with theirs:
        adopt(reactor, ours, Recorder(connection_lost=open_another))
        reactor.close()
    assert opened[0].state is State.CLOSED


def test_system_exit_while_closing_goes_on_when_all_are_told_and_everything_is_given_back(descriptors_come_back):
    reactor = Reactor()
    reactor.add_signal_handler(signal.SIGUSR1, int)
    protocols = [Recorder(connection_lost=leave) for _ in range(3)]
    for protocol in protocols:
        ours, theirs = socket.socketpair()
        theirs.close()
        adopt(reactor, ours, protocol)
    with pytest.raises(SystemExit):
        reactor.close()
    assert all(protocol.lost for protocol in protocols)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    reactor.close()


@pytest.mark.parametrize(
    "ask",
    [
        lambda reactor: reactor.run(),
        lambda reactor: reactor.run_once(0),
        lambda reactor: reactor.call_soon(int),
        lambda reactor: reactor.call_soon_threadsafe(int),
        lambda reactor: reactor.call_later(1, int),
        lambda reactor: reactor.call_at(1, int),
        lambda reactor: reactor.add_signal_handler(signal.SIGUSR1, int),
    ],
    ids="run run_once call_soon call_soon_threadsafe call_later call_at add_signal_handler".split(),
)
def test_what_is_asked_of_a_closed_reactor_raises(descriptors_come_back, ask):
    with Reactor() as reactor:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        ask(reactor)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


def test_a_closed_reactor_does_not_listen_and_leaves_the_socket_to_its_owner(descriptors_come_back):
    with Reactor() as reactor:
        pass
    with socket.create_server(("127.0.0.1", 0)) as sock:
        with pytest.raises(RuntimeError, match="closed"):
            reactor.listen(sock, Recorder)
        assert sock.fileno() >= 0


def test_to_stop_or_close_a_closed_reactor_does_nothing(descriptors_come_back):
    reactor = Reactor()
    for _ in range(3):
        reactor.close()
        reactor.stop()


def test_a_closed_reactor_and_all_it_held_are_garbage(descriptors_come_back):
    class Held:
        def call(self):
            pass

    held = Held()
    with Reactor() as reactor:
        reactor.call_later(1e6, held.call)
        reactor.call_soon(held.call)
    gone = weakref.ref(held)
    del reactor, held
    gc.collect()
    assert gone() is None


# What it says of itself.


def test_the_time_away_from_the_poll_is_counted_and_a_long_one_is_logged(timed, clock, caplog):
    def block(seconds):
        clock.now += seconds

    turns(timed, 1)
    assert sum(timed.counters.lag) == 0, "the first iteration comes from nowhere"
    for seconds in (0, 1e-3, 0.4, 2.0):
        timed.call_soon(block, seconds)
        turns(timed, 1)
    assert sum(timed.counters.lag) == 4
    assert 2.0 < timed.counters.lag_at(1.0) < 4.2
    (record,) = caplog.records
    assert record.levelno == logging.WARNING and "2.000 seconds" in record.getMessage()


def test_a_clock_that_leaps_ages_ahead_breaks_nothing(timed, clock):
    turns(timed, 1)
    timed.call_soon(lambda: setattr(clock, "now", 1e15))
    turns(timed, 2)
    assert timed.counters.lag[LAG_BUCKETS - 1] == 1


def test_the_iterations_are_counted(reactor):
    before = reactor.counters.iterations
    turns(reactor, 7)
    assert reactor.counters.iterations == before + 7


def test_a_new_reactor_is_idle(reactor):
    turn_until_idle(reactor)
    assert reactor.counters.snapshot()["open"] == 0

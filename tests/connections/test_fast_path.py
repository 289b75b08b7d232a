"""The plain path and the fast path give the same bytes and the same ends. The simulation compares them, too."""

import socket

import pytest

from reactor import CloseReason, Reactor, Server
from reactor.apps.echo import Echo
from scripts.proof.scenarios import make
from scripts.proof.world import live
from tests.rig import DEADLINE_SECONDS, Recorder, adopt, tcp_pair, turn_until
from tests.support import connect, exchange, run_reactor, serving


@pytest.mark.parametrize("fast_path", [True, False])
def test_either_path_serves_to_the_last_byte(descriptors_come_back, fast_path):
    message, ours_and_theirs = bytes(range(256)) * 4000, tcp_pair()
    ours, theirs = ours_and_theirs
    with Reactor(fast_path=fast_path) as reactor, theirs:
        theirs.settimeout(DEADLINE_SECONDS)
        recorder = Recorder()
        connection = adopt(reactor, ours, recorder)
        connection.write(message)
        theirs.send(b"hello")
        theirs.shutdown(socket.SHUT_WR)
        turn_until(reactor, lambda: recorder.received == b"hello", "the input")
        received = bytearray()
        theirs.setblocking(False)

        def read():
            try:
                received.extend(theirs.recv(1 << 20))
            except BlockingIOError:
                pass
            return len(received) == len(message)

        turn_until(reactor, read, "the output")
        turn_until(reactor, lambda: recorder.lost, "the end")
    assert received == message and connection.close_reason is CloseReason.PEER_CLOSED


def test_the_paths_are_compared_in_the_simulation(monkeypatch):
    scenario = next(scenario for scenario in map(make, range(100)) if not scenario.faults.foreign and not scenario.log)
    assert live(scenario).law == 0
    monkeypatch.setattr("reactor.connections.dispatcher.Dispatcher.dispatch", lambda dispatcher, events: None)
    assert live(scenario).law != 0


def test_the_laws_hold_on_the_plain_path_too_where_the_results_are_not_compared(monkeypatch):
    scenarios = [scenario for scenario in map(make, range(40)) if scenario.faults.foreign]
    assert not any(live(scenario).law for scenario in scenarios)
    monkeypatch.setattr("reactor.connections.dispatcher.Dispatcher.dispatch", lambda dispatcher, events: None)
    assert any(live(scenario).law for scenario in scenarios)


def test_the_command_line_chooses_the_path():
    with serving("echo", "--plain-path") as server:
        with connect(server.address) as client:
            assert exchange(client, b"hello") == b"hello"
        assert server.terminate() == 0
    assert "--plain-path" in run_reactor("serve", "--help").stdout


def test_a_path_beside_a_reactor_is_refused():
    with Reactor() as reactor, pytest.raises(ValueError, match="has a path already"):
        Server(Echo, reactor=reactor, fast_path=False)

"""A loop belongs to the thread that runs it: what other threads must not do is refused, with the way to do it."""

import contextlib
import socket
import threading

import pytest

from reactor import Protocol, Reactor, connect
from tests import rig
from tests.rig import Recorder

pytestmark = pytest.mark.usefixtures("descriptors_come_back")


@pytest.fixture
def running():
    """A reactor that another thread runs, a connection in it, and the peer of that connection."""
    ours, theirs = socket.socketpair()
    ours_listens, reactor = socket.create_server(("127.0.0.1", 0)), Reactor()
    with theirs, ours, ours_listens, reactor:
        connection = reactor.dispatcher.adopt(ours.dup(), "", Recorder, reactor.limits)
        reactor.counters.connected += 1
        begun = threading.Event()
        reactor.call_soon(begun.set)
        thread = threading.Thread(target=reactor.run)
        thread.start()
        try:
            assert begun.wait(rig.DEADLINE_SECONDS)
            yield reactor, connection, theirs, ours_listens
        finally:
            reactor.call_soon_threadsafe(reactor.stop)
            thread.join()


OF_A_CONNECTION = {
    "write": lambda connection: connection.write(b"x"),
    "writelines": lambda connection: connection.writelines([b"x", b"y"]),
    "write_eof": lambda connection: connection.write_eof(),
    "close": lambda connection: connection.close(),
    "abort": lambda connection: connection.abort(),
    "pause_reading": lambda connection: connection.pause_reading(),
    "resume_reading": lambda connection: connection.resume_reading(),
    "hold": lambda connection: connection.hold(),
    "release": lambda connection: connection.release(),
    "set_write_buffer_limits": lambda connection: connection.set_write_buffer_limits(high=0),
    "set_protocol": lambda connection: connection.set_protocol(Protocol()),
}
OF_A_REACTOR = {
    "call_soon": lambda reactor, sock: reactor.call_soon(print),
    "call_later": lambda reactor, sock: reactor.call_later(1, print),
    "call_every": lambda reactor, sock: reactor.call_every(1, print),
    "run_in_thread": lambda reactor, sock: reactor.run_in_thread(print),
    "call_at": lambda reactor, sock: reactor.call_at(1, print),
    "add_reader": lambda reactor, sock: reactor.add_reader(sock, print),
    "add_writer": lambda reactor, sock: reactor.add_writer(sock, print),
    "remove_reader": lambda reactor, sock: reactor.remove_reader(sock),
    "remove_writer": lambda reactor, sock: reactor.remove_writer(sock),
    "listen": lambda reactor, sock: reactor.listen(sock, Recorder),
    "connect": lambda reactor, sock: connect(reactor, Recorder, "127.0.0.1:1", print),
    "stop": lambda reactor, sock: reactor.stop(),
    "close": lambda reactor, sock: reactor.close(),
}
refused = pytest.raises(RuntimeError, match="^another thread runs this loop: use reactor.call_soon_threadsafe")


@pytest.mark.parametrize("name", OF_A_CONNECTION)
def test_another_thread_may_not_change_a_connection(running, name):
    reactor, connection, theirs, _ = running
    before = connection.state, connection._interest, connection._holds, connection._protocol, connection._high_bytes
    with refused:
        OF_A_CONNECTION[name](connection)
    after = connection.state, connection._interest, connection._holds, connection._protocol, connection._high_bytes
    assert before == after and not connection.has_output()
    reactor.call_soon_threadsafe(connection.write, b"but in this way it may")
    theirs.settimeout(rig.DEADLINE_SECONDS)
    assert theirs.recv(99) == b"but in this way it may"


@pytest.mark.parametrize("name", OF_A_REACTOR)
def test_another_thread_may_not_change_a_loop(running, name):
    reactor, _, _, sock = running
    handlers, timers = set(reactor.poller.handlers), len(reactor.timers)
    with refused:
        OF_A_REACTOR[name](reactor, sock)
    assert set(reactor.poller.handlers) == handlers and len(reactor.timers) == timers
    done = threading.Event()
    reactor.call_soon_threadsafe(done.set)
    assert done.wait(rig.DEADLINE_SECONDS), "the loop goes on"


def test_while_no_thread_runs_the_loop_any_thread_may():
    calls = []
    with Reactor() as reactor, socket.create_server(("127.0.0.1", 0)) as sock:
        for _ in range(2):  # also between two runs, and after an exception has left the first
            thread = threading.Thread(target=lambda: calls.append(reactor.call_soon(leave)))
            thread.start()
            thread.join()
            with contextlib.suppress(SystemExit):
                reactor.run()
        thread = threading.Thread(target=lambda: calls.append(reactor.listen(sock.dup(), Recorder)))
        thread.start()
        thread.join()
    assert len(calls) == 3


def leave():
    raise SystemExit


def test_what_was_lost_or_closed_is_still_no_error_on_the_right_thread():
    with Reactor() as reactor:
        ours, theirs = socket.socketpair()
        with theirs:
            connection = reactor.dispatcher.adopt(ours, "", Recorder, reactor.limits)
            reactor.counters.connected += 1
            connection.abort()
            reactor.run_once(0)
    connection.write(b"dropped")
    connection.close()

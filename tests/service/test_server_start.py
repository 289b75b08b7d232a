"""The start of a `Server`: where its settings come from, what it refuses, and that a failed start leaves nothing."""

import dataclasses
import logging
import os
import socket
import threading

import pytest

from reactor import Limits, Reactor, Server
from reactor.apps.echo import Echo
from reactor.service import server as server_module
from reactor.service.server import DEFAULT_BIND, handed_in
from tests.support import connect, exchange, socket_address

ANY_PORT = "127.0.0.1:0"
MINE = Limits(max_connections=7, idle_seconds=3.0, drain_seconds=1.0)


def listening_limits(server):
    with server.reactor:
        server.listen()
        return server.reactor.acceptor.listeners()[0].limits


def descriptors():
    return len(os.listdir("/dev/fd"))


@pytest.fixture
def no_threads(monkeypatch):
    """No thread can be started, as at a container's limit of processes."""

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)


# Limits.


def test_a_reactor_that_is_given_brings_its_limits():
    server = Server(Echo, bind=ANY_PORT, reactor=Reactor(limits=MINE))
    assert server.limits == MINE
    assert listening_limits(server) == MINE


def test_limits_that_are_given_too_are_those_of_the_connections():
    server = Server(Echo, bind=ANY_PORT, reactor=Reactor(), limits=MINE)
    assert server.limits == MINE
    assert listening_limits(server) == MINE


@pytest.mark.parametrize("name", ["memory_bytes", "blocked_seconds"])
def test_a_limit_that_only_the_reactor_could_keep_is_refused(name):
    limits = dataclasses.replace(MINE, **{name: 1 << 30})
    with Reactor() as reactor, pytest.raises(ValueError, match=rf"^{name} is kept by the reactor, .*Reactor\(limits"):
        Server(Echo, bind=ANY_PORT, reactor=reactor, limits=limits)


def test_limits_alone_are_those_of_the_reactor_too():
    server = Server(Echo, bind=ANY_PORT, limits=MINE)
    assert server.reactor.limits == MINE
    server.reactor.close()


# Sockets that were handed in.


@pytest.fixture
def environment(monkeypatch):
    """Sets the variables that a supervisor sets."""

    def set_to(pid, count):
        monkeypatch.setenv("LISTEN_PID", str(pid))
        monkeypatch.setenv("LISTEN_FDS", count)

    return set_to


def test_without_an_address_the_sockets_that_were_handed_in_are_served(environment):
    environment(os.getpid(), "2")
    server = Server(Echo)
    server.reactor.close()
    assert [address.fd for address in server.bind] == [3, 4]


def test_without_any_it_is_the_default_port(environment, monkeypatch):
    environment(os.getppid(), "2")  # meant for the parent process
    assert handed_in() == []
    monkeypatch.delenv("LISTEN_PID")
    assert handed_in() == []
    environment(os.getpid(), "0")
    server = Server(Echo)
    server.reactor.close()
    assert [str(address) for address in server.bind] == [DEFAULT_BIND]


def test_an_address_that_is_written_comes_first(environment):
    environment(os.getpid(), "2")
    server = Server(Echo, bind=ANY_PORT)
    server.reactor.close()
    assert [str(address) for address in server.bind] == [ANY_PORT]


@pytest.mark.parametrize("count", ["", "two", "-1", "99999"])
def test_a_number_of_sockets_that_is_none_is_refused(environment, count):
    environment(os.getpid(), count)
    with pytest.raises(ValueError, match=f"LISTEN_FDS must be the number of sockets .*, not '{count}'"):
        Server(Echo)


# It runs once.


def test_a_block_in_its_own_block_is_refused_and_the_outer_one_goes_on():
    with Server(Echo, bind=ANY_PORT) as server:
        with pytest.raises(RuntimeError, match="^this server is running already$"), server:
            pytest.fail("it runs already")
        with pytest.raises(RuntimeError, match="^this server is running already$"):
            server.run()
        with connect(socket_address(server.addresses[0])) as client:
            assert exchange(client, b"hello") == b"hello"


def test_a_second_block_is_refused_and_so_is_all_else_after_the_end():
    with Server(Echo, bind=ANY_PORT) as server:
        pass
    with pytest.raises(RuntimeError, match="^this server is closed: make another one$"), server:
        pytest.fail("nobody would be served")
    for call in (server.run, server.listen):
        with pytest.raises(RuntimeError, match="^this server is closed: make another one$"):
            call()


def test_a_reactor_that_others_run_is_left_to_them():
    with Server(Echo, bind=ANY_PORT) as running:
        other = Server(Echo, bind=ANY_PORT, reactor=running.reactor)
        with pytest.raises(RuntimeError, match="this loop is already running"), other:
            pytest.fail("it cannot be run by two")
        with pytest.raises(RuntimeError, match="this loop is already running"):
            other.run()
        with connect(socket_address(running.addresses[0])) as client:
            assert exchange(client, b"hello") == b"hello"


def test_on_a_closed_reactor_nothing_is_bound():
    reactor = Reactor()
    reactor.close()
    before = descriptors()
    server = Server(Echo, bind=ANY_PORT, reactor=reactor)
    for start in (server.listen, server.run, server.__enter__):
        with pytest.raises(RuntimeError, match="this loop is closed"):
            start()
    assert descriptors() == before


# Something is not available.


def test_without_a_thread_to_serve_on_the_port_is_given_back(no_threads):
    before = descriptors()
    server = Server(Echo, bind=ANY_PORT)
    with pytest.raises(RuntimeError, match="^there is no thread to serve on: can't start new thread$"), server:
        pytest.fail("there is no thread")
    with pytest.raises(ConnectionRefusedError):
        connect(socket_address(server.addresses[0]))
    assert descriptors() == before


def test_without_a_thread_for_the_watchdog_it_serves_and_says_so(no_threads, caplog):
    caplog.set_level(logging.INFO)
    server = Server(Echo, bind=ANY_PORT)
    server.listen()
    with socket.create_connection(socket_address(server.addresses[0])) as client:
        client.settimeout(20)
        client.sendall(b"hello")
        server.reactor.call_later(0, server.close)  # after the input that waits in the kernel
        assert server.run() == 0
        warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["callbacks that block will not be reported: can't start new thread"]


def test_whatever_fails_after_the_bind_leaves_no_descriptor(tmp_path, monkeypatch):
    def fail(path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(server_module, "own_path", fail)
    with Reactor() as reactor:
        before = descriptors()
        server = Server(Echo, bind=[ANY_PORT, f"unix:{tmp_path}/socket"], reactor=reactor)
        with pytest.raises(OSError, match=r"^\[Errno 5\] cannot listen on unix:.*: Input/output error$"):
            server.listen()
        assert descriptors() == before
        assert server.addresses == []


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit, MemoryError])
def test_whatever_else_ends_the_listening_goes_on_as_it_is_and_leaves_no_descriptor(monkeypatch, exception):
    def leave(*arguments):
        raise exception("on purpose")

    with Reactor() as reactor:
        before = descriptors()
        monkeypatch.setattr(reactor, "listen", leave)
        server = Server(Echo, bind=":0", reactor=reactor)
        with pytest.raises(exception, match="^on purpose$"):
            server.listen()
        assert descriptors() == before
        assert server.addresses == []


def test_what_was_handed_in_and_cannot_be_listened_on_stays_open(monkeypatch):
    def refuse(*arguments):
        raise OSError(28, "No space left on device")

    with Reactor() as reactor, socket.create_server(("127.0.0.1", 0)) as sock:
        monkeypatch.setattr(reactor, "listen", refuse)
        with pytest.raises(OSError, match="cannot listen on fd://.*: No space left on device"):
            Server(Echo, bind=f"fd://{sock.fileno()}", reactor=reactor).listen()
        assert sock.getsockname()[1], "it is not ours to close"


# The limit of descriptors.


def test_run_raises_the_limit_for_its_connections_and_says_what_is_missing(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    asked = []
    monkeypatch.setattr(server_module, "make_room", lambda count: asked.append(count) or "too few")
    server = Server(Echo, bind=ANY_PORT, limits=MINE)
    server.close()
    server.run()
    assert asked == [MINE.max_connections]
    listening, warning = caplog.records[:2]  # the address comes first: a program that reads it skips no line
    assert listening.getMessage().startswith("listening on")
    assert (warning.levelname, warning.getMessage()) == ("WARNING", "too few")


def test_on_a_thread_of_its_own_it_leaves_the_limit_alone(monkeypatch):
    monkeypatch.setattr(server_module, "make_room", lambda count: pytest.fail("the process is not the server's"))
    with Server(Echo, bind=ANY_PORT) as server, connect(socket_address(server.addresses[0])) as client:
        assert exchange(client, b"hello") == b"hello"

"""The path of a UNIX socket is removed at every kind of end, but only if it is ours (A7, P7)."""

import os
import signal
import socket

import pytest

from reactor import Protocol, Reactor, Server
from reactor.apps.echo import Echo


@pytest.fixture
def path(tmp_path):
    return tmp_path / "socket"


@pytest.fixture
def server(path):
    """A server that listens at the path."""
    server = Server(Echo, bind=f"unix:{path}")
    server.listen()
    assert path.exists()
    yield server
    server.reactor.close()


def test_after_close(server, path):
    server.close()
    server.run()
    assert not path.exists()


def test_after_stop(server, path):
    server.reactor.call_soon(server.reactor.stop)
    server.run()
    assert not path.exists()


def test_after_two_signals(server, path):
    for _ in range(2):
        server.reactor.call_soon(os.kill, os.getpid(), signal.SIGTERM)
    server.run()
    assert not path.exists()


def test_after_system_exit_out_of_a_callback(path):
    class Leaves(Protocol):
        def data_received(self, data):
            raise SystemExit(7)

    server = Server(Leaves, bind=f"unix:{path}")
    server.listen()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"x")
        with pytest.raises(SystemExit):
            server.run()
    assert not path.exists()


def test_after_ctrl_c_before_it_ran(server, path, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(server.reactor, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        server.run()
    assert not path.exists()


def test_after_its_reactor_was_closed_by_somebody_else(path):
    with Reactor() as reactor:
        Server(Echo, bind=f"unix:{path}", reactor=reactor).listen()
        assert path.exists()
    assert not path.exists()


def test_after_a_change_of_directory(tmp_path, monkeypatch):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    monkeypatch.chdir(first)
    server = Server(Echo, bind="unix:socket")
    server.listen()
    (second / "socket").write_text("not ours")
    monkeypatch.chdir(second)
    server.close()
    server.run()
    assert not (first / "socket").exists()
    assert (second / "socket").exists()


def test_but_not_one_that_another_server_has_taken(server, path):
    os.unlink(path)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        server.close()
        server.run()
        assert path.exists()

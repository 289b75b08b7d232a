"""Whom to connect to, and what is told of it."""

import socket

import pytest

from reactor.net.addresses import bind, parse
from tests.net.connecting import Outcome, endpoint


@pytest.fixture
def outcome():
    return Outcome()


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.fixture
def unanswered():
    """An endpoint whose handshake never ends: a listener whose queue is full drops what comes."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        clients = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(sock.getsockname())
            clients.append(client)
        yield endpoint(sock)
        for client in clients:
            client.close()


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Of a UNIX socket: short, for it has room for some hundred bytes, and tmp_path may take them all."""
    monkeypatch.chdir(tmp_path)
    return "server.sock"


@pytest.fixture
def bound():
    """`bind`, with its sockets closed in the end."""
    sockets = []

    def bound(text, *arguments):
        new = bind(parse(text), *arguments)
        sockets.extend(new)
        return new

    yield bound
    for sock in sockets:
        sock.close()


@pytest.fixture
def refused():
    """`bind` of what cannot be had: the error, whose words are one line that names the address."""

    def refused(text, *arguments):
        with pytest.raises(OSError) as caught:
            bind(parse(text), *arguments)
        words = caught.value.strerror
        assert words.startswith(f"cannot listen on {text}: ") and "\n" not in words
        return caught.value

    return refused

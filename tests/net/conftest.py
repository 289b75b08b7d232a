"""Endpoints to connect to, and the outcome of a connect."""

import select
import socket

import pytest

from reactor.net.addresses import bind, parse
from tests.net.connecting import Outcome, endpoint
from tests.rig import DEADLINE_SECONDS


@pytest.fixture
def outcome():
    return Outcome()


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.fixture
def unanswered():
    """An endpoint whose handshake never ends: its listener has a full queue and drops what comes."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        with socket.create_connection(sock.getsockname(), DEADLINE_SECONDS):
            ready, _, _ = select.select([sock], [], [], DEADLINE_SECONDS)
            assert ready, "the connection for which there is room is not in the queue"
            yield endpoint(sock)


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A short path for a UNIX socket, which has room for some hundred bytes; `tmp_path` may take them all."""
    monkeypatch.chdir(tmp_path)
    return "server.sock"


@pytest.fixture
def bound():
    """`bind`, whose sockets are closed in the end."""
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
    """`bind` of an address that is refused: returns the error, whose one line names the address."""

    def refused(text, *arguments):
        with pytest.raises(OSError) as caught:
            bind(parse(text), *arguments)
        words = caught.value.strerror
        assert words.startswith(f"cannot listen on {text}: ") and "\n" not in words
        return caught.value

    return refused

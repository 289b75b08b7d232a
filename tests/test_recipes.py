"""The recipes of `reactor/README.md` do what the page says, not only for one exchange.

A reader copies a recipe into production. So each is run as it stands, against clients that do not read, leave, break
off, or send rubbish, and is told to stop while it works. The tests of the proxy are those of the program `proxy`, which
is the same with a log: `apps/test_proxy.py`.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import pathlib
import signal
import socket
import sqlite3
from collections.abc import Iterator

import pytest

from tests import page_programs, support

PAGE = support.ROOT / "reactor" / "README.md"
LARGE_MESSAGES = 400  # of 60 kB: more than the kernel's buffers and what the recipe keeps for a subscriber


@contextlib.contextmanager
def recipe(
    served: str, folder: pathlib.Path, changes: dict[str, str] | None = None
) -> Iterator[support.ServerProcess]:
    """Run the recipe whose server serves `served`."""
    with page_programs.serving(page_programs.of_page(PAGE, served), folder, changes=changes) as server:
        yield server


class Lines:
    """A client of a program that speaks lines."""

    def __init__(self, server: support.ServerProcess) -> None:
        self.socket = support.connect(server.address)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.socket.close()

    def ask(self, line: str) -> None:
        """Send a line."""
        self.socket.sendall(line.encode() + b"\n")

    def next(self) -> str:
        """The next line of the server."""
        return self._file.readline().decode().removesuffix("\n")


# A time-out for each client.


def test_a_client_that_is_too_slow_is_told_so_however_its_bytes_come(tmp_path: pathlib.Path) -> None:
    changes = {"timeout(20)": "timeout(1)"}
    with recipe("register", tmp_path, changes=changes) as server, Lines(server) as silent, Lines(server) as slow:
        assert (slow.next(), silent.next()) == ("your name?", "your name?")
        slow.ask("ann")
        assert slow.next() == "your town?"
        slow.socket.sendall(b"Ber")
        for client in (silent, slow):
            assert (client.next(), client.next()) == ("too late", "")
        assert "Traceback" not in server.stderr.text


# A graceful end.


def test_a_drain_lets_the_ticker_have_a_last_word(tmp_path: pathlib.Path) -> None:
    changes = {"move_on_after(1)": "move_on_after(3600)"}
    with recipe("ticker", tmp_path, changes=changes) as server, Lines(server) as client, Lines(server) as gone:
        assert (client.next(), gone.next()) == ("tick", "tick")
        support.reset(gone.socket)
        server.send_signal(signal.SIGTERM)
        assert (client.next(), client.next()) == ("the server ends: come again", "")
        client.socket.shutdown(socket.SHUT_WR)
        assert server.wait() == 0
        assert " 0 cut" in server.stderr.text


def test_the_ticker_ticks(tmp_path: pathlib.Path) -> None:
    with recipe("ticker", tmp_path, changes={"move_on_after(1)": "move_on_after(0.001)"}) as server:
        with Lines(server) as client:
            assert [client.next() for _ in range(3)] == ["tick"] * 3
        server.wait_until_idle("its client has left")


def test_a_drain_lets_one_that_reads_say_goodbye(tmp_path: pathlib.Path) -> None:
    with recipe("polite", tmp_path) as server, Lines(server) as client, Lines(server) as other:
        client.ask("hello")
        assert client.next() == "you said hello"
        other.socket.shutdown(socket.SHUT_WR)
        assert other.next() == "", "when its client ends, the handler does"
        server.send_signal(signal.SIGTERM)
        assert (client.next(), client.next()) == ("goodbye", "")
        client.socket.shutdown(socket.SHUT_WR)
        assert server.wait() == 0
        assert " 0 cut" in server.stderr.text


# A worker thread.


def test_notes_of_many_clients_are_stored_one_after_the_other(tmp_path: pathlib.Path) -> None:
    with recipe("notebook", tmp_path) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Lines(server)) for _ in range(8)]
        for client in clients:
            client.ask("one\ntwo\nthree")
        answers = [[client.next() for _ in range(3)] for client in clients]
        numbers = [[int(answer.removeprefix("note ")) for answer in of_one] for of_one in answers]
        assert sorted(itertools.chain(*numbers)) == list(range(1, 25))
        assert all(of_one == sorted(of_one) for of_one in numbers)
        assert server.terminate() == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "notes.db")) as database:
        stored = [text for (text,) in database.execute("SELECT text FROM notes ORDER BY rowid")]
    assert sorted(stored) == sorted(["one", "two", "three"] * 8)


# Publish and subscribe.


def test_a_slow_subscriber_holds_up_nobody_and_is_told_how_much_it_missed(tmp_path: pathlib.Path) -> None:
    numbers = itertools.count(1)
    with (
        recipe("Subscriber", tmp_path, changes={"call_every(5, ": "call_every(3600, "}) as server,
        Lines(server) as slow,
        Lines(server) as fast,
        Lines(server) as publisher,
    ):
        for client in (slow, fast):
            client.ask("sub a\nwhat?")
            assert client.next().startswith("sub TOPIC"), "it has subscribed"

        def publish(text: str) -> None:
            message = f"a {next(numbers)} {text}"
            publisher.ask("pub " + message)
            assert fast.next() == message

        for _ in range(LARGE_MESSAGES):
            publish("x" * 60_000)
        received = []
        while not (line := slow.next()).startswith("missed"):
            received.append(int(line.split()[1]))
            assert len(received) < LARGE_MESSAGES, "nothing was missed"
            publish("")  # what has room again is preceded by the count
        assert received == list(range(1, len(received) + 1))
        after = int(slow.next().split()[1])
        assert int(line.split()[1]) == after - 1 - len(received)
        publish("")
        assert slow.next() == f"a {after + 1} ", "it is told once"


def test_heartbeats_end_with_their_connection(tmp_path: pathlib.Path) -> None:
    with recipe("Subscriber", tmp_path, changes={"call_every(5, ": "call_every(0.001, "}) as server:
        with Lines(server) as client:
            assert [client.next() for _ in range(3)] == ["heartbeat"] * 3
        server.wait_until_idle("no timer is left")


def test_a_client_has_only_so_many_topics_and_they_go_with_it(tmp_path: pathlib.Path) -> None:
    with recipe("Subscriber", tmp_path) as server:
        with Lines(server) as other:
            other.ask("what?")
            assert other.next().startswith("sub TOPIC"), "it is accepted"
            alone = server.descriptors()
            with Lines(server) as client:
                for number in range(101):
                    client.ask(f"sub {number}")
                assert client.next().startswith("sub TOPIC")
                other.ask("pub 100 unheard\npub 99 heard\r")
                assert client.next() == "99 heard"
            support.wait_until(lambda: server.descriptors() == alone, "the client has left")
            other.ask("pub 99 nobody\nwhat?")
            assert other.next().startswith("sub TOPIC")
        assert server.terminate() == 0
        assert "dropped" not in server.stderr.text, "a write to a client that has left"


# HTTP.

REQUEST = b"%s / HTTP/1.1\r\nHost: h\r\n%s\r\n"


@pytest.fixture
def web(tmp_path: pathlib.Path) -> Iterator[support.ServerProcess]:
    """The recipe of the HTTP server."""
    with recipe("Hello", tmp_path) as server:
        yield server


def test_a_client_of_the_standard_library_keeps_its_connection(web: support.ServerProcess) -> None:
    client = http.client.HTTPConnection(*web.address, timeout=support.DEADLINE_SECONDS)
    client.connect()
    first_socket = client.sock
    for method, body in (("GET", b"hello\n"), ("HEAD", b""), ("GET", b"hello\n")):
        client.request(method, "/")
        response = client.getresponse()
        assert (response.status, response.read(), response.headers["Content-Length"]) == (200, body, "6")
        assert client.sock is first_socket
    client.request("GET", "/", headers={"Connection": "Close"})
    assert client.getresponse().read() == b"hello\n"
    assert client.sock is None  # the answer said so
    client.close()


def test_requests_in_one_piece_are_answered_in_order_up_to_the_one_that_closes(web: support.ServerProcess) -> None:
    get, head, last = REQUEST % (b"GET", b""), REQUEST % (b"HEAD", b""), REQUEST % (b"GET", b"Connection: close\r\n")
    assert statuses_and_bodies(web, get + head + last + get) == [b"200 hello", b"200 ", b"200 hello"]


@pytest.mark.parametrize(
    "rubbish",
    [
        b"rubbish\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # no Host (RFC 9112, 3.2)
        b"GET / HTTP/2.0\r\nHost: h\r\n\r\n",
        b"GET  HTTP/1.1\r\nHost: h\r\n\r\n",
        REQUEST % (b"POST", b"Content-Length: 0\r\n"),
        REQUEST % (b"GET", b"transfer-encoding: chunked\r\n"),  # a body, which must not be taken for a request
        REQUEST % (b"GET", b"Content-Length : 5\r\n"),  # RFC 9112, 5.1
        REQUEST % (b"GET", b"A: b\r\n c\r\n"),
        REQUEST % (b"GET", b"A: b\nContent-Length: 5\r\n"),
        b"\r\n\r\n",
    ],
)
def test_rubbish_is_refused_and_ends_the_connection(web: support.ServerProcess, rubbish: bytes) -> None:
    get = REQUEST % (b"GET", b"")
    assert statuses_and_bodies(web, get + rubbish + get) == [b"200 hello", b"400 bad request"]


def test_a_head_without_an_end_is_refused(web: support.ServerProcess) -> None:
    assert statuses_and_bodies(web, b"GET / HTTP/1.1\r\nA: " + b"b" * 1_000_000) == [b"431 too large"]


def test_http_1_0_is_answered_and_closed(web: support.ServerProcess) -> None:
    assert statuses_and_bodies(web, b"GET / HTTP/1.0\r\n\r\nGET / HTTP/1.0\r\n\r\n") == [b"200 hello"]


def statuses_and_bodies(server: support.ServerProcess, requests: bytes) -> list[bytes]:
    """What `requests` are answered, up to the server's end: the status and the body of each answer."""
    with support.connect(server.address) as client:
        client.sendall(requests)
        answers = support.receive_all(client).split(b"HTTP/1.1 ")
    assert answers.pop(0) == b""
    parts = [answer.partition(b"\r\n\r\n") for answer in answers]
    return [head.split()[0] + b" " + body.removesuffix(b"\n") for head, _, body in parts]

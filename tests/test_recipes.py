"""The recipes of `reactor/README.md` do what the page says, not only for one exchange.

A reader copies a recipe into production. So each is run as it stands, against clients that do not read, leave, break
off, or send rubbish, and is told to stop while it works.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import pathlib
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from tests import page_programs, support

PAGE = support.ROOT / "reactor" / "README.md"
LARGE_MESSAGES = 400  # of 60 kB: more than the kernel's buffers and what the recipe keeps for a subscriber
MANY_BYTES = 48 << 20  # more than all kernel buffers and `output_hard_bytes` together


@contextlib.contextmanager
def recipe(
    served: str, folder: pathlib.Path, upstream: str = "", changes: dict[str, str] | None = None
) -> Iterator[support.ServerProcess]:
    """Run the recipe whose server serves the class `served`."""
    with page_programs.serving(page_programs.of_page(PAGE, served), folder, upstream, changes) as server:
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


# The proxy.


class Proxied:
    """A proxy in its own process, and the upstream that it connects to, in this one."""

    def __init__(self, server: support.ServerProcess, listener: socket.socket) -> None:
        self.server = server
        self.listener = listener

    def accept(self) -> socket.socket:
        """The next connection that the proxy opens."""
        upstream = self.listener.accept()[0]
        upstream.settimeout(support.DEADLINE_SECONDS)
        return upstream

    @contextlib.contextmanager
    def pair(self, first: str = "client") -> Iterator[tuple[socket.socket, socket.socket]]:
        """Both ends of one proxied connection: the `first` side ("client" or "upstream"), and the other."""
        with support.connect(self.server.address) as client, self.accept() as upstream:
            yield (client, upstream) if first == "client" else (upstream, client)


@pytest.fixture
def proxied(tmp_path: pathlib.Path) -> Iterator[Proxied]:
    """The recipe of the proxy, and its upstream."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        listener.settimeout(support.DEADLINE_SECONDS)
        with recipe("Client", tmp_path, f"127.0.0.1:{listener.getsockname()[1]}") as server:
            yield Proxied(server, listener)


SIDES = pytest.mark.parametrize("first", ["client", "upstream"])


@SIDES
def test_a_side_that_has_ended_still_gets_the_answer(proxied: Proxied, first: str) -> None:
    with proxied.pair(first) as (one, other):
        one.sendall(b"question")
        one.shutdown(socket.SHUT_WR)
        assert support.receive_all(other) == b"question"
        for part in (b"ans", b"wer"):
            other.sendall(part)
            assert support.receive(one, 3) == part
        other.shutdown(socket.SHUT_WR)
        assert support.receive_all(one) == b""
        assert proxied.server.terminate() == 0
        assert " 0 cut" in proxied.server.stderr.text


@SIDES
def test_a_side_that_does_not_read_stops_the_other_and_loses_nothing(proxied: Proxied, first: str) -> None:
    with proxied.pair(first) as (one, other):
        sender = threading.Thread(target=send_and_end, args=(one, support.patterned(MANY_BYTES)))
        sender.start()
        support.receive(other, 1)
        proxied.server.wait_until_idle("all that fits into the buffers is taken")
        assert sender.is_alive()
        assert support.receive_all(other) == support.patterned(MANY_BYTES)[1:]
        sender.join(support.DEADLINE_SECONDS)
        assert proxied.server.peak_resident_bytes() < MANY_BYTES


def send_and_end(sock: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):  # the receiver then misses something, and the test says what
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)


@SIDES
def test_a_reset_is_passed_on(proxied: Proxied, first: str) -> None:
    with proxied.pair(first) as (one, other):
        one.sendall(b"half a")
        assert support.receive(other, 6) == b"half a"
        support.reset(one)
        with pytest.raises(ConnectionResetError):
            support.receive_all(other)


def test_a_client_without_an_upstream_is_closed_and_the_next_one_is_served(proxied: Proxied) -> None:
    address = proxied.listener.getsockname()
    proxied.listener.close()
    with support.connect(proxied.server.address) as client:
        client.sendall(b"hello")
        assert support.receive_all(client) == b""
    with socket.create_server(address) as proxied.listener, proxied.pair() as (client, upstream):
        client.sendall(b"hello")
        assert support.receive(upstream, 5) == b"hello"


def test_a_client_that_leaves_while_the_upstream_is_awaited_leaves_nothing_behind(proxied: Proxied) -> None:
    server = proxied.server
    before = server.descriptors()
    address = proxied.listener.getsockname()
    with contextlib.ExitStack() as fillers:
        fillers.enter_context(support.connect(address))  # the backlog of 0 has room for one: the next SYN is dropped
        client = support.connect(server.address)
        support.wait_until(lambda: server.descriptors() == before + 2, "the proxy connects")
        support.reset(client)
        fillers.enter_context(proxied.accept())  # now there would be room
        support.wait_until(lambda: server.descriptors() == before, "both sockets are closed")
    with proxied.pair() as (client, upstream):  # what comes next is a client of now
        client.sendall(b"hello")
        assert support.receive(upstream, 5) == b"hello"


def test_a_drain_of_the_proxy_lets_both_sides_finish(proxied: Proxied) -> None:
    with proxied.pair() as (client, upstream):
        client.sendall(b"question")
        assert support.receive(upstream, 8) == b"question"
        proxied.server.send_signal(signal.SIGTERM)
        proxied.server.stderr.wait_for("draining")
        proxied.server.wait_until_idle("it looks at its connections")
        upstream.sendall(b"answer")
        assert support.receive(client, 6) == b"answer"
        for sock in (client, upstream):
            sock.shutdown(socket.SHUT_WR)
        assert proxied.server.wait() == 0
        assert " 0 cut" in proxied.server.stderr.text


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

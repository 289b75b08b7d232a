"""The proxy passes on bytes, ends and resets, both ways and within bounds: the program, and the recipe like it.

The upstream is a listening socket of the test. Each test runs twice: with `reactor serve proxy`, and with the recipe of
`reactor/README.md`, which a reader copies. The last ones are about what the program says, and the recipe does not.
"""

from __future__ import annotations

import contextlib
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest

from reactor import Limits, Server
from reactor.apps.echo import Echo
from reactor.apps.proxy import proxy_to
from tests import page_programs, support

MANY_BYTES = 48 << 20  # more than all kernel buffers and `output_hard_bytes` together
LIMITS = Limits()
# What waits for a side that does not read: its output up to the high mark and one receive; and what has come meanwhile
# from the other side, up to `frame_bytes` and one receive.
MOST_WAITING_BYTES = LIMITS.output_high_bytes + LIMITS.frame_bytes + 2 * LIMITS.receive_bytes
PAGE = support.ROOT / "reactor" / "README.md"


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


@contextlib.contextmanager
def listening() -> Iterator[tuple[socket.socket, str]]:
    """An upstream that listens, and its address as text. It has a backlog of 0."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        listener.settimeout(support.DEADLINE_SECONDS)
        yield listener, f"127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def program(*options: str) -> Iterator[Proxied]:
    """`reactor serve proxy`, and its upstream."""
    with listening() as (listener, address):
        with support.serving("proxy", "--to", address, "--log-format", "json", *options) as server:
            yield Proxied(server, listener)


@pytest.fixture(params=["program", "recipe"])
def proxied(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[Proxied]:
    """The proxy, and its upstream."""
    if request.param == "program":
        with program() as the_program:
            yield the_program
    else:
        with listening() as (listener, address):
            with page_programs.serving(page_programs.of_page(PAGE, "proxy"), tmp_path, address) as server:
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
        other.sendall(b"still there?")  # the other direction goes on
        assert support.receive(one, 12) == b"still there?"
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
        assert proxied.server.terminate() == 0
        assert "Traceback" not in proxied.server.stderr.text


@SIDES
def test_a_reset_is_passed_on_past_what_the_other_side_has_not_read(proxied: Proxied, first: str) -> None:
    with proxied.pair(first) as (one, other):
        sender = threading.Thread(target=send_and_end, args=(one, bytes(MANY_BYTES)))
        sender.start()
        support.receive(other, 1)
        proxied.server.wait_until_idle("all that fits into the buffers is taken")
        one.shutdown(socket.SHUT_RDWR)  # ends the sender's call
        sender.join(support.DEADLINE_SECONDS)
        support.reset(one)
        with pytest.raises(ConnectionError):
            other.sendall(b"!")  # if it was not told of the reset yet, it is answered by one
            support.receive_all(other)
        assert "Traceback" not in proxied.server.stderr.text


def test_a_client_without_an_upstream_is_reset_and_the_next_one_is_served(proxied: Proxied) -> None:
    address = proxied.listener.getsockname()
    proxied.listener.close()
    with support.connect(proxied.server.address) as client, pytest.raises(ConnectionResetError):
        support.receive_all(client)
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


def test_what_a_client_sends_and_ends_before_the_upstream_is_there_is_passed_on(proxied: Proxied) -> None:
    server = proxied.server
    before = server.descriptors()
    with support.connect(proxied.listener.getsockname()), support.connect(server.address) as client:
        support.wait_until(lambda: server.descriptors() == before + 2, "the proxy connects")
        client.sendall(b"early")
        client.shutdown(socket.SHUT_WR)
        server.wait_until_idle("it has read that, and waits for the upstream")
        proxied.accept().close()  # now there is room
        with proxied.accept() as upstream:
            assert support.receive_all(upstream) == b"early"
            upstream.sendall(b"answer")
        assert support.receive_all(client) == b"answer"


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


# The program: its bounds, and what it says.


@SIDES
def test_a_firehose_does_not_grow_what_is_kept(first: str) -> None:
    with program() as proxied, proxied.pair(first) as (one, other):
        sender = threading.Thread(target=send_and_end, args=(one, support.patterned(MANY_BYTES)))
        sender.start()
        support.receive(other, 1)
        proxied.server.wait_until_idle("all that fits into the buffers is taken")
        assert LIMITS.output_high_bytes < proxied.server.statistics()["buffered_bytes"] <= MOST_WAITING_BYTES
        assert support.receive_all(other) == support.patterned(MANY_BYTES)[1:]
        sender.join(support.DEADLINE_SECONDS)
        assert proxied.server.statistics()["buffered_bytes"] == 0


def test_a_drain_that_takes_too_long_cuts_what_is_under_way() -> None:
    with program("--drain-seconds", "0.2") as proxied, proxied.pair() as (client, upstream):
        client.sendall(b"question")
        assert support.receive(upstream, 8) == b"question"
        assert proxied.server.terminate() == 1
        for sock in (client, upstream):
            with pytest.raises(ConnectionResetError):
                support.receive_all(sock)
        assert "Traceback" not in proxied.server.stderr.text


RESET = r"WARNING reset <Connection \d+ open peer=127\.0\.0\.1:\d+>: cannot connect to 127\.0\.0\.1:\d+: "


def test_one_line_of_the_log_says_that_the_upstream_refuses() -> None:
    with program() as proxied:
        proxied.listener.close()
        assert warning_of_a_reset(proxied) == "Connection refused"


def test_one_line_of_the_log_says_that_the_upstream_does_not_answer() -> None:
    with program("--connect-seconds", "0.1") as proxied, support.connect(proxied.listener.getsockname()):
        assert warning_of_a_reset(proxied) == "no connection within 0.1 seconds"


def warning_of_a_reset(proxied: Proxied) -> str:
    """The reason that the log gives for the reset of a client, and nothing else than that."""
    with support.connect(proxied.server.address) as client, pytest.raises(ConnectionResetError):
        support.receive_all(client)
    found = proxied.server.stderr.wait_for(RESET + "(.*)$")
    assert proxied.server.terminate() == 0
    unexpected = [line for line in proxied.server.stderr.text.splitlines() if not re.search(f" INFO |{RESET}", line)]
    assert not unexpected and proxied.server.stderr.count(RESET) == 1
    return found[1]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_curl_fetches_through_it(tmp_path: pathlib.Path) -> None:
    hello = page_programs.of_page(PAGE, "Hello")
    with page_programs.serving(hello, tmp_path) as upstream:
        with support.serving("proxy", "--to", upstream.addresses[0]) as server:
            url = f"http://{server.addresses[0]}/"
            most = str(support.DEADLINE_SECONDS)
            command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", most]
            result = subprocess.run([*command, url, url], capture_output=True, timeout=2 * support.DEADLINE_SECONDS)
            assert (result.stdout, result.stderr, result.returncode) == (b"hello\nhello\n", b"", 0)


@pytest.mark.skipif(shutil.which("socat") is None, reason="there is no socat here")
def test_socat_sends_much_through_it_and_gets_it_back() -> None:
    data = support.patterned(1 << 20)
    with Server(Echo, bind="127.0.0.1:0") as upstream:
        with support.serving("proxy", "--to", upstream.addresses[0]) as server:
            # -t: how long to wait for the answer after the end of the input
            command = ["socat", "-t", str(support.DEADLINE_SECONDS), "-", f"TCP:{server.addresses[0]}"]
            result = subprocess.run(command, input=data, capture_output=True, timeout=2 * support.DEADLINE_SECONDS)
            assert result.returncode == 0 and result.stdout == data


def test_an_address_that_nothing_can_be_connected_to_is_refused_at_once() -> None:
    for address, words in (("fd://3", "nothing can be connected to it"), ("8000", "127.0.0.1:8000")):
        with pytest.raises(ValueError, match=words):
            proxy_to(address)

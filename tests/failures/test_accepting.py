"""Accepting (A1 to A9 in table.py): what goes wrong between a connect and the first byte."""

import contextlib
import re
import resource
import select
import signal
import socket
import time

import pytest

from tests.failures.clients import allow_descriptors, refuses, within_turns
from tests.failures.injection import ACCEPTS, POLLS, injected, tracer
from tests.failures.standstill import accepted, before_answers, calls_from_standstill
from tests.support import DEADLINE_SECONDS, connect, exchange, receive, receive_all, socket_address, wait_until

REFUSALS = (ConnectionResetError, BrokenPipeError)


@contextlib.contextmanager
def connected(count, address):
    """So many connected clients, until the block ends."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(connect(address)) for _ in range(count)]


def answered(clients, seconds=0.0):
    """Those of `clients` that have something to read within so many seconds."""
    poll = select.poll()
    by_number = {client.fileno(): client for client in clients}
    for number in by_number:
        poll.register(number, select.POLLIN)
    return [by_number[number] for number, _ in poll.poll(seconds * 1000)]


def ended_by_server(client):
    """Wait until the server ends the connection, by a FIN or a reset; read any data before that."""
    with contextlib.suppress(*REFUSALS):
        receive_all(client)
    return True


# Out of descriptors: `accept` fails, but the listening socket stays readable, so the loop spins (A1).

A1_LIMIT, A1_CLIENTS = 64, 100
A1_LOOKS = 20  # each takes 0.15 s: three seconds in all
A1_RELEASES, A1_TURNS = 9, 20  # turns of 10 ms: it is enough to look for room ten times a second


def test_a1_out_of_descriptors(serve):
    with serve("echo", backlog=2 * A1_CLIENTS) as server, connect(server.address) as inside:
        assert exchange(inside, b"x") == b"x"
        lines, began = server.stderr.count(""), time.monotonic()
        _, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (A1_LIMIT, hard))
        with connected(A1_CLIENTS, server.address) as clients:
            for client in clients:
                client.sendall(b"x")
            wait_until(lambda: server.descriptors() >= A1_LIMIT, "the server to be out of descriptors")
            assert_calm_and_serving(server, inside)
            lines = server.stderr.count("") - lines
            passed = time.monotonic() - began
            assert lines <= passed + 1, f"it writes {lines} lines to its log in {passed:.0f} s"
            served = serve_all_there_is_room_for(clients)
            waiting = [client for client in clients if client not in served]
            assert waiting
            assert_places_are_taken_at_once(inside, served, waiting)


def assert_calm_and_serving(server, inside):
    """The clients that are inside are served, and in between the server sleeps."""
    for _ in range(A1_LOOKS):
        assert exchange(inside, b"x") == b"x", "who is inside is not served any more"
        server.wait_until_idle("there is nothing to do but to wait for a descriptor")


def serve_all_there_is_room_for(clients):
    """Read the answers of the clients that were accepted, and return these clients."""
    served = answered(clients, DEADLINE_SECONDS)
    for client in served:
        assert client.recv(1) == b"x", "who was let in is not answered, but ended"
    return served


def assert_places_are_taken_at_once(inside, served, waiting):
    """When one client leaves, another is served."""
    for _ in range(A1_RELEASES):
        served.pop().close()
        soon = within_turns(A1_TURNS, inside, lambda: answered(waiting))  # noqa: B023  # called here
        assert soon, f"a descriptor is free, and nobody comes in in {A1_TURNS} turns"
        newcomers = answered(waiting)
        waiting = [client for client in waiting if client not in newcomers]


# `accept` fails because something is missing for a while: the server must try again, but not at full speed (A2).

A2_HOLD_SECONDS = {"ENFILE": 3.0, "ENOBUFS": 0.2, "ENOMEM": 0.2}  # one is long enough to show pauses
A2_TRIES_A_SECOND = 200  # a hundred, and a rest of a second, would do; a server that spins makes thousands


def test_a2_accept_fails_for_want_of_memory_or_descriptors(serve, tmp_path):
    with serve("echo") as server, connect(server.address) as inside:
        assert exchange(inside, b"x") == b"x"
        for error, seconds in A2_HOLD_SECONDS.items():
            with contextlib.ExitStack() as stack:
                with injected(server.pid, tmp_path, f"{ACCEPTS}:error={error}", trace=ACCEPTS) as tracing:
                    newcomer = stack.enter_context(connect(server.address))
                    newcomer.sendall(b"new")
                    tracing.wait_for(error)
                    time.sleep(seconds)
                    assert exchange(inside, b"x") == b"x", "who is inside is not served any more"
                    tries = len(tracing.calls())
                    most = A2_TRIES_A_SECOND * max(seconds, 1.0)
                    assert tries <= most, f"it does not back off: {tries} tries in {seconds:.0f} s"
                    assert not answered([newcomer])
                assert receive(newcomer, 3) == b"new"


# `accept` fails because of the first connection in the queue: it is gone, but there may be a next one (A3).


def test_a3_accept_fails_for_one_connection(serve, tmp_path):
    with serve("echo") as server:
        for error in ("ECONNABORTED", "EPROTO", "EPERM"):
            trace = f"{ACCEPTS},{POLLS}"
            with injected(server.pid, tmp_path, f"{ACCEPTS}:error={error}:when=1", trace=trace) as tracing:
                with connect(server.address) as client:
                    assert exchange(client, b"x") == b"x"
                    _, next_call, *_ = tracing.wait_for(error, 2)
            assert re.match(r"accept4?\(.+= \d+", next_call), f"{next_call.split('(')[0]} came next, not an accept"


# A storm of newcomers, beside a client that is inside and wants answers (A4).

A4_NEWCOMERS, A4_STORMS = 2000, 3
A4_ACCEPTS = 8  # one accept costs two or three echoes, so 8 and the echo cost some 20; all of them would cost 5,000


def test_a4_accept_storm(serve, adapter, tmp_path):
    with open("/proc/sys/net/core/somaxconn") as file:  # more newcomers would not fit into the queue
        newcomers = min(A4_NEWCOMERS, int(file.read()) - 1, adapter.longest_backlog - 1)
    if not allow_descriptors(2 * newcomers):
        pytest.skip(f"this process may not have {newcomers} clients")
    with serve("echo", backlog=newcomers + 1) as server, connect(server.address) as inside:
        assert exchange(inside, b"x") == b"x"
        for number in range(A4_STORMS):
            calls = storm_and_question(server, inside, newcomers, tmp_path, question_first=number % 2 == 1)
            first = accepted(before_answers(calls, "question"))
            assert first <= A4_ACCEPTS, f"{first} of {newcomers} newcomers were let in before an answer"


def storm_and_question(server, inside, newcomers, folder, *, question_first):
    """What the server does when it meets, at the same moment, a storm of newcomers and a question of `inside`.

    Some servers handle the first event first, some the last one (libev). At the end all newcomers have been accepted.
    """
    before = server.descriptors()
    with contextlib.ExitStack() as stack:
        clients = []

        def trouble():
            if question_first:
                inside.sendall(b"question")
            clients.extend(stack.enter_context(connected(newcomers, server.address)))
            clients[-1].sendall(b"x")
            if not question_first:
                inside.sendall(b"question")

        def answer():
            assert receive(inside, len(b"question")) == b"question"

        calls = calls_from_standstill(server, folder, trouble, answer)
        assert receive(clients[-1], 1) == b"x"
    wait_until(lambda: server.descriptors() == before, "the end of the storm")
    return calls


# More connections than places, in all or for one address: by policy they wait, or are refused (A5).

A5_PLACES, A5_NEWCOMERS = 10, 5
A5_ROUNDS = 5


def assert_all_served(clients):
    for _ in range(A5_ROUNDS):
        for client in clients:
            assert exchange(client, b"x") == b"x"


def assert_refused(address):
    answer = b""
    with contextlib.suppress(*REFUSALS), connect(address) as newcomer:  # a refusal may come before `connect` returns
        answer = exchange(newcomer, b"x")
    assert not answer, "more are served than there are places"


def test_a5_full_and_newcomers_wait(serve):
    with serve("echo", max_connections=A5_PLACES, when_full="queue") as server:
        with connected(A5_PLACES, server.address) as inside, connected(A5_NEWCOMERS, server.address) as waiting:
            for client in waiting:
                client.sendall(b"w")
            assert_all_served(inside)
            assert not answered(waiting), "more are served than there are places"
            for place in range(A5_NEWCOMERS):
                inside[place].close()
                (newcomer,) = answered(waiting, DEADLINE_SECONDS)
                assert newcomer.recv(1) == b"w"
                waiting.remove(newcomer)
                inside.append(newcomer)
                assert_all_served(inside[place + 1 :])
                assert not answered(waiting), "more are served than there are places"
        server.expect_closed(refused=0)


def test_a5_full_and_newcomers_are_refused(serve):
    with serve("echo", max_connections=A5_PLACES, when_full="refuse") as server:
        with connected(A5_PLACES, server.address) as inside:
            assert_all_served(inside)
            for _ in range(A5_NEWCOMERS):
                assert_refused(server.address)
            assert_all_served(inside)
            inside.pop().close()
            wait_until(lambda: server.descriptors() < server.descriptors_at_start + A5_PLACES, "a place to come free")
            with connect(server.address) as newcomer:
                assert exchange(newcomer, b"x") == b"x"
        server.expect_closed(refused=A5_NEWCOMERS)


def test_a5_too_many_from_one_address(serve):
    with serve("echo", max_connections_per_peer=A5_PLACES) as server:
        with connected(A5_PLACES, server.address) as inside:
            assert_all_served(inside)
            assert_refused(server.address)
            with socket.create_connection(server.address, DEADLINE_SECONDS, ("127.0.0.2", 0)) as other:
                assert_all_served([*inside, other])
        server.expect_closed(refused=1)


# The server is closed between a client's connect and its accept (A6).

A6_CLIENTS, A6_DRAIN_SECONDS = 50, 2.0  # a server may wait so long for the clients that are inside, idle or not (L7)


def test_a6_closed_between_connect_and_accept(serve):
    settings = {"backlog": 2 * A6_CLIENTS, "drain_seconds": A6_DRAIN_SECONDS}
    with serve("reply_10mb", **settings) as server, connect(server.address) as reader:
        reader.sendall(b"\n")  # its reply keeps the server alive for a while after the listener is gone
        receive(reader, 1)
        server.send_signal(signal.SIGSTOP)
        with connected(A6_CLIENTS, server.address) as clients:
            server.send_signal(signal.SIGTERM)
            server.send_signal(signal.SIGCONT)
            for client in clients:
                assert ended_by_server(client)
        if server.process.poll() is None:
            wait_until(lambda: server.descriptors() <= server.descriptors_at_start, "its descriptors to be given back")
            wait_until(lambda: refuses(server), "the end of the listening socket")
        reader.close()
        server.wait()


# The path of a UNIX socket exists already (A7).


def test_a7_a_stale_path_is_replaced(serve, tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    with serve("echo", f"unix:{path}"), connect_unix(path) as client:
        assert exchange(client, b"x") == b"x"


def test_a7_a_live_server_is_left_alone(serve, tmp_path):
    path = str(tmp_path / "socket")
    with serve("echo", f"unix:{path}"):
        with serve("echo", f"unix:{path}", listens=False) as second:
            wait_until(lambda: second.process.poll() is not None or "listening" in second.stderr.text, "what it does")
            assert second.process.poll() not in (None, 0), "it took the path of a live server"
            second.stderr.wait_for(rf"(?i){re.escape(path)}.*(in use|lock)")
        with connect_unix(path) as client:
            assert exchange(client, b"x") == b"x"


def test_a7_a_file_that_is_no_socket_is_left_alone(serve, tmp_path):
    path = tmp_path / "socket"
    path.write_text("a letter")
    with serve("echo", f"unix:{path}", listens=False) as server:
        assert server.wait() != 0
        assert str(path) in server.stderr.text
    assert path.read_text() == "a letter"


def test_a7_at_exit_the_own_path_is_unlinked(serve, tmp_path):
    path = tmp_path / "socket"
    with serve("echo", f"unix:{path}") as server:
        server.terminate()
    assert not path.exists(), "it leaves its path behind"


def test_a7_at_exit_the_path_of_a_successor_is_not_unlinked(serve, tmp_path):
    path = tmp_path / "socket"
    with serve("echo", f"unix:{path}") as server:
        path.unlink()
        with serve("echo", f"unix:{path}"):
            server.terminate()
            with connect_unix(str(path)) as client:
                assert exchange(client, b"x") == b"x"


def connect_unix(path):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(DEADLINE_SECONDS)
    client.connect(path)
    return client


# Port 0 with both families: each socket would get a port of its own (A8).


def test_a8_port_0_with_both_families(serve):
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with serve("echo", ":0") as server:
        addresses = [socket_address(text) for text in server.addresses]
        assert {":" in host for host, _ in addresses} == {True, False}, server.addresses
        assert len({port for _, port in addresses}) == 1, f"two ports: {server.addresses}"
        for host in ("127.0.0.1", "::1"):
            with connect((host, addresses[0][1])) as client:
                assert exchange(client, b"x") == b"x"


# The kernel has no room to watch another socket (ENOSPC: fs.epoll.max_user_watches). It may be the listener (A9).

A9_TRIES = 3


def test_a9_a_listener_that_cannot_be_watched_at_the_start_is_an_error_of_one_line(serve, tmp_path):
    injection = ["-e", "trace=epoll_ctl", "-e", "inject=epoll_ctl:error=ENOSPC:when=2+"]  # the first: the waker
    before = [*tracer(), "-D", "-f", "-o", str(tmp_path / "strace"), *injection]  # -D: the parent is not strace
    with serve("echo", before=before, listens=False) as server:
        wait_until(lambda: server.process.poll() is not None or "listening" in server.stderr.text, "what it does")
        assert server.process.poll() not in (None, 0), "it says that it listens, and cannot"
        server.wait()
        said = server.stderr.text.splitlines()
        assert len(said) == 1 and "No space left" in said[0], f"it writes {len(said)} lines: {said[-1:]}"


def test_a9_a_listener_that_cannot_be_watched_again_after_its_rest_rests_on(serve, adapter, tmp_path):
    if "ENOSPC" in adapter.never_meets:
        pytest.skip(f"not applicable to {adapter.name}: {adapter.never_meets['ENOSPC']}")
    with serve("echo") as server, connect(server.address) as inside:
        assert exchange(inside, b"x") == b"x"
        before, limits = server.descriptors(), resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (before, limits[1]))
        with connect(server.address) as newcomer:
            newcomer.sendall(b"new")  # no descriptor is left to accept it, so the listener rests
            with injected(server.pid, tmp_path, "epoll_ctl:error=ENOSPC", trace="epoll_ctl") as tracing:
                tracing.wait_for("ENOSPC")
                resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)

                def tried_again():
                    assert exchange(inside, b"x") == b"x", "who is inside is not served any more"
                    return sum("ENOSPC" in call for call in tracing.calls()) >= A9_TRIES

                wait_until(tried_again, "another try to watch the listener")
                assert not answered([newcomer])
            assert receive(newcomer, 3) == b"new"

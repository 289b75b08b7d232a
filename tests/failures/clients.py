"""Clients that cause trouble, and a block during which a server cannot see what they do."""

from __future__ import annotations

import contextlib
import pathlib
import resource
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator

from tests.failures.adapter import Server
from tests.support import DEADLINE_SECONDS, ServerProcess, connect, exchange, receive, wait_until

SMALL_BUFFER_BYTES = 4096  # the kernel doubles it; the server's own buffer then also grows little


def deaf(address: tuple[str, int]) -> socket.socket:
    """A client with the smallest kernel buffers on both sides: what it does not read stays in the server."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
    client.settimeout(DEADLINE_SECONDS)
    try:
        client.connect(address)
    except BaseException:
        client.close()
        raise
    return client


GROUP = 100


@contextlib.contextmanager
def heard_just_now(count: int, server: Server) -> Iterator[list[socket.socket]]:
    """So many clients of an echo, until the block ends. When it begins, the server has heard from each of them just
    now.

    They connect in groups, and after each group all of them send again: on a busy machine it takes a while to connect
    all, and the first must not be silent for so long.
    """
    with contextlib.ExitStack() as stack:
        clients: list[socket.socket] = []
        while len(clients) < count:
            clients += [stack.enter_context(connect(server.address)) for _ in range(min(GROUP, count - len(clients)))]
            for client in clients:
                client.sendall(b"x")
            assert not (ended := those_without(b"x", clients)), f"{len(ended)} of {len(clients)} clients were ended"
        yield clients


def those_without(answer: bytes, clients: list[socket.socket]) -> list[socket.socket]:
    """Those of `clients` whose connection ends, or brings something else than `answer`."""
    without = []
    for client in clients:
        try:
            if receive(client, len(answer)) != answer:
                without.append(client)
        except ConnectionResetError:
            without.append(client)
    return without


def is_cut_off(client: socket.socket) -> bool:
    """Whether the connection is over in both directions. This asks the kernel here, and does not disturb the server."""
    poll = select.poll()
    poll.register(client, 0)  # the kernel always reports errors and hang-ups
    return bool(poll.poll(0))


def is_ended(client: socket.socket, server: Server) -> bool:
    """Whether the only connection is over: the client sees its end, or the server has closed it.

    A server that closes without a reset may have ended it long before its FIN reaches a client that does not read.
    The client must have been accepted before.
    """
    return is_cut_off(client) or server.descriptors() <= server.descriptors_at_start


def refuses(server: Server) -> bool:
    """Whether nothing listens any more; a client that connects a moment too early is reset."""
    try:
        connect(server.address).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        return False
    return False


TURN_SECONDS = 0.01


def within_turns(turns: int, other: socket.socket, condition: Callable[[], object]) -> bool:
    """Whether `condition` becomes true before `other` has been answered so many times, 10 ms apart.

    A server that learns something by an event acts on it in the turn in which it answers the next question, or in the
    next turn, even on a busy machine. A server that looks at intervals needs many more turns.
    """
    for _ in range(turns):
        assert exchange(other, b"x") == b"x", "who is inside is not served any more"
        if condition():
            return True
        time.sleep(TURN_SECONDS)
    return False


def process_state(server: ServerProcess) -> str:
    """The state of its main thread, by proc(5): R is running, S asleep, T stopped."""
    return pathlib.Path(f"/proc/{server.pid}/stat").read_text().rpartition(") ")[2][0]


def allow_descriptors(count: int) -> bool:
    """Let this process, and those that it starts from now on, open `count` descriptors; return whether it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count <= hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    return count <= hard


@contextlib.contextmanager
def frozen(server: ServerProcess) -> Iterator[None]:
    """Stop the server for the block. When the block ends, it sees at once all that happened, in that order."""
    server.send_signal(signal.SIGSTOP)
    wait_until(lambda: process_state(server) == "T", "the server to stand still")
    try:
        yield
    finally:
        server.send_signal(signal.SIGCONT)

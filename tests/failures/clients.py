"""Clients that give trouble, and a moment in which a server cannot see what they do."""

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

SMALL_BUFFER_BYTES = 4096  # asked for; the kernel doubles it, and the server's own side then grows little too


def deaf(address: tuple[str, int]) -> socket.socket:
    """A client for whom the kernels on both sides keep as little as they can: what it does not read, the server has."""
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
    """So many clients of an echo, until the block ends; when it begins, the server has heard each of them just now.

    They come in groups, and after each group all who are there are heard again: on a busy machine it takes a while
    until they are all in, and the first should not have been silent for so long.
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
    """Those of `clients` whose connection ends, or brings something else, where this answer should come."""
    without = []
    for client in clients:
        try:
            if receive(client, len(answer)) != answer:
                without.append(client)
        except ConnectionResetError:
            without.append(client)
    return without


def is_cut_off(client: socket.socket) -> bool:
    """Whether the connection is over in both directions. Asks the kernel here: the server is not disturbed."""
    poll = select.poll()
    poll.register(client, 0)  # errors and hang-ups are always told
    return bool(poll.poll(0))


def is_ended(client: socket.socket, server: Server) -> bool:
    """Whether the connection, the only one, is over for one of them: the client sees it, or the server has closed it.

    A server that closes without a reset may have ended it long before its FIN gets past what is not read. The client
    must have been let in before.
    """
    return is_cut_off(client) or server.descriptors() <= server.descriptors_at_start


def refuses(server: Server) -> bool:
    """Whether nobody listens any more; who is there a moment too early is reset."""
    try:
        connect(server.address).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        return False
    return False


TURN_SECONDS = 0.01


def within_turns(turns: int, other: socket.socket, condition: Callable[[], object]) -> bool:
    """Whether `condition` comes true before `other` has been answered so many times, 10 ms apart.

    A server that is told of something by an event acts on it in the turn in which it answers the next question, or in
    the one after, however long that takes on a busy machine. One that looks now and then needs many more turns.
    """
    for _ in range(turns):
        assert exchange(other, b"x") == b"x", "who is inside is not served any more"
        if condition():
            return True
        time.sleep(TURN_SECONDS)
    return False


def process_state(server: ServerProcess) -> str:
    """What proc(5) says of its main thread: R is running, S asleep, T stopped."""
    return pathlib.Path(f"/proc/{server.pid}/stat").read_text().rpartition(") ")[2][0]


def allow_descriptors(count: int) -> bool:
    """Have this process, and those that it starts from now on, open `count` descriptors; whether they may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count <= hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    return count <= hard


@contextlib.contextmanager
def frozen(server: ServerProcess) -> Iterator[None]:
    """Whatever happens in the block, the server sees at once, in that order, when the block ends."""
    server.send_signal(signal.SIGSTOP)
    wait_until(lambda: process_state(server) == "T", "the server to stand still")
    try:
        yield
    finally:
        server.send_signal(signal.SIGCONT)

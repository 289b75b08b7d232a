"""Does the model behave like the real kernel?

A simulation alone proves nothing about real sockets. So small scripts run twice, on the model's sockets and on real
ones over loopback, and each step's answers are compared: bytes, end, EAGAIN, error number, bits of epoll. The scripts
try what breaks servers: data before an end, a reset after an end, data before a reset, a close with input unread, a
write to a closed peer, a listening socket that closes while a connection waits.

The model delivers at once here. The real network takes a moment, so a step that only looks is repeated until its
answer equals the model's, or until a deadline. Then the last answer counts.

The sizes of real buffers are not compared, because Linux chooses them: a script that fills a buffer only compares that
it gets full. The model is of Linux. Other systems may differ, so the comparison does not run there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import tempfile
import time
from collections.abc import Callable
from typing import Any

from .network import ERR, HUP, IN, OUT, RDHUP, SYN_RETRY_SECONDS, Door, Endpoint, Network
from .sockets import LINGER, Descriptors, FakeSocket, Faults, Watcher
from .unix_endpoints import endpoint_class

DEADLINE_SECONDS = 5.0
ASKED = IN | OUT | RDHUP
NAMES = {IN: "IN", OUT: "OUT", ERR: "ERR", HUP: "HUP", RDHUP: "RDHUP"}
ROOM = 5000  # the size of a buffer of the model, in bytes

FAMILIES = ("inet", "unix")
Script = tuple[tuple[Any, ...], ...]

# A step names a socket ("door" is the listening one), an action, and perhaps a number. At the beginning of a script
# the client is connected and not yet accepted.
ACCEPTED: Script = (("door", "accept"),)
SCRIPTS: dict[str, Script] = {
    "data arrives and can be looked at before": ACCEPTED + (
        ("server", "events"), ("client", "send", 5), ("server", "events"), ("server", "peek", 3), ("server", "recv", 3),
        ("server", "recv", 9), ("server", "recv", 9), ("server", "events")),
    "an end comes behind the data": ACCEPTED + (
        ("client", "send", 5), ("client", "fin"), ("server", "events"), ("server", "recv", 9), ("server", "recv", 9),
        ("server", "recv", 9), ("server", "events"), ("server", "send", 4), ("client", "recv", 9), ("server", "close"),
        ("client", "recv", 9), ("client", "events")),
    "both sides end": ACCEPTED + (
        ("server", "fin"), ("server", "events"), ("client", "events"), ("client", "fin"), ("server", "events"),
        ("server", "recv", 9), ("server", "fin"), ("server", "send", 1), ("server", "error")),
    "our end is final for us and not for the peer": ACCEPTED + (
        ("server", "fin"), ("server", "fin"), ("server", "send", 3), ("client", "send", 3), ("server", "recv", 9),
        ("client", "recv", 9), ("server", "recv", 9)),
    "data before a reset can be read after it": ACCEPTED + (
        ("client", "send", 5), ("client", "reset"), ("server", "events"), ("server", "recv", 9), ("server", "recv", 9),
        ("server", "recv", 9), ("server", "send", 1), ("server", "events"), ("server", "fin")),
    "a send is told of the reset before a recv": ACCEPTED + (
        ("client", "send", 5), ("client", "reset"), ("server", "events"), ("server", "send", 1), ("server", "recv", 9),
        ("server", "recv", 9), ("server", "error")),
    "a look at the error takes it": ACCEPTED + (
        ("client", "reset"), ("server", "events"), ("server", "error"), ("server", "error"), ("server", "events"),
        ("server", "recv", 9), ("server", "send", 1)),
    "a reset behind an end is EPIPE, and recv still sees the end": ACCEPTED + (
        ("client", "fin"), ("server", "events"), ("client", "reset"), ("server", "events"), ("server", "recv", 9),
        ("server", "error"), ("server", "send", 1)),
    "a close with input unread resets": ACCEPTED + (
        ("client", "send", 5), ("server", "events"), ("server", "close"), ("client", "events"), ("client", "recv", 9),
        ("client", "recv", 9)),
    "a close with input unread resets behind the reply": ACCEPTED + (
        ("client", "send", 5), ("server", "events"), ("server", "send", 4), ("client", "events"), ("server", "close"),
        ("client", "events"), ("client", "recv", 9), ("client", "recv", 9)),
    "a close with everything read ends": ACCEPTED + (
        ("client", "send", 5), ("server", "recv", 9), ("server", "send", 4), ("server", "close"), ("client", "recv", 9),
        ("client", "recv", 9), ("client", "events")),
    "data for one who has closed is answered by a reset": ACCEPTED + (
        ("server", "close"), ("client", "events"), ("client", "send", 3), ("client", "events"), ("client", "recv", 9),
        ("client", "send", 3), ("client", "send", 3)),
    "data behind a half-close for one who has closed": ACCEPTED + (
        ("client", "fin"), ("server", "recv", 9), ("server", "close"), ("client", "events"), ("client", "recv", 9)),
    "a reset while both sides have ended changes nothing": ACCEPTED + (
        ("client", "fin"), ("server", "fin"), ("server", "events"), ("client", "events"), ("client", "reset"),
        ("server", "events"), ("server", "recv", 9)),
    "a reset before it is accepted": (
        ("client", "send", 4), ("client", "reset"), ("door", "accept"), ("server", "events"), ("server", "recv", 9),
        ("server", "recv", 9)),
    "data and an end before it is accepted": (
        ("door", "events"), ("client", "send", 4), ("client", "fin"), ("door", "accept"), ("door", "events"),
        ("server", "events"), ("server", "recv", 9), ("server", "recv", 9)),
    "nobody waits at the door": ACCEPTED + (("door", "accept"), ("door", "events")),
    "a door that closes resets who waits": (("door", "close"), ("client", "events"), ("client", "recv", 9)),
    "the queue takes one more than its length": (
        ("door", "listen", 1), ("door", "knock", 4), ("door", "accept"), ("server", "peer")),
    "a queue of one newcomer": ACCEPTED + (("door", "listen", 0), ("door", "knock", 3), ("door", "events")),
    "a peer's address is forgotten with a reset": ACCEPTED + (
        ("server", "peer"), ("client", "reset"), ("server", "events"), ("server", "peer"), ("server", "recv", 9),
        ("server", "peer")),
    "a peer's address is forgotten when both sides have ended": ACCEPTED + (
        ("client", "fin"), ("server", "events"), ("server", "peer"), ("server", "fin"), ("client", "events"),
        ("server", "recv", 9), ("server", "peer"), ("client", "peer")),
    "a peer that never reads": ACCEPTED + (
        ("server", "fill"), ("server", "writable"), ("client", "drain"), ("server", "writable"), ("server", "send", 1)),
    "an end behind a full buffer": ACCEPTED + (
        ("server", "fill"), ("server", "fin"), ("client", "drain"), ("client", "recv", 9), ("client", "events")),
    "a reset drops a full buffer": ACCEPTED + (
        ("server", "fill"), ("client", "reset"), ("server", "events"), ("server", "send", 1), ("server", "send", 1)),
}  # fmt: skip


class ModelFace:
    """The sockets of a script, in the model."""

    def __init__(self, family: str) -> None:
        self.network = Network(1)
        self.table = Descriptors(self.network, Faults(), Watcher())
        self._family = family
        self._door = Door(self.network, ("10.0.0.0", 80))
        door = FakeSocket(self.table, self._door)
        door.listen(5)
        client = self._make_end("client")
        self._door.knock(client, self._make_end("server"), lambda error: None)
        self.sockets: dict[str, Any] = {"door": door, "client": FakeSocket(self.table, client)}

    def _make_end(self, name: str) -> Endpoint:
        return endpoint_class(self._family)(self.network, name, ROOM, ROOM, 0.001)

    def knock(self, count: int) -> int:
        """Start `count` more clients. Returns how many are connected at once."""
        answers: list[int] = []
        for index in range(count):
            self._door.knock(self._make_end(f"client {index}"), self._make_end(f"server {index}"), answers.append)
        return len(answers)

    def close_door(self) -> None:
        """Close the listening socket."""
        self._door.close()
        self.sockets["door"].endpoint = None
        self.sockets["door"].close()

    def bits(self, sock: Any) -> int:
        """What epoll reports."""
        return int(sock.events()) & (ASKED | ERR | HUP)

    def settle(self) -> None:
        """Deliver all that is on its way. Stop before a refused client tries again."""
        until = self.network.now + SYN_RETRY_SECONDS / 2
        while (following := self.network.next_time()) < until:
            self.network.now = following
            self.network.run_due()

    def close(self) -> None:
        """Nothing to give back."""


class RealFace:
    """The sockets of a script, in the kernel."""

    def __init__(self, family: str) -> None:
        self._folder = contextlib.ExitStack()
        if family == "inet":
            door = socket.create_server(("127.0.0.1", 0))
        else:
            path = os.path.join(self._folder.enter_context(tempfile.TemporaryDirectory()), "door")
            door = socket.socket(socket.AF_UNIX)
            door.bind(path)
            door.listen()
        client = socket.socket(door.family)
        client.settimeout(DEADLINE_SECONDS)
        client.connect(door.getsockname())
        for sock in (door, client):
            sock.setblocking(False)
        self.sockets: dict[str, Any] = {"door": door, "client": client}

    def knock(self, count: int) -> int:
        """Start `count` more clients. Returns how many are connected before any tries again."""
        newcomers = [socket.socket(self.sockets["door"].family) for _ in range(count)]
        for index, sock in enumerate(newcomers):
            self.sockets[f"client {index}"] = sock
            sock.setblocking(False)
            sock.connect_ex(self.sockets["door"].getsockname())
            select.select((), (sock,), (), 0.05)
        return sum(_is_connected(sock) for sock in newcomers)

    def close_door(self) -> None:
        """Close the listening socket."""
        self.sockets["door"].close()

    def bits(self, sock: Any) -> int:
        """What epoll reports."""
        with select.epoll() as epoll:
            epoll.register(sock, ASKED)
            return sum(bits for _, bits in epoll.poll(0))

    def settle(self) -> None:
        """The kernel delivers by itself."""

    def close(self) -> None:
        """Close all sockets."""
        for sock in self.sockets.values():
            sock.close()
        self._folder.close()


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


Face = ModelFace | RealFace


def do(face: Face, who: str, what: str, number: int = 0) -> Any:
    """Do one step of a script. Returns its answer."""
    sock = face.sockets[who]
    try:
        answer = ACTIONS[what](face, sock, number)
    except OSError as exc:
        answer = errno.errorcode.get(exc.errno or 0, repr(exc))
    face.settle()
    return answer


def _accept(face: Face, door: Any, _: int) -> str:
    newcomer, _address = door.accept()
    newcomer.setblocking(False)
    face.sockets["server"] = newcomer
    return "accepted"


def _events(face: Face, sock: Any, _: int) -> str:
    bits = face.bits(sock)
    return " ".join(name for bit, name in NAMES.items() if bits & bit)


def _reset(face: Face, sock: Any, _: int) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER.pack(1, 0))
    sock.close()


def _fill(face: Face, sock: Any, _: int) -> str:
    """Send until the buffers of both sides stay full. (A window probe can make room much later.)"""
    refused = 0
    while refused < 3:
        try:
            sock.send(b"x" * 100_000)
            refused = 0
        except BlockingIOError:
            refused += 1
            face.settle()
            if isinstance(face, RealFace):
                select.select((), (sock,), (), 0.05)  # data on its way may still make room
    return "full"


def _drain(face: Face, sock: Any, _: int) -> str:
    """Read until nothing comes for a while."""
    while True:
        face.settle()
        if isinstance(face, RealFace):
            select.select((sock,), (), (), 0.2)
        try:
            if sock.recv(1 << 20, socket.MSG_PEEK) == b"":
                return "drained"
            sock.recv(1 << 20)
        except BlockingIOError:
            return "drained"


ACTIONS: dict[str, Callable[[Any, Any, int], Any]] = {
    "accept": _accept,
    "events": _events,
    "writable": lambda face, sock, _: bool(face.bits(sock) & OUT),
    "send": lambda face, sock, number: sock.send(b"abcdefghi"[:number]),
    "recv": lambda face, sock, number: sock.recv(number),
    "peek": lambda face, sock, number: sock.recv(number, socket.MSG_PEEK),
    "fin": lambda face, sock, _: sock.shutdown(socket.SHUT_WR),
    "error": lambda face, sock, _: errno.errorcode.get(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), "none"),
    "close": lambda face, sock, _: face.close_door() if sock is face.sockets["door"] else sock.close(),
    "reset": _reset,
    "listen": lambda face, sock, number: sock.listen(number),
    "knock": lambda face, _, number: face.knock(number),
    "peer": lambda face, sock, _: "known" if sock.getpeername() is not None else "",
    "fill": _fill,
    "drain": _drain,
}
LOOKING = {"events", "writable", "recv", "peek", "accept"}  # may be repeated until the answer is as expected


def compare(script: Script, family: str = "inet") -> list[tuple[tuple[Any, ...], Any, Any]]:
    """Run `script` on both, over sockets of `family`. Returns (step, model's answer, kernel's answer) for each step."""
    model, real = ModelFace(family), RealFace(family)
    answers = []
    try:
        for step in script:
            expected = do(model, *step)
            answer = do(real, *step)
            deadline = time.monotonic() + DEADLINE_SECONDS
            while (
                step[1] in LOOKING and answer != expected and _may_change(answer, step) and time.monotonic() < deadline
            ):
                select.select((), (), (), 0.002)
                answer = do(real, *step)
            answers.append((step, expected, answer))
    finally:
        real.close()
    return answers


def _may_change(answer: Any, step: tuple[Any, ...]) -> bool:
    """Whether the answer may only mean that something has not arrived yet."""
    return step[1] in ("events", "writable") or answer == "EAGAIN"

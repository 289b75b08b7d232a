"""Simulated sockets and descriptors, which the server under test uses instead of the kernel's.

A `FakeSocket` has the part of `socket.socket` that the reactor uses, over one end of a simulated connection. It also
does what a kernel may do but seldom does. It refuses with EAGAIN what it reported as ready. It gives or takes one byte
of many. Its `accept` fails for lack of descriptors, or because the newcomer has left.

The kernel gives each new descriptor the lowest free number. So the number of a closed socket comes back at once, and an
event for the old socket can reach the new one. The same happens here. The numbers begin at `FIRST_DESCRIPTOR`, so that
they differ from real ones.

A `Watcher` is told of every call, and can check the laws.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import itertools
import math
import os
import socket
import struct
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ..loop import wakeup
from .network import IN, Door, Endpoint, Network

FIRST_DESCRIPTOR = 1_000  # above the real descriptors of the simulating process
FIRST_OF_PAIRS = 900  # the pairs that wake loops up; these numbers are never given out again
PAIR_ROOM = 2  # bytes
LINGER = struct.Struct("ii")  # struct linger of socket(7)

# How `accept` can fail. After the first kind the newcomer is gone; after the second it still waits.
NEWCOMER_ERRNOS = (errno.ECONNABORTED, errno.EPROTO, errno.EPERM)
WANT_ERRNOS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
CONTROL_ERRNOS = (errno.ENOSPC, errno.ENOMEM)  # of epoll_ctl(2)


class Faults(NamedTuple):
    """The probability of each rare event in a system call, from 0 to 1; and the number of descriptors."""

    again: float = 0.0  # EAGAIN from recv, send or accept on a socket that is ready
    short_receive: float = 0.0  # fewer bytes than there are, often one
    short_send: float = 0.0  # fewer bytes taken than there is room for
    spurious: float = 0.0  # an event for a descriptor that is not ready
    newcomer: float = 0.0  # accept fails because the newcomer has left
    want: float = 0.0  # accept fails for lack of descriptors or memory
    option: float = 0.0  # setsockopt fails
    foreign: float = 0.0  # other code of the program runs inside a call: a `__del__`, a signal handler
    stopped: float = 0.0  # the process is stopped for seconds in its wait or after it (SIGSTOP, a laptop's lid)
    control: float = 0.0  # epoll_ctl fails: the kernel has no room
    descriptors: int = 1000  # how many may be open; after that EMFILE


class Watcher:
    """Is told of system calls, and does nothing. A subclass can check laws (`scripts/proof/books.py`)."""

    def received(self, sock: FakeSocket, data: bytes, peek: bool) -> None:
        """`recv` has returned `data`."""

    def sent(self, sock: FakeSocket, offered: int, count: int) -> None:
        """`send` has taken `count` of the `offered` bytes; 0 for EAGAIN."""

    def never_told(self, count: int) -> None:
        """`send` has taken `count` bytes, but raised, so its caller does not know."""

    def refused(self, sock: FakeSocket) -> None:
        """A call got EAGAIN although the socket was ready."""

    def calls(self, sock: FakeSocket, what: str) -> None:
        """The system call `what` begins."""

    def failed(self, sock: FakeSocket, error: int) -> None:
        """A call has failed with this error number, which may end the connection."""


def _nothing() -> None:
    """The default for `between`: no other threads."""


def _no_strike(sock: FakeSocket | None, sending: bool) -> None:
    """The default for `foreign`: no other code."""


class Descriptors:
    """The table of open descriptors. A new one gets the lowest free number."""

    def __init__(self, network: Network, faults: Faults, watcher: Watcher) -> None:
        self.network = network
        self.faults = faults
        self.watcher = watcher
        self.open: dict[int, Any] = {}  # a FakeSocket, or a PairEnd
        self.pairs: list[PairEnd] = []
        self.between: Callable[[], None] = _nothing  # what other threads do between two steps of the loop
        self.foreign: Callable[[FakeSocket | None, bool], None] = _no_strike  # what other code does inside a call
        self._free: list[int] = []
        self._fresh = itertools.count(FIRST_DESCRIPTOR)
        self._given = 0  # how many of the open ones were given out here
        self.full_until = -math.inf  # until then the kernel has no room to watch more
        self.injected: dict[str, int] = {}  # how many faults of each kind have happened

    def beside(self) -> Descriptors:
        """The table for another loop of the same process: the same numbers, no faults, no watcher."""
        table = Descriptors(self.network, Faults(), Watcher())
        table.open, table.pairs, table._free, table._fresh = self.open, self.pairs, self._free, self._fresh
        return table

    def own(self) -> dict[int, Any]:
        """The open sockets that were made with this table, by number."""
        return {number: sock for number, sock in self.open.items() if sock.table is self}

    def give(self, owner: FakeSocket) -> int:
        """Give `owner` the lowest free number. OSError (EMFILE) if there is none."""
        if self._given >= self.faults.descriptors:
            self.count("EMFILE")
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        number = heapq.heappop(self._free) if self._free else next(self._fresh)
        self.open[number] = owner
        self._given += 1
        return number

    def take_back(self, number: int) -> None:
        """`number` is free again."""
        del self.open[number]
        heapq.heappush(self._free, number)
        self._given -= 1

    def interrupt(self, sock: FakeSocket | None, sending: bool = False) -> None:
        """Sometimes run foreign code inside a call."""
        if self.faults.foreign and self.strikes("foreign", self.faults.foreign):
            self.foreign(sock, sending)

    def refuse_to_watch(self, number: int) -> None:
        """Sometimes raise OSError, as epoll_ctl(2) for descriptor `number`.

        The kernel may stay full for a while, so that a retry at once fails too.
        """
        if not self.faults.control:
            return
        full = self.network.now < self.full_until
        if full:
            self.count("epoll_ctl")
        elif self.strikes("epoll_ctl", self.faults.control):
            self.full_until = self.network.now + (self.network.draw() if self.network.chance(0.3) else 0.0)
        else:
            return
        error = CONTROL_ERRNOS[self.network.pick(0, len(CONTROL_ERRNOS) - 1)]
        self.watcher.failed(self.open[number], error)
        raise OSError(error, os.strerror(error))

    def strikes(self, kind: str, probability: float) -> bool:
        """Whether the fault `kind` happens now. Counts it."""
        if not probability or not self.network.chance(probability):
            return False
        self.count(kind)
        return True

    def count(self, kind: str) -> None:
        """Count a fault of this kind."""
        self.injected[kind] = self.injected.get(kind, 0) + 1


class PairEnd:
    """One end of the pair of sockets that wakes a loop up. It has only the methods that a loop uses.

    It holds few bytes, so that a full pair is common in tests.
    """

    def __init__(self, table: Descriptors, number: int) -> None:
        self.table = table
        self.number = number
        self.peer = self
        self.incoming = bytearray()
        table.open[number] = self

    def fileno(self) -> int:
        """Its number; -1 when it is closed."""
        return self.number

    def events(self) -> int:
        """What epoll would report for it."""
        return IN if self.incoming else 0

    def setblocking(self, flag: bool) -> None:
        """A blocking call would stop the simulation."""
        assert not flag, "the reactor asked for a blocking socket"

    def recv(self, size: int) -> bytes:
        """As recv(2). Other threads may run before and after it."""
        self.table.network.stir()
        self.table.between()
        if not self.incoming:
            raise BlockingIOError(errno.EAGAIN, "nothing to read")
        data = bytes(self.incoming[:size])
        del self.incoming[:size]
        self.table.between()
        return data

    def send(self, data: bytes) -> int:
        """As send(2), from any thread."""
        if self.number < 0 or len(self.peer.incoming) >= PAIR_ROOM:
            raise BlockingIOError(errno.EAGAIN, "no room")
        self.peer.incoming += data
        return len(data)

    def close(self) -> None:
        """As close(2)."""
        if self.number >= 0:
            del self.table.open[self.number]
            self.number = -1


@contextlib.contextmanager
def own_pairs(table: Descriptors) -> Iterator[None]:
    """In this block, new reactors use wake-up pairs of `table` instead of the kernel's."""

    def make_pair() -> tuple[PairEnd, PairEnd]:
        number = FIRST_OF_PAIRS + len(table.pairs)
        one, other = PairEnd(table, number), PairEnd(table, number + 1)
        one.peer, other.peer = other, one
        table.pairs += [one, other]
        return one, other

    module: Any = wakeup
    before = module.socket
    module.socket = types.SimpleNamespace(socketpair=make_pair)
    try:
        yield
    finally:
        module.socket = before


class FakeSocket:
    """A stream socket with only the methods that the reactor uses."""

    def __init__(
        self, table: Descriptors, endpoint: Endpoint | Door | None = None, family: int = socket.AF_INET
    ) -> None:
        self.family = family
        self.table = table
        self.network = table.network
        self.endpoint: Any = endpoint  # a Door if it listens, an Endpoint if it is connected
        self.number = table.give(self)
        self.refused = False  # the last call got a false EAGAIN, so the next one does not
        self.dial: Callable[[FakeSocket, Any], int] | None = None  # makes the answer of `connect_ex`
        self.connecting = False

    def fileno(self) -> int:
        """Its number; -1 when it is closed."""
        return self.number

    def events(self) -> int:
        """What epoll would report for it."""
        if self.endpoint is None or self.connecting:
            return 0
        bits: int = self.endpoint.events()
        return bits

    def setblocking(self, flag: bool) -> None:
        """A blocking call would stop the simulation."""
        assert not flag, "the reactor asked for a blocking socket"

    def recv(self, size: int, flags: int = 0) -> bytes:
        """As recv(2). It knows only the flag MSG_PEEK."""
        peek = bool(flags & socket.MSG_PEEK)
        self.table.watcher.calls(self, "peek" if peek else "recv")
        self.table.interrupt(self)
        faults = self.table.faults
        self._refuse_sometimes()
        if size > 1 and self.table.strikes("short recv", faults.short_receive):
            size = 1 if self.network.chance(0.5) else self.network.pick(1, min(size, 40))
        try:
            data: bytes = self.endpoint.receive(size, peek)
        except BlockingIOError:
            raise
        except OSError as exc:
            self.table.watcher.failed(self, exc.errno or 0)
            raise
        self.table.watcher.received(self, data, peek)
        self.table.interrupt(self)
        return data

    def send(self, data: Any) -> int:
        """As send(2)."""
        watcher, offered = self.table.watcher, len(data)
        watcher.calls(self, "send")
        self.table.interrupt(self, sending=True)
        try:
            self._refuse_sometimes()
            if offered > 1 and self.table.strikes("short send", self.table.faults.short_send):
                data = data[: 1 if self.network.chance(0.5) else self.network.pick(1, offered)]
            count: int = self.endpoint.send(data)
        except BlockingIOError:
            watcher.sent(self, offered, 0)
            raise
        except OSError as exc:
            watcher.failed(self, exc.errno or 0)
            raise
        watcher.sent(self, offered, count)
        try:
            self.table.interrupt(self, sending=True)
        except BaseException:  # SystemExit of foreign code: the caller does not learn the count
            watcher.never_told(count)
            raise
        return count

    def shutdown(self, how: int) -> None:
        """As shutdown(2), for the writing side only."""
        assert how == socket.SHUT_WR
        self.table.watcher.calls(self, "shutdown")
        self.table.interrupt(self)
        try:
            self.endpoint.shut_down()
        except OSError as exc:
            self.table.watcher.failed(self, exc.errno or 0)
            raise

    def close(self) -> None:
        """As close(2)."""
        if self.number < 0:
            return
        self.table.watcher.calls(self, "close")
        if self.endpoint is not None:
            self.endpoint.close()
        self.table.take_back(self.number)
        self.number = -1

    def listen(self, backlog: int) -> None:
        """As listen(2)."""
        self.endpoint.backlog = backlog

    def accept(self) -> tuple[FakeSocket, Any]:
        """As accept(2): the next connection that waits, and its peer's address."""
        self.table.watcher.calls(self, "accept")
        self.table.interrupt(None)
        door, faults = self.endpoint, self.table.faults
        self._refuse_sometimes()
        if not door.waiting:
            raise BlockingIOError(errno.EAGAIN, "nobody waits")
        if self.table.strikes("accept: want", faults.want):
            self._fail(WANT_ERRNOS)
        if self.table.strikes("accept: newcomer", faults.newcomer):
            gone = door.waiting.popleft()
            gone.break_off()
            gone.closed = True
            self._fail(NEWCOMER_ERRNOS)
        newcomer = FakeSocket(self.table, door.waiting[0], self.family)
        door.waiting.popleft()
        self.table.interrupt(None)
        return newcomer, newcomer.endpoint.peer.address

    def connect_ex(self, address: Any) -> int:
        """As connect(2) on a non-blocking socket: an error number."""
        assert self.dial is not None
        return self.dial(self, address)

    def getsockopt(self, level: int, option: int) -> int:
        """As getsockopt(2), for SO_ERROR and SO_ACCEPTCONN."""
        if (level, option) == (socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return int(isinstance(self.endpoint, Door) and self.endpoint.inherited)
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_ERROR)
        self.table.watcher.calls(self, "error")
        error: int = self.endpoint.take_error()
        if error and not self.connecting:
            self.table.watcher.failed(self, error)
        return error

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        """As setsockopt(2). Only SO_LINGER and TCP_NODELAY have an effect."""
        if (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER):
            on, seconds = LINGER.unpack(value)
            self.endpoint.linger_zero = bool(on) and not seconds
        elif level == socket.IPPROTO_TCP and self.family == socket.AF_UNIX:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        elif self.table.strikes("setsockopt", self.table.faults.option):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        elif (level, option) == (socket.IPPROTO_TCP, socket.TCP_NODELAY):
            self.endpoint.no_delay = bool(value)

    def getsockname(self) -> tuple[Any, ...] | str:
        """The address of this end."""
        address: tuple[Any, ...] | str = self.endpoint.address
        return address

    def getpeername(self) -> tuple[Any, ...] | str:
        """The address of the other end. OSError (ENOTCONN) before the connection, or after its end."""
        if self.connecting or self.endpoint.is_over():
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        address: tuple[Any, ...] | str = self.endpoint.peer.address
        return address

    def _refuse_sometimes(self) -> None:
        """Sometimes raise EAGAIN on a ready socket, but never twice in a row, as no kernel refuses for ever."""
        if self.refused:
            self.refused = False
        elif self.table.strikes("EAGAIN", self.table.faults.again):
            self.refused = True
            self.table.watcher.refused(self)
            raise BlockingIOError(errno.EAGAIN, "not now")

    def _fail(self, numbers: tuple[int, ...]) -> None:
        number = numbers[self.network.pick(0, len(numbers) - 1)]
        raise OSError(number, os.strerror(number))

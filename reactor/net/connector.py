"""Opening a connection ourselves, without waiting for it.

`connect` on a blocking socket waits for the peer's answer: a millisecond on a good day, two minutes when nobody
answers. On a non-blocking socket it says "in progress" (EINPROGRESS), the socket becomes writable when the
handshake is over, and SO_ERROR then tells how it went (connect(2)). From there on a connection that we opened
is like one that we accepted, and goes to the dispatcher.

A name can stand for several addresses. They are tried one after the other, within one deadline for all. (Trying
them side by side, as RFC 8305 does, would be kinder to a host with a broken IPv6; it is conceded.)
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator

from ..core.limits import Limits
from ..core.loop import Reactor
from ..core.options import send_at_once
from ..core.poller import WRITABLE
from ..core.protocol import Protocol
from ..core.timers import Handle
from .addresses import Address, Endpoint, parse, resolve, resolve_now

MOST_LOOK_UPS = 64  # threads that may wait for the resolver at once; a resolver that hangs must not collect more
_look_ups = threading.BoundedSemaphore(MOST_LOOK_UPS)


class Connector:
    """One connection in the making; `connect` makes it. `cancel` gives it up."""

    __slots__ = ("_reactor", "_factory", "_on_failure", "_limits", "_endpoints", "socket", "_current", "_timer",
                 "_failure")  # fmt: skip

    def __init__(
        self,
        reactor: Reactor,
        factory: Callable[[], Protocol],
        on_failure: Callable[[OSError], object],
        limits: Limits,
    ) -> None:
        self._reactor = reactor
        self._factory = factory
        self._on_failure = on_failure
        self._limits = limits
        self._endpoints: Iterator[Endpoint] = iter(())
        self.socket: socket.socket | None = None
        self._current: Endpoint | None = None
        self._failure = OSError(errno.EADDRNOTAVAIL, "there is no address to connect to")
        self._timer: Handle | None = reactor.call_later(limits.connect_seconds, self._time_out)
        reactor.at_close.add(self.cancel)

    def cancel(self) -> None:
        """Give up, and say nothing to anyone. Does nothing once the connection is made or has failed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._reactor.at_close.discard(self.cancel)
            self._drop_socket()

    def start(self, endpoints: list[Endpoint]) -> None:
        """Try `endpoints`, one after the other."""
        self._endpoints = iter(endpoints)
        self._try_next()

    def _try_next(self) -> None:
        for endpoint in self._endpoints if self._timer is not None else ():
            self._current = endpoint
            error = self._begin(endpoint)
            if error == 0:
                return
            self._failure = OSError(error, os.strerror(error))
        if self._timer is not None:
            self.fail(self._failure)

    def _begin(self, endpoint: Endpoint) -> int:
        """Start the handshake; 0 when it is under way or done, else the error number."""
        try:
            sock = self._reactor.socket_factory(endpoint.family, socket.SOCK_STREAM)
        except OSError as exc:
            return exc.errno or errno.EMFILE
        sock.setblocking(False)
        try:
            error = sock.connect_ex(endpoint.sockaddr)
        except OSError as exc:  # an address of the wrong form never gets as far as the kernel
            error = exc.errno or errno.EINVAL
        if error not in (0, errno.EINPROGRESS):
            sock.close()
            return error
        self.socket = sock
        # Done at once or not, the socket is writable when it is done: one way on for both.
        self._reactor.poller.register(sock.fileno(), WRITABLE, Connector._answered, self)
        return 0

    def _answered(self, _events: int) -> None:
        sock, endpoint = self.socket, self._current
        assert sock is not None and endpoint is not None
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error == 0 and _connected_to_itself(sock):
            error = errno.ECONNREFUSED
        if error:
            self._failure = OSError(error, os.strerror(error))
            self._drop_socket()
            self._try_next()
            return
        self._reactor.poller.unregister(sock.fileno(), WRITABLE)
        self.socket = None
        self.cancel()
        self._reactor.counters.connected += 1
        send_at_once(sock)
        self._reactor.dispatcher.adopt(sock, endpoint.sockaddr, self._factory, self._limits)

    def _time_out(self) -> None:
        seconds = self._limits.connect_seconds
        self.fail(TimeoutError(errno.ETIMEDOUT, f"no connection within {seconds:g} seconds"))

    def fail(self, exc: OSError) -> None:
        """Give up, and tell why. The caller is told from the loop, never from inside its own call."""
        if self._timer is not None:
            self.cancel()
            self._reactor.call_soon(self._on_failure, exc)

    def _drop_socket(self) -> None:
        if self.socket is not None:
            self._reactor.poller.discard(self.socket, self.socket.fileno(), WRITABLE)
            self.socket = None


def _connected_to_itself(sock: socket.socket) -> bool:
    """Whether the kernel picked the very port that we connect to, and the handshake met itself.

    With nobody listening on a port of the ephemeral range this happens once in some 28,000 tries, by the
    simultaneous open of RFC 9293, 3.5; a client that then talks to itself is an old and puzzling bug.
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    try:
        return bool(sock.getsockname() == sock.getpeername())
    except OSError:
        return False  # gone again already: reading from it will tell


def connect(
    reactor: Reactor,
    factory: Callable[[], Protocol],
    address: str | list[Endpoint],
    on_failure: Callable[[OSError], object],
    limits: Limits | None = None,
) -> Connector:
    """Connect to `address`, and make a protocol by `factory` when that is done.

    `address` is text (`HOST:PORT`, `[V6]:PORT`, `unix:PATH`) or endpoints as `addresses.resolve` gives them. A
    name is looked up on a thread of its own, since getaddrinfo(3) blocks; at most `MOST_LOOK_UPS` are at a time. When
    no connection can be made, or none within `limits.connect_seconds`, `on_failure` is called once with the OSError
    of the last try. Call it on the reactor's thread. ValueError for text that is no address; RuntimeError when the
    reactor is closed.
    """
    reactor.check_open()
    parsed = parse(address) if isinstance(address, str) else None
    if parsed is not None and parsed.fd is not None:
        raise ValueError(f"{address} is a socket to listen on; nothing can be connected to it")
    connector = Connector(reactor, factory, on_failure, limits or reactor.limits)
    if isinstance(address, list):
        connector.start(address)
    elif parsed is not None:
        _start(reactor, connector, parsed)
    return connector


def _start(reactor: Reactor, connector: Connector, address: Address) -> None:
    endpoints = resolve_now(address)
    if endpoints is not None:
        connector.start(endpoints)
    elif _look_ups.acquire(blocking=False):
        threading.Thread(target=_look_up, args=(reactor, connector, address), daemon=True).start()
    else:
        connector.fail(OSError(errno.EAGAIN, f"{MOST_LOOK_UPS} names are being looked up already; try again later"))


def _look_up(reactor: Reactor, connector: Connector, address: Address) -> None:
    try:
        _tell(reactor, connector, address)
    finally:
        _look_ups.release()


def _tell(reactor: Reactor, connector: Connector, address: Address) -> None:
    answer: tuple[Callable[..., object], object]
    try:
        answer = connector.start, resolve(address)
    except OSError as exc:
        answer = connector.fail, exc
    except Exception as exc:  # of the resolver's own making; who waits for it must be told all the same
        answer = connector.fail, OSError(errno.EINVAL, f"cannot look up {address}: {exc!r}")
    with contextlib.suppress(RuntimeError):  # the reactor was closed meanwhile, and the connector with it
        reactor.call_soon_threadsafe(*answer)

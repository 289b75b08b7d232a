"""Opening a connection ourselves, without waiting for it.

`connect` on a blocking socket waits for the peer's answer: a millisecond on a good day, two minutes when no answer
comes. On a non-blocking socket it says "in progress" (EINPROGRESS). The socket becomes writable when the handshake is
over, and SO_ERROR then tells how it went (connect(2)). From there on, a connection that we opened is like one that we
accepted, and goes to the dispatcher.

A name can stand for several addresses, and the first may never answer: its IPv6 is broken, or the machine is off.
Waiting for it would take all the time. So this is Happy Eyeballs (RFC 8305). The families take turns. The next address
is tried a quarter of a second after the last one, or as soon as one fails. The first connection to succeed wins (C1).
One deadline covers all of this, with the look-up of the name. Like every deadline, it is judged by the evidence:
answers that wait are heard first, and the kernel is asked after each attempt.

An `Attempt` is one address and at most one socket. A `Connector` is all attempts of one call. The cost: a server that
answers slowly may see handshakes that we give up.
"""

from __future__ import annotations

import errno
import itertools
import math
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence

from ..connections.limits import Limits
from ..connections.protocol import Protocol, check_program
from ..connections.reactor import Reactor
from ..connections.socket_options import send_at_once
from ..loop.poller import WRITABLE
from ..loop.timers import Handle
from .addresses import Address, Endpoint, check_endpoint, parse, resolve_now
from .lookups import look_up

NEXT_ATTEMPT_SECONDS = 0.25  # RFC 8305, section 5, Connection Attempt Delay
# Each attempt holds a descriptor. When there are so many, the oldest is given up for the next address. So a good one is
# reached after any number of silent ones. The oldest mostly had two seconds, and a second SYN (RFC 6298: after one).
MOST_ATTEMPTS = 8
# A UNIX socket with a full backlog has no handshake to wait for. So it is asked again, after growing pauses (C2).
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.005, 0.1


class Connector:
    """One connection that `connect` is opening. `cancel` gives it up."""

    __slots__ = ("_reactor", "_factory", "_on_failure", "_limits", "_endpoints", "attempts", "_deadline", "_next",
                 "_failure", "_looking_up", "_begun_at", "_begun_in")  # fmt: skip

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
        self._endpoints: deque[Endpoint] = deque()  # those not tried yet
        self.attempts: list[Attempt] = []  # those under way, the oldest first
        self._next: Handle | None = None  # the call that tries the next one, or that tells the failure
        self._failure: OSError | None = None  # why the last attempt failed
        self._looking_up = True  # until there are endpoints, or a late answer has had its turn
        # When the last attempt began, and in which iteration: on a coarse clock, two times may be equal.
        self._begun_at, self._begun_in = -math.inf, -1
        # None when all is over: the connection was made, has failed or was cancelled.
        self._deadline: Handle | None = reactor.call_later(limits.connect_seconds, self._time_out)
        reactor.at_close.add(self.cancel)

    def cancel(self) -> None:
        """Give up, and call no callback. Does nothing once the connection is made or its failure was told."""
        self._call_off_next()
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
            self._reactor.at_close.discard(self.cancel)
            self._endpoints.clear()
            while self.attempts:
                self.attempts.pop().give_up()

    def start(self, endpoints: Sequence[Endpoint]) -> None:
        """Try `endpoints`. The families take turns, whatever the order given (RFC 8305, section 4)."""
        self._looking_up = False
        if self._deadline is not None:
            self._endpoints.extend(interleaved(endpoints))
            self._try_next()

    def _try_next(self) -> None:
        self._call_off_next()
        if not self._endpoints:
            if not self.attempts:
                self.fail(self._failure or OSError(errno.EADDRNOTAVAIL, "there is no address to connect to"))
            return
        if len(self.attempts) >= MOST_ATTEMPTS:
            self.attempts.pop(0).give_up()
        attempt = Attempt(self._reactor, self, self._endpoints.popleft())
        self.attempts.append(attempt)
        attempt.begin()
        if attempt in self.attempts and self._endpoints:
            self._next = self._reactor.call_later(NEXT_ATTEMPT_SECONDS, self._try_next)

    def _call_off_next(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def note_begin(self) -> None:
        """Note that an attempt begins: the kernel must be asked for its answer before the deadline is judged."""
        self._begun_at, self._begun_in = self._reactor.time(), self._reactor.counters.iterations

    def note(self, failure: OSError) -> None:
        """Remember the failure to tell if no attempt succeeds."""
        self._failure = failure

    def attempt_failed(self, attempt: Attempt, failure: OSError) -> None:
        """Try the next address without a pause, but in a turn of its own: thousands may fail at once."""
        self.note(failure)
        if attempt in self.attempts:
            self.attempts.remove(attempt)
            self._call_off_next()
            self._next = self._reactor.call_soon(self._try_next)

    def attempt_won(self, attempt: Attempt, sock: socket.socket) -> None:
        """Hand on `sock`, the first socket that is connected, and give up all other attempts."""
        self.cancel()
        self._reactor.counters.connected += 1
        send_at_once(sock)
        self._reactor.dispatcher.adopt(sock, attempt.endpoint.sockaddr, self._factory, self._limits)

    def _time_out(self) -> None:
        if self._is_open():
            self._deadline = self._reactor.call_at(self._begun_at, self._time_out)  # a past time: the next iteration
            return
        text = f"no connection within {self._limits.connect_seconds:g} seconds"
        if self._failure is not None:
            text += f"; the last failure was: {self._failure.strerror}"
        self.fail(TimeoutError(errno.ETIMEDOUT, text))

    def _is_open(self) -> bool:
        """Whether one more iteration may decide it: the loop was away, and comes to the deadline late (P2).

        The answer of a look-up, or the next attempt after a failure, may wait in the loop's queue. If an attempt began
        after the kernel was last asked, its answer cannot be known yet. Each of these gets one more iteration.
        """
        looking_up, self._looking_up = self._looking_up, False
        at_once = self._next is not None and self._next.when == -math.inf
        reactor = self._reactor
        unasked = self._begun_in == reactor.counters.iterations or self._begun_at > reactor.timers.asked_at
        return looking_up or at_once or unasked

    def fail(self, exc: OSError) -> None:
        """Give up, and tell why. The loop calls `on_failure` later, never inside the call of `connect`."""
        if self._deadline is not None:
            self.cancel()
            self._next = self._reactor.call_soon(self._on_failure, exc)


class Attempt:
    """One address that is tried. It has a socket during the handshake, or a timer while it waits to try again."""

    __slots__ = ("_reactor", "_connector", "endpoint", "socket", "_pause_seconds", "_retry")

    def __init__(self, reactor: Reactor, connector: Connector, endpoint: Endpoint) -> None:
        self._reactor = reactor
        self._connector = connector
        self.endpoint = endpoint
        self.socket: socket.socket | None = None  # the poller watches it, so a fork's child can find and close it
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._retry: Handle | None = None

    def begin(self) -> None:
        """Start the handshake. If that fails, tell the connector."""
        self._retry = None
        self._connector.note_begin()
        poller, family = self._reactor.poller, self.endpoint.family
        sock: socket.socket | None = None
        try:
            sock = self._reactor.socket_factory(family, socket.SOCK_STREAM)
            sock.setblocking(False)
            error = sock.connect_ex(self.endpoint.sockaddr)
            if error not in (0, errno.EINPROGRESS):
                raise OSError(error, os.strerror(error))
            self.socket = sock
            # The socket becomes writable when the handshake is done, even if that was at once: one way for both.
            poller.register(sock.fileno(), WRITABLE, Attempt._answered, self)
        except BaseException as exc:
            self.socket = None
            if sock is not None:
                poller.discard(sock, sock.fileno(), 0)  # 0: if anything failed, the kernel does not watch it
            if not isinstance(exc, Exception):
                raise
            self._failed(as_os_error(exc, self.endpoint))
        if self not in self._connector.attempts:  # the socket factory, which is foreign code, gave it up
            self.give_up()

    def give_up(self) -> None:
        """Close the socket and cancel the next try. May be called at any moment, any number of times."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self.socket is not None:
            sock, self.socket = self.socket, None
            self._reactor.poller.discard(sock, sock.fileno(), WRITABLE)

    def _failed(self, failure: OSError) -> None:
        if failure.errno == errno.EAGAIN and self.endpoint.family == getattr(socket, "AF_UNIX", None):
            self._connector.note(failure)
            self._retry = self._reactor.call_later(self._pause_seconds, self.begin)
            self._pause_seconds = min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS)
        else:
            self._connector.attempt_failed(self, failure)

    def _answered(self, _events: int) -> None:
        sock = self.socket
        assert sock is not None
        try:
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        except OSError as exc:  # other code has closed our descriptor
            error = exc.errno or errno.EBADF
        if error == 0 and _connected_to_itself(sock):
            error = errno.ECONNREFUSED
        if error:
            self.give_up()
            self._failed(OSError(error, os.strerror(error)))
            return
        self._reactor.poller.unregister(sock.fileno(), WRITABLE)
        self.socket = None
        self._connector.attempt_won(self, sock)


def interleaved(endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    """`endpoints`, with the families in turn. The family of the first comes first, and each keeps its order."""
    families: dict[int, list[Endpoint]] = {}
    for endpoint in endpoints:
        families.setdefault(endpoint.family, []).append(endpoint)
    turns = itertools.zip_longest(*families.values())
    return [endpoint for turn in turns for endpoint in turn if endpoint is not None]


def as_os_error(exc: Exception, endpoint: Endpoint) -> OSError:
    """`exc` as an OSError for `on_failure`: when Python refuses the form of an address, `exc` is another kind."""
    if isinstance(exc, OSError) and exc.errno:
        return exc.with_traceback(None)  # a traceback would keep the socket alive
    try:
        text = f"cannot connect to {endpoint.sockaddr!r}: {str(exc) or type(exc).__name__}"
    except Exception:  # the socket factory raised it, and its `__str__` raises
        text = f"cannot connect: {type(exc).__name__}"
    return OSError(errno.ENOMEM if isinstance(exc, MemoryError) else errno.EINVAL, text)


def _connected_to_itself(sock: socket.socket) -> bool:
    """Whether the kernel gave us the very port that we connect to, so that the socket connected to itself.

    This is the simultaneous open of RFC 9293, 3.5. If no server listens on a port of the ephemeral range, it happens
    once in some 28,000 tries. A client that then talks to itself is an old and puzzling bug.
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    try:
        return bool(sock.getsockname() == sock.getpeername())
    except OSError:
        return False  # the connection is gone already: reading will show that


def connect(
    reactor: Reactor,
    factory: Callable[[], Protocol],
    address: str | Sequence[Endpoint],
    on_failure: Callable[[OSError], object],
    limits: Limits | None = None,
) -> Connector:
    """Connect to `address`, and then make a protocol by `factory`.

    `address` is text (`HOST:PORT`, `[V6]:PORT`, `unix:PATH`) or a list of endpoints, as `addresses.resolve` returns.
    A name is looked up on a thread of its own, because getaddrinfo(3) blocks. At most `lookups.MOST_LOOK_UPS` look-ups
    run at once. If there are several addresses, the first that answers is taken (RFC 8305). If no connection can be
    made, or none within `limits.connect_seconds`, `on_failure` is called once: with the OSError of the last try, or
    with a TimeoutError. `cancel()` of what it returns gives up, and calls no callback. Call `connect` on the reactor's
    thread.

    ValueError for text that is no address, for an endpoint with a bad port or with a name instead of a number, and for
    an empty list. TypeError for an `address` of another kind, and for a `factory` or `on_failure` that cannot be
    called, or a factory with a mistake that can be seen (`protocol.mistake_in`). RuntimeError when the reactor is
    closed. After an exception, no callback is called.
    """
    reactor.check_caller()
    for name, value in (("factory", factory), ("on_failure", on_failure)):
        if not callable(value):
            raise TypeError(f"{name} must be something that can be called, not {value!r}")
    check_program(factory)
    endpoints = _endpoints(address)
    connector = Connector(reactor, factory, on_failure, limits or reactor.limits)
    try:
        if isinstance(endpoints, Address):
            look_up(reactor, endpoints, connector.start, connector.fail)
        else:
            connector.start(endpoints)
    except BaseException:  # SystemExit of the socket factory, or Ctrl-C
        connector.cancel()
        raise
    return connector


def _endpoints(address: str | Sequence[Endpoint]) -> Sequence[Endpoint] | Address:
    """The endpoints that `address` stands for; if its host is a name, the `Address` to look up."""
    if isinstance(address, str):
        parsed = parse(address)
        return resolve_now(parsed) or parsed
    if not isinstance(address, (list, tuple)):
        raise TypeError(f"address must be text or a list of Endpoints, not {address!r}")
    if not address:
        raise ValueError("there is no address to connect to: the list of endpoints is empty")
    for endpoint in address:
        check_endpoint(endpoint)
    return address

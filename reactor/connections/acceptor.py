"""Taking connections in: the system calls on listening sockets.

`accept` looks harmless, but it is where servers stand still:

- With one accept in each turn, the queue overflows. Without a bound, a storm of newcomers keeps the connected clients
  waiting.
- An error of the first connection in the queue looks like an error of the listening socket, and the other way round.
- When descriptors run out, the socket stays readable, and a level-triggered loop repeats the failure at full speed.

The kernel completes handshakes by itself, and queues the connections that are not accepted yet. When this queue is full
(`backlog` in `Limits`), the kernel drops a handshake, and the client tries again a second later.

So there is a budget for each turn. Errors are told apart by their numbers. And a listener that cannot accept *rests*:
it is not watched. Without a descriptor, it rests until one is free or a short time has passed (A1, A2). Without a place
for one more connection, it rests until a connection ends (A5). A warning says so, at most once a second.

A `Listener` is the state of a listening socket. The `Acceptor` makes its system calls, as the `Dispatcher` does for a
`Connection`.
"""

from __future__ import annotations

import errno
import logging
import math
import socket
from collections.abc import Callable
from typing import Any

from ..loop.poller import READABLE
from ..loop.reports import report
from ..loop.timers import Handle
from .access_log import log_refused
from .budgets import host_of
from .dispatcher import Dispatcher
from .limits import Limits
from .protocol import Protocol
from .sockaddr import describe
from .socket_options import is_listening, send_at_once
from .states import CloseReason

logger = logging.getLogger("reactor.connections")

# With these errors `accept` reports the failure of one waiting connection, not its own (accept(2), "Error handling").
# Any other error means that descriptors (of the process or of the system) or memory have run out for a while.
ACCEPT_SKIP_ERRNOS = frozenset(
    getattr(errno, name)
    for name in "ECONNABORTED EPROTO EPERM ENETDOWN ENOPROTOOPT EHOSTDOWN ENONET EHOSTUNREACH EOPNOTSUPP"
    " ENETUNREACH ETIMEDOUT".split()
    if hasattr(errno, name)
)
REST_SECONDS = 0.05  # how long a listener rests: newcomers wait at most this long for a descriptor that is free (A1)
LOG_SECONDS = 1.0  # at most one log line about each subject in this time, whatever newcomers do (A1)


class Listener:
    """The state of one listening socket. The `Acceptor` makes its system calls."""

    __slots__ = ("socket", "fd", "factory", "limits", "interest", "resting", "closed", "inherited")

    def __init__(
        self, sock: socket.socket, factory: Callable[[], Protocol], limits: Limits, inherited: bool = False
    ) -> None:
        self.socket = sock
        self.fd = sock.fileno()
        self.factory = factory  # makes one protocol for each connection
        self.limits = limits
        self.interest = 0  # what the kernel was last asked to watch
        self.resting = False  # no place, descriptor or memory is left: not watched for a while
        self.closed = False
        self.inherited = inherited  # it listened before we got it: what waited then lacks our socket options

    @property
    def address(self) -> Any:
        """The address that it listens on, in the form of the `socket` module. Never port 0, but the real one."""
        return self.socket.getsockname()

    def wanted_interest(self) -> int:
        """What the kernel should watch: a function of this state and nothing else (law 1)."""
        return 0 if self.resting or self.closed else READABLE

    def __repr__(self) -> str:
        return f"<Listener {self.fd} {'closed' if self.closed else self.address}>"


class Acceptor:
    """Accepts for all listeners of one reactor, and hands what comes in to its dispatcher."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._poller = dispatcher.poller
        self._timers = dispatcher.timers
        self._counters = dispatcher.counters
        self.ready = 1  # how many descriptors are ready in this batch, the listener's among them
        self._resting: list[Listener] = []  # for want of a descriptor or of memory
        self._full: list[Listener] = []  # for want of a place
        self._waking: Handle | None = None  # the timer after which they try again
        self._logged_at: dict[tuple[str, int], float] = {}  # by subject, when it was logged last

    def listen(self, sock: socket.socket, factory: Callable[[], Protocol], limits: Limits) -> Listener:
        """Accept connections from the bound stream socket `sock`, from the next iteration on.

        OSError if the kernel refuses; the caller then still owns `sock`.
        """
        sock.setblocking(False)
        listener = Listener(sock, factory, limits, is_listening(sock))
        send_at_once(sock)
        sock.listen(limits.backlog)
        listener.interest = listener.wanted_interest()
        self._poller.register(listener.fd, listener.interest, self.accept, listener)
        return listener

    def stop_listening(self, listener: Listener) -> None:
        """Accept no more, and close the socket. The kernel resets the connections in its queue (A6)."""
        if not listener.closed:
            listener.closed = True
            self._watch(listener)
            self._poller.discard(listener.socket, listener.fd, 0)

    def accept(self, listener: Listener, _events: int) -> None:
        """Accept the connections in the listener's queue, up to its budget.

        Without a budget, a storm of newcomers would starve the connected clients (A4). With a budget of one, many
        connected clients would starve the newcomers, and the queue would overflow. An accept costs two or three times
        as much as an echo. So newcomers get as many turns as descriptors are ready in this batch, and at most
        `accepts_per_iteration`.
        """
        limits, turns = listener.limits, self.ready
        for tried in range(limits.accepts_per_iteration):
            if listener.closed or not turns:
                return
            if limits.when_full == "queue" and self._dispatcher.admission.is_full(limits):
                if not tried:  # the event says that a newcomer waits
                    self._note_full(listener, f"newcomers wait in the queue of {describe(listener.address)}")
                    self._stop_watching(listener, self._full)  # until a connection ends: only that gives a place (A5)
                return
            try:
                sock, peername = listener.socket.accept()
            except BlockingIOError:
                return
            except (OSError, MemoryError) as exc:
                self._counters.accept_errors += 1
                if isinstance(exc, OSError) and exc.errno in ACCEPT_SKIP_ERRNOS:
                    continue  # that connection is gone; the next may be there (A3)
                self._log_accept_error(listener, exc)
                self._rest(listener)
                return
            turns -= 1
            self._counters.accepted += 1
            self._admit(sock, peername, listener)

    def _admit(self, sock: socket.socket, peername: Any, listener: Listener) -> None:
        host = host_of(peername, listener.limits.ipv6_peer_prefix_bits)
        if self._dispatcher.admission.enter(host, listener.limits):
            if listener.inherited:
                send_at_once(sock)
            self._dispatcher.adopt(sock, peername, listener.factory, listener.limits, host)
            return
        counters, limits = self._counters, listener.limits
        counters.closed[CloseReason.REFUSED] += 1
        if self._dispatcher.admission.is_full(limits):
            limit = "max_connections"
            self._note_full(listener, "newcomers are refused")
        else:
            limit = "max_connections_per_peer"
            text = "%s has all its places (%s %d): more are refused"
            self._log((limit, listener.fd), text, host, limit, limits.max_connections_per_peer)
        log_refused(counters.accepted + counters.connected, peername, sock, limit)
        sock.close()  # no `reset_on_close`: a peer would take a reset for a broken network

    def _note_full(self, listener: Listener, what: str) -> None:
        """A newcomer came while all places are taken: count it, and say what becomes of newcomers."""
        self._counters.times_full += 1
        self._counters.full = True
        limit = "max_connections"
        text = "all places are taken (%s %d): %s"
        self._log((limit, listener.fd), text, limit, listener.limits.max_connections, what)

    def _log(self, subject: tuple[str, int], text: str, *args: object) -> None:
        """Log a warning, at most one about `subject` in `LOG_SECONDS`."""
        if self._timers.now - self._logged_at.get(subject, -math.inf) >= LOG_SECONDS:
            self._logged_at[subject] = self._timers.now
            report(logger, logging.WARNING, text, *args)

    def _rest(self, listener: Listener) -> None:
        """Stop watching a listener that cannot accept. It tries again soon, or when a connection has ended.

        Some servers keep a spare descriptor: they close it, accept with its number, close the new connection, and open
        the spare again. This empties the queue. But it turns away peers that could be served a moment later, and
        another thread may take the number first. So this server waits (A1, A2).
        """
        if self._waking is None:
            self._waking = self._timers.call_at(self._timers.now + REST_SECONDS, self._rested)
        self._stop_watching(listener, self._resting)

    def _stop_watching(self, listener: Listener, rests_in: list[Listener]) -> None:
        """Do not watch a listener that cannot accept, until it is woken."""
        listener.resting = True
        rests_in.append(listener)
        self._watch(listener)

    def _log_accept_error(self, listener: Listener, exc: Exception) -> None:
        self._log(("accept", 0), "cannot accept on %s, will try again: %s", describe(listener.address), exc)

    def _rested(self) -> None:
        self._waking = None
        resting, self._resting = self._resting, []
        self._wake(resting)

    def wake_resting(self) -> None:
        """Let the resting listeners try again: a connection has ended, so a descriptor is free, and perhaps a place."""
        resting, self._resting = self._resting, []
        full, is_full = self._full, self._dispatcher.admission.is_full
        # Still without a place, if what has ended is a connection that we opened.
        self._full = [listener for listener in full if not listener.closed and is_full(listener.limits)]
        self._counters.full = bool(self._full)
        self._wake([*resting, *(listener for listener in full if listener not in self._full)])

    def _wake(self, listeners: list[Listener]) -> None:
        """Watch `listeners` again. They are off their list: one that the kernel refuses to watch rests again (A9)."""
        for listener in listeners:
            listener.resting = False
            if not listener.closed:
                self._watch(listener)

    def _watch(self, listener: Listener) -> None:
        wanted = listener.wanted_interest()
        if wanted != listener.interest:
            try:
                self._poller.modify(listener.fd, listener.interest, wanted)
            except OSError as exc:  # the kernel has no room to watch it now
                self._log_accept_error(listener, exc)
                self._rest(listener)
                return
            listener.interest = wanted

    def listeners(self) -> list[Listener]:
        """All listeners that are open."""
        return [source for _, source in self._poller.handlers.values() if isinstance(source, Listener)]

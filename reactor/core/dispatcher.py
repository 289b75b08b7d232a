"""The life of a connection, from accept to close: every system call on a stream socket is in this file.

Read from top to bottom it goes as a connection does:

    accept  ->  adopt  ->  receive  ->  settle (send, shut down, change of interest)  ->  reap

A non-blocking socket answers every call in one of four ways, and each call below deals with all four:

- it is done: with `recv` and `send` perhaps only a part of it;
- EAGAIN: not now. Nothing is wrong, the kernel will say when (EINTR never gets here: PEP 475);
- end of file: the peer has sent its last byte. It may still be listening;
- an error: this connection is over. That is never a reason to disturb another one.

Nothing is closed where it breaks. What ends is moved to the state CLOSED, is taken off the kernel's list, and is
closed in the loop's last phase, `reap`. Until then its descriptor is not free, so no connection accepted in this
batch can get the same number and with it an event that was meant for another (E7).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

from .connection import Connection
from .counters import Counters
from .limits import Limits
from .listener import Listener
from .poller import BROKEN, PEER_FIN, READABLE, WRITABLE, SelectorPoller
from .protocol import Protocol
from .states import (
    CLOSED,
    CLOSING,
    FLUSHING,
    HALF_CLOSED_LOCAL,
    HALF_CLOSED_REMOTE,
    LINGERING,
    LOST,
    OPEN,
    CloseReason,
    set_state,
)
from .timers import Timers

logger = logging.getLogger("reactor.core")

# What `accept` reports of one waiting connection, not of itself (accept(2), "Error handling"). Anything else is
# want of something that comes back: descriptors, of the process or of the system, or memory.
ACCEPT_SKIP_ERRNOS = frozenset(
    getattr(errno, name)
    for name in "ECONNABORTED EPROTO EPERM ENETDOWN ENOPROTOOPT EHOSTDOWN ENONET EHOSTUNREACH EOPNOTSUPP"
    " ENETUNREACH ETIMEDOUT".split()
    if hasattr(errno, name)
)
REST_SECONDS = 0.05  # how long a listener rests: newcomers wait at most this for a descriptor that came free (A1)
ACCEPT_LOG_SECONDS = 1.0  # at most one line in so long, however often `accept` fails (A1)

RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger {on, 0 seconds}: close(2) sends a RST


class Dispatcher:
    """Makes the system calls for all connections of one reactor."""

    def __init__(self, poller: SelectorPoller, timers: Timers, counters: Counters, limits: Limits) -> None:
        self.poller = poller
        self.timers = timers
        self.counters = counters
        self.limits = limits
        self.attention: deque[Connection] = deque()  # touched outside their own callback: to be settled
        self.doomed: deque[Connection] = deque()  # CLOSED: to be reaped
        self._resting: list[Listener] = []
        self._accept_logged = -ACCEPT_LOG_SECONDS

    # Coming in.

    def listen(self, sock: socket.socket, factory: Callable[[], Protocol], limits: Limits) -> Listener:
        """Accept connections from the bound stream socket `sock`, from the next iteration on."""
        sock.setblocking(False)
        sock.listen(limits.backlog)
        listener = Listener(sock, factory, limits)
        self.poller.register(listener.fd, 0, self.accept, listener)
        self._watch(listener)
        return listener

    def stop_listening(self, listener: Listener) -> None:
        """Accept no more, and close the socket. The kernel resets whoever was waiting in its queue (A6)."""
        if not listener.closed:
            listener.closed = True
            self._watch(listener)
            self.poller.unregister(listener.fd, 0)
            listener.socket.close()

    def accept(self, listener: Listener, _events: int) -> None:
        """Take what waits in the listener's queue, up to its budget.

        Without a budget a storm of newcomers would starve everyone inside (A4); with a budget of one, the queue
        would overflow while the loop goes round.
        """
        for _ in range(listener.limits.accepts_per_iteration):
            if listener.closed:
                return
            try:
                sock, peername = listener.socket.accept()
            except BlockingIOError:
                return
            except OSError as exc:
                self.counters.accept_errors += 1
                if exc.errno in ACCEPT_SKIP_ERRNOS:
                    continue  # A3: that one is gone; the next may be there
                self._rest(listener, exc)
                return
            self.counters.accepted += 1
            self.adopt(sock, peername, listener.factory, listener.limits)

    def _rest(self, listener: Listener, exc: OSError) -> None:
        """Stop watching a listener that cannot accept; it tries again soon, or when a descriptor comes free.

        Some servers keep a spare descriptor: they give it up, accept with it, close at once, and take it
        again. That empties the queue, but by turning away peers that a moment's patience would have served,
        and it races with every other thread for the spare. Waiting is the honest answer (A1, A2).
        """
        if self.timers.now - self._accept_logged >= ACCEPT_LOG_SECONDS:
            self._accept_logged = self.timers.now
            logger.warning("cannot accept on %s, will try again: %s", listener, exc)
        if not self._resting:
            self.timers.call_at(self.timers.now + REST_SECONDS, self._wake_listeners)
        listener.resting = True
        self._resting.append(listener)
        self._watch(listener)

    def _wake_listeners(self) -> None:
        while self._resting:
            listener = self._resting.pop()
            listener.resting = False
            if not listener.closed:
                self._watch(listener)

    def _watch(self, listener: Listener) -> None:
        wanted = listener.wanted_interest()
        if wanted != listener.interest:
            self.poller.modify(listener.fd, listener.interest, wanted)
            listener.interest = wanted

    def adopt(
        self, sock: socket.socket, peername: Any, factory: Callable[[], Protocol], limits: Limits
    ) -> Connection:
        """Make a `Connection` of a connected stream socket, and a protocol for it by calling `factory`.

        The caller has counted it, as accepted or connected.
        """
        _prepare(sock)
        connection = Connection(sock, peername, limits, self.attention, self.counters)
        self.poller.register(connection.fd, 0, self.dispatch, connection)
        connection.attended = True
        try:
            self._introduce(connection, factory)
        finally:
            self.settle(connection)
        return connection

    def _introduce(self, connection: Connection, factory: Callable[[], Protocol]) -> None:
        try:
            connection.protocol = factory()
        except Exception as exc:
            connection.fail("the protocol factory", exc)
            return
        set_state(connection, OPEN)
        try:
            connection.protocol.connection_made(connection)
        except Exception as exc:
            connection.fail("connection_made", exc)

    # Reading.

    def dispatch(self, connection: Connection, events: int) -> None:
        """Something happened at a connection: read, tell its protocol, and settle what came of it."""
        connection.attended = True  # what its own callbacks ask for is settled below, without the queue
        try:
            if not connection.interest & READABLE:
                if events & (BROKEN | PEER_FIN):
                    self._look_at_end(connection, events)
            elif events != WRITABLE:
                self.receive(connection)
        finally:  # even when a callback raises SystemExit: whoever runs the loop again finds all in order
            self.settle(connection)

    def receive(self, connection: Connection) -> None:
        """Read once and pass it on. Once: a firehose must not starve the others (R1), and it comes again."""
        state = connection.state
        if state.delivers:
            if connection.reading_paused:
                return
        elif not state.discards:
            return  # ended, or half-closed, by somebody else earlier in this batch
        try:
            data = connection.socket.recv(self.limits.receive_bytes)
        except BlockingIOError:
            return  # a spurious event: the kernel changed its mind, select(2) allows it
        except OSError as exc:
            connection.end(CloseReason.RESET, exc)
            return
        if not data:
            self._receive_eof(connection)
        elif state.delivers:
            self.counters.receives += 1
            self.counters.bytes_received += len(data)
            try:
                connection.protocol.data_received(data)
            except Exception as exc:
                connection.fail("data_received", exc)

    def _receive_eof(self, connection: Connection) -> None:
        """The peer's FIN: it will say no more, but until we have finished too it may still listen (E1)."""
        state = connection.state
        if state is LINGERING:
            connection.end(connection.close_reason or CloseReason.CLOSED, None)
            return
        if state is CLOSING:
            set_state(connection, FLUSHING)
            return
        connection.close_reason = CloseReason.PEER_CLOSED
        set_state(connection, HALF_CLOSED_REMOTE if state is OPEN else FLUSHING)
        try:
            keep_open = connection.protocol.eof_received()
        except Exception as exc:
            connection.fail("eof_received", exc)
        else:
            if not keep_open:
                connection.close()

    def _look_at_end(self, connection: Connection, events: int) -> None:
        """A peer that leaves while nobody wants its data (R5, E5): a reset ends it, a FIN need not."""
        sock = connection.socket
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if events & BROKEN else 0
        if error:
            connection.end(CloseReason.RESET, OSError(error, os.strerror(error)))
            return
        connection.known |= events & (BROKEN | PEER_FIN)
        try:
            if connection.state.delivers and not sock.recv(1, socket.MSG_PEEK):
                self._receive_eof(connection)  # nothing is unread, so there is no data to tell first
        except BlockingIOError:
            pass
        except OSError as exc:
            connection.end(CloseReason.RESET, exc)

    # Writing, and ending.

    def settle(self, connection: Connection) -> None:
        """Bring the kernel into line with the connection: send, take the steps that follow, watch."""
        emptied = True
        if (connection.unsent or connection.backlog is not None) and connection.state is not CLOSED:
            emptied = self.send(connection)
            if connection.writing_paused:
                self._check_low_mark(connection)
        if connection.state is not OPEN:
            self._advance(connection)
        if emptied and connection.has_output():
            # `resume_writing` has written more. It gets its turn after the others, not at once: a program that
            # always has more to say, to a peer that reads as fast, would starve everyone (W7).
            connection.attended = True
            self.attention.append(connection)
            return
        connection.attended = False
        wanted = connection.wanted_interest()
        if wanted != connection.interest:
            self.poller.modify(connection.fd, connection.interest, wanted)
            connection.interest = wanted

    def send(self, connection: Connection) -> bool:
        """Send what waits, within the budget; whether that was all of it."""
        budget = self.limits.send_bytes
        while budget > 0:
            backlog = connection.backlog
            data = connection.unsent if backlog is None else backlog.head()
            try:
                count = connection.socket.send(data)
            except BlockingIOError:
                count = 0
            except OSError as exc:
                connection.end(CloseReason.RESET, exc)
                return False
            self.counters.sends += 1
            self.counters.bytes_sent += count
            offered = len(data)
            del data  # a view of a block keeps it from growing
            if connection.sent(count):
                return True
            if count < offered:
                return False  # the kernel is full, and will say when it is not
            budget -= count
        return False

    def _check_low_mark(self, connection: Connection) -> None:
        if connection.get_write_buffer_size() <= connection.low_bytes and connection.state is not CLOSED:
            connection.writing_paused = False
            try:
                connection.protocol.resume_writing()
            except Exception as exc:
                connection.fail("resume_writing", exc)

    def _advance(self, connection: Connection) -> None:
        """Take the steps towards the end that are due when nothing is left to be sent."""
        if not connection.has_output():
            if connection.state in (HALF_CLOSED_LOCAL, CLOSING):
                self._send_fin(connection)
            if connection.state is CLOSING:
                self._linger(connection)
            elif connection.state is FLUSHING:
                connection.end(connection.close_reason or CloseReason.CLOSED, None)
        if connection.state is CLOSED and connection.fd >= 0:
            self._retire(connection)

    def _send_fin(self, connection: Connection) -> None:
        if connection.fin_sent:
            return
        connection.fin_sent = True
        try:
            connection.socket.shutdown(socket.SHUT_WR)
        except OSError as exc:
            connection.end(CloseReason.RESET, exc)

    def _linger(self, connection: Connection) -> None:
        """Wait for the peer's FIN before closing.

        If data is unread when a socket is closed, or arrives after that, the kernel answers with a reset; and
        a reset makes the peer's kernel throw away what the peer had not read yet: the end of our reply
        (RFC 1122, 4.2.2.13; RFC 9112, 9.6). So input is read and discarded until the peer has seen our FIN
        and sent its own (E3), or for `linger_seconds`.
        """
        set_state(connection, LINGERING)
        deadline = self.timers.now + connection.limits.linger_seconds
        connection.timer = self.timers.call_at(deadline, connection.end, CloseReason.LINGER_TIMEOUT, None)

    def _retire(self, connection: Connection) -> None:
        """It is over. Off the kernel's list at once, so that nothing stale can reach it; the rest in `reap`."""
        self.poller.unregister(connection.fd, connection.interest)
        connection.fd, connection.interest = -1, 0
        if connection.timer is not None:
            connection.timer.cancel()
            connection.timer = None
        if connection.has_output() or connection.close_reason in (CloseReason.ABORTED, CloseReason.HANDLER_ERROR):
            # The peer must not take what it has for the whole. A plain close would end the stream with a FIN.
            with contextlib.suppress(OSError):
                connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            connection.drop_output()
        self.doomed.append(connection)

    def flush(self) -> None:
        """Settle the connections that were touched by others: another's callback, a timer, `call_soon`.

        A snapshot: what is touched meanwhile has its turn in the next iteration.
        """
        for _ in range(len(self.attention)):
            self.settle(self.attention.popleft())

    def reap(self) -> None:
        """Close the sockets of what has ended and tell their protocols, last of all.

        It is the one place where descriptors are closed, and it runs when no protocol is in the middle of
        a call and no event of this batch is left to be dispatched (E6, E7).
        """
        for _ in range(len(self.doomed)):
            connection = self.doomed.popleft()
            try:
                if connection.protocol is not None:
                    connection.protocol.connection_lost(connection.error)
            except Exception:
                self.counters.callback_errors += 1
                logger.exception("connection_lost raised in %s", connection)
            finally:
                self._bury(connection)

    def _bury(self, connection: Connection) -> None:
        set_state(connection, LOST)
        reason = connection.close_reason
        assert reason is not None, "a connection ended without a reason"
        self.counters.closed[reason] += 1
        connection.socket.close()
        logger.debug("%s: %s", connection, reason.value)
        if self._resting:
            self._wake_listeners()  # a descriptor has come free (A1)

    def connections(self) -> list[Connection]:
        """All that are registered: everything but what has ended and waits for `reap`."""
        return [source for _, source in self.poller.handlers.values() if isinstance(source, Connection)]

    def listeners(self) -> list[Listener]:
        """All that are open."""
        return [source for _, source in self.poller.handlers.values() if isinstance(source, Listener)]


def _prepare(sock: socket.socket) -> None:
    sock.setblocking(False)
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        # Nagle's algorithm holds a small segment back while an earlier one is unacknowledged, and the peer delays
        # its acknowledgement by up to 40 ms: together they stall every second small reply. We gather the writes
        # of a callback ourselves, so there is nothing left for Nagle to gain (RFC 1122, 4.2.3.4).
        with contextlib.suppress(OSError):  # some systems refuse options of a socket whose peer has left
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

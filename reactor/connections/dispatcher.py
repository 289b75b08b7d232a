"""The life of a connection, from its first moment to its close: every system call on its socket is shown in this file.

(`fast_path` has two of them once more, written out.)

Read from top to bottom it goes as a connection does (`acceptor` comes before, with `accept`):

    adopt  ->  receive  ->  settle (send, take the steps that follow, watch)  ->  reap

A non-blocking socket answers every call in one of four ways, and each call below deals with all four:

- it is done: with `recv` and `send` perhaps only a part of it;
- EAGAIN: not now. Nothing is wrong, the kernel will say when (EINTR never gets here: PEP 475);
- end of file: the peer has sent its last byte. It may still be listening;
- an error: this connection is over. That is never a reason to disturb another one.

Nothing is closed where it breaks. What ends is moved to the state ENDED, is taken off the kernel's list, and is
closed in the loop's last phase, `reap`. Until then its descriptor is not free, so no connection accepted in this
batch can get the same number and with it an event that was meant for another (E7).

Between any two lines here the program may run: the garbage collector calls its `__del__` methods and the interpreter
its signal handlers, and these may write, pause, close or abort. So output is taken out of a connection before it is
offered to the kernel; a step of the state says from where to where; and a connection stops being `attended` before it
is looked at, so that whoever touches it after that puts it on the list again.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from ..loop.loop import Loop
from ..loop.poller import BROKEN, PEER_FIN, READABLE, WRITABLE
from ..loop.reports import report
from .budgets import Admission, MemoryBudget
from .connection import Connection
from .counters import Counters
from .deadlines import Deadlines
from .derived import next_deadline, next_look, wanted_interest
from .limits import Limits
from .protocol import Protocol
from .reaper import Reaper
from .states import (
    CLOSED,
    CLOSING,
    ENDED,
    FLUSHING,
    HALF_CLOSED_LOCAL,
    HALF_CLOSED_REMOTE,
    LINGERING,
    NEVER,
    NEW,
    OPEN,
    CloseReason,
    set_state,
)

logger = logging.getLogger("reactor.connections")

RECEIVE_GROWTH = 16  # times as much is asked for when `recv` has filled what it was given


class Dispatcher:
    """Makes the system calls for all connections of one reactor."""

    def __init__(self, loop: Loop, counters: Counters, limits: Limits) -> None:
        self.loop = loop
        self.poller = loop.poller
        self.timers = loop.timers
        self.counters = counters
        self.limits = limits
        self.admission = Admission()
        # The sizes of what was received and sent in this batch. Appending to a list costs a third of adding to two
        # counters, and this is done for every message: `tally` adds them up, once a batch.
        self.received_sizes: list[int] = []
        self.sent_sizes: list[int] = []
        # By descriptor: all but what has ended and waits for `reap`. The kernel gives the lowest number that is free,
        # so a list has few gaps; a dictionary took 24 bytes more for each connection.
        self.table: list[Connection | None] = []
        self.attention: deque[Connection] = deque()  # touched outside their own callback: to be settled
        self.deadlines = Deadlines(self.timers)
        self.reaper = Reaper(self.table, self.poller, self.deadlines, self.admission, counters)
        self.memory = MemoryBudget(counters, limits.memory_bytes)

    def connections(self) -> list[Connection]:
        """All that have not ended."""
        return [connection for connection in self.table if connection is not None]

    # Coming in.

    def adopt(
        self,
        sock: socket.socket,
        peername: Any,
        factory: Callable[[], Protocol],
        limits: Limits,
        admitted_from: str | None = None,
    ) -> Connection | None:
        """Make a `Connection` of a connected stream socket, and a protocol for it by calling `factory`.

        The caller has counted it, as accepted and admitted from that host or as connected, and set its options. None
        when there is no memory for it: it is then closed, and counted as that.
        """
        try:
            sock.setblocking(False)
            connection = Connection(sock, peername, limits, self.loop, self.attention)
            connection._admitted_from = admitted_from
            self.table += [None] * (connection._fd + 1 - len(self.table))
        except (OSError, MemoryError) as exc:
            self.counters.closed[CloseReason.MEMORY] += 1
            if admitted_from is not None:
                self.admission.leave(admitted_from)
            sock.close()
            report(logger, logging.WARNING, "cannot serve %s: %s", peername, exc)
            return None
        former = self.table[connection._fd]
        if former is not None:  # its program has closed its socket behind our back, so the kernel gave the number away
            former._end(CloseReason.HANDLER_ERROR, OSError(errno.EBADF, "the program has closed its socket"))
            self.settle(former)
        self.table[connection._fd] = connection
        connection._attended = True
        try:
            self._introduce(connection, factory)
        finally:
            self.settle(connection)
        return connection

    def _introduce(self, connection: Connection, factory: Callable[[], Protocol]) -> None:
        try:
            connection._protocol = factory()
        except Exception as exc:
            connection._fail("the protocol factory", exc)
            return
        except BaseException:  # SystemExit: there is nobody to serve when the loop runs again
            connection._end(CloseReason.HANDLER_ERROR, None)
            raise
        set_state(connection, NEW, OPEN)
        try:
            connection._protocol.connection_made(connection)
        except Exception as exc:
            connection._fail("connection_made", exc)

    # Reading.

    def dispatch(self, events: list[tuple[int, int]]) -> None:
        """Go through a batch of what happened: read, tell each connection's protocol, and settle what came of it.

        One event is one `recv`: a client that never stops sending must not starve the others, and what is not read now
        is reported again (R1). What the callback has written is sent when it has returned. `fast_path.dispatch` does
        the same, written out.
        """
        try:
            for fd, happened in events:
                connection = self.table[fd] if fd < len(self.table) else None
                if connection is None:  # a listener or the like; or it has ended earlier in this batch (E7)
                    self.poller.tell(fd, happened)
                    continue
                connection._attended = True  # what its own callbacks ask for is settled below, without the queue
                try:
                    self.receive(connection, happened)
                finally:  # also when a callback raises SystemExit: whoever runs the loop again finds all in order
                    self.settle(connection)
        finally:
            self.tally()

    def receive(self, connection: Connection, events: int) -> None:
        """Read what has come, once, if it is wanted now; else look whether the peer has left."""
        if connection._given_up is not None and connection._given_up_is_due():
            self._tell_rest(connection)
        if not connection._interest & READABLE:
            if events & (BROKEN | PEER_FIN):
                self._look_at_end(connection, events)
            return
        # Else it was ended, paused or handed over earlier in this batch.
        wanted = connection.state.discards or (connection.is_reading() and connection._given_up is None)
        if wanted and events != WRITABLE:
            try:
                data = connection._socket.recv(connection._receive_bytes)
            except BaseException as exc:
                self.call_failed(connection, exc)
            else:
                self.deliver(connection, data)

    def deliver(self, connection: Connection, data: bytes) -> None:
        """What `recv` has brought: tell the protocol, of data or of the end."""
        if not data:
            self._receive_eof(connection)
            return
        if len(data) == connection._receive_bytes:  # there is more than fits: ask for more from now on
            connection._receive_bytes = min(RECEIVE_GROWTH * len(data), connection.limits.receive_bytes)
        if connection.state.delivers:
            connection._heard_at = self.timers.now
            self.received_sizes.append(len(data))
            try:
                connection._protocol.data_received(data)
            except Exception as exc:
                connection._fail("data_received", exc)

    def call_failed(self, connection: Connection, exc: BaseException) -> None:
        """A `recv` or `send` raised. EAGAIN only means "not now": the kernel may change its mind (select(2)).

        All else ends this connection and no other. MemoryError: there is no room for what `recv` was to bring (R8).
        Anything else was raised by a signal handler of the program. Whether the call had been made by then is not
        known: rather than lose bytes, or send them twice, the connection ends. KeyboardInterrupt and the like go on.
        """
        if isinstance(exc, BlockingIOError):
            return
        if isinstance(exc, OSError):
            connection._end(CloseReason.RESET, exc)
        elif isinstance(exc, MemoryError):
            connection._end(CloseReason.MEMORY, exc)
        elif isinstance(exc, Exception):
            connection._fail("a signal handler", exc)
        else:
            text = f"{type(exc).__name__} was raised during a call on its socket"
            connection._end(CloseReason.HANDLER_ERROR, ConnectionAbortedError(text))
            raise exc

    def tally(self) -> None:
        """Count what `dispatch` has received and sent, once for the whole batch."""
        counters = self.counters
        counters.receives += len(self.received_sizes)
        counters.bytes_received += sum(self.received_sizes)
        counters.sends += len(self.sent_sizes)
        counters.bytes_sent += sum(self.sent_sizes)
        self.received_sizes.clear()
        self.sent_sizes.clear()

    def _receive_eof(self, connection: Connection) -> None:
        """The peer's FIN: it will say no more, but until we have finished too it may still listen (E1)."""
        connection._touch()
        connection._heard_at = self.timers.now
        state = connection.state
        if state is LINGERING:
            connection._end(connection.close_reason or CloseReason.CLOSED, connection._error)
        elif state is CLOSING:
            set_state(connection, CLOSING, FLUSHING)
        elif not state.delivers:
            return
        elif not set_state(connection, state, HALF_CLOSED_REMOTE if state is OPEN else FLUSHING):
            self._receive_eof(connection)  # it was closed in this moment: the end is read in that state
        else:
            connection.close_reason = CloseReason.PEER_CLOSED
            if connection._given_up is not None:
                connection._given_up = connection._given_up[0], True  # it is told behind that
            else:
                self._tell_eof(connection)

    def _tell_eof(self, connection: Connection) -> None:
        keep_open = False
        try:
            keep_open = bool(connection._protocol.eof_received())  # here: its truth value may raise as well
        except Exception as exc:
            connection._fail("eof_received", exc)
        finally:
            if not keep_open:
                connection.close()

    def _tell_rest(self, connection: Connection) -> None:
        """Tell a protocol that has taken over what the former one gave up: the bytes, then the peer's end."""
        state, rest = connection.state, connection._given_up
        assert rest is not None
        try:
            if rest[0]:
                connection._given_up = (b"", True) if rest[1] else None
                connection._keep_input(0, NEVER)
                connection._protocol.data_received(rest[0])
            if connection._given_up == (b"", True) and connection.state is state:
                connection._given_up = None
                self._tell_eof(connection)
        except Exception as exc:
            connection._fail("data_received", exc)
        except BaseException:  # SystemExit: whoever runs the loop again goes on from here
            connection._ask_for_attention()
            raise

    def _look_at_end(self, connection: Connection, events: int) -> None:
        """A peer that leaves while nobody wants its data (R5, E5): a reset ends it, a FIN need not."""
        sock = connection._socket
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if events & BROKEN else 0
        if error:
            connection._end(CloseReason.RESET, OSError(error, os.strerror(error)))
            return
        if events & BROKEN and not (connection.state.delivers or connection.state.discards):
            # Its FIN was read, and now both directions are over: nobody reads what we say. A TCP peer would send a
            # reset to tell us that; a UNIX one that has closed its socket leaves it at this.
            connection._end(CloseReason.RESET, OSError(errno.EPIPE, os.strerror(errno.EPIPE)))
            return
        connection._touch()
        try:
            if connection.state.delivers and not sock.recv(1, socket.MSG_PEEK):
                self._receive_eof(connection)  # nothing is unread, so there is no data to tell first
        except BlockingIOError:
            return  # not seen yet, so not known: it is told again
        except OSError as exc:
            connection._end(CloseReason.RESET, exc)
        # Both bits of BROKEN: epoll tells of either for as long as a descriptor is watched for anything at all.
        connection._reported |= events & PEER_FIN | (events & BROKEN and BROKEN)

    # Writing.

    def settle(self, connection: Connection, refused: bool = False) -> None:
        """Bring the kernel into line with the connection: send, and unless that was all, see to the rest.

        `refused`: the kernel has just taken less than it was offered, and is not asked again.
        """
        emptied = True
        if connection._unsent or connection._output is not None:
            emptied = not refused and self.send(connection)
            if not emptied:
                connection._check_high_mark()
        if not connection._steady:
            self._follow_up(connection, emptied)
        elif connection._unsent:  # written after the send, and not by a callback of ours
            connection._ask_for_attention()
        else:
            connection._attended = False

    def send(self, connection: Connection) -> bool:
        """Send what waits, within the budget; whether that was all of it."""
        budget = connection.limits.send_bytes
        while budget > 0 and connection.state is not ENDED:  # foreign code can end it during any of these calls
            data = connection._take_output()
            offered = len(data)
            try:
                count = connection._socket.send(data)
            except BlockingIOError:
                count = 0
            except BaseException as exc:
                connection._put_back(data, 0)
                self.call_failed(connection, exc)
                return False
            if count:
                self.counters.sends += 1
                self.counters.bytes_sent += count
            emptied = connection._put_back(data, count)
            if emptied or count < offered:
                return emptied  # else the kernel is full, and will say when it is not
            budget -= count
        return False

    def _follow_up(self, connection: Connection, emptied: bool) -> None:
        """Not ordinary, or not any more: resume its writing, take the steps that are due, watch what it now wants."""
        connection._attended = False  # first: who touches it from here on puts it on the list again
        if connection._writing_paused:
            self._check_low_mark(connection)
        if connection._given_up is not None and connection._given_up_is_due():
            self._tell_rest(connection)
            if connection._given_up_is_due():  # it was handed over once more: another turn, as others have theirs
                connection._ask_for_attention()
                return
        if connection.state is not OPEN:
            self._advance(connection)
        if emptied and connection._has_output():
            # `resume_writing` has written more. It gets its turn after the others, not at once: a program that
            # always has more to say, to a peer that reads as fast, would starve everyone (W7).
            connection._ask_for_attention()
            return
        if connection._fd < 0:
            return
        wanted = wanted_interest(connection)
        if wanted != connection._interest:
            try:
                self.poller.modify(connection._fd, connection._interest, wanted)
            except OSError as exc:  # the kernel has no room for it: it cannot be served, all others can (law 9)
                connection._end(CloseReason.RESET, exc)
                return
            connection._interest = wanted
        if connection._state_since == NEVER:  # it has come into its state since it was settled last
            connection._state_since = self.timers.now
        self.deadlines.arm(connection, next_look(connection, next_deadline(connection)[0], self.timers.now))
        if connection.state is OPEN and wanted == READABLE | BROKEN and not connection._attended:
            connection._steady = READABLE

    def _check_low_mark(self, connection: Connection) -> None:
        if connection.state is ENDED or connection.state is CLOSED:
            return  # whatever touched it, it is told nothing any more (E6)
        if connection.get_write_buffer_size() <= connection._low_bytes:
            connection._writing_paused = False
            try:
                connection._protocol.resume_writing()
            except Exception as exc:
                connection._fail("resume_writing", exc)
            except BaseException:  # SystemExit: whoever runs the loop again goes on from here
                connection._ask_for_attention()
                raise

    def flush(self) -> None:
        """Settle the connections that were touched by others: another's callback, a timer, `call_soon`.

        A snapshot: what is touched meanwhile has its turn in the next iteration.
        """
        for _ in range(len(self.attention)):
            connection = self.attention.popleft()
            connection._queued = False
            self.settle(connection)
        self.memory.enforce(self.connections, self.settle)

    # Ending.

    def _advance(self, connection: Connection) -> None:
        """Take the steps towards the end that are due when nothing is left to be sent."""
        if not connection._has_output():
            if connection.state is HALF_CLOSED_LOCAL or connection.state is CLOSING:
                self._send_fin(connection)
            if connection.state is CLOSING:
                # If a socket is closed with input unread, or input arrives after that, the kernel answers with a
                # reset; and a reset makes the peer's kernel throw away what the peer had not read yet: the end of
                # our reply (RFC 1122, 4.2.2.13; RFC 9112, 9.6). So input is read and discarded until the peer has
                # seen our FIN and sent its own (E3), or for `linger_seconds`.
                set_state(connection, CLOSING, LINGERING)
            elif connection.state is FLUSHING:
                connection._end(connection.close_reason or CloseReason.CLOSED, connection._error)
        if connection.state is ENDED and connection._fd >= 0:
            self.reaper.retire(connection)

    def _send_fin(self, connection: Connection) -> None:
        if not connection._fin_sent:
            connection._fin_sent = True
            try:
                connection._socket.shutdown(socket.SHUT_WR)
            except OSError as exc:
                connection._end(CloseReason.RESET, exc)

    def abandon(self) -> None:
        """In a child made by fork: close the copies of the parent's sockets, and tell nobody (L5)."""
        for connection in (*self.connections(), *self.reaper.doomed):
            connection._fd = -1  # not registered any more, so whatever touches it leaves the poller alone
            connection._socket.close()
        self.table.clear()
        self.attention.clear()
        self.reaper.doomed.clear()

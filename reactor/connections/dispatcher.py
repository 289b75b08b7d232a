"""The I/O of a connection: what is read, what is sent, and which step of its life follows.

Read from top to bottom, this file goes as a connection does (`acceptor` comes before it, with `accept`):

    adopt  ->  receive  ->  settle (send, take the steps that follow, watch)  ->  `reaper`

A `recv` or `send` on a non-blocking socket can end in four ways, and each one is dealt with:

- It is done. `recv` and `send` may do only a part.
- EAGAIN: not now. Nothing is wrong, and the kernel will report when it is possible. (EINTR does not get here: PEP 475.)
- End of file (`recv` alone): the peer has sent its last byte. It may still read.
- An error: this connection is over. No other connection is disturbed.

The program may run between any two lines of this file: the garbage collector calls its `__del__` methods, and the
interpreter its signal handlers. These may write, pause, close or abort. So output is taken out of a connection before
the kernel is offered it. `set_state` is given the state that the caller saw, and does nothing if it has changed. And
`_attended` is cleared before a connection is looked at, so that a change after that puts it into the queue again.

`fast_path` has `recv` and `send` once more, written out.
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
from .access_log import counted
from .budgets import Admission, MemoryBudget
from .connection import Connection
from .counters import Counters
from .deadlines import Deadlines
from .derived import next_deadline, next_look, wanted_interest
from .limits import Limits
from .protocol import Protocol, mistake_in
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
        # How much each `recv` and `send` of this batch has moved. `tally` adds the sizes up once a batch: to append to
        # a list costs a third of adding to two counters.
        self.received_sizes: list[int] = []
        self.sent_sizes: list[int] = []
        # The connections that have not ended, by descriptor. The kernel gives out the lowest free number, so this list
        # has few gaps. A dictionary took 24 bytes more for each connection.
        self.table: list[Connection | None] = []
        self.attention: deque[Connection] = deque()  # changed outside their own callback: to be settled
        self.deadlines = Deadlines(self.timers)
        self._known_program: type | None = None  # the class of the last protocol that was made: it has all callbacks
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
        """Make a `Connection` of the connected stream socket `sock`, and call `factory` to make its protocol.

        The caller has counted it as accepted or as connected, and has set the socket's options. `admitted_from` is the
        host that it counts for. Returns None when there is no memory for it: the socket is then closed, with the reason
        `memory`.
        """
        try:
            sock = counted(sock)
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
        if former is not None:  # the program has closed that socket itself, so the kernel gave its number away
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
            connection._protocol = protocol = factory()
        except Exception as exc:
            connection._fail("the protocol factory", exc)
            return
        except BaseException:  # SystemExit: there is no protocol to go on with when the loop runs again
            connection._end(CloseReason.HANDLER_ERROR, None)
            raise
        if type(protocol) is not self._known_program:
            if mistake := mistake_in(protocol):
                name = type(protocol).__name__
                connection._protocol = None  # type: ignore[assignment]  # none of its callbacks is called
                connection._end(CloseReason.HANDLER_ERROR, TypeError(f"{name} {mistake}"))
                text = "cannot serve %s: the factory made %s, which %s"
                report(logger, logging.ERROR, text, connection, name, mistake)
                return
            self._known_program = type(protocol)
        set_state(connection, NEW, OPEN)
        try:
            protocol.connection_made(connection)
        except Exception as exc:
            connection._fail("connection_made", exc)

    # Reading.

    def dispatch(self, events: list[tuple[int, int]]) -> None:
        """Go through a batch of events: for each, read, call the protocol, and settle the connection.

        One event is one `recv`. A client that never stops sending must not starve the others, and the kernel reports
        again what is not read now (R1). What the callback has written is sent when it has returned.
        """
        try:
            for fd, happened in events:
                connection = self.table[fd] if fd < len(self.table) else None
                if connection is None:  # another kind of descriptor; or the connection ended earlier in this batch (E7)
                    self.poller.tell(fd, happened)
                    continue
                connection._attended = True  # it is settled below, so its own callbacks need not queue it
                try:
                    self.receive(connection, happened)
                finally:  # after SystemExit in a callback too: the loop can be run again
                    self.settle(connection)
        finally:
            self.tally()

    def receive(self, connection: Connection, events: int) -> None:
        """Call `recv` once, if the connection reads now. If not, look whether the peer has left."""
        if connection._given_up is not None and connection._given_up_is_due():
            self._tell_given_up(connection)
        if not connection._interest & READABLE:
            if events & (BROKEN | PEER_FIN):
                self._look_at_end(connection, events)
            return
        # False if it was ended, paused or handed over earlier in this batch.
        wanted = connection.state.discards or (connection.is_reading() and connection._given_up is None)
        if wanted and events != WRITABLE:
            try:
                data = connection._socket.recv(connection._receive_bytes)
            except BaseException as exc:
                self.call_failed(connection, exc)
            else:
                self.deliver(connection, data)

    def deliver(self, connection: Connection, data: bytes) -> None:
        """Tell the protocol what `recv` returned: data, or the peer's end."""
        if not data:
            self._receive_eof(connection)
            return
        if len(data) == connection._receive_bytes:  # it was filled: ask for more from now on
            connection._receive_bytes = min(RECEIVE_GROWTH * len(data), connection.limits.receive_bytes)
        if connection.state.delivers:
            connection._heard_at = self.timers.now
            self.received_sizes.append(len(data))
            try:
                connection._protocol.data_received(data)
            except Exception as exc:
                connection._fail("data_received", exc)

    def call_failed(self, connection: Connection, exc: BaseException) -> None:
        """A `recv` or `send` raised `exc`. EAGAIN means "not now", also after a report of readiness (select(2)).

        Any other error ends this connection and no other. MemoryError: `recv` had no room for its bytes (R8). An error
        of another kind comes from the program's signal handler. It is not known whether the call was made before that,
        so the connection ends: to go on could lose bytes or send them twice. KeyboardInterrupt and the like are raised
        again.
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
        """Add the sizes of this batch to the counters."""
        counters = self.counters
        counters.receives += len(self.received_sizes)
        counters.bytes_received += sum(self.received_sizes)
        counters.sends += len(self.sent_sizes)
        counters.bytes_sent += sum(self.sent_sizes)
        self.received_sizes.clear()
        self.sent_sizes.clear()

    def _receive_eof(self, connection: Connection) -> None:
        """The peer has sent its FIN: it will send no more, but it may still read (E1)."""
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
            self._receive_eof(connection)  # foreign code has just closed it: take the end in the new state
        else:
            connection.close_reason = CloseReason.PEER_CLOSED
            if connection._given_up is not None:
                connection._given_up = connection._given_up[0], True  # it is told after that input
            else:
                self._tell_eof(connection)

    def _tell_eof(self, connection: Connection) -> None:
        keep_open = False
        try:
            keep_open = bool(connection._protocol.eof_received())  # `bool` may run the program's code, and raise
        except Exception as exc:
            connection._fail("eof_received", exc)
        finally:
            if not keep_open:
                connection.close()

    def _tell_given_up(self, connection: Connection) -> None:
        """Tell the new protocol what the old one left unused: the bytes, then the peer's end."""
        assert connection._given_up is not None
        state, (data, ended) = connection.state, connection._given_up
        try:
            if data:
                connection._given_up = (b"", True) if ended else None
                connection._keep_input(0, NEVER)
                connection._protocol.data_received(data)
            if connection._given_up == (b"", True) and connection.state is state:
                connection._given_up = None
                self._tell_eof(connection)
        except Exception as exc:
            connection._fail("data_received", exc)

    def _look_at_end(self, connection: Connection, events: int) -> None:
        """The peer has left while its data is not wanted. A reset ends the connection, a FIN may not (R5, E5)."""
        sock = connection._socket
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if events & BROKEN else 0
        if error:
            connection._end(CloseReason.RESET, OSError(error, os.strerror(error)))
            return
        if events & BROKEN and not (connection.state.delivers or connection.state.discards):
            # Its FIN was read, and now both directions are over: the peer does not read any more. A TCP peer tells us
            # by a reset. A UNIX peer that has closed its socket does not.
            connection._end(CloseReason.RESET, OSError(errno.EPIPE, os.strerror(errno.EPIPE)))
            return
        connection._touch()
        try:
            if connection.state.delivers and not sock.recv(1, socket.MSG_PEEK):
                self._receive_eof(connection)  # nothing is unread, so no data comes before the end
        except BlockingIOError:
            return  # no end yet: the kernel will report again
        except OSError as exc:
            connection._end(CloseReason.RESET, exc)
        # Both bits of BROKEN: epoll reports either of them for as long as the descriptor is watched for anything.
        connection._reported |= events & PEER_FIN | (events & BROKEN and BROKEN)

    # Writing.

    def settle(self, connection: Connection, refused: bool = False) -> None:
        """Send what waits. If anything else has changed too, take the steps that follow, and watch what it wants now.

        `refused`: the kernel has just taken less than it was offered, so it is not asked again.
        """
        emptied = True
        if connection._unsent or connection._output is not None:
            emptied = not refused and self.send(connection)
            if not emptied:
                connection._check_high_mark()
        if not connection._steady:
            try:
                self._follow_up(connection, emptied)
            except BaseException:  # SystemExit: the loop may be run again, and goes on from here
                connection._ask_for_attention()
                raise
        else:
            connection._attended = False  # before the check: foreign code that writes later asks for attention
            if connection._unsent:  # it has written after the send
                connection._ask_for_attention()

    def send(self, connection: Connection) -> bool:
        """Send what waits: a chunk whole, a buffer up to about `send_bytes`. Return whether nothing waits now."""
        budget = connection.limits.send_bytes
        while budget > 0 and connection.state is not ENDED:  # foreign code can end it in any of these calls
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
                return emptied  # all is sent; or the kernel is full, and reports when it is not
            budget -= count
        return False

    def _follow_up(self, connection: Connection, emptied: bool) -> None:
        """Resume its writing, take the steps that are due, and watch what it wants now."""
        connection._attended = False  # first: a change from here on puts it into the queue again
        if connection._writing_paused:
            self._check_low_mark(connection)
        if connection._given_up is not None and connection._given_up_is_due():
            self._tell_given_up(connection)
            if connection._given_up_is_due():  # it was handed over once more: the others have their turn first
                connection._ask_for_attention()
                return
        if connection.state is not OPEN:
            self._advance(connection)
        if emptied and connection.has_output():
            # `resume_writing` has written more. It is sent after the others have had their turn. A program that always
            # has more to send, to a peer that reads as fast, would starve the others (W7).
            connection._ask_for_attention()
            return
        if connection._fd < 0:
            return
        wanted = wanted_interest(connection)
        if wanted != connection._interest:
            try:
                self.poller.modify(connection._fd, connection._interest, wanted)
            except OSError as exc:  # the kernel has no room to watch it: this one cannot be served (law 9)
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
            return  # no callback after the end (E6)
        if connection.get_write_buffer_size() <= connection._low_bytes:
            connection._writing_paused = False
            try:
                connection._protocol.resume_writing()
            except Exception as exc:
                connection._fail("resume_writing", exc)

    def flush(self) -> None:
        """Settle the connections that were changed by another callback, a timer or `call_soon`.

        This works off a snapshot: what is queued meanwhile has its turn in the next iteration.
        """
        for _ in range(len(self.attention)):
            connection = self.attention.popleft()
            connection._queued = False
            self.settle(connection)
        self.memory.enforce(self.connections, self.settle)

    # Towards the end.

    def _advance(self, connection: Connection) -> None:
        """When nothing waits to be sent, take the steps towards the end that are due."""
        if not connection.has_output():
            if connection.state is HALF_CLOSED_LOCAL or connection.state is CLOSING:
                self._send_fin(connection)
            if connection.state is CLOSING:
                # If a socket is closed with input unread, or input arrives after that, the kernel sends a reset. On a
                # reset the peer's kernel throws away what the peer has not read yet: the end of our reply (RFC 1122,
                # 4.2.2.13; RFC 9112, 9.6). So input is read and discarded until the peer has sent its FIN too (E3),
                # at most for `linger_seconds`.
                set_state(connection, CLOSING, LINGERING)
            elif connection.state is FLUSHING:
                connection._end(connection.close_reason or CloseReason.CLOSED, connection._error)
        if connection.state is ENDED and connection._fd >= 0:
            self.reaper.unwatch(connection)

    def _send_fin(self, connection: Connection) -> None:
        if not connection._fin_sent:
            connection._fin_sent = True
            try:
                connection._socket.shutdown(socket.SHUT_WR)
            except OSError as exc:
                connection._end(CloseReason.RESET, exc)

    def abandon(self) -> None:
        """In a child made by fork: close the copies of the parent's sockets, and call no callback (L5)."""
        for connection in (*self.connections(), *self.reaper.doomed):
            connection._fd = -1  # not watched any more, so a change of it leaves the poller alone
            connection._socket.close()
        self.table.clear()
        self.attention.clear()
        self.reaper.doomed.clear()

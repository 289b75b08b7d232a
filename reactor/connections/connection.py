"""One connection: its state and its buffers, and what a program may ask of it.

A blocking program calls `socket.sendall`: all bytes arrive in order, or the connection is lost. `Connection.write`
gives the same promise, but it cannot call `sendall`. On a non-blocking socket `sendall` raises when the kernel has no
more room, and the caller does not learn how much was sent. So the dispatcher calls `send`, which returns the count, and
the connection keeps the rest in a buffer.

A `Connection` is state. It knows what waits to be sent, whether the program wants to read, and where it is in its life
(`states`). It makes no system call that moves a byte. The `Dispatcher` makes them: it asks a connection what it wants,
and tells it what happened. So this file can be understood, and tested, without a network.

No call of the program sends, receives or closes: it changes this state. `close` inside a callback does not
close the socket while the callback still runs, and `write` does not send. When the callback returns, the dispatcher
*settles* the connection: it sends, and then asks the kernel to watch for what the connection wants now. A connection
may be changed from elsewhere, by another connection's callback or by a timer. It then puts itself into the dispatcher's
queue, and is settled in the flush phase.
"""

from __future__ import annotations

import logging
from threading import get_ident
from typing import Any

from ..loop.poller import WRITABLE
from ..loop.reports import report
from .buffers import LARGE_BYTES, OutputBuffer
from .fields import SMALL_RECEIVE_BYTES, ConnectionFields
from .protocol import Protocol
from .sockaddr import describe
from .states import (
    CLOSED,
    CLOSING,
    ENDED,
    FLUSHING,
    HALF_CLOSED_LOCAL,
    HALF_CLOSED_REMOTE,
    NEVER,
    OPEN,
    CloseReason,
    set_state,
)

logger = logging.getLogger("reactor.connections")


class Connection(ConnectionFields):
    """What `connection_made` gives to a program: the transport of PEP 3156.

    Attributes to read: `state` (a `State`), `close_reason` (a `CloseReason`; None until that is known), `limits`,
    `reactor` (the `Reactor` that serves it), and `serial` (its number, which no other connection of this reactor has).

    It belongs to the thread that runs its reactor. On another thread, the methods that change it raise RuntimeError:
    use `reactor.call_soon_threadsafe(connection.write, data)` there. Most small writes inside a callback of its own
    connection do not look at the thread, so that a reply costs nothing more.
    """

    __slots__ = ()

    # What a program may ask.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data`, in order, after what was written before. Returns at once.

        The only `bytes` object of a callback is offered to the kernel as it is. Small ones of one callback are
        gathered, and leave as one `send`. None is copied more than once. A `bytearray` or `memoryview` is copied here
        first, because its owner may change it before it is sent. Empty data does nothing. After the end, or after
        `close`, the data is dropped and counted: a peer may leave at any moment, so this is not the program's mistake
        (W4). TypeError if `data` is not bytes. RuntimeError after `write_eof`: this is the program's mistake (PEP
        3156).

        `pause_writing` is called when more than the high mark waits. If something waits already, it is called inside
        this call. If not, the kernel is offered `data` first. A write that finds more than `output_hard_bytes` waiting
        ends the connection with the reason `slow_reader` (W1). So a connection may keep `output_hard_bytes` and
        two more writes, of any size.
        """
        if type(data) is not bytes:
            data = _as_bytes(data)
        if self._attended and self._steady and not self._unsent:
            self._unsent = data
            return
        if self._attended and type(self._unsent) is bytearray and len(data) < LARGE_BYTES and self._steady:
            # As in `_gather`. `_steady` is asked last: it is 0 if foreign code has just moved what was gathered.
            self._unsent += data
            if len(self._unsent) > self._high_bytes:
                self._check_high_mark()
            return
        if self.reactor.thread_id != get_ident():
            self.reactor.check_thread()
        if self._steady and not self._unsent:
            self._unsent = data
            if not self._attended:
                self._ask_for_attention()
        else:
            self._write_unsteady(data)

    def writelines(self, chunks: Any) -> None:
        """`write` for each of the iterable `chunks`."""
        for chunk in chunks:
            self.write(chunk)

    def write_eof(self) -> None:
        """End our side: the peer sees the end after all that was written. Reading goes on.

        If the peer has ended its side already, the connection closes. Does nothing when our side has ended.
        (shutdown(2) with SHUT_WR; RFC 9293, section 3.6.)
        """
        self.reactor.check_thread()
        if self.state is OPEN:
            set_state(self, OPEN, HALF_CLOSED_LOCAL)
            self._touch()
        elif self.state is HALF_CLOSED_REMOTE:
            self.close()

    def can_write_eof(self) -> bool:
        """True: TCP can end one direction alone."""
        return True

    def close(self) -> None:
        """Send what was written, then end the connection. No more data is delivered. A second call does nothing."""
        self.reactor.check_thread()
        self._finish(CloseReason.CLOSED, None)

    def abort(self) -> None:
        """End the connection now. Output that is not sent yet is lost. The peer sees a reset."""
        self.reactor.check_thread()
        self._end(CloseReason.ABORTED, None)

    def is_closing(self) -> bool:
        """Whether it has ended or is going to end: no data will be delivered, and no write is taken."""
        return not (self.state.delivers or self.state.writes)

    def pause_reading(self) -> None:
        """Deliver no data until `resume_reading`. The kernel's buffer fills, and TCP then stops the peer."""
        self.reactor.check_thread()
        if not self._reading_paused:
            self._reading_paused = True
            self._reported = 0  # look again: the data before a FIN may have been read since the last pause
        self._touch()

    def resume_reading(self) -> None:
        """Deliver data again. Does nothing when reading is not paused."""
        self.reactor.check_thread()
        self._reading_paused = False
        self._touch()

    def is_reading(self) -> bool:
        """Whether data that arrives would be delivered."""
        return self.state.delivers and not self._reading_paused

    def hold(self) -> None:
        """Say that an answer will come later on this connection, for example from a timer or a thread.

        A drain closes a connection that has nothing to send. It waits for a held one, at most for `drain_seconds`. Call
        `release` once for each `hold`. The deadlines of `Limits` still apply. `close` ends all holds. While a call of
        `Reactor.run_in_thread` is not answered, a drain closes no idle connection. While any connection is held, it
        leaves those that we opened (`connect`): the answer may come from there.
        """
        self.reactor.check_thread()
        self._holds += 1

    def release(self) -> None:
        """Say that an answer for which `hold` was called is written, or will not come.

        RuntimeError if `hold` was not called as often. Does nothing after `close` or the end.
        """
        self.reactor.check_thread()
        if self._holds:
            self._holds -= 1
        elif not self.is_closing():
            raise RuntimeError("release without hold: this connection is not held")

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks, in bytes, between which writing is paused and resumed.

        With `high` alone, `low` is a quarter of it. With `low` alone, `high` is four times `low`. With neither, `high`
        is that of `Limits`. A high mark of 0 pauses whenever anything waits. ValueError unless 0 <= low <= high.
        TypeError unless both are whole numbers.
        """
        self.reactor.check_thread()
        for mark in (high, low):
            if mark is not None and not isinstance(mark, int):
                raise TypeError(f"marks are whole numbers of bytes, not {type(mark).__name__}")
        if high is None:
            high = self.limits.output_high_bytes if low is None else 4 * low
        if low is None:
            low = high // 4
        if not 0 <= low <= high:
            raise ValueError(f"marks must be 0 <= low <= high bytes, not low={low!r}, high={high!r}")
        self._high_bytes, self._low_bytes = high, low
        self._touch()
        self._check_high_mark()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The marks (low, high) in bytes."""
        return self._low_bytes, self._high_bytes

    def has_output(self) -> bool:
        """Whether anything waits to be sent."""
        return bool(self._unsent) or self._output is not None

    def get_write_buffer_size(self) -> int:
        """How many bytes were written and not yet taken by the kernel."""
        return len(self._unsent) + (len(self._output) if self._output is not None else 0)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The value for `name`: "peername", "sockname" or "socket". `default` for any other name.

        Addresses are those of the `socket` module: (host, port) for IPv4, (host, port, flow, scope) for IPv6. Use
        "socket" to set options (`setsockopt`), never to read, write or close.
        """
        if name == "peername":
            return self._peername
        if name == "socket":
            return self._socket
        if name == "sockname" and self.state is not CLOSED:
            return self._socket.getsockname()
        return default

    def set_protocol(self, protocol: Protocol) -> None:
        """Hand the connection over: from now on `protocol` gets every callback.

        Its `connection_made` is not called: the caller may do that. Does nothing when the socket is closed.

        The former protocol may have input that it has not used. If it has a method `give_up_input()`, that method
        returns this input, and whether the peer has ended (`net.framing.FramedProtocol` has one). The new protocol gets
        it in `data_received`, before anything newer, and then `eof_received`. This happens when the current callback
        has returned, or as soon as reading is not paused.

        The new protocol begins with its writing not paused. If more than the high mark waits, its `pause_writing` is
        called first. It gets no `resume_writing` for a pause of the former protocol.
        """
        self.reactor.check_thread()
        if self.state is CLOSED or protocol is self._protocol:
            return
        give_up_input = getattr(self._protocol, "give_up_input", None)
        data, ended = give_up_input() if give_up_input is not None else (b"", False)
        self._protocol = protocol
        self._writing_paused = False
        if data or ended:
            later, end_later = self._given_up or (b"", False)
            self._given_up = data + later, ended or end_later
            self._keep_input(0, NEVER)
        self._touch()

    def get_protocol(self) -> Protocol | None:
        """The protocol that gets the callbacks; None after `connection_lost`."""
        return self._protocol

    # What the dispatcher and `net.framing` ask.

    def _given_up_is_due(self) -> bool:
        """Whether to deliver now what a former protocol gave up: there is some, and reading is not paused."""
        if self._given_up is None or (self._reading_paused and self._given_up[0]):
            return False
        return self.state.delivers or self.state is HALF_CLOSED_REMOTE or self.state is FLUSHING

    def _end(self, reason: CloseReason, error: Exception | None) -> None:
        """End it now, for `reason`. Does nothing when it has ended: the first reason stays."""
        state = self.state
        if state is ENDED or state is CLOSED:
            return
        self.close_reason = reason
        self._error = error
        self._holds = 0
        set_state(self, state, ENDED)
        self._touch()

    def _finish(self, reason: CloseReason, error: Exception | None) -> None:
        """End it for `reason` after all that was written is sent. `connection_lost` gets `error`."""
        state = self.state
        if state is HALF_CLOSED_REMOTE:  # the peer closed first, and that stays the reason
            set_state(self, state, FLUSHING)
        elif state is OPEN or state is HALF_CLOSED_LOCAL:
            self.close_reason = reason
            self._error = error
            set_state(self, state, CLOSING)
        else:
            return
        self._holds = 0
        self._given_up = None  # no more is delivered; its bytes stay counted until the end
        self._touch()

    def _keep_input(self, size: int, frame_since: float) -> None:
        """Note that the protocol keeps `size` bytes of input. They count for `memory_bytes`.

        Input that a former protocol gave up is added to them. `frame_since` is when the unfinished frame began, which
        the peer has to finish within `frame_seconds`; NEVER if there is none.
        """
        if self._given_up is not None:
            size += len(self._given_up[0])
        grown = size - self._kept_bytes
        self._kept_bytes = size
        self.reactor.counters.buffered_bytes += grown
        if frame_since != self._frame_since:
            self._frame_since = frame_since
            if frame_since != NEVER:
                self._touch()

    def _receive_little(self) -> None:
        """Ask `recv` for little again, until that is filled."""
        self._receive_bytes = min(SMALL_RECEIVE_BYTES, self.limits.receive_bytes)

    def _take_output(self) -> bytes | bytearray | memoryview:
        """Take out what to offer to the kernel next. `_put_back` then gets what the kernel did not take.

        In between, a `__del__` or a signal handler may write: those bytes come after these.
        """
        if self._output is not None:
            return self._output.take()
        data, self._unsent = self._unsent, b""
        return data

    def _put_back(self, data: bytes | bytearray | memoryview, count: int) -> bool:
        """Keep what the kernel left of `data`, after it took `count` bytes. Return whether nothing waits now."""
        if count or not self._interest & WRITABLE:  # progress, or the beginning of a wait (W6)
            self._progress_at = self.reactor.timers.now
        if isinstance(data, memoryview):
            assert self._output is not None
            data.release()  # a bytearray cannot grow while a view of it exists
            self._output.put_back(count)
            self.reactor.counters.buffered_bytes -= count
            if not self._output:
                self._output = None
        elif count < len(data):
            self._start_output(data, count)
        return not (self._unsent or self._output is not None)

    def _buffered_bytes(self) -> int:
        """How many bytes it keeps, for `memory_bytes`. What the kernel was not offered yet does not count."""
        return self._kept_bytes + (len(self._output) if self._output is not None else 0)

    def _drop_buffers(self) -> None:
        """Forget all output and all unfinished input: the connection has ended."""
        size = self._buffered_bytes()
        self._kept_bytes = 0
        self._given_up = None
        self._unsent, self._output = b"", None
        self.reactor.counters.buffered_bytes -= size

    def _check_high_mark(self) -> None:
        """Pause the program's writing if more than the high mark waits.

        A single chunk that the kernel was not offered yet does not count. Mostly the kernel takes all of it, and a
        needless pause and resume took a sixth of the cost of a 1 MiB message. Gathered chunks count. If they are more
        than a mark allows, they move to the buffer, because a write compares only the buffer with the hard mark.
        """
        low_enough = len(self._unsent) <= self._high_bytes <= self.limits.output_hard_bytes
        if type(self._unsent) is bytearray and not low_enough:
            self._start_output(b"", 0)
        if self._output is not None and len(self._output) > self._high_bytes and self.state.writes:
            self._pause()

    def _pause(self) -> None:
        """Call `pause_writing`, unless the program is paused already."""
        if not self._writing_paused:
            self._writing_paused = True
            self._touch()
            try:
                self._protocol.pause_writing()
            except Exception as exc:
                # Not in the caller of `write`: that may be a callback of another connection.
                self._fail("pause_writing", exc)
            except BaseException:  # SystemExit: the loop may be run again, and goes on from here
                self._ask_for_attention()
                raise

    def _fail(self, callback: str, exc: Exception) -> None:
        """The protocol's `callback` raised `exc`: log it once, and end this connection alone (E9)."""
        self._end(CloseReason.HANDLER_ERROR, exc)
        report(logger, logging.ERROR, "%s raised in %s; ending its connection", callback, self, exc=exc)

    def _touch(self) -> None:
        """Note that more than plain output has changed, so that its interest and deadline are worked out again."""
        self._steady = 0
        if not self._attended:
            self._ask_for_attention()

    def _ask_for_attention(self) -> None:
        """Have it settled in the flush phase. It is in the queue at most once, so it has one turn there (law 8)."""
        self._attended = True
        if not self._queued:
            self._queued = True
            self._attention.append(self)

    # Parts of the above.

    def _write_unsteady(self, data: bytes) -> None:
        if not self.state.writes:
            self._refuse_write()
        elif self._unsent or self._output is not None:  # asked in place: no foreign code runs before it is stored below
            if data:
                self._append(data)
        else:
            self._unsent = data
            if not self._attended:
                self._ask_for_attention()

    def _append(self, data: bytes) -> None:
        if self._output is None:  # the kernel was not offered the first chunk, so the program could not be paused yet
            if self._gather(data):
                return
            self._start_output(b"", 0)
        elif len(self._output) > self.limits.output_hard_bytes:  # the program did not pause (W1)
            waiting, hard = len(self._output), self.limits.output_hard_bytes
            error = ConnectionAbortedError(f"{waiting} bytes waited to be sent, more than output_hard_bytes ({hard})")
            self._end(CloseReason.SLOW_READER, error)
            return
        assert self._output is not None
        size = len(data)
        self._output.append(data)
        self.reactor.counters.buffered_bytes += size
        if not self._attended:
            self._ask_for_attention()
        self._check_high_mark()

    def _gather(self, data: bytes) -> bool:
        """Put `data` behind the chunk that the kernel was not offered yet, in one bytearray. False if one is large.

        `write` itself adds most of those that follow. A bytearray in `_unsent` says that several chunks wait there.
        """
        unsent = self._unsent
        if len(unsent) >= LARGE_BYTES or len(data) >= LARGE_BYTES:
            return False
        gathered = unsent if type(unsent) is bytearray else bytearray(unsent)
        if self._unsent is not unsent or self._output is not None:  # foreign code has just written
            return False
        self._unsent = gathered
        gathered += data
        if not self._attended:
            self._ask_for_attention()
        self._check_high_mark()
        return True

    def _start_output(self, data: bytes | bytearray, sent: int) -> None:
        """Buffer the rest of `data`, of which `sent` bytes are gone; then `_unsent`; then what is buffered."""
        output = OutputBuffer()  # first: an allocation may run the garbage collector, and a `__del__` may write
        self._steady = 0
        if self._output is None:
            self._output = output
        unsent, self._unsent = self._unsent, b""
        for chunk, gone in ((unsent, 0), (data, sent)):
            size = len(chunk) - gone
            if size:
                self._output.prepend(chunk, gone)
                self.reactor.counters.buffered_bytes += size

    def _refuse_write(self) -> None:
        if self.state is HALF_CLOSED_LOCAL:
            raise RuntimeError("write after write_eof: our side of the connection has ended")
        self.reactor.counters.dropped_writes += 1
        self._dropped_writes += 1
        if self._dropped_writes == 1:  # log it once (W4); a log handler may write here too
            report(logger, logging.INFO, "%s has ended: what is written to it is dropped", self)

    def __repr__(self) -> str:
        peer = describe(self._peername)
        if not peer.isprintable():  # a UNIX peer chooses its path, and this text goes to the log
            peer = ascii(peer)
        return f"<Connection {self.serial} {self.state.label} peer={peer}>"


def _as_bytes(data: Any) -> bytes:
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"data must be bytes, bytearray or memoryview, not {type(data).__name__}")

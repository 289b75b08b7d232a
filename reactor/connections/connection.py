"""One connection: its state, its buffers, and all that a program may ask of it.

`socket.sendall` is what a blocking program uses, and what this class promises: everything that is written
arrives, in order, or the connection is lost. But it cannot be what a non-blocking server calls. On a
socket that does not block, `sendall` raises in the middle when the kernel has no more room, and with the
exception is gone how much was sent. The contract is kept with `send`, which tells the count, and with a
buffer for the rest.

A `Connection` is the state of that: it holds what waits to be sent, knows whether its protocol wants to read,
and where it is in its life (`states`). It makes no system call that moves a byte. The `Dispatcher` does, by
asking a connection what it wants and telling it what came of it. So this file can be understood, and tested,
without a network.

A protocol's calls change the state and nothing else: `close` inside a callback does not close a socket under
that callback's feet, and `write` does not send. When the callback returns, the dispatcher *settles*
the connection: it sends, and compares what the kernel is asked to watch with what the connection now wants.
A connection that was touched from elsewhere (another's callback, a timer) puts itself on the list of those
that want attention, and is settled in the loop's flush phase.
"""

from __future__ import annotations

import logging
import math
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

from ..loop.reports import report
from .buffers import OutputBuffer
from .limits import Limits
from .states import (
    CLOSED,
    CLOSING,
    ENDED,
    FLUSHING,
    HALF_CLOSED_LOCAL,
    HALF_CLOSED_REMOTE,
    NEVER,
    NEW,
    OPEN,
    CloseReason,
    State,
    set_state,
)

if TYPE_CHECKING:
    from .protocol import Protocol

logger = logging.getLogger("reactor.connections")

# `recv(n)` allocates n bytes before it knows how many come. Up to 512 the small-object allocator serves that in no
# time; 64 KiB for a 64-byte message cost 6 % of an echo. So little is asked for, until it is filled once.
SMALL_RECEIVE_BYTES = 448


class Connection:
    """What `connection_made` hands to a protocol: the transport of PEP 3156.

    All of it belongs to the thread of its reactor. From another thread, go through
    `Reactor.call_soon_threadsafe`.
    """

    __slots__ = (
        "_socket",  # the handle; only the dispatcher calls it
        "_fd",  # its number, for as long as its dispatcher knows it by that; then -1
        "_protocol",  # whom to tell
        "state",  # where in its life; moved by `set_state` alone
        "_peername",  # the peer's address as `accept` or `connect` had it
        "_steady",  # READABLE, the event to expect, if it is open and reading and nothing was changed; else 0
        "_receive_bytes",  # how much to ask the kernel for: little, until it fills that
        "_unsent",  # the only chunk written since the last send: kept as it is, not copied
        "_output",  # an OutputBuffer once there is more than that, or the kernel was full; else None
        "limits",  # the bounds it lives under
        "_high_bytes",  # output above this pauses the protocol's writing
        "_low_bytes",  # output at or below this resumes it
        "_writing_paused",  # `pause_writing` was called last
        "_reading_paused",  # the protocol wants no data now
        "_reported",  # events the kernel has told and, level-triggered, would tell for ever
        "_fin_sent",  # our side of the socket is shut down
        "_undelivered",  # while it lingers: the bytes of output that its peer did not have when we looked last
        "_interest",  # what the kernel was last asked to watch
        "_state_since",  # when it came into its state, in seconds of the clock; so are the next three
        "_heard_at",  # when input last came
        "_progress_at",  # when the kernel last took output, or output began to wait
        "_frame_since",  # when the unfinished frame began; NEVER without one
        "_kept_bytes",  # input that is kept for it, not handed to its program yet
        "_given_up",  # input that a former protocol gave up, and whether the peer has ended, until it is told; else None
        "_settled_state",  # the state that it was last settled in
        "reactor",  # the `Reactor` that it lives on: a later file, so its type is not named here
        "_attention",  # the dispatcher's queue of connections to settle
        "_attended",  # on that list, or in its own callback: it will be settled
        "_queued",  # on that list, whatever else
        "_next_look_at",  # when its deadline is looked at, in seconds of the clock; infinity: not
        "_admitted_from",  # the host it was let in from; None if we opened it
        "close_reason",  # why it ends, once that is known
        "_error",  # what `connection_lost` will be given
        "_dropped_writes",  # writes after the end
        "_holds",  # how often the program said that it is busy with this one, less how often it said that it is done
    )

    def __init__(
        self,
        sock: socket.socket,
        peername: Any,
        limits: Limits,
        reactor: Any,
        attention: deque[Connection],
    ) -> None:
        self._socket = sock
        self._fd = sock.fileno()
        self._protocol: Protocol = None  # type: ignore[assignment]  # until CLOSED
        self.state: State = NEW
        self._peername = peername
        self._steady = 0
        self._unsent = b""
        self._output: OutputBuffer | None = None
        self.limits = limits
        self._high_bytes = limits.output_high_bytes
        self._low_bytes = limits.output_low_bytes
        self._writing_paused = False
        self._reading_paused = False
        self._reported = 0
        self._fin_sent = False
        self._undelivered: float = math.inf
        self._interest = 0
        self._state_since = NEVER
        self._heard_at = NEVER
        self._progress_at = NEVER
        self._frame_since = NEVER
        self._kept_bytes = 0
        self._given_up: tuple[bytes, bool] | None = None
        self._settled_state: State = NEW
        self.reactor = reactor
        self._attention = attention
        self._attended = False
        self._queued = False
        self._next_look_at = math.inf
        self._admitted_from: str | None = None
        self.close_reason: CloseReason | None = None
        self._error: Exception | None = None
        self._dropped_writes = 0
        self._holds = 0
        self._receive_little()

    # What a protocol may ask.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data`, in order, behind what was written before. Returns at once.

        A `bytes` object is kept, not copied. A `bytearray` or `memoryview`, which its owner may change before
        it is sent, is copied here. Empty data does nothing. After the connection has ended, or `close` was
        called, the data is dropped and counted (W4): a peer may leave at any moment, and that is no mistake of
        the program. TypeError for anything but bytes; RuntimeError after `write_eof`, which is one (PEP 3156).

        When more than the high mark waits, `pause_writing` is called: inside this call if something waited before,
        else once the kernel was offered all of `data` and has left as much. A write that then finds more than
        `output_hard_bytes` waiting ends the connection, reason `slow_reader` (W1): so what is kept is at most that
        and one write, however large; or two, of which the first found nothing waiting.
        """
        if type(data) is not bytes:
            data = _as_bytes(data)
        if self._steady and not self._unsent:
            self._unsent = data
            if not self._attended:
                self._ask_for_attention()
        else:
            self._write_rare(data)

    def writelines(self, chunks: Any) -> None:
        """`write` for each of the iterable `chunks`."""
        for chunk in chunks:
            self.write(chunk)

    def write_eof(self) -> None:
        """End our side: when all that was written is sent, the peer sees the end. Reading goes on.

        If the peer has ended its side already, nothing is left to do in either direction and the connection
        closes. Does nothing when our side has ended. (shutdown(2) with SHUT_WR; RFC 9293, section 3.6.)
        """
        if self.state is OPEN:
            set_state(self, OPEN, HALF_CLOSED_LOCAL)
            self._touch()
        elif self.state is HALF_CLOSED_REMOTE:
            self.close()

    def can_write_eof(self) -> bool:
        """True: TCP can end one direction alone."""
        return True

    def close(self) -> None:
        """Send what was written, then end the connection. No more data is delivered. Again does nothing."""
        self._finish(CloseReason.CLOSED, None)

    def abort(self) -> None:
        """End the connection now. What is not sent yet is lost, and the peer can tell: it sees a reset."""
        self._end(CloseReason.ABORTED, None)

    def is_closing(self) -> bool:
        """Whether the connection has ended, or is about to: no data will be delivered, no write be taken."""
        return not (self.state.delivers or self.state.writes)

    def pause_reading(self) -> None:
        """Deliver no data until `resume_reading`. The kernel's buffer fills, and TCP holds the peer back."""
        if not self._reading_paused:
            self._reading_paused = True
            self._reported = 0  # this pause is another one: a FIN that came behind unread data may now be first
        self._touch()

    def resume_reading(self) -> None:
        """Deliver data again. Does nothing when reading is not paused."""
        self._reading_paused = False
        self._touch()

    def is_reading(self) -> bool:
        """Whether data that arrives would be delivered."""
        return self.state.delivers and not self._reading_paused

    def hold(self) -> None:
        """Say that an answer is still to come on this connection, from a timer or a thread for example.

        A drain waits for it, within `drain_seconds`, where it would else close a connection that has nothing to send.
        Each call wants one of `release`. Nothing else changes: the deadlines of `Limits` go on. `close` ends all holds:
        whoever closes has nothing more to say.
        """
        self._holds += 1

    def release(self) -> None:
        """Say that an answer for which `hold` was called is written, or will not come.

        RuntimeError when it was not called so often. After `close` or the end it does nothing.
        """
        if self._holds:
            self._holds -= 1
        elif not self.is_closing():
            raise RuntimeError("release without hold: this connection is not held")

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks, in bytes, between which writing is paused and resumed.

        With `high` alone, `low` is a quarter of it; with `low` alone, `high` is four times that; with
        neither, `high` is that of `Limits`. High 0 pauses whenever anything waits. ValueError unless
        0 <= low <= high, TypeError for anything but whole numbers.
        """
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

    def _has_output(self) -> bool:
        """Whether anything waits to be sent."""
        return bool(self._unsent) or self._output is not None

    def get_write_buffer_size(self) -> int:
        """How many bytes were written and not yet taken by the kernel."""
        return len(self._unsent) + (len(self._output) if self._output is not None else 0)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What is known by `name`: "peername", "sockname", "socket"; `default` for anything else.

        The addresses are those of the `socket` module: (host, port) for IPv4, (host, port, flow, scope) for
        IPv6. Use "socket" for options (`setsockopt`), never to read, write or close.
        """
        if name == "peername":
            return self._peername
        if name == "socket":
            return self._socket
        if name == "sockname" and self.state is not CLOSED:
            return self._socket.getsockname()
        return default

    def set_protocol(self, protocol: Protocol) -> None:
        """Hand the connection over: every callback from now on goes to `protocol`.

        Its `connection_made` is not called; that is for whoever hands over. Does nothing when the connection is lost.

        Input that the former protocol has received and not used goes to the new one before anything newer, in
        `data_received`; and then, if it has received the peer's end, `eof_received`. This happens when the callback
        that hands over has returned, or as soon as reading is not paused. Which input that is, the former
        protocol says in `give_up_input()`, if it has this method: `net.framing.FramedProtocol` does. A protocol without
        it has used all that it was told; if it has not, the rest is its own to pass on.

        The new protocol begins with its writing not paused. If more than the high mark waits, `pause_writing` tells it
        so before it is told anything else; it never hears a `resume_writing` for the pause of another.
        """
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
        """The protocol that is being told; None once it has heard of the end."""
        return self._protocol

    # What the dispatcher asks.

    def _given_up_is_due(self) -> bool:
        """Whether the protocol is to be told now what a former one gave up: it is there, and wanted."""
        if self._given_up is None or (self._reading_paused and self._given_up[0]):
            return False
        return self.state.delivers or self.state is HALF_CLOSED_REMOTE or self.state is FLUSHING

    def _end(self, reason: CloseReason, error: Exception | None) -> None:
        """End it, now, for `reason`. The first reason of an unclean end stands; what follows does nothing."""
        state = self.state
        if state is ENDED or state is CLOSED:
            return
        self.close_reason = reason
        self._error = error
        self._holds = 0
        set_state(self, state, ENDED)
        self._touch()

    def _finish(self, reason: CloseReason, error: Exception | None) -> None:
        """`close`, for `reason`: what was written is sent before the end. `connection_lost` gets `error`."""
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
        self._given_up = None  # no more is delivered; its bytes are counted until the end, as those of a frame are
        self._touch()

    def _keep_input(self, size: int, frame_since: float) -> None:
        """Told by whoever splits the input into frames: `size` bytes of it are kept, against `memory_bytes`.

        What a former protocol gave up and this one was not told yet is counted as well, without its saying so.
        `frame_since` is when the frame began that the peer has yet to finish, and has `frame_seconds` for; NEVER
        if it owes us nothing.
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
        """Ask for little from now on, until that is filled."""
        self._receive_bytes = min(SMALL_RECEIVE_BYTES, self.limits.receive_bytes)

    def _take_output(self) -> bytes | memoryview:
        """Take out what is to be offered to the kernel next; `sent` puts back what the kernel leaves.

        Meanwhile it is nobody's: whatever a `__del__` or a signal handler writes now comes behind it.
        """
        if self._output is not None:
            return self._output.take()
        data, self._unsent = self._unsent, b""
        return data

    def _put_back(self, data: bytes | memoryview, count: int) -> bool:
        """The kernel took the first `count` bytes of `data`, which `take_output` gave; whether nothing waits now."""
        if isinstance(data, memoryview):
            assert self._output is not None
            data.release()  # a block cannot grow under a view
            self._output.put_back(count)
            self.reactor.counters.buffered_bytes -= count
            if not self._output:
                self._output = None
        elif count < len(data):
            self._start_output(data, count)
        return not (self._unsent or self._output is not None)

    def _buffered_bytes(self) -> int:
        """What is kept for it, against `memory_bytes`. A chunk that was not yet offered to the kernel is not."""
        return self._kept_bytes + (len(self._output) if self._output is not None else 0)

    def _drop_buffers(self) -> None:
        """Forget what was not sent, and what was not a frame yet: the connection has ended."""
        size = self._buffered_bytes()
        self._kept_bytes = 0
        self._given_up = None
        self._unsent, self._output = b"", None
        self.reactor.counters.buffered_bytes -= size

    def _check_high_mark(self) -> None:
        """Pause the protocol's writing if more than the high mark waits.

        A chunk that the kernel was not offered yet, and that is alone, does not wait: it mostly takes all of it, and
        to be paused and resumed for nothing was a sixth of what a 1 MiB message cost.
        """
        if self._output is not None and len(self._output) > self._high_bytes and self.state.writes:
            self._pause()

    def _pause(self) -> None:
        """Call `pause_writing`, unless the protocol is paused already."""
        if not self._writing_paused:
            self._writing_paused = True
            self._touch()
            try:
                self._protocol.pause_writing()
            except Exception as exc:
                # Here, not in the caller of `write`: that may be the callback of another connection.
                self._fail("pause_writing", exc)
            except BaseException:  # SystemExit: whoever runs the loop again goes on from here
                self._ask_for_attention()
                raise

    def _fail(self, callback: str, exc: Exception) -> None:
        """The protocol's `callback` raised `exc`: log it once, end this connection, spare the others (E9)."""
        self._end(CloseReason.HANDLER_ERROR, exc)
        report(logger, logging.ERROR, "%s raised in %s; ending its connection", callback, self, exc=exc)

    def _touch(self) -> None:
        """Something has changed beyond plain output: have the state, the interest and the deadline looked at."""
        self._steady = 0
        if not self._attended:
            self._ask_for_attention()

    def _ask_for_attention(self) -> None:
        """Have it settled in the flush phase. On the list once at most: places there are turns (law 8)."""
        self._attended = True
        if not self._queued:
            self._queued = True
            self._attention.append(self)

    # Parts of the above.

    def _write_rare(self, data: bytes) -> None:
        if not self.state.writes:
            self._refuse_write()
        elif self._has_output():
            if data:
                self._append(data)
        else:
            self._unsent = data
            if not self._attended:
                self._ask_for_attention()

    def _append(self, data: bytes) -> None:
        if self._output is None:  # not offered to the kernel yet, so nobody could be asked to pause
            self._start_output(b"", 0)
        elif len(self._output) > self.limits.output_hard_bytes:  # the pause was not heard, or not heeded (W1)
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

    def _start_output(self, data: bytes, sent: int) -> None:
        """Have a backlog: `data`, of which `sent` bytes are gone, in front of `unsent`, in front of what is there."""
        backlog = OutputBuffer()  # before anything is changed: to allocate may run the collector, and that a `write`
        self._steady = 0
        if self._output is None:
            self._output = backlog
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
        if self._dropped_writes == 1:  # once, however many follow (W4); a log handler may write here too
            report(logger, logging.INFO, "%s has ended: what is written to it is dropped", self)

    def __repr__(self) -> str:
        peer = str(self._peername)
        if not peer.isprintable():  # the path of a UNIX peer is the peer's own text, and this goes to the log
            peer = ascii(peer)
        return f"<Connection {self._fd} {self.state.label} peer={peer}>"


def _as_bytes(data: Any) -> bytes:
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"data must be bytes, bytearray or memoryview, not {type(data).__name__}")

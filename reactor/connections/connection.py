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
        "socket",  # the handle; only the dispatcher calls it
        "fd",  # its number, for as long as its dispatcher knows it by that; then -1
        "protocol",  # whom to tell
        "state",  # where in its life; moved by `set_state` alone
        "peername",  # the peer's address as `accept` or `connect` had it
        "ordinary",  # READABLE, the event to expect, if it is open and reading and nothing was changed; else 0
        "receive_bytes",  # how much to ask the kernel for: little, until it fills that
        "unsent",  # the only chunk written since the last send: kept as it is, not copied
        "backlog",  # an OutputBuffer once there is more than that, or the kernel was full; else None
        "limits",  # the bounds it lives under
        "high_bytes",  # output above this pauses the protocol's writing
        "low_bytes",  # output at or below this resumes it
        "writing_paused",  # `pause_writing` was called last
        "reading_paused",  # the protocol wants no data now
        "known",  # events the kernel has told and, level-triggered, would tell for ever
        "fin_sent",  # our side of the socket is shut down
        "undelivered",  # while it lingers: the bytes of output that its peer did not have when we looked last
        "interest",  # what the kernel was last asked to watch
        "since",  # when it came into its state, in seconds of the clock; so are the next three
        "heard_at",  # when input last came
        "progress_at",  # when the kernel last took output, or output began to wait
        "frame_since",  # when the unfinished frame began; NEVER without one
        "frame_bytes",  # input that is kept for it, not handed to its program yet
        "rest",  # input that a former protocol gave up, and whether the peer's end follows, until it is told; else None
        "settled_state",  # the state that it was last settled in
        "reactor",  # the `Reactor` that it lives on: a later file, so its type is not named here
        "attention",  # the dispatcher's queue of connections to settle
        "attended",  # on that list, or in its own callback: it will be settled
        "queued",  # on that list, whatever else
        "look_at",  # when its deadline is looked at, in seconds of the clock; infinity: not
        "admitted_from",  # the host it was let in from; None if we opened it
        "close_reason",  # why it ends, once that is known
        "error",  # what `connection_lost` will be given
        "dropped_writes",  # writes after the end
        "holds",  # how often the program said that it is busy with this one, less how often it said that it is done
    )

    def __init__(
        self,
        sock: socket.socket,
        peername: Any,
        limits: Limits,
        reactor: Any,
        attention: deque[Connection],
    ) -> None:
        self.socket = sock
        self.fd = sock.fileno()
        self.protocol: Protocol = None  # type: ignore[assignment]  # until CLOSED
        self.state: State = NEW
        self.peername = peername
        self.ordinary = 0
        self.unsent = b""
        self.backlog: OutputBuffer | None = None
        self.limits = limits
        self.high_bytes = limits.output_high_bytes
        self.low_bytes = limits.output_low_bytes
        self.writing_paused = False
        self.reading_paused = False
        self.known = 0
        self.fin_sent = False
        self.undelivered: float = math.inf
        self.interest = 0
        self.since = NEVER
        self.heard_at = NEVER
        self.progress_at = NEVER
        self.frame_since = NEVER
        self.frame_bytes = 0
        self.rest: tuple[bytes, bool] | None = None
        self.settled_state: State = NEW
        self.reactor = reactor
        self.attention = attention
        self.attended = False
        self.queued = False
        self.look_at = math.inf
        self.admitted_from: str | None = None
        self.close_reason: CloseReason | None = None
        self.error: Exception | None = None
        self.dropped_writes = 0
        self.holds = 0
        self.receive_little()

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
        if self.ordinary and not self.unsent:
            self.unsent = data
            if not self.attended:
                self.ask_for_attention()
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
            self.touch()
        elif self.state is HALF_CLOSED_REMOTE:
            self.close()

    def can_write_eof(self) -> bool:
        """True: TCP can end one direction alone."""
        return True

    def close(self) -> None:
        """Send what was written, then end the connection. No more data is delivered. Again does nothing."""
        self.finish(CloseReason.CLOSED, None)

    def abort(self) -> None:
        """End the connection now. What is not sent yet is lost, and the peer can tell: it sees a reset."""
        self.end(CloseReason.ABORTED, None)

    def is_closing(self) -> bool:
        """Whether the connection has ended, or is about to: no data will be delivered, no write be taken."""
        return not (self.state.delivers or self.state.writes)

    def pause_reading(self) -> None:
        """Deliver no data until `resume_reading`. The kernel's buffer fills, and TCP holds the peer back."""
        if not self.reading_paused:
            self.reading_paused = True
            self.known = 0  # this pause is another one: a FIN that came behind unread data may now be first
        self.touch()

    def resume_reading(self) -> None:
        """Deliver data again. Does nothing when reading is not paused."""
        self.reading_paused = False
        self.touch()

    def is_reading(self) -> bool:
        """Whether data that arrives would be delivered."""
        return self.state.delivers and not self.reading_paused

    def hold(self) -> None:
        """Say that an answer is still to come on this connection, from a timer or a thread for example.

        A drain waits for it, within `drain_seconds`, where it would else close a connection that has nothing to send.
        Each call wants one of `release`. Nothing else changes: the deadlines of `Limits` go on. `close` ends all holds:
        whoever closes has nothing more to say.
        """
        self.holds += 1

    def release(self) -> None:
        """Say that an answer for which `hold` was called is written, or will not come.

        RuntimeError when it was not called so often. After `close` or the end it does nothing.
        """
        if self.holds:
            self.holds -= 1
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
        self.high_bytes, self.low_bytes = high, low
        self.touch()
        self.check_high_mark()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The marks (low, high) in bytes."""
        return self.low_bytes, self.high_bytes

    def has_output(self) -> bool:
        """Whether anything waits to be sent."""
        return bool(self.unsent) or self.backlog is not None

    def get_write_buffer_size(self) -> int:
        """How many bytes were written and not yet taken by the kernel."""
        return len(self.unsent) + (len(self.backlog) if self.backlog is not None else 0)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What is known by `name`: "peername", "sockname", "socket"; `default` for anything else.

        The addresses are those of the `socket` module: (host, port) for IPv4, (host, port, flow, scope) for
        IPv6. Use "socket" for options (`setsockopt`), never to read, write or close.
        """
        if name == "peername":
            return self.peername
        if name == "socket":
            return self.socket
        if name == "sockname" and self.state is not CLOSED:
            return self.socket.getsockname()
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
        if self.state is CLOSED or protocol is self.protocol:
            return
        give_up_input = getattr(self.protocol, "give_up_input", None)
        data, ended = give_up_input() if give_up_input is not None else (b"", False)
        self.protocol = protocol
        self.writing_paused = False
        if data or ended:
            later, end_later = self.rest or (b"", False)
            self.rest = data + later, ended or end_later
            self.keep_input(0, NEVER)
        self.touch()

    def get_protocol(self) -> Protocol | None:
        """The protocol that is being told; None once it has heard of the end."""
        return self.protocol

    # What the dispatcher asks.

    def rest_is_due(self) -> bool:
        """Whether the protocol is to be told now what a former one gave up: it is there, and wanted."""
        if self.rest is None or (self.reading_paused and self.rest[0]):
            return False
        return self.state.delivers or self.state is HALF_CLOSED_REMOTE or self.state is FLUSHING

    def end(self, reason: CloseReason, error: Exception | None) -> None:
        """End it, now, for `reason`. The first reason of an unclean end stands; what follows does nothing."""
        state = self.state
        if state is ENDED or state is CLOSED:
            return
        self.close_reason = reason
        self.error = error
        self.holds = 0
        set_state(self, state, ENDED)
        self.touch()

    def finish(self, reason: CloseReason, error: Exception | None) -> None:
        """`close`, for `reason`: what was written is sent before the end. `connection_lost` gets `error`."""
        state = self.state
        if state is HALF_CLOSED_REMOTE:  # the peer closed first, and that stays the reason
            set_state(self, state, FLUSHING)
        elif state is OPEN or state is HALF_CLOSED_LOCAL:
            self.close_reason = reason
            self.error = error
            set_state(self, state, CLOSING)
        else:
            return
        self.holds = 0
        self.rest = None  # no more is delivered; its bytes are counted until the end, as those of a frame are
        self.touch()

    def keep_input(self, size: int, frame_since: float) -> None:
        """Told by whoever splits the input into frames: `size` bytes of it are kept, against `memory_bytes`.

        What a former protocol gave up and this one was not told yet is counted as well, without its saying so.
        `frame_since` is when the frame began that the peer has yet to finish, and has `frame_seconds` for; NEVER
        if it owes us nothing.
        """
        if self.rest is not None:
            size += len(self.rest[0])
        grown = size - self.frame_bytes
        self.frame_bytes = size
        self.reactor.counters.buffered_bytes += grown
        if frame_since != self.frame_since:
            self.frame_since = frame_since
            if frame_since != NEVER:
                self.touch()

    def receive_little(self) -> None:
        """Ask for little from now on, until that is filled."""
        self.receive_bytes = min(SMALL_RECEIVE_BYTES, self.limits.receive_bytes)

    def take_output(self) -> bytes | memoryview:
        """Take out what is to be offered to the kernel next; `sent` puts back what the kernel leaves.

        Meanwhile it is nobody's: whatever a `__del__` or a signal handler writes now comes behind it.
        """
        if self.backlog is not None:
            return self.backlog.take()
        data, self.unsent = self.unsent, b""
        return data

    def sent(self, data: bytes | memoryview, count: int) -> bool:
        """The kernel took the first `count` bytes of `data`, which `take_output` gave; whether nothing waits now."""
        if isinstance(data, memoryview):
            assert self.backlog is not None
            data.release()  # a block cannot grow under a view
            self.backlog.put_back(count)
            self.reactor.counters.buffered_bytes -= count
            if not self.backlog:
                self.backlog = None
        elif count < len(data):
            self._start_backlog(data, count)
        return not (self.unsent or self.backlog is not None)

    def buffered_bytes(self) -> int:
        """What is kept for it, against `memory_bytes`. A chunk that was not yet offered to the kernel is not."""
        return self.frame_bytes + (len(self.backlog) if self.backlog is not None else 0)

    def drop_buffers(self) -> None:
        """Forget what was not sent, and what was not a frame yet: the connection has ended."""
        size = self.buffered_bytes()
        self.frame_bytes = 0
        self.rest = None
        self.unsent, self.backlog = b"", None
        self.reactor.counters.buffered_bytes -= size

    def check_high_mark(self) -> None:
        """Pause the protocol's writing if more than the high mark waits.

        A chunk that the kernel was not offered yet, and that is alone, does not wait: it mostly takes all of it, and
        to be paused and resumed for nothing was a sixth of what a 1 MiB message cost.
        """
        if self.backlog is not None and len(self.backlog) > self.high_bytes and self.state.writes:
            self.pause()

    def pause(self) -> None:
        """Call `pause_writing`, unless the protocol is paused already."""
        if not self.writing_paused:
            self.writing_paused = True
            self.touch()
            try:
                self.protocol.pause_writing()
            except Exception as exc:
                # Here, not in the caller of `write`: that may be the callback of another connection.
                self.fail("pause_writing", exc)
            except BaseException:  # SystemExit: whoever runs the loop again goes on from here
                self.ask_for_attention()
                raise

    def fail(self, callback: str, exc: Exception) -> None:
        """The protocol's `callback` raised `exc`: log it once, end this connection, spare the others (E9)."""
        self.end(CloseReason.HANDLER_ERROR, exc)
        report(logger, logging.ERROR, "%s raised in %s; ending its connection", callback, self, exc=exc)

    def touch(self) -> None:
        """Something has changed beyond plain output: have the state, the interest and the deadline looked at."""
        self.ordinary = 0
        if not self.attended:
            self.ask_for_attention()

    def ask_for_attention(self) -> None:
        """Have it settled in the flush phase. On the list once at most: places there are turns (law 8)."""
        self.attended = True
        if not self.queued:
            self.queued = True
            self.attention.append(self)

    # Parts of the above.

    def _write_rare(self, data: bytes) -> None:
        if not self.state.writes:
            self._refuse_write()
        elif self.has_output():
            if data:
                self._append(data)
        else:
            self.unsent = data
            if not self.attended:
                self.ask_for_attention()

    def _append(self, data: bytes) -> None:
        if self.backlog is None:  # not offered to the kernel yet, so nobody could be asked to pause
            self._start_backlog(b"", 0)
        elif len(self.backlog) > self.limits.output_hard_bytes:  # the pause was not heard, or not heeded (W1)
            waiting, hard = len(self.backlog), self.limits.output_hard_bytes
            error = ConnectionAbortedError(f"{waiting} bytes waited to be sent, more than output_hard_bytes ({hard})")
            self.end(CloseReason.SLOW_READER, error)
            return
        assert self.backlog is not None
        size = len(data)
        self.backlog.append(data)
        self.reactor.counters.buffered_bytes += size
        if not self.attended:
            self.ask_for_attention()
        self.check_high_mark()

    def _start_backlog(self, data: bytes, sent: int) -> None:
        """Have a backlog: `data`, of which `sent` bytes are gone, in front of `unsent`, in front of what is there."""
        backlog = OutputBuffer()  # before anything is changed: to allocate may run the collector, and that a `write`
        self.ordinary = 0
        if self.backlog is None:
            self.backlog = backlog
        unsent, self.unsent = self.unsent, b""
        for chunk, gone in ((unsent, 0), (data, sent)):
            size = len(chunk) - gone
            if size:
                self.backlog.prepend(chunk, gone)
                self.reactor.counters.buffered_bytes += size

    def _refuse_write(self) -> None:
        if self.state is HALF_CLOSED_LOCAL:
            raise RuntimeError("write after write_eof: our side of the connection has ended")
        self.reactor.counters.dropped_writes += 1
        self.dropped_writes += 1
        if self.dropped_writes == 1:  # once, however many follow (W4); a log handler may write here too
            report(logger, logging.INFO, "%s has ended: what is written to it is dropped", self)

    def __repr__(self) -> str:
        peer = str(self.peername)
        if not peer.isprintable():  # the path of a UNIX peer is the peer's own text, and this goes to the log
            peer = ascii(peer)
        return f"<Connection {self.fd} {self.state.label} peer={peer}>"


def _as_bytes(data: Any) -> bytes:
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"data must be bytes, bytearray or memoryview, not {type(data).__name__}")

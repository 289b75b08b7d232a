"""One client: it sends its messages, checks every byte that comes back, and says how it ended.

What it has sent and what must come back is one stream of bytes (see `messages`). So three positions in that stream
say where a client stands:

  received  <=  written  <=  due

`due` is the end of the last message that it is time to send. `written` is how much was given to the connection.
`received` is how much has come back, correct to the last byte. In a closed loop the next message is due when the last
one is back. At a fixed rate a schedule makes it due, whatever has come back; then the three move apart.

TCP keeps no message borders, so received data is compared wherever it begins and ends. Nearly always it is exactly
the message that was just sent. Then one comparison of two `bytes` is enough: that is `awaited`.

A late byte is an error like a wrong one, if this process was there to receive it (see `presence`). To cancel and arm
a timer for every message would cost as much as the message. So a client has one timer. When it fires, it looks how
long the wait has lasted, and usually goes back to sleep.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable

from reactor import Connection, Protocol, Reactor

from .messages import PIECE_BYTES


class Outcome(enum.Enum):
    """How a client ended. All but `COMPLETE` are errors."""

    COMPLETE = "complete"  # every byte of every message came back, right and in time
    REFUSED = "refused"  # it could not connect: turned away, or no route
    RESET = "reset"  # the connection broke
    CLOSED_EARLY = "closed_early"  # the server ended the stream before everything was back
    TIMED_OUT = "timed_out"  # no connection, or no next byte, within the allowed time
    MISMATCHED = "mismatched"  # a byte that is wrong, out of place, or superfluous


ERRORS = tuple(outcome for outcome in Outcome if outcome is not Outcome.COMPLETE)


@dataclasses.dataclass(slots=True)
class Plan:
    """What all clients of a run share. Functions are bound once, because they are called for every message."""

    reactor: Reactor
    clock: Callable[[], float]  # the reactor's, in seconds
    piece: Callable[[int, int, int], bytes]  # `Messages.piece`
    size: int  # bytes of a message
    total_bytes: int  # of all messages of one client, at most
    timeout_seconds: float  # the longest wait for the next byte
    interval_seconds: float  # between two messages of one client; 0: a closed loop
    record: Callable[[float, float], object]  # `Latencies.record`
    on_end: Callable[[], object]  # called once for each client: it has its outcome
    on_lost: Callable[[], object]  # called once for each client: its connection is gone
    waited: Callable[[float], float] | None = None  # `Presence.waited`; None: by the clock alone
    ends_at: float = math.inf  # a client whose message is back now or later sends no other; in seconds of the clock


class Client(Protocol):
    """The honest client number `number`."""

    __slots__ = (
        "plan",
        "number",
        "connection",
        "outcome",  # None until it has ended
        "due",
        "written",
        "received",
        "awaited",  # the next bytes to receive, if they are known as one object; else b""
        "writing_paused",  # the connection has enough to send for now
        "first_at",  # when the first message was sent, or was scheduled
        "began_at",  # the same for the oldest message that is not back
        "waiting_since",  # when the wait for the next byte began
    )

    def __init__(self, plan: Plan, number: int) -> None:
        self.plan = plan
        self.number = number
        self.outcome: Outcome | None = None
        self.due = self.written = self.received = 0
        self.awaited = b""
        self.writing_paused = False
        self.first_at = self.began_at = self.waiting_since = 0.0

    def connection_made(self, connection: Connection) -> None:
        self.connection = connection

    def begin(self, now: float, first_at: float) -> None:
        """Start to send and to measure. The first message is scheduled for `first_at`, in seconds of the reactor."""
        self.first_at = self.began_at = first_at
        self._watch(now + self.plan.timeout_seconds)
        if not self.plan.interval_seconds:
            self.send_next(now)

    # Sending.

    def send_next(self, now: float) -> None:
        """Make one more message due."""
        if self.received == self.due:
            self.waiting_since = now
        self.due += self.plan.size
        self._write()

    def _write(self) -> None:
        """Write what is due, in pieces, while the connection takes it.

        So a slow server makes clients wait, and they do not fill the memory with unsent messages.
        """
        while (written := self.written) < self.due and not self.writing_paused and self.outcome is None:
            piece = self.plan.piece(self.number, written, PIECE_BYTES)
            if written == self.received:
                self.awaited = piece
            self.written = written + len(piece)
            self.connection.write(piece)

    def pause_writing(self) -> None:
        self.writing_paused = True

    def resume_writing(self) -> None:
        self.writing_paused = False
        self._write()

    # Receiving.

    def data_received(self, data: bytes) -> None:
        if data == self.awaited:
            self._advance(len(data))
        else:
            self._compare(data)

    def _compare(self, data: bytes) -> None:
        start = 0
        while start < len(data):
            # No byte can come back that was not sent: beyond the end of what was written, every byte is an error.
            length = min(len(data) - start, self.written - self.received, PIECE_BYTES)
            expected = self.plan.piece(self.number, self.received, length)
            if not expected or not data.startswith(expected, start):
                self._end(Outcome.MISMATCHED)
                return
            start += len(expected)
            self._advance(len(expected))

    def _advance(self, count: int) -> None:
        """Note that so many bytes have come back correct; they do not cross the end of a message."""
        plan = self.plan
        self.waiting_since = now = plan.clock()
        self.awaited = b""
        self.received = received = self.received + count
        if received % plan.size:
            return
        plan.record(self.began_at, now)
        if received == plan.total_bytes or now >= plan.ends_at:
            self._end(Outcome.COMPLETE)
        elif plan.interval_seconds:
            # The time for which the next message was scheduled, not the time when it could be sent: see `schedule`.
            self.began_at = self.first_at + received // plan.size * plan.interval_seconds
        else:
            self.began_at = now
            self.send_next(now)

    # Ending.

    def _watch(self, deadline: float) -> None:
        self.plan.reactor.call_at(deadline, self._check_deadline)

    def _check_deadline(self) -> None:
        if self.outcome is not None:
            return
        now, timeout_seconds, waited = self.plan.clock(), self.plan.timeout_seconds, self.plan.waited
        if self.received == self.due:  # between two messages of a schedule: no byte is missing
            self._watch(now + timeout_seconds)
            return
        seconds = now - self.waiting_since if waited is None else waited(self.waiting_since)
        if seconds < timeout_seconds:
            self._watch(now + timeout_seconds - seconds)
        else:
            self._end(Outcome.TIMED_OUT)

    def eof_received(self) -> None:
        self._end(Outcome.CLOSED_EARLY)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:  # otherwise we ended it, or `eof_received` has told
            self._end(Outcome.TIMED_OUT if isinstance(exc, TimeoutError) else Outcome.RESET)
        self.plan.on_lost()

    def leave(self) -> None:
        """End the connection. After a good run, in order: the server may still answer, and a superfluous byte shows."""
        if self.outcome is Outcome.COMPLETE:
            self.connection.write_eof()
        else:
            self.connection.abort()

    def _end(self, outcome: Outcome) -> None:
        """Keep the first outcome. But a client that was complete and then gets more bytes is a mismatch."""
        if self.outcome is None:
            self.outcome = outcome
            self.plan.on_end()
            # The connection stays open to the end of the run, like all others; what comes is left unread.
            if outcome is not Outcome.COMPLETE:
                self.connection.pause_reading()
        elif self.outcome is Outcome.COMPLETE and outcome is Outcome.MISMATCHED:
            self.outcome = outcome
            self.connection.abort()

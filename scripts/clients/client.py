"""One client: it sends its messages, checks every byte that comes back, and says how it ended.

What it has sent and what must come back is one stream of bytes (see `messages`), so where a client stands is
said by three positions in it:

    received  <=  written  <=  due

`due` is the end of the last message that it is time to send, `written` is how far it was given to the
connection, `received` how far it has come back, right to the last byte. In a closed loop the next message is
due when the last one is back. At a fixed rate a schedule makes it due, whatever came back; there the three
drift apart.

TCP keeps no borders, so what is received is compared wherever it begins and ends. But nearly always it is the
message that was just sent, whole and alone, and then one comparison of two `bytes` does it: that is
`awaited`.

A byte that comes too late is an error like a wrong one, if this process was there to receive it (see `presence`).
Cancelling and arming a timer for every message would
cost as much as the message, so a client has one timer that looks, when it fires, at how long the wait has
been by now, and mostly goes back to sleep.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable

from reactor import Connection, Protocol, Reactor

from .messages import PIECE_BYTES


class Outcome(enum.Enum):
    """How a client ended. All but `SERVED` are errors."""

    SERVED = "served"  # every byte of every message came back, right and in time
    REFUSED = "refused"  # it could not connect: turned away, or no way there
    RESET = "reset"  # the connection was broken off
    CLOSED_EARLY = "closed_early"  # the server ended the stream before all was back
    TIMED_OUT = "timed_out"  # no connection, or not the next byte, within the time allowed
    MISMATCHED = "mismatched"  # a byte that is wrong, out of place, or one too many


ERRORS = tuple(outcome for outcome in Outcome if outcome is not Outcome.SERVED)


@dataclasses.dataclass(slots=True)
class Plan:
    """What all clients of a run have in common. Functions are bound once: they are called for every message."""

    reactor: Reactor
    clock: Callable[[], float]  # the reactor's, in seconds
    piece: Callable[[int, int, int], bytes]  # `Messages.piece`
    size: int  # bytes of a message
    total_bytes: int  # of all messages of one client
    timeout_seconds: float  # the longest wait for the next byte
    interval_seconds: float  # between two messages of one client; 0: a closed loop
    record: Callable[[float, float], object]  # `Latencies.record`
    on_end: Callable[[], object]  # called once a client: it has its outcome
    on_lost: Callable[[], object]  # called once a client: its connection is gone
    waited: Callable[[float], float] | None = None  # `Presence.waited`; None: by the clock alone


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
        "awaited",  # what is next to be received, if that is known as one object; else b""
        "writing_paused",  # the connection has enough to send for now
        "first_at",  # when the first message was sent, or scheduled
        "began_at",  # the same of the oldest message that is not back
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
        """Start to send, and to be timed. The first message is for `first_at`, in seconds of the reactor."""
        self.first_at = self.began_at = first_at
        self._watch(now + self.plan.timeout_seconds)
        if not self.plan.interval_seconds:
            self.send_next(now)

    # Sending.

    def send_next(self, now: float) -> None:
        """One more message is due."""
        if self.received == self.due:
            self.waiting_since = now
        self.due += self.plan.size
        self._write()

    def _write(self) -> None:
        """Write what is due, in pieces, for as long as the connection takes it.

        So a slow server makes clients wait, and not fill the memory with messages that it has not asked for.
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
            # Nothing can have come back that was not sent: where the stream ends, more is an error too.
            length = min(len(data) - start, self.written - self.received, PIECE_BYTES)
            expected = self.plan.piece(self.number, self.received, length)
            if not expected or not data.startswith(expected, start):
                self._end(Outcome.MISMATCHED)
                return
            start += len(expected)
            self._advance(len(expected))

    def _advance(self, count: int) -> None:
        """So many bytes have come back right, and none of them beyond the end of a message."""
        plan = self.plan
        self.waiting_since = now = plan.clock()
        self.awaited = b""
        self.received = received = self.received + count
        if received % plan.size:
            return
        plan.record(self.began_at, now)
        if received == plan.total_bytes:
            self._end(Outcome.SERVED)
        elif plan.interval_seconds:
            # When the next message was scheduled for, and not when it could be sent: see `schedule`.
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
        if self.received == self.due:  # between two messages of a schedule: nobody owes us a byte
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
        if exc is not None:  # else the end was our own wish, or told by `eof_received`
            self._end(Outcome.TIMED_OUT if isinstance(exc, TimeoutError) else Outcome.RESET)
        self.plan.on_lost()

    def leave(self) -> None:
        """Go. A server that did well may say goodbye first; if it has a byte too many, that comes before."""
        if self.outcome is Outcome.SERVED:
            self.connection.write_eof()
        else:
            self.connection.abort()

    def _end(self, outcome: Outcome) -> None:
        """The first outcome stands. But whoever was served and is then sent more was not served right."""
        if self.outcome is None:
            self.outcome = outcome
            self.plan.on_end()
            # The connection is held to the end of the run, like all the others, and whatever comes is left unread.
            if outcome is not Outcome.SERVED:
                self.connection.pause_reading()
        elif self.outcome is Outcome.SERVED and outcome is Outcome.MISMATCHED:
            self.outcome = outcome
            self.connection.abort()

"""The input of one stream, worked out a second time.

What does a read owe to its caller? Here this follows from what the peer has sent, what was delivered, and what earlier
reads have returned. A stream may return a byte twice or never, find a line late, wait for what it has, keep too much,
or judge its peer too early. Each of these is seen from outside.

The frame deadline: the peer owes the rest while a read waits and something is kept. Only that time counts, also that of
an earlier read that was broken off. All begins anew when something was taken.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .laws import DELIVERING, NEVER, OVER

if TYPE_CHECKING:
    from .tasks import Life
    from .witness import Witness

FOREVER = math.inf


class Ask:
    """One read: what it asks for."""

    __slots__ = ("reads", "delimiter", "count", "most")

    def __init__(self, reads: Reads, delimiter: bytes = b"", count: int = 0, most: int = -1) -> None:
        self.reads = reads
        self.delimiter = delimiter  # b"" for one that asks for `count` bytes
        self.count = count  # 0: as many as there are
        self.most = reads.witness.world.limits.frame_bytes if most < 0 else most

    def is_there(self) -> bool:
        """Whether it must be over."""
        reads = self.reads
        if reads.is_lost() or reads.is_told_end():
            return True
        kept = reads.kept()
        if not self.delimiter:
            return kept >= max(1, self.count)
        return self._found() >= 0 or kept >= self.most + len(self.delimiter)

    def _found(self) -> int:
        """Where the delimiter begins, counted from what is kept; -1 if it is not there."""
        found = self.reads.stream().find(self.delimiter, self.reads.begin, self.reads.witness.delivered)
        return found - self.reads.begin if found >= 0 else -1

    def is_too_long(self) -> bool:
        """Whether what was delivered shows that more than `most` bytes come before the delimiter."""
        found, delimiter = self._found(), self.delimiter
        if found >= 0:
            return found > self.most
        end = bytes(self.reads.stream()[self.reads.begin : self.reads.witness.delivered])
        begun = max(size for size in range(len(delimiter)) if end.endswith(delimiter[:size]))
        return len(end) - begun > self.most

    def waits(self) -> None:
        """It is suspended, and is not in a break."""
        self.reads.read_waits(self)


class Reads:
    """The reads of one stream. It stands in the place of `frames.Frames`."""

    __slots__ = ("witness", "begin", "reader", "since", "spent", "refused", "handler", "ended", "batch", "is_closed")

    def __init__(self, witness: Witness) -> None:
        self.witness = witness
        self.begin = witness.delivered  # up to here, reads have returned it
        self.reader: Life | None = None  # the task that is in a read
        self.since = NEVER  # since when the peer owes the rest
        self.spent = 0.0  # how long it had before for the same rest
        self.refused = False  # the handler has ended because something was too long
        self.handler: Life | None = None
        self.ended = False  # it had a handler
        self.is_closed = False  # the program has called `Stream.close`
        self.batch = 0  # bytes of lines that `lines` has given, and that may be counted until the batch is over

    def stream(self) -> bytearray:
        """All that the peer has sent."""
        sent: bytearray = self.witness.endpoint.peer.owner.sent
        return sent

    def kept(self) -> int:
        """How many delivered bytes no read has returned."""
        return self.witness.delivered - self.begin if self.witness.life != "gone" else 0

    def is_lost(self) -> bool:
        """Whether reads raise when nothing is left."""
        return self.witness.life in ("lost", "gone")

    def is_told_end(self) -> bool:
        """Whether the stream was told that the peer has ended."""
        return self.witness.life == "eof"

    def may_end(self) -> bool:
        """Whether a read may tell that no more comes."""
        return self.is_told_end() or self.witness.asked_close or self.witness.state not in DELIVERING

    def is_awaited(self) -> bool:
        """Whether a task waits in a read now."""
        reader = self.reader
        return reader is not None and not reader.in_break and reader is not self.witness.world.tasks.running()

    def owes_answer(self) -> bool:
        """Whether a drain waits for it: the handler is at work, and no task waits in a read."""
        return self.handler is not None and not self.is_awaited()

    def handler_ended(self) -> None:
        """Its handler has returned or raised."""
        self.handler, self.ended = None, True
        self.witness.released_at = self.witness.world.network.now

    # What happens.

    def begins(self, life: Life, ask: Ask) -> None:
        """A task begins a read."""
        life.reading, self.reader = ask, life

    def ends(self, life: Life) -> None:
        """That read has ended."""
        life.reading = self.reader = None
        self._stop_clock()

    def closed(self) -> None:
        """The program has closed the stream, which forgets what was kept."""
        if self.witness.life in ("made", "eof"):
            self.is_closed = True
            self.begin, self.batch = self.witness.delivered, 0
            self.since, self.spent = NEVER, 0.0

    def _stop_clock(self) -> None:
        if self.since != NEVER:
            self.spent, self.since = self.witness.world.loop_time - self.since, NEVER

    def read_waits(self, _ask: Ask) -> None:
        """The read has to wait. If something is kept, the peer owes the rest from now on."""
        self.witness.released_at = self.witness.world.network.now
        if self.kept() and self.since == NEVER:
            self.since = self.witness.world.loop_time - self.spent

    def took(self, data: bytes, dropped: int = 0) -> None:
        """Law 5: a read has returned `data`; `dropped` bytes behind it are a delimiter."""
        require, witness = self.witness.world.tasks.require, self.witness
        same = self.stream().startswith(data, self.begin)
        require(same, 5, "{} has read {!r} at {}, where the peer sent {!r}", witness.connection, data[:40], self.begin,
                bytes(self.stream()[self.begin : self.begin + 40]))  # fmt: skip
        self.begin += len(data) + dropped
        require(self.begin <= witness.delivered, 5, "{} has read {} bytes, and was given {}", witness.connection,
                self.begin, witness.delivered)  # fmt: skip
        self.since, self.spent = NEVER, 0.0

    def got(self, ask: Ask, data: bytes, whole: bool) -> None:
        """Laws 5 and 6: `read`, `read_exactly` or `read_until` has returned `data`; `whole`: with its delimiter."""
        require, where = self.witness.world.tasks.require, self.witness.connection
        self.took(data)
        self.batch = 0
        if not ask.delimiter and data:
            right = self.begin == self.witness.delivered if not ask.count else len(data) == ask.count
            require(right, 5, "{} has read {} bytes, and asked for {}", where, len(data), ask.count)
        elif whole:
            require(data.find(ask.delimiter) == len(data) - len(ask.delimiter) <= ask.most, 5,
                    "{} has read {!r} up to {!r}, at most {}", where, data, ask.delimiter, ask.most)  # fmt: skip
        else:
            require(not self.kept() and self.may_end(), 5, "{} has read {!r}, and there is no end", where, data)

    def too_large(self, ask: Ask) -> None:
        """Law 6: a read was refused, since it is too long."""
        most = self.witness.world.limits.frame_bytes
        right = ask.is_too_long() if ask.delimiter else ask.count > most
        self.witness.world.tasks.require(right, 6, "a read of {} is refused, and it is not too long",
                                         self.witness.connection)  # fmt: skip

    def incomplete(self, ask: Ask) -> None:
        """Law 5: `read_exactly` has said that the peer has ended before."""
        right = self.may_end() and self.kept() < ask.count
        self.witness.world.tasks.require(right, 5, "{} has {} bytes of {}, and tells an end", self.witness.connection,
                                         self.kept(), ask.count)  # fmt: skip

    def told_lost(self, ask: Ask) -> None:
        """Law 9: a read has raised a ConnectionError."""
        right = (self.is_lost() or self.witness.state in OVER) and (ask.delimiter or self.kept() < max(1, ask.count))
        self.witness.world.tasks.require(right, 9, "a read of {} raises, and it is not lost", self.witness.connection)

    # What the witness asks, as of `Frames`.

    def arrived(self) -> None:
        """More is about to be delivered."""

    def was_told(self) -> None:
        """It was delivered: the callback has returned. Law 6: what is kept is bounded."""
        limits, kept = self.witness.world.limits, self.kept()
        if not self.is_awaited():
            self._stop_clock()
            self.batch = 0
        most = limits.frame_bytes + limits.receive_bytes
        self.witness.world.tasks.require(kept <= most, 6, "{} keeps {} bytes, and {} may be", self.witness.connection,
                                         kept, most)  # fmt: skip

    def given_up_from(self) -> int:
        """From where on a successor gets the input: nothing after a close."""
        return self.begin

    def tells_end_again(self) -> bool:
        """Whether a successor is told of an end that this program has heard of."""
        return self.witness.state in ("HALF_CLOSED_REMOTE", "FLUSHING") and not self.is_closed

    def began_at(self) -> float:
        """Since when the peer owes the rest; NEVER if it does not."""
        return self.since

    def held_back(self) -> bool:
        """Whether the program takes no input."""
        return False

    def must_end_at(self) -> float:
        """When the rest must be there."""
        return self.since + self.witness.world.limits.frame_seconds if self.since != NEVER else FOREVER

    def too_long(self) -> bool:
        """Whether the connection may end as `frame_too_large`."""
        return self.refused

    def loop_sleeps(self) -> None:
        """Law 6: while a task waits in a read, the connection reads. Law 5: it ends with its handler."""
        witness = self.witness
        ends = witness.asked_close or witness.asked_abort or witness.state in OVER or self.is_lost()
        witness.world.tasks.require(ends or not self.ended, 5, "the handler of {} has ended, and it goes on",
                                    witness.connection)  # fmt: skip
        stopped = self.is_awaited() and self.witness.reading_paused and self.witness.state in DELIVERING
        self.witness.world.tasks.require(not stopped, 6, "a read of {} waits, and its reading is paused",
                                         self.witness.connection)  # fmt: skip



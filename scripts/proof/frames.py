"""The frames of a stream, worked out a second time.

A splitter can lose a frame, join two, hand over one that is too long, keep one back, or restart the deadline with
every byte that trickles in. The splitter itself cannot tell us whether it does. So we look at what the peer has sent:
where the next frame begins, whether all of it was delivered, whether it is too long, and when its first byte came.

The deadline of a frame has two bounds. It may not come before `frame_seconds` have passed since its first byte came
(`began_at`). It may not come later than `frame_seconds` after the loop first slept without the rest (`owed_since`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .laws import DELIVERING, NEVER, require

if TYPE_CHECKING:
    from .witness import Witness


class Frames:
    """The frames of one connection whose program takes its input in frames."""

    __slots__ = (
        "witness", "prefixed", "begin", "paused", "owed_since", "_owed", "_spent", "_arrivals", "_turn", "_count",
    )  # fmt: skip

    def __init__(self, witness: Witness, prefixed: bool) -> None:
        self.witness = witness
        self.prefixed = prefixed  # a length of one byte comes before each frame; else a line feed comes after it
        self.begin = witness.delivered  # where the next frame begins in the stream
        self.paused = False  # the program takes no frames now
        self.owed_since = NEVER  # when the loop first slept on the unfinished frame
        self._owed = -1  # where that frame begins
        self._spent = 0.0  # how long the loop has slept on it, while it was not held back
        self._arrivals: list[tuple[int, float]] = []  # positions in the stream, and when they were reached
        self._turn = self._count = 0  # the iteration, and its frames so far

    def arrived(self) -> None:
        """More of the stream has been delivered."""
        arrivals, witness = self._arrivals, self.witness
        while arrivals and arrivals[0][0] <= self.begin:
            del arrivals[0]
        arrivals.append((witness.delivered, witness.world.loop_time))

    batch = 0  # bytes that were handed over and may still be counted

    def was_told(self) -> None:
        """The program was told of it."""

    def owes_answer(self) -> bool:
        """Whether a drain waits for its program: not for one that only takes frames."""
        return False

    def given_up_from(self) -> int:
        """From where on a successor gets the input."""
        return self.begin

    def tells_end_again(self) -> bool:
        """Whether a successor is told of an end that this program has heard of."""
        return True

    def handed_over(self, frame: bytes) -> None:
        """Laws 5, 6 and 8: the program was given `frame`."""
        witness, limits = self.witness, self.witness.world.limits
        witness.world.network.happened += 1  # also if its answer is dropped
        whole, end = self._next()
        require(end and frame == whole, 5, "{} was given the frame {!r} at {}, where the peer sent {!r}",
                witness.connection, frame[:40], self.begin, whole[:40])  # fmt: skip
        require(len(frame) <= limits.frame_bytes, 6, "{} was given a frame of {} bytes, and {} may be",
                witness.connection, len(frame), limits.frame_bytes)  # fmt: skip
        if self._turn != witness.world.iteration:
            self._turn, self._count = witness.world.iteration, 0
        self._count += 1
        last = witness.state == "FLUSHING"  # both sides have ended, and no turn follows
        most = limits.frames_per_iteration
        require(last or self._count <= most, 8, "{} was given {} frames in a turn, and {} may be", witness.connection,
                self._count, most)  # fmt: skip
        self.begin = end

    def ends(self) -> None:
        """Law 5: the program is told that no more frames will come."""
        require(self.paused or not self._next()[1], 5, "{} is told the end before a frame", self.witness.connection)

    def kept(self) -> int:
        """How many delivered bytes are not in a frame that was handed over."""
        return self.witness.delivered - self.begin

    def began_at(self) -> float:
        """When the first byte of the unfinished frame came; NEVER without one."""
        for end, when in self._arrivals:
            if end > self.begin:
                return when
        return NEVER

    def held_back(self) -> bool:
        """Whether frames or output are paused: then the peer is not to blame for the delay."""
        return self.paused or self.witness.paused

    def must_end_at(self) -> float:
        """When the unfinished frame must be whole; infinity without one."""
        limits = self.witness.world.limits
        return self.owed_since + limits.frame_seconds if self.owed_since != NEVER else math.inf

    def too_long(self) -> bool:
        """Whether the delivered bytes show that the next frame is too long."""
        stream, most = self.witness.endpoint.peer.owner.sent, self.witness.world.limits.frame_bytes
        if not self.kept():
            return False
        if self.prefixed:
            return bool(stream[self.begin] > most)
        return self.kept() > most and stream.find(b"\n", self.begin, self.begin + most + 1) < 0

    def loop_sleeps(self) -> None:
        """Law 6: no whole frame is kept back, and the loop waits for no frame that is too long."""
        witness, now = self.witness, self.witness.world.loop_time
        self.owed_since, before = NEVER, self.owed_since
        if before != NEVER:
            absences = witness.world.waiter.absences
            self._spent = now - max([before, *(back_at for _, back_at in absences[-1:])])
        if self.held_back() or not (witness.state in DELIVERING or witness.state == "HALF_CLOSED_REMOTE"):
            return
        require(not self._next()[1], 6, "there is a frame for {} and the loop sleeps", witness.connection)
        require(not self.too_long(), 6, "the rest of a frame that is too long is waited for by {}", witness.connection)
        if self.kept() and witness.life == "made":
            if self._owed != self.begin:
                self._owed, self._spent = self.begin, 0.0
            self.owed_since = now - self._spent  # while it was held back, its time stood still

    def _next(self) -> tuple[bytes, int]:
        """The next frame, and where it ends; the end is 0 if it is not whole."""
        stream, begin, delivered = self.witness.endpoint.peer.owner.sent, self.begin, self.witness.delivered
        if self.prefixed:
            end = begin + 1 + stream[begin] if begin < delivered else 0
            return (bytes(stream[begin + 1 : end]), end) if end <= delivered else (b"", 0)
        end = stream.find(b"\n", begin, delivered)
        return (bytes(stream[begin:end]), end + 1) if end >= 0 else (b"", 0)

"""A program that takes frames, and reports to the proof what it asks for and what it gets.

`FramedProtocol` stands between the connection and the program. It keeps what is not a frame yet, pauses reading for
the program, and has its own deadline. A `Frames` checks it, so the program reports to it each frame, and each pause
of the frames.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from reactor.connections.connection import Connection
from reactor.net.framing import FramedProtocol
from reactor.net.splitters import (
    DelimitedFrames,
    FrameTooLarge,
    PrefixedFrames,
    Splitter,
)

if TYPE_CHECKING:
    from .world import World

MUCH_BYTES = 2000  # more would take too many turns


class Lines(FramedProtocol):
    """Answers each frame. Now and then it pauses frames, ends its side, or hands the connection over (R2 to R4)."""

    __slots__ = ("world", "prefixed", "frames", "draw")

    def __init__(self, world: World) -> None:
        self.world = world
        self.prefixed = world.scenario.seed % 2 == 0

    def connection_made(self, connection: Connection) -> None:
        super().connection_made(connection)
        witness: Any = connection._protocol
        self.frames = witness.wants_frames(self.prefixed)
        self.draw = random.Random(self.world.scenario.seed * 1009 + witness.number).random
        if self.draw() < 0.05:
            self.rest()
        elif self.draw() < 0.3:
            self.world.later(self.draw() * 2, self.rest)

    def make_splitter(self, most: int) -> Splitter:
        """Lines, or frames after a length of one byte."""
        return PrefixedFrames(1, most) if self.prefixed else DelimitedFrames(b"\n", most)

    def pause_frames(self) -> None:
        """Report it."""
        self.frames.paused = True
        super().pause_frames()

    def resume_frames(self) -> None:
        """Report it."""
        self.frames.paused = False
        super().resume_frames()

    def frame_received(self, frame: bytes) -> None:
        """Send it back."""
        self.frames.handed_over(frame)
        if self.connection.state.writes:
            self.connection.write(frame + b"\n")
        for probability, act in HABITS:
            if self.draw() < probability:
                act(self)
                return

    def rest_later(self) -> None:
        """Take no frames for a while; when that starts, a frame may be half there."""
        self.world.later(self.draw() / 4, self.rest)

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def leave(self) -> None:
        """Make a mistake."""
        self.world.leave(1.0, self)

    def end(self) -> None:
        """End our side; the peer may go on."""
        self.connection.write_eof()

    def be_busy(self) -> None:
        """Hold the connection for a while."""
        self.connection.hold()
        self.world.later(self.draw(), self.release)

    def release(self) -> None:
        """Release one hold."""
        if self.connection._holds:
            self.connection.release()

    def hand_over(self) -> None:
        """Give the connection to another program, of bytes or of frames; perhaps paused, or with output waiting."""
        connection = self.connection
        high = connection.get_write_buffer_limits()[1]
        if self.draw() < 0.3 and high <= MUCH_BYTES and connection.state.writes:
            connection.write(bytes(high + 1))
        program = self.world.successor() if self.draw() < 0.7 else Lines(self.world)
        connection.set_protocol(program)
        program.connection_made(connection)
        program.draw = self.draw
        if isinstance(program, Lines):
            return
        if self.draw() < 0.4:
            connection.pause_reading()
            self.world.later(self.draw(), connection.resume_reading)

    def frames_ended(self) -> bool:
        """Keep the connection open now and then, and end it later."""
        self.frames.ends()
        if self.draw() < 0.7:
            return False
        self.world.later(self.draw(), self.connection.close if self.draw() < 0.5 else self.connection.write_eof)
        return True

    def rest(self) -> None:
        """Take no frames for a while. A timer may call this when a frame is half there."""
        self.pause_frames()
        self.world.later(self.draw() * 2, self.resume_frames)

    def frame_too_large(self, error: FrameTooLarge) -> None:
        """Tell the peer."""
        if self.connection.state.writes:
            self.connection.write(b"too long\n")


HABITS = (  # how probable each is after a frame; at most one happens
    (0.1, Lines.rest), (0.25, Lines.rest_later), (0.2, Lines.hand_over), (0.05, Lines.end), (0.04, Lines.be_busy),
    (0.02, Lines.close), (0.02, Lines.leave),
)  # fmt: skip

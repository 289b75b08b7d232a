"""A program that is told of frames, and tells in turn what it asks and what it is given.

`FramedProtocol` is a protocol between the connection and the program: it keeps what is no frame yet, pauses reading
for the program, and has a deadline of its own. A `Frames` looks over its shoulder, and so has to know when the program
wants no frames, and each that it was handed.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from ..core.connection import Connection
from ..net.framing import DelimitedFrames, FramedProtocol, FrameTooLarge, PrefixedFrames, Splitter

if TYPE_CHECKING:
    from .world import World


class Lines(FramedProtocol):
    """Answers whole frames, and now and then pauses them (R2 to R4)."""

    __slots__ = ("world", "prefixed", "frames", "draw")

    def __init__(self, world: World) -> None:
        self.world = world
        self.prefixed = world.scenario.seed % 2 == 0

    def connection_made(self, connection: Connection) -> None:
        super().connection_made(connection)
        self.frames = connection.protocol.wants_frames(self.prefixed)  # type: ignore[attr-defined]
        self.draw = random.Random(self.world.scenario.seed * 1009 + connection.peername[1]).random

    def make_splitter(self, most: int) -> Splitter:
        """Lines, or pieces behind a length of one byte."""
        return PrefixedFrames(1, most) if self.prefixed else DelimitedFrames(b"\n", most)

    def pause_frames(self) -> None:
        """Tell of it."""
        self.frames.paused = True
        super().pause_frames()

    def resume_frames(self) -> None:
        """Tell of it."""
        self.frames.paused = False
        super().resume_frames()

    def frame_received(self, frame: bytes) -> None:
        """Send it back."""
        self.frames.handed_over(frame)
        self.connection.write(frame + b"\n")
        if self.draw() < 0.1:
            self.rest()
        elif self.draw() < 0.3:
            self.world.later(self.draw() / 4, self.rest)
        elif self.draw() < 0.02:
            self.connection.close()
        elif self.draw() < 0.02:
            self.world.leave(1.0, self)

    def rest(self) -> None:
        """Take no frames for a while: in the middle of some, or, by a timer, where one may have begun."""
        self.pause_frames()
        self.world.later(self.draw() * 2, self.resume_frames)

    def frame_too_large(self, error: FrameTooLarge) -> None:
        """Say so."""
        self.connection.write(b"too long\n")

"""A program that is told of frames, in place of pieces of a stream.

A splitter cuts the stream (`splitters`). This class puts it on a connection, where four things can go wrong. A peer
sends 65,536 one-byte frames in one segment, and all others wait until they are handled (R2). A peer sends a frame byte
by byte and never ends it (R3). A peer sends requests and does not read the replies. And the end of the stream overtakes
frames that have not been handled.

So only so many frames are handled before the others have their turn: reading pauses, and the rest follows in the next
iteration. An unfinished frame has a deadline from its first byte. While the program takes no frames that clock stands
still, because the peer is not late then. The peer's end is told after the last frame.
"""

from __future__ import annotations

import enum

from ..connections.connection import Connection
from ..connections.protocol import Protocol
from ..connections.states import FLUSHING, NEVER, CloseReason
from ..loop.timers import Handle
from .splitters import DelimitedFrames, FrameTooLarge, Splitter


class FrameState(enum.Enum):
    """Where the input of one connection is: whether frames are held back, and whether the peer has ended."""

    RECEIVING = ("no whole frame is kept, and the connection reads", False, False)
    HELD = ("frames may be kept, and reading is paused", True, False)
    HELD_AT_END = ("frames are kept, and the peer has ended after them", True, True)
    LAST = ("both sides have ended, and the kept frames are handed over at once", True, True)
    DONE = ("the program was told that frames have ended", False, True)
    GONE = ("the connection was handed over to another protocol", False, False)

    def __init__(self, meaning: str, held: bool, ended: bool) -> None:
        self.meaning = meaning
        self.held = held  # reading is paused
        self.ended = ended  # the peer has ended its side


RECEIVING, HELD, HELD_AT_END, LAST, DONE, GONE = FrameState

NEXT: dict[FrameState, dict[FrameState, str]] = {
    RECEIVING: {
        HELD: "the program wants no frames now, or the budget of an iteration is spent",
        DONE: "the peer's end was read",
        GONE: "`set_protocol`",
    },
    HELD: {
        RECEIVING: "all kept frames are handed over",
        HELD_AT_END: "the peer's end was read",
        LAST: "the peer's end was read after `write_eof`",
        GONE: "`set_protocol`",
    },
    HELD_AT_END: {
        DONE: "all kept frames are handed over",
        GONE: "`set_protocol`",
    },
    LAST: {
        GONE: "`set_protocol`",
    },
    DONE: {
        GONE: "`set_protocol`",
    },
    GONE: {
        RECEIVING: "`set_protocol` gave the connection back",
    },
}


class FramedProtocol(Protocol):
    """The base of a program that is told of frames. Write `frame_received`; and `make_splitter`, unless lines will do.

    While its writing is paused, no frames come: a peer that does not read its replies cannot ask for more. Use
    `pause_frames` and `resume_frames` in place of the connection's `pause_reading`, and `frames_ended` in place of
    `eof_received`.

    A drain waits for whole frames that were not handed over yet, and for the `frames_ended` after them: meanwhile the
    connection is held once (`Connection.hold`). If the program answers a frame after `frame_received` has returned, it
    calls `hold` and `release` itself (E12). The beginning of a frame holds nothing: its rest may never come.

    `connection.set_protocol(other)` hands the connection over, also inside `frame_received`. No more frames come.
    `other` gets the bytes after the last frame, and the peer's end (see `give_up_input`).
    """

    # Two underscores: a program derives from this class, and its own `_state` or `_end` must not collide with ours.
    __slots__ = ("connection", "__frames", "__state", "__paused", "__more", "__spent", "__busy")

    def connection_made(self, connection: Connection) -> None:
        """Keeps the connection: call `super().connection_made(connection)` when you override it."""
        self.connection = connection
        self.__frames: Splitter = self.make_splitter(connection.limits.frame_bytes)
        self.__more: Handle | None = None  # the call that will go on with kept frames
        self.__busy = False  # the connection is held because of kept frames
        self.__begin()

    def __begin(self) -> None:
        self.__state = RECEIVING
        self.__paused = False  # the program wants no frames now
        self.__spent = 0.0  # how many seconds the unfinished frame had taken when it was held back

    def __move(self, before: FrameState, after: FrameState) -> bool:
        """Move from `before` to `after`; whether the state was `before`. Foreign code may have changed it meanwhile."""
        assert after in NEXT[before], f"no step from {before.name} to {after.name}"
        if self.__state is not before:
            return False
        self.__state = after
        return True

    def make_splitter(self, most: int) -> Splitter:
        """Make what cuts the stream into frames of at most `most` bytes.

        This one cuts at each newline. A frame does not include it, but it keeps a carriage return before it.
        """
        return DelimitedFrames(b"\n", most)

    def frame_received(self, frame: bytes) -> None:
        """Called with each frame, in order."""

    def frame_too_large(self, error: FrameTooLarge) -> None:
        """Called when a frame is too long, before the connection closes: here a program can tell the peer."""

    def frames_ended(self) -> bool | None:
        """Called after the last frame, when the peer has ended its side. Its result means what `eof_received`'s means.

        While frames are paused, it waits too. The beginning of a frame that never became whole is dropped. If it hands
        the connection over, its result is not used: the `eof_received` of the other protocol is called.
        """

    def data_received(self, data: bytes) -> None:
        try:
            gone = self.__state is GONE  # the connection was given back
        except AttributeError:
            raise RuntimeError(_forgotten(self)) from None
        if gone:
            self.__begin()
        self.__frames.feed(data)
        self.__deliver()

    def eof_received(self) -> bool | None:
        try:
            gone = self.__state is GONE
        except AttributeError:
            raise RuntimeError(_forgotten(self)) from None
        if gone:
            self.__begin()
        if self.__move(RECEIVING, DONE):
            self.__wait_for_more(any_taken=False)
            keep_open = self.frames_ended()
            return True if self.__state is GONE else keep_open
        # Kept frames come first: the end is told after them.
        if self.connection.is_closing():
            if self.__move(HELD, LAST):
                self.__deliver_last()
        elif self.__move(HELD, HELD_AT_END):
            self.__note_work()
        return True

    def __wanted(self) -> bool:
        """Whether the program wants a frame now."""
        connection = self.connection
        gone = self.__state is GONE  # also for a call of `__go_on` that was queued before
        return not (gone or self.__paused or connection._writing_paused or connection.is_closing())

    def __deliver(self) -> None:
        """Hand over kept frames, as many as the budget allows: a flood must not starve the others (R2)."""
        connection, next_frame = self.connection, self.__frames.next_frame
        taken = 0
        try:
            for taken in range(connection.limits.frames_per_iteration):
                frame = next_frame()
                if frame is None:
                    self.__wait_for_more(taken > 0)
                    return
                self.frame_received(frame)
                if not self.__wanted():
                    break
        except FrameTooLarge as error:
            self.__refuse(error)
            return
        except BaseException:  # SystemExit: the loop may be run again, and goes on with the next frame
            self.__hold()
            self.__spent = 0.0
            raise
        if self.__state is not GONE:
            connection._keep_input(self.__frames.waiting(), NEVER)
            self.__hold()
            self.__spent = 0.0  # the next frame begins now

    def __refuse(self, error: FrameTooLarge) -> None:
        self.connection._keep_input(self.__frames.waiting(), NEVER)  # counted until the end
        try:
            self.frame_too_large(error)
        finally:
            self.connection._finish(CloseReason.FRAME_TOO_LARGE, error)

    def __deliver_last(self) -> None:
        """Hand over what is kept, if the program wants it: both sides have ended, and no other turn comes."""
        try:
            while not self.__paused and self.connection.state is FLUSHING:
                frame = self.__frames.next_frame()
                if frame is None:
                    self.frames_ended()
                    return
                self.frame_received(frame)
        except FrameTooLarge as error:
            self.frame_too_large(error)

    def __wait_for_more(self, any_taken: bool) -> None:
        """All whole frames are handled. What is left is the beginning of one, and has a deadline from now (R3)."""
        connection, waiting = self.connection, self.__frames.waiting()
        if not waiting or self.__state.ended:
            since = NEVER
        elif any_taken:
            since = connection.reactor.timers.now
        elif connection._frame_since == NEVER:  # it has just begun, or was held back meanwhile
            since = connection.reactor.timers.now - self.__spent
        else:
            since = connection._frame_since
        self.__spent = 0.0
        if waiting or connection._kept_bytes:
            connection._keep_input(waiting, since)
        if self.__move(HELD, RECEIVING):
            self.__read_on()
        elif self.__move(HELD_AT_END, DONE):
            self.__read_on()
            self.__end()

    def __read_on(self) -> None:
        self.__set_busy(False)
        self.connection.resume_reading()

    def __end(self) -> None:
        """Tell the end, and close unless the program keeps the connection open: `eof_received` has returned already."""
        keep_open: bool | None = None
        try:
            keep_open = self.frames_ended()
        finally:  # after SystemExit too
            if not (self.__state is GONE or keep_open):
                self.connection.close()

    def __hold(self) -> None:
        """Read no more while frames are kept. If the program wants them, go on in the next iteration."""
        connection = self.connection
        if self.__state is GONE or self.__state is DONE:
            return
        if self.__move(RECEIVING, HELD):
            connection.pause_reading()
            if connection._frame_since != NEVER:
                timers = connection.reactor.timers
                # After an absence of the loop the frame has its time again (P2).
                self.__spent = timers.now - max(connection._frame_since, timers.back_at)
            if not connection.is_closing():  # else its buffers are forgotten, and would be counted once more
                connection._keep_input(self.__frames.waiting(), NEVER)  # the peer is not late now
        self.__note_work()
        if self.__more is None and self.__wanted():
            self.__more = connection.reactor.call_soon(self.__go_on)

    def __go_on(self) -> None:
        self.__more = None
        if self.__wanted():
            try:
                self.__deliver()
            except Exception as exc:  # called by the loop, which does not know the connection (E9)
                self.connection._fail("frame_received", exc)

    def __note_work(self) -> None:
        """Hold the connection if a kept frame is whole, or if the end follows the kept frames (E12)."""
        has_frame = getattr(self.__frames, "has_frame", self.__frames.waiting)
        self.__set_busy(not self.connection.is_closing() and (self.__state.ended or bool(has_frame())))

    def __set_busy(self, busy: bool) -> None:
        if busy is not self.__busy:
            self.__busy = busy
            (self.connection.hold if busy else self.connection.release)()

    def give_up_input(self) -> tuple[bytes, bool]:
        """Called by `Connection.set_protocol`: give up what the other protocol is to be told.

        Returns the bytes after the last frame that was handed over, and whether the peer has ended its side, also if
        `frames_ended` was called: the other protocol has not heard of it. After `close`: nothing. The pause of frames,
        the frame's deadline and the hold end here. If this protocol gets the connection back, it begins anew.
        AttributeError when the splitter keeps something and has no `take_rest`: then nothing is handed over.
        """
        state: FrameState = getattr(self, "_FramedProtocol__state", GONE)  # none before `connection_made`
        if state is GONE:
            return b"", False
        rest = self.__frames.take_rest() if self.__frames.waiting() else b""
        told = (rest, state.ended) if state is LAST or not self.connection.is_closing() else (b"", False)
        self.__state = GONE  # not by `__move`: the program's `take_rest` may have handed over too
        self.__set_busy(False)
        self.connection._keep_input(0, NEVER)
        if state.held:
            self.connection.resume_reading()
        return told

    def pause_frames(self) -> None:
        """Hand over no more frames until `resume_frames`. Again does nothing."""
        self.connection.reactor.check_thread()
        if self.__state is not GONE:
            self.__paused = True
            self.__hold()

    def resume_frames(self) -> None:
        """Hand over frames again, from the next iteration on. Does nothing when they are not paused."""
        self.connection.reactor.check_thread()
        if self.__paused and self.__state is not GONE:
            self.__paused = False
            self.__hold()

    def pause_writing(self) -> None:
        """Holds frames back while too much output waits: call `super().pause_writing()` when you override it."""
        if self.__state is GONE:
            self.__begin()
        self.__hold()

    def resume_writing(self) -> None:
        """Hands over frames again: call `super().resume_writing()` when you override it, or no more frames come."""
        self.__hold()


def _forgotten(program: FramedProtocol) -> str:
    name = type(program).__name__
    return f"{name} has no connection: its connection_made must call super().connection_made(connection)"

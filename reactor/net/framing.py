"""From a stream of bytes to frames: lines, or pieces that say their length.

TCP has no messages. Whoever builds a protocol first writes this piece of code, and first gets it wrong, in one of
four ways: it searches the whole buffer again for each byte that a slow peer sends (a 64 KiB line, byte by byte, is
then two billion comparisons); it cuts each frame off the front of the buffer by copying the rest (quadratic in
the frames of a segment); it keeps whatever comes until memory ends (R4); or it handles all of 65,536 one-byte
frames in one go while everybody waits (R2).

Here the search goes on where it stopped, what was taken is cut off once for a whole segment, a frame has a maximum,
and only so many frames are handled before the others get their turn: reading pauses, and the rest follows in the
next iteration. A frame that stays unfinished has a deadline from its first byte, however diligently it trickles (R3);
it stands still while the program takes no frames, since then it is not the peer who is late.

The two splitters are plain objects that know nothing of networks. `FramedProtocol` puts one on a connection.
"""

from __future__ import annotations

from typing import Protocol as Interface

from ..connections.connection import Connection
from ..connections.protocol import Protocol
from ..connections.states import FLUSHING, NEVER, CloseReason
from ..loop.timers import Handle


class FrameTooLarge(ValueError):
    """A frame is longer than any may be."""


class Splitter(Interface):
    """What cuts a stream into frames.

    One of your own needs the first three methods. Without `has_frame`, whatever it keeps is taken for a frame, and a
    drain waits for it; without `take_rest`, a connection cannot be handed over while it keeps something.
    """

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""

    def next_frame(self) -> bytes | None:
        """The next whole frame, or None when there is none yet. FrameTooLarge when there can be none."""

    def waiting(self) -> int:
        """How many bytes are kept that were not returned as frames."""

    def has_frame(self) -> bool:
        """Whether a whole frame is here: `next_frame` would return one."""

    def take_rest(self) -> bytes:
        """All bytes that are kept, as they came. They are forgotten here."""


class DelimitedFrames:
    """Frames that end with `delimiter`, which is not part of them; each of at most `most` bytes without it."""

    __slots__ = ("_delimiter", "_most", "_data", "_start", "_searched")

    def __init__(self, delimiter: bytes, most: int) -> None:
        if not delimiter:
            raise ValueError("a delimiter must have at least one byte")
        self._delimiter = delimiter
        self._most = most
        self._data: bytes | bytearray = b""
        self._start = 0  # where the next frame begins
        self._searched = 0  # up to where no delimiter begins

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream. Whole frames in one segment are cut from it without a copy."""
        if self._start == len(self._data):
            self._data = data
        else:
            rest = bytearray(self._data[self._start :]) if self._start or type(self._data) is bytes else self._data
            assert isinstance(rest, bytearray)
            rest += data
            self._data = rest
            self._searched -= self._start
            self._start = 0
            return
        self._start = self._searched = 0

    def next_frame(self) -> bytes | None:
        """The next whole frame, or None when there is none yet. FrameTooLarge when there can be none."""
        end = self._data.find(self._delimiter, self._searched)
        if end < 0:
            # The delimiter may have begun with the last bytes: they are searched again.
            self._searched = max(self._start, len(self._data) - len(self._delimiter) + 1)
            if self.waiting() - (len(self._delimiter) - 1) > self._most:
                raise FrameTooLarge(f"a frame is longer than {self._most} bytes")
            if self._start:  # an idle peer must not hold on to what has been used up
                self._data = self._data[self._start :]
                self._searched -= self._start
                self._start = 0
            return None
        if end - self._start > self._most:
            raise FrameTooLarge(f"a frame is longer than {self._most} bytes")
        frame = self._data[self._start : end]
        self._start = self._searched = end + len(self._delimiter)
        return frame if type(frame) is bytes else bytes(frame)

    def waiting(self) -> int:
        """How many bytes are kept that were not returned as frames."""
        return len(self._data) - self._start

    def has_frame(self) -> bool:
        """Whether a whole frame is here: `next_frame` would return one."""
        end = self._data.find(self._delimiter, self._searched)
        return 0 <= end <= self._start + self._most

    def take_rest(self) -> bytes:
        """All bytes that are kept, as they came. They are forgotten here."""
        rest, self._data = bytes(self._data[self._start :]), b""
        self._start = self._searched = 0
        return rest


class PrefixedFrames:
    """Frames that follow their length: `prefix_bytes` of it, most significant first (network order).

    A length above `most` is refused when it is read, before a byte of the frame has come.
    """

    __slots__ = ("_prefix_bytes", "_most", "_data", "_start")

    def __init__(self, prefix_bytes: int, most: int) -> None:
        if not 1 <= prefix_bytes <= 8:
            raise ValueError(f"a length has 1 to 8 bytes, not {prefix_bytes}")
        self._prefix_bytes = prefix_bytes
        self._most = most
        self._data = bytearray()
        self._start = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        self._forget_used()
        self._data += data

    def next_frame(self) -> bytes | None:
        """The next whole frame, or None when there is none yet. FrameTooLarge when its length says so."""
        begin = self._start + self._prefix_bytes
        if begin > len(self._data):
            self._forget_used()
            return None
        length = int.from_bytes(self._data[self._start : begin])
        if length > self._most:
            raise FrameTooLarge(f"a frame of {length} bytes is longer than {self._most} bytes")
        if begin + length > len(self._data):
            self._forget_used()
            return None
        self._start = begin + length
        return bytes(self._data[begin : self._start])

    def _forget_used(self) -> None:
        if self._start:  # an idle peer must not hold on to what has been used up
            del self._data[: self._start]
            self._start = 0

    def waiting(self) -> int:
        """How many bytes are kept that were not returned as frames."""
        return len(self._data) - self._start

    def has_frame(self) -> bool:
        """Whether a whole frame is here: `next_frame` would return one."""
        begin = self._start + self._prefix_bytes
        length = int.from_bytes(self._data[self._start : begin])
        return begin + length <= len(self._data) and length <= self._most

    def take_rest(self) -> bytes:
        """All bytes that are kept, as they came. They are forgotten here."""
        rest, self._data = bytes(self._data[self._start :]), bytearray()
        self._start = 0
        return rest


class FramedProtocol(Protocol):
    """A program that is told of frames. Write `frame_received`, and `make_splitter` unless lines will do.

    While its writing is paused no frames come either, so that a peer which does not read its replies cannot ask
    for more. Use `pause_frames` and `resume_frames` in place of the connection's `pause_reading`, and
    `frames_ended` in place of `eof_received`.

    A drain waits for frames that came whole and were not handed over yet, and for `frames_ended` behind them: while
    there are any, the connection is held, once (`Connection.hold`). For an answer that the program makes after
    `frame_received` has returned, the program calls `hold` and `release` itself (E12). The beginning of a frame
    holds nothing: its rest may never come.

    `connection.set_protocol(other)` hands the connection over, from inside a frame too. No more frames come. `other` is
    told of all that came behind the last frame, in the form it came, and of the peer's end (see `give_up_input`).
    """

    __slots__ = ("connection", "_frames", "_paused", "_held", "_more", "_ended", "_spent", "_busy", "_last", "_gone")

    def connection_made(self, connection: Connection) -> None:
        """Keeps the connection. Call it when you override it."""
        self.connection = connection
        self._frames: Splitter = self.make_splitter(connection.limits.frame_bytes)
        self._more: Handle | None = None  # the call that will go on with frames that are here already
        self._busy = False  # the connection is held for frames that are here
        self._last = False  # both sides have ended, and the last frames are handed over
        self._begin()

    def _begin(self) -> None:
        self._paused = False  # the program wants no frames now
        self._held = False  # reading is paused, for that or because frames are here already
        self._ended = False  # no more will come than what is here
        self._spent = 0.0  # seconds that the unfinished frame had taken when it was held
        self._gone = False  # the connection was handed over to another protocol

    def make_splitter(self, most: int) -> Splitter:
        """What cuts the stream into frames of at most `most` bytes; here, at each newline."""
        return DelimitedFrames(b"\n", most)

    def frame_received(self, frame: bytes) -> None:
        """Called with each frame, in order."""

    def frame_too_large(self, error: FrameTooLarge) -> None:
        """Called when a frame is too long, before the connection closes: the place to tell the peer (R4)."""

    def frames_ended(self) -> bool | None:
        """Called after the last frame when the peer has ended its side; means what `eof_received` means.

        When it hands the connection over, its answer means nothing: `eof_received` of the other protocol is asked.
        """

    def data_received(self, data: bytes) -> None:
        if self._gone:  # and now it was given the connection back
            self._begin()
        self._frames.feed(data)
        self._deliver()

    def eof_received(self) -> bool | None:
        # It can be known before the frames in front of it have had their turn, and must not overtake them.
        if self._gone:
            self._begin()
        self._ended = True
        if not self._held:
            self._wait_for_more(any_taken=False)
            keep_open = self.frames_ended()
            return True if self._gone else keep_open
        if self.connection.is_closing():
            self._deliver_last()
        else:
            self._note_work()
        return True

    def _wanted(self) -> bool:
        """Whether the program wants a frame now."""
        connection = self.connection
        return not (self._paused or connection._writing_paused or connection.is_closing())

    def _deliver(self) -> None:
        """Hand over the frames that are here, up to the budget; without one, a flood would starve others (R2)."""
        connection, next_frame = self.connection, self._frames.next_frame
        taken = 0
        try:
            for taken in range(connection.limits.frames_per_iteration):
                frame = next_frame()
                if frame is None:
                    self._wait_for_more(taken > 0)
                    return
                self.frame_received(frame)
                if not self._wanted():
                    break
        except FrameTooLarge as error:
            self._refuse(error)
            return
        except BaseException:  # SystemExit: whoever runs the loop again goes on with the next frame
            self._hold()
            self._spent = 0.0  # that frame's
            raise
        if not self._gone:
            connection._keep_input(self._frames.waiting(), NEVER)
            self._hold()
            self._spent = 0.0  # the last frame's: the next begins now

    def _refuse(self, error: FrameTooLarge) -> None:
        self.connection._keep_input(self._frames.waiting(), NEVER)  # until it is lost, against `memory_bytes`
        try:
            self.frame_too_large(error)
        finally:
            self.connection._finish(CloseReason.FRAME_TOO_LARGE, error)

    def _deliver_last(self) -> None:
        """Hand over what is here, unless it is not wanted: both sides have ended, and no turn comes after this one."""
        self._last = True
        try:
            while not self._paused and self.connection.state is FLUSHING:
                frame = self._frames.next_frame()
                if frame is None:
                    self.frames_ended()
                    return
                self.frame_received(frame)
        except FrameTooLarge as error:
            self.frame_too_large(error)

    def _wait_for_more(self, any_taken: bool) -> None:
        """All whole frames are handled. What is left is the beginning of one, and has a deadline from now (R3)."""
        connection, waiting = self.connection, self._frames.waiting()
        if not waiting or self._ended:
            since = NEVER
        elif any_taken:
            since = connection.reactor.timers.now
        elif connection._frame_since == NEVER:  # it has just begun, or was held meanwhile
            since = connection.reactor.timers.now - self._spent
        else:
            since = connection._frame_since
        self._spent = 0.0
        if waiting or connection._kept_bytes:
            connection._keep_input(waiting, since)
        if self._held:
            self._held = False
            self._set_busy(False)
            connection.resume_reading()
            if self._ended:
                self._end()

    def _end(self) -> None:
        """What the connection does around `eof_received`, which was answered before this could be asked."""
        keep_open: bool | None = None
        try:
            keep_open = self.frames_ended()
        finally:  # after SystemExit too, as there
            if not (self._gone or keep_open):
                self.connection.close()

    def _hold(self) -> None:
        """Take no more input while frames are here; when they are wanted, go on with them in the next iteration."""
        connection = self.connection
        if self._gone or (self._ended and not self._held):
            return  # `frames_ended` was told already, and nothing is left to go on with
        if not self._held:
            self._held = True
            connection.pause_reading()
            if connection._frame_since != NEVER:
                timers = connection.reactor.timers
                # After an absence it has its time again (P2).
                self._spent = timers.now - max(connection._frame_since, timers.back_at)
            if not connection.is_closing():  # else its buffers are forgotten, and would be counted once more
                connection._keep_input(self._frames.waiting(), NEVER)  # it is not the peer that keeps us waiting
        self._note_work()
        if self._more is None and self._wanted():
            self._more = connection.reactor.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._more = None
        if self._wanted():
            try:
                self._deliver()
            except Exception as exc:  # the loop called us, not the connection: it could not tell whose this is (E9)
                self.connection._fail("frame_received", exc)

    def _note_work(self) -> None:
        """Frames are held back: hold the connection if one of them is whole, or the end is behind them (E12)."""
        has_frame = getattr(self._frames, "has_frame", self._frames.waiting)
        self._set_busy(not self.connection.is_closing() and (self._ended or bool(has_frame())))

    def _set_busy(self, busy: bool) -> None:
        if busy is not self._busy:
            self._busy = busy
            (self.connection.hold if busy else self.connection.release)()

    def give_up_input(self) -> tuple[bytes, bool]:
        """Called by `Connection.set_protocol`, which hands over: what the other protocol is to be told, and not this.

        The bytes behind the last frame that was handed over, which may be frames and the beginning of one; and whether
        the peer has ended its side, even if `frames_ended` has heard that: the other cannot. Nothing after `close`.
        The pause of frames, the frame's deadline and the hold end here. Given the connection back, it begins anew.
        AttributeError when something is kept and the splitter has no `take_rest`: then nothing is handed over.
        """
        if getattr(self, "_gone", True):  # gone already, or never introduced: it has nothing
            return b"", False
        rest = self._frames.take_rest() if self._frames.waiting() else b""
        told = (rest, self._ended) if self._last or not self.connection.is_closing() else (b"", False)
        self._gone = self._paused = True  # so a call of `_go_on` that is under way does nothing
        self._set_busy(False)
        self.connection._keep_input(0, NEVER)
        if self._held:
            self.connection.resume_reading()
        return told

    def pause_frames(self) -> None:
        """Hand over no more frames until `resume_frames`. Again does nothing."""
        if not self._gone:
            self._paused = True
            self._hold()

    def resume_frames(self) -> None:
        """Hand over frames again, from the next iteration on. Does nothing when they are not paused."""
        if self._paused and not self._gone:
            self._paused = False
            self._hold()

    def pause_writing(self) -> None:
        if self._gone:
            self._begin()
        self._hold()

    def resume_writing(self) -> None:
        self._hold()

"""From a stream of bytes to frames: lines, or pieces that say their length.

TCP has no messages, so each protocol cuts the stream into frames itself. Three mistakes are common. The code searches
the whole buffer again for each byte of a slow peer: a 64 KiB line, byte by byte, then takes two billion comparisons. It
cuts each frame off the front of the buffer and copies the rest: quadratic in the frames of a segment. And it keeps
whatever comes until memory ends (R4).

Here the search goes on where it stopped, used bytes are cut off once for a whole segment, and a frame has a maximum.

The two splitters are plain objects without a network. `framing.FramedProtocol` puts one on a connection.
"""

from __future__ import annotations

from typing import Protocol as Interface


class FrameTooLarge(ValueError):
    """A frame is longer than its maximum."""


class Splitter(Interface):
    """What cuts a stream into frames.

    Your own splitter needs the first three methods. Without `has_frame`, a drain waits for whatever it keeps. Without
    `take_rest`, a connection cannot be handed over while the splitter keeps something.
    """

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""

    def next_frame(self) -> bytes | None:
        """The next whole frame; None when there is none yet. FrameTooLarge when it is longer than its maximum."""

    def waiting(self) -> int:
        """How many bytes it keeps: all that were not returned as frames."""

    def has_frame(self) -> bool:
        """Whether `next_frame` would return a frame."""

    def take_rest(self) -> bytes:
        """All bytes that it keeps, as they came. It forgets them."""


class DelimitedFrames:
    """Frames that end with `delimiter`. A frame does not include it, and has at most `most` bytes.

    ValueError for an empty delimiter.
    """

    __slots__ = ("_delimiter", "_most", "_data", "_start", "_searched")

    def __init__(self, delimiter: bytes, most: int) -> None:
        if not delimiter:
            raise ValueError("a delimiter must have at least one byte")
        self._delimiter = delimiter
        self._most = most
        self._data: bytes | bytearray = b""
        self._start = 0  # where the next frame begins
        self._searched = 0  # no delimiter begins before this

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream. If nothing is kept, frames are cut from `data` without copying it."""
        if self._start == len(self._data):
            self._data = data
            self._start = self._searched = 0
            return
        rest = bytearray(self._data[self._start :]) if self._start or type(self._data) is bytes else self._data
        assert isinstance(rest, bytearray)
        rest += data
        self._data = rest
        self._searched -= self._start
        self._start = 0

    def next_frame(self) -> bytes | None:
        """The next whole frame; None when there is none yet. FrameTooLarge when it is longer than its maximum."""
        end = self._data.find(self._delimiter, self._searched)
        if end < 0:
            # The last bytes may be the beginning of a delimiter, so they are searched again.
            self._searched = max(self._start, len(self._data) - len(self._delimiter) + 1)
            if self.waiting() - (len(self._delimiter) - 1) > self._most:
                raise FrameTooLarge(f"a frame is longer than {self._most} bytes")
            if self._start:  # an idle connection must not keep used bytes
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
        """How many bytes it keeps: all that were not returned as frames."""
        return len(self._data) - self._start

    def has_frame(self) -> bool:
        """Whether `next_frame` would return a frame."""
        end = self._data.find(self._delimiter, self._searched)
        return 0 <= end <= self._start + self._most

    def take_rest(self) -> bytes:
        """All bytes that it keeps, as they came. It forgets them."""
        rest, self._data = bytes(self._data[self._start :]), b""
        self._start = self._searched = 0
        return rest


class PrefixedFrames:
    """Frames that follow their length: `prefix_bytes` bytes, the most significant first (network byte order).

    A length above `most` is refused as soon as it is read. ValueError unless `prefix_bytes` is 1 to 8.
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
        """The next whole frame; None when there is none yet. FrameTooLarge when its length is above the maximum."""
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
        if self._start:  # an idle connection must not keep used bytes
            del self._data[: self._start]
            self._start = 0

    def waiting(self) -> int:
        """How many bytes it keeps: all that were not returned as frames."""
        return len(self._data) - self._start

    def has_frame(self) -> bool:
        """Whether `next_frame` would return a frame."""
        begin = self._start + self._prefix_bytes
        length = int.from_bytes(self._data[self._start : begin])
        return begin + length <= len(self._data) and length <= self._most

    def take_rest(self) -> bytes:
        """All bytes that it keeps, as they came. It forgets them."""
        rest, self._data = bytes(self._data[self._start :]), bytearray()
        self._start = 0
        return rest

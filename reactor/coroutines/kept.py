"""Input that has come, and that nobody has asked for yet.

A read of a line may find half a line, or ten. What is there is kept. Three costs must stay linear in the bytes,
whatever the peer sends. The search for the end of a line goes on where the last search stopped. A line is cut off by
moving a number, not by moving the rest. And the rest is moved once, when more comes behind it.
"""

from __future__ import annotations


class Kept:
    """Bytes in order: they are added at the end, and taken at the beginning."""

    __slots__ = ("_data", "_start", "_searched")

    def __init__(self, data: bytes = b"") -> None:
        self._data: bytes | bytearray = data  # a chunk as it came; a bytearray once something was added to it
        self._start = 0  # up to here it was taken
        self._searched = 0  # no delimiter begins between `_start` and this

    def __len__(self) -> int:
        return len(self._data) - self._start

    def add(self, data: bytes) -> None:
        """Put `data` at the end."""
        if self._start == len(self._data):
            self._data, self._start, self._searched = data, 0, 0
            return
        if self._start or type(self._data) is bytes:
            self._data = bytearray(memoryview(self._data)[self._start :])
            self._searched = max(0, self._searched - self._start)
            self._start = 0
        assert type(self._data) is bytearray
        self._data += data

    def find(self, delimiter: bytes) -> int:
        """How many bytes there are up to the end of `delimiter`; 0 if it is not there."""
        position = self._data.find(delimiter, max(self._start, self._searched))
        if position < 0:
            # The delimiter may have begun already: its last byte is still to come.
            self._searched = max(self._start, len(self._data) - len(delimiter) + 1)
            return 0
        self._searched = position
        return position + len(delimiter) - self._start

    def take(self, count: int, dropped: int = 0) -> bytes:
        """Take the first `count` bytes. The last `dropped` of them are not returned: they are a delimiter."""
        start = self._start
        self._start = end = start + count
        piece = self._data[start : end - dropped]
        if end == len(self._data):
            self._data, self._start, self._searched = b"", 0, 0
        return piece if type(piece) is bytes else bytes(piece)

    def take_lines(self, most: int) -> list[bytes]:
        """Take the whole lines, without their newlines; at most `most` of them."""
        data = self._data[self._start :]
        if type(data) is not bytes:
            data = bytes(data)
        *lines, rest = data.split(b"\n", most)
        self._data, self._start, self._searched = rest, 0, 0
        return lines

"""Input that has come, and that nobody has asked for yet.

A read of a line may find half a line, or ten. What is there is kept. Three costs must stay linear in the bytes,
whatever the peer sends. The search for the end of a line goes on where the last search stopped. A line is cut off by
moving a number, not by moving the rest. And the rest is moved once, when more comes behind it.

The common case is faster still: a program that reads nothing but lines. All whole lines are split off at once, in C
(`lines`). If the program then reads in another way, they are joined again, and from then on split off one by one: a
program that mixes both ways would otherwise pay for all lines at each of them.
"""

from __future__ import annotations


class Kept:
    """Bytes in order: they are added at the end, and taken at the beginning."""

    __slots__ = ("lines", "_data", "_start", "_searched", "_sought", "_one_by_one")

    def __init__(self, data: bytes = b"") -> None:
        self.lines: list[bytes] = []  # whole lines before `_data`, without their newlines; the first one is the last
        self._data: bytes | bytearray = data  # a chunk as it came; a bytearray once something was added to it
        self._start = 0  # up to here it was taken
        self._searched = 0  # no delimiter begins between `_start` and this; the delimiter is `_sought`
        self._sought = b""
        self._one_by_one = False  # lines are split off one by one

    def __len__(self) -> int:
        return len(self._data) - self._start + sum(map(len, self.lines)) + len(self.lines)

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
        self._join()
        if delimiter != self._sought:
            self._sought, self._searched = delimiter, 0
        position = self._data.find(delimiter, max(self._start, self._searched))
        if position < 0:
            # The delimiter may have begun already: its last byte is still to come.
            self._searched = max(self._start, len(self._data) - len(delimiter) + 1)
            return 0
        self._searched = position
        return position + len(delimiter) - self._start

    def take(self, count: int) -> bytes:
        """Take the first `count` bytes."""
        self._join()
        start = self._start
        self._start = end = start + count
        piece = self._data[start:end]
        if end == len(self._data):
            self._data, self._start, self._searched = b"", 0, 0
        return piece if type(piece) is bytes else bytes(piece)

    def split(self, most: int, longest: int) -> bool:
        """Split off whole lines, at most `most`, up to the first that is longer than `longest`.

        Whether there are any in `lines` now.
        """
        if self.lines:
            return True
        count = self.find(b"\n")
        if not 0 < count <= longest + 1:
            return False
        if self._one_by_one:
            self.lines.append(self.take(count)[:-1])
            return True
        data = self._data[self._start :]
        *lines, rest = (data if type(data) is bytes else bytes(data)).split(b"\n", most)
        if len(data) > longest:
            good = next((number for number, line in enumerate(lines) if len(line) > longest), len(lines))
            rest = b"\n".join([*lines[good:], rest])
            del lines[good:]
        self._data, self._start, self._searched = rest, 0, 0
        lines.reverse()
        self.lines = lines
        return True

    def _join(self) -> None:
        if self.lines:
            self.lines.reverse()
            self._data = b"\n".join([*self.lines, memoryview(self._data)[self._start :]])
            self._start = self._searched = 0
            self._one_by_one = True
            self.lines.clear()  # the same list: `Stream.lines` may be in the middle of it

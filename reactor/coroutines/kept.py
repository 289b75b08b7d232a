"""Input that has come, and that nobody has asked for yet.

A read of a line may find half a line, or ten. What is there is kept. Three costs must stay linear in the bytes,
whatever the peer sends. The search for the end of a line goes on where the last search stopped. A line is cut off by
moving a number, not by moving the rest. And the rest is moved only when as much was taken as is left.

The common case is faster still: a program that reads nothing but lines. Many whole lines are split off at once, in C
(`lines`). If the program then reads in another way, they are joined again, and from then on split off one by one: a
program that mixes both ways would otherwise pay for all lines at each of them.

Only what is left counts for `memory_bytes`. So the memory of what was taken must be given back soon: a peer could send
120 KB of lines and then half a line, and 120 KB would stay for these few bytes.
"""

from __future__ import annotations

SLACK_BYTES = 4096  # so much that was taken may stay in memory; it is counted for nobody
LINE_BYTES = 64  # of a usual line: how much `split` looks at, for each line that is wanted


class Kept:
    """Bytes in order: they are added at the end, and taken at the beginning."""

    __slots__ = ("lines", "spent", "_data", "_start", "_searched", "_delimiter", "_one_by_one")

    def __init__(self, data: bytes = b"") -> None:
        self.lines: list[bytes] = []  # whole lines before `_data`, without newlines, in reverse order
        self.spent = 0.0  # how many seconds the peer had for the rest of a line, before the present wait for it
        self._data: bytes | bytearray = data  # a chunk as it came; a bytearray once something was added to it
        self._start = 0  # up to here it was taken
        self._searched = 0  # no `_delimiter` begins between `_start` and this
        self._delimiter = b""  # of the last search
        self._one_by_one = False  # lines are split off one by one

    def __len__(self) -> int:
        return len(self._data) - self._start + sum(map(len, self.lines)) + len(self.lines)

    def add(self, data: bytes) -> None:
        """Put `data` at the end."""
        if self._start == len(self._data):
            self._data, self._start, self._searched = data, 0, 0
            return
        if isinstance(self._data, bytes):
            self._data = bytearray(memoryview(self._data)[self._start :])
            self._forget_taken()
        elif self._start:
            del self._data[: self._start]  # a bytearray moves nothing for this, until half of its memory is free
            self._forget_taken()
        self._data += data

    def find(self, delimiter: bytes) -> int:
        """How many bytes there are up to the end of `delimiter`; 0 if it is not there."""
        self._join()
        if delimiter != self._delimiter:
            self._delimiter, self._searched = delimiter, 0
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
        piece = self._data[self._start : self._start + count]
        self._cut_off(count)
        return piece if type(piece) is bytes else bytes(piece)

    def split(self, most: int, longest: int) -> bool:
        """Split off whole lines, at most `most`, up to the first that is longer than `longest`.

        Whether there are any in `lines` now. If the lines are long, only the first ones are split off: to split all
        that is there would copy the rest each time.
        """
        if self.lines:
            return True
        count = self.find(b"\n")
        if not 0 < count <= longest + 1:
            return False
        if self._one_by_one:
            self.lines.append(self.take(count)[:-1])
            return True
        data = bytes(self._data[self._start : self._start + max(count, most * LINE_BYTES)])
        *lines, rest = data.split(b"\n", most)
        if len(data) > longest:
            good = next((number for number, line in enumerate(lines) if len(line) > longest), len(lines))
            rest = b"\n".join([*lines[good:], rest])
            del lines[good:]
        self._cut_off(len(data) - len(rest))
        lines.reverse()
        self.lines = lines
        return True

    def _cut_off(self, count: int) -> None:
        self.spent = 0.0  # the next line begins now
        self._start = end = self._start + count
        if end == len(self._data):
            self._data, self._start, self._searched = b"", 0, 0
        elif end > SLACK_BYTES and end > len(self._data) - end:
            self._data = self._data[end:]
            self._forget_taken()

    def _forget_taken(self) -> None:
        self._searched = max(0, self._searched - self._start)
        self._start = 0

    def _join(self) -> None:
        if self.lines:
            self.lines.reverse()
            self._data = b"\n".join([*self.lines, memoryview(self._data)[self._start :]])
            self._start = self._searched = 0
            self._one_by_one = True
            self.lines.clear()  # the same list: `Stream.lines` may be in the middle of it

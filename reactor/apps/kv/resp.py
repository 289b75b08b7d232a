"""Requests in RESP2, the protocol of Redis: from a stream of bytes to lists of arguments.

A request is an array of strings. Each string follows its length: `*2`, `$3`, `GET`, `$1`, `k`, with a CRLF after each.
So an argument may contain any byte, and no byte has to be looked at to find its end. A person with `nc` may type a line
instead: `GET k`.

TCP may cut this anywhere, also inside a length or a CRLF. A parser that begins the request again for each piece that
comes takes quadratic time for a large one. A parser that believes a length and allocates that much can be made to take
all memory by 12 bytes.

This parser stops wherever the bytes end, and goes on there: it remembers how many arguments are missing and how long
the present one is. It allocates nothing for a length, only for bytes that came. It does no I/O. How the stream was cut
never changes what it returns, nor which error it finds.

Most requests are small, whole, and without a CRLF in an argument. There is a quick way for these: cut the segment at
all its CRLFs in one call, and then compare each length with the piece behind it. If they agree, that is the request. If
not, `_collect` reads it byte by byte. The quick way takes less than half of the time, and the tests hold both to the
same results.

Its errors are those of Redis, word for word, because that is what the authors of clients know (protocol specification:
https://redis.io/docs/reference/protocol-spec). It is as strict as Redis, and no stricter: a byte behind an argument
that should be a CRLF is skipped unread.

The cost: in CPython, one or two microseconds for a request of three arguments.
"""

from __future__ import annotations

import re

from .bounds import Bounds

ASTERISK, DOLLAR = b"*$"
ARGUMENT_BYTES = 64  # what Python keeps for an argument beside its bytes: a bytes object, and a place in a list
# The lines of requests for which the quick way is tried.
MOST_PLAIN_ARGUMENTS, MOST_PLAIN_BYTES = 64, 255
PLAIN_COUNTS = {b"*%d" % count: count for count in range(1, MOST_PLAIN_ARGUMENTS + 1)}
PLAIN_LENGTHS = {length: b"$%d" % length for length in range(MOST_PLAIN_BYTES + 1)}
LEAST, MOST = -(1 << 63), (1 << 63) - 1  # of a number: Redis keeps 64 bits


class ProtocolError(Exception):
    """What came is no request, and what follows cannot be understood. The text is what Redis tells its client."""


class Parser:
    """Cuts a stream of bytes into requests."""

    __slots__ = ("_bounds", "_quick", "_data", "_at", "_lines", "_next_line", "_arguments", "_missing", "_length",
                 "_part", "_taken_bytes")  # fmt: skip

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._quick = (  # no plain request can pass a bound
            bounds.arguments >= MOST_PLAIN_ARGUMENTS
            and bounds.argument_bytes >= MOST_PLAIN_BYTES
            and bounds.request_bytes >= MOST_PLAIN_ARGUMENTS * (MOST_PLAIN_BYTES + ARGUMENT_BYTES)
        )
        self._data = b""
        self._at = 0  # the first byte of `_data` that is not used yet
        self._lines: list[bytes] = []  # `_data` cut at its CRLFs, as long as its requests are plain
        self._next_line = 0  # the first of these that is not used yet
        self._arguments: list[bytes] = []  # of the unfinished request
        self._missing = 0  # how many arguments it still lacks; 0 between two requests
        self._length = -1  # of the next argument; -1: its length has not come yet
        self._part = bytearray()  # the beginning of that argument, if it is long
        self._taken_bytes = 0  # what `_arguments` takes

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        if self._at < len(self._data):  # at most a line or a short argument, so this copies little
            data = self._data[self._at :] + data
        self._data = data
        self._at = 0
        if self._quick and not self._missing and data.startswith(b"*"):
            self._lines = data.split(b"\r\n")
            self._next_line = 0

    def waiting(self) -> int:
        """How many bytes it keeps: all that were not returned in requests."""
        return len(self._data) - self._at + len(self._part) + self._taken_bytes

    def next_request(self) -> list[bytes] | None:
        """The arguments of the next request, at least one; None when no whole request is here yet.

        ProtocolError when what came cannot be one. After that the parser is of no use.
        """
        if self._lines:
            request = self._next_plain()
            if request is not None:
                return request
        while not self._missing:
            if self._at == len(self._data):
                self._data, self._at = b"", 0  # an idle connection must not keep used bytes
                return None
            if self._data[self._at] != ASTERISK:
                line = self._line(b"\n", 1, "inline request")
                if line is None:
                    return None
                if words := split_words(line.removesuffix(b"\r")):
                    return words
            elif not self._begin():
                return None
        return self._collect()

    def _next_plain(self) -> list[bytes] | None:
        """The next request, if it is plain. If not, what follows is read the slow way, up to the next `feed`."""
        lines, first = self._lines, self._next_line
        count = PLAIN_COUNTS.get(lines[first], 0)
        end = first + 1 + 2 * count
        if count and end < len(lines):  # so the last argument has its CRLF
            lengths, arguments = lines[first + 1 : end : 2], lines[first + 2 : end : 2]
            if lengths == list(map(PLAIN_LENGTHS.get, map(len, arguments))):
                self._at += sum(map(len, lines[first:end])) + 2 * (end - first)
                self._next_line = end
                return arguments
        self._lines = []
        return None

    def _begin(self) -> bool:
        """Read how many arguments a request has; whether that was here. Without any it is none, as in Redis."""
        line = self._line(b"\r", 2, "mbulk count string")
        if line is None:
            return False
        count = whole_number(line[1:])
        if count is None or count > self._bounds.arguments:
            raise ProtocolError("invalid multibulk length")
        self._missing = max(count, 0)
        return True

    def _collect(self) -> list[bytes] | None:
        """Take arguments until the request is whole, or the bytes end."""
        data, arguments = self._data, self._arguments
        while self._missing:
            if self._length < 0 and not self._read_length():
                return None
            length, at = self._length, self._at
            end = at + length
            if end + 2 > len(data) or self._part:
                argument = self._take_part()
                if argument is None:
                    return None
            else:
                argument = data[at:end]
                self._at = end + 2
            arguments.append(argument)
            self._taken_bytes += length + ARGUMENT_BYTES
            self._length = -1
            self._missing -= 1
        self._arguments, self._taken_bytes = [], 0
        return arguments

    def _read_length(self) -> bool:
        """Read how long the next argument is; whether that was here."""
        line = self._line(b"\r", 2, "bulk count string")
        if line is None:
            return False
        if not line.startswith(b"$"):
            raise ProtocolError(f"expected '$', got '{(line[:1] or b' ').decode('latin-1')}'")
        length = whole_number(line[1:])
        if length is None or not 0 <= length <= self._bounds.argument_bytes:
            raise ProtocolError("invalid bulk length")
        if self._taken_bytes + length + ARGUMENT_BYTES > self._bounds.request_bytes:
            raise ProtocolError("too big request")
        self._length = length
        return True

    def _take_part(self) -> bytes | None:
        """The next argument, if its rest is here. Else a long one is moved out of `_data`, to be copied once only."""
        part, length = self._part, self._length
        if length <= self._bounds.inline_bytes:
            return None
        end = self._at + length + 2 - len(part)
        part += memoryview(self._data)[self._at : end]
        self._at = min(end, len(self._data))
        if len(part) < length + 2:
            return None
        self._part = bytearray()
        return bytes(memoryview(part)[:length])

    def _line(self, end: bytes, skipped: int, name: str) -> bytes | None:
        """The bytes up to `end`, which is the first of `skipped` bytes; None if not all is here.

        A slow peer makes the search begin again for each byte. So a line is short.
        """
        data, at, most = self._data, self._at, self._bounds.inline_bytes
        found = data.find(end, at, at + most + 1)
        if found < 0:
            if len(data) - at > most:
                raise ProtocolError(f"too big {name}")
            return None
        if found + skipped > len(data):
            return None
        self._at = found + skipped
        return data[at:found]


def whole_number(text: bytes) -> int | None:
    """The number that `text` is in its only spelling: no sign but a minus, no space, no zero in front. Else None."""
    digits = text[1:] if text.startswith(b"-") else text
    # Without `isdigit`, which means ASCII here, `int` would take " 1", "+1" and "1_0".
    if not digits.isdigit() or len(digits) > 19 or (digits[0] == 48 and len(text) > 1):
        return None
    number = int(text)
    return number if LEAST <= number <= MOST else None


# A word of a line: bytes without quotes, and then perhaps one quoted part, which ends it. Each byte can match in one
# way only, so the time is linear.
WORD = re.compile(
    rb"""([^\s"']*) (?: "((?: [^"\\] | \\. )*)" | '((?: [^'\\] | \\' | \\(?!') )*)' )? (?= \s | \Z)""",
    re.VERBOSE | re.DOTALL,
)
SPACE = re.compile(rb"\s*")
ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}


def split_words(line: bytes) -> list[bytes]:
    r"""The words of a request that is a line. Quotes group words, and "..." knows escapes such as \n and \x1b.

    ProtocolError if a quote is open at the end, or something follows the second one.
    """
    words = []
    at = SPACE.match(line).end()  # type: ignore[union-attr]  # it always matches
    while at < len(line):
        word = WORD.match(line, at)
        if word is None:
            raise ProtocolError("unbalanced quotes in request")
        plain, double, single = word.groups(b"")
        words.append(plain + ESCAPE.sub(_unescape, double) + single.replace(b"\\'", b"'"))
        at = SPACE.match(line, word.end()).end()  # type: ignore[union-attr]
    return words


def _unescape(escape: re.Match[bytes]) -> bytes:
    text = escape[1]
    return bytes([int(text[1:], 16)]) if len(text) == 3 else ESCAPED.get(text, text)

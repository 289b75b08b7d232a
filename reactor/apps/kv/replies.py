"""Replies in RESP2: from what a command returns to bytes.

The first byte says what follows: `+` a status, `-` an error, `:` a number, `$` a string behind its length, `*` an array
behind its count. A reply is one `bytes` object, so many of them can be joined, and a message for a thousand
subscribers exists once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

OK = b"+OK\r\n"
PONG = b"+PONG\r\n"
QUEUED = b"+QUEUED\r\n"
NIL = b"$-1\r\n"
NIL_ARRAY = b"*-1\r\n"
ZERO = b":0\r\n"
ONE = b":1\r\n"
EMPTY = b"*0\r\n"


class CommandError(Exception):
    """A command is refused, and the connection goes on. The text begins with a code in capitals, as clients expect."""


WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
NO_INTEGER = "ERR value is not an integer or out of range"
NO_FLOAT = "ERR value is not a valid float"
SYNTAX = "ERR syntax error"


def error(text: str) -> bytes:
    """An error reply: one line, so line ends in `text` become spaces. A character of `text` is one byte (Latin-1)."""
    return b"-%b\r\n" % text.replace("\r", " ").replace("\n", " ").encode("latin-1")


def number(value: int) -> bytes:
    """A whole number."""
    return b":%d\r\n" % value


def bulk(value: bytes | bytearray) -> bytes:
    """A string of any bytes."""
    return b"$%d\r\n%b\r\n" % (len(value), value)  # type: ignore[str-format]


def array(replies: Collection[bytes]) -> bytes:
    """An array of other replies."""
    return b"*%d\r\n%b" % (len(replies), b"".join(replies))


def bulks(values: Iterable[bytes], most_bytes: int) -> bytes:
    """An array of strings.

    CommandError if there are more than `most_bytes` in them. This is known before any of them is copied.
    """
    values = list(values)
    check_length(sum(map(len, values)), most_bytes)
    return array([b"$%d\r\n%b\r\n" % (len(value), value) for value in values])


def bulks_or_nils(values: Iterable[bytes | bytearray | None], most_bytes: int) -> bytes:
    """`bulks`, in which None becomes nil."""
    values = list(values)
    check_length(sum(map(len, filter(None, values))), most_bytes)
    return array([NIL if value is None else bulk(value) for value in values])


def check_length(length: int, most_bytes: int) -> None:
    """CommandError if a reply of `length` bytes is too long."""
    if length > most_bytes:
        raise CommandError(f"ERR the reply is longer than {most_bytes} bytes")


def score(value: float) -> bytes:
    """A score as text: as short as it can be read back exactly, and whole numbers without a point."""
    if value.is_integer() and abs(value) < 1e17:
        return b"%d" % int(value)
    return repr(value).encode()  # "inf" and "-inf" too

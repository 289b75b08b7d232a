r"""Patterns of names, as KEYS and PSUBSCRIBE take them: `user:*`, `h?llo`, `h[ae]llo`, `h[^e]llo`, `h[a-c]llo`, `\*`.

A pattern comes from a client and is compared with every key, so a bad one must not take for ever. If each `*` may try
every length, `*a*a*a*a*b` against many an `a` takes exponential time. But only the last `*` has to try again: if the
part between two stars is found at all, the first place where it is found leaves the most for the rest. Python's regular
expressions can say so with an atomic group (`(?>...)`), and `fnmatch` does the same.

`fnmatch` itself does not help: its `[!e]` is `[^e]` here, and it knows no `\*`.

The cost: for each name at most its length times the length of the pattern.
"""

from __future__ import annotations

import re

TOKEN = re.compile(rb"\*+|\?|\[(\^?)((?:\\.|[^\]\\])*)(?:\]|\Z)|\\?(.)", re.DOTALL)
RANGE = re.compile(rb"\\?(.)(?:-\\?(.))?", re.DOTALL)
NO_BYTE = b"(?!)"


def compile_pattern(pattern: bytes) -> re.Pattern[bytes]:
    """What matches (`fullmatch`) exactly the names that Redis' `stringmatchlen` matches."""
    parts = [b""]  # what stands before the first star, and behind each
    for token in TOKEN.finditer(pattern):
        if token[0].startswith(b"*"):
            parts.append(b"")
        elif token[0] == b"?":
            parts[-1] += b"."
        elif token[2] is not None:
            parts[-1] += _any_of(token[2], bool(token[1]))
        else:
            parts[-1] += re.escape(token[3])
    first, *between = parts
    last = b".*" + between.pop() if between else b""
    return re.compile(first + b"".join(b"(?>.*?%b)" % part for part in between) + last, re.DOTALL)


def _any_of(members: bytes, others: bool) -> bytes:
    """A class of bytes, from what stands between brackets: single ones, and ranges in either direction."""
    ranges = []
    for low, high in RANGE.findall(members):
        low, high = sorted((low, high or low))
        ranges.append(b"%b-%b" % (re.escape(low), re.escape(high)))
    if not ranges:
        return b"." if others else NO_BYTE
    return b"[%b%b]" % (b"^" if others else b"", b"".join(ranges))

"""What a line of the log looks like: for a person, or for a program.

The text in a line may come from a peer. In a terminal it could move the cursor, or look like another line of ours. A
program that reads the log could take one line for two. So both forms keep one record together, whatever is in it:

- Plain. A character that is not printable is written as an escape like \\x1b, and the rows of a traceback are indented.
  So only our own lines begin in the first column.
- JSON lines (https://jsonlines.org): one object in one line, ASCII alone (RFC 8259). It stays an object when a long
  text must be cut.

The cost: JSON takes more bytes than the plain line for the same record, and tells a time in UTC.
"""

from __future__ import annotations

import bisect
import datetime
import json
import logging
import math
import traceback
from collections.abc import Mapping
from typing import Any

from .units import counted

LINE_CHARACTERS = 1 << 15  # a longer line is cut: an exception's text can contain all that a peer has sent
TEXT_CHARACTERS = LINE_CHARACTERS // 4  # in JSON, for each of three texts; a character takes up to 12 (two escapes)
PLAIN_FORMAT = "%(asctime)s [%(process)s] %(levelname)s %(message)s"


def printable(text: str) -> str:
    """`text` with an escape like \\x1b, \\n or \\u202e in place of each character that is not printable."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class _Formatter(logging.Formatter):
    """What both forms need: the text of an exception, whatever that exception does when it is asked for it."""

    def trace(self, record: logging.LogRecord) -> str | None:
        """The rows of the record's traceback, or None if it has none."""
        exc_info = record.exc_info  # a tuple: do not ask the exception for its truth value, which may raise
        if not exc_info or exc_info[1] is None:
            return record.exc_text
        try:
            return self.formatException(exc_info)
        except Exception:  # the exception's own `__bool__` or `__str__` raises
            rows = traceback.format_tb(exc_info[2])
            return "".join([*rows, f"{type(exc_info[1]).__name__}, whose text cannot be shown"])


class LineFormatter(_Formatter):
    """One line for a record, then indented rows for a traceback or a stack.

    A message is one line, whatever its arguments contain. Only a newline in the format itself begins a new row; the
    watchdog writes one before a stack.
    """

    def __init__(self, fmt: str = PLAIN_FORMAT) -> None:
        super().__init__(fmt)

    def format(self, record: logging.LogRecord) -> str:
        """The line, without a newline at its end. Raises what the `__str__` of an argument raises."""
        record.message = record.getMessage()
        if self.usesTime():
            record.asctime = self.formatTime(record, self.datefmt)
        line = self.formatMessage(record)
        head, rest = line, ""
        if isinstance(record.msg, str) and "\n" in record.msg:
            head, _, rest = line.partition("\n")
        long = "\n".join(filter(None, (rest, self.trace(record), record.stack_info)))
        rows = (f"    {printable(row.expandtabs())}" for row in long.split("\n") if row)
        return _cut("\n".join([printable(head), *rows]), LINE_CHARACTERS)


class JsonFormatter(_Formatter):
    """One JSON object for a record.

    Its keys are `time` (ISO 8601, in UTC), `level`, `pid`, `logger` and `message`; `exception`, with the text of the
    traceback, and `stack`, where there is one. If the only argument of the record is a mapping, as
    `logging.LogRecord` explains it, its items are keys beside these, and only the first row of the message is given.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, without a newline at its end. Raises what the `__str__` of an argument raises."""
        fields = record.args if isinstance(record.args, Mapping) else {}
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        about: dict[str, Any] = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "pid": record.process,
            "logger": record.name,
        }
        texts = {"message": _message(record, fields)}
        if trace := self.trace(record):
            texts["exception"] = trace
        if record.stack_info:
            texts["stack"] = record.stack_info
        others = {name: value for name, value in _plain(fields).items() if name not in {**about, **texts}}
        line = _dumped({**about, **texts, **others})
        if len(line) > LINE_CHARACTERS:
            texts = {name: _cut_for_json(text) for name, text in texts.items()}
            others = {name: _cut_for_json(each) if isinstance(each, str) else each for name, each in others.items()}
            line = _dumped({**about, **texts, **others})
        if len(line) > LINE_CHARACTERS:
            line = _dumped({**about, **texts, "left_out": f"{counted(len(others), 'field')}, too long for a line"})
        return line


def _message(record: logging.LogRecord, fields: Mapping[str, object]) -> str:
    if fields and isinstance(record.msg, str):
        return record.msg.partition("\n")[0] % fields
    return record.getMessage()


def _plain(value: object) -> Any:
    """`value` as JSON can have it: what it has no form for is text. RecursionError if `value` contains itself."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)


def _dumped(value: object) -> str:
    # `json` leaves DEL as it is. It can only stand in a string.
    return json.dumps(value, ensure_ascii=True, allow_nan=False).replace("\x7f", r"\u007f")


def _cut(text: str, most: int) -> str:
    """`text`, or its first `most` characters and how many are missing."""
    return text if len(text) <= most else f"{text[:most]} (and {len(text) - most:,} characters more)"


def _cut_for_json(text: str) -> str:
    """`text`, cut so that it takes about `TEXT_CHARACTERS` in JSON."""
    lengths = range(min(len(text), TEXT_CHARACTERS) + 1)
    fitting = bisect.bisect_right(lengths, TEXT_CHARACTERS, key=lambda length: len(_dumped(text[:length]))) - 1
    return _cut(text, fitting)

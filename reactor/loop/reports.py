"""Lines for the log, which may be lost but never do harm.

`logging` calls the program's own handlers, and a handler is code like any other: it may raise, it may write to a
connection of ours, and the message may hold an object whose `__str__` raises. In the middle of the loop each of these
would break what the line was about. A write to a connection that has ended would be reported, the report written to
that connection, and so on without end.

So the package logs through `report`. What a handler raises is counted and goes no further, and a report that is made
while another one is being written on the same thread is counted and dropped.

The cost: such a line is lost. `lost` says how many were.
"""

from __future__ import annotations

import logging
import threading

_writing = threading.local()  # `.now` is true on a thread that is writing a report
_lost = 0


def report(logger: logging.Logger, level: int, text: str, *args: object, exc: BaseException | None = None) -> None:
    """Log `text % args` at `level`, with the traceback of `exc`.

    Never raises an `Exception`. What is none, as a SystemExit out of a signal handler in this moment, goes on (law 9).
    """
    global _lost
    if not logger.isEnabledFor(level):
        return
    if getattr(_writing, "now", False):
        _lost += 1
        return
    _writing.now = True
    try:
        # As a tuple: `logging` asks for the truth value of anything else, and an exception may have an odd one.
        exc_info = None if exc is None else (type(exc), exc, exc.__traceback__)
        logger.log(level, text, *args, exc_info=exc_info)
    except Exception:  # a handler's own mistake, or that of an object in `args`
        _lost += 1
    finally:
        _writing.now = False


def count_lost(lines: int = 1) -> None:
    """Count `lines` that a log handler of ours had to drop."""
    global _lost
    _lost += lines


def lost() -> int:
    """How many lines this process could not log."""
    return _lost

"""Lines for the log. A line may be lost, but it never does harm.

`logging` calls the program's own handlers. A handler may raise, or write to one of our connections. The message may
hold an object whose `__str__` raises. In the middle of the loop, each of these would break the work that the line
reports. And a write to a connection that has ended would be reported, that report would be written to the same
connection, and so on without end.

So the package logs through `report`. If a handler raises, that is counted and goes no further. If a report is made
while the same thread is writing another one, the new one is counted and dropped.

The cost: such a line is lost. `lost` returns how many were.
"""

from __future__ import annotations

import logging
import threading

_writing = threading.local()  # `.now` is true on a thread that is writing a report
_lost = 0


def report(logger: logging.Logger, level: int, text: str, *args: object, exc: BaseException | None = None) -> None:
    """Log `text % args` at `level`, with the traceback of `exc`.

    Never raises an `Exception`. Anything else, such as SystemExit in a signal handler at this moment, goes on (law 9).
    """
    global _lost
    if not logger.isEnabledFor(level):
        return
    if getattr(_writing, "now", False):
        _lost += 1
        return
    _writing.now = True
    try:
        # A tuple, because `logging` tests whether anything else is true, and an exception may count as false.
        exc_info = None if exc is None else (type(exc), exc, exc.__traceback__)
        logger.log(level, text, *args, exc_info=exc_info)
    except Exception:  # a handler's own mistake, or one of an object in `args`
        _lost += 1
    finally:
        _writing.now = False


def count_lost(lines: int = 1) -> None:
    """Count `lines` that one of our log handlers had to drop."""
    global _lost
    _lost += lines


def lost() -> int:
    """How many lines this process could not log."""
    return _lost

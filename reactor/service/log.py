"""Log lines that never harm the server which writes them.

`logging.StreamHandler` waits when the terminal is stopped (Ctrl-S) or the pipe is full, and the loop waits with it.
When the terminal is gone, the pipe broken or the disk full, it leaves the unwritten text in the buffer of
`sys.stderr`. That fails again when Python exits, and turns exit status 0 into 120.

So here the formatter (`lines`) makes a line, and a `Sink` writes it to the descriptor itself: at once, later, or not
at all, but without waiting and without an error (P1, P3).

A program of yours that sets up no logging has none of this. Python then writes warnings and errors to `sys.stderr`
(logging.lastResort), and waits if that is a full pipe. The docstring of `LogHandler` has the line that prevents it.
"""

from __future__ import annotations

import logging

from ..loop import reports
from .lines import LineFormatter
from .sink import Sink
from .units import counted

FINISH_SECONDS = 1.0  # how long the end waits for lines that are still kept


class LogHandler(logging.Handler):
    """Logs to descriptor `fd`, for a server of your own: `logging.basicConfig(handlers=[LogHandler()])`.

    It never waits, and raises nothing but KeyboardInterrupt. A character that `encoding` lacks is written as an escape.
    `loop.reports.lost()` counts the lines that were lost. `setFormatter(JsonFormatter())` makes it write JSON lines.
    """

    before = ""  # what goes before each line

    def __init__(self, fd: int = 2, encoding: str = "utf-8") -> None:
        super().__init__()
        assert self.lock is not None
        self.formatter: logging.Formatter = LineFormatter()
        self.encoding = encoding
        self.sink = Sink(fd, self.lock, self._say_lost)  # `logging` makes this lock new after a fork

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record. If it cannot be formatted (an argument's `__str__` raises), say that instead."""
        try:
            try:
                text = self.format(record)
            except KeyboardInterrupt:  # it may be a real Ctrl-C
                raise
            except BaseException as exc:
                text = self._line("a log line cannot be formatted: %s in %r", type(exc).__name__, record.msg)
            self.sink.write(self._encoded(text))
        except Exception:  # for example, no memory
            reports.count_lost()

    def finish(self, seconds: float = FINISH_SECONDS) -> None:
        """Wait at most `seconds` for lines that are not written yet. Call it when nothing more will be logged."""
        self.sink.finish(seconds)

    def close(self) -> None:
        """Close the descriptor if we opened it. Later lines are lost. `logging` calls this at exit."""
        self.sink.close()
        super().close()

    def _line(self, text: str, *args: object) -> str:
        record = logging.LogRecord("reactor.service", logging.WARNING, __file__, 0, text, args, None)
        return self.formatter.format(record)

    def _say_lost(self, count: int) -> bytes:
        return self._encoded(self._line("%s of the log lost here", counted(count, "line")))

    def _encoded(self, text: str) -> bytes:
        return f"{self.before}{text}\n".encode(self.encoding, "backslashreplace")

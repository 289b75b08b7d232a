"""Say how far a long run has come: one line on a terminal, which is rewritten; elsewhere a plain line now and then.

A run of minutes that says nothing looks like a run that hangs. A terminal can erase its last line, so one line is
enough there. A log cannot: there each line stays, control characters make it unreadable, and a line for each step
would hide what matters. So a log gets a line only when the caller says that it is due.

A terminal can be stopped with Ctrl-S, or can go away. The run must not wait for it or end with it. So the terminal is
opened anew, and written in a way that never waits; what it does not take is not shown. (O_NONBLOCK on standard error
itself would also apply to the shell: see open(2).)
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time

from scripts import output

PERIOD_SECONDS = 0.2  # between two drawings on a terminal
ERASE_LINE = "\r\x1b[K"  # to the first column, and erase to the end (ECMA-48: EL)


class ProgressLine:
    """The progress of a run, on standard error. `clear` it before anything else is written there, and at the end."""

    def __init__(self) -> None:
        self._terminal: int | None = None  # a descriptor of our own; None: there is no terminal that can erase a line
        self._drawn_at = -PERIOD_SECONDS
        if os.environ.get("TERM") != "dumb":  # term(7)
            with contextlib.suppress(OSError, ValueError, AttributeError):  # no terminal, closed, or None
                name = os.ttyname(sys.stderr.fileno())
                self._terminal = os.open(name, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)

    def show(self, text: str, due: bool = False) -> None:
        """Draw `text` on a terminal, at most five times a second. Elsewhere it is written if it is `due`."""
        now = time.monotonic()
        if self._terminal is None:
            if due:
                output.tell(text)
        elif now - self._drawn_at >= PERIOD_SECONDS:
            self._drawn_at = now
            self._draw(text)

    def clear(self) -> None:
        """Erase the line. The next `show` draws it again."""
        if self._terminal is not None:
            self._draw("")
            self._drawn_at = -PERIOD_SECONDS

    def close(self) -> None:
        """Erase the line for good."""
        self.clear()
        if self._terminal is not None:
            os.close(self._terminal)
            self._terminal = None

    def _draw(self, text: str) -> None:
        columns = shutil.get_terminal_size().columns - 1  # some terminals wrap after the last column
        with contextlib.suppress(OSError):
            os.write(self._terminal, (ERASE_LINE + text[:columns]).encode("ascii", "replace"))


def duration(seconds: float) -> str:
    """`seconds` as a person says it, rounded: `48 s`, `5 min 12 s`, `1 h 02 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"

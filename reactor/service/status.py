"""What a person who watches a server in a terminal wants to see: is anyone there, and how much goes through?

One line, rewritten in place every second. It is for eyes: away from a terminal it would fill a log with control
characters, so there the log lines alone speak; and so they do on a terminal that knows no control characters. Log
lines and the status line share the screen: whoever logs takes the status line away first. A status line that cannot
be written at once is not written at all.
"""

from __future__ import annotations

import os

from ..connections.reactor import Reactor
from .log import LogHandler

PERIOD_SECONDS = 1.0
USUAL_COLUMNS = 80  # where the terminal does not know
ERASE_LINE = "\r\x1b[K"  # to the first column, and erase to the end (ECMA-48: EL)


def can_show(fd: int) -> bool:
    """Whether descriptor `fd` is a terminal that can erase a line. TERM is "dumb" where it cannot (term(7))."""
    return os.isatty(fd) and os.environ.get("TERM", "") not in ("", "dumb")


class StatusLineHandler(LogHandler):
    """Logs to a terminal without mixing its lines with the status line, which is written here too."""

    before = ERASE_LINE

    def show(self, text: str) -> None:
        """Put `text` in place of the status line before, cut to the width of the terminal.

        Does nothing in the background: there the screen belongs to the shell and to what runs in front of it.
        """
        if self._in_front():
            self.sink.show((ERASE_LINE + text[: self._columns() - 1]).encode(self.encoding, "backslashreplace"))

    def _columns(self) -> int:
        """The terminal's width now. What is longer would wrap, and of two rows only the last can be erased."""
        try:
            return os.get_terminal_size(self.sink.fd).columns or USUAL_COLUMNS
        except OSError:  # it is gone
            return USUAL_COLUMNS

    def _in_front(self) -> bool:
        try:
            return os.tcgetpgrp(self.sink.fd) == os.getpgrp()
        except OSError:  # not the terminal that started us: nobody is put to the front or back there (tcgetpgrp(3))
            return True


class StatusLine:
    """Shows one reactor's counters on the terminal of `handler`, once a second while the reactor runs."""

    def __init__(self, reactor: Reactor, handler: StatusLineHandler) -> None:
        self._reactor = reactor
        self._handler = handler
        self._before = (reactor.time(), 0, 0)
        reactor.call_later(PERIOD_SECONDS, self._tick)

    def _tick(self) -> None:
        self._handler.show(self.text())
        self._reactor.call_later(PERIOD_SECONDS, self._tick)

    def text(self) -> str:
        """The line: connections now, and the rates of what was received since the last call."""
        counters = self._reactor.counters
        now = (self._reactor.time(), counters.receives, counters.bytes_received)
        seconds, messages, size = (after - before for after, before in zip(now, self._before, strict=True))
        self._before = now
        seconds = max(seconds, 1e-9)
        return (
            f"{counters.open:,} connections   {messages / seconds:,.0f} messages/s   "
            f"{size / seconds / 1e6:,.1f} MB/s   {counters.accepted:,} accepted"
        )

    def clear(self) -> None:
        """Take the line off the screen."""
        self._handler.show("")

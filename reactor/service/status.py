"""What a person who watches a server in a terminal wants to see: is anyone there, and how much goes through?

One line, rewritten in place every second. It is for eyes: away from a terminal it would fill a log with control
characters, so there the log lines alone speak. Log lines and the status line share the screen: whoever logs
takes the status line away first.
"""

from __future__ import annotations

import logging
import os
from typing import TextIO

from ..core.loop import Reactor

PERIOD_SECONDS = 1.0
USUAL_COLUMNS = 80  # where the terminal does not know
ERASE_LINE = "\r\x1b[K"  # to the first column, and erase to the end (ECMA-48: EL)


class StatusLine:
    """Shows one reactor's counters on the terminal `stream`, once a second while the reactor runs."""

    def __init__(self, reactor: Reactor, stream: TextIO) -> None:
        self._reactor = reactor
        self._stream = stream
        self._before = (reactor.time(), 0, 0)
        reactor.call_later(PERIOD_SECONDS, self._tick)

    def _tick(self) -> None:
        self._stream.write(ERASE_LINE + self.text()[: self._columns() - 1])
        self._stream.flush()
        self._reactor.call_later(PERIOD_SECONDS, self._tick)

    def _columns(self) -> int:
        """The terminal's width now. What is longer would wrap, and of two rows only the last can be erased."""
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or USUAL_COLUMNS
        except OSError:  # not a terminal
            return USUAL_COLUMNS

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
        self._stream.write(ERASE_LINE)
        self._stream.flush()


class StatusLineHandler(logging.StreamHandler):  # type: ignore[type-arg]  # generic in the stubs alone
    """Logs to the same terminal without mixing its lines with the status line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Erase the status line, write the record, and leave the next status line to its tick."""
        self.stream.write(ERASE_LINE)
        super().emit(record)

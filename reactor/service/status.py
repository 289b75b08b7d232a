"""How many clients are connected, and how much data passes? A status line for a person at a terminal.

It is one line that is rewritten in place every second. In a file it would leave control characters, so it is shown
only on a terminal that understands them. Log lines and the status line share the screen: each log line first erases
the status line. A status line that cannot be written at once is not written at all.
"""

from __future__ import annotations

import os

from ..connections.reactor import Reactor
from ..connections.states import CloseReason
from .log import LogHandler
from .units import counted, size

PERIOD_SECONDS = 1.0
USUAL_COLUMNS = 80  # where the terminal does not say
ERASE_LINE = "\r\x1b[K"  # go to the first column and erase to the end of the row (ECMA-48: EL)


def can_show(fd: int) -> bool:
    """Whether descriptor `fd` is a terminal that can erase a line. TERM is "dumb" where it cannot (term(7))."""
    return os.isatty(fd) and os.environ.get("TERM", "") not in ("", "dumb")


class StatusLineHandler(LogHandler):
    """Writes the log and the status line to one terminal, and keeps them apart."""

    before = ERASE_LINE

    def show(self, text: str) -> None:
        """Replace the status line by `text`, cut to the width of the terminal.

        Does nothing while the server is a background job: then the screen belongs to another program.
        """
        if self._in_front():
            self.sink.show((ERASE_LINE + text[: self._columns() - 1]).encode(self.encoding, "backslashreplace"))

    def _columns(self) -> int:
        """The terminal's width now. A longer line would wrap, and only its last row could be erased."""
        try:
            return os.get_terminal_size(self.sink.fd).columns or USUAL_COLUMNS
        except OSError:  # the terminal is gone
            return USUAL_COLUMNS

    def _in_front(self) -> bool:
        try:
            return os.tcgetpgrp(self.sink.fd) == os.getpgrp()
        except OSError:  # not our controlling terminal, so it has no background jobs of ours (tcgetpgrp(3))
            return True


class StatusLine:
    """Shows the counters of `reactor` on the terminal of `handler`, once a second while the reactor runs."""

    def __init__(self, reactor: Reactor, handler: StatusLineHandler) -> None:
        self._reactor = reactor
        self._handler = handler
        self._before: tuple[float, int, int, int] = (reactor.time(), 0, 0, 0)
        reactor.call_every(PERIOD_SECONDS, lambda: handler.show(self.text()))

    def text(self) -> str:
        """The line: connections now, and the rates of input since the last call.

        FULL: newcomers have no place. REFUSES: some were refused since the last call, because of another limit.

        With seven digits in each number it fits a screen of 80 columns, if nothing is refused.
        """
        counters = self._reactor.counters
        refused = counters.closed[CloseReason.REFUSED]
        now = (self._reactor.time(), counters.receives, counters.bytes_received, refused)
        seconds, messages, received, refusals = (new - old for new, old in zip(now, self._before, strict=True))
        self._before = now
        seconds = max(seconds, 1e-9)
        full = " FULL" if counters.full else " REFUSES" if refusals else ""
        return (
            f"{counted(counters.open, 'connection')}{full}  {messages / seconds:,.0f} messages/s  "
            f"{size(received / seconds)}/s  {counters.accepted:,} accepted"
        )

    def clear(self) -> None:
        """Erase the line from the screen."""
        self._handler.show("")

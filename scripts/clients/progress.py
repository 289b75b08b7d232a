"""A progress bar on the terminal.

It is one line on standard error, rewritten a few times a second and erased at the end, so that a report on standard
output can be piped and the terminal shows nothing twice. There is no bar where it is useless: in a log, or on a
terminal that cannot erase a line. It reads figures that exist anyway, so a message costs no more.

A terminal can be stopped with Ctrl-S, or can go away. The clients must not wait for it or end with it. So the bar
opens the terminal anew and writes in a way that never waits; what the terminal does not take is not shown.
(O_NONBLOCK on standard error itself would also apply to the shell: see open(2).)
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from typing import TextIO

from .client import Outcome
from .swarm import Phase, Swarm

PERIOD_SECONDS = 0.2
BAR_COLUMNS = 16
ERASE_LINE = "\r\x1b[K"  # to the first column, and erase to the end (ECMA-48: EL)


class Progress:
    """Shows the progress of `swarm` on the terminal `stream`, while the swarm's reactor runs."""

    def __init__(self, swarm: Swarm, stream: TextIO) -> None:
        self._swarm = swarm
        self._stream = stream
        self._terminal: int | None = None  # a descriptor of our own
        with contextlib.suppress(OSError):  # it is not a terminal, or belongs to another user
            name = os.ttyname(stream.fileno())
            self._terminal = os.open(name, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        self._tick()

    def _tick(self) -> None:
        columns = shutil.get_terminal_size().columns - 1  # some terminals wrap after the last column
        self._write(ERASE_LINE + self.text()[:columns])
        self._swarm.reactor.call_later(PERIOD_SECONDS, self._tick)

    def text(self) -> str:
        """The line: the phase, how much of it is done, and what went wrong so far."""
        swarm, load = self._swarm, self._swarm.load
        counts = swarm.outcome_counts()
        errors = counts.total() - counts[Outcome.COMPLETE]
        messages = len(swarm.latencies)
        if swarm.phase is Phase.CONNECTING:
            done = len(swarm.clients) + swarm.outcomes.total()
            share, words = done / load.connections, f"{done:,} of {load.connections:,} connections"
        elif swarm.messages is None:
            seconds = min(swarm.reactor.time() - swarm.began_at, load.seconds)
            share, words = seconds / load.seconds, f"{seconds:.1f} of {load.seconds:g} s, {messages:,} messages"
        else:
            total = load.connections * swarm.messages
            share, words = messages / total, f"{messages:,} of {total:,} messages"
        filled = int(BAR_COLUMNS * share)
        bar = "#" * filled + "." * (BAR_COLUMNS - filled)
        line = f"{swarm.phase.value:<10} [{bar}] {share:4.0%}  {words}"
        return f"{line}, {errors:,} errors" if errors else line

    def clear(self) -> None:
        """Remove the bar from the screen, for good; if the terminal takes nothing, see `fresh_line`."""
        self._write(ERASE_LINE)
        if self._terminal is not None:
            os.close(self._terminal)
            self._terminal = None

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            if self._terminal is not None:
                os.write(self._terminal, text.encode("ascii", "replace"))
            else:
                self._stream.write(text)
                self._stream.flush()


def fresh_line(stream: TextIO | None) -> str:
    """What the text after a bar begins with on `stream`, so that it begins on a line of its own.

    The terminal may have been stopped when the bar was removed: then a piece of it is still there. The text waits for
    the terminal, and erases that piece.
    """
    return ERASE_LINE if is_watched(sys.stderr) and is_watched(stream) else ""


def is_watched(stream: TextIO | None) -> bool:
    """Whether `stream` is a terminal that can show a bar. TERM is "dumb" if it cannot erase a line (term(7))."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"

"""Was this process there while it waited?

A client gives a server so many seconds for the next byte. But a process can be stopped (Ctrl-Z, SIGSTOP, `docker
pause`, a debugger). When it continues, the clock says that the time is up: an answer seems late that nothing was
there to receive, or a question was never sent. Three rules prevent such a wrong verdict:

- Evidence comes before the verdict: the bytes in the kernel are read before any timer runs. The reactor does that
  (`Timers.asked_at`), and a wait is measured up to the time until which all bytes have been read.
- A wait counts only while this process runs. After an absence, every client that waits gets the whole time again.
- The first look after an absence notices it. A beat, a few times in each time-out, makes sure that something looks.
  Two looks further apart than half a time-out mean that the process was away.

If the server is stopped, that is different: we were there, and it did not answer. A time-out is for that.

The cost: after an absence a time-out comes later than it could, and an absence of less than half a time-out counts as
the server's. The reactor times the connects, because the kernel continues with them while we are away.
"""

from __future__ import annotations

import math

from reactor import Reactor

BEATS = 4  # in each time-out
SHORTEST_BEAT_SECONDS = 0.01


class Presence:
    """Measures waits on `reactor`; none of them is longer than `timeout_seconds`."""

    def __init__(self, reactor: Reactor, timeout_seconds: float) -> None:
        self._reactor = reactor
        self._beat_seconds = max(timeout_seconds / BEATS, SHORTEST_BEAT_SECONDS)
        self._longest_seconds = self._beat_seconds * BEATS / 2  # between two looks of a running process
        self._looked_at = reactor.time()
        self._back_at = -math.inf  # when the last absence ended

    def start(self) -> None:
        """Begin to look."""
        self._looked_at = self._reactor.time()
        self._beat()

    def _beat(self) -> None:
        self._look()
        self._reactor.call_later(self._beat_seconds, self._beat)

    def _look(self) -> None:
        now = self._reactor.time()
        if now - self._looked_at > self._longest_seconds:
            self._back_at = now
        self._looked_at = now

    def waited(self, since: float) -> float:
        """For how many seconds since `since`, a time of the reactor, this process was there to wait."""
        self._look()
        return self._reactor.timers.asked_at - max(since, self._back_at)

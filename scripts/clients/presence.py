"""Was this process there while it waited?

A client gives a server so many seconds for the next byte. But a process can be stopped (Ctrl-Z, SIGSTOP, `docker
pause`, a debugger). When it goes on, the clock says that all the time is up: an answer is late that nobody was there to
receive, or that to a question which was never sent. Three things are needed so that no such answer is called late:

- The evidence comes before the verdict: what lies in the kernel is read before any timer runs. The reactor sees to it
  (`Timers.asked_at`), and a wait is judged by the time up to which that is known.
- A wait counts only while we are there. Whoever waits when we come back has all of the time again.
- That we were away is noticed by whoever looks first. A beat a few times within each time-out sees to it that somebody
  looks, and looks that are further apart than half a time-out mean that we were away.

A server that is stopped is another matter: we were there, and it did not answer. That is what a time-out is for.

The cost: after an absence a time-out comes later than it could, and an absence of less than half a time-out is
taken for the server's. A connect is timed by the reactor, since the kernel goes on with it while we are away.
"""

from __future__ import annotations

import math

from reactor import Reactor

BEATS = 4  # within the time-out
SHORTEST_BEAT_SECONDS = 0.01


class Presence:
    """Measures waits on `reactor` of which none is longer than `timeout_seconds`."""

    def __init__(self, reactor: Reactor, timeout_seconds: float) -> None:
        self._reactor = reactor
        self._beat_seconds = max(timeout_seconds / BEATS, SHORTEST_BEAT_SECONDS)
        self._longest_seconds = self._beat_seconds * BEATS / 2  # between two looks of who is there
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
        """For how many of the seconds since `since`, a time of the reactor, somebody was there to wait."""
        self._look()
        return self._reactor.timers.asked_at - max(since, self._back_at)

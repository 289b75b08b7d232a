"""Which callback blocks the loop, and where?

One callback that waits (for a disk, a lock, a slow computation) makes all connections wait. Afterwards nothing shows
which one it was: the loop knows only that it is late. The callback has to be seen while it blocks, but then it holds
the loop's own thread. So a second thread looks. Several times a second it asks how far the loop has come. If that has
not changed for too long, it logs the callback, the time so far, and the loop's stack at that moment (L6). Many
short calls of `call_soon` make progress and are not reported; the loop itself logs how long they took together. This
thread also makes the other checks that must come from outside the loop (`also`).

The cost: a thread that sleeps, and some wake-ups a second. The loop sets one attribute before and after each poll.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType

from .loop import Loop
from .reports import report

logger = logging.getLogger("reactor.loop")

SHORTEST_PERIOD_SECONDS = 0.05
LONGEST_PERIOD_SECONDS = 0.5  # `also` is called at least so often
HOUSE = os.path.dirname(os.path.dirname(__file__))
CALLERS = [os.path.join(HOUSE, floor) for floor in ("loop", "connections")]  # they call a program's callbacks


class Watchdog:
    """A thread that watches `loop`, which the calling thread runs. `stop` ends the watching thread.

    It reports a callback that does not return for `loop.blocked_seconds`. It also calls `also()` at each look.
    """

    def __init__(self, loop: Loop, also: Callable[[], object] = lambda: None) -> None:
        self._loop = loop
        self._also = also
        self._seconds = loop.blocked_seconds
        self._watched = threading.get_ident()
        self._progress: tuple[int, ...] = ()  # how far the loop was at the last look
        self._since = 0.0  # when it was first seen there, in seconds of the loop's clock
        self._reported = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="reactor watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and wait for it."""
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        period = min(max(self._seconds / 4, SHORTEST_PERIOD_SECONDS), LONGEST_PERIOD_SECONDS)
        while not self._stopped.wait(period):
            self._look()
            self._also()

    def _look(self) -> None:
        """Report a callback that has not returned for too long, but each one only once."""
        loop, now = self._loop, self._loop.timers.clock()
        progress = loop.progress()
        if loop.waiting or progress != self._progress:
            self._progress, self._since, self._reported = progress, now, False
            return
        frame = sys._current_frames().get(self._watched)
        still = progress == loop.progress() and not loop.waiting
        if now - self._since >= self._seconds and not self._reported and frame is not None and still:
            self._reported = True
            name, seconds = callback(frame), now - self._since
            stack = "".join(traceback.format_stack(frame))
            text = "%s has blocked the loop for %.1f seconds; it is at\n%s"
            report(logger, logging.WARNING, text, name, seconds, stack)


def callback(innermost: FrameType) -> str:
    """The name and place of the callback that the loop has called, in the stack that ends with frame `innermost`."""
    called = innermost
    frame: FrameType | None = innermost
    while frame is not None and os.path.dirname(frame.f_code.co_filename) not in CALLERS:
        called, frame = frame, frame.f_back
    return f"{called.f_code.co_qualname} ({called.f_code.co_filename}:{called.f_lineno})"

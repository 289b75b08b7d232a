"""Who is blocking the loop, and where?

One callback that waits (for a disk, a lock, a slow computation) makes everyone wait, and afterwards nothing shows
which one it was: the loop knows only that it is late. To see the culprit one has to look while it blocks, and the
loop's own thread is busy being blocked. So a second thread looks: some times a second it asks how far the loop has
come, and if that is where it was before, for too long, it writes down the callback, the time so far, and the loop's
stack at that moment (L6). A batch of many short callbacks makes progress and is not reported; how long it took as a
whole is logged by the loop itself. What else is to be looked at from outside the loop is done on this
thread too (`also`).

The cost: a thread that sleeps, and some wake-ups a second. The loop pays one attribute store before and after a poll.
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
LONGEST_PERIOD_SECONDS = 0.5  # for what is done at each look besides
HOUSE = os.path.dirname(os.path.dirname(__file__))
CALLERS = [os.path.join(HOUSE, floor) for floor in ("loop", "connections")]  # who calls a program's callbacks


class Watchdog:
    """Watches `loop`, run by the calling thread, from a thread of its own; `stop` ends that.

    A callback that does not return for `loop.blocked_seconds` is reported. `also()` is called each time that it looks,
    on that thread.
    """

    def __init__(self, loop: Loop, also: Callable[[], object] = lambda: None) -> None:
        self._loop = loop
        self._also = also
        self._seconds = loop.blocked_seconds
        self._watched = threading.get_ident()
        self._progress: tuple[int, ...] = ()  # how far the loop was when we looked last
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
        """Report a callback that has not returned for too long; the same one only once."""
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
    """The name and place of what these floors have called, in the stack that ends with the frame `innermost`."""
    called = innermost
    frame: FrameType | None = innermost
    while frame is not None and os.path.dirname(frame.f_code.co_filename) not in CALLERS:
        called, frame = frame, frame.f_back
    return f"{called.f_code.co_qualname} ({called.f_code.co_filename}:{called.f_lineno})"

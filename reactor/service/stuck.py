"""The way out when a callback never returns.

The first SIGTERM asks for a drain, the second for an immediate end. The loop handles both in its next iteration. If a
callback never returns, there is no next iteration. Only SIGKILL would end the process, and the log would not name the
callback (P9).

A signal handler runs on the main thread between two bytecodes, also in an endless loop or in a system call that waits
(PEP 475). So the handler counts the signals that arrive, and the loop counts those that it has heard. From the second
signal on, a thread checks half a second later whether the loop has heard it. If not, the thread logs the line where
the callback is, and ends the process with the status that a shell gives to that signal: 128 plus its number.

Code in C may continue to wait when a signal comes (`os.system`), and then no Python handler runs. But Python's handler
in C has put the signal's number into the loop's pipe (signal.set_wakeup_fd), so the watchdog's thread looks there.

The cost: such an end calls no protocol and flushes no file. It cannot interrupt C code that lets no other thread run (a
regular expression). Without a watchdog (`blocked_seconds` is infinite) it cannot interrupt `os.system` either.
"""

from __future__ import annotations

import _thread
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

from ..loop.reports import report
from ..loop.watchdog import callback

logger = logging.getLogger("reactor.service")

HANG_UP = getattr(signal, "SIGHUP", None)
PATIENCE_SECONDS = 0.5  # a healthy loop hears of a signal within one of its iterations
REPORT_SECONDS = 1.0  # a log handler that is stuck must not keep the process alive


class WayOut:
    """Ends the process at the second signal if the loop on the main thread does not.

    First it calls `give_back`, which removes what would outlive the process.
    """

    def __init__(self, give_back: Callable[[], object]) -> None:
        self._give_back = give_back
        self._arrived = 0  # signals that ask for the end
        self._heard = 0  # those of them that the loop has heard
        self.numbers: set[int] = set()  # the signals that ask for the end
        self._since = math.inf  # when the second was first seen in the pipe, in seconds of time.monotonic

    def heard(self) -> None:
        """Called by the loop, for each signal that asks for the end."""
        self._heard += 1

    def arrived(self, number: int, frame: FrameType | None) -> None:
        """Called by the signal handler, for each signal that asks for the end."""
        if self._arrived and number == HANG_UP:
            return  # a terminal that goes away may send two
        self._arrived += 1
        if self._arrived == 1:
            return
        try:
            # Not threading.Thread: the code that this handler interrupts may hold a lock of `threading`.
            _thread.start_new_thread(self._look, (number, self._arrived))
        except RuntimeError:  # no thread can be started, so there is no later look
            self._end(number, frame)

    def look(self, wake_ups: bytes) -> None:
        """Called by another thread, some times a second, with what lies in the loop's pipe."""
        ours = [number for number in wake_ups if number in self.numbers]
        asking = [number for number in ours if number != HANG_UP]
        hung_up = HANG_UP in ours and not self._heard
        if not asking or self._heard + len(asking) + hung_up < 2:
            self._since = math.inf
        elif self._since == math.inf:
            self._since = time.monotonic()
        elif time.monotonic() - self._since >= PATIENCE_SECONDS:
            self._end(asking[-1], sys._current_frames().get(threading.main_thread().ident or 0))

    def _look(self, number: int, awaited: int) -> None:
        time.sleep(PATIENCE_SECONDS)
        if self._heard < awaited:
            self._end(number, sys._current_frames().get(threading.main_thread().ident or 0))

    def _end(self, number: int, frame: FrameType | None) -> None:
        try:
            self._tell(number, frame)
            self._give_back()
        finally:
            os._exit(128 + number)

    def _tell(self, number: int, frame: FrameType | None) -> None:
        where = "the loop" if frame is None else callback(frame)
        text = "%s again, and %s does not return: ending the process"
        told = _thread.allocate_lock()
        told.acquire()

        def tell() -> None:
            report(logger, logging.ERROR, text, signal.Signals(number).name, where)
            told.release()

        try:
            _thread.start_new_thread(tell, ())
        except RuntimeError:
            tell()
        told.acquire(timeout=REPORT_SECONDS)

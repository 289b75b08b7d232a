"""The way out when a callback never returns.

The first SIGTERM asks for a drain and the second for the end, and the loop sees to either in its next iteration. If a
callback never returns there is no next iteration, and only SIGKILL would end the process: without a word of which
callback it was (P9).

A signal handler runs on the main thread between any two bytecodes, in an endless loop too, and in a system call that
waits (PEP 475). So the handler counts for itself what arrives, and the loop what it has heard. From the second signal
on, a thread looks half a second later whether the loop has heard it. If it has not, the thread logs the line in which
the callback is, and ends the process with the status that a shell gives to that signal: 128 and its number.

Code in C may go on waiting when a signal comes (`os.system`), and then no handler in Python runs. But the handler in C
has written the signal's number into the loop's pipe (signal.set_wakeup_fd). So the watchdog's thread looks there too.

The cost: such an end tells no protocol and flushes no file. A callback in C that never lets another thread run (a
regular expression) cannot be interrupted by this either; nor `os.system`, where `blocked_seconds` is infinite.
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
REPORT_SECONDS = 1.0  # a log handler that is itself what is stuck must not keep the process alive


class WayOut:
    """Ends the process by the second signal if the loop on the main thread does not.

    `give_back` is called before, for what outlives a process.
    """

    def __init__(self, give_back: Callable[[], object]) -> None:
        self._give_back = give_back
        self._arrived = 0  # signals that ask for the end
        self._heard = 0  # those of them that the loop has taken
        self.numbers: set[int] = set()  # the signals that ask for the end: another one is the program's own
        self._since = math.inf  # when the pipe was first seen to hold the second, in seconds of time.monotonic

    def heard(self) -> None:
        """Told by the loop, for each of them."""
        self._heard += 1

    def arrived(self, number: int, frame: FrameType | None) -> None:
        """Told by the signal handler, for each of them."""
        if self._arrived and number == HANG_UP:
            return  # one terminal that goes away may send two
        self._arrived += 1
        if self._arrived == 1:
            return
        try:
            # Not threading.Thread: the code that this handler interrupts may hold a lock of that module.
            _thread.start_new_thread(self._look, (number, self._arrived))
        except RuntimeError:  # no thread can be started, so nobody will look later
            self._end(number, frame)

    def look(self, wake_ups: bytes) -> None:
        """Told by another thread, some times a second, what lies in the loop's pipe."""
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

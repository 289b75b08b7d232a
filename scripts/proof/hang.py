"""The last resort against a loop that never ends and that nobody sees.

What the reactor asks of its world is counted, and too much of it in one phase breaks a law. But a loop may go round
without a single call: over a queue that it fills itself, say. Such a bug would hang the whole simulation and not
even name its seed. So while a scenario is lived through, an alarm is set: it goes off when the process has worked for
far longer than any scenario takes, and breaks the law in the very line that is being executed.

It counts the processor's time and not the clock's, so a machine that sleeps or is busy with others is not taken for a
loop. The exception can be caught on its way, like any other. Then the alarm goes off again, and in the end it gives
up the process, having said why.

The cost: four system calls for each scenario. Only the main thread can have it (signal(7)), and only on POSIX.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from .laws import LawBroken

HANG_SECONDS = 10.0  # of work; a scenario takes some milliseconds
MOST_ALARMS = 3  # that may be caught on their way out


class Hung(LawBroken):
    """Something never ends. To see it again takes as long again, so nobody should try too often."""


@contextlib.contextmanager
def alarm(seed: int, seconds: float) -> Iterator[None]:
    """Break law 8 when the block has kept the processor busy for `seconds`; off the main thread do nothing.

    `Hung` is raised wherever the block is then. A block that goes on all the same ends the process, status 1.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    alarms = 0

    def ring(_number: int, frame: FrameType | None) -> None:
        nonlocal alarms
        alarms += 1
        if alarms > MOST_ALARMS:
            print(f"sim: seed {seed} hangs, and cannot be stopped:", file=sys.stderr, flush=True)
            faulthandler.dump_traceback(all_threads=False)
            os._exit(1)
        place = f"{os.path.basename(frame.f_code.co_filename)}, line {frame.f_lineno}" if frame else "no line"
        raise Hung(8, f"after {seconds:g} seconds of work there is no end, at {place}")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)

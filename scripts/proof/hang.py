"""The last resort against an endless loop that makes no calls.

The world counts what the reactor asks of it, and too many calls in one phase break a law. But a loop may go round
without a single call, for example over a queue that it fills itself. Such a bug would hang the whole simulation, and
nothing would name its seed. So an alarm is set while a scenario runs. It goes off when the process has worked for
far longer than any scenario takes, and it breaks a law in the line that is being executed.

The alarm counts the processor's time and not the clock's. So a machine that sleeps, or is busy with other work, does
not set it off. Some code may catch its exception. Then it goes off again, and in the end it names the seed and ends
the process.

The cost: four system calls for each run of a scenario. It works in the main thread alone (signal(7)), and on POSIX.
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

HANG_SECONDS = 10.0  # of processor time; a scenario takes some milliseconds
MOST_ALARMS = 3  # if these are all caught, the next ends the process


class Hung(LawBroken):
    """Something never ends. Each repetition takes as long again, so do not repeat it often."""


@contextlib.contextmanager
def alarm(seed: int, seconds: float) -> Iterator[None]:
    """Break law 8 when the block has used `seconds` of processor time. Off the main thread, do nothing.

    `Hung` is raised in the line that runs then. If the block catches it and goes on, the process ends with status 1.
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

"""A call that comes again and again, at equal distances.

A callback that arms its own next timer drifts: each call is a little late, and the next one counts from there. So the
n-th call is due at `start + n * seconds`, computed from the start each time. Neither lateness nor rounding adds up.

What if several calls were missed, because the loop was held up or the process was stopped? Ten heartbeats at once help
nobody, and would hold the loop up again. So the missed ones are skipped: the next call is due at the first multiple
after the moment when the callback has returned. A callback that takes longer than its own period skips some, too.

The next call is armed after the callback, also if that raised SystemExit: the series goes on when the loop runs again.

The cost: for each call one more reading of the clock. A period that is shorter than an iteration makes one call in each
iteration, and the loop never waits.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable

from .reports import report
from .timers import Handle, Timers

logger = logging.getLogger("reactor.loop")


class Repeat(Handle):
    """A call that `call_every` promised. It comes again and again until it is cancelled."""

    __slots__ = ("_timers", "_start", "_seconds")

    def __init__(
        self, timers: Timers, seconds: float, callback: Callable[..., object], args: tuple[object, ...]
    ) -> None:
        try:
            good = math.isfinite(seconds) and float(seconds) > 0
        except OverflowError:  # a whole number that no float can hold
            good = False
        if not good:
            raise ValueError(f"the time between two calls must be a finite number of seconds above 0, not {seconds!r}")
        self._timers = timers
        self._start = timers.clock()
        self._seconds = float(seconds)
        super().__init__(callback, args, self._start + self._seconds, None)
        timers.arm(self)

    def run(self) -> bool:
        """Make the call, and arm the next. If it raises, that is logged and goes no further (law 9): return False."""
        callback = self._callback
        if callback is None:
            return True
        try:
            callback(*self._args)
        except Exception as exc:  # the program's error: the loop, its other calls and this series go on
            report(logger, logging.ERROR, "a callback raised: %r", callback, exc=exc)
            return False
        finally:
            self.when = self._next_when()
            self._timers.arm(self)
            if self._callback is None:  # cancelled by the callback, or at this moment by foreign code
                self.cancel()
        return True

    def _next_when(self) -> float:
        """The first multiple of the period after now.

        The quotient is rounded, so it is one of three. If none is later, the period is too short for a float to
        show: then the next iteration.
        """
        now = self._timers.clock()
        count = math.floor(min((now - self._start) / self._seconds, sys.float_info.max))
        multiples = (self._start + (count + more) * self._seconds for more in range(3))
        return next((when for when in multiples if when > now), now)

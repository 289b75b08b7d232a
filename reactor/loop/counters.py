"""What a loop counts.

The most important number of an event loop is how long ready descriptors wait while the loop serves others. So the time
of every iteration goes into a histogram. Each bucket is twice as wide as the one before: 32 integers cover a
microsecond to 18 minutes, and one `bit_length` finds the bucket.
"""

from __future__ import annotations

LAG_BUCKETS = 32  # bucket i holds iterations of less than 2**i microseconds; the last has all from 18 minutes on


class LoopCounters:
    """The counts of one loop since it was made."""

    __slots__ = ("iterations", "callback_errors", "thread_calls", "lag")

    def __init__(self) -> None:
        self.iterations = 0  # turns of the loop
        self.callback_errors = 0  # exceptions in `call_soon`, timers, watched descriptors and `connection_lost`
        self.thread_calls = 0  # calls of `run_in_thread` now: waiting, running, or not answered yet
        self.lag = [0] * LAG_BUCKETS  # iterations by the time between two waits

    def lag_at(self, share: float) -> float:
        """The time in seconds below which a `share` (0 to 1) of all iterations stayed; 0 before the first one."""
        wanted, seen = share * sum(self.lag), 0
        for bucket, count in enumerate(self.lag):
            seen += count
            if count and seen >= wanted:
                return float(2**bucket / 1e6)
        return 0.0

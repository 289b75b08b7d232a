"""What a loop counts.

How long everyone waits for everyone else is the number that matters most in an event loop, so every iteration's
time goes into a histogram. Its buckets double: 32 integers tell a microsecond from an hour, and finding the
bucket is one `bit_length`.
"""

from __future__ import annotations

LAG_BUCKETS = 32  # bucket i holds iterations of less than 2**i microseconds: the last, of some 36 minutes and more


class LoopCounters:
    """The counts of one loop since it was made."""

    __slots__ = ("iterations", "callback_errors", "lag")

    def __init__(self) -> None:
        self.iterations = 0  # turns of the loop
        self.callback_errors = 0  # exceptions out of `call_soon`, timers, watched descriptors and `connection_lost`
        self.lag = [0] * LAG_BUCKETS  # iterations by the time between two waits

    def lag_at(self, share: float) -> float:
        """The time in seconds that `share` of all iterations (0 to 1) stayed below; 0 before the first."""
        wanted, seen = share * sum(self.lag), 0
        for bucket, count in enumerate(self.lag):
            seen += count
            if count and seen >= wanted:
                return float(2**bucket / 1e6)
        return 0.0

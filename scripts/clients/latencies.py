"""How long the answers took: any number of them, in little memory, at little cost each.

The mean of latencies hides the slow answers, and a server is judged by those. So we want percentiles, and these need
all samples. To keep all samples takes 8 bytes each, which is gigabytes after a night, and to sort them stops the
clients for seconds. So they are counted in buckets whose width grows with the latency (as HdrHistogram does). Each
bucket is half a percent above the one before, for microseconds as for minutes, and a thousand or two hold any run.
The result is the middle of a bucket, so it is exact to a quarter of a percent.

The cost is one logarithm and one dictionary entry for each answer, half a µs. All clients share one loop, so an
answer may lie in the kernel until the loop comes to it. That time is in the figures, as in those of every load
generator; it is bounded by the batch of clients that were answered together.
"""

from __future__ import annotations

import math
from collections import defaultdict
from math import log  # by its bare name, because it is called for every message

BUCKETS_PER_E = 200.0  # buckets for a factor of e: each is exp(1/200), half a percent, above the one before
NANOSECONDS = 1e9  # the first bucket starts at 0; the logarithm counts in ns, as the clock does


class Latencies:
    """The latencies of all answers."""

    __slots__ = ("latest_at", "_counts")

    def __init__(self) -> None:
        self.latest_at = -math.inf  # when the latest answer was complete, in seconds of the clock
        self._counts: defaultdict[int, int] = defaultdict(int)

    def record(self, began_at: float, ended_at: float) -> None:
        """Count one answer, from `began_at` to `ended_at`, in seconds of the same clock."""
        self.latest_at = ended_at
        self._counts[int(log((ended_at - began_at) * NANOSECONDS + 1.0) * BUCKETS_PER_E)] += 1

    def __len__(self) -> int:
        return sum(self._counts.values())

    def quantiles(self, fractions: list[float]) -> list[float | None]:
        """For each of `fractions` (0: the least, 1: the greatest), the latency in seconds that this share does not
        exceed.

        By nearest rank; None if there was no answer.
        """
        ordered, total = sorted(self._counts.items()), len(self)
        return [self._at_rank(ordered, max(1, math.ceil(total * fraction))) for fraction in fractions]

    @staticmethod
    def _at_rank(ordered: list[tuple[int, int]], rank: int) -> float | None:
        for bucket, count in ordered:
            rank -= count
            if rank <= 0:
                return (math.exp((bucket + 0.5) / BUCKETS_PER_E) - 1.0) / NANOSECONDS
        return None

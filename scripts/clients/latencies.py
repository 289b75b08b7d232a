"""How long the answers took: any number of them, in little memory, at little cost each.

The mean of latencies hides just what a server is judged by, its slow answers; so percentiles are wanted, and
these need all samples. Keeping all is 8 bytes each, which a run over night turns into gigabytes, and sorting
them stops the clients for seconds. So they are counted in buckets whose width grows with the latency (as
HdrHistogram does): each is half a percent wider than the one before, whether microseconds or minutes, and a
thousand or two of them hold any run. What is told is the middle of a bucket, so it is within a quarter of a
percent of the truth.

The cost is one logarithm and one dictionary entry an answer, half a µs. A client is measured by the loop that it
shares with the others: its answer may lie in the kernel until the loop comes to it. That part is in the
figures, as it is in those of every load generator; it is bounded by the batch of clients that were answered
together.
"""

from __future__ import annotations

import math
from collections import defaultdict
from math import log  # by its bare name, since it is called for every message

BUCKETS_PER_E = 200.0  # buckets for a factor of e: each is exp(1/200), half a percent, above the one before
NANOSECONDS = 1e9  # the first bucket starts at 0 and the unit of the logarithm is 1 ns, the clock's own


class Latencies:
    """The time that each answer took."""

    __slots__ = ("latest_at", "_counts")

    def __init__(self) -> None:
        self.latest_at = -math.inf  # when the latest answer was whole, in seconds of the clock
        self._counts: defaultdict[int, int] = defaultdict(int)

    def record(self, began_at: float, ended_at: float) -> None:
        """One answer, from `began_at` to `ended_at`, in seconds of one clock."""
        self.latest_at = ended_at
        self._counts[int(log((ended_at - began_at) * NANOSECONDS + 1.0) * BUCKETS_PER_E)] += 1

    def __len__(self) -> int:
        return sum(self._counts.values())

    def quantiles(self, fractions: list[float]) -> list[float | None]:
        """For each of `fractions` (0: the least, 1: the greatest) the latency in seconds that so many are within.

        By nearest rank; None when there was no answer.
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

"""What happened, counted, so that a server which is left running can be asked how it fares.

Plain integers that the one thread of the loop adds to. Reading them from another thread is safe (each is
one attribute read) and costs the loop nothing; that is why there is no lock. Two numbers that belong
together may then be one event apart, which is conceded: these are for people and for graphs.

How long everyone waits for everyone else is the number that matters most in an event loop, so every iteration's
time goes into a histogram. Its buckets double: 32 integers tell a microsecond from an hour, and finding the
bucket is one `bit_length`.
"""

from __future__ import annotations

from typing import Any

from .states import CloseReason

LAG_BUCKETS = 32  # bucket i holds iterations of less than 2**i microseconds: the last, of some 36 minutes and more


class Counters:
    """The counts of one reactor since it was made."""

    __slots__ = (
        "accepted",
        "connected",
        "bytes_received",
        "bytes_sent",
        "receives",
        "sends",
        "dropped_writes",
        "accept_errors",
        "callback_errors",
        "buffered_bytes",
        "iterations",
        "closed",
        "lag",
    )

    def __init__(self) -> None:
        self.accepted = 0  # connections that came in by a listener
        self.connected = 0  # connections that we opened
        self.bytes_received = 0
        self.bytes_sent = 0
        self.receives = 0  # `recv` calls that brought data
        self.sends = 0  # `send` calls that took data
        self.dropped_writes = 0  # calls of `write` on a connection that had ended
        self.accept_errors = 0  # `accept` calls that failed, other than for want of a connection
        self.callback_errors = 0  # exceptions out of `call_soon`, timers and `connection_lost`
        self.buffered_bytes = 0  # in the buffers of all connections, now: what `memory_bytes` bounds
        self.iterations = 0  # turns of the loop
        self.closed = dict.fromkeys(CloseReason, 0)
        self.lag = [0] * LAG_BUCKETS  # iterations by the time between two waits

    @property
    def open(self) -> int:
        """How many connections are open now."""
        return self.accepted + self.connected - sum(self.closed.values())

    def lag_at(self, share: float) -> float:
        """The time in seconds that `share` of all iterations (0 to 1) stayed below; 0 before the first."""
        wanted, seen = share * sum(self.lag), 0
        for bucket, count in enumerate(self.lag):
            seen += count
            if count and seen >= wanted:
                return float(2**bucket / 1e6)
        return 0.0

    def snapshot(self) -> dict[str, Any]:
        """A copy under the names above: `closed` by reason, `lag_seconds` by percentile, and `open` beside them."""
        counts = {name: getattr(self, name) for name in self.__slots__ if name not in ("closed", "lag")}
        return {
            **counts,
            "open": self.open,
            "closed": {reason.value: count for reason, count in self.closed.items()},
            "lag_seconds": {"p50": self.lag_at(0.5), "p99": self.lag_at(0.99), "max": self.lag_at(1.0)},
        }

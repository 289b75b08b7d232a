"""What happened, counted, so that a server which is left running can be asked how it fares.

Plain integers that the one thread of the loop adds to. Reading them from another thread is safe (each is
one attribute read) and costs the loop nothing; that is why there is no lock. Two numbers that belong
together may then be one event apart, which is conceded: these are for people and for graphs.
"""

from __future__ import annotations

from typing import Any

from ..loop.counters import LoopCounters
from .states import CloseReason


class Counters(LoopCounters):
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
        "buffered_bytes",
        "closed",
    )

    def __init__(self) -> None:
        super().__init__()
        self.accepted = 0  # connections that came in by a listener
        self.connected = 0  # connections that we opened
        self.bytes_received = 0
        self.bytes_sent = 0
        self.receives = 0  # `recv` calls that brought data
        self.sends = 0  # `send` calls that took data
        self.dropped_writes = 0  # calls of `write` on a connection that had ended
        self.accept_errors = 0  # `accept` calls that failed, other than for want of a connection
        self.buffered_bytes = 0  # in the buffers of all connections, now: what `memory_bytes` bounds
        self.closed = dict.fromkeys(CloseReason, 0)

    @property
    def open(self) -> int:
        """How many connections are open now."""
        return self.accepted + self.connected - sum(self.closed.values())

    def snapshot(self) -> dict[str, Any]:
        """A copy under the names above: `closed` by reason, `lag_seconds` by percentile, and `open` beside them."""
        names = [name for name in self.__slots__ if name != "closed"] + ["callback_errors", "iterations"]
        counts = {name: getattr(self, name) for name in names}
        return {
            **counts,
            "open": self.open,
            "closed": {reason.value: count for reason, count in self.closed.items()},
            "lag_seconds": {"p50": self.lag_at(0.5), "p99": self.lag_at(0.99), "max": self.lag_at(1.0)},
        }

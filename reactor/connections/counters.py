"""What happened, counted: so a server that is left running can be asked how it is doing.

The counts are plain integers, and only the loop's thread changes them. Another thread may read them without a lock:
each is one attribute. It costs the loop nothing. Two numbers that belong together may then be one batch apart. This is
good enough for people and for graphs.
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
        "times_full",
        "full",
        "accept_errors",
        "buffered_bytes",
        "closed",
    )

    def __init__(self) -> None:
        super().__init__()
        self.accepted = 0  # connections that a listener accepted
        self.connected = 0  # connections that we opened
        self.bytes_received = 0
        self.bytes_sent = 0
        self.receives = 0  # `recv` calls that brought data to deliver
        self.sends = 0  # `send` calls that took data
        self.dropped_writes = 0  # calls of `write` after `close` or after the end
        self.times_full = 0  # how often a listener found a newcomer and no place
        self.full = False  # that was so, and no connection has ended since
        self.accept_errors = 0  # `accept` calls that failed, except because no connection waited
        self.buffered_bytes = 0  # in the buffers of all connections now; `memory_bytes` bounds it
        self.closed = dict.fromkeys(CloseReason, 0)

    @property
    def open(self) -> int:
        """How many connections are open now."""
        return self.accepted + self.connected - sum(self.closed.values())

    def snapshot(self) -> dict[str, Any]:
        """A copy under these names, with `closed` by reason, and with `open` and `lag_seconds` (three percentiles)."""
        names = [name for name in self.__slots__ if name != "closed"]
        names += ["callback_errors", "iterations", "thread_calls"]
        counts = {name: getattr(self, name) for name in names}
        return {
            **counts,
            "open": self.open,
            "closed": {reason.value: count for reason, count in self.closed.items()},
            "lag_seconds": {"p50": self.lag_at(0.5), "p99": self.lag_at(0.99), "max": self.lag_at(1.0)},
        }

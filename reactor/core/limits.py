"""Every bound and every deadline of a server, in one place, with its unit and the precedent for its default.

A queue without a limit is a promise to run out of memory, and a wait without a deadline is a promise to wait for
ever. Both promises are kept by whoever means the server ill. So each bound has a default that is safe to
leave as it is, and a name that carries its unit. The precedents are what long-lived servers ship with.
"""

from __future__ import annotations

import dataclasses
from typing import Any


def _limit(default: float, low: float, high: float, meaning: str, precedent: str) -> Any:
    """One field: its default, the range it must lie in, what it bounds and whose number that is."""
    return dataclasses.field(
        default=default, metadata={"low": low, "high": high, "meaning": meaning, "precedent": precedent}
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one server. ValueError names the field and its range when a value makes no sense."""

    backlog: int = _limit(
        4096, 1, 65535,
        "connections the kernel may keep for us until they are accepted",
        "Linux net.core.somaxconn; the kernel lowers it to its own limit without a word",
    )
    accepts_per_iteration: int = _limit(
        64, 1, 65535,
        "connections taken from one listener before others get their turn",
        "nginx takes one or all (multi_accept); libuv all",
    )
    receive_bytes: int = _limit(
        65536, 1, 1 << 30,
        "bytes read from one connection before others get their turn",
        "libuv's 64 KiB; asyncio reads 256 KiB",
    )
    send_bytes: int = _limit(
        262144, 1, 1 << 30,
        "bytes sent on one connection before others get their turn",
        "redis NET_MAX_WRITES_PER_EVENT is 64 KiB",
    )
    output_high_bytes: int = _limit(
        65536, 0, 1 << 40,
        "waiting output above which a protocol's writing is paused",
        "asyncio's high-water mark",
    )
    output_low_bytes: int = _limit(
        16384, 0, 1 << 40,
        "waiting output at which it is resumed",
        "asyncio's low-water mark, a quarter of the high one",
    )
    linger_seconds: float = _limit(
        5.0, 0.0, 86400.0,
        "wait for the peer's end after ours was sent",
        "nginx lingering_timeout 5s",
    )
    drain_seconds: float = _limit(
        10.0, 0.0, 86400.0,
        "time for connections to finish when the server is told to stop",
        "half of HAProxy's common hard-stop-after; gunicorn graceful_timeout is 30 s",
    )
    connect_seconds: float = _limit(
        10.0, 0.001, 86400.0,
        "wait for an outgoing connection to be made",
        "curl and most clients give up before the kernel's two minutes",
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))
        if self.output_low_bytes > self.output_high_bytes:
            raise ValueError(
                f"output_low_bytes must be at most output_high_bytes ({self.output_high_bytes}),"
                f" not {self.output_low_bytes}"
            )


def _check(field: dataclasses.Field[Any], value: Any) -> None:
    low, high = field.metadata["low"], field.metadata["high"]
    whole = field.type == "int"
    kind = "a whole number" if whole else "a number"
    fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not fits or not low <= value <= high:  # of NaN, every comparison is false
        raise ValueError(f"{field.name} must be {kind} from {low} to {high}, not {value!r}")

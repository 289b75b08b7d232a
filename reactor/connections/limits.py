"""Every bound and every deadline of a server, in one place, with its unit and the precedent for its default.

A queue without a limit can use up all memory. A wait without a deadline can last for ever. An attacker needs only one
of them. So each bound has a default that is safe to keep, and a name that carries its unit. The precedents are the
defaults of long-lived servers.

A program may set a deadline to infinity (`inf`): it never comes. A deadline of 0 has come at the next look, within a
tenth of a second. A queue that a peer can fill is always bounded.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from typing import Any

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def _count(default: int, low: int, high: int, meaning: str, precedent: str) -> Any:
    """A whole number from `low` to `high`, with what it bounds, and the precedent for its default."""
    return dataclasses.field(
        default=default, metadata={"low": low, "high": high, "meaning": meaning, "precedent": precedent}
    )


def _seconds(default: float, meaning: str, precedent: str) -> Any:
    """A deadline in seconds: any number from 0 that a float can hold, or infinity for no deadline."""
    return dataclasses.field(
        default=default, metadata={"low": 0.0, "high": math.inf, "meaning": meaning, "precedent": precedent}
    )


def _choice(default: str, choices: tuple[str, ...], meaning: str, precedent: str) -> Any:
    """One of the names in `choices`."""
    return dataclasses.field(
        default=default, metadata={"choices": choices, "meaning": meaning, "precedent": precedent}
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one server. ValueError names the field and its range when a value makes no sense.

    `reactor limits` prints what each means. The unit is in the name or in the meaning.
    """

    # Which connections come in.
    max_connections: int = _count(
        10_000, 1, 1 << 31, "connections at once", "Redis maxclients 10000"
    )
    max_connections_per_peer: int = _count(
        10_000, 1, 1 << 31, "connections from one peer", "none: nginx has limit_conn, off by default"
    )
    ipv6_peer_prefix_bits: int = _count(
        64, 1, 128, "bits of an IPv6 address that tell a peer", "GitLab's ipv6_rate_limit_prefix_length 64; Postfix 84"
    )
    when_full: str = _choice(
        "queue", ("queue", "refuse"), "newcomers when full: queue or refuse", "nginx queues; Redis refuses"
    )
    backlog: int = _count(
        4096, 1, 65535, "connections the kernel queues", "Linux net.core.somaxconn, to which the kernel lowers it"
    )
    # What one listener or connection may take before the others have their turn.
    accepts_per_iteration: int = _count(
        16, 1, 65535, "accepts in a turn, at most", "Netty takes 16 (maxMessagesPerRead)"
    )
    # Below 128 KiB: from there on, glibc's malloc maps each block and faults in its pages (mallopt(3)).
    receive_bytes: int = _count(
        120 * KIB, 1, GIB, "read before others get a turn", "asyncio 256 KiB; libuv 64 KiB"
    )
    send_bytes: int = _count(
        256 * KIB, 1, GIB, "sent before others get a turn", "Redis NET_MAX_WRITES_PER_EVENT 64 KiB"
    )
    frames_per_iteration: int = _count(
        256, 1, 1 << 20, "frames before others get a turn", "Netty 16 messages; Redis and nginx bound by bytes"
    )
    # What may be kept for one connection, and for all.
    output_low_bytes: int = _count(
        16 * KIB, 0, 1 << 40, "waiting output that resumes writing", "asyncio, a quarter of the high mark"
    )
    output_high_bytes: int = _count(
        64 * KIB, 0, 1 << 40, "waiting output that pauses writing", "asyncio's high-water mark"
    )
    output_hard_bytes: int = _count(
        32 * MIB, 1, 1 << 40, "with more waiting, a write ends it", "Redis client-output-buffer-limit pubsub 32mb"
    )
    frame_bytes: int = _count(
        64 * KIB, 1, GIB, "longest frame", "asyncio.StreamReader 64 KiB"
    )
    memory_bytes: int = _count(
        256 * MIB, 1, 1 << 50, "in all buffers together", "Redis maxmemory-clients, off by default"
    )
    # What may block, on threads beside the loop (`run_in_thread`).
    max_threads: int = _count(
        4, 1, 1024, "threads for calls that block", "libuv UV_THREADPOOL_SIZE 4, at most 1024"
    )
    max_thread_queue: int = _count(
        1000, 0, 1 << 31, "calls waiting for a thread", "nginx thread_pool max_queue 65536"
    )
    # How long anything may take.
    first_byte_seconds: float = _seconds(60.0, "to the first byte, either way", "nginx client_header_timeout 60s")
    idle_seconds: float = _seconds(300.0, "without a byte either way", "Redis tcp-keepalive 300; nginx 75s")
    frame_seconds: float = _seconds(30.0, "for one frame to be whole", "Apache RequestReadTimeout header=20-40")
    write_stall_seconds: float = _seconds(60.0, "without progress in sending", "nginx send_timeout 60s")
    close_seconds: float = _seconds(30.0, "for the rest to be sent after close", "nginx lingering_time 30s")
    linger_seconds: float = _seconds(5.0, "for the peer's end after our own", "nginx lingering_timeout 5s")
    drain_seconds: float = _seconds(10.0, "to finish when told to stop", "Docker stop 10 s, then SIGKILL")
    connect_seconds: float = _seconds(10.0, "to open a connection ourselves", "HAProxy's usual connect 5s-10s")
    # What is reported.
    blocked_seconds: float = _seconds(0.5, "a callback may block before a report", "asyncio's debug mode 0.1 s")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))
        if not self.output_low_bytes <= self.output_high_bytes <= self.output_hard_bytes:
            raise ValueError(
                "output_low_bytes <= output_high_bytes <= output_hard_bytes must hold, not "
                f"{self.output_low_bytes}, {self.output_high_bytes}, {self.output_hard_bytes}"
            )


def _check(field: dataclasses.Field[Any], value: Any) -> None:
    if "choices" in field.metadata:
        if value not in field.metadata["choices"]:
            raise ValueError(f"{field.name} must be {' or '.join(field.metadata['choices'])}, not {value!r}")
        return
    low, high = field.metadata["low"], field.metadata["high"]
    whole = field.type == "int"
    fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not fits or not low <= value <= high or sys.float_info.max < value < math.inf:  # NaN: no comparison is true
        kind = f"a whole number from {low} to {high}" if whole else "a number of seconds from 0 to inf"
        huge = fits and sys.float_info.max < abs(value) < math.inf  # Python may refuse to print it
        shown = "a number that no float can hold" if huge else repr(value)
        raise ValueError(f"{field.name} must be {kind}, not {shown}")

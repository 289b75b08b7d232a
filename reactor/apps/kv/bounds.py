"""What a key-value server is willing to keep, in one place.

A server that keeps what clients send can be filled by one of them: with one long value, with a million keys, with a
transaction that never ends, or with half a request. So each of these has a bound. A bound that is passed refuses one
command, or ends one connection. It never ends the server.

Two bounds stand elsewhere, because every program of this package has them: output that a client does not read, and the
memory of all buffers together (`Limits`, `output_hard_bytes` and `memory_bytes`).
"""

from __future__ import annotations

import dataclasses

MIB = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of one key-value server. Sizes are in bytes. ValueError for one below 1."""

    max_bytes: int = 256 * MIB  # of all keys and values, with an estimate of what Python adds; Redis maxmemory, off
    argument_bytes: int = 8 * MIB  # in one argument; Redis proto-max-bulk-len 512mb
    arguments: int = 131_072  # in one request; Redis 1,048,576 before version 7
    request_bytes: int = 16 * MIB  # in all arguments of one request; Redis client-query-buffer-limit 1gb
    inline_bytes: int = 65_536  # in a request that is a line, and in the line of a length; Redis PROTO_INLINE_MAX_SIZE
    queued_commands: int = 16_384  # between MULTI and EXEC, because EXEC runs them in one go; Redis has no such bound
    queued_bytes: int = 16 * MIB  # in the arguments of these; Redis maxmemory-clients, off
    subscriptions: int = 1_000  # channels of one client, and keys that it watches; Redis has no such bound
    patterns: int = 100  # of one client; each publication is compared with all patterns; Redis has no such bound
    pattern_bytes: int = 128  # in a pattern: to prepare one this long takes milliseconds; Redis has no such bound
    reply_bytes: int = 32 * MIB  # in one reply; Redis client-output-buffer-limit pubsub 32mb
    sweep_keys: int = 1_000  # expired keys that are removed in one go, until the others have their turn

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 1:
                raise ValueError(f"{field.name} must be at least 1, not {getattr(self, field.name)}")

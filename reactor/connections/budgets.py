"""What all connections together may take: places, and memory.

Places. A connection costs a descriptor and memory, so there is a number of them that a process can serve, and it is
better chosen than found out. And no single peer should be able to take all the places there are (A5).

A peer is told by its address: with IPv4 by all of it, with IPv6 by its first 64 bits. The other 64 are the peer's own
to choose (RFC 4291, section 2.5.1), so that whoever has one network has 2**64 addresses, and by address alone would
never be seen twice (S9). An IPv4 peer that came to an IPv6 socket (::ffff:a.b.c.d, RFC 4291, section 2.5.5.2) is an
IPv4 peer. The cost is two conversions of the address, some three microseconds, once a connection and for IPv6 alone.

What to do with the one too many is a matter of taste, so it has a name, `when_full`. `queue`: it stays in the
kernel's queue until somebody leaves, which suits clients that can wait; it costs nothing, but they are not told.
`refuse`: it is accepted and closed at once, which suits clients that can go elsewhere. Whoever has too many
connections from one address is always refused: to learn its address it must be accepted.

Memory. Each connection has its marks, and ten thousand connections that all keep just within them take ten thousand
times as much: slow readers, each harmless, bring a server down together (W5). So there is a budget for the process.
The connections keep the count as their buffers grow and shrink (`Counters.buffered_bytes`), and it is compared once an
iteration.

When it is spent, everyone who has output waiting is asked to pause. If that was not enough by the next iteration, or
all were asked before, those who keep the most are ended, the largest first, until the rest fits: they are the ones
whose end helps, and most likely the ones who do not read.

The cost: what is written within one iteration may go over the budget before it is found out.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from .connection import Connection
from .counters import Counters
from .limits import Limits
from .states import CloseReason

MAPPED = bytes(10) + b"\xff\xff"  # how an IPv4 address begins that is written as an IPv6 one


class Admission:
    """How many are inside, in all and by the address they come from."""

    __slots__ = ("inside", "by_host")

    def __init__(self) -> None:
        self.inside = 0
        self.by_host: dict[str, int] = {}

    def is_full(self, limits: Limits) -> bool:
        """Whether there is no place left for anyone."""
        return self.inside >= limits.max_connections

    def enter(self, host: str, limits: Limits) -> bool:
        """Let one in from `host`, if there is a place; whether it may."""
        from_host = self.by_host.get(host, 0)
        if self.is_full(limits) or (host and from_host >= limits.max_connections_per_peer):
            return False
        self.inside += 1
        self.by_host[host] = from_host + 1
        return True

    def leave(self, host: str) -> None:
        """One that entered from `host` is gone."""
        self.inside -= 1
        self.by_host[host] -= 1
        if not self.by_host[host]:
            del self.by_host[host]


def host_of(peername: Any, ipv6_prefix_bits: int) -> str:
    """What tells peers apart, of the address `peername`; empty for a UNIX socket, where all are this machine.

    It is the host of an IPv4 address, and the network of an IPv6 one, of so many bits. The same link-local network is
    another one on another interface, which is the last of the four parts of an IPv6 address in Python.
    """
    if not isinstance(peername, tuple):
        return ""
    host: str = peername[0]
    if ":" not in host:
        return host
    packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    if packed.startswith(MAPPED):
        return socket.inet_ntop(socket.AF_INET, packed[len(MAPPED) :])
    rest = 128 - ipv6_prefix_bits
    network = (int.from_bytes(packed, "big") >> rest << rest).to_bytes(16, "big")
    zone = f"%{peername[3]}" if peername[3] else ""
    return f"{socket.inet_ntop(socket.AF_INET6, network)}{zone}/{ipv6_prefix_bits}"


class MemoryBudget:
    """Holds the buffers counted in `counters` to `most` bytes."""

    __slots__ = ("_counters", "_most", "_asked")

    def __init__(self, counters: Counters, most: int) -> None:
        self._counters = counters
        self._most = most
        self._asked = False  # everyone was asked to pause, and it is still too much

    def enforce(self, everyone: Callable[[], list[Connection]], settle: Callable[[Connection], None]) -> None:
        """If the budget is spent, have all of `everyone()` pause, or end the largest, and `settle` these."""
        if self._counters.buffered_bytes <= self._most:
            self._asked = False
            return
        connections = everyone()
        if not self._asked:
            any_asked = _ask_to_pause(connections)
            self._asked = True  # not before: SystemExit in a `pause_writing` leaves the others to be asked yet
            if any_asked:
                return  # they want attention now, so the next iteration comes at once, even if nothing happens
        for connection in sorted(connections, key=Connection._buffered_bytes, reverse=True):
            if self._counters.buffered_bytes <= self._most:
                return
            size = connection._buffered_bytes()
            error = ConnectionAbortedError(f"its {size} bytes were the most when memory_bytes was spent")
            connection._end(CloseReason.MEMORY, error)
            settle(connection)


def _ask_to_pause(connections: list[Connection]) -> bool:
    """Pause the writing of all who can write and have output waiting; whether there were any who were not yet."""
    unpaused = [each for each in connections if each.state.writes and each._has_output() and not each._writing_paused]
    for connection in unpaused:
        connection._pause()
    return bool(unpaused)

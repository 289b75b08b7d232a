"""What all connections together may take: places, and memory.

Places. A connection costs a descriptor and memory. So a process can serve only so many. It is better to choose this
number than to find it out. And no single peer should be able to take all places (A5).

A peer is told by its address: with IPv4 by all of it, with IPv6 by its first 64 bits. The owner of an IPv6 network
chooses the other 64 bits (RFC 4291, section 2.5.1). It has 2**64 addresses, and could come from a new one each time
(S9). An IPv4 peer that comes to an IPv6 socket (::ffff:a.b.c.d, RFC 4291, section 2.5.5.2) counts as an IPv4 peer. The
cost: two conversions of each IPv6 address, about three microseconds.

When all places are taken, `when_full` says what to do. `queue`: a new connection stays in the kernel's queue until a
place is free. This costs nothing and suits clients that can wait, but they are not told. `refuse`: it is accepted and
closed at once. This suits clients that can go elsewhere. A peer with too many connections is refused in either case:
to learn its address, the server must accept it.

Memory. Each connection has its marks. But ten thousand connections that all keep just below them take ten thousand
times as much. Each slow reader is harmless, and together they bring a server down (W5). So the process has a budget.
The connections keep the count as their buffers grow and shrink (`Counters.buffered_bytes`). It is compared with the
budget once in each iteration.

When the budget is spent, all programs that have output waiting are asked to pause. If it is still spent in the next
iteration, or all were paused before, connections are ended, the largest first, until the rest fits. To end the largest
helps most, and it is most likely one whose peer does not read.

The cost: what is written within one iteration may exceed the budget before this is noticed.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from .connection import Connection
from .counters import Counters
from .limits import Limits
from .states import CloseReason

MAPPED = bytes(10) + b"\xff\xff"  # an IPv4 address that is written as an IPv6 one begins with this


class Admission:
    """How many connections have a place, in all and by peer."""

    __slots__ = ("inside", "by_host")

    def __init__(self) -> None:
        self.inside = 0
        self.by_host: dict[str, int] = {}

    def is_full(self, limits: Limits) -> bool:
        """Whether no place is left."""
        return self.inside >= limits.max_connections

    def enter(self, host: str, limits: Limits) -> bool:
        """Give a place to a connection from `host`. Return whether there was one."""
        from_host = self.by_host.get(host, 0)
        if self.is_full(limits) or (host and from_host >= limits.max_connections_per_peer):
            return False
        self.inside += 1
        self.by_host[host] = from_host + 1
        return True

    def leave(self, host: str) -> None:
        """Take back the place of a connection from `host`."""
        self.inside -= 1
        self.by_host[host] -= 1
        if not self.by_host[host]:
            del self.by_host[host]


def host_of(peername: Any, ipv6_prefix_bits: int) -> str:
    """The part of the address `peername` that tells a peer. Empty for a UNIX socket: all its peers are this machine.

    For IPv4 it is the host, and for IPv6 the network: the first `ipv6_prefix_bits` bits. Two interfaces may have the
    same link-local network, but they lead to different peers. So the interface, the last of the four parts of an IPv6
    address in Python, is added.
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
    """Keeps `counters.buffered_bytes` at or below `most` bytes."""

    __slots__ = ("_counters", "_most", "_asked")

    def __init__(self, counters: Counters, most: int) -> None:
        self._counters = counters
        self._most = most
        self._asked = False  # all were asked to pause since the budget was spent

    def enforce(self, everyone: Callable[[], list[Connection]], settle: Callable[[Connection], None]) -> None:
        """If the budget is spent, pause all of `everyone()`. If they were paused, end the largest and `settle` them."""
        if self._counters.buffered_bytes <= self._most:
            self._asked = False
            return
        connections = everyone()
        if not self._asked:
            any_asked = _ask_to_pause(connections)
            self._asked = True  # not before: after SystemExit in a `pause_writing`, the others must still be asked
            if any_asked:
                return  # they are in the queue to be settled now, so the next iteration does not wait
        for connection in sorted(connections, key=Connection._buffered_bytes, reverse=True):
            if self._counters.buffered_bytes <= self._most:
                return
            size = connection._buffered_bytes()
            error = ConnectionAbortedError(f"its {size} bytes were the most when memory_bytes was spent")
            connection._end(CloseReason.MEMORY, error)
            settle(connection)


def _ask_to_pause(connections: list[Connection]) -> bool:
    """Pause the writing of all that can write and have output waiting. Return whether any was not paused yet."""
    unpaused = [each for each in connections if each.state.writes and each.has_output() and not each._writing_paused]
    for connection in unpaused:
        connection._pause()
    return bool(unpaused)

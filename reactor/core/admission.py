"""Who may come in.

A connection costs a descriptor and memory, so there is a number of them that a process can serve, and it is better
chosen than found out. And no single peer should be able to take all the places there are (A5).

A peer is told by its address: with IPv4 by all of it, with IPv6 by its first 64 bits. The other 64 are the peer's own
to choose (RFC 4291, section 2.5.1), so that whoever has one network has 2**64 addresses, and by address alone would
never be seen twice (S9). An IPv4 peer that came to an IPv6 socket (::ffff:a.b.c.d, RFC 4291, section 2.5.5.2) is an
IPv4 peer. The cost is two conversions of the address, some three microseconds, once a connection and for IPv6 alone.

What to do with the one too many is a matter of taste, so it has a name, `when_full`. `queue`: it stays in the
kernel's queue until somebody leaves, which suits clients that can wait; it costs nothing, but they are not told.
`refuse`: it is accepted and closed at once, which suits clients that can go elsewhere. Whoever has too many
connections from one address is always refused: to learn its address it must be accepted.
"""

from __future__ import annotations

import socket
from typing import Any

from .limits import Limits

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

"""Who may come in.

A connection costs a descriptor and memory, so there is a number of them that a process can serve, and it is better
chosen than found out. And no single address should be able to take all the places there are (A5).

What to do with the one too many is a matter of taste, so it has a name, `when_full`. `queue`: it stays in the
kernel's queue until somebody leaves, which suits clients that can wait; it costs nothing, but they are not told.
`refuse`: it is accepted and reset at once, which suits clients that can go elsewhere. Whoever has too many
connections from one address is always refused: to learn its address it must be accepted.
"""

from __future__ import annotations

from typing import Any

from .limits import Limits


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


def host_of(peername: Any) -> str:
    """The part of a peer's address that tells peers apart; empty for a UNIX socket, where all are this machine."""
    return peername[0] if isinstance(peername, tuple) else ""

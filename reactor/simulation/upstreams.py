"""Those who are dialled: servers that a program of ours connects to.

A connection that we open goes wrong in ways of its own: nobody listens, nobody answers, the network has no way
there, or the answer is a reset. A scenario has a list of upstreams, each with how it answers and what it does then,
which is a list of steps like that of any other peer. The first connection that is dialled meets the first of them,
and so on round.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..net import connector
from ..net.addresses import Endpoint as Address
from .network import Endpoint, link
from .peers import Peer, PeerPlan
from .sockets import FakeSocket

if TYPE_CHECKING:
    from .world import World

FIRST_INDEX = 100  # upstreams are counted from here, so that no client has the same number


class Upstreams:
    """Whoever is dialled in one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._plans = world.scenario.upstreams
        self._dials = 0

    def dial(self, make_program: Callable[[], Any], failed: Callable[[OSError], object]) -> None:
        """Open a connection to the next of them, for a program that `make_program` makes once it is there."""
        world = self._world
        if world.phase != "close" and self._plans:
            address = Address(int(socket.AF_INET), ("10.1.0.1", 50000 + self._dials))
            connector.connect(world.reactor, lambda: world.witness_of(make_program()), [address], failed)

    def make_socket(self, family: int, kind: int) -> Any:
        """The reactor's socket factory."""
        sock = FakeSocket(self._world.table)
        sock.dial = self._connect
        return sock

    def _connect(self, sock: FakeSocket, address: Any) -> int:
        answer, plan = self._plans[self._dials % len(self._plans)]
        self._dials += 1
        if answer == "unreachable":
            return errno.ENETUNREACH
        network = self._world.network
        sock.connecting = True
        sock.endpoint = Endpoint(network, f"dialled end {self._dials}", plan.rooms[2], plan.rooms[3], plan.latency)
        sock.endpoint.address = ("10.0.0.0", 60000 + self._dials)
        if answer != "silent":
            network.later(plan.start, self._answer, sock, answer, plan)
        return errno.EINPROGRESS

    def _answer(self, sock: FakeSocket, answer: str, plan: PeerPlan) -> None:
        if sock.number < 0:
            return  # given up meanwhile
        sock.connecting = False
        if answer == "refuse":
            sock.endpoint.reset_arrives(errno.ECONNREFUSED)
            return
        peer = Peer(self._world.network, FIRST_INDEX + self._dials, plan, self._world.books.peer_reads)
        peer.endpoint.address = (f"10.0.0.{plan.host}", 40000 + peer.index)
        self._world.peers.append(peer)
        link(peer.endpoint, sock.endpoint)
        peer.started(0)

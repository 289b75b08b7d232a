"""Where newcomers come in: the listening sockets of one world, and which peer knocks at which.

A server has several of them, of several families. Some were listening before it started: systemd has opened them, or
an older process of the same server (sd_listen_fds(3)). Then newcomers may wait in the queue already, and their
sockets have the default options.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from reactor.simulation.network import Door
from reactor.simulation.peers import Peer, PeerPlan
from reactor.simulation.sockets import FakeSocket
from reactor.simulation.unix_endpoints import endpoint_class

from .laws import require

if TYPE_CHECKING:
    from reactor.connections.acceptor import Listener

    from .world import World

FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6, "unix": socket.AF_UNIX}
RETRY_SECONDS = 0.1  # from a refusal by the kernel to the next try


class Doors:
    """The listening sockets of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._plans = world.scenario.doors
        self.doors = [
            Door(world.network, address_of(family, 0, 80 + index)) for index, (family, _) in enumerate(self._plans)
        ]
        self._listeners: dict[Door, Listener] = {}  # of the doors that are open

    def open(self, peers: list[Peer]) -> None:
        """Listen at all doors. `peers` knock at their time, at inherited doors perhaps before we listen."""
        network, inherited = self._world.network, []
        for door, (_, listened_before) in zip(self.doors, self._plans, strict=True):
            if listened_before:
                door.inherited, door.backlog = True, 1
                inherited.append(door)
        late = [peer for peer in peers if self._door_of(peer) not in inherited]
        for peer in peers:
            if peer not in late:
                network.later(peer.plan.start, self._knock, peer)
        network.run_due()
        for door, (family, _) in zip(self.doors, self._plans, strict=True):
            self._listen(door, FAMILIES[family])
        for peer in late:
            network.later(peer.plan.start, self._knock, peer)

    def family_of(self, plan: PeerPlan) -> str:
        """The family of the door at which a peer with this plan knocks."""
        return self._plans[plan.door % len(self._plans)][0]

    def _door_of(self, peer: Peer) -> Door:
        return self.doors[peer.plan.door % len(self.doors)]

    def _listen(self, door: Door, family: int) -> None:
        """Listen there. If the kernel has no room to watch it, try again later."""
        world = self._world
        while True:
            sock: Any = FakeSocket(world.table, door, family)
            try:
                self._listeners[door] = world.reactor.listen(sock, world.make_protocol)
                return
            except OSError:
                listeners = world.reactor.acceptor.listeners()
                require(len(listeners) == len(self._listeners), 9, "a listener that was refused is still there")
                require(sock.number >= 0, 9, "what was not listened on is its owner's, and was closed")
                world.table.take_back(sock.number)
                world.network.now += RETRY_SECONDS

    def _knock(self, peer: Peer) -> None:
        """`peer` connects."""
        network, plan, door = self._world.network, peer.plan, self._door_of(peer)
        family = self.family_of(plan)
        peer.endpoint.address = address_of(family, plan.host, 40000 + peer.index)
        make_endpoint = endpoint_class(family)
        server = make_endpoint(network, f"server end {peer.index}", plan.rooms[2], plan.rooms[3], plan.latency)
        server.address = door.address
        network.later(plan.latency * network.draw(), door.knock, peer.endpoint, server, peer.started)

    def stop(self, which: int = -1) -> None:
        """Close the door with this number to newcomers; all doors if the number is negative."""
        for door in self.doors if which < 0 else [self.doors[which % len(self.doors)]]:
            if door in self._listeners:
                self._world.reactor.acceptor.stop_listening(self._listeners[door])

    def listeners(self) -> list[Listener]:
        """The listeners of all open doors."""
        return list(self._listeners.values())

    def was_stopped(self, listener: Listener) -> None:
        """The listener was stopped, by us or by the server. No newcomer may come in there."""
        for door in [door for door, ours in self._listeners.items() if ours is listener]:
            del self._listeners[door]

    def is_open(self, door: Door) -> bool:
        """Whether this door takes newcomers."""
        return door in self._listeners

    def any_open(self) -> bool:
        """Whether any door takes newcomers."""
        return bool(self._listeners)

    def somebody_waits(self) -> bool:
        """Whether a newcomer waits in some accept queue."""
        return any(door.waiting for door in self._listeners)


def address_of(family: str, host: int, port: int) -> tuple[Any, ...] | str:
    """The address of this host and port, in the form of the `socket` module for this family.

    An IPv6 host has a network, and each of its connections has another address in it. A UNIX socket has an address
    only if it was bound, and few clients do that.
    """
    if family == "unix":
        return f"/run/{port}" if port < 1024 or host == 3 else ""
    return (f"10.0.0.{host}", port) if family == "inet" else (f"2001:db8:0:{host}::{port:x}", port, 0, 0)

"""Other reactors in the same process, each as on its own thread.

What belongs to a loop must belong to it alone: its timers, its buffers, what waits in its batch. But some things are
shared, above all the numbers of descriptors, and these must not cause confusion: a number that one loop has closed
may go to another loop at once.

A neighbour is a plain reactor that echoes. It has its own door and peers, and shares the table of descriptors. It
takes its turns while the loop under test waits, as a thread would, and no law looks at its turns. It is judged by its
results: its peers read what they sent, and when it is closed, nothing of it is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from reactor.connections.connection import Connection
from reactor.connections.limits import Limits
from reactor.connections.protocol import Protocol
from reactor.connections.reactor import Reactor
from reactor.loop.states import CLOSED
from reactor.simulation.demultiplexers import make_poller
from reactor.simulation.network import Door, Endpoint
from reactor.simulation.peers import Peer, PeerPlan
from reactor.simulation.sockets import FakeSocket, own_pairs

from .laws import CLEAN, require

if TYPE_CHECKING:
    from .world import World

FIRST_INDEX = 200  # of its peers, so that no other peer has the same number
TURN_SECONDS = 0.05  # how long it waits between its turns, at most
LIMITS = Limits(first_byte_seconds=10.0, idle_seconds=10.0, close_seconds=5.0, linger_seconds=1.0)


class NeighbourPlan(NamedTuple):
    """One other reactor."""

    start: float  # when it begins, in seconds from the beginning
    close_at: float  # when it is closed, even with peers; 0: when its peers are gone
    epoll: bool
    peers: tuple[PeerPlan, ...]


class Echo(Protocol):
    """Sends back its input, and remembers the connection."""

    __slots__ = ("_connections", "connection")

    def __init__(self, connections: list[Connection]) -> None:
        self._connections = connections

    def connection_made(self, connection: Connection) -> None:
        self.connection = connection
        self._connections.append(connection)

    def data_received(self, data: bytes) -> None:
        self.connection.write(data)


class Neighbour:
    """One other reactor, and its peers."""

    def __init__(self, world: World, plan: NeighbourPlan, number: int) -> None:
        self._world, self._network = world, world.network
        self._plan = plan
        self._table = world.table.beside()
        self._door = Door(world.network, (f"10.2.0.{number}", 80))
        self._connections: list[Connection] = []
        self._peers = [
            Peer(world.network, FIRST_INDEX + index, plan, self._peer_reads) for index, plan in enumerate(plan.peers)
        ]
        self._reactor: Any = None
        world.network.later(plan.start, self._start)

    def _start(self) -> None:
        network = self._network
        poller, _ = make_poller(self._table, self._plan.epoll)
        with own_pairs(self._table):
            self._reactor = Reactor(limits=LIMITS, selector=poller, clock=network.clock)
        sock: Any = FakeSocket(self._table, self._door)
        self._reactor.listen(sock, lambda: Echo(self._connections))
        for peer in self._peers:
            network.later(peer.plan.start, self._knock, peer)
        self._turn()

    def _knock(self, peer: Peer) -> None:
        plan = peer.plan
        peer.endpoint.address = ("10.0.0.9", 40000 + peer.index)
        server = Endpoint(self._network, f"neighbour's end {peer.index}", plan.rooms[2], plan.rooms[3], plan.latency)
        server.address = self._door.address
        self._door.knock(peer.endpoint, server, peer.started)

    def _turn(self) -> None:
        self._world.elsewhere, before = True, self._world.elsewhere
        try:
            self._run()
        finally:
            self._world.elsewhere = before

    def _run(self) -> None:
        network, plan = self._network, self._plan
        over = all(peer.done for peer in self._peers) and not self._reactor.counters.open and not self._door.waiting
        if over or (plan.close_at and network.now >= 1000.0 + plan.close_at):
            self._reactor.close()
            return
        self._reactor.run_once(0.0)
        network.later(TURN_SECONDS * network.draw(), self._turn)

    def _peer_reads(self, peer: Peer, data: bytes) -> None:
        expected = bytes(peer.sent[peer.received : peer.received + len(data)])
        require(data == expected, 5, "a peer of another reactor has read {!r}, where it sent {!r}", data[:40],
                expected[:40])  # fmt: skip

    def check(self) -> None:
        """Laws 5 to 7: it has served its peers, and has given back everything."""
        if self._reactor is None:
            return  # the loop under test was closed before it began
        require(self._reactor.state is CLOSED, 6, "another reactor does not come to an end")
        left = self._table.own()
        require(not left, 7, "descriptors of another reactor are left open: {}", left)
        counters = self._reactor.counters
        numbers = (counters.open, counters.buffered_bytes, counters.callback_errors, len(self._reactor.timers))
        require(numbers == (0, 0, 0, 0), 6, "another reactor is closed, and counts {}", numbers)
        for connection in self._connections:
            endpoint: Endpoint = connection._socket.endpoint  # type: ignore[attr-defined]
            peer, reason = endpoint.peer.owner, connection.close_reason
            if peer.plan.polite and not peer.gave_up and reason is not None and reason.value in CLEAN:
                require(peer.at_end and peer.received == len(peer.sent), 5,
                        "a polite peer of another reactor has read {} bytes of {}", peer.received,
                        len(peer.sent))  # fmt: skip

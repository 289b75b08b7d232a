"""The servers that are dialled, that is, to which a program of ours connects.

A connection that we open can fail in its own ways: no server listens, no answer comes, there is no route, or the
answer is a reset. A name may have several addresses of which only some are good, and its look-up may take seconds,
fail, or get no thread. The program may cancel meanwhile. A scenario has a list of upstreams. Each has addresses, an
answer for each address, and a list of steps like any other peer. The first connection that is dialled meets the first
upstream, and so on in a circle.

A `Dial` checks what is promised for each connection.
"""

from __future__ import annotations

import errno
import socket
import threading
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from reactor.net import connector, lookups
from reactor.net.addresses import Endpoint as Address
from reactor.simulation.network import Endpoint, link
from reactor.simulation.peers import Peer, PeerPlan
from reactor.simulation.sockets import FakeSocket
from reactor.simulation.unix_endpoints import UnixEndpoint

from .dials import Dial
from .laws import require

if TYPE_CHECKING:
    from .world import World

FIRST_INDEX = 100  # upstreams have numbers from here on, and clients have lower ones
FIRST_PORT = 50000
MOST_LOOK_UPS = 2  # at once, instead of 64
FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6, "unix": socket.AF_UNIX}

ANSWERS = ("accept", "accept", "accept", "at once", "refuse", "silent", "unreachable", "itself")


class DialPlan(NamedTuple):
    """One server that may be dialled."""

    tries: tuple[tuple[str, str, float], ...]  # for each address: family, answer, seconds to the answer
    look_up: float  # how many seconds the look-up takes; 0: no name; negative: it fails after as many
    cancel: float  # after how many seconds the program cancels; 0: never
    peer: PeerPlan  # how it behaves once it is connected


class Upstreams:
    """All servers that are dialled in one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._plans: tuple[DialPlan, ...] = world.scenario.upstreams
        self.dials: list[Dial] = []
        self._connected = 0
        self._places = threading.BoundedSemaphore(MOST_LOOK_UPS)

    def dial(self, make_program: Callable[[], Any], failed: Callable[[OSError], object]) -> Dial | None:
        """Open a connection to the next server. `make_program` is called when it is there, or `failed`."""
        world = self._world
        if world.phase == "close" or not self._plans:
            return None
        plan = self._plans[len(self.dials) % len(self._plans)]
        dial = Dial(world, [family for family, _, _ in plan.tries], plan.look_up != 0)
        self.dials.append(dial)

        def make() -> Any:
            dial.is_made()
            return world.witness_of(make_program())

        def fail(exc: OSError) -> None:
            dial.has_failed(exc)
            failed(exc)

        number = len(self.dials) - 1
        address = f"host{number}.example:{FIRST_PORT}" if plan.look_up else self._addresses(number)
        dial.connector = connector.connect(world.reactor, make, address, fail)
        dial.begun = True
        if plan.cancel:
            world.later(plan.cancel, dial.cancel)
        return dial

    def _addresses(self, number: int) -> list[Address]:
        """The addresses of the dial with this number."""
        port, found = FIRST_PORT + number, []
        for index, (family, _, _) in enumerate(self._plans[number % len(self._plans)].tries):
            if family == "unix":
                found.append(Address(socket.AF_UNIX, f"/run/{port}"))
                continue
            host = f"10.1.0.{index}" if family == "inet" else f"2001:db8:1::{index}"
            found.append(Address(FAMILIES[family], (host, port) if family == "inet" else (host, port, 0, 0)))
        return found

    def replacements(self) -> list[tuple[Any, str, Any]]:
        """What replaces parts of the module for look-ups, so that it asks no real resolver."""
        fake = types.SimpleNamespace(Thread=self._make_thread, BoundedSemaphore=threading.BoundedSemaphore)
        return [
            (lookups, "threading", fake),
            (lookups, "resolve", self._resolve),
            (lookups, "_places", self._places),
        ]

    def _make_thread(self, target: Callable[..., object], args: tuple[Any, ...], **_: Any) -> Any:
        def start() -> None:
            if self._world.table.strikes("thread", self._world.scenario.faults.option):
                raise RuntimeError("can't start new thread")
            self._world.network.later(abs(self._plan_of(args[1].host).look_up), run)

        def run() -> None:
            target(*args)
            self.dials[number_in(args[1].host)].found = True

        return types.SimpleNamespace(start=start)

    def _plan_of(self, host: str) -> DialPlan:
        return self._plans[number_in(host) % len(self._plans)]

    def _resolve(self, address: Any) -> list[Address]:
        if self._plan_of(address.host).look_up < 0:
            raise OSError(errno.EINVAL, "there is no such host")
        return self._addresses(number_in(address.host))

    def check_places(self) -> None:
        """Law 6: at the end, all places of look-ups are free."""
        free = sum(self._places.acquire(blocking=False) for _ in range(MOST_LOOK_UPS))
        require(free == MOST_LOOK_UPS, 6, "{} places of look-ups are free, of {}", free, MOST_LOOK_UPS)

    # The sockets.

    def make_socket(self, family: int, kind: int) -> Any:
        """The reactor's socket factory."""
        sock = FakeSocket(self._world.table, family=family)
        sock.dial = self._connect
        return sock

    def _connect(self, sock: FakeSocket, address: Any) -> int:
        if isinstance(address, str):
            return self._connect_here(sock, int(address.rpartition("/")[2]) - FIRST_PORT)
        number, index = address[1] - FIRST_PORT, int(address[0].rpartition("." if len(address) == 2 else ":")[2])
        dial, plan = self.dials[number], self._plans[number % len(self._plans)]
        _, answer, seconds = plan.tries[index]
        dial.tries(index, sock)
        if answer == "unreachable":
            dial.try_failed()
            return errno.ENETUNREACH
        network, rooms = self._world.network, plan.peer.rooms
        sock.connecting = True
        sock.endpoint = Endpoint(network, f"dialled end {number}.{index}", rooms[2], rooms[3], plan.peer.latency)
        sock.endpoint.address = (f"10.0.0.{index}", 60000 + number)
        if answer == "at once":
            self._answer(sock, answer, dial, plan.peer)
            return 0
        if answer != "silent":
            network.later(seconds, self._answer, sock, answer, dial, plan.peer)
        return errno.EINPROGRESS

    def _connect_here(self, sock: FakeSocket, number: int) -> int:
        """A UNIX socket connects or fails at once. EAGAIN means a full queue, and a later try (connect(2))."""
        dial, plan = self.dials[number], self._plans[number % len(self._plans)]
        _, answer, seconds = plan.tries[0]
        dial.tries_again(sock) if dial.began_at else dial.tries(0, sock)
        if answer == "silent" or self._world.network.now < dial.began_at + seconds:
            return errno.EAGAIN
        if answer in ("refuse", "unreachable"):
            dial.try_failed()
            return errno.ECONNREFUSED if answer == "refuse" else errno.ENOENT
        rooms = plan.peer.rooms
        sock.endpoint = UnixEndpoint(self._world.network, f"dialled end {number}", rooms[2], rooms[3], 0.0)
        sock.endpoint.address = ""
        self._answer(sock, "accept", dial, plan.peer)
        return 0

    def _answer(self, sock: FakeSocket, answer: str, dial: Dial, plan: PeerPlan) -> None:
        if sock.number < 0:
            return  # cancelled meanwhile
        sock.connecting = False
        if answer == "refuse":
            sock.endpoint.reset_arrives(errno.ECONNREFUSED)
            dial.try_failed()
            return
        self._connected += 1
        books, make_endpoint = self._world.books, type(sock.endpoint)
        peer = Peer(self._world.network, FIRST_INDEX + self._connected, plan, books.peer_reads, make_endpoint)
        here = make_endpoint is UnixEndpoint
        peer.endpoint.address = f"/run/{peer.index}" if here else (f"10.0.0.{plan.host}", 40000 + peer.index)
        self._world.peers.append(peer)
        link(peer.endpoint, sock.endpoint)
        if answer == "itself":  # the kernel has picked the same port that we dial
            peer.endpoint.address = sock.endpoint.address
            dial.try_failed()
            return
        dial.has_answer(sock)
        peer.started(0)


def number_in(host: str) -> int:
    """The number of the dial with this name."""
    return int(host.removeprefix("host").partition(".")[0])

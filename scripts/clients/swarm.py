"""All clients, through the four phases of a run.

      connecting    each client gets a connection, or fails to get one
      exchanging    messages go out and come back, until each client has its outcome
      leaving       connections end; bytes that come now, though none are due, are errors
      done

    Each phase begins when the one before is over for *all* clients. Messages start after the last connect is decided:
    an early client would be measured beside a server that is busy accepting, and on how many connections would be
    luck. Connections stay open until the last client has ended, though most are finished: only then N clients are
    really connected at once, and only then a server that serves one client at a time shows it. If clients left when
    they finish, that server would serve the next one, and N clients in a row would look like N clients at once.

    Hostile clients (`hostile`) are there before the first honest client connects, and leave with the honest ones.
    Nothing waits for them.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
from collections import Counter
from collections.abc import Iterator

from reactor import Limits, Reactor
from reactor.net.addresses import Endpoint

from . import descriptors
from .client import Client, Outcome, Plan
from .connecting import Connecting
from .hostile import Crowd, Hostility
from .latencies import Latencies
from .messages import LARGEST_NUMBER, PIECE_BYTES, Messages
from .presence import Presence
from .schedule import Schedule

# How long a server may take to end its side after we have ended ours. A server that does not is left alone, and that
# is no error: RFC 862 does not say who closes. By then, superfluous bytes have had more time than the last answer.
GOODBYE_SECONDS = 2.0
MEMORY_BYTES_EACH = 4 * PIECE_BYTES  # a piece below the high mark, the one that went over it, and two in reserve


class Phase(enum.Enum):
    """Where the run is."""

    CONNECTING = "connecting"
    EXCHANGING = "exchanging"
    LEAVING = "leaving"
    DONE = "done"


@dataclasses.dataclass(frozen=True)
class Load:
    """What the clients are to do."""

    connections: int
    messages: int | None  # of each connection; None: as many as there is time for in `seconds`
    size: int  # bytes of a message
    rate: float  # messages a second, of all clients; 0: each client sends its next message when the last is back
    timeout_seconds: float  # for a connect, and for the next byte
    hostility: Hostility = Hostility()  # the misbehaving clients
    seconds: float = math.inf  # how long messages are sent, if `messages` is None

    def descriptors(self) -> int:
        """How many sockets it may have open at the same time."""
        return self.connections + self.hostility.descriptors()

    def messages_at_rate(self, connections: int) -> int:
        """How many messages each of `connections` clients sends at the fixed rate: at least one."""
        if self.messages is not None:
            return self.messages
        return min(max(1, round(self.rate * self.seconds / connections)), LARGEST_NUMBER)


def client_limits(load: Load) -> Limits:
    """The limits of a reactor that runs clients.

    The defaults protect a server from its clients. Here the speed and the silence of the server are what we want to
    measure, and the clients have their own deadline for it. Their memory needs no common limit, because each client
    stops writing at its own high mark.
    """
    return Limits(
        connect_seconds=load.timeout_seconds,
        first_byte_seconds=math.inf,
        idle_seconds=math.inf,
        write_stall_seconds=math.inf,
        memory_bytes=max(Limits().memory_bytes, load.descriptors() * MEMORY_BYTES_EACH),
        blocked_seconds=math.inf,  # ten thousand first messages at once are no accident
    )


class Swarm:
    """One run of `load` against the server at `endpoints`, on a reactor with `client_limits`."""

    def __init__(self, reactor: Reactor, endpoints: list[Endpoint], load: Load) -> None:
        self.reactor = reactor
        self.endpoints = endpoints
        self.load = load
        self.messages = load.messages  # of each client; None: not known before they are sent
        self.interrupted = False  # by Ctrl-C
        self.phase = Phase.CONNECTING
        self.clients: list[Client] = []  # those that were connected, in order
        self.outcomes: Counter[Outcome] = Counter()  # of those that were not
        self.failures: Counter[str] = Counter()  # the reasons, where the outcome does not say enough
        self.latencies = Latencies()
        self.began_at = reactor.time()  # of the exchange
        self._unfinished = load.connections
        self._lost = 0
        self._schedule: Schedule | None = None
        self._presence = Presence(reactor, load.timeout_seconds)
        self._plan = Plan(
            reactor=reactor,
            clock=reactor.timers.clock,
            piece=Messages(load.size).piece,
            size=load.size,
            total_bytes=(LARGEST_NUMBER if load.messages is None else load.messages) * load.size,
            timeout_seconds=load.timeout_seconds,
            interval_seconds=0.0,  # until there is a schedule
            record=self.latencies.record,
            on_end=self._count_ended,
            on_lost=self._count_lost,
            waited=self._presence.waited,
        )
        self.crowd = Crowd(reactor, endpoints, load.hostility, load.size)
        self._connecting = Connecting(
            reactor, endpoints, self._factories(), self._client_failed, self._begin_exchange
        )

    def run(self) -> None:
        """Go through all phases. Ctrl-C ends the run, and the figures cover what was done until then."""
        try:
            self.crowd.start(self._connecting.start)
            self.reactor.run()
        except KeyboardInterrupt:
            self.interrupted = True
        finally:
            if self._schedule is not None:
                self._schedule.stop()

    def outcome_counts(self) -> Counter[Outcome]:
        """How many clients have ended, and with which outcome."""
        ended = Counter(client.outcome for client in self.clients if client.outcome is not None)
        return ended + self.outcomes

    def is_good(self) -> bool:
        """Whether every client got every byte back."""
        return self.outcome_counts()[Outcome.COMPLETE] == self.load.connections

    # Connecting.

    def _factories(self) -> Iterator[functools.partial[Client]]:
        for number in range(self.load.connections):
            yield functools.partial(self._make_client, number)

    def _make_client(self, number: int) -> Client:
        client = Client(self._plan, number)
        self.clients.append(client)
        return client

    def _client_failed(self, exc: OSError) -> None:
        if isinstance(exc, TimeoutError):
            outcome = Outcome.TIMED_OUT
        elif isinstance(exc, ConnectionResetError):
            outcome = Outcome.RESET
        else:
            outcome = Outcome.REFUSED
            if not isinstance(exc, ConnectionRefusedError):
                self.failures[descriptors.explain(exc)] += 1
        self.outcomes[outcome] += 1
        self._count_ended()

    # Exchanging.

    def _begin_exchange(self) -> None:
        self.phase = Phase.EXCHANGING
        self._presence.start()
        self.began_at = now = self.reactor.time()
        clients = [client for client in self.clients if client.outcome is None]
        if self.load.rate and clients:
            self.messages = self.load.messages_at_rate(len(clients))
            self._plan.total_bytes = self.messages * self.load.size
            self._plan.interval_seconds = len(clients) / self.load.rate
            self._schedule = Schedule(self.reactor, clients, self.load.rate, self.messages)
            self._schedule.start()
        else:
            if self.messages is None:
                self._plan.ends_at = now + self.load.seconds
            for client in clients:
                client.begin(now, now)
        if not clients:
            self._leave()

    def _count_ended(self) -> None:
        self._unfinished -= 1
        if not self._unfinished and self.phase is Phase.EXCHANGING:
            self.reactor.call_soon(self._leave)  # later, not inside the callback of the last client

    # Leaving.

    def _leave(self) -> None:
        self.phase = Phase.LEAVING
        self.crowd.leave()
        for client in self.clients:
            client.leave()
        self.reactor.call_later(GOODBYE_SECONDS, self._abort)
        self._stop_if_all_are_lost()

    def _abort(self) -> None:
        for client in self.clients:
            client.connection.abort()

    def _count_lost(self) -> None:
        self._lost += 1
        self._stop_if_all_are_lost()

    def _stop_if_all_are_lost(self) -> None:
        if self.phase is Phase.LEAVING and self._lost == len(self.clients):
            self.phase = Phase.DONE
            self.reactor.stop()

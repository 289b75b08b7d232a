"""One scenario, lived through: the real reactor, on a network that is not there, under the eyes of the laws.

The reactor, its dispatcher and its connections are those of `core`, unmodified. `WatchedReactor` adds one thing:
after every phase of an iteration it lets the world look. What may not be at that moment is said in `laws`; what has
happened so far is known to the witnesses.

A scenario ends when nothing will ever happen again, or when it says that the reactor is to be closed. Then the books
are balanced: every connection was told of its end, every descriptor was given back, every byte that was accepted was
delivered or has a reason, every exception was logged once, and peers that were polite were served to the end.
"""

from __future__ import annotations

import contextlib
import random
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ..core import buffers as buffers_module
from ..core import dispatcher as dispatcher_module
from ..core.limits import Limits
from ..core.loop import Reactor
from ..core.protocol import Protocol
from .books import Books, counted_log
from .demultiplexers import FOREVER_SECONDS, WAIT_GRAIN_SECONDS, make_poller
from .laws import LawBroken, check_deadlines, check_not_forgotten, check_settled, require
from .memory import Memory
from .network import Door, Endpoint, Network
from .peers import Peer
from .programs import Interruption, Mishap
from .promises import Promises
from .scenarios import ALL_PROGRAMS, Scenario, make
from .sockets import Descriptors, FakeSocket
from .upstreams import FIRST_INDEX, Upstreams
from .witness import WatchedConnection, Witness

IDLE_TURNS = 12  # a loop that turns so often with nothing to show for it turns for nothing
MOST_ITERATIONS = 10_000
MOST_CALLBACKS = 3_000  # in one phase
TRACE_EVENTS = 120


class Outcome(NamedTuple):
    """What came of a scenario."""

    law: int  # 0: all of them held
    text: str
    iterations: int
    connections: int
    bytes_in: int
    bytes_out: int
    faults: dict[str, int]
    steps: set[tuple[str, str]]
    reasons: dict[str, int]
    trace: list[str]


class WatchedReactor(Reactor):
    """The reactor, which lets the world look after each phase."""

    world: World

    def run_once(self, timeout: float = float("inf")) -> None:
        """One iteration, looked at."""
        super().run_once(timeout)
        self.world.iteration_ends()

    def _run_timers(self) -> None:
        self.world.phase_begins("timers")
        super()._run_timers()
        self.world.phase_ends()

    def _run_ready(self) -> None:
        self.world.phase_begins("ready")
        super()._run_ready()
        self.world.phase_ends()

    def _poll(self, timeout: float) -> list[tuple[int, int]]:
        self.world.phase_begins("poll")
        self.world.notes_steps()
        events = super()._poll(timeout)
        self.world.loop_time = self.world.network.now
        return events

    def _dispatch(self, events: list[tuple[int, int]]) -> None:
        self.world.phase_begins("dispatch")
        super()._dispatch(events)
        self.world.phase_ends()

    def close(self) -> None:
        """Close, of which the last phase is one of its own."""
        if not self._running:
            self.world.phase_begins("close")
        super().close()


class World:
    """Everything that a scenario needs, and the account of it."""

    def __init__(self, scenario: Scenario, tracing: bool = False) -> None:
        self.scenario = scenario
        self.network = Network(scenario.seed)
        self.trace: deque[tuple[float, tuple[Any, ...]]] = deque(maxlen=TRACE_EVENTS)
        if tracing:
            self.network.note = lambda *words: self.trace.append((self.network.now, words))
        self.books = Books(self)
        self.table = Descriptors(self.network, scenario.faults, self.books)
        self.poller, self.waiter = make_poller(self.table, scenario.epoll)
        self.waiter.before_waiting = self._loop_sleeps
        self.limits = Limits(**dict(scenario.limits))
        self.phase, self.phase_number, self.iteration = "start", 0, 0
        self.loop_time = self.network.now  # when the last poll returned: what the loop takes for now
        self.promises = Promises(self)
        self.moved: list[Witness] = []  # those who took a step of which the loop has not taken note
        self.live: list[Witness] = []  # from connection_made to connection_lost
        self.witnesses: list[Witness] = []
        self.steps: set[tuple[str, str]] = set()
        self.mishaps = self.loop_mishaps = 0  # what programs raised; and of that, what the loop was told
        self.peers = [
            Peer(self.network, index, plan, self.books.peer_reads) for index, plan in enumerate(scenario.peers)
        ]
        self.memory = Memory(self)
        self._draw = random.Random(scenario.seed + 1).random
        self._depth = self._callbacks = 0
        self._idle_turns, self._last = 0, (0.0, 0)
        self._stirred, self._population = -1, (0, 0, 0)
        self.upstreams = Upstreams(self)
        self.ending = False
        self.listening = True
        self.reactor = WatchedReactor(
            limits=self.limits,
            selector=self.poller,
            clock=self.network.clock,
            socket_factory=self.upstreams.make_socket,
        )
        self.reactor.world = self
        for name in ("flush", "reap"):
            setattr(self.reactor.dispatcher, name, self._phased(name, getattr(self.reactor.dispatcher, name)))
        self.door = Door(self.network, ("10.0.0.0", 80))
        self.listener = self.reactor.listen(FakeSocket(self.table, self.door), self._make_protocol)  # type: ignore[arg-type]

    # Living through it.

    def run(self) -> Outcome:
        """All of it. What breaks a law is in the outcome."""
        law, text = 0, ""
        try:
            with counted_log(self.books), _watched_core(self.scenario.block):
                self._live()
                self.books.balance()
        except LawBroken as broken:
            law, text = broken.number, str(broken)
        except AssertionError as exc:
            law, text = 2, f"law 2, an assertion of the core does not hold: {exc!r}"
        except Exception as exc:
            law, text = 9, f"law 9, an exception has left the loop: {exc!r}"
        finally:
            self._abandon()
        counters = self.reactor.counters
        return Outcome(
            law, text, self.iteration, len(self.witnesses), counters.bytes_received, counters.bytes_sent,
            self.table.injected, self.steps, {reason.value: n for reason, n in counters.closed.items() if n},
            [f"{when - 1000:9.4f}  " + " ".join(map(str, words)) for when, words in self.trace],
        )  # fmt: skip

    def _live(self) -> None:
        for peer in self.peers:
            self.network.later(peer.plan.start, self._connect, peer)
        if self.scenario.close_at:
            self.network.later(self.scenario.close_at, self._end)
        while not self.ending and not self.reactor._closed:
            try:
                self.reactor.run()
            except (SystemExit, Interruption):
                pass  # out of a program: all must be consistent, and the loop can be run again
        with contextlib.suppress(SystemExit, Interruption):
            self.reactor.close()

    def _end(self) -> None:
        self.ending = True

    def _abandon(self) -> None:
        """Give back what is real of it: the descriptors of the wake-up."""
        self.reactor._closed = True
        self.reactor._waker.abandon()

    def _connect(self, peer: Peer) -> None:
        rooms = peer.plan.rooms
        server = Endpoint(self.network, f"server end {peer.index}", rooms[2], rooms[3], peer.plan.latency)
        server.address = self.door.address
        delay = peer.plan.latency * self.network.draw()
        self.network.later(delay, self.door.knock, peer.endpoint, server, peer.started)

    def _make_protocol(self) -> Protocol:
        if self.scenario.program == "Raiser" and self._draw() < 0.1:
            self.mishaps += 1
            raise Mishap("the factory")
        return self.witness_of(ALL_PROGRAMS[self.scenario.program](self))

    def witness_of(self, program: Any) -> Witness:
        """Who stands between it and the reactor."""
        witness = Witness(self, program)
        self.witnesses.append(witness)
        return witness

    # The phases.

    def phase_begins(self, phase: str) -> None:
        """Note which one."""
        self.phase = phase
        self.phase_number += 1
        self._callbacks = 0
        self.books.phase_begins()
        if phase == "timers":
            self.iteration += 1
            require(self.iteration < MOST_ITERATIONS, 6, "the scenario does not come to an end")
        if self.network.note is not None and phase != "poll":
            self.network.note(f"-- {self.iteration}:", phase)

    def notes_steps(self) -> None:
        """A step counts from here at the latest: the loop has seen to it, however long the callbacks took."""
        for witness in self.moved:
            witness.late = self.network.now - witness.since
        self.moved.clear()

    def phase_ends(self) -> None:
        """Look at everything."""
        if self.phase in ("timers", "ready"):
            self.promises.check_made(self.phase)
        if self.phase == "flush":
            self.memory.flushed()
        if self._stirred == self.network.stirred:
            return  # nothing has moved since all was looked at last
        self._stirred = self.network.stirred
        attention = self.reactor.dispatcher.attention
        for witness in self.live:
            connection = witness.connection
            if connection.attended:
                require(connection in attention, 1, "{} waits for attention that will not come", connection)
            elif connection.fd >= 0:
                check_settled(witness, self.waiter.watched.get(connection.fd, 0))
            else:
                check_settled(witness, 0)

    def _phased(self, name: str, work: Callable[[], Any]) -> Callable[[], Any]:
        def phase() -> Any:
            if self.phase == "close":
                return work()
            self.phase_begins(name)
            result = work()
            self.phase_ends()
            return result

        return phase

    def iteration_ends(self) -> None:
        """Look at the totals, and at whether there was any sense in it."""
        reactor, network = self.reactor, self.network
        population = (len(self.witnesses), len(self.live), reactor.counters.accepted)
        if not reactor.dispatcher.doomed and self._population != population:
            self._population = population
            self._check_places()
        now = (network.now, network.happened)
        self._idle_turns = self._idle_turns + 1 if now == self._last else 0
        self._last = now
        require(self._idle_turns < IDLE_TURNS, 1, "the loop turns for nothing; watched: {}", self.waiter.watched)
        if self.waiter.quiet:
            self.ending = True
        if self.ending:
            reactor.stop()

    def _check_places(self) -> None:
        """Law 6: nobody is inside who should not be, and nobody is counted who is not."""
        counters, admission = self.reactor.counters, self.reactor.dispatcher.admission
        require(counters.open == len(self.live), 10, "{} are open, and {} are counted", len(self.live), counters.open)
        inside = [witness for witness in self.live if witness.endpoint.peer.owner.index < FIRST_INDEX]
        require(admission.inside == len(inside) <= self.limits.max_connections, 6,
                "{} are inside, {} are counted, {} may be", len(inside), admission.inside,
                self.limits.max_connections)  # fmt: skip
        hosts = [witness.endpoint.peer.address[0] for witness in inside]
        most = max(map(hosts.count, hosts), default=0)
        require(most <= self.limits.max_connections_per_peer, 6, "{} are inside from one address", most)

    def _loop_sleeps(self, until: float) -> None:
        slack = 2 * WAIT_GRAIN_SECONDS
        for witness in self.live:
            check_not_forgotten(witness, self.scenario.epoll)
            if witness.frames is not None:
                witness.frames.loop_sleeps()
            check_deadlines(witness, until, slack)
        require(not self.promises.wait_for_next_turn(), 6, "the loop sleeps on calls that are queued")
        require(until <= self.promises.next_when() + slack, 6, "the loop sleeps past a timer, until {:.3f}", until)
        if self.door.waiting and self.listening:
            require(until - self.network.now < 0.1 + slack, 6, "the listener rests for long")
        require(until - self.network.now <= FOREVER_SECONDS or not self.live, 6, "the loop sleeps for ever")

    # What the witnesses and the programs ask.

    def callback_begins(self, callback: str, witness: Witness | None) -> None:
        """Note it."""
        self.network.happened += 1
        self.network.stirred += 1
        self._callbacks += 1
        require(self._callbacks < MOST_CALLBACKS, 8, "a phase does not come to an end")
        require(
            not self._depth or callback == "pause_writing", 8, "{} is called inside another callback (W7)", callback
        )
        self._depth += 1
        if self.network.note is not None:
            self.network.note(callback, "of", witness.program.__class__.__name__ if witness else "a timer",
                              f"descriptor {witness.connection.fd}" if witness else "")  # fmt: skip

    def callback_ends(self, callback: str) -> None:
        """Or was left by an exception."""
        self._depth -= 1

    def later(self, seconds: float, call: Callable[..., object], *arguments: Any) -> Any:
        """`call_later`, checked."""
        return self.promises.later(seconds, call, *arguments)

    def call_off(self, promise: Any) -> None:
        """`cancel`, checked."""
        self.promises.call_off(promise)

    def soon(self, call: Callable[..., object], *arguments: Any) -> None:
        """`call_soon`, checked."""
        self.promises.soon(False, call, *arguments)

    def soon_threadsafe(self, call: Callable[..., object], *arguments: Any) -> None:
        """`call_soon_threadsafe`, checked."""
        self.promises.soon(True, call, *arguments)

    def leave(self, draw: float, program: Any) -> None:
        """Raise out of a callback of `program`: mostly an error of its own, now and then what ends the loop."""
        if draw < 0.2:
            raise SystemExit(1)
        if draw < 0.35:
            raise Interruption
        self.mishaps += 1
        witness = program.connection.protocol
        if program.connection in [other.connection for other in self.live]:
            witness.raised = True
        raise Mishap(type(program).__name__)

    def dawdle(self, seconds: float) -> None:
        """Time passes inside a callback."""
        self.network.now += seconds

    def misused(self, connection: Any) -> None:
        """A RuntimeError came out of `write`."""
        require(connection.state.name == "HALF_CLOSED_LOCAL", 9, "write raised in the state {}", connection.state.name)

    def stop_listening(self) -> None:
        """No more newcomers."""
        self.listening = False
        self.reactor.acceptor.stop_listening(self.listener)


@contextlib.contextmanager
def _watched_core(block: int) -> Iterator[None]:
    """Have the dispatcher make watched connections, and the buffers blocks of that many bytes."""
    dispatcher: Any = dispatcher_module
    before = dispatcher.Connection, buffers_module.BLOCK_BYTES
    dispatcher.Connection, buffers_module.BLOCK_BYTES = WatchedConnection, block
    try:
        yield
    finally:
        dispatcher.Connection, buffers_module.BLOCK_BYTES = before


def simulate(seed: int, tracing: bool = False) -> Outcome:
    """The scenario of that number, lived through."""
    return World(make(seed), tracing).run()

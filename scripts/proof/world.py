"""One scenario, lived through: the real reactor, on a network that is not there, under the eyes of the laws.

The reactor, its dispatcher and its connections are the real ones, unmodified. `WatchedReactor` adds one thing:
after every phase of an iteration it lets `turns` look. What may not be at that moment is said in `laws`; what has
happened so far is known to the witnesses.

A scenario ends when nothing will ever happen again, or when it says that the reactor is to be closed. Then the books
are balanced: every connection was told of its end, every descriptor was given back, every byte that was accepted was
delivered or has a reason, every exception was logged once, and peers that were polite were served to the end.
"""

from __future__ import annotations

import contextlib
import random
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NamedTuple

from reactor.connections import buffers, dispatcher
from reactor.connections.connection import Connection
from reactor.connections.limits import Limits
from reactor.connections.protocol import Protocol
from reactor.loop import loop, poller
from reactor.loop.states import CLOSED
from reactor.simulation.demultiplexers import make_poller
from reactor.simulation.network import Network
from reactor.simulation.peers import Peer
from reactor.simulation.sockets import Descriptors, own_pairs
from reactor.simulation.unix_endpoints import endpoint_class

from . import hang
from .books import Books
from .doors import Doors
from .foreign import Foreign
from .laws import LAWS, LawBroken, require
from .logs import Log, own_log
from .memory import Memory
from .neighbours import Neighbour
from .programs import Interruption, Mishap, Pauser
from .promises import Promises
from .scenarios import ALL_PROGRAMS, Scenario, make
from .servings import Serving
from .threads import Threads
from .turns import Turns, WatchedReactor
from .upstreams import Upstreams
from .watched import WatchedConnection
from .witness import Witness

TRACE_EVENTS = 120
SAME = 9  # of the fields of an outcome, those that are the same on either path
SUCCESSOR = Pauser  # to whom connections are handed over


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
    hung: bool = False  # it did not come to an end by itself


class World:
    """Everything that a scenario needs, and the account of it."""

    def __init__(self, scenario: Scenario, tracing: bool = False, fast_path: bool = True) -> None:
        self.scenario = scenario
        self.network = Network(scenario.seed)
        self.trace: deque[tuple[float, tuple[Any, ...]]] = deque(maxlen=TRACE_EVENTS)
        if tracing:
            self.network.note = lambda *words: self.trace.append((self.network.now, words))
        self.books = Books(self)
        descriptors = scenario.faults.descriptors + len(scenario.doors) - 1
        faults = scenario.faults._replace(descriptors=descriptors)
        self.table = Descriptors(self.network, faults, self.books)
        self.poller, self.waiter = make_poller(self.table, scenario.epoll)
        self.turns = Turns(self)
        self.waiter.before_waiting, self.waiter.still_waiting = self.turns.loop_sleeps, self.turns.still_sleeps
        self.limits = Limits(**dict(scenario.limits))
        self.phase, self.phase_number, self.iteration = "start", 0, 0
        self.polled_in = 0  # which phase the last wait was in
        self.loop_time = self.network.now  # when the last poll returned: what the loop takes for now
        self.asked_at = self.loop_time  # up to when the loop knows at the least what has come
        self.promises = Promises(self)
        self.moved: list[Witness] = []  # those who took a step of which the loop has not taken note
        self.live: list[Witness] = []  # from connection_made to connection_lost
        self.witnesses: list[Witness] = []
        self.steps: set[tuple[str, str]] = set()
        self.dropped = 0  # writes to what has ended
        self.mishaps = self.loop_mishaps = 0  # what programs raised; and of that, what the loop was told
        self.memory = Memory(self)
        self.doors = Doors(self)
        self.peers = [
            Peer(self.network, index, plan, self.books.peer_reads, endpoint_class(self.doors.family_of(plan)))
            for index, plan in enumerate(scenario.peers)
        ]
        self._draw = random.Random(scenario.seed + 1).random
        self.upstreams = Upstreams(self)
        self.threads = Threads(self)
        self.serving = Serving(self)
        self.log = Log(self)
        self.foreign = Foreign(self)
        self.table.foreign = self.foreign.strike
        self.neighbours = [Neighbour(self, plan, number) for number, plan in enumerate(scenario.neighbours)]
        self.elsewhere = False  # another loop runs, on its thread
        self.ending = self.stop_asked = False
        with own_pairs(self.table):
            self.reactor = WatchedReactor(
                limits=self.limits,
                selector=self.poller,
                clock=self.network.clock,
                socket_factory=self.upstreams.make_socket,
                fast_path=fast_path,
            )
        self.reactor.world = self
        self.turns.watch(self.reactor)

    # Living through it.

    def run(self) -> Outcome:
        """All of it. What breaks a law is in the outcome."""
        law, text, hung = 0, "", False
        try:
            with hang.alarm(self.scenario.seed, hang.HANG_SECONDS):
                self._live_watched()
        except LawBroken as last:
            broken = last.first()
            law, text, hung = broken.number, str(broken), isinstance(broken, hang.Hung)
        except AssertionError as exc:
            law, text = 2, f"law 2, an assertion of the core does not hold: {exc!r}"
        except Exception as exc:
            law, text = 9, f"law 9, an exception has left the loop: {exc!r}"
        finally:
            self.reactor.state = CLOSED
        counters = self.reactor.counters
        return Outcome(
            law, text, self.iteration, len(self.witnesses), counters.bytes_received, counters.bytes_sent,
            self.table.injected, self.steps, {reason.value: n for reason, n in counters.closed.items() if n},
            [f"{when - 1000:9.4f}  " + " ".join(map(str, words)) for when, words in self.trace],
            hung,
        )  # fmt: skip

    def _live_watched(self) -> None:
        with _own_interrupts(), own_log(self.log), _watched_core(self):
            self._live()
            self.books.balance()

    def _live(self) -> None:
        self.doors.open(self.peers)
        self.threads.start()
        if self.scenario.close_at:
            self.network.later(self.scenario.close_at, self._end)
        if self.serving.drains:
            with contextlib.suppress(SystemExit, Interruption):
                self.serving.run()
        while not self.ending and self.reactor.state is not CLOSED:
            try:
                self.reactor.run()
            except (SystemExit, Interruption):
                pass  # out of a program: all must be consistent, and the loop can be run again
            finally:
                self.stop_asked = False
        with contextlib.suppress(SystemExit, Interruption):
            self.reactor.close()

    def _end(self) -> None:
        self.ending = True

    def make_protocol(self) -> Protocol:
        """What the factory of the listeners makes, or raises."""
        if self.scenario.program == "Raiser" and self._draw() < 0.1:
            self.mishaps += 1
            raise Mishap("the factory")
        return self.witness_of(ALL_PROGRAMS[self.scenario.program](self))

    def make_connection(self, sock: Any, peername: Any, limits: Limits, reactor: Any, attention: Any) -> Any:
        """What a dispatcher makes: that of this world a watched one."""
        connection_class = WatchedConnection if reactor is self.reactor else Connection
        return connection_class(sock, peername, limits, reactor, attention)

    def successor(self) -> Any:
        """A program that takes over from another one."""
        return SUCCESSOR(self)

    def witness_of(self, program: Any) -> Witness:
        """Who stands between it and the reactor."""
        witness = Witness(self, program)
        self.witnesses.append(witness)
        return witness

    # What the witnesses and the programs ask.

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
        witness = program.connection._protocol
        if program.connection in [other.connection for other in self.live]:
            witness.raised = True
        raise Mishap(type(program).__name__)

    def dawdle(self, seconds: float) -> None:
        """Time passes inside a callback."""
        self.network.now += seconds

    def misused(self, connection: Any) -> None:
        """A RuntimeError came out of `write`."""
        require(connection.state.name == "HALF_CLOSED_LOCAL", 9, "write raised in the state {}", connection.state.name)


@contextlib.contextmanager
def _own_interrupts() -> Iterator[None]:
    """Take Ctrl-C ourselves: a reactor would have the kernel wake it up, by a descriptor that is not there."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _watched_core(world: World) -> Iterator[None]:
    """Have the dispatcher make watched connections, and what the scenario says in place of the core's own numbers."""
    replaced: list[tuple[Any, str, Any]] = [
        (dispatcher, "Connection", world.make_connection),
        (buffers, "BLOCK_BYTES", world.scenario.block),
        (poller, "EVENTS_PER_POLL", world.scenario.batch),
        (loop, "EVENTS_PER_POLL", world.scenario.batch),
        *world.upstreams.replacements(),
        *world.serving.replacements(),
    ]
    before = [getattr(module, name) for module, name, _ in replaced]
    for module, name, value in replaced:
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name, _), value in zip(replaced, before, strict=True):
            setattr(module, name, value)


def simulate(seed: int, tracing: bool = False) -> Outcome:
    """The scenario of that number, lived through."""
    return live(make(seed), tracing)


def live(scenario: Scenario, tracing: bool = False) -> Outcome:
    """`scenario`, lived through on the fast path and on the plain one; law 12 is that the same comes of both.

    Where foreign code runs inside a `send`, it may write more, and that leaves in another phase. So there is no
    comparison then, nor where the log writes.
    """
    outcome = World(scenario, tracing).run()
    if outcome.law or scenario.faults.foreign or scenario.log == "writes":
        return outcome
    plain = World(scenario, tracing, fast_path=False).run()
    if plain[:SAME] == outcome[:SAME]:
        return outcome
    text = f"law 12, {LAWS[12]}: fast {outcome[:SAME]}, plain {plain[:SAME]}"
    return plain if plain.law else outcome._replace(law=12, text=text)

"""Runs one scenario: the real reactor on a simulated network, checked by the laws.

The reactor, its dispatcher and its connections are the real ones. `WatchedReactor` adds one thing: after each phase of
an iteration, `turns` checks everything. `laws` says what must hold at that moment; the witnesses know what has
happened so far.

A scenario ends when nothing will ever happen again, or when it is time to close the reactor. Then the books are
balanced: each program was told of the end of its connection, each descriptor was given back, each accepted byte was
delivered or there is a reason, each exception was logged once, and polite peers were served to the end.
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
from reactor.connections import connection as connection_module
from reactor.connections.connection import Connection
from reactor.connections.limits import Limits
from reactor.connections.protocol import Protocol
from reactor.coroutines.stream import Stream
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
from .reads import Reads
from .scenarios import SERVED, Scenario, make
from .servings import Serving
from .tasks import Tasks
from .threads import Threads
from .turns import Turns, WatchedReactor
from .upstreams import Upstreams
from .watched import WatchedConnection
from .witness import Witness

TRACE_EVENTS = 120
SAME = 9  # so many fields of an outcome must be the same on both paths
SUCCESSOR = Pauser  # the program to which connections are handed over


class Outcome(NamedTuple):
    """The result of a scenario."""

    law: int  # the law that was broken; 0: all held
    text: str
    iterations: int
    connections: int
    bytes_in: int
    bytes_out: int
    faults: dict[str, int]
    steps: set[tuple[str, str]]
    reasons: dict[str, int]
    trace: list[str]
    hung: bool = False  # it did not end by itself


class World:
    """Everything that a scenario needs, and all that is known of its run."""

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
        self.polled_in = 0  # the phase of the last wait
        self.loop_time = self.network.now  # when the last poll returned: the loop's idea of now
        self.asked_at = self.loop_time  # the loop knows all that had come by then
        self.promises = Promises(self)
        self.moved: list[Witness] = []  # connections with a step that the loop has not handled
        self.live: list[Witness] = []  # from connection_made to connection_lost
        self.witnesses: list[Witness] = []
        self.steps: set[tuple[str, str]] = set()
        self.dropped = 0  # writes after the end
        self.mishaps = self.loop_mishaps = 0  # exceptions of programs; of these, those that the loop counts
        self.memory = Memory(self)
        self.tasks = Tasks(self)
        self.reads: dict[Stream, Reads] = {}  # of the programs that are streams
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
        self.elsewhere = False  # another loop runs
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

    # Running it.

    def run(self) -> Outcome:
        """Run the whole scenario. A broken law is in the outcome."""
        law, text, hung = 0, "", False
        try:
            with hang.alarm(self.scenario.seed, hang.HANG_SECONDS):
                self._live_watched()
        except LawBroken as last:
            broken = self.tasks.broken or last.first()
            law, text, hung = broken.number, str(broken), isinstance(broken, hang.Hung)
        except AssertionError as exc:
            law, text = 2, f"law 2, an assertion of the core does not hold: {exc!r}"
        except Exception as exc:
            law, text = 9, f"law 9, an exception has left the loop: {exc!r}"
        finally:
            self.reactor.state = CLOSED
            self.tasks.abandon()
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
                pass  # from a program: all must be consistent, and the loop can run again
            finally:
                self.stop_asked = False
        with contextlib.suppress(SystemExit, Interruption):
            self.reactor.close()

    def _end(self) -> None:
        self.ending = True

    def make_protocol(self) -> Protocol:
        """The protocol factory of the listeners. It may raise."""
        if self.scenario.program == "Raiser" and self._draw() < 0.1:
            self.mishaps += 1
            raise Mishap("the factory")
        return self.witness_of(SERVED[self.scenario.program](self))

    def make_connection(self, sock: Any, peername: Any, limits: Limits, reactor: Any, attention: Any) -> Any:
        """The connection class of all dispatchers; that of this world makes watched connections."""
        connection_class = WatchedConnection if reactor is self.reactor else Connection
        return connection_class(sock, peername, limits, reactor, attention)

    def successor(self) -> Any:
        """A program that takes over a connection."""
        return SUCCESSOR(self)

    def witness_of(self, program: Any) -> Witness:
        """A witness between the program and the reactor."""
        witness = Witness(self, program)
        self.witnesses.append(witness)
        return witness

    # What the witnesses and the programs call.

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
        """Raise out of a callback of `program`: in most cases a `Mishap`, else an exception that ends the loop."""
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
    """Handle Ctrl-C here. A reactor would ask for a wake-up by a descriptor that does not exist."""
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
    """In this block, connections are watched, and numbers of the scenario replace those of the core."""
    replaced: list[tuple[Any, str, Any]] = [
        (dispatcher, "Connection", world.make_connection),
        (buffers, "BLOCK_BYTES", world.scenario.block),
        (buffers, "LARGE_BYTES", world.scenario.block // 2),
        (connection_module, "LARGE_BYTES", world.scenario.block // 2),
        (poller, "EVENTS_PER_POLL", world.scenario.batch),
        (loop, "EVENTS_PER_POLL", world.scenario.batch),
        *world.upstreams.replacements(),
        *world.serving.replacements(),
        *world.tasks.replacements(),
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
    """Run the scenario with this number."""
    return live(make(seed), tracing)


def live(scenario: Scenario, tracing: bool = False) -> Outcome:
    """Run `scenario` on the fast path and on the plain path. The laws hold on both; law 12: the results are the same.

    Foreign code inside a `send` may write more, and those bytes leave in another phase. So with foreign code, or with
    a log that writes, the results are not compared.
    """
    outcome = World(scenario, tracing).run()
    if outcome.law:
        return outcome
    plain = World(scenario, tracing, fast_path=False).run()
    if plain.law:
        return plain
    if scenario.faults.foreign or scenario.log == "writes" or plain[:SAME] == outcome[:SAME]:
        return outcome
    return outcome._replace(law=12, text=f"law 12, {LAWS[12]}: fast {outcome[:SAME]}, plain {plain[:SAME]}")

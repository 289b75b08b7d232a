"""What is checked while the reactor turns: after each phase, before each sleep, and at the end of a turn.

A law can only be asserted when it has to hold. Between two phases, each connection is settled or waits for that.
Before the loop sleeps, nothing may be left to do. After a turn, the totals must agree. This file has these moments,
and what is compared at each.

An endless loop never gets to such a moment. So the work of one phase is bounded: its callbacks, its system calls, and
its steps. A loop that does none of these is left to `hang`.
"""

from __future__ import annotations

import functools
import ipaddress
import math
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from reactor.connections.reactor import Reactor
from reactor.loop.states import RUNS
from reactor.simulation.demultiplexers import FOREVER_SECONDS, WAIT_GRAIN_SECONDS
from reactor.simulation.network import Door, Endpoint
from reactor.simulation.sockets import FIRST_DESCRIPTOR

from .laws import check_deadlines, check_not_forgotten, check_settled, require
from .upstreams import FIRST_INDEX

if TYPE_CHECKING:
    from .witness import Witness
    from .world import World

HORIZON = 1060.0  # the end of a scenario without end; time starts at 1000
IDLE_TURNS = 12  # so many turns in a row without any effect are too many
MOST_ITERATIONS = 10_000
MOST_CALLBACKS = 3_000  # in one phase
MOST_STIRRED = 20_000  # system calls, callbacks and steps together, in one phase
REST_SECONDS = 0.1  # how long a listener may rest, and so the longest timer for that


@functools.lru_cache(maxsize=4096)
def _peer(sockaddr: tuple[Any, ...] | str, ipv6_prefix_bits: int) -> str:
    """What counts as one peer: an IPv4 address, or an IPv6 network, by the standard library's `ipaddress`.

    Empty for a UNIX socket: each of its connections may be another peer.
    """
    if isinstance(sockaddr, str):
        return ""
    host = sockaddr[0]
    address = ipaddress.ip_address(host)
    return str(ipaddress.ip_network((host, 32 if address.version == 4 else ipv6_prefix_bits), strict=False))


class WatchedReactor(Reactor):
    """The reactor, with checks of the world after each phase."""

    world: World

    def _iterate(self, timeout: float = float("inf")) -> None:
        """One iteration, checked."""
        super()._iterate(timeout)
        self.world.turns.iteration_ends()

    def _run_timers(self) -> None:
        self.world.turns.phase_begins("timers")
        super()._run_timers()
        self.world.turns.phase_ends()

    def _run_ready(self) -> None:
        self.world.turns.phase_begins("ready")
        super()._run_ready()
        self.world.turns.phase_ends()

    def _poll(self, timeout: float) -> list[tuple[int, int]]:
        self.world.turns.phase_begins("poll")
        self.world.polled_in = self.world.phase_number
        self.world.turns.notes_steps(settled=True)
        self.world.waiter.judged_at = self.world.asked_at
        if not self.waiting:  # else it did not run meanwhile, and that is no delay
            self.world.waiter.held_up(self.world.loop_time, self.world.network.now)
        events = super()._poll(timeout)
        self.world.turns.notes_steps(settled=False)
        self.world.loop_time = self.world.network.now
        return events

    def _dispatch(self, events: list[tuple[int, int]]) -> None:
        self.world.turns.phase_begins("dispatch")
        super()._dispatch(events)
        self.world.turns.notes_evidence(len(events))
        self.world.turns.phase_ends()

    def stop(self) -> None:
        """Remember it: from here on, the loop may neither sleep nor begin a turn."""
        self.world.stop_asked = True
        super().stop()

    def close(self) -> None:
        """Remember it: in a callback, this is a stop too."""
        if self.state in RUNS:
            self.world.stop_asked = True
        super().close()

    def _give_back_all(self) -> None:
        self.world.turns.phase_begins("close")
        super()._give_back_all()


class Turns:
    """The phases of one world's reactor, and what must hold between two phases."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._depth = self._callbacks = 0
        self._endless = math.inf in dict(world.scenario.limits).values()  # a connection may last for ever
        self._idle_turns, self._last = 0, (0.0, 0)
        self._full, self._full_since = 0, 0.0  # full batches in a row, and when the first was asked for
        self._needless = 0  # sleeps in a row with an end, though nothing needed one
        self._stirred, self._population = -1, (0, 0, 0)

    def watch(self, reactor: WatchedReactor) -> None:
        """Watch the phases that the dispatcher and its reaper do."""
        dispatcher: Any = reactor.dispatcher
        watched: Any = reactor
        watched._go_through = self._batch(watched._go_through)
        for owner, name in ((dispatcher, "flush"), (dispatcher.reaper, "reap")):
            setattr(owner, name, self._phased(name, getattr(owner, name)))
        acceptor: Any = reactor.acceptor
        acceptor.stop_listening = self._noted(acceptor.stop_listening)
        self._world.network.lost_patience = self._never_ends

    def _noted(self, stop_listening: Callable[[Any], None]) -> Callable[[Any], None]:
        def stop(listener: Any) -> None:
            self._world.doors.was_stopped(listener)
            stop_listening(listener)

        return stop

    def phase_begins(self, phase: str) -> None:
        """A phase with this name begins."""
        world, network = self._world, self._world.network
        world.phase = phase
        world.phase_number += 1
        self._callbacks = 0
        network.patience = network.stirred + MOST_STIRRED
        world.books.phase_begins()
        if phase == "timers":
            world.iteration += 1
            require(world.iteration < MOST_ITERATIONS, 6, "the scenario does not come to an end")
            require(not world.stop_asked, 6, "the loop goes on after it was stopped")
            world.serving.iteration_begins()
        if network.note is not None and phase != "poll":
            network.note(f"-- {world.iteration}:", phase)

    def _never_ends(self) -> None:
        require(False, 8, "the phase {} does not come to an end", self._world.phase)

    def notes_steps(self, settled: bool) -> None:
        """The loop has now handled the steps that were taken, even if callbacks took long: measure how late.

        A connection that is not settled before the poll is settled after it. The process may be stopped meanwhile.
        """
        world = self._world
        waiting = []
        for witness in world.moved:
            if settled and witness.life in ("made", "eof") and witness.connection._attended:
                waiting.append(witness)
            else:
                witness.late = world.network.now - witness.since
        world.moved = waiting

    def notes_evidence(self, count: int) -> None:
        """The events of a batch were handled: find out up to when the loop knows all that had come.

        After a full batch, more events may follow, and the descriptors take turns. All of them fit into some number of
        full batches. After twice that number, the loop knows all that was ready when it asked for the first of these.
        """
        world = self._world
        if count < world.scenario.batch or not world.scenario.epoll:
            world.asked_at, self._full = world.waiter.asked_at, 0
            return
        if not self._full:
            self._full_since = world.waiter.asked_at
        self._full += 1
        if self._full > 2 * (len(world.table.own()) // world.scenario.batch + 2):
            world.asked_at, self._full = self._full_since, 0

    def phase_ends(self) -> None:
        """Check everything."""
        world = self._world
        if world.phase in ("timers", "ready"):
            world.promises.check_made(world.phase)
            world.tasks.phase_ends(world.phase)
        if world.phase == "flush":
            world.memory.flushed()
        if self._stirred == world.network.stirred:
            return  # nothing has changed since the last check
        self._stirred = world.network.stirred
        attention = world.reactor.dispatcher.attention
        for witness in world.live:
            connection = witness.connection
            if connection._attended:
                require(connection in attention, 1, "{} waits for attention that will not come", connection)
            elif connection._fd >= 0:
                check_settled(witness, world.waiter.watched.get(connection._fd, 0))
            else:
                check_settled(witness, 0)

    def _phased(self, name: str, work: Callable[[], Any]) -> Callable[[], Any]:
        def phase() -> Any:
            if self._world.phase == "close":
                return work()
            self.phase_begins(name)
            result = work()
            self.phase_ends()
            return result

        return phase

    def _batch(self, work: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
        def batch(dispatcher: Any, events: Any) -> None:
            try:
                work(dispatcher, events)
            finally:
                self._world.phase = "end of batch"

        return batch

    def iteration_ends(self) -> None:
        """Check the totals, and whether the turn was of any use."""
        world = self._world
        world.serving.iteration_ends()
        reactor, network = world.reactor, world.network
        population = (len(world.witnesses), len(world.live), reactor.counters.accepted)
        if not reactor.dispatcher.reaper.doomed and self._population != population:
            self._population = population
            self._check_places()
        now = (network.now, network.happened)
        self._idle_turns = self._idle_turns + 1 if now == self._last else 0
        self._last = now
        require(self._idle_turns < IDLE_TURNS, 1, "the loop turns for nothing; watched: {}", world.waiter.watched)
        if world.waiter.quiet or (network.now > HORIZON and self._endless):
            world.ending = True
        if world.ending:
            reactor.stop()

    def _check_places(self) -> None:
        """Laws 6 and 10: no more connections are inside than allowed, and they are counted correctly."""
        world = self._world
        counters, admission, limits = world.reactor.counters, world.reactor.dispatcher.admission, world.limits
        require(counters.open == len(world.live), 10, "{} are open, and {} are counted", len(world.live), counters.open)
        inside = self._inside()
        require(admission.inside == len(inside) <= limits.max_connections, 6,
                "{} are inside, {} are counted, {} may be", len(inside), admission.inside,
                limits.max_connections)  # fmt: skip
        bits = limits.ipv6_peer_prefix_bits
        peers = Counter(_peer(witness.endpoint.peer.address, bits) for witness in inside)
        counted = sorted(admission.by_host.values())
        require(sorted(peers.values()) == counted, 6, "inside are {}, and counted {}", peers, admission.by_host)
        most = max((count for peer, count in peers.items() if peer), default=0)
        require(most <= limits.max_connections_per_peer, 6, "{} are inside from one peer", most)

    def _inside(self) -> list[Witness]:
        """The connections that were accepted and are not closed."""
        return [witness for witness in self._world.live if witness.endpoint.peer.owner.index < FIRST_INDEX]

    def check_refused(self, endpoint: Endpoint) -> None:
        """Law 10: a newcomer is closed and no program hears of it. We or the kernel must have no place for it."""
        world, limits, inside = self._world, self._world.limits, self._inside()
        peer = _peer(endpoint.peer.address, limits.ipv6_peer_prefix_bits)
        same = [other for other in inside if _peer(other.endpoint.peer.address, limits.ipv6_peer_prefix_bits) == peer]
        full = len(inside) >= limits.max_connections or (peer and len(same) >= limits.max_connections_per_peer)
        require(full or world.mishaps or "epoll_ctl" in world.table.injected or world.phase == "close", 10,
                "somebody is refused, and {} of {} are inside, {} of them from there", len(inside),
                limits.max_connections, len(same))  # fmt: skip

    def loop_sleeps(self, until: float) -> None:
        """The loop sleeps: nothing may be left to do now, and nothing may be due before `until`."""
        world = self._world
        slack, seconds = 2 * WAIT_GRAIN_SECONDS, until - world.network.now
        for witness in world.live:
            check_not_forgotten(witness, world.scenario.epoll)
            if witness.frames is not None:
                witness.frames.loop_sleeps()
            check_deadlines(witness, until, slack)
        require(not world.stop_asked, 6, "the loop sleeps after it was stopped")
        require(until <= world.promises.next_when() + slack, 6, "the loop sleeps past a timer, until {:.3f}", until)
        world.memory.loop_sleeps()
        world.serving.loop_sleeps(until, slack)
        world.tasks.loop_sleeps(until, slack)
        for dial in world.upstreams.dials:
            dial.loop_sleeps(until, slack)
        self.still_sleeps()
        if world.doors.somebody_waits() and len(self._inside()) < world.limits.max_connections:
            require(seconds < REST_SECONDS + slack, 6, "there is a place, and a listener rests for long")
        if world.live:
            require(seconds <= FOREVER_SECONDS or self._endless, 6, "the loop sleeps for ever")
        else:
            self._check_alone(until)
        self._check_timers()

    def _check_timers(self) -> None:
        """Law 6: there are at least as many timers as promises, and none if nothing can need one."""
        world = self._world
        counted, promised = len(world.reactor.timers), len(world.promises)
        right = promised <= counted if self._somebody_is_there() or self._needless else counted == 0
        require(right, 6, "{} timers are counted, and {} were promised", counted, promised)

    def _check_alone(self, until: float) -> None:
        """Law 1: without connections and promises, the loop has no reason to wake up.

        One exception, once: a listener that was woken early from its rest still has its timer.
        """
        world = self._world
        if until == math.inf or self._somebody_is_there():
            self._needless = 0
            return
        self._needless += 1
        soon = until - world.network.now <= REST_SECONDS + 2 * WAIT_GRAIN_SECONDS
        require(soon and self._needless < IDLE_TURNS, 1, "nobody is there and the loop wakes up at {:.3f}", until)

    def _somebody_is_there(self) -> bool:
        world = self._world
        if world.doors.somebody_waits() or world.promises.next_when() < math.inf or world.tasks.lives:
            return True
        if world.network.now <= world.table.full_until + REST_SECONDS:
            return True  # the kernel had no room to watch a listener, so the listener rests
        if not all(dial.outcome for dial in world.upstreams.dials):
            return True
        return any(number >= FIRST_DESCRIPTOR and not isinstance(sock.endpoint, Door)
                   for number, sock in world.table.own().items())  # fmt: skip

    def still_sleeps(self) -> None:
        """Law 6: while the loop sleeps on, no call and no look-up may wait for it."""
        require(not self._world.promises.wait_for_next_turn(), 6, "a thread has called, and the loop sleeps on")
        told = all(dial.is_told() for dial in self._world.upstreams.dials)
        require(told, 6, "a name was looked up, and the loop sleeps on")

    def callback_begins(self, callback: str, witness: Witness | None) -> None:
        """Law 8: count it, and check that it is not inside another one."""
        network = self._world.network
        network.happened += 1
        network.stir()
        self._callbacks += 1
        require(self._callbacks < MOST_CALLBACKS, 8, "a phase does not come to an end")
        require(
            not self._depth or callback == "pause_writing", 8, "{} is called inside another callback (W7)", callback
        )
        self._world.books.batch_goes_on()
        self._depth += 1
        if network.note is not None:
            network.note(callback, "of", witness.program.__class__.__name__ if witness else "a timer",
                         f"descriptor {witness.connection._fd}" if witness else "")  # fmt: skip

    def callback_ends(self, callback: str) -> None:
        """It has returned or raised."""
        self._depth -= 1

"""A server that is told to stop: its drain, after signals that arrive at any time.

The server is the real one, over the reactor of the scenario. It gets nothing from the process around it: no signal
handlers, no limit of descriptors, no watchdog thread. A signal is a call that arrives from outside.

A drain promises: no newcomer comes in. A connection that owes nothing is closed soon. The drain ends when no
connection is left, when its time is over, or at the second signal. A connection that is cut is counted, and its peer
sees a reset. What it owes is worked out from outside: from what was written, taken, delivered and read.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from reactor.connections import socket_options
from reactor.service import server as server_module
from reactor.service.server import Server
from reactor.simulation.sockets import FakeSocket

from .laws import DELIVERING, OVER, WRITING, require

if TYPE_CHECKING:
    from .witness import Witness
    from .world import World

TICK_SECONDS = 0.05  # how often a drain checks all connections
LINGER_SECONDS = 1.0  # how long a peer has at least to answer our FIN


class Serving:
    """The server of one world; `drains` only if the scenario has signals."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.drains = bool(world.scenario.signals)
        self.begun_at = self.ends_by = math.inf
        self._signals = self._cut = 0
        self._asked_at = -math.inf  # when the iteration began, the loop knew all that had come by then
        self._looking = False  # the drain checks all connections
        self._server: Any = None

    def run(self) -> None:
        """Serve to the end. The doors of the scenario replace what `listen` would do."""
        world = self._world
        server: Any = Server(world.make_protocol, reactor=world.reactor, limits=world.limits, bind="10.0.0.0:80")
        self._server = server
        server.addresses = ["the doors of the scenario"]
        server._listeners = world.doors.listeners()
        world.reactor.at_close.add(server._give_back)
        for when in world.scenario.signals:
            world.network.later(when, world.soon_threadsafe, self._signal)
        server._drain._look = self._noted(server._drain._look)
        cut = server.run()
        require(cut == self._cut, 10, "a drain has cut {} connections and counted {}", self._cut, cut)

    def _noted(self, look: Callable[[], None]) -> Callable[[], None]:
        def noted() -> None:
            self._looking, stopped = True, self._world.stop_asked
            try:
                look()
            finally:
                self._looking = False
            handlers = self._world.tasks.handlers()
            over = self._world.stop_asked and not stopped
            require(not over or not handlers, 5, "a drain ends, and {} handlers are at work", handlers)

        return noted

    def closes(self, witness: Witness) -> None:
        """Law 5: a connection is closed. A drain closes only those that owe nothing (E12)."""
        require(not (self._looking and self._is_busy(witness)), 5, "{} is closed by a drain, and owes something",
                witness.connection)  # fmt: skip

    def _signal(self) -> None:
        self._signals += 1
        self.begun_at = min(self.begun_at, self._world.network.now)
        self._server._on_signal("SIGTERM")
        self.ends_by = min(self.ends_by, self._world.network.now + self._world.limits.drain_seconds)
        require(self._signals == 1 or self._world.stop_asked, 6, "the second signal does not end the drain")

    # What must hold.

    def owes(self, witness: Witness) -> bool:
        """Whether the peer would miss something if the connection ended now."""
        endpoint = witness.endpoint
        return bool(endpoint.outgoing and not endpoint.dead) or self._is_busy(witness)

    def _is_busy(self, witness: Witness) -> bool:
        endpoint, state = witness.endpoint, witness.state
        if witness.waiting() and state not in OVER:
            return True
        if state not in WRITING and state not in DELIVERING:
            return False
        unseen = state in DELIVERING and not witness.reading_paused and witness.heard_at < self.begun_at
        return witness.is_at_work() or bool(unseen and endpoint.incoming)

    def ends(self, witness: Witness, reason: str) -> None:
        """Law 10: a connection of a server ends. Find out whether this is a cut, and whether a cut is right."""
        if not self.drains:
            return
        over = self._world.waiter.asked_at >= self.ends_by
        if reason == "drain_timeout":
            require(over and self.owes(witness), 10, "{} is cut, and owes nothing or has time", witness.connection)
        refuses = witness.state == "LINGERING" and bool(witness.endpoint.incoming)
        last = reason == "shutdown" or (reason == "aborted" and self._world.phase == "close")  # by a task's clean-up
        witness.cut = reason == "drain_timeout" or (last and (refuses or self.owes(witness)))
        self._cut += witness.cut

    def is_over(self) -> bool:
        """Whether there is a drain whose time is over."""
        return self._world.waiter.asked_at >= self.ends_by

    def lingers_until(self, witness: Witness, due: float) -> float:
        """Until when it may wait for its peer's FIN; `due` without a drain."""
        return due if self.begun_at == math.inf else min(due, self.ends_by, witness.since + LINGER_SECONDS)

    def may_linger_no_more(self, witness: Witness) -> bool:
        """Whether a drain may end a connection that waits for its peer's FIN."""
        over = self._world.network.now >= self.lingers_until(witness, math.inf)
        return self.begun_at < math.inf and over and not witness.endpoint.outgoing

    def iteration_begins(self) -> None:
        """Remember up to when the loop knows what has come."""
        self._asked_at = self._world.asked_at if self.begun_at < math.inf else -math.inf

    def iteration_ends(self) -> None:
        """Law 6: it ends in time."""
        world = self._world
        require(self._asked_at < self.ends_by or world.stop_asked, 6, "the drain goes on behind {:.3f}", self.ends_by)

    def loop_sleeps(self, until: float, slack: float) -> None:
        """Laws 3 and 6: no door is open, the drain checks in time, and what owes nothing is closed."""
        if self.begun_at == math.inf:
            return
        world = self._world
        require(until <= self.ends_by + slack, 6, "a drain ends by {:.3f}, and the loop sleeps until {:.3f}",
                self.ends_by, until)  # fmt: skip
        require(not world.doors.any_open(), 3, "somebody may still come in during a drain")
        now = world.network.now
        require(until - now <= TICK_SECONDS + slack, 6, "a drain is not looked at until {:.3f}", until)
        answering = any(witness.is_at_work() for witness in world.live if witness.state in WRITING | DELIVERING)
        for witness in world.live:
            last = max(witness.since, witness.heard_at, witness.progress_at, self.begun_at, witness.released_at)
            idle = witness.state in WRITING | DELIVERING and not self.owes(witness) and not answering
            require(not idle or now <= last + 2 * TICK_SECONDS + slack + witness.late, 6,
                    "{} owes nothing and is not closed in a drain", witness.connection)  # fmt: skip

    def replacements(self) -> list[tuple[Any, str, Any]]:
        """What replaces the process for the server, and the kernel for the drain."""
        nobody = types.SimpleNamespace(current_thread=lambda: "simulated", main_thread=lambda: "not this one")
        return [(server_module, "threading", nobody), (socket_options, "_ask", ask)]


def ask(sock: Any, question: str) -> int | None:
    """TIOCOUTQ and FIONREAD of a fake socket."""
    if not isinstance(sock, FakeSocket) or sock.number < 0:
        return None
    endpoint = sock.endpoint
    if question == "FIONREAD":
        return len(endpoint.incoming)
    count: int = endpoint.count_undelivered()
    return count

"""Connections that a program has asked for, and what it was promised for each.

The program hears of the outcome once: its protocol is made, or its failure callback is called. It hears nothing if
it cancels, or if the reactor closes. The addresses are tried in order, and the families take turns. The next one is
tried when the last has failed, or after a quarter of a second (RFC 8305). A connection fails as too slow at its
deadline, not before or after, and not while an answer waits in the kernel. After the outcome, no socket that was
tried stays open, except the connected one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .laws import require

if TYPE_CHECKING:
    from reactor.simulation.sockets import FakeSocket

    from .world import World

NEXT_TRY_SECONDS = 0.25
FULL = 1024  # events in a batch, more than there are descriptors


class Dial:
    """One connection that a program has asked for."""

    def __init__(self, world: World, families: list[str], by_name: bool) -> None:
        self._world = world
        self._order = in_turns(families)  # the numbers of the addresses that are still to be tried
        self._deadline = world.network.now + world.limits.connect_seconds
        self._named = by_name  # the look-up may then take all the time, or fail
        self.begun = False  # `connect` has returned
        self.found = False  # its name was looked up, and the loop was told the result
        self.outcome = ""  # later "made", "failed" or "given up"
        self.connector: Any = None
        self.answered: list[FakeSocket] = []  # those that are connected
        self._answered_in: dict[FakeSocket, int] = {}  # in which phase
        self._sockets: list[FakeSocket] = []
        self._failed = 0  # how many tries have failed
        self.began_at = 0.0  # when the first one began
        self._tried_at, self._failed_then = -math.inf, 0  # when the last try began, and how many had failed then

    def tries(self, index: int, sock: FakeSocket) -> None:
        """The address with this number is tried. It must be its turn, and not too early."""
        now = self._world.network.now
        require(not self.outcome, 3, "an address is tried though the connection is {}", self.outcome)
        if self._world.table.injected.get("EMFILE"):
            del self._order[: self._order.index(index)]  # there was no descriptor for those before it
        require(index == self._order[0], 4, "address {} is tried, and it is the turn of {}", index, self._order[0])
        del self._order[0]
        early = now < self._tried_at + NEXT_TRY_SECONDS and self._failed == self._failed_then
        require(not early or self._troubled(), 8, "the next address is tried after {:.3f} seconds",
                now - self._tried_at)  # fmt: skip
        self._tried_at, self._failed_then = now, self._failed
        self.began_at = self.began_at or now
        self._sockets.append(sock)

    def tries_again(self, sock: FakeSocket) -> None:
        """The same address is tried again, since its queue was full."""
        now = self._world.network.now
        require(not self.outcome, 3, "an address is tried though the connection is {}", self.outcome)
        require(now > self._tried_at, 8, "a queue that was full is tried again at once")
        self._tried_at = now
        self._sockets.append(sock)
        self._failed += 1  # the previous try

    def _troubled(self) -> bool:
        """Whether the kernel lacked something that a try may have needed."""
        return bool({"epoll_ctl", "EMFILE"} & self._world.table.injected.keys())

    def has_answer(self, sock: FakeSocket) -> None:
        """This socket is connected."""
        self.answered.append(sock)
        self._answered_in[sock] = self._world.phase_number

    def try_failed(self) -> None:
        """One try has failed."""
        self._failed += 1

    def broke_off(self, sock: FakeSocket) -> None:
        """The peer of a connected socket has left before the loop looked."""
        if not self.outcome and sock in self.answered:
            self.answered.remove(sock)
            self.try_failed()

    def is_made(self) -> None:
        """The connection is there, and its protocol is made."""
        require(not self.outcome, 3, "a connection is made that is {} already", self.outcome)
        self.outcome = "made"

    def has_failed(self, exc: OSError) -> None:
        """The program is told that there will be no connection."""
        require(not self.outcome, 3, "a failure is told of a connection that is {} already", self.outcome)
        require(self.begun, 8, "a failure is told inside the call that has asked for the connection")
        self.outcome = "failed"
        world = self._world
        if "no connection within" in str(exc):  # the error of a peer may also be a timeout
            require(world.waiter.asked_at >= self._deadline, 6, "a connection is given up before its time: {!r}", exc)
            told = any(self._answered_in[sock] <= world.polled_in for sock in self.answered)
            full = world.scenario.batch < FULL  # then the batch may hold events of other sockets only
            require(not told or full, 6, "a connection is given up as too slow that is there")
        elif not self._named and not self._troubled():
            in_vain = not self._order and self._failed == len(self._sockets)
            require(in_vain, 5, "a connection has failed, and its addresses {} were not tried in vain", self._order)

    def cancel(self) -> None:
        """Give it up. This does not change an outcome that is already there."""
        self.connector.cancel()
        self.outcome = self.outcome or "given up"

    def is_told(self) -> bool:
        """Whether the loop has handled the result of the look-up, if there is one."""
        return bool(not self.found or self.outcome or self._sockets or self._troubled())

    def loop_sleeps(self, until: float, slack: float) -> None:
        """Law 6: the outcome comes in time, the next try comes in time, and no tried socket is left open."""
        if self.outcome:
            world = self._world
            taken = [witness.endpoint for witness in world.live]
            ours = [sock.number for sock in self._sockets if sock.number >= 0 and sock.endpoint not in taken]
            require(not ours, 6, "descriptors {} were tried for a connection that is {}, and are open", ours,
                    self.outcome)  # fmt: skip
            return
        require(until <= self._deadline + slack, 6, "a connection is due at {:.3f} and the loop sleeps until {:.3f}",
                self._deadline, until)  # fmt: skip
        if self._sockets and self._order and not self._troubled():
            due = self._tried_at + NEXT_TRY_SECONDS
            require(until <= due + slack, 6, "the next address is due at {:.3f} and the loop sleeps until {:.3f}", due,
                    until)  # fmt: skip


def in_turns(families: list[str]) -> list[int]:
    """The numbers of all addresses. The families take turns, that of the first address first."""
    firsts = [index for index, family in enumerate(families) if family == families[0]]
    others = [index for index, family in enumerate(families) if family != families[0]]
    order = []
    while firsts or others:
        order += firsts[:1] + others[:1]
        del firsts[:1], others[:1]
    return order

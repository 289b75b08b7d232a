"""Connections that a program has asked for, and what it was promised of each.

It is told once: by a program that is made, or by a failure, and by neither when it has given up itself or the reactor
was closed. The addresses are tried in their order with the families taking turns, the next one when the last has failed
or a quarter of a second has gone by (RFC 8305), and nothing is given up as too slow before its time, nor after it, nor
while an answer lies in the kernel. When it is decided, no socket of those that were tried stays open but the one.
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
    """One connection that is wanted."""

    def __init__(self, world: World, families: list[str], by_name: bool) -> None:
        self._world = world
        self._order = in_turns(families)  # the numbers of the addresses not tried yet, as they are to be
        self._deadline = world.network.now + world.limits.connect_seconds
        self._named = by_name  # and the look-up may take all the time there is, or fail
        self.begun = False  # the call that has asked for it has returned
        self.found = False  # its name was looked up, and the loop told of what came of it
        self.outcome = ""  # then "made", "failed" or "given up"
        self.connector: Any = None
        self.answered: list[FakeSocket] = []  # those with an answer that is a good one
        self._answered_in: dict[FakeSocket, int] = {}  # in which phase
        self._sockets: list[FakeSocket] = []
        self._failed = 0  # how many of the tries came to nothing
        self.began_at = 0.0  # when the first one began
        self._tried_at, self._failed_then = -math.inf, 0  # when the last one began, and how many had failed by then

    def tries(self, index: int, sock: FakeSocket) -> None:
        """The address of that number is tried: in its turn, and not before its time."""
        now = self._world.network.now
        require(not self.outcome, 3, "an address is tried though the connection is {}", self.outcome)
        if self._world.table.injected.get("EMFILE"):
            del self._order[: self._order.index(index)]  # those before it have failed for want of a descriptor
        require(index == self._order[0], 4, "address {} is tried, and it is the turn of {}", index, self._order[0])
        del self._order[0]
        early = now < self._tried_at + NEXT_TRY_SECONDS and self._failed == self._failed_then
        require(not early or self._troubled(), 8, "the next address is tried after {:.3f} seconds",
                now - self._tried_at)  # fmt: skip
        self._tried_at, self._failed_then = now, self._failed
        self.began_at = self.began_at or now
        self._sockets.append(sock)

    def tries_again(self, sock: FakeSocket) -> None:
        """The same address: its queue was full."""
        now = self._world.network.now
        require(not self.outcome, 3, "an address is tried though the connection is {}", self.outcome)
        require(now > self._tried_at, 8, "a queue that was full is tried again at once")
        self._tried_at = now
        self._sockets.append(sock)
        self._failed += 1  # the try before

    def _troubled(self) -> bool:
        """Whether the kernel lacked something, for some of the tries perhaps."""
        return bool({"epoll_ctl", "EMFILE"} & self._world.table.injected.keys())

    def has_answer(self, sock: FakeSocket) -> None:
        """A good one has come, there."""
        self.answered.append(sock)
        self._answered_in[sock] = self._world.phase_number

    def try_failed(self) -> None:
        """One of the tries came to nothing."""
        self._failed += 1

    def broke_off(self, sock: FakeSocket) -> None:
        """Whoever had answered there has left before anyone looked."""
        if not self.outcome and sock in self.answered:
            self.answered.remove(sock)
            self.try_failed()

    def is_made(self) -> None:
        """The connection is there, and its program is made."""
        require(not self.outcome, 3, "a connection is made that is {} already", self.outcome)
        self.outcome = "made"

    def has_failed(self, exc: OSError) -> None:
        """The program is told that it will not be."""
        require(not self.outcome, 3, "a failure is told of a connection that is {} already", self.outcome)
        require(self.begun, 8, "a failure is told inside the call that has asked for the connection")
        self.outcome = "failed"
        world = self._world
        if "no connection within" in str(exc):  # for a peer may time out, too
            require(world.waiter.asked_at >= self._deadline, 6, "a connection is given up before its time: {!r}", exc)
            told = any(self._answered_in[sock] <= world.polled_in for sock in self.answered)
            full = world.scenario.batch < FULL  # so that it may be the turn of others, and only they were told of
            require(not told or full, 6, "a connection is given up as too slow that is there")
        elif not self._named and not self._troubled():
            in_vain = not self._order and self._failed == len(self._sockets)
            require(in_vain, 5, "a connection has failed, and its addresses {} were not tried in vain", self._order)

    def cancel(self) -> None:
        """Give it up; of what is decided that changes nothing."""
        self.connector.cancel()
        self.outcome = self.outcome or "given up"

    def is_told(self) -> bool:
        """Whether the loop has taken note of what came of the look-up, if that is over."""
        return bool(not self.found or self.outcome or self._sockets or self._troubled())

    def loop_sleeps(self, until: float, slack: float) -> None:
        """Law 6: it is decided in time, the next address is tried in time, and nothing is left of what was tried."""
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
    """The numbers of all addresses with their families taking turns, that of the first one first."""
    firsts = [index for index, family in enumerate(families) if family == families[0]]
    others = [index for index, family in enumerate(families) if family != families[0]]
    order = []
    while firsts or others:
        order += firsts[:1] + others[:1]
        del firsts[:1], others[:1]
    return order

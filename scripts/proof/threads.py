"""Other threads. They may call the loop in one way only: `call_soon_threadsafe`.

A thread may call at any time: while the loop sleeps, just before it sleeps, and between two instructions of the code
that empties the wake-up pipe. The scenario has the times of some calls; others come inside the call that reads from
the pipe. If a wake-up is lost, the loop sleeps with a call in its queue, and a law finds that.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .world import World

ERRANDS = ("nothing", "write", "write", "burst", "stop")
BURST = 6  # calls at once, more than the pipe has room for


class Threads:
    """The other threads of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._draw = random.Random(world.scenario.seed + 2).random
        self._between = 0  # how many calls may still come between two instructions

    def start(self) -> None:
        """From now on they call."""
        world = self._world
        for when, errand in world.scenario.threads:
            world.network.later(when, self._call, errand)
            self._between += 1
        world.table.between = self._meanwhile

    def _meanwhile(self) -> None:
        if self._between and self._draw() < 0.3:
            self._between -= 1
            self._call("nothing")

    def _call(self, errand: str) -> None:
        world = self._world
        if world.network.note is not None:
            world.network.note("a thread", "calls for", errand)
        for _ in range(BURST if errand == "burst" else 1):
            world.soon_threadsafe(self._do, errand)

    def _do(self, errand: str) -> None:
        world = self._world
        if errand == "stop":
            world.reactor.stop()
        elif errand == "write" and world.live:
            witness = world.live[int(self._draw() * len(world.live))]
            if witness.connection.state.writes:
                witness.connection.write(b"by thread")

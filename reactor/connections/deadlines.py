"""When to look at each connection, to see whether its deadline has come.

Which deadline it has, `derived` works out from its state. A message must not cost a timer operation. And an idle
connection must not cost a timer's memory: 240 bytes, more than a quarter of what it takes in all.

So connections whose deadlines fall into the same tenth of a second share one timer: a tick. When it comes, each of
them is looked at. What happened in between has only moved times (`heard_at`, `progress_at`), which costs one store
each. So the deadline is mostly a later one by then, and the connection is put where it now belongs. While data flows
nothing is moved, except when a change brings a deadline forward.

The cost: a deadline is kept up to a tenth of a second late, never early.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..loop.timers import Handle, Timers
from .connection import Connection
from .derived import TICK_SECONDS


class Tick:
    """The connections that are to be looked at together, at one time."""

    __slots__ = ("when", "connections", "timer")

    def __init__(self, when: float) -> None:
        self.when = when
        # A dict for a set: its order is that of arrival, on every machine, which the simulation relies on.
        self.connections: dict[Connection, None] = {}
        self.timer: Handle | None = None


class Deadlines:
    """When to look at each connection of one dispatcher: `look(connection)` is called then."""

    def __init__(self, timers: Timers, look: Callable[[Connection], object]) -> None:
        self._timers = timers
        self._look = look
        self._ticks: dict[float, Tick] = {}

    def arm(self, connection: Connection, when: float) -> None:
        """Have `connection` looked at by `when`, in seconds of the clock, or within a tick of that: never before.

        If it is to be looked at earlier anyway, that is enough: whoever looks will arm it again.
        """
        armed, ticks = connection._next_look_at, when / TICK_SECONDS
        if ticks == math.inf or armed <= when:  # never, or soon enough
            return
        whole = math.ceil(ticks)
        rounded = (whole if whole * TICK_SECONDS >= when else whole + 1) * TICK_SECONDS  # the division may round down
        if armed <= rounded:
            return
        self.disarm(connection)
        tick = self._ticks.get(rounded)
        if tick is None:
            tick = self._ticks[rounded] = Tick(rounded)
            tick.timer = self._timers.call_at(rounded, self._fire, tick)
        tick.connections[connection] = None
        connection._next_look_at = tick.when

    def disarm(self, connection: Connection) -> None:
        """Do not look at `connection`: it has ended. What is empty is given back at once."""
        tick = self._ticks.get(connection._next_look_at)
        connection._next_look_at = math.inf
        if tick is not None:
            tick.connections.pop(connection, None)
            if not tick.connections and tick.timer is not None:
                tick.timer.cancel()
                del self._ticks[tick.when]

    def _fire(self, tick: Tick) -> None:
        del self._ticks[tick.when]
        tick.timer = None
        for connection in tick.connections:
            connection._next_look_at = math.inf
        for connection in tick.connections:
            self._look(connection)

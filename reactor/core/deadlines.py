"""How long a connection may stay as it is.

A peer costs us something for as long as it does nothing: a descriptor, an object, a place that somebody else could
have. So there is no state without a deadline, and which one holds is, like interest, derived from the state and
never armed by hand:

    not a byte has come yet             first_byte_seconds    since it was opened
    nothing to do                       idle_seconds          since the last byte of either direction
    a frame is incomplete               frame_seconds         since its first byte: a trickle does not help (R3)
    output waits                        write_stall_seconds   since the kernel last took some (W6)
    closing, or flushing                close_seconds         since `close` (E4)
    lingering                           linger_seconds        since our FIN, and since the peer took output before it

A message must not cost a timer operation, and an idle connection must not cost a timer's memory (240 bytes: more than
a quarter of what it takes in all). So connections whose deadlines fall into the same tenth of a second share one
timer, and a connection is looked at when its tick comes: what happened meanwhile has only moved times (`heard_at`,
`progress_at`), at the cost of one store, so then it is put where it now belongs. Nothing is moved while data flows,
except when a change brings a deadline forward. The cost: a deadline is kept up to a tenth of a second late, never
early. And what falls due while the loop is held up, or the process is stopped, is put off once (`extended`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from .states import CLOSED, CLOSING, FLUSHING, LINGERING, CloseReason

if TYPE_CHECKING:
    from .connection import Connection
    from .limits import Limits
    from .timers import Handle, Timers

TICK_SECONDS = 0.1

LEAST_SECONDS = 1e-6  # a time later than now: the next tick

NEVER = -math.inf  # the time of what has not happened

LIMIT_OF = {  # the limit behind each reason that a deadline gives
    CloseReason.FIRST_BYTE_TIMEOUT: "first_byte_seconds",
    CloseReason.IDLE_TIMEOUT: "idle_seconds",
    CloseReason.FRAME_TIMEOUT: "frame_seconds",
    CloseReason.WRITE_STALLED: "write_stall_seconds",
    CloseReason.CLOSE_TIMEOUT: "close_seconds",
    CloseReason.LINGER_TIMEOUT: "linger_seconds",
}


def next_deadline(connection: Connection) -> tuple[float, CloseReason]:
    """When `connection` is to be ended if nothing changes, in seconds of the clock, and the reason then."""
    limits, state = connection.limits, connection.state
    if state is CLOSED:
        return math.inf, CloseReason.SHUTDOWN
    if state is LINGERING:
        return connection.since + limits.linger_seconds, CloseReason.LINGER_TIMEOUT
    if state is CLOSING or state is FLUSHING:
        return connection.since + limits.close_seconds, CloseReason.CLOSE_TIMEOUT
    heard, progress = connection.heard_at, connection.progress_at
    if heard == NEVER:
        when, reason = connection.since + limits.first_byte_seconds, CloseReason.FIRST_BYTE_TIMEOUT
    else:
        when, reason = max(heard, progress) + limits.idle_seconds, CloseReason.IDLE_TIMEOUT
    if connection.frame_since + limits.frame_seconds < when and connection.frame_since != NEVER:
        when, reason = connection.frame_since + limits.frame_seconds, CloseReason.FRAME_TIMEOUT
    # A chunk that was not yet offered to the kernel makes nobody wait; unless there was progress before, that is NEVER.
    if connection.has_output() and progress + limits.write_stall_seconds < when and progress != NEVER:
        when, reason = progress + limits.write_stall_seconds, CloseReason.WRITE_STALLED
    return when, reason


def extended(when: float, reason: CloseReason, limits: Limits, left_at: float, back_at: float) -> float:
    """The deadline `when` of a connection, if the loop was away from `left_at` to `back_at`.

    What fell due meanwhile has as much time again as the loop was away, up to its whole limit. The peer may have done
    all that was asked of it long ago, and it lies in the kernel; one `recv` or `send` does not show that (R7, P2).
    Until then no other deadline of this connection is judged.
    """
    if not left_at - TICK_SECONDS <= when <= back_at + TICK_SECONDS:  # it is looked at up to a tick behind `when`
        return when
    limit: float = getattr(limits, LIMIT_OF[reason])
    return max(when, back_at + min(back_at - left_at, limit))


def next_look(connection: Connection, when: float, now: float) -> float:
    """When to look at `connection` next: at its deadline `when`, or before, if input may bring a nearer one meanwhile.

    Input moves a deadline back, and then nobody need be told. But the first byte ends `first_byte_seconds`, and from
    it `idle_seconds` count, which may be the shorter. Not at `now` itself, even where they are 0: nothing can have
    come since, and the loop would turn for nothing.
    """
    if connection.heard_at != NEVER:
        return when
    return min(when, now + max(connection.limits.idle_seconds, LEAST_SECONDS))


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
        armed, ticks = connection.tick, when / TICK_SECONDS
        if ticks == math.inf or (armed is not None and armed.when <= when):  # never, or soon enough
            return
        whole = math.ceil(ticks)
        rounded = (whole if whole * TICK_SECONDS >= when else whole + 1) * TICK_SECONDS  # the division may round down
        if armed is not None:
            if armed.when <= rounded:
                return
            self.disarm(connection)
        tick = self._ticks.get(rounded)
        if tick is None:
            tick = self._ticks[rounded] = Tick(rounded)
            tick.timer = self._timers.call_at(rounded, self._fire, tick)
        tick.connections[connection] = None
        connection.tick = tick

    def disarm(self, connection: Connection) -> None:
        """Do not look at `connection`: it has ended. What is empty is given back at once."""
        tick, connection.tick = connection.tick, None
        if tick is not None:
            tick.connections.pop(connection, None)
            if not tick.connections and tick.timer is not None:
                tick.timer.cancel()
                del self._ticks[tick.when]

    def _fire(self, tick: Tick) -> None:
        del self._ticks[tick.when]
        tick.timer = None
        for connection in tick.connections:
            connection.tick = None
        for connection in tick.connections:
            self._look(connection)

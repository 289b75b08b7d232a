"""When to look at each connection, to see whether its deadline has come; and what to do then.

`derived` works out from the state of a connection which deadline it has. A message must not cost a timer operation, and
an idle connection must not cost the memory of a timer: 240 bytes, a quarter of all that it takes.

So all connections whose deadlines fall into the same tenth of a second share one timer: a tick. When it comes, each of
them is looked at. Until then a message only stores a time in its connection (`_heard_at`, `_progress_at`). So at the
look the deadline is mostly a later one, and the connection is put into the tick where it belongs now.

The cost: a deadline is up to a tenth of a second late (more if the loop is held up), never early.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..loop.timers import Handle, Timers
from .connection import Connection
from .derived import LIMIT_OF, TICK_SECONDS, extended, next_deadline, next_look
from .socket_options import undelivered_output
from .states import LINGERING


class Tick:
    """The connections to look at at one time."""

    __slots__ = ("when", "connections", "timer")

    def __init__(self, when: float) -> None:
        self.when = when
        # A dict in place of a set: it keeps the order of arrival on every machine, which the simulation relies on.
        self.connections: dict[Connection, None] = {}
        self.timer: Handle | None = None


class Deadlines:
    """The deadlines of all connections of one dispatcher. `look` is called for each look; by default, `judge`."""

    def __init__(self, timers: Timers, look: Callable[[Connection], object] | None = None) -> None:
        self._timers = timers
        self._look = look or self.judge
        self._ticks: dict[float, Tick] = {}

    def arm(self, connection: Connection, when: float) -> None:
        """Look at `connection` at `when`, in seconds of the clock, or up to a tick later.

        If a look is due before that, this call changes nothing: that look will arm it again.
        """
        armed, ticks = connection._next_look_at, when / TICK_SECONDS
        if math.isinf(ticks) or armed <= when:  # no deadline; or (-inf) settled again soon; or a look in time
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
        """Do not look at `connection` any more: it has ended. A tick without connections is given back at once."""
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

    def judge(self, connection: Connection) -> None:
        """End `connection` if its deadline has passed; else look again later."""
        timers = self._timers
        if connection.state is LINGERING:
            self._note_delivery(connection)
        when, reason = next_deadline(connection)
        if connection._attended:
            # A timer of this phase has written to it or closed it. The new deadline is known once it is settled, which
            # is soon. Judged by the old times, it would be ended as if nothing had happened.
            connection._touch()
            return
        if when > timers.asked_at:
            connection._receive_little()  # its large messages may be over
        else:
            when = extended(when, reason, connection.limits, timers.left_at, timers.back_at)
            if when <= timers.asked_at:
                limit = LIMIT_OF[reason]
                text = f"{limit} ({getattr(connection.limits, limit):g}) passed in state {connection.state.label}"
                connection._end(reason, TimeoutError(text))
                return
        self.arm(connection, next_look(connection, when, timers.now))

    def _note_delivery(self, connection: Connection) -> None:
        """While the kernel still delivers our output, the time to wait for the peer's end has not begun (E11).

        Our FIN waits behind that output, and the peer reads. A reset would take from it what it has not read yet.
        """
        left = undelivered_output(connection)
        if left and left < connection._undelivered:
            connection._undelivered = left
            connection._state_since = max(connection._state_since, self._timers.asked_at)

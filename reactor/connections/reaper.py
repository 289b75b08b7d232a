"""The end of a connection: first off the kernel's list, its socket closed last of all.

A callback can end a connection, its own or another, at any moment. If its socket were closed there, three things could
go wrong. The callback that still runs would use a closed socket. A connection accepted in the same batch could get the
same descriptor number, and with it an event that was meant for the old connection (E7). And `connection_lost` would be
called inside `write` or `abort`, in the middle of the program's own work (E6).

So an end has three steps. `Connection._end` sets the state. When the connection is settled, `unwatch` takes the
connection out of the dispatcher's table and off the kernel's list: from now on no event reaches it. Its socket stays
open, so its number cannot be used again. `reap`, the last phase of an iteration, calls `connection_lost` and closes the
socket.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque

from ..loop.poller import EpollPoller, SelectorPoller
from ..loop.reports import report
from .access_log import log_end
from .budgets import Admission
from .connection import Connection
from .counters import Counters
from .deadlines import Deadlines
from .socket_options import reset_on_close
from .states import CLOSED, ENDED, CloseReason, set_state

logger = logging.getLogger("reactor.connections")


class Reaper:
    """Ends the connections of one dispatcher."""

    def __init__(
        self,
        table: list[Connection | None],
        poller: SelectorPoller | EpollPoller,
        deadlines: Deadlines,
        admission: Admission,
        counters: Counters,
    ) -> None:
        self.table = table
        self.poller = poller
        self.deadlines = deadlines
        self.admission = admission
        self.counters = counters
        self.doomed: deque[Connection] = deque()  # unwatched: to be closed in `reap`

    def unwatch(self, connection: Connection) -> None:
        """Let no more events reach `connection`, which is ENDED. Its socket stays open until `reap`."""
        self.table[connection._fd] = None
        if connection._interest and connection._fd not in self.poller.handlers:  # else its number was taken over
            self.poller.modify(connection._fd, connection._interest, 0)
        connection._fd, connection._interest = -1, 0
        self.deadlines.disarm(connection)
        if connection.has_output() or connection.close_reason in (CloseReason.ABORTED, CloseReason.HANDLER_ERROR):
            # A plain close sends a FIN, and the peer would take what it has for the whole.
            reset_on_close(connection._socket)
        connection._drop_buffers()
        self.doomed.append(connection)

    def reap(self) -> bool:
        """Close the sockets of unwatched connections and call `connection_lost`. Return whether there were any.

        No other code closes the socket of a connection that was served, except `Dispatcher.abandon` in a fork's child.
        At this moment no callback runs, and no event of this batch is left (E6, E7).
        """
        count = len(self.doomed)
        for _ in range(count):  # a snapshot: a `connection_lost` may end more
            connection = self.doomed[0]
            try:
                if connection._protocol is not None:
                    connection._protocol.connection_lost(connection._error)
            except Exception as exc:  # the program's own error, in a connection that has ended already (E9)
                self.counters.callback_errors += 1
                report(logger, logging.ERROR, "connection_lost raised in %s", connection, exc=exc)
            finally:
                if self.doomed:  # empty in the child of a fork, where `abandon` has closed everything (L5)
                    self.doomed.popleft()  # first: whatever fails in `_close`, `connection_lost` is not called twice
                self._close(connection)
        return count > 0

    def _close(self, connection: Connection) -> None:
        set_state(connection, ENDED, CLOSED)
        reason = connection.close_reason
        assert reason is not None, "a connection ended without a reason"
        self.counters.closed[reason] += 1
        if connection._admitted_from is not None:
            self.admission.leave(connection._admitted_from)
        try:
            log_end(connection)
        finally:  # also if the program's error raises SystemExit when it is shown
            with contextlib.suppress(OSError):  # close(2): the descriptor is free again whatever the answer is
                connection._socket.close()
        # The protocol refers to the connection, and so do the frames in the traceback of its error. Without these two
        # references all is freed now, not by the garbage collector. That saves 6 % of the instructions of a life.
        connection._protocol = connection._error = None  # type: ignore[assignment]

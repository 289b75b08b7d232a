"""What all buffers together may take.

Each connection has its marks, and ten thousand connections that all keep just within them take ten thousand times as
much: slow readers, each harmless, bring a server down together (W5). So there is a budget for the process. The count
is kept by the connections as their buffers grow and shrink (`Counters.buffered_bytes`), and compared once an iteration.

When it is spent, everyone who has output waiting is asked to pause. If that was not enough by the next iteration, or
all were asked before, those who keep the most are ended, the largest first, until the rest fits: they are the ones
whose end helps, and most likely the ones who do not read.

The cost: what is written within one iteration may go over the budget before it is found out.
"""

from __future__ import annotations

from collections.abc import Callable

from .connection import Connection
from .counters import Counters
from .states import CloseReason


class MemoryBudget:
    """Holds the buffers counted in `counters` to `most` bytes."""

    __slots__ = ("_counters", "_most", "_asked")

    def __init__(self, counters: Counters, most: int) -> None:
        self._counters = counters
        self._most = most
        self._asked = False  # everyone was asked to pause, and it is still too much

    def enforce(self, everyone: Callable[[], list[Connection]], settle: Callable[[Connection], None]) -> None:
        """If the budget is spent, have all of `everyone()` pause, or end the largest, and `settle` these."""
        if self._counters.buffered_bytes <= self._most:
            self._asked = False
            return
        connections = everyone()
        if not self._asked:
            any_asked = _ask_to_pause(connections)
            self._asked = True  # not before: SystemExit in a `pause_writing` leaves the others to be asked yet
            if any_asked:
                return  # they want attention now, so the next iteration comes at once, even if nothing happens
        for connection in sorted(connections, key=Connection.buffered_bytes, reverse=True):
            if self._counters.buffered_bytes <= self._most:
                return
            size = connection.buffered_bytes()
            error = ConnectionAbortedError(f"its {size} bytes were the most when memory_bytes was spent")
            connection.end(CloseReason.MEMORY, error)
            settle(connection)


def _ask_to_pause(connections: list[Connection]) -> bool:
    """Pause the writing of all who can write and have output waiting; whether there were any who were not yet."""
    unpaused = [each for each in connections if each.state.writes and each.has_output() and not each.writing_paused]
    for connection in unpaused:
        connection.pause()
    return bool(unpaused)

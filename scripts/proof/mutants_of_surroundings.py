"""Deliberate bugs with UNIX sockets, and with several loops in one process."""

from __future__ import annotations

from .hunting import Mutant

MUTANTS = (
    # UNIX sockets.
    Mutant("a UNIX peer that has closed is watched for ever", "connections/dispatcher.py",
           "        if events & BROKEN and not (connection.state.delivers or connection.state.discards):\n",
           "        if False:\n"),
    Mutant("all peers on a UNIX socket count as one", "connections/budgets.py",
           "(host and from_host >= limits.max_connections_per_peer)",
           "from_host >= limits.max_connections_per_peer"),
    Mutant("a full queue is tried again at once", "net/connector.py",
           "self._reactor.call_later(self._pause_seconds, self.begin)",
           "self._reactor.call_soon(self.begin)"),
    # Several loops.
    Mutant("all loops have one table of connections", "connections/dispatcher.py",
           "        self.table: list[Connection | None] = []\n",
           "        self.table = globals().setdefault('_table', [])\n"),
    Mutant("what waits for attention waits for any loop", "connections/dispatcher.py",
           "        self.attention: deque[Connection] = deque()",
           "        self.attention = globals().setdefault('_attention', deque())"),
    Mutant("all loops have one heap of timers", "loop/timers.py",
           "        self._heap: list[tuple[float, int, Handle]] = []\n",
           "        self._heap = globals().setdefault('_heap', [])\n"),
    Mutant("all loops count together", "connections/reactor.py",
           "counters=Counters(),",
           "counters=globals().setdefault('_counters', Counters()),"),
)  # fmt: skip

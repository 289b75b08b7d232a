"""Calls that are promised for later, in the order of their times.

The loop asks one question each time round: when is the next deadline? A binary heap answers it at once and
takes a new entry in O(log n). Cancelling is where heaps are weak, for the entry lies somewhere in the
middle; and cancelling is what servers mostly do, since nearly every deadline is met. So a cancelled entry
stays where it is and is thrown away when it comes to the top. To keep a million armed and cancelled timers
from filling the memory (L3), the heap is rebuilt without them once they are more than half of it: O(n) for
at least n/2 cancellations, so O(1) for each.

Entries are tuples of (when, sequence, handle): tuples compare in C, and the sequence number makes equal
times come in the order in which they were armed.

The clock is injected. It must never go back, which is what `time.monotonic` promises and `time.time` does
not.
"""

from __future__ import annotations

import heapq
import logging
import math
from collections import deque
from collections.abc import Callable

logger = logging.getLogger("reactor.core")

COMPACT_FROM = 64  # below so many cancelled entries a rebuild costs more than it frees


class Handle:
    """A call that was promised, by `call_soon` or a timer, and can be called off."""

    __slots__ = ("when", "_callback", "_args", "_timers")

    def __init__(
        self, callback: Callable[..., object], args: tuple[object, ...], when: float, timers: Timers | None
    ) -> None:
        self.when = when  # seconds of the reactor's clock; -inf for "soon"
        self._callback: Callable[..., object] | None = callback
        self._args = args
        self._timers = timers

    def cancel(self) -> None:
        """Call it off. Again, or after it ran, does nothing."""
        if self._callback is not None:
            self._callback, self._args = None, ()  # lets go of what the call would have held alive
            if self._timers is not None:
                self._timers.cancelled()

    def cancelled(self) -> bool:
        """Whether the call will not come: it was called off, or has been made."""
        return self._callback is None

    def run(self) -> bool:
        """Make the call, once. False if it raised, which is logged here and goes no further (law 9)."""
        callback, args = self._callback, self._args
        if callback is None:
            return True
        self._callback, self._args = None, ()
        try:
            callback(*args)
        except Exception:  # the program's own: the loop and its other calls go on
            logger.exception("a callback raised: %r", callback)
            return False
        return True


class Timers:
    """The deadlines of one reactor.

    `now` is the time of the current iteration, read once for all who need no better.
    """

    __slots__ = ("clock", "now", "_heap", "_due", "_sequence", "_cancelled")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.now = clock()
        self._heap: list[tuple[float, int, Handle]] = []
        self._due: deque[tuple[float, int, Handle]] = deque()  # off the heap, and being called
        self._sequence = 0
        self._cancelled = 0

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    def call_at(self, when: float, callback: Callable[..., object], *args: object) -> Handle:
        """Promise `callback(*args)` for the time `when`, in seconds of the clock; never before it.

        A time that has passed means the next iteration, an infinite one means never. ValueError for NaN,
        which has no place in any order and would silently spoil that of the others (L4).
        """
        if math.isnan(when):
            raise ValueError("a timer's time must be a number of seconds, not NaN")
        handle = Handle(callback, args, when, self)
        self._sequence += 1
        heapq.heappush(self._heap, (when, self._sequence, handle))
        return handle

    def cancelled(self) -> None:
        """Told by a handle that its entry is dead; rebuild once the dead are the most."""
        self._cancelled += 1
        if self._cancelled > COMPACT_FROM and self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if not entry[2].cancelled()]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def next_when(self) -> float:
        """The time of the next call; infinity if there is none."""
        heap = self._heap
        while heap and heap[0][2].cancelled():
            heapq.heappop(heap)
            self._cancelled -= 1
        return heap[0][0] if heap else math.inf

    def run_due(self) -> int:
        """Make the calls that are due at `now`; how many of them raised.

        What they arm meanwhile waits for the next iteration, whatever its time: a callback that re-arms
        itself for "now" would else starve the sockets, and one that does so for the past the other timers.
        """
        if self.next_when() > self.now:
            return 0
        self._take_due()
        due, errors = self._due, 0
        try:
            while due:
                errors += not due.popleft()[2].run()
        finally:  # SystemExit left a callback: the rest is still owed
            while due:
                entry = due.popleft()
                if not entry[2].cancelled():
                    entry[2]._timers = self
                    heapq.heappush(self._heap, entry)
        return errors

    def _take_due(self) -> None:
        while (when := self.next_when()) <= self.now and when < math.inf:
            entry = heapq.heappop(self._heap)
            entry[2]._timers = None  # no longer in the heap: cancelling it must not be counted
            self._due.append(entry)

    def clear(self) -> None:
        """Forget all calls, those of a `run_due` that is under way among them: a fork's child makes none (L5)."""
        self._heap.clear()
        self._due.clear()
        self._cancelled = 0

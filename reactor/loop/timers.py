"""Calls that are promised for later, in the order of their times.

The loop asks one question in each iteration: when is the next deadline? A binary heap answers it at once and takes
a new entry in O(log n). But heaps are weak at cancelling, because the entry lies somewhere in the middle. And servers
mostly cancel, because nearly every deadline is met. So a cancelled entry stays where it is, and is thrown away when it
comes to the top. A million armed and cancelled timers must not fill the memory (L3). So the heap is rebuilt without
them once they are more than half of it: O(n) for at least n/2 cancellations, so O(1) for each.

Entries are tuples of (when, sequence, handle). Tuples compare in C. The sequence number keeps equal times in the order
in which they were armed.

When a timer's time has come, the loop first asks the kernel for events and handles them. Only then does it run. While
the loop is away (in a slow callback, or stopped by SIGSTOP), data may come for the very connection that a timer is
about to end. The loop sets `asked_at`: every event from before that time was dispatched (R7, P2).

A `__del__` or a signal handler of the program may arm and cancel timers between any two steps here. The top of the heap
may change between a look and the `heappop`. So the entry that came off is looked at again. And a rebuild works on the
side: new entries go to a new heap.

The clock is a parameter. It must never go back: `time.monotonic` promises that, and `time.time` does not.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
from collections import deque
from collections.abc import Callable

from .reports import report

logger = logging.getLogger("reactor.loop")

COMPACT_FROM = 64  # with fewer cancelled entries, a rebuild costs more than it frees


class Handle:
    """A call that `call_soon` or a timer promised. It can be cancelled."""

    __slots__ = ("when", "_callback", "_args", "timers")

    def __init__(
        self, callback: Callable[..., object], args: tuple[object, ...], when: float, timers: Timers | None
    ) -> None:
        if not callable(callback):
            raise TypeError(f"a callback must be callable, not of type {type(callback).__name__}")
        self.when = when  # seconds of the loop's clock; -inf for "soon"
        self._callback: Callable[..., object] | None = callback
        self._args = args
        self.timers = timers  # those whose heap holds it; None once it is off the heap, or cancelled

    def cancel(self) -> None:
        """Cancel the call. Does nothing if the call was cancelled or made before."""
        timers, self.timers = self.timers, None
        self._callback, self._args = None, ()  # frees what the call kept alive
        if timers is not None:
            timers.count_cancelled()

    def cancelled(self) -> bool:
        """Whether the call will not come: it was cancelled, or has been made."""
        return self._callback is None

    def run(self) -> bool:
        """Make the call, once. If it raises, the exception is logged and goes no further (law 9): return False."""
        callback, args = self._callback, self._args
        if callback is None:
            return True
        self._callback, self._args = None, ()
        try:
            callback(*args)
        except Exception as exc:  # the program's error: the loop and its other calls go on
            report(logger, logging.ERROR, "a callback raised: %r", callback, exc=exc)
            return False
        return True


class Timers:
    """The timers of one loop.

    `now` is the time when the last poll returned, for all code that needs no better. Every event from
    before `asked_at` was dispatched. The last time that the
    loop was away from its wait for long, held up or stopped, was from `left_at` to `back_at`.
    """

    __slots__ = ("clock", "now", "asked_at", "left_at", "back_at", "errors", "_heap", "_due", "_sequence", "_cancelled")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.now = self.asked_at = self.left_at = self.back_at = clock()
        self.errors = 0  # calls that raised
        self._heap: list[tuple[float, int, Handle]] = []
        self._due: deque[tuple[float, int, Handle]] = deque()  # off the heap, and being called
        self._sequence = itertools.count()
        self._cancelled = 0  # entries of the heap that were cancelled

    def __len__(self) -> int:
        return max(0, len(self._heap) - self._cancelled)

    @property
    def due(self) -> int:
        """How many calls of this iteration are still to be made. From any thread."""
        return len(self._due)

    def call_at(self, when: float, callback: Callable[..., object], *args: object) -> Handle:
        """Promise `callback(*args)` for the time `when`, in seconds of the clock. It never comes earlier.

        A time that has passed means: after the next poll. An infinite time means never. ValueError for NaN, which has
        no place in any order and would silently spoil the order of the others (L4). TypeError when `when` is no number,
        or `callback` cannot be called. OverflowError for a number too large for a float.
        """
        if math.isnan(when):
            raise ValueError("a timer's time must be a number of seconds, not NaN")
        when = float(when)  # another kind of number may not compare with the other entries
        handle = Handle(callback, args, when, None)
        self.arm(handle)
        return handle

    def arm(self, handle: Handle) -> None:
        """Put `handle` into the heap, to be run at its time `when`."""
        entry = (handle.when, next(self._sequence), handle)
        handle.timers = self  # before the push, or a rebuild would throw it away
        heapq.heappush(self._heap, entry)

    def note_absence(self, left_at: float, back_at: float) -> None:
        """Note that the loop was away from its wait, held up or stopped, from `left_at` to `back_at`.

        If it left again before all that had come was known, both absences count as one.
        """
        if left_at > self.back_at or self.asked_at >= self.back_at:
            self.left_at = left_at
        self.back_at = back_at

    def count_cancelled(self) -> None:
        """Count an entry that its handle has cancelled. Rebuild once these are more than half."""
        self._cancelled += 1
        if self._cancelled > COMPACT_FROM and self._cancelled * 2 > len(self._heap):
            self._rebuild()

    def _rebuild(self) -> None:
        """Drop the cancelled entries. What is armed meanwhile goes to a new heap."""
        whole, self._heap = self._heap, []
        living = [entry for entry in whole if entry[2].timers is not None]
        dead = len(whole) - len(living)
        self._heap += living
        self._cancelled -= dead
        heapq.heapify(self._heap)

    def next_when(self) -> float:
        """The time of the next call; infinity if there is none."""
        while self._heap and self._heap[0][2].timers is None:
            entry = heapq.heappop(self._heap)
            if entry[2].timers is None:
                self._cancelled -= 1
            else:  # a nearer one was armed at this moment
                heapq.heappush(self._heap, entry)
        return self._heap[0][0] if self._heap else math.inf

    def run_due(self) -> None:
        """Make the calls that are due at `asked_at`, and count in `errors` those that raise.

        What they arm waits for the next iteration, whatever its time. Otherwise a callback that re-arms itself for
        "now" would starve the sockets, and one that re-arms itself for the past would starve the other timers.
        """
        if self.next_when() > self.asked_at:
            return
        self._take_due()
        due = self._due
        try:
            while due:
                if not due.popleft()[2].run():
                    self.errors += 1  # at once: the next call may raise SystemExit
        finally:  # after SystemExit, the other calls are still due
            while due:
                entry = due.popleft()
                if not entry[2].cancelled():
                    entry[2].timers = self
                    heapq.heappush(self._heap, entry)

    def _take_due(self) -> None:
        while self._heap and self._heap[0][0] <= self.asked_at and self._heap[0][0] < math.inf:
            entry = heapq.heappop(self._heap)
            if entry[2].timers is None:  # cancelled, and counted as one in the heap
                self._cancelled -= 1
            else:
                entry[2].timers = None  # no longer in the heap: cancelling it must not be counted
                self._due.append(entry)

    def clear(self) -> None:
        """Forget all calls, also those of a `run_due` that is under way: a fork's child makes none (L5)."""
        self._heap.clear()
        self._due.clear()
        self._cancelled = 0

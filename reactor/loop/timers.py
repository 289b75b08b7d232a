"""Calls that are promised for later, in the order of their times.

The loop asks one question each time round: when is the next deadline? A binary heap answers it at once and
takes a new entry in O(log n). Cancelling is where heaps are weak, for the entry lies somewhere in the
middle; and cancelling is what servers mostly do, since nearly every deadline is met. So a cancelled entry
stays where it is and is thrown away when it comes to the top. To keep a million armed and cancelled timers
from filling the memory (L3), the heap is rebuilt without them once they are more than half of it: O(n) for
at least n/2 cancellations, so O(1) for each.

Entries are tuples of (when, sequence, handle): tuples compare in C, and the sequence number makes equal
times come in the order in which they were armed.

A deadline is judged by the evidence. While the loop was away (in a slow callback, or stopped by SIGSTOP with the whole
machine asleep) data may have come for the very connection that a timer is about to end. So a timer is not due when its
time has passed, but when the kernel was asked since then what has come: at `asked_at`, which the loop sets (R7, P2).

A program may arm and cancel timers from a `__del__` or a signal handler, between any two steps of ours. So an entry
is taken off the heap by one call before it is looked at, and a heap is rebuilt apart: new entries go to another one.

The clock is injected. It must never go back, which is what `time.monotonic` promises and `time.time` does
not.
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

COMPACT_FROM = 64  # below so many cancelled entries a rebuild costs more than it frees


class Handle:
    """A call that was promised, by `call_soon` or a timer, and can be called off."""

    __slots__ = ("when", "_callback", "_args", "timers")

    def __init__(
        self, callback: Callable[..., object], args: tuple[object, ...], when: float, timers: Timers | None
    ) -> None:
        if not callable(callback):
            raise TypeError(f"a callback must be callable, not of type {type(callback).__name__}")
        self.when = when  # seconds of the reactor's clock; -inf for "soon"
        self._callback: Callable[..., object] | None = callback
        self._args = args
        self.timers = timers  # those whose heap it is in, and not called off; else None

    def cancel(self) -> None:
        """Call it off. Again, or after it ran, does nothing."""
        timers, self.timers = self.timers, None
        self._callback, self._args = None, ()  # lets go of what the call would have held alive
        if timers is not None:
            timers.count_cancelled()

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
        except Exception as exc:  # the program's own: the loop and its other calls go on
            report(logger, logging.ERROR, "a callback raised: %r", callback, exc=exc)
            return False
        return True


class Timers:
    """The deadlines of one reactor.

    `now` is the time of the current iteration, read once for all who need no better. Up to `asked_at` it is known what
    has come: the kernel was asked then, and all that it told of was dealt with. The last time that the loop was away
    from its wait for long, held up or stopped, was from `left_at` to `back_at`.
    """

    __slots__ = ("clock", "now", "asked_at", "left_at", "back_at", "errors", "_heap", "_due", "_sequence", "_cancelled")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.now = self.asked_at = self.left_at = self.back_at = clock()
        self.errors = 0  # calls that raised
        self._heap: list[tuple[float, int, Handle]] = []
        self._due: deque[tuple[float, int, Handle]] = deque()  # off the heap, and being called
        self._sequence = itertools.count()
        self._cancelled = 0  # entries of the heap that were called off

    def __len__(self) -> int:
        return max(0, len(self._heap) - self._cancelled)

    def call_at(self, when: float, callback: Callable[..., object], *args: object) -> Handle:
        """Promise `callback(*args)` for the time `when`, in seconds of the clock; never before it.

        A time that has passed means the next iteration, an infinite one means never. ValueError for NaN,
        which has no place in any order and would silently spoil that of the others (L4). TypeError for what is no
        number, or cannot be called; OverflowError for a number beyond any float.
        """
        if math.isnan(when):
            raise ValueError("a timer's time must be a number of seconds, not NaN")
        when = float(when)  # of a kind that compares with the others, whatever it was
        handle = Handle(callback, args, when, self)
        heapq.heappush(self._heap, (when, next(self._sequence), handle))
        return handle

    def note_absence(self, left_at: float, back_at: float) -> None:
        """The loop was to wait, or to go on, at `left_at`, and did so at `back_at`.

        It goes on with the absence before if nothing was judged in between: what has come was not looked for yet.
        """
        if left_at > self.back_at or self.asked_at >= self.back_at:
            self.left_at = left_at
        self.back_at = back_at

    def count_cancelled(self) -> None:
        """Told by a handle that its entry is dead; rebuild once the dead are the most."""
        self._cancelled += 1
        if self._cancelled > COMPACT_FROM and self._cancelled * 2 > len(self._heap):
            self._rebuild()

    def _rebuild(self) -> None:
        """Forget the dead entries. What is armed or called off meanwhile goes to a heap of its own."""
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
            else:  # a nearer one was armed in this moment
                heapq.heappush(self._heap, entry)
        return self._heap[0][0] if self._heap else math.inf

    def run_due(self) -> None:
        """Make the calls that are due at `asked_at`, and count in `errors` those that raise.

        What they arm meanwhile waits for the next iteration, whatever its time: a callback that re-arms
        itself for "now" would else starve the sockets, and one that does so for the past the other timers.
        """
        if self.next_when() > self.asked_at:
            return
        self._take_due()
        due = self._due
        try:
            while due:
                if not due.popleft()[2].run():
                    self.errors += 1  # at once: the next one may leave by SystemExit
        finally:  # SystemExit left a callback: the rest is still owed
            while due:
                entry = due.popleft()
                if not entry[2].cancelled():
                    entry[2].timers = self
                    heapq.heappush(self._heap, entry)

    def _take_due(self) -> None:
        while self._heap and self._heap[0][0] <= self.asked_at and self._heap[0][0] < math.inf:
            entry = heapq.heappop(self._heap)
            if entry[2].timers is None:  # called off, and counted as one of the heap
                self._cancelled -= 1
            else:
                entry[2].timers = None  # no longer in the heap: cancelling it must not be counted
                self._due.append(entry)

    def clear(self) -> None:
        """Forget all calls, those of a `run_due` that is under way among them: a fork's child makes none (L5)."""
        self._heap.clear()
        self._due.clear()
        self._cancelled = 0

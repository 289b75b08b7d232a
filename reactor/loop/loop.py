"""An event loop: one thread that waits for everyone, for descriptors and calls.

A blocking program waits in `recv` for one peer, and all others wait for it. The reactor pattern (D. C. Schmidt, 1995)
turns this round. Wait for all descriptors at once, in the one call that can (`select`); then call whoever has something
to do; and wait again. Nothing between two waits may block.

One iteration has four phases, and `_iterate` is the list of them:

    1. timers     what is due
    2. ready      what `call_soon` queued before this iteration, and what threads and signals asked for
    3. poll       wait for the kernel: not at all if anything is queued, else until the next timer
    4. dispatch   call the handler of each descriptor that is ready

Timers come before the poll, so that what they ask of the kernel is part of the same iteration. Each phase works off
what was there when it began, and leaves what it causes to the next iteration: a call that queues itself again for ever
shares the loop with the rest.

This loop has never heard of a connection. `connections.reactor` adds them, and two phases.

The cost of an iteration in which nothing happens: three readings of the clock and one system call.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import selectors
import time
from collections import deque
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from . import fork
from .counters import LAG_BUCKETS, LoopCounters
from .poller import EVENTS_PER_POLL, SelectorPoller, make_poller
from .reports import report
from .signals import Signals
from .states import CLOSED, CLOSING, IDLE, LAST, NEXT, RUNNING, RUNS, STOPPED, STOPPING, LoopState
from .timers import Handle, Timers
from .wakeup import Waker
from .watches import Call, Watches

logger = logging.getLogger("reactor.loop")

AWAY_SECONDS = 0.1  # a loop that is longer away from its wait was held up; a tick of the deadlines is as long
LONGEST_WAIT_SECONDS = 3600.0  # epoll takes milliseconds in an int; an hourly idle turn costs nothing
BLOCKED_SECONDS = 1.0  # an iteration that takes longer is logged, unless something else is asked for


class Loop:
    """An event loop. It belongs to the thread that runs it; many may exist, one to a thread.

    `selector` and `clock` (seconds, never going back) can be replaced for tests. An iteration that takes longer than
    `blocked_seconds` is logged. As a context manager the loop closes itself at the end.
    """

    def __init__(
        self,
        *,
        selector: selectors.BaseSelector | SelectorPoller | None = None,
        clock: Callable[[], float] = time.monotonic,
        counters: LoopCounters | None = None,
        blocked_seconds: float = BLOCKED_SECONDS,
    ) -> None:
        self.state = IDLE
        self.counters: LoopCounters = counters if counters is not None else LoopCounters()
        self.blocked_seconds = blocked_seconds
        self.timers = Timers(clock)
        self.poller = make_poller(selector or selectors.DefaultSelector())
        self._watches = Watches(self.poller, self.counters)
        self._ready: deque[Handle] = deque()  # what `call_soon` queued
        self._foreign: deque[Handle] = deque()  # the same, from other threads
        self._waker = Waker(self.poller)
        self._signals = Signals(self._waker)
        self._asked_at = self.timers.now  # when the kernel was asked for the batch of events at hand
        self._full_batches = 0  # of events, one behind the other: there may be more than the kernel has told of
        self._first_asked_at = 0.0  # when the first of them was asked for
        self.waiting = True  # in the poll, or not running: nobody is kept waiting. Read by the watchdog's thread
        self._pid = os.getpid()
        self._ends_in_child = False  # this is the copy in a fork's child, and `stop` or `close` was called before
        self.at_close: set[Callable[[], None]] = set()  # how the floors above give back what is theirs
        fork.watch(self)

    # The iteration.

    def _iterate(self, timeout: float = math.inf) -> None:
        self._run_timers()
        self._run_ready()
        events = self._poll(timeout)
        self._dispatch(events)

    def _run_timers(self) -> None:
        before = self.timers.errors
        try:
            self.timers.run_due()
        finally:  # SystemExit out of one call does not take the errors of others along
            self.counters.callback_errors += self.timers.errors - before

    def _run_ready(self) -> None:
        for call in self._signals.take():
            self.call_soon(call.callback, *call.args)
        for _ in range(len(self._foreign)):  # a snapshot: threads may add to it faster than it is emptied
            self._ready.append(self._foreign.popleft())
        for _ in range(len(self._ready)):  # a snapshot: a call that queues itself again must not starve the sockets
            self.counters.callback_errors += not self._ready.popleft().run()

    def _poll(self, timeout: float) -> list[tuple[int, int]]:
        timers = self.timers
        self._asked_at = asked_at = timers.clock()
        if not self.waiting:
            self._note_lag(asked_at - timers.now)
        if self._ready or self.state is not RUNNING or self._signals.interrupted or self._has_more_work():
            timeout = 0.0
        else:
            timeout = max(0.0, min(timeout, timers.next_when() - self._asked_at, LONGEST_WAIT_SECONDS))
        self.waiting = True
        events = self.poller.poll(timeout)
        if timeout and not events:
            # The time is up. Or the process was stopped meanwhile, and this answer is as old as the wait: Python then
            # returns from `select` without a second look (PEP 475). So look again, before any timer is judged (P2).
            self._asked_at = timers.clock()
            events = self.poller.poll(0.0)
        self.waiting = False
        timers.now = timers.clock()
        if timers.now - asked_at > timeout + AWAY_SECONDS:  # longer than was asked for: the process was stopped
            timers.note_absence(asked_at + timeout, timers.now)
        self.counters.iterations += 1
        return events

    def _has_more_work(self) -> bool:
        """Whether a floor above has something to do at once, so that the loop must not wait."""
        return False

    def _dispatch(self, events: list[tuple[int, int]]) -> None:
        self.poller.in_batch = True
        try:
            self._tell(events)
        finally:
            self.poller.end_batch()
        self._note_evidence(len(events))

    def _tell(self, events: list[tuple[int, int]]) -> None:
        for fd, happened in events:
            self.poller.tell(fd, happened)

    def _note_evidence(self, count: int) -> None:
        """All `count` events of the last batch were dealt with: up to when is it known what has come?

        A full batch may leave some descriptors untold. The kernel tells of each in turn (epoll(7)), so after as many
        batches as hold all descriptors, it has told of everything that was ready when the first of them was asked for.
        """
        if count < EVENTS_PER_POLL:
            self._full_batches = 0
            self.timers.asked_at = self._asked_at
            return
        if not self._full_batches:
            self._first_asked_at = self._asked_at
        self._full_batches += 1
        if self._full_batches > self._count_watched() // EVENTS_PER_POLL:
            self._full_batches = 0
            self.timers.asked_at = self._first_asked_at

    def _count_watched(self) -> int:
        return len(self.poller.handlers)

    def _note_lag(self, seconds: float) -> None:
        """Everyone who was ready has waited for this: how long the loop was away from the poll."""
        self.counters.lag[min(int(seconds * 1e6).bit_length(), LAG_BUCKETS - 1)] += 1
        if seconds > AWAY_SECONDS:
            self.timers.note_absence(self.timers.now, self._asked_at)
        if seconds > self.blocked_seconds:
            text = "an iteration took %.3f seconds, or the process was stopped: nobody else was served meanwhile"
            report(logger, logging.WARNING, text, seconds)
            self._asked_at = self.timers.clock()  # a log may take its time, and what is due is waited for from here

    def progress(self) -> tuple[int, ...]:
        """Numbers that change with every callback, for the watchdog: how far the loop has come. From any thread."""
        return (self.counters.iterations, len(self._ready), len(self.timers))

    # Running it.

    def run(self) -> None:
        """Iterate until `stop`. Can be run again afterwards.

        KeyboardInterrupt is raised between two iterations rather than in the middle of one, so that it too leaves
        everything consistent; a second Ctrl-C raises at once, in case a callback never returns. An exception
        that is no `Exception` (SystemExit) leaves `run` from whichever callback raised it. RuntimeError if
        the loop is running already, or closed.
        """
        self._begin()
        signals = self._signals
        try:
            with signals.running():
                self._iterate(math.inf)  # at least once, also when it was told to stop before
                while self.state is RUNNING and not signals.interrupted:
                    self._iterate(math.inf)
            if not self._ends_in_child:
                self._check_same_process()
        except Exception:
            self._check_same_process()
            raise
        finally:
            self.waiting = True
            self._end(IDLE)

    def run_once(self, timeout: float = math.inf) -> None:
        """One iteration; waits at most `timeout` seconds, and less if there is something to do.

        RuntimeError if the loop is running already (this is called in one of its callbacks), or closed. ValueError for
        NaN.
        """
        if math.isnan(timeout):
            raise ValueError("the longest wait must be a number of seconds, not NaN")
        self._begin()
        try:
            self._iterate(timeout)
        except Exception:
            self._check_same_process()
            raise
        finally:
            self._end(STOPPED if self.state is STOPPING else IDLE)

    def _check_same_process(self) -> None:
        """RuntimeError if a callback forked, and this is the child: its loop has nothing left to work with (L5)."""
        if self.state is CLOSED:
            self.check_open()

    def _begin(self) -> None:
        self.check_idle()
        self._move(STOPPING if self.state is STOPPED else RUNNING)

    def _end(self, state: LoopState) -> None:
        if self.state is CLOSING:
            self._give_back_all()
        elif self.state is not CLOSED:  # by a fork, in the child
            self._move(state)

    def _move(self, state: LoopState) -> None:
        assert state in NEXT[self.state], f"no step from {self.state.name} to {state.name}"
        self.state = state

    def check_idle(self) -> None:
        """RuntimeError if the loop cannot be run: it is running already, or closed."""
        self.check_open()
        if self.state in RUNS:
            raise RuntimeError("this loop is already running")

    def check_open(self) -> None:
        """RuntimeError if the loop is closed, or of another process: what is asked of it would never happen."""
        if self.state is CLOSED:
            where = "closed" if self._pid == os.getpid() else f"of process {self._pid}: make one after the fork"
            raise RuntimeError(f"this loop is {where}")

    def stop(self) -> None:
        """Have `run` return at the end of this iteration, or of its first one if it is not running."""
        if self.state is RUNNING:
            self._move(STOPPING)
        elif self.state is IDLE:
            self._move(STOPPED)

    # What programs ask of it.

    def time(self) -> float:
        """The clock's time in seconds, the one that `call_at` means."""
        return self.timers.clock()

    def call_soon(self, callback: Callable[..., object], *args: object) -> Handle:
        """Call `callback(*args)` in the next iteration, in the order of these calls.

        RuntimeError when the loop is closed: the call would never be made.
        """
        self.check_open()
        handle = Handle(callback, args, -math.inf, None)
        self._ready.append(handle)
        return handle

    def call_later(self, seconds: float, callback: Callable[..., object], *args: object) -> Handle:
        """Call `callback(*args)` when `seconds` have passed, never earlier. ValueError for NaN.

        RuntimeError when the loop is closed.
        """
        return self.call_at(self.timers.clock() + seconds, callback, *args)

    def call_at(self, when: float, callback: Callable[..., object], *args: object) -> Handle:
        """Call `callback(*args)` at `when`, in seconds of `time()`, never earlier. ValueError for NaN.

        RuntimeError when the loop is closed.
        """
        self.check_open()
        return self.timers.call_at(when, callback, *args)

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: object) -> Handle:
        """`call_soon`, from any thread: the only method that other threads may call.

        RuntimeError when the loop is closed: the call would never be made.
        """
        self.check_open()
        handle = Handle(callback, args, -math.inf, None)
        self._foreign.append(handle)
        self._waker.wake()
        return handle

    def add_reader(self, fd: Any, callback: Callable[..., object], *args: object) -> None:
        """Call `callback(*args)` in each iteration in which `fd` can be read without waiting.

        `fd` is a descriptor, or has a method `fileno`. The caller owns it, and calls `remove_reader` before it is
        closed. An end of file and an error count as something to read. Readiness is level-triggered: a callback that
        leaves input unread is called again. A second `add_reader` replaces the first. An exception out of the callback
        is logged, and the descriptor is watched on.

        OSError when the kernel cannot watch it (epoll refuses regular files), or when this loop has another use for it.
        TypeError when `callback` cannot be called. RuntimeError when the loop is closed.
        """
        self.check_open()
        self._watches.set(fd, "reader", Call(callback, args))

    def add_writer(self, fd: Any, callback: Callable[..., object], *args: object) -> None:
        """Call `callback(*args)` in each iteration in which `fd` can be written without waiting.

        As `add_reader`. Mostly there is room: a writer that has nothing to write must be removed, or the loop turns
        without a pause. A `connect` that is done, well or badly, counts as room (connect(2), EINPROGRESS).
        """
        self.check_open()
        self._watches.set(fd, "writer", Call(callback, args))

    def remove_reader(self, fd: Any) -> bool:
        """Do not watch `fd` for input any more; False if it was not."""
        return self._watches.set(fd, "reader", None)

    def remove_writer(self, fd: Any) -> bool:
        """Do not watch `fd` for room any more; False if it was not."""
        return self._watches.set(fd, "writer", None)

    def add_signal_handler(
        self,
        number: int,
        callback: Callable[..., object],
        *args: object,
        at_once: Callable[[int, FrameType | None], object] | None = None,
    ) -> None:
        """Have the loop call `callback(*args)` whenever signal `number` has arrived.

        Of several loops that handle one signal, the latest gets it. `at_once(number, frame)` is called as well, inside
        the signal handler (see `signal.signal`): it may interrupt any code, and must touch nothing of the loop.

        ValueError off the main thread, where Python allows no signal handlers (signal.signal). RuntimeError when
        the loop is closed. TypeError when one of the two cannot be called, or the number is none.
        """
        self.check_open()
        for call in (callback, callback if at_once is None else at_once):
            if not callable(call):
                raise TypeError(f"a callback must be callable, not of type {type(call).__name__}")
        if not isinstance(number, int):
            raise TypeError(f"a signal is a whole number, not {number!r}")
        self._signals.add(number, callback, *args, at_once=at_once)

    def handles_signal(self, number: int) -> bool:
        """Whether `add_signal_handler` was called for it here, and it was not removed since."""
        return self._signals.handles(number)

    def untaken_wake_ups(self) -> bytes:
        """What lies in the loop's pipe: a byte for each wake-up, a signal's number or 0. From any thread.

        The loop empties it whenever it comes to its wait. So what stays there tells that it does not come.
        """
        return self._waker.peek()

    def remove_signal_handler(self, number: int) -> bool:
        """Give the signal back to who had it before; False if it was not handled here."""
        return self._signals.remove(number)

    # Ending it.

    def close(self) -> None:
        """Give back all descriptors and signals.

        Inside a callback it stops the loop, and closes when the iteration is done. Again does nothing.
        """
        if self.state in RUNS:
            if self.state is not CLOSING:
                self._move(CLOSING)
        elif self.state is not CLOSED:
            self._give_back_all()

    def _give_back_all(self) -> None:
        self._move(CLOSED)
        with contextlib.ExitStack() as stack:  # done from the last to the first, each whatever becomes of the others
            stack.callback(self.poller.close)
            stack.callback(self._waker.close)
            stack.callback(self._signals.close)
            self._give_back(stack)
            while self.at_close:
                stack.callback(self.at_close.pop())

    def _give_back(self, stack: contextlib.ExitStack) -> None:
        """Add to `stack` what is to be given back before the loop's own descriptors."""
        self._watches.clear()

    def abandon(self) -> None:
        """In a child made by fork: give up the copies of the parent's descriptors, and refuse all use (L5)."""
        self._ends_in_child = self.state in LAST
        self.state = CLOSED
        self._signals.close()
        for _, source in self.poller.handlers.values():
            if hasattr(source, "socket"):  # of ours, and of the floors above; what a program watches is its own
                source.socket.close()
        self.timers.clear()
        self._ready.clear()
        self._foreign.clear()
        self._watches.clear()
        self.at_close.clear()
        self._waker.abandon()
        self.poller.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

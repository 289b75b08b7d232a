"""An event loop: one thread waits for all descriptors, and makes calls.

A blocking program waits in `recv` for one peer, and all other peers wait for the program. The reactor pattern (D. C.
Schmidt, 1995) reverses this. The loop waits for all descriptors at once, in the one system call that can (`select`).
Then it calls the handler of each descriptor that is ready, and waits again. Nothing between two waits may block.

One iteration has four phases, and `_iterate` is the list of them:

    1. timers     make the calls that are due
    2. ready      make the calls that `call_soon`, other threads and signals have queued
    3. poll       ask the kernel; wait until the next timer, or not at all if anything is queued
    4. dispatch   call the handler of each descriptor that is ready

Timers come before the poll, so that the poll already includes what they want to watch. Each phase handles only what
was there when it began. So a call that always queues itself again leaves time for the others.

This loop knows nothing of connections. `connections.reactor` adds them, and two phases.

The cost of an iteration whose wait ends without an event: three readings of the clock and two system calls.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from types import FrameType, TracebackType
from typing import Any, Self

from . import fork
from .counters import LAG_BUCKETS, LoopCounters
from .poller import EVENTS_PER_POLL, SelectorPoller, make_poller
from .repeats import Repeat
from .reports import report
from .signals import Signals
from .states import CLOSED, CLOSING, IDLE, LAST, NEXT, RUNNING, RUNS, STOPPED, STOPPING, LoopState
from .threads import MAX_THREAD_QUEUE, MAX_THREADS, Threads
from .timers import Handle, Timers
from .wakeup import Waker
from .watches import Call, Watches

logger = logging.getLogger("reactor.loop")

AWAY_SECONDS = 0.1  # longer than this between two waits, and the loop was held up; as long as a tick
LONGEST_WAIT_SECONDS = 3600.0  # epoll takes an int of milliseconds, which overflows; a turn an hour costs nothing
BLOCKED_SECONDS = 1.0  # by default, an iteration that takes longer is logged


class Loop:
    """An event loop. It belongs to the thread that runs it. A process may have many loops, one to a thread.

    On another thread, `call_soon_threadsafe` alone may be called: the other methods raise RuntimeError there. What asks
    for a call raises it when the loop is closed.

    Tests can replace `selector` and `clock` (seconds; it never goes back). An iteration that takes longer than
    `blocked_seconds` is logged. `max_threads` threads make the calls of `run_in_thread`, and `max_thread_queue` more
    calls may wait. As a context manager, the loop closes itself at the end of the block.
    """

    def __init__(
        self,
        *,
        selector: selectors.BaseSelector | SelectorPoller | None = None,
        clock: Callable[[], float] = time.monotonic,
        counters: LoopCounters | None = None,
        blocked_seconds: float = BLOCKED_SECONDS,
        max_threads: int = MAX_THREADS,
        max_thread_queue: int = MAX_THREAD_QUEUE,
    ) -> None:
        self.state = IDLE
        self.counters: LoopCounters = counters if counters is not None else LoopCounters()
        self.blocked_seconds = blocked_seconds
        self.timers = Timers(clock)
        self.threads = Threads(self._deliver, self.counters, max_threads, max_thread_queue)
        self.poller = make_poller(selector or selectors.DefaultSelector())
        self._watches = Watches(self.poller, self.counters)
        self._ready: deque[Handle] = deque()  # the calls that `call_soon` queued
        self._foreign: deque[Handle] = deque()  # the calls that other threads queued
        self._waker = Waker(self.poller)
        self._signals = Signals(self._waker)
        self._asked_at = self.timers.now  # when the kernel was asked for the current batch of events
        self._full_batches = 0  # how many in a row: after a full batch, more events may wait in the kernel
        self._first_asked_at = 0.0  # when the kernel was asked for the first of them
        self.waiting = True  # in the poll, or not running: nothing blocks the loop. The watchdog's thread reads it
        self._pid = os.getpid()
        self.thread_id: int | None = None  # the number of the thread that runs it; None while none does
        self._ends_in_child = False  # in a fork's child: `stop` or `close` was called before the fork
        self.at_close: set[Callable[[], None]] = set()  # calls by which higher floors give back what they hold
        self.extensions: dict[type, Any] = {}  # what higher floors keep for this loop: one object of each class
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
        finally:  # also if a call raises SystemExit: the errors before it are counted
            self.counters.callback_errors += self.timers.errors - before

    def _run_ready(self) -> None:
        for call in self._signals.take():
            self.call_soon(call.callback, *call.args)
        for _ in range(len(self._foreign)):  # a snapshot: threads may add calls faster than we take them
            self._ready.append(self._foreign.popleft())
        for _ in range(len(self._ready)):  # a snapshot: a call that queues itself again must not starve the sockets
            if not self._ready.popleft().run():  # no `+= not ...`: it reads the count before the call
                self.counters.callback_errors += 1

    def _poll(self, timeout: float) -> list[tuple[int, int]]:
        timers = self.timers
        self._asked_at = poll_began = timers.clock()
        if not self.waiting:
            self._note_lag(poll_began - timers.now)
        if self._ready or self.state is not RUNNING or self._signals.interrupted or self._has_more_work():
            timeout = 0.0
        else:
            timeout = max(0.0, min(timeout, timers.next_when() - self._asked_at, LONGEST_WAIT_SECONDS))
        self.waiting = True
        events = self.poller.poll(timeout)
        if timeout and not events:
            # The time is up, or the process was stopped during the wait. Then Python returns from `select` without
            # asking the kernel again (PEP 475), and its answer is old. So ask before any timer is judged (P2).
            self._asked_at = timers.clock()
            events = self.poller.poll(0.0)
        self.waiting = False
        timers.now = timers.clock()
        if timers.now - poll_began > timeout + AWAY_SECONDS:  # a longer wait than asked for: the process was stopped
            timers.note_absence(poll_began + timeout, timers.now)
        self.counters.iterations += 1
        return events

    def _has_more_work(self) -> bool:
        """Whether a higher floor has work to do at once, so that the loop must not wait."""
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
        """Set `timers.asked_at`: all events from before that time were dispatched. The last batch had `count` events.

        One answer of the kernel holds at most EVENTS_PER_POLL events. A full answer may leave some ready descriptors
        out; the kernel reports them in turn (epoll(7)). After so many full answers that each descriptor had its turn,
        every event from before the first question was dispatched.
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
        """Count how long the loop was away from the poll: all that was ready has waited so long."""
        self.counters.lag[min(int(seconds * 1e6).bit_length(), LAG_BUCKETS - 1)] += 1
        if seconds > AWAY_SECONDS:
            self.timers.note_absence(self.timers.now, self._asked_at)
        if seconds > self.blocked_seconds:
            text = "an iteration took %.3f seconds, or the process was stopped: nothing else was done meanwhile"
            report(logger, logging.WARNING, text, seconds)
            self._asked_at = self.timers.clock()  # logging may have taken long: the wait for the next timer begins here

    def progress(self) -> tuple[int, ...]:
        """Numbers that change with every callback, for the watchdog. From any thread."""
        return (self.counters.iterations, self.timers.due, len(self._ready), self.poller.calls)

    # Running it.

    def run(self) -> None:
        """Iterate until `stop`. Can be run again afterwards.

        Ctrl-C raises KeyboardInterrupt between two iterations, not in the middle of one, and so leaves everything
        consistent. A second Ctrl-C raises at once, in case a callback never returns. An exception that is no
        `Exception` (SystemExit) leaves `run` directly from the callback that raises it. RuntimeError if the loop is
        running already, or closed.
        """
        self._begin()
        signals = self._signals
        try:
            with signals.running():
                self._iterate(math.inf)  # at least once, also if `stop` was called before
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
        """Make one iteration. It waits at most `timeout` seconds, and less if there is something to do.

        RuntimeError if the loop is running already (a callback calls this), or closed. ValueError for NaN.
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
        """RuntimeError if a callback forked, and this is the child: its loop has given up everything (L5)."""
        if self.state is CLOSED:
            self.check_open()

    def _begin(self) -> None:
        self.check_idle()
        self._move(STOPPING if self.state is STOPPED else RUNNING)
        self.thread_id = threading.get_ident()

    def _end(self, state: LoopState) -> None:
        self.thread_id = None
        if self.state is CLOSING:
            self._give_back_all()
        elif self.state is not CLOSED:  # a fork closed it, in the child
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
        """RuntimeError if the loop is closed, or belongs to another process: it would never do what is asked."""
        if self.state is CLOSED:
            where = "closed" if self._pid == os.getpid() else f"of process {self._pid}: make one after the fork"
            raise RuntimeError(f"this loop is {where}")

    def check_thread(self) -> None:
        """RuntimeError if another thread runs the loop: what is changed here meanwhile could be lost or half done."""
        if self.thread_id is not None and self.thread_id != threading.get_ident():
            raise RuntimeError("another thread runs this loop: use reactor.call_soon_threadsafe(method, ...)")

    def check_caller(self) -> None:
        """RuntimeError if the loop is closed, or another thread runs it."""
        self.check_open()
        self.check_thread()

    def stop(self) -> None:
        """Make `run` return at the end of this iteration. If the loop does not run, the next `run` makes only one."""
        self.check_thread()
        if self.state is RUNNING:
            self._move(STOPPING)
        elif self.state is IDLE:
            self._move(STOPPED)

    # What programs ask of it.

    def time(self) -> float:
        """The time of the loop's clock in seconds, as `call_at` takes it."""
        return self.timers.clock()

    def call_soon(self, callback: Callable[..., object], *args: object) -> Handle:
        """Call `callback(*args)` in the next "ready" phase, in the order of these calls.

        RuntimeError when the loop is closed: the call would never be made.
        """
        self.check_caller()
        handle = Handle(callback, args, -math.inf, None)
        self._ready.append(handle)
        return handle

    def call_later(self, seconds: float, callback: Callable[..., object], *args: object) -> Handle:
        """Call `callback(*args)` when `seconds` have passed, never earlier. ValueError for NaN."""
        return self.call_at(self.timers.clock() + seconds, callback, *args)

    def call_at(self, when: float, callback: Callable[..., object], *args: object) -> Handle:
        """Call `callback(*args)` at `when`, in seconds of `time()`, never earlier. ValueError for NaN."""
        self.check_caller()
        return self.timers.call_at(when, callback, *args)

    def call_every(self, seconds: float, callback: Callable[..., object], *args: object) -> Handle:
        """Call `callback(*args)` every `seconds` until the handle is cancelled: first after `seconds`, without drift.

        The n-th call is due n times `seconds` after now, and never comes earlier. What is missed is skipped: if the
        loop is held up, or the callback itself takes too long, the next call is due at the first multiple after that.
        If the callback raises, that is logged, and the calls go on.

        ValueError if `seconds` is not a finite number above 0. TypeError when `callback` cannot be called.
        """
        self.check_caller()
        return Repeat(self.timers, seconds, callback, args)

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: object) -> Handle:
        """`call_soon` from any thread. Other threads may change the loop only by this method.

        RuntimeError when the loop is closed: the call would never be made.
        """
        self.check_open()
        handle = Handle(callback, args, -math.inf, None)
        self._deliver(handle)
        return handle

    def _deliver(self, handle: Handle) -> None:
        """Run `handle` in the next "ready" phase. From any thread. Does nothing when the loop is closed."""
        if self.state is not CLOSED:
            self._foreign.append(handle)
            self._waker.wake()

    def run_in_thread(
        self, function: Callable[..., object], *args: object, then: Callable[[Future[Any]], object] | None = None
    ) -> Handle:
        """Call `function(*args)` on a thread, because it blocks. Then call `then(future)` in the loop.

        `future` is finished: `future.result()` returns what the function returned, or raises what it raised, also
        SystemExit (see `concurrent.futures.Future`). Without `then`, what it raises is logged.

        `cancel()` of the handle takes the call back: `then` is not called. A function that runs already goes on, but
        its outcome is dropped. The same happens to all calls when the loop closes: it waits for no thread.

        queue.Full when more calls wait than the limits allow. RuntimeError when the loop is closed, or the system gives
        no thread. TypeError when `function` or `then` cannot be called.
        """
        self.check_caller()
        return self.threads.call(function, args, then)

    def add_reader(self, fd: Any, callback: Callable[..., object], *args: object) -> None:
        """Call `callback(*args)` in each iteration in which `fd` can be read without waiting.

        `fd` is a descriptor, or has a method `fileno`. The caller owns it, and must call `remove_reader` before closing
        it. An end of file and an error count as input. Readiness is level-triggered: a callback that leaves input
        unread is called again. A second `add_reader` replaces the first. If the callback raises, that is logged, and
        the loop goes on watching.

        OSError when the kernel cannot watch `fd` (epoll refuses regular files), or when this loop already uses it for
        something else. TypeError when `callback` cannot be called. RuntimeError when the loop is closed.
        """
        self.check_caller()
        self._watches.set(fd, "reader", Call(callback, args))

    def add_writer(self, fd: Any, callback: Callable[..., object], *args: object) -> None:
        """Call `callback(*args)` in each iteration in which `fd` can be written without waiting.

        The rest is as with `add_reader`. The kernel nearly always has room. So remove a writer that has nothing to
        write, or the loop never waits. A `connect` that succeeded or failed counts as room (connect(2), EINPROGRESS).
        """
        self.check_caller()
        self._watches.set(fd, "writer", Call(callback, args))

    def remove_reader(self, fd: Any) -> bool:
        """Stop watching `fd` for input. False if it was not watched for input."""
        self.check_thread()
        return self._watches.set(fd, "reader", None)

    def remove_writer(self, fd: Any) -> bool:
        """Stop watching `fd` for room. False if it was not watched for room."""
        self.check_thread()
        return self._watches.set(fd, "writer", None)

    def add_signal_handler(
        self,
        number: int,
        callback: Callable[..., object],
        *args: object,
        at_once: Callable[[int, FrameType | None], object] | None = None,
    ) -> None:
        """Make the loop call `callback(*args)` whenever signal `number` has arrived.

        If several loops handle one signal, the latest gets it. `at_once(number, frame)` is called too, inside the
        signal handler (see `signal.signal`). It may interrupt any code, and must not touch the loop.

        ValueError off the main thread, where Python allows no signal handlers (signal.signal). RuntimeError when
        the loop is closed. TypeError when a callback cannot be called, or `number` is not a whole number.
        """
        self.check_open()
        for call in (callback, callback if at_once is None else at_once):
            if not callable(call):
                raise TypeError(f"a callback must be callable, not of type {type(call).__name__}")
        if not isinstance(number, int):
            raise TypeError(f"a signal is a whole number, not {number!r}")
        self._signals.add(number, callback, *args, at_once=at_once)

    def handles_signal(self, number: int) -> bool:
        """Whether this loop handles signal `number`, by `add_signal_handler`."""
        return self._signals.handles(number)

    def untaken_wake_ups(self) -> bytes:
        """The bytes in the loop's pipe. Each is a wake-up: a signal's number, or 0. From any thread.

        The loop empties the pipe after each wait. If bytes stay there, the loop does not come to its wait.
        """
        return self._waker.peek()

    def remove_signal_handler(self, number: int) -> bool:
        """Give the signal back to its previous handler. False if this loop did not handle it."""
        return self._signals.remove(number)

    # Ending it.

    def close(self) -> None:
        """Give back all descriptors and signals.

        Inside a callback, it stops the loop, which closes at the end of the iteration. A second call does nothing.
        """
        self.check_thread()
        if self.state in RUNS:
            if self.state is not CLOSING:
                self._move(CLOSING)
        elif self.state is not CLOSED:
            self._give_back_all()

    def _give_back_all(self) -> None:
        self._move(CLOSED)
        with contextlib.ExitStack() as stack:  # from the last to the first; if one raises, the others still run
            stack.callback(self.poller.close)
            stack.callback(self._waker.close)
            stack.callback(self.threads.close)
            stack.callback(self._signals.close)
            self._give_back(stack)
            while self.at_close:
                stack.callback(self.at_close.pop())

    def _give_back(self, stack: contextlib.ExitStack) -> None:
        """Add to `stack` the calls that must be made before the loop's own descriptors are closed."""
        self._watches.clear()

    def abandon(self) -> None:
        """In a child made by fork: close the copies of the parent's descriptors, and refuse all use (L5)."""
        self._ends_in_child = self.state in LAST
        self.state = CLOSED
        self._signals.close()
        for _, source in self.poller.handlers.values():
            if hasattr(source, "socket"):  # a socket of ours or of a higher floor; those of the program stay open
                source.socket.close()
        self.timers.clear()
        self.threads.abandon()
        for kept in (self._ready, self._foreign, self._watches, self.at_close, self.extensions):
            kept.clear()
        self._waker.abandon()
        self.poller.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

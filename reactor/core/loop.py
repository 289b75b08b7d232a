"""The reactor: one thread that waits for everyone.

A blocking server waits in `recv` for one client, and all others wait for it. The reactor pattern (D. C. Schmidt,
1995) turns this round: wait for all descriptors at once, in the one call that can (`select`), then call
whoever has something to do, and wait again. Nothing between two waits may block.

One iteration is six phases, and `run_once` is the list of them:

    1. timers     what is due
    2. ready      what `call_soon` queued before this iteration, and what threads and signals asked for
    3. poll       wait for the kernel: not at all if anything is queued, else until the next deadline
    4. dispatch   each ready descriptor: accept, or receive, tell the protocol, and send what it wrote
    5. flush      send what callbacks wrote to connections other than their own
    6. reap       close what has ended

The order is a choice. Timers come before the poll, so that what they write leaves in the same iteration; closing
comes last, when nobody can be in the middle of anything. Each phase works off what was there when it began
and leaves what it causes to the next iteration: whoever re-queues itself for ever shares the loop with the rest.

Three things are injected so that the loop can run without a network and without waiting: the selector, the
clock and the socket factory.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from types import FrameType, TracebackType

from . import fork
from .acceptor import Acceptor
from .counters import LAG_BUCKETS, Counters
from .dispatcher import Dispatcher
from .limits import Limits
from .listener import Listener
from .poller import EVENTS_PER_POLL, SelectorPoller, make_poller
from .protocol import Protocol
from .reports import report
from .signals import Signals
from .states import CloseReason
from .timers import Handle, Timers
from .wakeup import Waker

logger = logging.getLogger("reactor.core")

AWAY_SECONDS = 0.1  # a loop that is longer away from its wait was held up; a tick of the deadlines is as long
LONGEST_WAIT_SECONDS = 3600.0  # epoll takes milliseconds in an int; an hourly idle turn costs nothing


class Reactor:
    """An event loop. It belongs to the thread that runs it; many may exist, one to a thread.

    `selector`, `clock` (seconds, never going back) and `socket_factory` (called like `socket.socket`) can be
    replaced for tests. As a context manager it closes itself at the end.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        selector: selectors.BaseSelector | SelectorPoller | None = None,
        clock: Callable[[], float] = time.monotonic,
        socket_factory: Callable[..., socket.socket] = socket.socket,
    ) -> None:
        self.limits = limits or Limits()
        self.socket_factory = socket_factory
        self.counters = Counters()
        self.timers = Timers(clock)
        self.poller = make_poller(selector or selectors.DefaultSelector())
        self.dispatcher = Dispatcher(self)
        self.acceptor = Acceptor(self.dispatcher)
        self._ready: deque[Handle] = deque()  # what `call_soon` queued
        self._foreign: deque[Handle] = deque()  # the same, from other threads
        self._waker = Waker(self.poller)
        self._signals = Signals(self._waker)
        self._asked_at = self.timers.now  # when the kernel was asked for the batch of events at hand
        self._full_batches = 0  # of events, one behind the other: there may be more than the kernel has told of
        self._first_asked_at = 0.0  # when the first of them was asked for
        self.waiting = True  # in the poll, or not running: nobody is kept waiting
        self._running = False
        self._iterating = False
        self._stopping = False
        self._closing = False
        self._closed = False
        self._pid = os.getpid()
        self.at_close: set[Callable[[], None]] = set()  # how the floors above give back what is theirs
        fork.watch(self)

    # The iteration.

    def run_once(self, timeout: float = math.inf) -> None:
        """One iteration; waits at most `timeout` seconds, and less if there is something to do.

        RuntimeError in one of its own callbacks, and when the reactor is closed. ValueError for NaN.
        """
        if self._iterating or self._closed:
            self._refuse_to_run()
        if math.isnan(timeout):
            raise ValueError("the longest wait must be a number of seconds, not NaN")
        self._iterating = True
        try:
            self._run_timers()
            self._run_ready()
            events = self._poll(timeout)
            self._dispatch(events)
            self.dispatcher.flush()
            if self.dispatcher.reap():
                self.acceptor.wake_resting()  # a descriptor has come free, and a place (A1, A5)
        except Exception:
            self.check_open()  # a callback forked, and we are the child, whose loop has nothing left to work with (L5)
            raise
        finally:
            self._iterating = False
            if self._closing and not self._running:
                self.close()

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
        for _ in range(len(self._ready)):  # a snapshot: who re-queues itself must not starve the sockets
            self.counters.callback_errors += not self._ready.popleft().run()

    def _poll(self, timeout: float) -> list[tuple[int, int]]:
        timers, dispatcher = self.timers, self.dispatcher
        self._asked_at = asked_at = timers.clock()
        if not self.waiting:
            self._note_lag(asked_at - timers.now)
        if self._ready or dispatcher.attention or dispatcher.doomed or self._stopping or self._signals.interrupted:
            timeout = 0.0
        elif self.counters.buffered_bytes > self.limits.memory_bytes:
            timeout = 0.0  # SystemExit left an iteration before that was seen to
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
        if self._full_batches > (self.counters.open + len(self.poller.handlers)) // EVENTS_PER_POLL:
            self._full_batches = 0
            self.timers.asked_at = self._first_asked_at

    def _note_lag(self, seconds: float) -> None:
        """Everyone who was ready has waited for this: how long the loop was away from the poll."""
        self.counters.lag[min(int(seconds * 1e6).bit_length(), LAG_BUCKETS - 1)] += 1
        if seconds > AWAY_SECONDS:
            self.timers.note_absence(self.timers.now, self._asked_at)
        if seconds > self.limits.blocked_seconds:
            text = "an iteration took %.3f seconds, or the process was stopped: nobody else was served meanwhile"
            report(logger, logging.WARNING, text, seconds)
            self._asked_at = self.timers.clock()  # a log may take its time, and what is due is waited for from here

    def progress(self) -> tuple[int, ...]:
        """Numbers that change with every callback, for the watchdog: how far the loop has come. From any thread."""
        dispatcher, counters = self.dispatcher, self.counters
        return (
            counters.iterations,
            counters.accepted,
            len(dispatcher.received),
            len(dispatcher.attention),
            len(dispatcher.doomed),
            len(self._ready),
            len(self.timers),
        )

    def _dispatch(self, events: list[tuple[int, int]]) -> None:
        self.poller.in_batch = True
        self.acceptor.ready = len(events)
        try:
            self.dispatcher.dispatch(events)
        finally:
            self.poller.end_batch()
        self._note_evidence(len(events))

    # Running it.

    def run(self) -> None:
        """Iterate until `stop`. Can be run again afterwards.

        KeyboardInterrupt is raised between two phases rather than in the middle of one, so that it too leaves
        everything consistent; a second Ctrl-C raises at once, in case a callback never returns. An exception
        that is no `Exception` (SystemExit) leaves `run` from whichever callback raised it. RuntimeError if
        the reactor is running already, or closed.
        """
        self.check_idle()
        self._running = True
        try:
            with self._signals.running():
                while True:
                    self.run_once()
                    if self._stopping or self._signals.interrupted:
                        break
        finally:
            self._running = self._stopping = False
            self.waiting = True
            if self._closing:
                self.close()

    def check_idle(self) -> None:
        """RuntimeError if the reactor cannot be run: it is running already, or closed."""
        if self._running or self._iterating or self._closed:
            self._refuse_to_run()

    def _refuse_to_run(self) -> None:
        self.check_open()
        raise RuntimeError("this reactor is already running")

    def stop(self) -> None:
        """Have `run` return at the end of this iteration, or of its first one if it is not running."""
        self._stopping = True

    # What programs ask of it.

    def time(self) -> float:
        """The clock's time in seconds, the one that `call_at` means."""
        return self.timers.clock()

    def call_soon(self, callback: Callable[..., object], *args: object) -> Handle:
        """Call `callback(*args)` in the next iteration, in the order of these calls.

        RuntimeError when the reactor is closed: the call would never be made.
        """
        self.check_open()
        handle = Handle(callback, args, -math.inf, None)
        self._ready.append(handle)
        return handle

    def call_later(self, seconds: float, callback: Callable[..., object], *args: object) -> Handle:
        """Call `callback(*args)` when `seconds` have passed, never earlier. ValueError for NaN.

        RuntimeError when the reactor is closed.
        """
        return self.call_at(self.timers.clock() + seconds, callback, *args)

    def call_at(self, when: float, callback: Callable[..., object], *args: object) -> Handle:
        """Call `callback(*args)` at `when`, in seconds of `time()`, never earlier. ValueError for NaN.

        RuntimeError when the reactor is closed.
        """
        self.check_open()
        return self.timers.call_at(when, callback, *args)

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: object) -> Handle:
        """`call_soon`, from any thread: the only method that other threads may call.

        RuntimeError when the reactor is closed: the call would never be made.
        """
        self.check_open()
        handle = Handle(callback, args, -math.inf, None)
        self._foreign.append(handle)
        self._waker.wake()
        return handle

    def check_open(self) -> None:
        """RuntimeError if the reactor is closed, or of another process: what is asked of it would never happen."""
        if self._closed:
            where = "closed" if self._pid == os.getpid() else f"of process {self._pid}: make one after the fork"
            raise RuntimeError(f"this reactor is {where}")

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
        the reactor is closed. TypeError when one of the two cannot be called, or the number is none.
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

    def listen(
        self, sock: socket.socket, factory: Callable[[], Protocol], limits: Limits | None = None
    ) -> Listener:
        """Serve the connections that come to the bound stream socket `sock`, one protocol from `factory` each.

        The reactor owns the socket from here on. `limits` are those of the reactor unless given. RuntimeError when
        the reactor is closed, TypeError for a factory that cannot be called, OSError when the socket cannot be listened
        on or watched: the socket is then still the caller's.
        """
        self.check_open()
        if not callable(factory):
            raise TypeError(f"the factory of protocols must be callable, not of type {type(factory).__name__}")
        return self.acceptor.listen(sock, factory, limits or self.limits)

    def close(self) -> None:
        """End every connection (reason `shutdown`), tell their protocols, and give back all descriptors.

        Inside a callback it stops the loop, and closes when the iteration is done. Again does nothing.
        """
        if self._running or self._iterating:
            self._closing = True
            self.stop()
            return
        if self._closed:
            return
        self._closed = True
        with contextlib.ExitStack() as stack:  # done from the last to the first, each whatever becomes of the others
            stack.callback(self.poller.close)
            stack.callback(self._waker.close)
            stack.callback(self._signals.close)
            stack.callback(self._end_connections)
            for listener in self.acceptor.listeners():
                stack.callback(self.acceptor.stop_listening, listener)
            while self.at_close:
                stack.callback(self.at_close.pop())

    def _end_connections(self) -> None:
        leaving: BaseException | None = None
        while (connections := self.dispatcher.connections()) or self.dispatcher.doomed:
            for connection in connections:
                connection.end(CloseReason.SHUTDOWN, None)
                self.dispatcher.settle(connection)
            try:
                self.dispatcher.reap()  # here `connection_lost` may open new ones
            except BaseException as exc:  # SystemExit goes on when all have been told
                leaving = exc
        if leaving is not None:
            raise leaving

    def abandon(self) -> None:
        """In a child made by fork: give up the copies of the parent's descriptors, and refuse all use (L5)."""
        self._closed = True
        self._signals.close()
        sources = [source for _, source in self.poller.handlers.values()]
        for connection in self.dispatcher.connections():
            connection.fd = -1  # not registered any more, so whatever touches it leaves the poller alone
            sources.append(connection)
        for source in (*sources, *self.dispatcher.doomed):
            source.socket.close()
        self.dispatcher.table.clear()
        self.timers.clear()
        self._ready.clear()
        self._foreign.clear()
        self.at_close.clear()
        self.dispatcher.attention.clear()
        self.dispatcher.doomed.clear()
        self._waker.abandon()
        self.poller.close()

    def __enter__(self) -> Reactor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

"""Calls that may block, on threads beside the loop.

The loop must not wait for a disk, a database or a long computation, and Python can often only block there. So such a
call is made on a thread, and its outcome comes back into the loop, where the program's objects belong.

Three things go wrong with threads like these:

- Without a bound, they collect when the calls hang, and use up the memory. So there are at most `most` threads, at most
  `most_waiting` more calls wait for one, and a call beyond that is refused.
- A thread may not start at all (a limit on processes, a container's limit on tasks). Then the call waits for a thread
  that runs already. If there is none, it is refused, and nothing is left behind (P4).
- A call that never returns would keep the process from ending. `concurrent.futures.ThreadPoolExecutor` waits for its
  threads at exit. These are daemon threads: the process ends without them.

The loop's thread alone changes the sets of calls. A `SimpleQueue` hands the calls over: its `put` is safe even in a
`__del__` or a signal handler that interrupts another `put`. So no lock of ours is held at a bad moment, or at a fork.

The cost: an answer takes two switches of threads. A cancelled call keeps its place until a thread comes to it.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from .counters import LoopCounters
from .reports import report
from .timers import Handle

logger = logging.getLogger("reactor.loop")

MAX_THREADS = 4  # by default
MAX_THREAD_QUEUE = 1000  # by default


class ThreadCall(Handle):
    """A call that `run_in_thread` promised, and the call of `then` after it. It can be cancelled.

    Cancelled before its function has begun, it never begins. Cancelled later, the function goes on, and its outcome is
    dropped. In both cases `then` is not called.
    """

    __slots__ = ("_work", "_future", "_tells", "_threads")

    def __init__(
        self,
        function: Callable[..., object],
        args: tuple[object, ...],
        then: Callable[[Future[Any]], object] | None,
        threads: Threads,
    ) -> None:
        if not callable(function):
            raise TypeError(f"the function for a thread must be callable, not of type {type(function).__name__}")
        super().__init__(function if then is None else then, (), -math.inf, None)
        self._work: tuple[Callable[..., object], tuple[object, ...]] | None = (function, args)
        self._future: Future[Any] | None = None  # the outcome, from the thread
        self._tells = then is not None
        self._threads = threads

    def cancel(self) -> None:
        """Take the call back. Does nothing if it was taken back or answered before. Call it on the loop's thread."""
        self._work = self._future = None
        self._threads.unanswered.discard(self)
        super().cancel()

    def work(self) -> None:
        """On a thread: call the function, unless the call was cancelled."""
        work, self._work = self._work, None
        if work is None:
            return
        function, args = work
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args))
        except BaseException as exc:  # also SystemExit: it is for the program, and must not end this thread
            future.set_exception(exc)
        self._future = future
        # The traceback of an exception holds this frame. If the frame held the future, both would stay in memory until
        # the garbage collector comes.
        del self, future

    def run(self) -> bool:
        """In the loop, once: call `then`. Without one, log what the function raised. False if something was logged."""
        self._threads.give_place_back(self)
        callback, future = self._callback, self._future
        self.cancel()  # frees what it held
        if callback is None or future is None:
            return True
        if self._tells:
            return Handle(callback, (future,), -math.inf, None).run()
        exc = future.exception()
        if exc is not None:
            report(logger, logging.ERROR, "a call in a thread raised: %r", callback, exc=exc)
        return exc is None


class Threads:
    """The threads of one loop, and the calls that they make.

    A thread gives a finished call to `deliver`, which makes the loop run it.
    """

    def __init__(
        self, deliver: Callable[[ThreadCall], object], counters: LoopCounters, most: int, most_waiting: int
    ) -> None:
        if most < 1 or most_waiting < 0:
            raise ValueError(f"there must be at least 1 thread and room for 0 calls, not {most} and {most_waiting}")
        self._deliver = deliver
        self._counters = counters
        self._most = most
        self._most_waiting = most_waiting
        self._places: set[ThreadCall] = set()  # until a thread has come to a call and the loop knows
        self.unanswered: set[ThreadCall] = set()  # of these, the ones that were not cancelled
        self._waiting: queue.SimpleQueue[ThreadCall | None] = queue.SimpleQueue()  # None: the threads must end
        self._threads: set[threading.Thread] = set()
        self._closed = False

    def call(
        self,
        function: Callable[..., object],
        args: tuple[object, ...],
        then: Callable[[Future[Any]], object] | None,
    ) -> ThreadCall:
        """Have a thread call `function(*args)`, and the loop call `then` with the outcome.

        queue.Full when too many calls wait. RuntimeError when no thread runs and the system gives none. TypeError when
        `function` or `then` cannot be called.
        """
        call = ThreadCall(function, args, then, self)
        count = len(self._places)
        if count >= self._most + self._most_waiting:
            raise queue.Full(
                f"{count} calls are not answered yet, as many as max_threads ({self._most}) and max_thread_queue"
                f" ({self._most_waiting}) allow: try again later"
            )
        if len(self._threads) <= count and len(self._threads) < self._most:
            self._start_thread()
        self._places.add(call)
        self.unanswered.add(call)
        self._counters.thread_calls = len(self._places)
        self._waiting.put(call)
        return call

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._run, name="reactor run_in_thread", daemon=True)
        try:
            thread.start()
            self._threads.add(thread)
        except Exception as exc:  # RuntimeError or MemoryError: the system has no more threads for us (P4)
            if not self._threads:
                raise RuntimeError(f"there is no thread for the call: {exc}") from None

    def _run(self) -> None:
        try:
            while not self._closed:
                call = self._waiting.get()
                if call is None:
                    self._waiting.put(None)  # for the next thread
                    return
                call.work()
                self._deliver(call)
                del call  # the next `get` may wait for long
        finally:
            self._threads.discard(threading.current_thread())

    def give_place_back(self, call: ThreadCall) -> None:
        """In the loop: a thread has come to `call`, and is done with it."""
        self._places.discard(call)
        self._counters.thread_calls = len(self._places)

    def close(self) -> None:
        """Drop all calls, and let each thread end when its function returns. No `then` is called any more."""
        self.abandon()
        self._waiting.put(None)

    def abandon(self) -> None:
        """Drop all calls. In a fork's child, no thread is left; in one that a call has made, its thread ends (L5)."""
        self._closed = True
        for call in list(self._places):
            call.cancel()
            self.give_place_back(call)

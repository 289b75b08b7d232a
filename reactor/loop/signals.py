"""Signals as ordinary calls of a loop, although a process has only one handler for each, and several loops may want it.

Python runs a signal handler on the main thread between any two bytecodes, where little is safe to do. So the handler
here notes the number and wakes the loop. The loop makes the call later.

The hard part is which loop a signal belongs to. A process has one handler for each signal, and one wake-up descriptor.
Say that loop A saves the old handler and installs its own, and loop B does the same after it. If A ends first, it puts
the old handler back, and B loses its signal. When B ends, it puts back the handler of A, which is gone, or a descriptor
whose number now belongs to another connection (P5). So this file has one owner, `_process`. It
knows what was there before any of our loops, and which loops want the signal. The latest of these gets it. When that
one leaves, the one before gets it again. When the last leaves, what was there before comes back.

Code that does not ask us (asyncio, a program's own `signal.signal`) may replace our handler or descriptor by its own.
That one then stays: we take back only what is still ours.

The cost: only the main thread can change handlers. A loop that is closed on another thread leaves its handler in
place, until the signal comes or the main thread next changes a handler.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NamedTuple

from .wakeup import Waker

NO_DESCRIPTOR = (-1, None)


class Call(NamedTuple):
    """What a loop calls for each arrival of a signal."""

    callback: Callable[..., object]
    args: tuple[object, ...]
    at_once: Callable[[int, FrameType | None], object] | None


class Signals:
    """The signals that one loop handles. The loop makes their calls between other callbacks.

    Only the main thread may install signal handlers (https://docs.python.org/3/library/signal.html). On another
    thread `add` and `remove` raise ValueError, as `signal.signal` does.
    """

    __slots__ = ("interrupted", "waker", "_deferring", "_calls", "_arrived")

    def __init__(self, waker: Waker) -> None:
        self.interrupted = False  # Ctrl-C was pressed and is deferred
        self.waker = waker
        self._deferring = False
        self._calls: dict[int, Call] = {}
        self._arrived: deque[int] = deque()

    def add(
        self,
        number: int,
        callback: Callable[..., object],
        *args: object,
        at_once: Callable[[int, FrameType | None], object] | None = None,
    ) -> None:
        """From now on, make the loop call `callback(*args)` each time that signal `number` arrives.

        If the process inherited the signal as blocked, it is unblocked (P6; sigprocmask(2)). `at_once(number, frame)`
        is called too, in the signal handler: on the main thread, between any two bytecodes, whatever the loop is doing.

        ValueError or OSError, as from `signal.signal`, for a signal that cannot be handled.
        """
        claimed = self._claims(number)
        self._calls[number] = Call(callback, args, at_once)  # before the claim, after which the signal may come at once
        if not claimed:
            try:
                _process.claim(number, self)
            except BaseException:
                del self._calls[number]
                raise

    def remove(self, number: int) -> bool:
        """Give signal `number` back to its previous handler. False if this loop did not handle it."""
        if number not in self._calls:
            return False
        _check_main_thread()
        del self._calls[number]
        if not self._claims(number):
            _process.release(number, self)
        return True

    def handles(self, number: int) -> bool:
        """Whether `add` was called for signal `number`."""
        return number in self._calls

    def _claims(self, number: int) -> bool:
        return number in self._calls or (number == signal.SIGINT and self._deferring)

    def take(self) -> list[Call]:
        """The calls to make for the signals that have arrived, oldest first."""
        owed = []
        for _ in range(len(self._arrived)):
            call = self._calls.get(self._arrived.popleft())
            if call is not None:
                owed.append(call)
        return owed

    def arrive(self, number: int, frame: FrameType | None) -> None:
        """Note the arrival for the loop. Called in the signal handler; `frame` is the code that it interrupted."""
        call = self._calls.get(number)
        if call is not None:
            self._arrived.append(number)
        elif self._deferring:
            if self.interrupted:  # the second Ctrl-C, while the first is deferred
                signal.default_int_handler(number, frame)
            self.interrupted = True
        self.waker.wake()
        if call is not None and call.at_once is not None:
            call.at_once(number, frame)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The block in which this loop runs. If any of our loops handles a signal, every signal ends its wait.

        Ctrl-C sets `interrupted`. `Loop.run` then leaves after the current iteration, and KeyboardInterrupt is raised
        here, not between any two bytecodes (L1). A second Ctrl-C raises at once, in case a callback never returns. If
        SIGINT has another handler than Python's, or this is not the main thread, Ctrl-C is not changed.
        """
        if not _on_main_thread():
            yield
            return
        with _process.running(self):
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                with self._deferred_interrupt():
                    yield
            else:
                yield

    @contextlib.contextmanager
    def _deferred_interrupt(self) -> Iterator[None]:
        self._deferring = True
        try:
            _process.claim(signal.SIGINT, self)
            yield
        finally:
            try:
                # Not if a call for SIGINT was added meanwhile, nor if a fork's child has called `close`.
                if self._deferring and signal.SIGINT not in self._calls:
                    _process.release(signal.SIGINT, self)  # a Ctrl-C in the middle of this is still noted
            finally:
                self._deferring = False
                interrupted, self.interrupted = self.interrupted, False
        if interrupted:  # tested last, when no other Ctrl-C can be noted: none is lost
            raise KeyboardInterrupt

    def close(self) -> None:
        """Give all signals back; in a fork's child, a deferred SIGINT too (L5). From any thread."""
        numbers = set(self._calls)
        if self._deferring:
            numbers.add(signal.SIGINT)
        self._calls.clear()
        self._deferring = False
        for number in numbers:
            _process.release(number, self)


class _Process:
    """What a process has only one of: the handler of each signal, and the wake-up descriptor."""

    def __init__(self) -> None:
        self.claims: dict[int, list[Signals]] = {}  # by signal: the loops that want it, the latest last
        self._before: dict[int, Any] = {}  # by signal: the handler before the first of them
        self._unblocked: set[int] = set()  # signals that we unblocked
        self._running: list[Signals] = []  # loops on the main thread, each run in a callback of the one before
        self._aimed: Waker | None = None  # where Python's handler in C writes a byte
        self._descriptor_before: tuple[int, Any] = NO_DESCRIPTOR  # where it wrote before

    def claim(self, number: int, owner: Signals) -> None:
        """Give signal `number` to `owner` from now on."""
        self._tidy()
        claims = self.claims.setdefault(number, [])
        claims.append(owner)  # before the handler is set: a signal may come at once
        try:
            found = signal.signal(number, _deliver)
        except BaseException:
            claims.remove(owner)
            if not claims:
                del self.claims[number]
            raise
        if found is not _deliver:
            self._before[number] = found
        self._unblock(number)
        self._aim()

    def release(self, number: int, owner: Signals) -> None:
        """Take signal `number` from `owner`, and give it back; off the main thread, some time later."""
        claims = self.claims.get(number, [])
        if owner in claims:
            claims.remove(owner)
        if _on_main_thread():
            self._tidy()
        elif self._aimed is owner.waker:
            owner.waker.lent = True  # C still writes to it, until the main thread changes that

    @contextlib.contextmanager
    def running(self, owner: Signals) -> Iterator[None]:
        """The block in which `owner` runs: wake its loop, because Python's handlers run on this, the main thread."""
        self._running.append(owner)
        try:
            self._tidy()
            yield
        finally:
            self._running.remove(owner)
            self._tidy()

    def _tidy(self) -> None:
        """Put back the previous handler of every signal that none of our loops wants any more."""
        for number in [number for number in self._before if not self.claims.get(number)]:
            self.give_back(number)
        self._aim()

    def give_back(self, number: int) -> None:
        """Put back the handler that signal `number` had before our loops."""
        before = self._before.pop(number, None)
        self.claims.pop(number, None)
        if number in self._unblocked:  # first, so that a signal now does not reach the old handler
            self._unblocked.discard(number)
            signal.pthread_sigmask(signal.SIG_BLOCK, [number])
        if signal.getsignal(number) is _deliver:  # a handler that replaced ours stays
            # None means that code in C installed the handler, and Python cannot put it back.
            signal.signal(number, signal.SIG_DFL if before is None else before)

    def _unblock(self, number: int) -> None:
        if hasattr(signal, "pthread_sigmask") and number in signal.pthread_sigmask(signal.SIG_BLOCK, []):
            self._unblocked.add(number)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])

    def _aim(self) -> None:
        """Make the handler in C write to the waker of the loop that runs, or else of the latest that wants a signal.

        A signal can arrive after the last bytecode and before the wait begins. Its Python handler can run only after
        the wait. So the handler in C writes this byte, which ends the wait (signal.set_wakeup_fd).
        """
        target, aimed = self._target(), self._aimed
        if target is None and aimed is None:
            return
        found = signal.set_wakeup_fd(-1 if target is None else target.fileno(), warn_on_full_buffer=False)
        if aimed is None or found != aimed.fileno():
            self._descriptor_before = _known(found)  # from before us, or it replaced ours
        if target is None and _known(self._descriptor_before[0]) == self._descriptor_before:
            with contextlib.suppress(ValueError, OSError):  # it may be unfit by now, for example blocking
                signal.set_wakeup_fd(self._descriptor_before[0])
        self._aimed = target
        if aimed is not None and aimed is not target and aimed.lent:
            aimed.lent = False
            aimed.abandon()

    def _target(self) -> Waker | None:
        latest = [claims[-1] for claims in self.claims.values() if claims]
        if not latest:
            return None
        return (self._running or latest)[-1].waker


def _known(fd: int) -> tuple[int, Any]:
    """The descriptor with the identity of its file: the number may later belong to another file."""
    try:
        status = os.fstat(fd)
    except (OSError, OverflowError):
        return NO_DESCRIPTOR
    return fd, (status.st_dev, status.st_ino)


def _on_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _check_main_thread() -> None:
    if not _on_main_thread():
        raise ValueError("signal handlers can be changed on the main thread alone")


def _deliver(number: int, frame: FrameType | None) -> None:
    """The handler of every signal that one of our loops wants."""
    claims = _process.claims.get(number)
    if claims:
        claims[-1].arrive(number, frame)
    else:  # its loop was closed on another thread
        _process.give_back(number)
        signal.raise_signal(number)


_process = _Process()

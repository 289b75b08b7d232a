"""Signals as ordinary calls, though a process has one of each and several loops may want it.

Python runs a signal handler on the main thread between any two bytecodes. What may be done there is little. So the
handler here only notes the number and wakes the loop, and the loop makes the call in its own time.

The hard part is whose a signal is. A process has one handler for each signal, and one wake-up descriptor. If each loop
saves what was there and puts it back at its end, two loops must end in reverse order. If they do not, the younger
loses its signal when the older goes; and then it puts back the handler of a loop that is gone, or the number of a
descriptor that is by now a connection of somebody else (P5). So there is one owner in this file, the process. It
knows what was there before any of our loops, and which loops want the signal. The latest of these gets it. When that
one leaves, the one before gets it again. When the last leaves, what was there before comes back.

Code that does not ask us (asyncio, a program's own `signal.signal`) may put its own handler or descriptor over ours.
Then that stays: only what is still ours is taken back.

The cost: handlers can be changed on the main thread alone. A loop that is closed on another thread leaves its handler
in place. When the signal comes, or the main thread changes a handler next, it is taken back.
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
    """What a loop owes for each arrival of a signal."""

    callback: Callable[..., object]
    args: tuple[object, ...]
    at_once: Callable[[int, FrameType | None], object] | None


class Signals:
    """The signals that one loop handles, as ordinary calls made by the loop between callbacks.

    Only the main thread may install signal handlers (https://docs.python.org/3/library/signal.html); from
    another one `add` and `remove` raise ValueError, as `signal.signal` does.
    """

    __slots__ = ("interrupted", "waker", "_deferring", "_calls", "_arrived")

    def __init__(self, waker: Waker) -> None:
        self.interrupted = False  # Ctrl-C was pressed under `deferred_interrupt`
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
        """From now on have the loop call `callback(*args)` for each time that signal `number` arrived.

        A signal that the process inherited as blocked is let through (P6; sigprocmask(2)). `at_once(number, frame)` is
        called as well, in the signal handler: on the main thread, between any two bytecodes, whatever the loop does.

        ValueError or OSError, as from `signal.signal`, for a signal that cannot be handled.
        """
        claimed = self._claims(number)
        self._calls[number] = Call(callback, args, at_once)  # before the claim, by which the signal may come at once
        if not claimed:
            try:
                _process.claim(number, self)
            except BaseException:
                del self._calls[number]
                raise

    def remove(self, number: int) -> bool:
        """Give signal `number` back to whoever handled it before; False if it was not ours."""
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
        """The calls that are owed for what has arrived, oldest first."""
        owed = []
        for _ in range(len(self._arrived)):
            call = self._calls.get(self._arrived.popleft())
            if call is not None:
                owed.append(call)
        return owed

    def arrive(self, number: int, frame: FrameType | None) -> None:
        """Note that it has come, for the loop to see. In the signal handler; `frame` is what it interrupted."""
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
        """While the block lasts, this loop runs: every signal of the process ends its wait.

        Make Ctrl-C set `interrupted`, and raise KeyboardInterrupt at the end, not between any two bytecodes (L1).
        The second one raises at once, in case a callback never returns. Where SIGINT is somebody's already, or this
        is not the main thread, Ctrl-C is not changed.
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
                if self._deferring and signal.SIGINT not in self._calls:  # else `close` was called, in a fork's child
                    _process.release(signal.SIGINT, self)  # one that comes before that is done is still noted
            finally:
                self._deferring = False
                interrupted, self.interrupted = self.interrupted, False
        if interrupted:  # asked for only now that no other can be noted: none is lost
            raise KeyboardInterrupt

    def close(self) -> None:
        """Give all signals back; in a fork's child, also the one that is being deferred (L5). From any thread."""
        numbers = set(self._calls)
        if self._deferring:
            numbers.add(signal.SIGINT)
        self._calls.clear()
        self._deferring = False
        for number in numbers:
            _process.release(number, self)


class _Process:
    """What this process has one of: a handler for each signal, and the wake-up descriptor."""

    def __init__(self) -> None:
        self.claims: dict[int, list[Signals]] = {}  # by signal: the loops that want it, the latest last
        self._before: dict[int, Any] = {}  # by signal: the handler from before the first of them
        self._unblocked: set[int] = set()  # signals that were blocked before
        self._running: list[Signals] = []  # loops that run on the main thread, one in a callback of the other
        self._aimed: Waker | None = None  # where the handler in C writes a byte
        self._descriptor_before: tuple[int, Any] = NO_DESCRIPTOR  # where it wrote before any of ours

    def claim(self, number: int, owner: Signals) -> None:
        """Give signal `number` to `owner` from now on."""
        self._tidy()
        claims = self.claims.setdefault(number, [])
        claims.append(owner)  # before the handler is there: a signal may come at once
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
        """Give signal `number` to whoever had it before `owner`; off the main thread, some time later."""
        claims = self.claims.get(number, [])
        if owner in claims:
            claims.remove(owner)
        if _on_main_thread():
            self._tidy()
        elif self._aimed is owner.waker:
            owner.waker.lent = True  # its number is where signals are told, until the main thread changes that

    @contextlib.contextmanager
    def running(self, owner: Signals) -> Iterator[None]:
        """While the block lasts, aim at `owner`: Python's handlers run on the main thread, so its loop must wake."""
        self._running.append(owner)
        try:
            self._tidy()
            yield
        finally:
            self._running.remove(owner)
            self._tidy()

    def _tidy(self) -> None:
        """Put back what was before, of all that none of ours wants any more."""
        for number in [number for number in self._before if not self.claims.get(number)]:
            self.give_back(number)
        self._aim()

    def give_back(self, number: int) -> None:
        """Have signal `number` do what it did before any of ours came."""
        before = self._before.pop(number, None)
        self.claims.pop(number, None)
        if number in self._unblocked:  # before the handler goes: what comes now is not for whoever is next
            self._unblocked.discard(number)
            signal.pthread_sigmask(signal.SIG_BLOCK, [number])
        if signal.getsignal(number) is _deliver:  # else somebody has put another one over ours, which stays
            # None: it was installed by code in C, and Python cannot put it back.
            signal.signal(number, signal.SIG_DFL if before is None else before)

    def _unblock(self, number: int) -> None:
        if hasattr(signal, "pthread_sigmask") and number in signal.pthread_sigmask(signal.SIG_BLOCK, []):
            self._unblocked.add(number)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])

    def _aim(self) -> None:
        """Have the handler in C write to the waker of the loop that runs, or else of the latest that wants a signal.

        A signal can arrive after the last bytecode and before the wait begins. The Python handler runs only when the
        wait is over; it is this byte, written by the handler in C, that ends the wait (signal.set_wakeup_fd).
        """
        target, aimed = self._target(), self._aimed
        if target is None and aimed is None:
            return
        found = signal.set_wakeup_fd(-1 if target is None else target.fileno(), warn_on_full_buffer=False)
        if aimed is None or found != aimed.fileno():
            self._descriptor_before = _known(found)  # from before us; or somebody has put it over ours
        if target is None and _known(self._descriptor_before[0]) == self._descriptor_before:
            with contextlib.suppress(ValueError, OSError):  # its owner has made it unfit for that meanwhile
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
    """The descriptor with the file behind it: a number may come to mean another file."""
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
    """The handler of every signal that any of our loops wants."""
    claims = _process.claims.get(number)
    if claims:
        claims[-1].arrive(number, frame)
    else:  # its loop was closed on another thread
        _process.give_back(number)
        signal.raise_signal(number)


_process = _Process()

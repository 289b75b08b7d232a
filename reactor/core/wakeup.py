"""How another thread, or a signal, gets the attention of a loop that sleeps in the kernel.

The loop waits in `select` for descriptors. A thread that wants something done, and a signal handler, which
Python runs on the main thread between two bytecodes, have no descriptor of their own. So the loop
watches one end of a socket pair, and whoever wants its attention writes a byte into the other: the
self-pipe trick (D. J. Bernstein), here with a socket pair because Windows cannot select on pipes.

Two things can go wrong with it, and both are dealt with here (L2):

- A pipe that nobody empties fills up, and the writer blocks, perhaps inside a signal handler. Both ends are
  non-blocking, and a full pipe is as good as one byte: the loop will wake. So failing to write is success.
- Signal numbers sent through the pipe (`signal.set_wakeup_fd`) are lost when it is full, and a lost SIGTERM is a
  server that will not stop. Here the byte only wakes. Which signals came is noted by the Python-level handler
  in a queue of its own, and the interpreter promises to run that handler.

The cost: one registered descriptor, and one system call for each wake-up of a sleeping loop. Threads that
call while a wake-up is already under way pay none.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from .poller import READABLE, SelectorPoller


class Waker:
    """One loop's socket pair."""

    __slots__ = ("socket", "_sender", "_poller", "_pending")

    def __init__(self, poller: SelectorPoller) -> None:
        self.socket, self._sender = socket.socketpair()
        self.socket.setblocking(False)
        self._sender.setblocking(False)
        self._pending = False
        self._poller = poller
        poller.register(self.socket.fileno(), READABLE, Waker._drain, self)

    def wake(self) -> None:
        """Make the loop's wait end, now or when it next begins. From any thread, and from a signal handler."""
        if self._pending:
            return
        self._pending = True
        try:
            self._sender.send(b"\0")
        except OSError:
            pass  # full, so the loop will wake; or closed, so there is no loop to wake

    def fileno(self) -> int:
        """The descriptor to write a byte to, for `signal.set_wakeup_fd`."""
        return self._sender.fileno()

    def _drain(self, _events: int) -> None:
        try:
            while len(self.socket.recv(4096)) == 4096:
                pass
        except BlockingIOError:
            pass
        # Off when the pipe is empty, not before: a wake-up between the two would lose its byte and leave the flag
        # on, and all later ones would rely on a byte that is gone. One that comes before this line leaves no byte,
        # and needs none: the loop looks for what was asked of it after this and before it sleeps again.
        self._pending = False

    def close(self) -> None:
        """Give back both descriptors."""
        self._poller.unregister(self.socket.fileno(), READABLE)
        self.abandon()

    def abandon(self) -> None:
        """Close both descriptors and leave the poller alone: in a child process it is the parent's."""
        self.socket.close()
        self._sender.close()


class Signals:
    """The signals that one loop handles, as ordinary calls made by the loop between callbacks.

    Only the main thread may install signal handlers (https://docs.python.org/3/library/signal.html); from
    another one `add` raises ValueError, as `signal.signal` does.
    """

    __slots__ = ("interrupted", "_deferring", "_waker", "_calls", "_before", "_wakeup_fd_before", "_arrived")

    def __init__(self, waker: Waker) -> None:
        self.interrupted = False  # Ctrl-C was pressed under `deferred_interrupt`
        self._deferring = False
        self._waker = waker
        self._calls: dict[int, tuple[Callable[..., object], tuple[object, ...]]] = {}
        self._before: dict[int, Any] = {}  # whose handler each signal had
        self._wakeup_fd_before = -1
        self._arrived: deque[int] = deque()

    def add(self, number: int, callback: Callable[..., object], *args: object) -> None:
        """From now on have the loop call `callback(*args)` for each time that signal `number` arrived.

        ValueError or OSError, as from `signal.signal`, for a signal that cannot be handled.
        """
        if number not in self._calls:
            self._take_over(number, self._arrive)
        self._calls[number] = (callback, args)

    def remove(self, number: int) -> bool:
        """Give signal `number` back to whoever handled it before; False if it was not ours."""
        if self._calls.pop(number, None) is None:
            return False
        if number == signal.SIGINT and self._deferring:
            signal.signal(number, self._interrupt)
        else:
            self._give_back(number)
        return True

    def take(self) -> list[tuple[Callable[..., object], tuple[object, ...]]]:
        """The calls that are owed for what has arrived, oldest first."""
        owed = []
        while self._arrived:
            call = self._calls.get(self._arrived.popleft())
            if call is not None:
                owed.append(call)
        return owed

    @contextlib.contextmanager
    def deferred_interrupt(self) -> Iterator[None]:
        """Make Ctrl-C set `interrupted`, and raise KeyboardInterrupt at the end, not between any two bytecodes (L1).

        The second one raises at once, in case a callback never returns. Where SIGINT is somebody's already,
        or this is not the main thread, nothing is changed.
        """
        main = threading.current_thread() is threading.main_thread()
        if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield
            return
        self._take_over(signal.SIGINT, self._interrupt)
        self._deferring = True
        try:
            yield
        finally:
            if self._deferring and signal.SIGINT not in self._calls:  # else `add` was called meanwhile: it is to stay
                self._give_back(signal.SIGINT)
            self._deferring = False
            interrupted, self.interrupted = self.interrupted, False
        if interrupted:  # asked for only now that no other can be noted: none is lost
            raise KeyboardInterrupt

    def close(self) -> None:
        """Give all signals back; in a fork's child, also the one that is being deferred (L5)."""
        self._calls.clear()
        self._deferring = False
        for number in list(self._before):
            self._give_back(number)

    def _arrive(self, number: int, _frame: FrameType | None) -> None:
        self._arrived.append(number)
        self._waker.wake()

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted:
            signal.default_int_handler(number, frame)
        self.interrupted = True
        self._waker.wake()

    def _take_over(self, number: int, handler: Callable[[int, FrameType | None], object]) -> None:
        before = signal.signal(number, handler)
        if not self._before:
            # A signal can arrive after the last bytecode and before the wait begins. The Python handler runs
            # only when the wait is over; it is this byte, written by the handler in C, that ends the wait.
            self._wakeup_fd_before = signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        self._before.setdefault(number, before)

    def _give_back(self, number: int) -> None:
        signal.signal(number, self._before.pop(number))
        if not self._before:
            signal.set_wakeup_fd(self._wakeup_fd_before)

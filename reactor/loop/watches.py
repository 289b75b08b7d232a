"""The descriptors that a program watches itself: what to call when one can be read, and when one can be written.

A descriptor has one entry in the kernel's list (epoll(7)), but a program has two questions about it: is there
input, and is there room? So both callbacks are in one `Watch`, and the interest is computed from it.

The kernel answers with a batch of events. A callback early in the batch may close a descriptor and open another one
that gets the same number. A later event in the batch is then meant for the old descriptor. So a descriptor that is
first watched during a batch gets no event of it (E7). Nothing is lost: the next batch tells again what is ready.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from .counters import LoopCounters
from .poller import BROKEN, PEER_FIN, READABLE, WRITABLE, SelectorPoller
from .timers import Handle

INPUT = READABLE | BROKEN | PEER_FIN  # for a reader, an error or an end is something to read
OUTPUT = WRITABLE | BROKEN


class Call(NamedTuple):
    """A callback with its arguments."""

    callback: Callable[..., object]
    args: tuple[object, ...]


class Watch:
    """One descriptor, and its callbacks."""

    __slots__ = ("fd", "reader", "writer", "interest", "first_iteration")

    def __init__(self, fd: int, iteration: int) -> None:
        self.fd = fd
        self.reader: Call | None = None
        self.writer: Call | None = None
        self.interest = 0  # what the kernel was last asked to watch
        self.first_iteration = iteration  # the iteration in which it was first watched

    def wanted_interest(self) -> int:
        """What the kernel should watch. It depends on the two callbacks and nothing else (law 1)."""
        return (INPUT if self.reader is not None else 0) | (OUTPUT if self.writer is not None else 0)


class Watches:
    """All watches of one loop."""

    def __init__(self, poller: SelectorPoller, counters: LoopCounters) -> None:
        self._poller = poller
        self._counters = counters
        self._by_fd: dict[int, Watch] = {}

    def set(self, fd: Any, side: str, call: Call | None) -> bool:
        """Set the callback on `side` ("reader" or "writer") of `fd`; None removes it. Whether there was one before.

        OSError when the kernel cannot watch `fd`, or this loop uses it for something else; then nothing has changed.
        TypeError when the callback cannot be called.
        """
        if call is not None and not callable(call.callback):
            raise TypeError(f"a callback must be callable, not of type {type(call.callback).__name__}")
        number: int = fd if isinstance(fd, int) else fd.fileno()
        watch = self._by_fd.get(number)
        if watch is None:
            if call is None:
                return False
            watch = Watch(number, self._counters.iterations)
        before = getattr(watch, side)
        setattr(watch, side, call)
        try:
            self._apply(watch)
        except BaseException:
            setattr(watch, side, before)
            raise
        return before is not None

    def _apply(self, watch: Watch) -> None:
        wanted = watch.wanted_interest()
        if wanted == watch.interest:
            return
        if not watch.interest:
            self._poller.register(watch.fd, wanted, self._on_ready, watch)
            self._by_fd[watch.fd] = watch
        elif wanted:
            self._poller.modify(watch.fd, watch.interest, wanted)
        else:
            self._poller.unregister(watch.fd, watch.interest)
            del self._by_fd[watch.fd]
        watch.interest = wanted

    def _on_ready(self, watch: Watch, happened: int) -> None:
        if watch.first_iteration == self._counters.iterations:
            return
        if watch.reader is not None and happened & INPUT:
            self._make(watch.reader)
        if watch.writer is not None and happened & OUTPUT:
            self._make(watch.writer)

    def _make(self, call: Call) -> None:
        if not Handle(call.callback, call.args, -math.inf, None).run():
            self._counters.callback_errors += 1

    def clear(self) -> None:
        """Forget all watches: the loop is closed, or is the copy in a fork's child."""
        self._by_fd.clear()

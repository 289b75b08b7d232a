"""The reactor: a loop that also serves connections.

`loop.loop` waits for descriptors and makes calls. Here most descriptors are connections to read from, or listeners to
accept from. An iteration has two more phases, and `_iterate` is the list of all six:

    1. timers     make the calls that are due
    2. ready      make the calls that `call_soon`, other threads and signals have queued
    3. poll       ask the kernel; wait until the next timer, or not at all if there is something to do
    4. dispatch   for each ready descriptor: accept; or receive, call the protocol, and send what it wrote
    5. flush      send what callbacks wrote to other connections than their own, and what timers wrote
    6. reap       close the connections that have ended

The order is a choice. Timers come before the flush, so what they write leaves in the same iteration. Closing comes
last, when no callback runs.

Tests can replace the selector, the clock and the socket factory. Then the loop needs no network and never waits.
"""

from __future__ import annotations

import contextlib
import math
import selectors
import socket
import time
from collections.abc import Callable

from ..loop.loop import Loop
from ..loop.poller import SelectorPoller
from . import fast_path as fast_path_module
from .acceptor import Acceptor, Listener
from .counters import Counters
from .dispatcher import Dispatcher
from .limits import Limits
from .protocol import Protocol, check_program
from .states import CloseReason


class Reactor(Loop):
    """An event loop that serves connections. It belongs to the thread that runs it; a process may have many.

    Tests can replace `selector`, `clock` (seconds; it never goes back) and `socket_factory` (called like
    `socket.socket`). Without `fast_path`, each event goes the way that `dispatcher.py` shows, at nearly twice the cost.
    As a context manager, the reactor closes itself at the end of the block. `abandon`, `check_caller`,
    `check_idle`, `check_open`, `check_thread`, `progress` and `untaken_wake_ups` are for the package, not for programs.
    """

    counters: Counters

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        selector: selectors.BaseSelector | SelectorPoller | None = None,
        clock: Callable[[], float] = time.monotonic,
        socket_factory: Callable[..., socket.socket] = socket.socket,
        fast_path: bool = True,
    ) -> None:
        if limits is not None and not isinstance(limits, Limits):
            raise TypeError(f"limits must be Limits(...), not {limits!r}")
        self.limits = limits or Limits()
        self.socket_factory = socket_factory
        super().__init__(
            selector=selector,
            clock=clock,
            counters=Counters(),
            blocked_seconds=self.limits.blocked_seconds,
            max_threads=self.limits.max_threads,
            max_thread_queue=self.limits.max_thread_queue,
        )
        self.dispatcher = Dispatcher(self, self.counters, self.limits)
        self.acceptor = Acceptor(self.dispatcher)
        self._go_through = fast_path_module.dispatch if fast_path else Dispatcher.dispatch

    # The iteration.

    def _iterate(self, timeout: float = math.inf) -> None:
        self._run_timers()
        self._run_ready()
        events = self._poll(timeout)
        self._dispatch(events)
        self.dispatcher.flush()
        doomed = bool(self.dispatcher.reaper.doomed)
        try:
            self.dispatcher.reaper.reap()
        finally:  # also after SystemExit out of `connection_lost`
            if doomed:
                self.acceptor.wake_resting()  # a descriptor and a place are free now (A1, A5)

    def _has_more_work(self) -> bool:
        dispatcher = self.dispatcher
        if dispatcher.attention or dispatcher.reaper.doomed:
            return True
        # SystemExit can leave an iteration before the memory budget was enforced.
        return self.counters.buffered_bytes > self.limits.memory_bytes

    def _tell(self, events: list[tuple[int, int]]) -> None:
        self.acceptor.ready = len(events)
        self._go_through(self.dispatcher, events)

    def _count_watched(self) -> int:
        return self.counters.open + super()._count_watched()

    def progress(self) -> tuple[int, ...]:
        """Numbers that change with every callback, for the watchdog. From any thread."""
        dispatcher = self.dispatcher
        return (
            *super().progress(),
            self.counters.accepted,
            len(dispatcher.received_sizes),
            len(dispatcher.attention),
            len(dispatcher.reaper.doomed),
        )

    # What programs ask of it.

    def listen(
        self, sock: socket.socket, factory: Callable[[], Protocol], limits: Limits | None = None
    ) -> Listener:
        """Serve the connections that come to the bound stream socket `sock`, one protocol from `factory` each.

        The reactor owns the socket from now on. `limits` are those of the reactor unless given. RuntimeError when the
        reactor is closed. TypeError if `factory` cannot be called, or has a mistake that can be
        seen (`protocol.mistake_in`). OSError if the kernel cannot listen on the socket or watch it. After an error the
        caller still owns the socket.
        """
        self.check_caller()
        if not callable(factory):
            raise TypeError(f"the factory of protocols must be callable, not of type {type(factory).__name__}")
        check_program(factory)
        return self.acceptor.listen(sock, factory, limits or self.limits)

    # Ending it.

    def close(self) -> None:
        """End every connection (reason `shutdown`), tell their protocols, and give back all descriptors.

        Called inside a callback, it stops the loop and closes at the end of the iteration. A second call does nothing.
        """
        super().close()

    def _give_back(self, stack: contextlib.ExitStack) -> None:
        super()._give_back(stack)
        stack.callback(self._end_connections)
        for listener in self.acceptor.listeners():
            stack.callback(self.acceptor.stop_listening, listener)

    def _end_connections(self) -> None:
        leaving: BaseException | None = None
        while (connections := self.dispatcher.connections()) or self.dispatcher.reaper.doomed:
            for connection in connections:
                connection._end(CloseReason.SHUTDOWN, None)
                self.dispatcher.settle(connection)
            try:
                self.dispatcher.reaper.reap()  # a `connection_lost` may open new connections
            except BaseException as exc:  # SystemExit: raised again when all have been told
                leaving = exc
        if leaving is not None:
            raise leaving

    def abandon(self) -> None:
        """In a child made by fork: close the copies of the parent's descriptors, and refuse all use (L5)."""
        self.dispatcher.abandon()
        super().abandon()

"""The reactor: a loop with connections, and so a server.

`loop.loop` waits for descriptors and makes calls. Here each ready descriptor is a connection to be read, or a listener
to accept from, and an iteration has two more phases. `_iterate` is the list of them:

    1. timers     what is due
    2. ready      what `call_soon` queued before this iteration, and what threads and signals asked for
    3. poll       wait for the kernel: not at all if anything is queued, else until the next deadline
    4. dispatch   each ready descriptor: accept, or receive, tell the protocol, and send what it wrote
    5. flush      send what callbacks wrote to connections other than their own
    6. reap       close what has ended

The order is a choice. Timers come before the poll, so that what they write leaves in the same iteration; closing
comes last, when nobody can be in the middle of anything.

Three things are injected so that the loop can run without a network and without waiting: the selector, the
clock and the socket factory.
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
from .protocol import Protocol
from .states import CloseReason


class Reactor(Loop):
    """An event loop that serves connections. It belongs to the thread that runs it; many may exist, one to a thread.

    `selector`, `clock` (seconds, never going back) and `socket_factory` (called like `socket.socket`) can be
    replaced for tests. Without `fast_path` each event goes the way that `dispatcher.py` shows, at nearly twice the
    cost. As a context manager it closes itself at the end.
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
        self.limits = limits or Limits()
        self.socket_factory = socket_factory
        super().__init__(
            selector=selector, clock=clock, counters=Counters(), blocked_seconds=self.limits.blocked_seconds
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
        if self.dispatcher.reaper.reap():
            self.acceptor.wake_resting()  # a descriptor has come free, and a place (A1, A5)

    def _has_more_work(self) -> bool:
        dispatcher = self.dispatcher
        if dispatcher.attention or dispatcher.reaper.doomed:
            return True
        # SystemExit can leave an iteration before the budget of memory was seen to.
        return self.counters.buffered_bytes > self.limits.memory_bytes

    def _tell(self, events: list[tuple[int, int]]) -> None:
        self.acceptor.ready = len(events)
        self._go_through(self.dispatcher, events)

    def _count_watched(self) -> int:
        return self.counters.open + super()._count_watched()

    def progress(self) -> tuple[int, ...]:
        """Numbers that change with every callback, for the watchdog: how far the loop has come. From any thread."""
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

        The reactor owns the socket from here on. `limits` are those of the reactor unless given. RuntimeError when
        the reactor is closed, TypeError for a factory that cannot be called, OSError when the socket cannot be listened
        on or watched: the socket is then still the caller's.
        """
        self.check_open()
        if not callable(factory):
            raise TypeError(f"the factory of protocols must be callable, not of type {type(factory).__name__}")
        return self.acceptor.listen(sock, factory, limits or self.limits)

    # Ending it.

    def close(self) -> None:
        """End every connection (reason `shutdown`), tell their protocols, and give back all descriptors.

        Inside a callback it stops the loop, and closes when the iteration is done. Again does nothing.
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
                self.dispatcher.reaper.reap()  # here `connection_lost` may open new ones
            except BaseException as exc:  # SystemExit goes on when all have been told
                leaving = exc
        if leaving is not None:
            raise leaving

    def abandon(self) -> None:
        """In a child made by fork: give up the copies of the parent's descriptors, and refuse all use (L5)."""
        self.dispatcher.abandon()
        super().abandon()

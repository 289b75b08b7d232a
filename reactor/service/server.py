"""A program, some addresses, and a decent end: what `Reactor` leaves to whoever runs it.

Starting a server is easy. Stopping one is where replies get cut off: the process ends while output waits in its
buffers, or it hangs because one peer never reads. Here an end is a *drain*: listening stops at once;
connections with nothing left to send are closed; those in mid-reply are let finish; and a deadline cuts what
remains, so that the end always comes. A second signal says that even this is too long (L7, L8).

The cost of not asking the program: a connection counts as finished when no output waits. A program that has taken
a request and means to answer later, from a timer, is not known to be busy and gets closed.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from ..core.limits import Limits
from ..core.listener import Listener
from ..core.loop import Reactor
from ..core.protocol import Protocol
from ..core.states import LINGERING, CloseReason
from ..core.watchdog import Watchdog
from ..net.addresses import Address, bind, describe, parse, unlink_unix

logger = logging.getLogger("reactor.service")

DRAIN_TICK_SECONDS = 0.05  # how often a drain looks whether it is done
# Peers are given less time to answer our FIN in a drain than in service: an idle client that never answers it
# should not hold up the exit, and a reply that was on its way is read within this by any client that reads.
DRAIN_LINGER_SECONDS = 1.0


class Server:
    """Serves `program` at the addresses `bind`.

    `program` makes one protocol for each connection: a `Protocol` class, or anything that is called without
    arguments and returns one. `bind` is an address or a sequence of them (see `net.addresses`).

    Use it in one of two ways: `run()` on the main thread until a signal or `close()`; or as a context manager,
    which runs it on a thread of its own while the block lasts.

    ValueError for an address that is none; TypeError for a program that cannot be called.
    """

    def __init__(
        self,
        program: Callable[[], Protocol],
        bind: str | Sequence[str] = "127.0.0.1:65432",
        *,
        limits: Limits | None = None,
        reactor: Reactor | None = None,
    ) -> None:
        if not callable(program):
            raise TypeError(f"program must be a Protocol class or a factory of them, not {program!r}")
        self.program = program
        self.bind: list[Address] = [parse(text) for text in ([bind] if isinstance(bind, str) else bind)]
        if not self.bind:
            raise ValueError("bind must name at least one address")
        self.limits = limits or Limits()
        self.reactor = reactor or Reactor(limits=self.limits)
        self.addresses: list[str] = []  # where it listens, once `listen` was called
        self._listeners: list[Listener] = []
        self._unix_paths: list[tuple[Any, int]] = []  # (path, inode) of those that we made
        self._draining = False
        self._drain_deadline = 0.0
        self._linger_deadline = 0.0
        self._cut = 0
        self._thread: threading.Thread | None = None

    def listen(self) -> list[str]:
        """Bind and listen, and return the addresses with the real ports. `run` does it if you did not.

        OSError, with an explanation in `strerror`, when an address cannot be had; then none is kept.
        """
        if not self.addresses:
            try:
                for address in self.bind:
                    self._listen_at(address)
            except BaseException:  # it listens at all of its addresses or at none
                self._stop_listening()
                raise
            self.addresses = [describe(listener.address) for listener in self._listeners]
            logger.info("listening on %s", ", ".join(self.addresses))
        return self.addresses

    def _listen_at(self, address: Address) -> None:
        sockets = bind(address, self.reactor.socket_factory)
        if address.path is not None:
            self._unix_paths.append((address.path, os.stat(address.path).st_ino))
        try:
            while sockets:
                self._listeners.append(self.reactor.listen(sockets[0], self.program, self.limits))
                del sockets[0]  # it has its owner
        except OSError as exc:  # bound by two, listened on by one: it shows only now
            for sock in sockets:
                sock.close()
            raise OSError(exc.errno, f"cannot listen on {address}: {exc.strerror}") from None

    def _stop_listening(self) -> None:
        while self._listeners:
            self.reactor.acceptor.stop_listening(self._listeners.pop())
        while self._unix_paths:
            unlink_unix(*self._unix_paths.pop())

    def run(self) -> int:
        """Serve until `close`, SIGINT or SIGTERM; then drain. How many connections the drain had to cut.

        Signals are handled when this is the main thread. The server cannot be run again. Errors as `listen`.
        """
        watchdog, process = None, os.getpid()
        try:
            self.handle_signals()
            self.listen()
            if self.limits.blocked_seconds < math.inf:
                watchdog = Watchdog(self.reactor)
            self.reactor.run()
        finally:
            if os.getpid() == process:  # a fork's child may leave by SystemExit, and must take nothing with it (L5)
                self._finish(watchdog)
        counters = self.reactor.counters
        logger.info("stopped: %d connections served, %d cut", counters.accepted, self._cut)
        return self._cut

    def _finish(self, watchdog: Watchdog | None) -> None:
        if watchdog is not None:
            watchdog.stop()
        self._cut += sum(connection.state is not LINGERING for connection in self._connections())
        self._stop_listening()
        self.reactor.close()

    def handle_signals(self) -> None:
        """Take SIGINT and SIGTERM to mean a drain, and SIGUSR1 to log the statistics, if this is the main thread.

        `run` does it if you did not.

        Before `listen`: whoever reads that the server is listening may send a signal at once, and then must get
        a drain, not the signal's default.
        """
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.reactor.add_signal_handler(number, self._on_signal, signal.Signals(number).name)
            if hasattr(signal, "SIGUSR1"):
                self.reactor.add_signal_handler(signal.SIGUSR1, self._log_statistics)

    def close(self) -> None:
        """Drain and have `run` return. From any thread or callback; again, or after the end, does nothing."""
        try:
            self.reactor.call_soon_threadsafe(self._drain)
        except RuntimeError:
            pass  # it has ended already

    def statistics(self) -> dict[str, Any]:
        """What happened so far, by name: the reactor's counters, and `listening`. From any thread."""
        return {"listening": list(self.addresses), **self.reactor.counters.snapshot()}

    def _log_statistics(self) -> None:
        logger.info("statistics: %s", json.dumps(self.statistics()))

    # The drain.

    def _on_signal(self, name: str) -> None:
        if self._draining:
            logger.info("%s again: stopping at once", name)
            self.reactor.stop()
        else:
            logger.info("%s: draining for at most %g seconds", name, self.limits.drain_seconds)
            self._drain()

    def _drain(self) -> None:
        if not self._draining:
            self._draining = True
            self._stop_listening()
            now = self.reactor.time()
            self._drain_deadline = now + self.limits.drain_seconds
            self._linger_deadline = now + DRAIN_LINGER_SECONDS
            self._drain_tick()

    def _drain_tick(self) -> None:
        now = self.reactor.time()
        for connection in self._connections():
            if connection.state is LINGERING:
                if now >= self._linger_deadline:
                    connection.end(CloseReason.LINGER_TIMEOUT, None)
            elif not connection.has_output():
                connection.close()
            elif now >= self._drain_deadline:
                self._cut += 1
                error = TimeoutError(f"not finished within the {self.limits.drain_seconds:g} seconds of a drain")
                connection.end(CloseReason.DRAIN_TIMEOUT, error)
        if self.reactor.counters.open:
            self.reactor.call_later(DRAIN_TICK_SECONDS, self._drain_tick)
        else:
            self.reactor.stop()

    def _connections(self) -> list[Any]:
        return self.reactor.dispatcher.connections()

    # On a thread of its own.

    def __enter__(self) -> Server:
        try:
            self.listen()
        except BaseException:
            self.reactor.close()  # there is no block at whose end it would be
            raise
        self._thread = threading.Thread(target=self.run, name=f"reactor {self.addresses[0]}", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if self._thread is not None:
            self._thread.join()

"""A program, some addresses, and a decent end: what `Reactor` leaves to whoever runs it.

A reactor is a loop and knows nothing of the process around it. A server is that: it listens at its addresses, at all
or at none; it has the signals of the process mean what people mean by them; it has the loop watched; and when it is
told to stop, it drains (`drain`). A second signal says that even this is too long (L8).

Whatever fails at the start leaves nothing behind, no port, no path, no thread, and says one line. A server runs once:
its loop is closed at the end.
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import signal
import threading
import weakref
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from ..connections.acceptor import Listener
from ..connections.limits import Limits
from ..connections.protocol import Protocol
from ..connections.reactor import Reactor
from ..loop.reports import lost, report
from ..loop.watchdog import Watchdog
from ..net.addresses import Address, bind, describe, parse
from ..net.unix_paths import OwnPath, own_path
from .descriptors import make_room
from .drain import Drain
from .stuck import WayOut

logger = logging.getLogger("reactor.service")

DEFAULT_BIND = "127.0.0.1:65432"
FIRST_HANDED_IN = 3  # SD_LISTEN_FDS_START of sd_listen_fds(3)
OF_THE_LOOP = ("memory_bytes", "blocked_seconds")  # the limits that are not of one connection, or of one listener
_served: weakref.WeakSet[Reactor] = weakref.WeakSet()  # the reactors that servers run


def handed_in() -> list[str]:
    """The sockets that whoever started this process has handed to it, as addresses (sd_listen_fds(3)).

    ValueError if LISTEN_FDS does not say how many.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []  # the variables were meant for a parent of ours, and so were the sockets
    count = os.environ.get("LISTEN_FDS", "")
    if not (count.isascii() and count.isdecimal() and len(count) < 5):
        raise ValueError(f"LISTEN_FDS must be the number of sockets that were handed in, not {count!r}")
    return [f"fd://{number}" for number in range(FIRST_HANDED_IN, FIRST_HANDED_IN + int(count))]


class Server:
    """Serves `program` at the addresses `bind`.

    `program` makes one protocol for each connection: a `Protocol` class, or anything that is called without
    arguments and returns one. `bind` is an address or a sequence of them (see `net.addresses`); without it the
    sockets that were handed in are served (`handed_in`), or else port 65432 of this machine.

    `limits` are those of the connections and of the drain; without them, those of `reactor`. `memory_bytes` and
    `blocked_seconds` are about a loop as a whole, so a reactor that is given has its own. So is `fast_path` (see
    `Reactor`).

    Use it in one of two ways: `run()` on the main thread until a signal or `close()`; or as a context manager,
    which runs it on a thread of its own while the block lasts. Either way once.

    ValueError for an address that is none, and for a limit or a path that only `reactor` could keep; TypeError for a
    program that cannot be called.
    """

    def __init__(
        self,
        program: Callable[[], Protocol],
        bind: str | Sequence[str] | None = None,
        *,
        limits: Limits | None = None,
        reactor: Reactor | None = None,
        fast_path: bool = True,
    ) -> None:
        if not callable(program):
            raise TypeError(f"program must be a Protocol class or a factory of them, not {program!r}")
        if reactor is not None and not fast_path:
            raise ValueError("the reactor that is given has a path already: give fast_path to Reactor(fast_path=...)")
        self.program = program
        if bind is None:
            bind = handed_in() or DEFAULT_BIND
        self.bind: list[Address] = [parse(text) for text in ([bind] if isinstance(bind, str) else bind)]
        if not self.bind:
            raise ValueError("bind must name at least one address")
        if limits is not None and reactor is not None:
            _check_limits_of_the_loop(limits, reactor.limits)
        self.limits = limits or (reactor.limits if reactor is not None else Limits())
        self.reactor = reactor or Reactor(limits=self.limits, fast_path=fast_path)
        self.addresses: list[str] = []  # where it listens, once `listen` was called
        self._listeners: list[Listener] = []
        self._unix_paths: list[OwnPath] = []
        self._drain = Drain(self.reactor, self.limits.drain_seconds)
        self._way_out = WayOut(self._unlink_paths)
        self._started = self._ended = False  # it runs once
        self._shortage = ""  # what there is to say about the number of descriptors
        self._thread: threading.Thread | None = None

    def listen(self) -> list[str]:
        """Bind and listen, and return the addresses with the real ports. `run` does it if you did not.

        OSError, with an explanation in `strerror`, when an address cannot be had; then none is kept. RuntimeError
        when the server has ended.
        """
        self._check_not_ended()
        if not self.addresses:
            self.reactor.check_open()
            self.reactor.at_close.add(self._give_back)
            try:
                for address in self.bind:
                    self._listen_at(address)
            except BaseException:  # it listens at all of its addresses or at none
                self._stop_listening()
                raise
            self.addresses = [describe(listener.address) for listener in self._listeners]
            report(logger, logging.INFO, "listening on %s", ", ".join(self.addresses))
        return self.addresses

    def _listen_at(self, address: Address) -> None:
        if address.fd in self.reactor.poller.handlers:  # the loop's own, or given twice (A10)
            raise OSError(errno.EBUSY, f"cannot listen on {address}: this server has it in use already")
        sockets = bind(address, self.reactor.socket_factory)
        try:
            if address.path is not None and (made := own_path(address.path)):
                self._unix_paths.append(made)
            while sockets:
                self._listeners.append(self.reactor.listen(sockets[0], self.program, self.limits))
                del sockets[0]  # it has its owner
        except BaseException as exc:  # bound by two, listened on by one: it shows only now; or whatever it is
            for sock in sockets:
                sock.close() if address.fd is None else sock.detach()  # what was handed in is not ours to close
            if isinstance(exc, OSError):
                raise OSError(exc.errno, f"cannot listen on {address}: {exc.strerror}") from None
            raise

    def _stop_listening(self) -> None:
        self._unlink_paths()  # before their sockets are closed: see `OwnPath.remove`
        while self._listeners:
            self.reactor.acceptor.stop_listening(self._listeners.pop())

    def _unlink_paths(self) -> None:
        while self._unix_paths:
            self._unix_paths.pop().remove()

    def _give_back(self) -> None:
        """The reactor is about to close, whoever has it do so: everyone who is cut by that is counted."""
        self._drain.finish()
        self._stop_listening()

    def run(self) -> int:
        """Serve until `close`, SIGINT, SIGTERM or SIGHUP; then drain. How many connections had to be cut.

        On the main thread the process is taken to be the server's: signals are handled, and the limit of descriptors
        is raised. RuntimeError when it was run before, or its reactor runs already or is closed. Else as `listen`.
        """
        self._start()
        return self._serve()

    def _start(self) -> None:
        self._check_not_ended()
        if self._started:
            raise RuntimeError("this server is running already")
        self.reactor.check_idle()
        if self.reactor in _served:  # on a thread that may not have come as far as to run it
            raise RuntimeError("this loop is already running, for another server")
        _served.add(self.reactor)
        self._started = True

    def _check_not_ended(self) -> None:
        if self._ended:
            raise RuntimeError("this server is closed: make another one")

    def _serve(self) -> int:
        watchdog, process = None, os.getpid()
        try:
            self.handle_signals()
            self.raise_descriptor_limit()
            self.listen()
            if self._shortage:
                report(logger, logging.WARNING, "%s", self._shortage)
            watchdog = self._watch()
            self.reactor.run()
        finally:
            if os.getpid() == process:  # a fork's child may leave by SystemExit, and must take nothing with it (L5)
                self._finish(watchdog)
        served = self.reactor.counters.accepted
        report(logger, logging.INFO, "stopped: %d connections served, %d cut", served, self._drain.cut)
        return self._drain.cut

    def _watch(self) -> Watchdog | None:
        if self.limits.blocked_seconds == math.inf:
            return None
        try:
            return Watchdog(self.reactor, also=self._look_for_a_way_out)
        except RuntimeError as exc:  # serving needs no thread, and does not end for want of one (P4)
            report(logger, logging.WARNING, "callbacks that block will not be reported: %s", exc)
            return None

    def _look_for_a_way_out(self) -> None:
        self._way_out.look(self.reactor.untaken_wake_ups())

    def _finish(self, watchdog: Watchdog | None) -> None:
        self._ended = True
        try:
            if watchdog is not None:
                watchdog.stop()
        finally:
            self.reactor.close()

    def raise_descriptor_limit(self) -> None:
        """Have the system allow as many descriptors as `max_connections` need, if this is the main thread.

        `run` does it if you did not, and logs one warning if the system does not allow that many (P8).
        """
        if threading.current_thread() is threading.main_thread():
            self._shortage = make_room(self.limits.max_connections)

    def handle_signals(self) -> None:
        """Take SIGINT, SIGTERM and SIGHUP to mean a drain, and SIGUSR1 to log the statistics, on the main thread.

        `run` does it if you did not. SIGHUP comes when the terminal goes away (P7); a process that was told to ignore
        it, as by nohup(1), goes on ignoring it. A signal that you have added to the reactor before stays yours. A
        second signal ends the process, also when a callback never returns; a SIGHUP never counts as the second, since
        one terminal may send two.

        Before `listen`: whoever reads that the server is listening may send a signal at once, and then must get
        a drain, not the signal's default.
        """
        if threading.current_thread() is threading.main_thread():
            numbers = [signal.SIGINT, signal.SIGTERM]
            if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
                numbers.append(signal.SIGHUP)
            for number in numbers:
                if not self.reactor.handles_signal(number):
                    self._way_out.numbers.add(number)
                    self.reactor.add_signal_handler(
                        number, self._on_signal, number.name, at_once=self._way_out.arrived
                    )
            if hasattr(signal, "SIGUSR1") and not self.reactor.handles_signal(signal.SIGUSR1):
                self.reactor.add_signal_handler(signal.SIGUSR1, self._log_statistics)

    def close(self) -> None:
        """Drain and have `run` return. From any thread or callback; again, or after the end, does nothing."""
        try:
            self.reactor.call_soon_threadsafe(self._begin_drain)
        except RuntimeError:
            pass  # it has ended already

    def statistics(self) -> dict[str, Any]:
        """What happened so far, by name: the reactor's counters, and `listening`. From any thread.

        `lost_log_lines` are those of the whole process that could not be logged (`loop.reports.lost`).
        """
        return {"listening": list(self.addresses), "lost_log_lines": lost(), **self.reactor.counters.snapshot()}

    def _log_statistics(self) -> None:
        report(logger, logging.INFO, "statistics: %s", json.dumps(self.statistics()))

    def _on_signal(self, name: str) -> None:
        if name == "SIGHUP" and self._drain.begun:
            return  # a terminal that goes away sends two, one by the shell and one by the kernel: nobody is in a hurry
        self._way_out.heard()
        if self._drain.begun:
            report(logger, logging.INFO, "%s again: stopping at once", name)
            self.reactor.stop()
        else:
            report(logger, logging.INFO, "%s: draining for at most %g seconds", name, self.limits.drain_seconds)
            self._begin_drain()

    def _begin_drain(self) -> None:
        self._stop_listening()
        self._drain.begin()

    # On a thread of its own.

    def __enter__(self) -> Server:
        self._start()
        try:
            self.listen()
            self._thread = threading.Thread(target=self._serve, name=f"reactor {self.addresses[0]}", daemon=True)
            _start_thread(self._thread)
        except BaseException:
            self._finish(None)  # there is no block at whose end it would be
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if self._thread is not None:
            self._thread.join()


def _start_thread(thread: threading.Thread) -> None:
    try:
        thread.start()
    except RuntimeError as exc:  # a limit of the system's or of a container's (P4)
        raise RuntimeError(f"there is no thread to serve on: {exc}") from None


def _check_limits_of_the_loop(limits: Limits, reactor_limits: Limits) -> None:
    for name in OF_THE_LOOP:
        if getattr(limits, name) != getattr(reactor_limits, name):
            raise ValueError(
                f"{name} is kept by the reactor, which has {getattr(reactor_limits, name)}, not"
                f" {getattr(limits, name)}: give it to Reactor(limits=...)"
            )

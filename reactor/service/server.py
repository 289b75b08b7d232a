"""A program, its addresses and a clean end: what a process needs around a `Reactor`.

A reactor is a loop and knows nothing of the process around it. A server does the rest. It listens at all of its
addresses or at none. It gives the process's signals their usual meaning. It has a watchdog look at the loop. When it
is told to stop, it drains (`drain`). A second signal ends the drain at once (L8).

A failed start leaves nothing behind, no port, no path and no thread, and raises one error. A server runs once: it
closes its loop at the end.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any

from ..connections.acceptor import Listener
from ..connections.limits import Limits
from ..connections.protocol import Protocol, check_program
from ..connections.reactor import Reactor
from ..connections.sockaddr import describe
from ..coroutines.handlers import Handler, handler_factory, is_handler, mistake_in_handler
from ..coroutines.tree import task_tree
from ..loop.reports import lost, report
from ..loop.watchdog import Watchdog
from ..net.addresses import Address, bind, parse
from ..net.unix_paths import OwnPath, own_path
from .descriptors import make_room
from .drain import Drain
from .statistics_table import Statistics
from .stuck import WayOut
from .units import counted

logger = logging.getLogger("reactor.service")

DEFAULT_BIND = "127.0.0.1:65432"
FIRST_HANDED_IN = 3  # SD_LISTEN_FDS_START of sd_listen_fds(3)
# The limits that concern the loop, not one connection or listener.
OF_THE_LOOP = ("memory_bytes", "blocked_seconds", "max_threads", "max_thread_queue")
importing = ""  # the module that `reactor serve` imports at this moment
_served: weakref.WeakSet[Reactor] = weakref.WeakSet()  # the reactors that servers run


def handed_in() -> list[str]:
    """The sockets that a supervisor has handed to this process, as addresses (sd_listen_fds(3)).

    ValueError if LISTEN_FDS is not a number.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []  # the variables and the sockets are meant for another process
    count = os.environ.get("LISTEN_FDS", "")
    if not (count.isascii() and count.isdecimal() and len(count) < 5):
        raise ValueError(f"LISTEN_FDS must be the number of sockets that were handed in, not {count!r}")
    return [f"fd://{number}" for number in range(FIRST_HANDED_IN, FIRST_HANDED_IN + int(count))]


class Server:
    """Serves `program` at the addresses `bind`.

    `program` makes one protocol for each connection. It is a `Protocol` class, or anything that returns a protocol when
    it is called without arguments. Or it is an async function that takes a `Stream`: then each connection has a task
    that runs it. `bind` is an address or a sequence of addresses (see `net.addresses`). Without it
    the server uses the sockets that were handed in (`handed_in`), or else port 65432 of this machine.

    `limits` apply to the connections and to the drain. The default is the limits of `reactor`. `memory_bytes`,
    `blocked_seconds`, `max_threads`, `max_thread_queue` and `fast_path` concern the loop as a whole (see `Reactor`), so
    a given `reactor` keeps its own.

    Use a server once, in one of two ways. `run()` serves on this thread until a signal or `close()`. As a context
    manager it serves on a thread of its own while the block lasts.

    ValueError for a wrong address, for `fast_path=False` beside a `reactor`, and for a limit of the loop that differs
    from that of `reactor`. TypeError for a program that cannot be called.
    """

    def __init__(
        self,
        program: Callable[[], Protocol] | Handler,
        bind: str | Sequence[str] | None = None,
        *,
        limits: Limits | None = None,
        reactor: Reactor | None = None,
        fast_path: bool = True,
    ) -> None:
        if limits is not None and not isinstance(limits, Limits):
            raise TypeError(f"limits must be Limits(...), not {limits!r}")
        if reactor is not None and not isinstance(reactor, Reactor):
            raise TypeError(f"reactor must be a Reactor, not {reactor!r}")
        factory = _factory_of(program)
        if reactor is not None and not fast_path:
            raise ValueError("the reactor that is given has a path already: give fast_path to Reactor(fast_path=...)")
        self.program = factory  # makes a protocol for each connection
        if bind is None:
            bind = handed_in() or DEFAULT_BIND
        elif not isinstance(bind, Iterable):
            raise TypeError(f"bind must be an address like HOST:PORT, or several, not {bind!r}")
        elif isinstance(bind, tuple) and any(isinstance(part, int) for part in bind):  # as `socket.bind` takes it
            raise TypeError(f"an address is text like HOST:PORT, not the tuple {bind!r}")
        self.bind: list[Address] = [parse(text) for text in ([bind] if isinstance(bind, str) else bind)]
        if not self.bind:
            raise ValueError("bind must name at least one address")
        if limits is not None and reactor is not None:
            _check_limits_of_the_loop(limits, reactor.limits)
        self.limits = limits or (reactor.limits if reactor is not None else Limits())
        self.reactor = reactor or Reactor(limits=self.limits, fast_path=fast_path)
        self.addresses: list[str] = []  # where it listens; empty before `listen`
        self._listeners: list[Listener] = []
        self._unix_paths: list[OwnPath] = []
        self._drain = Drain(self.reactor, self.limits.drain_seconds)
        self._way_out = WayOut(self._unlink_paths)
        self._started = self._ended = False  # a server runs once
        self._shortage = ""  # the warning about too few descriptors, or ""
        self._thread: threading.Thread | None = None

    def listen(self) -> list[str]:
        """Bind and listen, and return the addresses with the real ports. `run` calls this if you did not.

        OSError, with an explanation in `strerror`, if an address is not available; then all are given back.
        RuntimeError if the server has ended or its reactor is closed.
        """
        self._check_not_ended()
        if not self.addresses:
            self.reactor.check_open()
            self.reactor.at_close.add(self._give_back)
            try:
                for address in self.bind:
                    self._listen_at(address)
            except BaseException:  # listen at all addresses or at none
                self._stop_listening()
                raise
            self.addresses = [describe(listener.address) for listener in self._listeners]
            report(logger, logging.INFO, "listening on %s", ", ".join(self.addresses))
        return self.addresses

    def _listen_at(self, address: Address) -> None:
        if address.fd in self.reactor.poller.handlers:  # a descriptor of the loop itself, or one given twice (A10)
            raise OSError(errno.EBUSY, f"cannot listen on {address}: this server has it in use already")
        sockets = bind(address, self.reactor.socket_factory)
        try:
            if address.path is not None and (made := own_path(address.path)):
                self._unix_paths.append(made)
            while sockets:
                self._listeners.append(self.reactor.listen(sockets[0], self.program, self.limits))
                del sockets[0]  # the listener owns it now
        except BaseException as exc:  # two sockets can be bound to one port, but only one can listen
            for sock in sockets:
                sock.close() if address.fd is None else sock.detach()  # a socket that was handed in stays open
            if isinstance(exc, OSError):
                raise OSError(exc.errno, f"cannot listen on {address}: {exc.strerror}") from None
            raise

    def _stop_listening(self) -> None:
        self._unlink_paths()  # while their sockets are open: see `OwnPath.remove`
        while self._listeners:
            self.reactor.acceptor.stop_listening(self._listeners.pop())

    def _unlink_paths(self) -> None:
        while self._unix_paths:
            self._unix_paths.pop().remove()

    def _give_back(self) -> None:
        """The reactor is about to close: count the connections that this cuts, and stop listening."""
        self._drain.finish()
        self._stop_listening()

    def run(self) -> int:
        """Serve until `close`, SIGINT, SIGTERM or SIGHUP; then drain. Returns how many connections were cut.

        On the main thread it also handles signals and raises the limit of descriptors. RuntimeError if it was run
        before, or if its reactor runs already or is closed. OSError as in `listen`.
        """
        self._start()
        return self._serve()

    def _start(self) -> None:
        if importing:
            self._finish(None)
            text = f'{importing} starts a server while it is imported: do that under `if __name__ == "__main__":`'
            raise RuntimeError(text)
        self._check_not_ended()
        if self._started:
            raise RuntimeError("this server is running already")
        self.reactor.check_idle()
        if self.reactor in _served:  # that server's thread may not run it yet
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
            if os.getpid() == process:  # a forked child may leave by SystemExit, and ends nothing here (L5)
                self._finish(watchdog)
        accepted = counted(self.reactor.counters.accepted, "connection")
        report(logger, logging.INFO, "stopped: %s accepted, %d cut", accepted, self._drain.cut)
        return self._drain.cut

    def _watch(self) -> Watchdog | None:
        if self.limits.blocked_seconds == math.inf:
            return None
        try:
            return Watchdog(self.reactor, also=self._look_for_a_way_out)
        except RuntimeError as exc:  # no thread can be started (P4); the server works without a watchdog
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
        """On the main thread, ask the system for as many descriptors as `max_connections` need.

        `run` calls this if you did not, and logs one warning if the system does not allow that many (P8).
        """
        if threading.current_thread() is threading.main_thread():
            self._shortage = make_room(self.limits.max_connections)

    def handle_signals(self) -> None:
        """On the main thread: SIGINT, SIGTERM and SIGHUP begin a drain, and SIGUSR1 logs the statistics.

        `run` calls this if you did not. SIGHUP comes when the terminal goes away (P7). A process that ignores SIGHUP,
        for example under nohup(1), still ignores it. A signal that you added to the reactor before stays yours. A
        second signal ends the server at once, even if a callback never returns. SIGHUP never counts as the second,
        because one terminal may send two.

        Call this before `listen`. A program that reads "listening" in the log may send a signal at once, and must get
        a drain, not the signal's default action.
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
        """Drain, and make `run` return. Call it from any thread or callback. After the end it does nothing."""
        try:
            self.reactor.call_soon_threadsafe(self._begin_drain)
        except RuntimeError:
            pass  # the server has ended

    def statistics(self) -> dict[str, Any]:
        """What happened so far, by name: the reactor's counters and `listening`. Call it from any thread.

        `statistics_table.FIGURES` has every name, with its unit and its meaning. `closed` is a dictionary by reason,
        and `lag_seconds` one by percentile. The counts never fall; what its meaning calls "now" goes up and down.
        """
        return {"listening": list(self.addresses), "lost_log_lines": lost(), **self.reactor.counters.snapshot()}

    def _log_statistics(self) -> None:
        # A mapping: a JSON log has the figures as they are. Its text is a table, and the newline begins the first row.
        figures = {"statistics": Statistics(self.statistics())}
        report(logger, logging.INFO, "statistics\n%(statistics)s", figures)
        if tasks := task_tree(self.reactor):
            report(logger, logging.INFO, "tasks\n%s", "\n".join(tasks))

    def _on_signal(self, name: str) -> None:
        if name == "SIGHUP" and self._drain.begun:
            return  # when a terminal goes away, the shell and the kernel may each send one
        self._way_out.heard()
        if self._drain.begun:
            report(logger, logging.INFO, "%s again: stopping at once", name)
            self.reactor.stop()
        else:
            text = "%s: draining %s; a second signal stops at once"
            report(logger, logging.INFO, text, name, _at_most(self.limits.drain_seconds))
            self._begin_drain()

    def _begin_drain(self) -> None:
        self._stop_listening()
        self._drain.begin()

    # As a context manager: on a thread of its own.

    def __enter__(self) -> Server:
        self._start()
        try:
            self.listen()
            self._thread = threading.Thread(target=self._serve, name=f"reactor {self.addresses[0]}", daemon=True)
            _start_thread(self._thread)
        except BaseException:
            self._finish(None)  # the block never begins, so `__exit__` never runs
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if self._thread is not None:
            self._thread.join()


def _factory_of(program: object) -> Callable[[], Protocol]:
    """What makes a protocol for each connection. TypeError if `program` has a mistake that can be seen."""
    if mistake := mistake_in_handler(program):
        raise TypeError(mistake)
    if not callable(program):
        raise TypeError(f"program must be a Protocol class, a factory of them or an async function, not {program!r}")
    if is_handler(program):
        return handler_factory(program)
    check_program(program)
    return program


def _start_thread(thread: threading.Thread) -> None:
    try:
        thread.start()
    except RuntimeError as exc:  # the system or a container limits threads (P4)
        raise RuntimeError(f"there is no thread to serve on: {exc}") from None


def _at_most(seconds: float) -> str:
    return "without a deadline" if seconds == math.inf else f"for at most {seconds:g} s"


def _check_limits_of_the_loop(limits: Limits, reactor_limits: Limits) -> None:
    for name in OF_THE_LOOP:
        if getattr(limits, name) != getattr(reactor_limits, name):
            raise ValueError(
                f"{name} is kept by the reactor, which has {getattr(reactor_limits, name)}, not"
                f" {getattr(limits, name)}: give it to Reactor(limits=...)"
            )

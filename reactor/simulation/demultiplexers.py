"""A selector and an epoll that answer from the simulated network, and wait by moving its clock.

The reactor asks the kernel in two ways (`loop.poller`): by the methods that every selector has, or by epoll where it
exists. Epoll says more (a peer's FIN, a hang-up), and reports errors and hang-ups without being asked. Both ways must
be tested, so there is a class for each.

Virtual time passes while a loop waits. Events on the network happen one after another, until a watched descriptor is
ready or the time is up. If nothing will ever happen, the wait sets `quiet` and returns.

Readiness is level-triggered. The order of events is random, because no kernel promises an order. An event may also be
false ("spurious"; select(2) warns of it).
"""

from __future__ import annotations

import errno
import math
import selectors
from collections.abc import Callable, Mapping
from typing import Any

from ..loop.poller import EpollPoller, SelectorPoller
from .network import ERR, HUP, IN, OUT
from .sockets import FIRST_DESCRIPTOR, Descriptors

AWAY_SECONDS = 0.1  # a loop that is away from its wait for longer was held up
WAIT_GRAIN_SECONDS = 0.001  # epoll_wait(2) rounds a timeout up to this; a wait is never shorter than asked
FOREVER_SECONDS = 3600.0  # a wait this long counts as endless: all deadlines here are shorter
STOP_SECONDS = 6.0  # how much longer than it wanted to wait a process is stopped, at most
ALWAYS = ERR | HUP  # what epoll(7) reports without being asked


class Waiter:
    """What both classes share: which descriptors are watched for what, and the wait."""

    def __init__(self, table: Descriptors, always: int) -> None:
        self.table = table
        self.network = table.network
        self.always = always
        self.watched: dict[int, int] = {}  # by descriptor, the bits that were asked for
        self.quiet = False  # nothing will ever happen
        self.asked_at = self.network.now  # when the last wait began; it reported all that had come by then
        self.judged_at = self.network.now  # `asked_at` when the loop last judged deadlines
        self.absences: list[tuple[float, float]] = []  # the times (from, to) when the loop was held up
        self._turn = 0
        self._told: dict[int, int] = {}  # by descriptor, the last full turn that reported it
        self.batch: dict[int, Any] = {}  # the last answer: by descriptor, socket, bits, two counters
        self.before_waiting: Callable[[float], None] | None = None  # called when time is about to pass
        self.still_waiting: Callable[[], None] | None = None  # called if something happened and nothing is ready

    def watch(self, fd: int, bits: int) -> None:
        """Watch `fd` for `bits`. KeyError if it is watched already, as in `selectors`.

        OSError if it is not open, or the kernel has no room for it.
        """
        if fd in self.watched:
            raise KeyError(f"{fd} is registered already")
        self.network.stir()
        if fd not in self.table.open:
            raise OSError(errno.EBADF, f"{fd} is not open")
        if fd >= FIRST_DESCRIPTOR:
            self.table.refuse_to_watch(fd)
        self.watched[fd] = bits
        self.table.interrupt(self.table.open[fd])

    def change(self, fd: int, bits: int) -> None:
        """Watch `fd` for other bits. OSError if the kernel has no room for that."""
        assert self.watched[fd] != bits, f"descriptor {fd} was modified though nothing changed"
        self.network.stir()
        self.table.refuse_to_watch(fd)
        self.watched[fd] = bits
        self.table.interrupt(self.table.open[fd])

    def forget(self, fd: int) -> None:
        """Stop watching `fd`."""
        del self.watched[fd]
        self.network.stir()
        self.table.interrupt(self.table.open.get(fd))

    def wait(self, timeout: float | None, most: int = 1 << 30) -> list[tuple[int, int]]:
        """What is ready within `timeout` seconds: at most `most` of (descriptor, bits).

        If more are ready, those not reported for the longest time come first (epoll_wait(2), "round robin").
        """
        network = self.network
        self.asked_at = network.now
        until = network.now + (math.inf if timeout is None else timeout)
        network.run_due()
        found = self.ready()
        if not found and (timeout is None or timeout > 0):
            found = self._sleep(math.inf if timeout is None or timeout >= FOREVER_SECONDS else timeout)
        if found and self.table.strikes("stopped", self.table.faults.stopped):
            network.now += STOP_SECONDS * network.draw()
        self.held_up(until, network.now)
        if len(found) > 1:
            found = [event for _, event in sorted((network.draw(), event) for event in found)]
        if len(found) > most:
            found = sorted(found, key=lambda event: self._told.get(event[0], 0))[:most]
            self._turn += 1
            self._told.update((fd, self._turn) for fd, _ in found)
        self.batch = {fd: [self.table.open.get(fd), bits, 0, 0] for fd, bits in found}
        return found

    def held_up(self, left_at: float, back_at: float) -> None:
        """The loop was away from `left_at` to `back_at`. Note it if that is long.

        It is one with an absence that ended at `left_at`, unless deadlines were judged in between.
        """
        if back_at - left_at > AWAY_SECONDS:
            if self.absences and self.absences[-1][1] == left_at > self.judged_at:
                left_at = self.absences.pop()[0]
            self.absences.append((left_at, back_at))

    def _sleep(self, timeout: float) -> list[tuple[int, int]]:
        network = self.network
        until = network.now + timeout
        if until < math.inf:
            # Round up. The maximum makes sure that the sum is greater than `now`.
            until = max(math.ceil(until / WAIT_GRAIN_SECONDS) * WAIT_GRAIN_SECONDS, network.now + max(timeout, 1e-6))
        if self.before_waiting is not None:
            self.before_waiting(until)
        if self.table.strikes("stopped", self.table.faults.stopped):
            self._stand_still(min(until, network.now + STOP_SECONDS) + STOP_SECONDS * network.draw())
            if until < math.inf:
                # The kernel interrupts the wait (signal(7): EINTR after SIGCONT). Python sees that the time is up and
                # returns without asking again (PEP 475). So the answer lacks what has come meanwhile.
                return []
        while True:
            following = network.next_time()
            if following == until == math.inf:
                self.quiet = True
                return []
            network.now = max(network.now, min(following, until))
            network.run_due()
            found = self.ready()
            if found or network.now >= until:
                return found
            if self.still_waiting is not None:
                self.still_waiting()

    def _stand_still(self, until: float) -> None:
        """Let the network run until `until`, while the process does nothing."""
        network = self.network
        while (following := network.next_time()) <= until:
            network.now = max(network.now, following)
            network.run_due()
        network.now = max(network.now, until)

    def ready(self) -> list[tuple[int, int]]:
        """What is ready now."""
        found = []
        table, always, spurious = self.table, self.always, self.table.faults.spurious
        sockets = table.open
        for fd, bits in self.watched.items():
            happened = sockets[fd].events() & (bits | always)
            if spurious and not happened and bits & IN and table.strikes("spurious", spurious):
                happened = IN
            if happened:
                found.append((fd, happened))
        return found


class FakeSelector(selectors.BaseSelector):
    """For `loop.poller.SelectorPoller`: a selector such as select, poll or kqueue."""

    def __init__(self, table: Descriptors) -> None:
        self.waiter = Waiter(table, 0)
        self._keys: dict[int, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Watch `fileobj`, a descriptor."""
        self.waiter.watch(fileobj, _bits(events))
        return self._remember(fileobj, events, data)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Watch it for `events`, which may be the same as before, as in `selectors`."""
        if _bits(events) != self.waiter.watched[fileobj]:
            self.waiter.change(fileobj, _bits(events))
        return self._remember(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Stop watching it."""
        self.waiter.forget(fileobj)
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait at most `timeout` seconds for what is watched."""
        return [
            (self._keys[fd], (bits & IN and selectors.EVENT_READ) | (bits & OUT and selectors.EVENT_WRITE))
            for fd, bits in self.waiter.wait(timeout)
        ]

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """What is watched."""
        return self._keys

    def _remember(self, fd: int, events: int, data: Any) -> selectors.SelectorKey:
        key = self._keys[fd] = selectors.SelectorKey(fd, fd, events, data)
        return key


class FakeEpoll:
    """For `loop.poller.EpollPoller`: the methods of `select.epoll`."""

    def __init__(self, table: Descriptors) -> None:
        self.waiter = Waiter(table, ALWAYS)

    def register(self, fd: int, bits: int) -> None:
        """EPOLL_CTL_ADD."""
        self.waiter.watch(fd, bits)

    def modify(self, fd: int, bits: int) -> None:
        """EPOLL_CTL_MOD."""
        self.waiter.change(fd, bits)

    def unregister(self, fd: int) -> None:
        """EPOLL_CTL_DEL."""
        self.waiter.forget(fd)

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        """epoll_wait; a negative timeout means no limit."""
        return self.waiter.wait(None if timeout < 0 else timeout, most)

    def close(self) -> None:
        """There is nothing to close."""


def make_poller(table: Descriptors, epoll: bool) -> tuple[SelectorPoller, Waiter]:
    """A poller over the simulated network, for epoll or for selectors, and its `Waiter`."""
    selector = FakeSelector(table)
    if not epoll:
        return SelectorPoller(selector), selector.waiter
    answering = FakeEpoll(table)
    return EpollPoller(selector, answering), answering.waiter  # type: ignore[arg-type]  # it has all that is used


def _bits(events: int) -> int:
    return (events & selectors.EVENT_READ and IN) | (events & selectors.EVENT_WRITE and OUT)

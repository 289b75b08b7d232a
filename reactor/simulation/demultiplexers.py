"""A selector and an epoll that answer from the simulated network, and wait by moving its clock.

The reactor speaks to the kernel in two ways (`loop.poller`): by the methods that every selector has, and directly to
epoll where there is one, which can say more (a peer's FIN, a hang-up) and also says more than it was asked: errors and
hang-ups are reported whether one wants them or not. Both must be tried, so there is a face for each.

Waiting is where virtual time passes. What happens next on the network happens, until something that is watched
is ready or the time is up. If nothing will ever happen, it is `quiet`, and returns.

Readiness is level-triggered. The order of events is drawn, as no kernel promises any, and so may be an event that is
none ("spurious"; select(2) warns of it).
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

AWAY_SECONDS = 0.1  # a loop that is longer away from its wait was held up
WAIT_GRAIN_SECONDS = 0.001  # epoll_wait(2) rounds a timeout up to this; a wait is never shorter than asked
FOREVER_SECONDS = 3600.0  # a wait of this is as good as one without end: all deadlines here are shorter
STOP_SECONDS = 6.0  # how long a process is stopped, at most, beyond what it wanted to wait
ALWAYS = ERR | HUP  # what epoll(7) reports unasked


class Waiter:
    """What both faces share: who is watched for what, and the wait."""

    def __init__(self, table: Descriptors, always: int) -> None:
        self.table = table
        self.network = table.network
        self.always = always
        self.watched: dict[int, int] = {}  # by descriptor, the bits that were asked for
        self.quiet = False  # nothing will ever happen
        self.asked_at = self.network.now  # when the last wait began: what had come by then was told
        self.judged_at = self.network.now  # up to when the loop knew what had come when it last judged deadlines
        self.absences: list[tuple[float, float]] = []  # from when to when the loop was held up
        self._turn = 0
        self._told: dict[int, int] = {}  # by descriptor, in which turn it was told of, when not all were
        self.batch: dict[int, Any] = {}  # whom the last answer was about, and what it told of each
        self.before_waiting: Callable[[float], None] | None = None  # told when time is about to pass
        self.still_waiting: Callable[[], None] | None = None  # told when something has happened, and nothing is ready

    def watch(self, fd: int, bits: int) -> None:
        """From now on ask for `bits` of `fd`, which is not watched. KeyError when it is, as selectors have it.

        OSError when the kernel has no room for it.
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
        """Ask for other bits of `fd`. OSError when the kernel has no room for that."""
        assert self.watched[fd] != bits, f"descriptor {fd} was modified though nothing changed"
        self.network.stir()
        self.table.refuse_to_watch(fd)
        self.watched[fd] = bits
        self.table.interrupt(self.table.open[fd])

    def forget(self, fd: int) -> None:
        """Ask for nothing of `fd`."""
        del self.watched[fd]
        self.network.stir()
        self.table.interrupt(self.table.open.get(fd))

    def wait(self, timeout: float | None, most: int = 1 << 30) -> list[tuple[int, int]]:
        """What is ready within `timeout` seconds: (descriptor, bits), of at most so many.

        Where that is not all, those come first of whom it was not told for longest (epoll_wait(2), "round robin").
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
        """The loop was to wait, or to go on, at `left_at`, and did so at `back_at`: note it if that is long.

        It is one with the absence that ended at `left_at`, unless deadlines were judged in between.
        """
        if back_at - left_at > AWAY_SECONDS:
            if self.absences and self.absences[-1][1] == left_at > self.judged_at:
                left_at = self.absences.pop()[0]
            self.absences.append((left_at, back_at))

    def _sleep(self, timeout: float) -> list[tuple[int, int]]:
        network = self.network
        until = network.now + timeout
        if until < math.inf:
            # Rounded up, and never so little that the sum is the same number again.
            until = max(math.ceil(until / WAIT_GRAIN_SECONDS) * WAIT_GRAIN_SECONDS, network.now + max(timeout, 1e-6))
        if self.before_waiting is not None:
            self.before_waiting(until)
        if self.table.strikes("stopped", self.table.faults.stopped):
            self._stand_still(min(until, network.now + STOP_SECONDS) + STOP_SECONDS * network.draw())
            if until < math.inf:
                # The kernel has interrupted the wait (signal(7): EINTR after SIGCONT), and Python finds that its time
                # is up, and answers without asking again (PEP 475). What has come meanwhile is not in the answer.
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
        """Let everything happen up to then, to a process that does nothing."""
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
    """For `loop.poller.SelectorPoller`: a selector like select, poll or kqueue."""

    def __init__(self, table: Descriptors) -> None:
        self.waiter = Waiter(table, 0)
        self._keys: dict[int, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Watch it."""
        self.waiter.watch(fileobj, _bits(events))
        return self._remember(fileobj, events, data)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Watch it for something else. (That it may be the same is how `selectors` are.)"""
        if _bits(events) != self.waiter.watched[fileobj]:
            self.waiter.change(fileobj, _bits(events))
        return self._remember(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Watch it no more."""
        self.waiter.forget(fileobj)
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for what is watched."""
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
    """What `select.epoll` has, for `loop.poller.EpollPoller`."""

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
        """epoll_wait; a negative timeout is none."""
        return self.waiter.wait(None if timeout < 0 else timeout, most)

    def close(self) -> None:
        """Nothing is behind it."""


def make_poller(table: Descriptors, epoll: bool) -> tuple[SelectorPoller, Waiter]:
    """A poller of either kind over the simulated network, and what it waits with."""
    selector = FakeSelector(table)
    if not epoll:
        return SelectorPoller(selector), selector.waiter
    answering = FakeEpoll(table)
    return EpollPoller(selector, answering), answering.waiter  # type: ignore[arg-type]  # it asks no more of it


def _bits(events: int) -> int:
    return (events & selectors.EVENT_READ and IN) | (events & selectors.EVENT_WRITE and OUT)

"""What tasks wait for that is not a connection: time, and each other.

All of these are built on one thing: a queue of tasks that wait to be woken, first come, first served (`WaitQueue`). One
case is hard in each library of this kind: a task is woken, and before it goes on, it is cancelled. What it was woken
for must then go to the next one, or it is lost (rule 3). `WaitQueue` does this in one place.

The names are those of asyncio. None of these objects may be used by two threads: have the loop make the call, by
`Reactor.call_soon_threadsafe(event.set)`. What wakes a task raises RuntimeError on another thread, and changes nothing.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

from ..loop.timers import Handle
from .pausing import pause
from .scopes import Cancelled, current_task, get_current
from .task import STEPS_PER_TURN, Task

T = TypeVar("T")


class _Place:
    """One task that waits in a queue."""

    __slots__ = ("task", "call")

    def __init__(self, task: Task) -> None:
        self.task = task
        self.call: Handle | None = None  # that resumes it, once it was woken


class WaitQueue:
    """Tasks that wait to be woken, first come, first served."""

    __slots__ = ("_places",)

    def __init__(self) -> None:
        # The first is found at once, and so is one that leaves. A dict would look for its first from the beginning,
        # past all that have left: the more tasks wait, the longer each time.
        self._places: OrderedDict[_Place, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._places)

    async def wait(self, pass_on: Callable[[], object] | None = None) -> None:
        """Wait until `wake` wakes this task.

        If it is cancelled after it was woken, `pass_on` is called, by default `wake`: another task is to have that.
        """
        task = current_task()
        if task.doomed:
            raise Cancelled
        place = _Place(task)
        self._places[place] = None
        try:
            await pause()
        except BaseException:
            if place.call is not None:
                place.call.cancel()
                (pass_on or self.wake)()
            raise
        finally:
            self._places.pop(place, None)

    def wake(self) -> bool:
        """Have the first task go on in the next turn of the loop. Whether there was one."""
        for place in self._places:
            place.call = place.task.wake()  # first: it raises on another thread
            del self._places[place]
            return True
        return False

    def wake_all(self) -> None:
        """Have all tasks go on in the next turn of the loop."""
        while self.wake():
            pass


async def sleep(seconds: float) -> None:
    """Go on after `seconds`, never earlier. With 0 or less, in the next turn of the loop. ValueError for NaN.

    With infinity, it waits until it is cancelled.
    """
    task: Task = current_task()
    if task.doomed:
        raise Cancelled
    if seconds > 0 or math.isnan(seconds):
        call = task.reactor.call_later(seconds, task.resume)
    else:
        call = task.wake()
    try:
        await pause()
    finally:
        call.cancel()


def step() -> bool:
    """Begin a wait that is over at once. Whether the task has had so many that it must take a break first (rule 6).

    Raises `Cancelled` as any wait does.
    """
    try:
        task: Task = get_current()
    except LookupError:
        task = current_task()  # raises
    if task.doomed:
        raise Cancelled
    if task.steps < STEPS_PER_TURN:
        task.steps += 1
        return False
    task.steps = 0
    return True


async def take_a_break() -> None:
    """Wait for the next turn of the loop if this task has gone on for long. Raises if it is cancelled."""
    if step():
        await sleep(0)


class Event:
    """Something that has happened, or has not happened yet."""

    __slots__ = ("_set", "_waiting")

    def __init__(self) -> None:
        self._set = False
        self._waiting = WaitQueue()

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._set

    def is_awaited(self) -> bool:
        """Whether a task waits for it."""
        return len(self._waiting) > 0

    def set(self) -> None:
        """It has happened: all tasks that wait for it go on in the next turn. A second call does nothing."""
        self._waiting.wake_all()
        self._set = True

    def clear(self) -> None:
        """It has not happened (any more): tasks wait again. A task that was woken already goes on."""
        self._set = False

    async def wait(self) -> None:
        """Wait until it happens. Returns at once if it has happened."""
        if self._set:
            await take_a_break()
        else:
            await self._waiting.wait()


class Semaphore:
    """A number of places: `async with semaphore: ...` takes one, and waits while there is none.

    ValueError unless `places` is a whole number from 0.
    """

    __slots__ = ("_free", "_promised", "_waiting")

    def __init__(self, places: int = 1) -> None:
        if not isinstance(places, int) or places < 0:
            raise ValueError(f"the places of a semaphore must be a whole number from 0, not {places!r}")
        self._free = places
        self._promised = 0  # of these, the ones for tasks that were woken and have not gone on yet
        self._waiting = WaitQueue()

    def locked(self) -> bool:
        """Whether `acquire` would wait."""
        return self._free <= self._promised

    async def acquire(self) -> None:
        """Take a place. Waits while there is none, first come, first served."""
        if not self.locked():
            await take_a_break()
        if self.locked():  # also if another task took the place during the break
            await self._waiting.wait(self._pass_on)
            self._promised -= 1
        self._free -= 1

    def release(self) -> None:
        """Give a place back."""
        if self._waiting.wake():
            self._promised += 1
        self._free += 1

    def _pass_on(self) -> None:
        if not self._waiting.wake():
            self._promised -= 1

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Lock:
    """What only one task may have: `async with lock: ...`. First come, first served.

    RuntimeError when a task takes it twice, or releases it without having it.
    """

    __slots__ = ("_place", "_owner")

    def __init__(self) -> None:
        self._place = Semaphore(1)
        self._owner: Task | None = None

    def locked(self) -> bool:
        """Whether `acquire` would wait."""
        return self._place.locked()

    async def acquire(self) -> None:
        """Take it. Waits while another task has it."""
        task = current_task()
        if self._owner is task:
            raise RuntimeError("this task has the lock already, and would wait for itself for ever")
        await self._place.acquire()
        self._owner = task

    def release(self) -> None:
        """Give it back."""
        if self._owner is not current_task():
            raise RuntimeError("this task does not have the lock")
        self._place.release()  # first: it may raise, and then the lock is still ours
        self._owner = None

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class QueueFull(Exception):
    """`put_nowait` found no room."""


class QueueEmpty(Exception):
    """`get_nowait` found nothing."""


class Queue(Generic[T]):
    """Things on their way from some tasks to others, at most `maxsize` at a time.

    There is no queue without a bound: a producer that is faster than its consumer would fill the memory. ValueError
    unless `maxsize` is a whole number from 1.
    """

    __slots__ = ("maxsize", "_things", "_getters", "_putters", "_promised", "_reserved")

    def __init__(self, maxsize: int) -> None:
        if not isinstance(maxsize, int) or maxsize < 1:
            raise ValueError(f"the size of a queue must be a whole number from 1, not {maxsize!r}")
        self.maxsize = maxsize
        self._things: deque[T] = deque()
        self._getters, self._putters = WaitQueue(), WaitQueue()
        self._promised = 0  # things for getters that were woken and have not gone on yet
        self._reserved = 0  # room for putters, likewise

    def __len__(self) -> int:
        return len(self._things)

    def qsize(self) -> int:
        """How many things are in it."""
        return len(self._things)

    def empty(self) -> bool:
        """Whether `get` would wait."""
        return len(self._things) <= self._promised

    def full(self) -> bool:
        """Whether `put` would wait."""
        return len(self._things) + self._reserved >= self.maxsize

    async def put(self, thing: T) -> None:
        """Put `thing` behind the others. Waits while there is no room."""
        if not self.full():
            await take_a_break()
        if self.full():
            await self._putters.wait(self._pass_on_room)
            self._reserved -= 1
        self._add(thing)

    def put_nowait(self, thing: T) -> None:
        """Put `thing` behind the others. QueueFull if there is no room."""
        if self.full():
            raise QueueFull(f"the queue holds {self.maxsize} things, as many as it may")
        self._add(thing)

    async def get(self) -> T:
        """Take the first thing. Waits while there is none."""
        if not self.empty():
            await take_a_break()
        if self.empty():
            await self._getters.wait(self._pass_on_thing)
            self._promised -= 1
        return self._take()

    def get_nowait(self) -> T:
        """Take the first thing. QueueEmpty if there is none."""
        if self.empty():
            raise QueueEmpty("the queue is empty")
        return self._take()

    def _add(self, thing: T) -> None:
        if self._getters.wake():
            self._promised += 1
        self._things.append(thing)

    def _take(self) -> T:
        if self._putters.wake():
            self._reserved += 1
        return self._things.popleft()

    def _pass_on_thing(self) -> None:
        if not self._getters.wake():
            self._promised -= 1

    def _pass_on_room(self) -> None:
        if not self._putters.wake():
            self._reserved -= 1

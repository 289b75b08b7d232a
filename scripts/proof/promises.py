"""Calls that a program asks the loop to make, and whether the loop keeps its promises.

`call_later` promises: never early; in the order of their times, and for equal times in the order of asking; in the
first turn after the time. `call_soon` promises: in the order of asking, and in the next turn of its phase. If it were
the current turn, a call that asks for itself again would keep the loop busy for ever.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .laws import require

if TYPE_CHECKING:
    from reactor.loop.timers import Handle

    from .world import World


class Promises:
    """All calls that programs wait for."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sequence = 0
        self._times: dict[int, tuple[float, int]] = {}  # of timers, by number: time, and arming phase
        self._soon: dict[bool, deque[tuple[int, int]]] = {False: deque(), True: deque()}  # True: as a thread asks
        self._last: tuple[float, float, int] = (
            -math.inf,
            0.0,
            0,
        )  # the phase, time and number of the last timer that fired

    def later(self, seconds: float, call: Callable[..., object], *arguments: Any) -> tuple[int, Handle] | None:
        """Ask for a call after `seconds`. None while the reactor closes, since it would refuse."""
        world = self._world
        if world.phase == "close":
            return None
        self._sequence += 1
        number = self._sequence
        when = world.network.now + seconds
        self._times[number] = when, world.phase_number
        return number, world.reactor.call_later(seconds, self._timer_fires, number, when, call, arguments)

    def call_off(self, promise: tuple[int, Handle] | None) -> None:
        """Cancel that call, if it was not made yet."""
        if promise is not None:
            number, handle = promise
            handle.cancel()
            self._times.pop(number, None)

    def _timer_fires(self, number: int, when: float, call: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        world = self._world
        require(number in self._times, 3, "timer {} fires again, or after it was called off", number)
        asked_at = world.waiter.asked_at
        require(asked_at >= when, 6, "a timer for {:.4f} fires, and what had come was looked for at {:.4f}", when,
                asked_at)  # fmt: skip
        _, armed_in = self._times.pop(number)
        require(armed_in < world.phase_number, 8, "timer {} fires in the phase that armed it", number)
        this = (float(world.phase_number), when, number)
        require(this > self._last, 4, "the timers {} fires after {}", this, self._last)
        self._last = this
        self._make(call, arguments)

    def soon(self, foreign: bool, call: Callable[..., object], *arguments: Any) -> None:
        """Ask for a call in the next iteration, by `call_soon_threadsafe` if `foreign`."""
        world = self._world
        if world.phase == "close":
            return
        self._sequence += 1
        self._soon[foreign].append((self._sequence, world.phase_number))
        ask = world.reactor.call_soon_threadsafe if foreign else world.reactor.call_soon
        ask(self._soon_comes, self._sequence, foreign, call, arguments)

    def _soon_comes(self, number: int, foreign: bool, call: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        queue = self._soon[foreign]
        require(queue and queue[0][0] == number, 4, "call {} comes out of order", number)
        _, asked_in = queue.popleft()
        require(asked_in < self._world.phase_number, 8, "call {} is made in the phase that asked for it", number)
        self._make(call, arguments)

    def _make(self, call: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        world = self._world
        world.turns.callback_begins("a call", None)
        mishaps = world.mishaps
        try:
            call(*arguments)
        except Exception as exc:
            require(world.mishaps > mishaps, 9, "a call was given an exception that it did not expect: {!r}", exc)
            world.loop_mishaps += 1
            raise
        finally:
            world.turns.callback_ends("a call")

    def check_made(self, phase: str) -> None:
        """The phase is over: all calls that were due in it must have been made."""
        now, number = self._world.asked_at, self._world.phase_number
        if phase == "timers":
            for when, armed_in in self._times.values():
                require(when > now or armed_in >= number, 6, "a timer for {:.4f} was not called at {:.4f}", when, now)
        else:
            for queue in self._soon.values():
                require(not queue or queue[0][1] >= number, 8, "a call was due and not made")

    def wait_for_next_turn(self) -> bool:
        """Whether calls are queued, so that the loop may not sleep."""
        return any(self._soon.values())

    def __len__(self) -> int:
        """How many timers have not fired yet."""
        return len(self._times)

    def next_when(self) -> float:
        """The time of the next timer; infinity without one."""
        return min((when for when, _ in self._times.values()), default=math.inf)

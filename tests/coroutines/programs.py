"""What the tests of tasks share: a reactor whose clock jumps, and small coroutines.

No test here waits for a time. `FakeReactor` never sleeps: when it would, its clock jumps to the next timer. If no
timer is left, then every task waits for another one. That is an error at once, so a wake-up that is lost turns a test
red and does not hang it.
"""

import contextlib
import gc
import selectors

from reactor import CancelScope, Reactor, run, shield, sleep
from reactor.coroutines.scopes import current_task
from tests.rig import FakeClock

LONGEST_JUMP_SECONDS = 1000.0  # no test has a deadline that is farther away


class _Jumping(selectors.SelectSelector):
    """Waits by moving the clock."""

    def __init__(self, clock):
        super().__init__()
        self._clock = clock

    def select(self, timeout=None):
        events = super().select(0)
        if not events and timeout:
            assert timeout <= LONGEST_JUMP_SECONDS, "nothing will ever happen: every task waits for another one"
            self._clock.now += timeout
        return events


class FakeReactor(Reactor):
    """A reactor that never sleeps."""

    def __init__(self, limits=None):
        clock = FakeClock()
        super().__init__(clock=clock, selector=_Jumping(clock), limits=limits)


def simulate(function, *args):
    """What the coroutine `function(*args)` returns or raises, on a `FakeReactor`."""
    with FakeReactor() as reactor:
        return run(function, *args, reactor=reactor)


def now():
    """The time of the fake clock. For a task."""
    return current_task().reactor.time()


async def turns(count):
    """Let the others have `count` turns of the loop."""
    for _ in range(count):
        await sleep(0)


async def within(scope, function, *args):
    """Await `function(*args)` inside `scope`."""
    with scope:
        await function(*args)


async def tell(told, scope, function, *args):
    """Await `function(*args)` inside `scope`, and put what it returns into the list `told`."""
    with scope:
        told.append(await function(*args))


@contextlib.contextmanager
def without_collector():
    """The block runs without the garbage collector: what is in a cycle stays alive."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def count_alive():
    """How many scopes are alive; each task is one."""
    return sum(isinstance(thing, CancelScope) for thing in gc.get_objects())


async def fails(error, seconds=0.0):
    """Raises `error` after `seconds`."""
    await sleep(seconds)
    raise error


async def cleans_up(seen, name, seconds):
    """Waits until it is cancelled, and then cleans up for `seconds`."""
    try:
        await sleep(500)
    finally:
        with shield():
            await sleep(seconds)
        seen.append((name, now()))


async def waits(seen, name, seconds=500):
    """Waits until it is cancelled, and says how the wait ended."""
    try:
        await sleep(seconds)
        seen.append((name, "over"))
    except BaseException as exc:
        seen.append((name, type(exc).__name__))
        raise


class Foreign:
    """What another library may have: its `await` yields something."""

    def __await__(self):
        yield "something"

"""Programs that are not servers: a client, a script, a job beside a server.

`run(main)` makes a reactor, runs one coroutine on it, and closes it. `spawn` starts a coroutine from code that is no
coroutine, for example from a callback of a Protocol.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ..connections.limits import Limits
from ..connections.reactor import Reactor
from ..loop.states import CLOSED
from .groups import coroutine_of
from .roots import roots_of
from .scopes import Cancelled
from .task import Task

T = TypeVar("T")


class _Main:
    """Owns the main task: when that has ended, the reactor stops."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor

    def task_ended(self, task: Task) -> None:
        roots_of(self._reactor).tasks.pop(task, None)
        self._reactor.stop()


def run(
    function: Callable[..., Awaitable[T]], *args: Any, reactor: Reactor | None = None, limits: Limits | None = None
) -> T:
    """Run the coroutine `function(*args)` until it ends. Returns what it returns, and raises what it raises.

    It runs on `reactor`, which is not closed afterwards; or on a new one with `limits`. Ctrl-C cancels the coroutine,
    so that it can clean up, and then raises KeyboardInterrupt; a second one raises at once.

    TypeError if `function(*args)` is no coroutine, or if both `reactor` and `limits` are given. RuntimeError if the
    reactor runs already or is closed, or if it is stopped or closed before the coroutine has ended.
    """
    if reactor is not None and limits is not None:
        raise TypeError("give limits to the reactor: Reactor(limits=...)")
    if reactor is None:
        with Reactor(limits=limits) as reactor:
            return run(function, *args, reactor=reactor)
    reactor.check_idle()
    task = Task(reactor, coroutine_of(function, args), _Main(reactor))
    roots_of(reactor).tasks[task] = None
    task.wake()
    try:
        reactor.run()
    except KeyboardInterrupt as interrupt:
        finish(task)
        error, task.error = task.error, None
        raise interrupt from (error if isinstance(error, Exception) else None)  # of the clean-up
    if not task.has_ended():
        finish(task)
        raise RuntimeError("the reactor was stopped before the coroutine had ended")
    error, task.error = task.error, None
    if isinstance(error, Cancelled) and reactor.state is CLOSED:
        raise RuntimeError("the reactor was closed before the coroutine had ended")
    if error is not None:
        try:
            raise error
        finally:
            del error
    result: T = task.result
    return result


def finish(task: Task) -> None:
    """Cancel `task`, and run its reactor until it has ended."""
    if not task.has_ended():
        task.cancel()
        while not task.has_ended():
            task.reactor.run()


def spawn(reactor: Reactor, function: Callable[..., Awaitable[Any]], *args: Any) -> Task:
    """Run the coroutine `function(*args)` on `reactor`, from the next turn on. `cancel()` of what it returns ends it.

    Prefer `TaskGroup.start_soon` in a coroutine. What the coroutine raises is logged and counted in `callback_errors`,
    as with any callback. When the reactor closes, it is cancelled. TypeError if `function(*args)` is no coroutine.
    RuntimeError when the reactor is closed, or another thread runs it.
    """
    reactor.check_caller()
    return roots_of(reactor).start(function, *args)

"""How a coroutine stops in the middle, and goes on later.

`coroutine.send(value)` runs a coroutine up to its next `yield`. There it is suspended: `send` returns, and the
coroutine keeps its local variables and its place. The next `send` continues behind the `yield`, whose result is the
value that was sent. `await` adds nothing to this but a chain: if a coroutine awaits another one, `send` goes through
to the innermost `yield`. So a coroutine that waits needs two parts: a `yield` at the bottom, and something that calls
`send` (`task.Task.resume`). This file has the `yield`.

An `async def` may not hold a plain `yield`, because there it means an asynchronous generator. `types.coroutine` makes
an awaitable of a generator function, by setting a flag of its code (PEP 492).
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


@types.coroutine
def pause() -> Generator[None, Any, Any]:
    """Suspend the task until the loop resumes it. Returns the value that it is resumed with."""
    return (yield)


def suspending(function: Callable[P, Generator[None, Any, T]]) -> Callable[P, Coroutine[None, Any, T]]:
    """Make an async function of the generator `function`, which suspends the task by `yield`.

    This saves the chain one link: `await pause()` inside an `async def` costs 800 instructions more for each message.
    `types.coroutine` would do as well, but what it makes gives no warning when it is never awaited. So this makes a
    function of the same code with the flag that an `async def` has.
    """
    code = function.__code__
    code = code.replace(co_flags=code.co_flags & ~inspect.CO_GENERATOR | inspect.CO_COROUTINE)
    made = types.FunctionType(
        code, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    made.__kwdefaults__, made.__annotations__ = function.__kwdefaults__, function.__annotations__
    return made


@types.coroutine
def _nothing() -> Generator[None, None, None]:
    return
    yield


# What can be awaited without waiting, by any number of tasks: a generator that is at its end.
DONE: Awaitable[None] = _nothing()
next(DONE, None)  # type: ignore[call-overload]

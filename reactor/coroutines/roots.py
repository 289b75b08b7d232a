"""The tasks of a reactor that belong to no group: the trees of tasks begin with them.

These are the handlers of connections, the main task of `run`, and what `spawn` has started. Something has to know them:

- When the reactor closes, each task is cancelled, and no shield helps any more. All of them end before the sockets of
  the reactor are gone.
- A handler may outlive its connection, while it cleans up behind a shield. A drain waits for it.
- When a server begins to drain, it tells the programs (`draining`).
- An operator wants to see what each task waits for (`tree`).

An async generator that is left in the middle, by `break`, has a `finally` that may wait. Python calls a hook when such
a generator is collected (PEP 525), and here a task runs the rest of it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any

from ..connections.reactor import Reactor
from ..loop.reports import report
from ..loop.states import CLOSED
from .groups import coroutine_of
from .scopes import Cancelled
from .task import Task, make_last_calls
from .waiting import Event

logger = logging.getLogger("reactor.coroutines")


class Roots:
    """The tasks of `reactor` that belong to no group and to no open connection."""

    def __init__(self, reactor: Reactor) -> None:
        self.reactor = reactor
        self.tasks: dict[Task, None] = {}  # started by `run` and `spawn`
        self.outliving: dict[Task, None] = {}  # handlers whose connection has ended
        self.draining = Event()  # a server has begun to drain
        reactor.at_close.add(self._close)
        self._finalizer = self._finish_generator  # one object, to be known again
        if reactor.thread_id is None and reactor.state is not CLOSED:
            reactor.call_soon(self._set_hook)  # a thread has its own hook, and another one may run the reactor
        else:
            self._set_hook()

    def _set_hook(self) -> None:
        self._former_hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(finalizer=self._finalizer)

    def start(self, function: Callable[..., Any], *args: Any) -> Task:
        """Run `function(*args)`, a coroutine, from the next turn on."""
        task = Task(self.reactor, coroutine_of(function, args), self)
        self.tasks[task] = None
        task.wake()
        return task

    def task_ended(self, task: Task) -> None:
        """A task of `start` has ended. Nothing else looks at its error, so it is logged."""
        del self.tasks[task]
        error, task.error = task.error, None
        if isinstance(error, Exception):
            self.reactor.counters.callback_errors += 1
            report(logger, logging.ERROR, "a task raised: %s", place_of(error), exc=error)

    def _close(self) -> None:
        hooks = sys.get_asyncgen_hooks()
        if hooks.finalizer is self._finalizer:
            # Not to the hook of a reactor that was closed meanwhile.
            while isinstance(roots := getattr(hooks.finalizer, "__self__", None), Roots) and roots.is_closed():
                hooks = roots._former_hooks
            sys.set_asyncgen_hooks(*hooks)
        for task in (*self.tasks, *self.outliving):
            task.cancel_for_good()
        make_last_calls(self.reactor)

    def is_closed(self) -> bool:
        """Whether its reactor is closed, so that it starts no tasks any more."""
        return self.reactor.state is CLOSED

    def _finish_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        """The garbage collector has found a generator that was left in the middle. It may run on any thread."""
        if self.reactor.state is CLOSED:  # its `finally` runs now, and its waits raise
            self.start(_finish, generator)
            make_last_calls(self.reactor)
        elif self.reactor.thread_id in (None, threading.get_ident()):
            self.start(_finish, generator)
        else:
            self.reactor.call_soon_threadsafe(self.start, _finish, generator)


def place_of(error: BaseException) -> str:
    """The function that raised `error`, or passed it on last, and its place."""
    trace = error.__traceback__
    if trace is None:
        return "an unknown function"
    code = trace.tb_frame.f_code
    return f"{code.co_qualname} ({os.path.basename(code.co_filename)}:{code.co_firstlineno})"


async def _finish(generator: AsyncGenerator[Any, Any]) -> None:
    try:
        await generator.aclose()
    except Cancelled:
        pass


def roots_of(reactor: Reactor) -> Roots:
    """The `Roots` of `reactor`. Call it on the reactor's thread."""
    roots: Roots | None = reactor.extensions.get(Roots)
    if roots is None:
        roots = reactor.extensions[Roots] = Roots(reactor)
    return roots


def tell_draining(reactor: Reactor) -> bool:
    """A server drains `reactor`: set `Stream.draining`. Whether tasks wait for it: they go on in the next turn."""
    if Roots not in reactor.extensions:
        return False
    draining = roots_of(reactor).draining
    any_wait = draining.is_awaited()
    draining.set()
    return any_wait


def outliving(reactor: Reactor) -> int:
    """How many handlers of `reactor` have outlived their connection."""
    return len(roots_of(reactor).outliving) if Roots in reactor.extensions else 0

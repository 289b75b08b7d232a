"""What each task is doing now: the tree of tasks, as text.

A server that stands still has one question: what does it wait for? A thread shows a stack; a suspended coroutine shows
none. But each coroutine knows what it awaits. So this follows the chain from the task's function to its innermost wait,
and the groups from a task to its children.

    handler of <Connection 7 open peer=127.0.0.1:50312>: serve (mine.py:41) > read (stream.py:130)
        relay: relay (mine.py:60) > get (waiting.py:308) > wait (waiting.py:59) > pause (pausing.py:27)

SIGUSR1 logs it (`service.server`). The cost: one line for each task, as far as there is room for them.
"""

from __future__ import annotations

import gc
import inspect
import os
from collections.abc import Iterator
from typing import Any

from ..connections.reactor import Reactor
from .handlers import ServedStream
from .roots import Roots, roots_of
from .task import Task

MOST_LINES = 200  # a log line for each of 10,000 clients helps nobody
MOST_PLACES = 12  # of one task: a deep recursion would fill the log with one line


def task_tree(reactor: Reactor, most: int = MOST_LINES) -> list[str]:
    """A line for each task of `reactor` and what it waits for, children below their parents. At most `most` lines.

    If there are more tasks, the last line says how many.
    """
    tasks = [*_walk(reactor)]
    shown = tasks if len(tasks) <= most else tasks[: most - 1]
    lines = [f"{'    ' * depth}{_title(task, of)}: {_places(task)}" for task, of, depth in shown]
    if len(tasks) > len(shown):
        lines.append(f"... and {len(tasks) - len(shown)} more tasks")
    return lines


def _walk(reactor: Reactor) -> Iterator[tuple[Task, object, int]]:
    """Each task, what it is of, and how deep it stands in the tree. Without recursion: groups may be nested deeply."""
    left = [(task, of, 0) for task, of in _roots(reactor)][::-1]
    while left:
        task, _, depth = found = left.pop()
        yield found
        left += [(child, None, depth + 1) for group in reversed(task.groups) for child in reversed(group.tasks)]


def _roots(reactor: Reactor) -> Iterator[tuple[Task, object]]:
    if Roots not in reactor.extensions:
        return
    roots = roots_of(reactor)
    for task in roots.tasks:
        yield task, None
    for connection in reactor.dispatcher.connections():
        protocol = connection.get_protocol()
        if isinstance(protocol, ServedStream) and protocol.task is not None:
            yield protocol.task, connection
    for task in roots.outliving:
        yield task, ENDED_CONNECTION


ENDED_CONNECTION = "a connection that has ended, or was handed over"


def _title(task: Task, of: object) -> str:
    return name_of(task) if of is None else f"handler of {of}"


def _places(task: Task) -> str:
    places = stack_of(task)
    if len(places) > MOST_PLACES:
        places[MOST_PLACES // 2 : -MOST_PLACES // 2] = [f"... {len(places) - MOST_PLACES} more ..."]
    return " > ".join(places) or "has not begun"


def name_of(task: Task) -> str:
    """The name of the function that `task` runs."""
    return str(getattr(task.coroutine, "__qualname__", type(task.coroutine).__name__))


def stack_of(task: Task) -> list[str]:
    """Where `task` is suspended, from its function to its innermost wait: `name (file:line)` each."""
    places: list[str] = []
    waits: Any = task.coroutine
    while waits is not None:
        frame, waits = _frame_and_next(waits)
        if frame is not None:
            code = frame.f_code
            places.append(f"{code.co_name} ({os.path.basename(code.co_filename)}:{frame.f_lineno})")
    return places


def _frame_and_next(waits: Any) -> tuple[Any, Any]:
    """The frame of a coroutine, generator or async generator that has begun, and what it waits for."""
    if inspect.iscoroutine(waits):
        begun = inspect.getcoroutinestate(waits) != inspect.CORO_CREATED
        return waits.cr_frame if begun else None, waits.cr_await
    if inspect.isgenerator(waits):
        return waits.gi_frame, waits.gi_yieldfrom
    if inspect.isasyncgen(waits):
        return waits.ag_frame, waits.ag_await
    # What `__await__` of a coroutine and `__anext__` of an async generator return does not say whose it is.
    inside = [each for each in gc.get_referents(waits) if inspect.iscoroutine(each) or inspect.isasyncgen(each)]
    return None, inside[0] if type(waits).__module__ == "builtins" and inside else None

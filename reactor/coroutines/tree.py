"""What each task is doing now: the tree of tasks, as text.

A server that stands still has one question: what does it wait for? A thread shows a stack; a suspended coroutine shows
none. But each coroutine knows what it awaits. So this follows the chain from the task's function to its innermost wait,
and the groups from a task to its children.

    handler of 127.0.0.1:50312
        serve (chat.py:41) > run_in_thread (threads.py:48)
        relay
            relay (chat.py:60) > get (waiting.py:270)

SIGUSR1 logs it (`service.server`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from ..connections.reactor import Reactor
from .handlers import ServedStream
from .roots import Roots, roots_of
from .task import Task

MOST_LINES = 200  # a log line for each of 10,000 clients helps nobody


def task_tree(reactor: Reactor, most: int = MOST_LINES) -> list[str]:
    """A line for each task of `reactor` and what it waits for, children below their parents. At most `most` lines."""
    lines: list[str] = []
    count = 0
    for title, task in _roots(reactor):
        for line in _lines(task, title, 0):
            count += 1
            if count <= most:
                lines.append(line)
    if count > most:
        lines.append(f"... and {count - most} more tasks")
    return lines


def count_tasks(reactor: Reactor) -> int:
    """How many tasks `reactor` has, without their children."""
    return sum(1 for _ in _roots(reactor))


def _roots(reactor: Reactor) -> Iterator[tuple[str, Task]]:
    if Roots not in reactor.extensions:
        return
    roots = roots_of(reactor)
    for task in roots.tasks:
        yield name_of(task), task
    for connection in reactor.dispatcher.connections():
        protocol = connection.get_protocol()
        if isinstance(protocol, ServedStream) and protocol.task is not None and protocol.task not in roots.outliving:
            yield f"handler of {connection}", protocol.task
    for task in roots.outliving:
        yield f"{name_of(task)}, whose connection has ended", task


def _lines(task: Task, title: str, depth: int) -> Iterator[str]:
    yield f"{'    ' * depth}{title}: {' > '.join(stack_of(task)) or 'has not begun'}"
    for group in task.groups:
        for child in group.tasks:
            yield from _lines(child, name_of(child), depth + 1)


def name_of(task: Task) -> str:
    """The name of the function that `task` runs."""
    return str(getattr(task.coroutine, "__qualname__", type(task.coroutine).__name__))


def stack_of(task: Task) -> list[str]:
    """Where `task` is suspended, from its function to its innermost wait: `name (file:line)` each."""
    places, waits = [], task.coroutine
    while waits is not None:
        frame, following = _frame_and_next(waits)
        if frame is None:
            break
        code = frame.f_code
        if frame.f_lasti >= 0:
            places.append(f"{code.co_name} ({os.path.basename(code.co_filename)}:{frame.f_lineno})")
        waits = following
    return places


def _frame_and_next(waits: Any) -> tuple[Any, Any]:
    """The frame of a coroutine, generator or async generator that waits, and what it waits for."""
    for prefix, awaited in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
        if hasattr(waits, f"{prefix}_frame"):
            return getattr(waits, f"{prefix}_frame"), getattr(waits, awaited)
    return None, None

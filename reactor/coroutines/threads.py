"""A call that blocks, as a wait: `row = await run_in_thread(query, database)`.

The reactor makes the call on one of its threads (`loop.threads`), which are bounded. A thread cannot be broken off. So
what does it mean to cancel this wait? There are two answers, and the caller chooses. By default the task waits for the
thread all the same, and raises `Cancelled` then: the function may use what the task is about to close. With
`abandon=True` the task goes on at once, the function ends by itself, and its outcome is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any, TypeVar

from .scopes import CURRENT, Cancelled, CancelScope, current_task
from .task import Task
from .waiting import Event

T = TypeVar("T")


async def run_in_thread(function: Callable[..., T], *args: Any, abandon: bool = False) -> T:
    """What `function(*args)` returns or raises, called on a thread of the reactor.

    The function sees a copy of the task's context variables. If the wait is cancelled before a thread has begun with
    it, the function is never called. When the reactor closes, no thread is waited for.

    queue.Full when more calls wait than `max_threads` and `max_thread_queue` allow. RuntimeError when the system gives
    no thread. TypeError when `function` cannot be called.
    """
    if not callable(function):
        raise TypeError(f"the function for a thread must be callable, not of type {type(function).__name__}")
    task: Task = current_task()
    if task.doomed:
        raise Cancelled
    done = Event()
    outcome: list[Future[T]] = []
    # The thread takes this away when it begins, or the task does when it is cancelled before. Only one of them can.
    to_begin = [function]

    def then(future: Future[T]) -> None:
        outcome.append(future)
        done.set()

    def work() -> Any:
        try:
            begun = to_begin.pop()
        except IndexError:
            return None
        return context.run(begun, *args)

    context = copy_context()
    context.run(CURRENT.set, None)  # the function is no part of the task: it cannot wait
    call = task.reactor.run_in_thread(work, then=then)
    try:
        await done.wait()
    except Cancelled:
        try:
            to_begin.pop()
        except IndexError:  # it has begun
            if not abandon:
                with CancelScope(shield=True):
                    await done.wait()
        raise
    finally:
        call.cancel()
    try:
        return outcome[0].result()
    finally:
        outcome.clear()  # an exception refers to this frame: no cycle for the garbage collector

"""Tasks that begin and end together.

A task that is started and forgotten outlives the code that started it: its error goes nowhere, and its connection is
gone. So tasks are started in a group, and a group is a block. The block does not end before its tasks have ended.

    async with TaskGroup() as group:
        group.start_soon(read_from, upstream)
        group.start_soon(write_to, client)

If a task raises, the rest is not wanted any more: the group cancels the other tasks and the block. When all have ended,
the block raises one `ExceptionGroup` of all that was raised (PEP 654). If the block itself is cancelled, so are the
tasks, since the group's scope lies inside the block's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from .scopes import Cancelled, CancelScope, current_task
from .task import Task
from .waiting import WaitQueue


class _UntilTheyEnd(CancelScope):
    """The wait for the tasks of a group. Nothing breaks it off, because each of them ends (rule 5)."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(shield=True)

    def __enter__(self) -> Self:
        super().__enter__()
        self.shield = True  # also while the reactor closes
        self._task.doomed = False
        return self

    def unshield(self) -> None:
        pass


class TaskGroup:
    """Tasks that end before their block does: `async with TaskGroup() as group: group.start_soon(function, ...)`.

    At the end it raises an ExceptionGroup of what the tasks and the block have raised. SystemExit of a task leaves
    `run` at once, as everywhere, and cancels the others. RuntimeError when a group is entered twice.
    """

    __slots__ = ("scope", "tasks", "_host", "_errors", "_ended", "_entered")

    def __init__(self) -> None:
        self.scope = CancelScope()
        self.tasks: dict[Task, None] = {}  # a dict in place of a set: it keeps their order
        self._host: Task | None = None  # the task that is in the block
        self._errors: list[Exception] = []
        self._ended = WaitQueue()
        self._entered = False

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("a group can be entered only once: make another one")
        self._entered = True
        host = self._host = current_task()
        self.scope.__enter__()
        host.groups = (*host.groups, self)
        return self

    def start_soon(self, function: Callable[..., Awaitable[Any]], *args: Any) -> Task:
        """Run `function(*args)`, a coroutine, as a task of this group, from the next turn of the loop on.

        RuntimeError outside the block. TypeError if `function(*args)` is no coroutine.
        """
        if self._host is None:
            raise RuntimeError("this group takes no tasks: its block was not entered, or has ended")
        task = Task(self._host.reactor, coroutine_of(function, args), self, self.scope)
        self.tasks[task] = None
        task.wake()
        return task

    def cancel(self) -> None:
        """Cancel the tasks and the block. The block ends without an error, unless something else is raised."""
        self.scope.cancel()

    def task_ended(self, task: Task) -> None:
        """A task of the group has ended."""
        del self.tasks[task]
        error, task.error = task.error, None
        if error is not None and not isinstance(error, Cancelled):
            if isinstance(error, Exception):
                self._errors.append(error)
            self.scope.cancel()
        if not self.tasks:
            self._ended.wake()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> bool:
        host = self._host
        assert host is not None
        if exc is not None:
            self.scope.cancel()
            if isinstance(exc, Exception):
                self._errors.append(exc)
        if self.tasks:
            with _UntilTheyEnd():
                while self.tasks:
                    await self._ended.wait()
        self._host = None
        host.groups = host.groups[:-1]
        caught = self.scope.__exit__(kind, exc, trace)
        errors, self._errors = self._errors, []
        if errors and not leaves(exc):
            try:
                raise ExceptionGroup("errors in a TaskGroup", errors) from None
            finally:  # the group's traceback refers to this frame: no cycle for the garbage collector
                errors, exc = [], None
        if kind is None and host.doomed:
            raise Cancelled  # this was a wait, so it raises like one
        return caught


def leaves(exc: BaseException | None) -> bool:
    """Whether `exc` ends the whole program, as SystemExit does, and not only a task."""
    return exc is not None and not isinstance(exc, (Exception, Cancelled))


def coroutine_of(function: Any, args: tuple[Any, ...]) -> Any:
    """The coroutine `function(*args)`. TypeError if it is none."""
    if not callable(function):
        if hasattr(function, "cr_code"):
            function.close()  # else it would also warn that it was never awaited
            raise TypeError(f"give the function and its arguments, not the coroutine {function.__qualname__}(...)")
        raise TypeError(f"a task needs an async function, not {function!r}")
    coroutine = function(*args)
    if not hasattr(coroutine, "send") or not hasattr(coroutine, "throw"):
        name = getattr(function, "__qualname__", function)
        raise TypeError(f"{name} must be an `async def`: it returned {type(coroutine).__name__}, not a coroutine")
    return coroutine

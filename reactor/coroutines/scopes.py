"""Parts of a program that can be cancelled, for example because their time is up.

A coroutine waits: for bytes, for a lock, for a reply that may never come. Somebody must be able to end such a wait. If
cancelling were an event, which is delivered once, it could be lost: a library catches it, or the `await` in a `finally`
begins to wait anew. So cancelling is a state. A *scope* is a `with` block. Once it is cancelled, every wait
inside it raises `Cancelled`, and so does the next one, until the task has left the block. There the exception ends.
This design is the one of trio.

    with timeout(5):                   # TimeoutError after five seconds
        line = await stream.read_until()

    with move_on_after(5) as scope:    # no error: the program goes on behind the block
        line = await stream.read_until()
    if scope.cancelled_caught: ...

A scope with a *shield* is not cancelled from outside. A clean-up that must wait needs one, and should have a deadline.

Only waits raise `Cancelled`. A task that computes is not interrupted, nor is a `write` that is not held back.

A deadline costs no timer. It is a number, and each task has one timer for all its scopes, which looks at these numbers
(see `task`). So a scope that is left in time, as nearly all are, costs two calls and one reading of the clock.
"""

from __future__ import annotations

import math
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self

INFINITY = math.inf


class Cancelled(BaseException):
    """Raised in every wait inside a cancelled scope. Let it pass: the scope that was cancelled catches it.

    It is no `Exception`, so that `except Exception` does not catch it.
    """


def without_cancelled(exc: BaseException) -> BaseException:
    """`exc` itself. Of a group, what is no `Cancelled`; a `Cancelled` if nothing is left.

    `except*` makes one group of what its clauses raise and what they leave over. If a clause waits, a `Cancelled` may
    be in it (PEP 654).
    """
    if not isinstance(exc, BaseExceptionGroup):
        return exc
    cancelled, rest = exc.split(Cancelled)
    if rest is None:
        return Cancelled().with_traceback(exc.__traceback__)
    return exc if cancelled is None else rest


CURRENT: ContextVar[Any] = ContextVar("the task that runs")  # a `task.Task`, which is in a later file
get_current = CURRENT.get  # LookupError outside a task; to find the method at each message cost 300 instructions


class CancelScope:
    """A block that can be cancelled: `with CancelScope() as scope: ...`, and elsewhere `scope.cancel()`.

    It is cancelled by itself after `seconds`, if it was not left before. With `shield`, the scopes around it do not
    cancel what is inside, except when the reactor closes.

    Attributes to read: `cancel_called`, whether it was cancelled; `cancelled_caught`, after the block, whether it was
    broken off by that; `deadline`, in seconds of the loop's clock.

    ValueError for NaN, TypeError for what is no number. RuntimeError when a scope is entered twice, or outside a task,
    or when scopes are not left in reverse order by the task that entered them.
    """

    __slots__ = ("shield", "cancel_called", "cancelled_caught", "deadline", "_seconds", "_task", "_parent")

    _raises = False  # TimeoutError, if it was cancelled

    def __init__(self, seconds: float = INFINITY, *, shield: bool = False) -> None:
        try:
            seconds = seconds + 0.0  # sums and comparisons of floats alone are the cheapest
        except TypeError:
            raise TypeError(f"the seconds of a scope must be a number, not {seconds!r}") from None
        if seconds != seconds:
            raise ValueError("the seconds of a scope must be a number, not NaN")
        self.shield = shield
        self.cancel_called = self.cancelled_caught = False
        self.deadline = INFINITY
        self._seconds = seconds
        self._task: Any = None  # that has entered it
        self._parent: CancelScope | None = None  # the scope around it

    def __enter__(self) -> Self:
        if self._parent is not None:
            raise RuntimeError("a scope can be entered only once: make another one")
        task = self._task = get_current(None) or current_task()
        self._parent = task.scope
        task.scope = self
        if self.shield or self.cancel_called:
            self.shield = self.shield and task.can_be_shielded()
            task.doomed = self.is_doomed()
        if self._seconds < INFINITY:
            deadline = self.deadline = task.reactor.timers.clock() + self._seconds
            if deadline < task.next_look:
                task.look_at(deadline)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> bool:
        task = self._task
        if task is None or task.scope is not self or get_current(None) is not task:
            self._refuse_exit(task)
        self._task = None
        task.scope = self._parent
        if self.shield or self.cancel_called:
            task.doomed = task.scope.is_doomed()
            # If a scope around this one is cancelled too, the exception has to go on to that one. But a scope with a
            # shield catches its own: so the rest of a clean-up runs behind it.
            if self.cancel_called and exc is not None and (self.shield or not task.doomed):
                rest = without_cancelled(exc)
                if isinstance(rest, Cancelled):
                    self.cancelled_caught = True
                    if self._raises:
                        raise TimeoutError(f"not done within {self._seconds:g} seconds") from exc
                    return True
                if rest is not exc:
                    raise rest from rest.__cause__
        return False

    def _refuse_exit(self, task: Any) -> NoReturn:
        """Raise for an exit in the wrong order.

        If another task makes it (Python closes a generator that was left in the middle), the block is over. Then the
        task that entered it must not stay inside.
        """
        if task is not None and get_current(None) is not task:
            self._task = None
            inner = task.scope  # None if the task has ended
            if inner is self:
                task.scope = self._parent
            while inner is not None and inner is not self:
                if inner._parent is self:
                    inner._parent = self._parent
                inner = inner._parent
            task.doomed = task.scope is not None and task.scope.is_doomed()
        raise RuntimeError("scopes must be left in reverse order, by the task that entered them")

    def cancel(self) -> None:
        """Make every wait inside raise `Cancelled`. A wait that has begun raises it in the next turn of the loop.

        A second call does nothing. A scope may be cancelled before it is entered. RuntimeError on another thread than
        the reactor's.
        """
        if not self.cancel_called:
            if self._task is not None:
                self._task.reactor.check_thread()
            self.cancel_called = True
            if self._task is not None:
                self._task.note_cancelled()

    def is_doomed(self) -> bool:
        """Whether waits inside raise: this scope is cancelled, or one around it and there is no shield between them."""
        scope = self
        while not (scope.cancel_called or scope.shield or scope._parent is None):
            scope = scope._parent
        return scope.cancel_called

    def unshield(self) -> None:
        """Let the scopes around it cancel it from now on: the reactor closes."""
        self.shield = False


class timeout(CancelScope):  # a small letter, as in asyncio
    """A block that must be left within `seconds`: `with timeout(5): ...`. TimeoutError if it was cancelled by that.

    A block whose waits are all over when the time comes is left without an error.
    """

    __slots__ = ()
    _raises = True

    if TYPE_CHECKING:  # it never swallows an exception, and without a shield it takes one argument

        def __init__(self, seconds: float) -> None: ...

        def __exit__(self, *details: object) -> Literal[False]: ...


def move_on_after(seconds: float) -> CancelScope:
    """A block that is broken off after `seconds`; the program goes on behind it. `cancelled_caught` tells whether."""
    return CancelScope(seconds)


def shield(seconds: float = math.inf) -> CancelScope:
    """A block that the scopes around it do not cancel, for at most `seconds`.

    Use it where a clean-up must wait: `finally: with shield(1): await stream.write(b"bye")`. It ends when the reactor
    closes: then its waits raise.
    """
    return CancelScope(seconds, shield=True)


def current_task() -> Any:
    """The `Task` that runs now. RuntimeError outside a task."""
    task = get_current(None)
    if task is None:
        raise RuntimeError("this needs a task: call it from a coroutine that runs on a reactor")
    return task

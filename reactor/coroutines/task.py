"""A coroutine that runs on the loop.

A blocking program stops in `recv` until there is data, and its thread stops with it. A coroutine stops in `await`, and
the thread goes on: it serves the others. When the data comes, the loop calls the coroutine, and it continues behind
its `await`. So a program waits in the middle of a line, without a thread for each client.

How does an `await` come out of a loop that knows only callbacks? In most libraries the answer is put into a future, the
future puts its task into a queue, and a scheduler takes the task from there. Here is one idea less: **what has the
answer resumes the coroutine at once.** `data_received` calls `task.resume(data)`, which is `coroutine.send(data)`.

Rule 1: only the loop resumes a task: from an event, a timer or `call_soon`. So no task is resumed inside another one,
        and wherever `resume` is called, the task is suspended.
Rule 2: a wait notes somewhere which task waits, suspends it (`pausing`), and takes the note away in its own `finally`.
        So a wait that is broken off leaves nothing behind, whatever broke it off.
Rule 3: a wait that is over has no second wake-up. What was queued for it is cancelled, and what another task could
        have had is passed on. So nothing is lost, and nothing comes twice.
Rule 4: cancelling is a state of a scope (`scopes`). A wait raises `Cancelled` before it begins if its task is doomed.
Rule 5: a task belongs to a connection, to a `TaskGroup` or to the reactor. No group and no handler ends before its
        tasks.
Rule 6: what need not wait goes on at once, but not for ever: after 256 such steps the others have their turn. A `write`
        that is not held back, and the end of a group without tasks, do not count as steps.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, NoReturn, Protocol

from ..connections.reactor import Reactor
from ..loop.states import CLOSED
from ..loop.timers import Handle
from .scopes import CURRENT, Cancelled, CancelScope, without_cancelled

STEPS_PER_TURN = 256  # waits that are over at once, before the others have their turn; as `frames_per_iteration`


class LastCalls(deque[Handle]):
    """The calls of a reactor's tasks while it closes: it takes no others then."""

    are_made = False  # `make_last_calls` is at work


class Owner(Protocol):
    """What a task belongs to."""

    def task_ended(self, task: Task) -> None:
        """Called once, when `task` has ended. `task.error` is what it raised; None if it returned."""


class Task(CancelScope):
    """A coroutine on its way. It is also the scope around all that the coroutine does.

    Attributes to read: `reactor`; `result`, what the coroutine returned; `error`, what it raised. Its owner takes the
    error away when the task has ended, because the error refers to the task again, which would be a cycle.
    """

    __slots__ = ("reactor", "scope", "groups", "doomed", "next_look", "result", "error",
                 "steps", "_owner", "_send", "_run", "_timer", "_wake_up")  # fmt: skip

    def __init__(
        self, reactor: Reactor, coroutine: Coroutine[Any, Any, Any], owner: Owner, parent: CancelScope | None = None
    ) -> None:
        self.shield = self.cancel_called = self.cancelled_caught = False
        self.deadline = self._seconds = math.inf
        self._task = self  # so that `cancel` finds it
        self._parent = parent
        self.reactor = reactor
        self.scope: CancelScope = self  # the innermost that it is in
        self.groups: tuple[Any, ...] = ()  # the `TaskGroup`s that it has entered
        self.doomed = parent is not None and parent.is_doomed()  # whether its waits raise, as `scope.is_doomed()` says
        self.next_look = math.inf  # when the deadlines of its scopes are looked at next
        self.result: Any = None
        self.error: BaseException | None = None
        self._owner: Owner | None = owner
        context = copy_context()
        context.run(CURRENT.set, self)
        # What `resume` needs: to look these up at each message cost 400 instructions.
        self._run: Any = context.run
        self._send: Any = coroutine.send
        self._timer: Handle | None = None
        self._wake_up: Handle | None = None  # the call that resumes it, since `wake`
        self.steps = 0  # waits that were over at once since the last break (rule 6)

    def __enter__(self) -> NoReturn:
        raise RuntimeError("a task is no block: use CancelScope() or TaskGroup()")

    # Running.

    def resume(self, value: Any = None) -> None:
        """Have it go on behind its `pause`, which returns `value`. For the loop alone (rule 1)."""
        try:
            foreign = self._run(self._send, value)
        except BaseException as end:
            self._end(end)
        else:
            if foreign is not None:
                self.throw(_refusal(foreign))

    def throw(self, exc: BaseException) -> None:
        """Have its `pause` raise `exc`. For the loop alone (rule 1)."""
        try:
            while (foreign := self._run(self.coroutine.throw, exc)) is not None:
                exc = _refusal(foreign)
        except BaseException as end:
            self._end(end)
        finally:
            del exc  # its traceback may lead to this frame, also if the coroutine has caught it: a cycle otherwise

    def has_ended(self) -> bool:
        """Whether the coroutine has returned or raised."""
        return self._owner is None

    def _end(self, end: BaseException) -> None:
        """The coroutine has returned (StopIteration) or has raised `end`."""
        if isinstance(end, StopIteration):
            self.result = end.value
        else:
            end = without_cancelled(end)
            # Without the frame of `resume`, which refers to this task: it would be a cycle for the garbage collector.
            trace = end.__traceback__
            self.error = end.with_traceback(trace and trace.tb_next)
        owner, self._owner = self._owner, None
        # All that refers back to it, so that no cycle is left for the garbage collector.
        self._task = self.scope = self._run = self._send = self._wake_up = None  # type: ignore[assignment]
        if self._timer is not None:
            self._timer.cancel()
        assert owner is not None, "a task ended twice"
        owner.task_ended(self)
        if not isinstance(end, (Exception, Cancelled)):
            raise end  # SystemExit, for whoever runs the loop

    @property
    def coroutine(self) -> Coroutine[Any, Any, Any]:
        """The coroutine that it runs."""
        coroutine: Coroutine[Any, Any, Any] = self._send.__self__  # a slot less for each idle connection
        return coroutine

    # Being woken.

    def wake(self) -> Handle:
        """Have the loop resume it in the next turn. What it waits for must cancel this call if it ends otherwise."""
        self._wake_up = self.soon(self.resume)
        return self._wake_up

    def soon(self, callback: Callable[..., object], *args: object) -> Handle:
        """Have the loop make this call in the next turn; if it closes, before its end.

        In a loop that closes, the waits of a task that goes on raise, whatever it was that woke it.
        """
        if self.reactor.state is not CLOSED:
            return self.reactor.call_soon(callback, *args)
        self._lose_shields()
        call = Handle(callback, args, -math.inf, None)
        self.reactor.extensions.setdefault(LastCalls, LastCalls()).append(call)
        return call

    # Being cancelled.

    def note_cancelled(self) -> None:
        """A scope around its present wait may be cancelled now. If so, it and all its children are told."""
        tasks = [self]
        for task in tasks:  # it grows meanwhile: children of children may be 1,000 deep, too deep for a recursion
            if not task.doomed and not task.has_ended() and task.scope.is_doomed():
                task.doomed = True
                task.soon(task._break_off)
            for group in task.groups:
                if group.scope.is_doomed():  # else the cancelled scope lies inside the group's block
                    tasks += group.tasks

    def _break_off(self) -> None:
        if self.doomed and not self.has_ended():
            self.throw(Cancelled())

    def can_be_shielded(self) -> bool:
        """Whether a shield helps: not any more when the reactor closes."""
        return self.reactor.state is not CLOSED

    def cancel_for_good(self) -> None:
        """Cancel it and its children, and take their shields away: the reactor closes."""
        tasks = [self]
        for task in tasks:  # it grows meanwhile
            for group in task.groups:
                tasks += group.tasks
        for task in reversed(tasks):
            # The loop does not make the calls any more that it was asked for, neither to wake it nor to break it off.
            if task._wake_up is not None and not task._wake_up.cancelled():
                task.soon(task._wake_up.run)
            task.soon(task._break_off)

    def _lose_shields(self) -> None:
        scope: CancelScope | None = self.scope
        while scope is not None and scope is not self:
            scope.unshield()
            scope = scope._parent
        self.cancel_called = True
        self.doomed = self.scope is not None and self.scope.is_doomed()

    # The deadlines of its scopes. No timer is moved when a scope is left, or entered again. So a deadline that is kept
    # costs no timer (as in `connections.deadlines`).

    def look_at(self, when: float) -> None:
        """Look at the deadlines at `when`, in seconds of the clock."""
        if self.reactor.state is CLOSED:
            return
        if self._timer is not None:
            self._timer.cancel()
        self.next_look = when
        self._timer = self.reactor.call_at(when, self._look)

    def _look(self) -> None:
        self.next_look, self._timer = math.inf, None
        # `asked_at`: what came before that was delivered, so a task that could go on has done so (P2).
        now, nearest, scope = self.reactor.timers.asked_at, math.inf, self.scope
        while scope is not self:
            if scope.deadline <= now:
                scope.cancel()
            elif not scope.cancel_called:
                nearest = min(nearest, scope.deadline)
            assert scope._parent is not None
            scope = scope._parent
        if nearest < math.inf:
            self.look_at(nearest)


def make_last_calls(reactor: Reactor) -> None:
    """Make the calls of the tasks of `reactor`, which closes, until none is left. SystemExit is raised at the end.

    Inside one of these calls, it does nothing: they are made one after the other (rule 1).
    """
    calls, leaving = reactor.extensions.get(LastCalls), None
    if calls is None or calls.are_made:
        return
    calls.are_made = True
    while calls:
        try:
            if not calls.popleft().run():
                reactor.counters.callback_errors += 1
        except BaseException as exc:
            leaving = exc
    calls.are_made = False
    if leaving is not None:
        raise leaving


def _refusal(foreign: object) -> TypeError:
    """For a task that awaits something of another library, which nothing here would ever resume."""
    return TypeError(f"a task of reactor cannot await this: {type(foreign).__name__} belongs to another event loop")

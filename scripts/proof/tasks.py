"""The tasks of one world and their scopes, worked out a second time.

A task library can lose a wake-up, resume a task twice or inside another one, cancel too early, too late or the wrong
part, or leave a task behind. It cannot be asked whether it does. So each step of a task is seen here, each scope that
is entered or left, and each call of `cancel`; and each wait of a program says what it waits for (`Tasks.wait`). From
this follows what must be true after each step, after each phase, and before the loop sleeps.

For this, some methods of the floor are replaced by ones that record the call and then go on with it.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from reactor.connections.states import CloseReason
from reactor.coroutines import opening, stream, waiting
from reactor.coroutines.endings import IncompleteReadError
from reactor.coroutines.scopes import Cancelled, CancelScope, get_current
from reactor.coroutines.task import Task
from reactor.loop.states import CLOSED
from reactor.net.splitters import FrameTooLarge

from .laws import LawBroken
from .laws import require as plain_require

if TYPE_CHECKING:
    from .world import World


# What a wait may raise. The last two: a wrong use, which these programs try on purpose, and the end of an iteration.
MAY_RAISE = (OSError, FrameTooLarge, IncompleteReadError, RuntimeError, StopAsyncIteration)


class Scope:
    """What is known of one scope: a `with` block, the scope of a group, or a whole task."""

    __slots__ = ("seconds", "shield", "parent", "cancelled", "by_program", "deadline", "entered_in")

    def __init__(self, seconds: float, shield: bool, parent: Scope | None = None) -> None:
        self.seconds = seconds
        self.shield = shield
        self.parent = parent  # the scope around it
        self.cancelled = self.by_program = False
        self.deadline = self.entered_in = math.inf  # `entered_in`: a phase

    def is_doomed(self) -> bool:
        """Whether a wait inside must raise."""
        scope: Scope | None = self
        while scope is not None:
            if scope.cancelled:
                return True
            scope = None if scope.shield else scope.parent
        return False


class Life:
    """What is known of one task."""

    __slots__ = (
        "task", "scope", "made_in", "steps", "in_break", "doomed_in", "waits", "ready", "due", "at_once", "children",
        "parent", "reading", "dial",
    )  # fmt: skip

    def __init__(self, task: Any, scope: Scope, parent: Life | None, made_in: int) -> None:
        self.task = task
        self.scope = scope  # the innermost
        self.parent = parent  # the task whose group it is in
        self.children = 0
        self.made_in = made_in  # in which phase
        self.steps = 0  # how often it was resumed
        self.at_once = 0  # waits since its last step that were over at once
        self.in_break = False  # it lets the others have their turn
        self.doomed_in = -1  # since which phase its present wait must be broken off; -1: it need not be
        self.waits = ""  # for what, in a word
        self.ready: Callable[[], bool] | None = None  # whether what it waits for is there
        self.due = math.inf  # when its present wait is over
        self.reading: Any = None  # the `reads.Ask` of its present read
        self.dial: Any = None  # the `Dial` and the streams of the connection that it asks for


class Tasks:
    """All tasks of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.lives: dict[Any, Life] = {}  # that have not ended
        self._scopes: dict[Any, Scope] = {}  # that were made, and not left
        self._running: Life | None = None
        self.broken: LawBroken | None = None  # the first: a task may catch an exception, or put it off
        self._failed: list[Scope] = []  # of groups in which a task raises now
        self.raised: list[BaseException] = []  # errors of programs that the log must show
        self._hooks = sys.get_asyncgen_hooks()
        self._most_at_once = world.scenario.batch + 2
        self._over = False  # the world has ended in the middle: no task waits any more

    def require(self, holds: object, number: int, text: str, *details: object) -> None:
        """As `laws.require`. A law that is broken inside a task is not forgotten."""
        try:
            plain_require(holds, number, text, *details)
        except LawBroken as broken:
            self.broken = self.broken or broken
            raise

    def handlers(self) -> int:
        """How many handlers have not ended."""
        return sum(reads.handler is not None for reads in self._world.reads.values())

    def running(self) -> Life | None:
        """The task that is in a step; None if there is none."""
        return self._running

    def current(self) -> Life:
        """The task that runs."""
        return self.lives[get_current()]

    # What the programs tell.

    async def wait(self, what: str, function: Callable[..., Any], *args: Any, ready: Callable[[], bool] | None = None,
                   seconds: float = math.inf, may_be_none: bool = False) -> Any:  # fmt: skip
        """Await `function(*args)`, checked. `ready`: whether what it waits for is there; `seconds`: how long it is.

        `may_be_none`: if it is over at once, it was no wait, and need not raise in a cancelled scope.
        """
        if self._over:
            raise GeneratorExit
        life, world = self.current(), self._world
        doomed, steps, due = life.scope.is_doomed(), life.steps, world.network.now + seconds
        life.waits, life.ready, life.due = what, ready, due
        if world.network.note is not None:
            world.network.note("it waits for", what)
        try:
            result = await function(*args)
        except Exception as exc:
            self.require(isinstance(exc, MAY_RAISE), 9, "a wait for {} raises {!r}", what, exc)
            raise
        finally:
            life.waits, life.ready, life.due = "", None, math.inf
        at_once = life.steps == steps
        if not (at_once and may_be_none):
            self.require(not doomed, 6, "a wait for {} ends well in a cancelled scope", what)
            life.at_once += at_once
            self.require(life.at_once <= self._most_at_once, 8, "{} waits of a task are over without a break",
                         life.at_once)  # fmt: skip
        early = math.inf > seconds > 0 and world.waiter.asked_at < due
        self.require(not early, 6, "a wait for {} is over before {:.4f}", what, due)
        return result

    def raises(self, exc: Exception) -> None:
        """A program raises `exc` out of a task that nothing waits for: it must be logged."""
        self._world.mishaps += 1
        self.raised.append(exc)

    def fails(self, scope: Any) -> None:
        """A task of the group with `scope` raises: the others are not wanted any more."""
        self._failed.append(self._scopes[scope])

    def knows(self, scope: Any) -> bool:
        """Whether `scope` was not left yet."""
        return scope in self._scopes

    def cancel(self, scope: Any) -> None:
        """The program cancels `scope`, which may have a deadline that lies ahead."""
        self._scopes[scope].by_program = True
        scope.cancel()

    # What the floor does.

    def replacements(self) -> list[tuple[Any, str, Any]]:
        """The methods that record what is done. The original is called in each of them."""
        make, resume, throw, end = Task.__init__, Task.resume, Task.throw, Task._end
        make_scope, enter, leave = CancelScope.__init__, CancelScope.__enter__, CancelScope.__exit__
        cancel, unshield, cancel_all = CancelScope.cancel, CancelScope.unshield, Task.cancel_for_good
        close = stream.Stream.close

        def task_made(task: Any, reactor: Any, coroutine: Any, owner: Any, parent: Any = None) -> None:
            make(task, reactor, coroutine, owner, parent)
            self._is_made(task, parent)

        def resumed(task: Any, value: Any = None) -> None:
            with self._step(task):
                resume(task, value)

        def thrown(task: Any, exc: BaseException) -> None:
            with self._step(task):
                throw(task, exc)

        def ended(task: Any, exc: BaseException) -> None:
            self._ends(task)
            end(task, exc)

        def scope_made(scope: Any, seconds: float = math.inf, *, shield: bool = False) -> None:
            make_scope(scope, seconds, shield=shield)
            self._scopes[scope] = Scope(seconds, shield)

        def entered(scope: Any) -> Any:
            self._enters(scope)
            return enter(scope)

        def left(scope: Any, kind: Any, exc: Any, trace: Any) -> Any:
            expected, caught = self._leaves(scope, exc), False
            try:
                caught = bool(leave(scope, kind, exc, trace))
            except TimeoutError:
                caught = True
                raise
            finally:
                does, because = ("catches", "not for it") if caught else ("lets pass", "for it")
                self.require(caught == expected, 4, "a scope {} {!r}, which is {}", does, exc, because)
            return caught

        def cancelled(scope: Any) -> None:
            self._is_cancelled(self._scopes.get(scope))
            cancel(scope)

        def unshielded(scope: Any) -> None:
            self._scopes[scope].shield = False
            self._note_doomed()
            unshield(scope)

        def cancelled_for_good(task: Any) -> None:
            self._is_cancelled(self._scopes.get(task))
            cancel_all(task)

        def closed(it: Any) -> None:
            close(it)
            if it in self._world.reads:
                self._world.reads[it].closed()

        in_break = self._take_a_break
        return [
            (Task, "__init__", task_made), (Task, "resume", resumed), (Task, "throw", thrown), (Task, "_end", ended),
            (Task, "cancel_for_good", cancelled_for_good),
            (CancelScope, "__init__", scope_made), (CancelScope, "__enter__", entered),
            (CancelScope, "__exit__", left), (CancelScope, "cancel", cancelled), (CancelScope, "unshield", unshielded),
            (stream.Stream, "close", closed), (stream, "sleep", in_break),
            (waiting, "STEPS_PER_TURN", self._most_at_once),
            (opening, "connect", self._connect),
        ]  # fmt: skip

    def _connect(self, _reactor: Any, factory: Any, _address: Any, on_failure: Any, _limits: Any) -> Any:
        streams: list[Any] = []

        def make() -> Any:
            streams.append(factory())
            return streams[0]

        dial = self._world.upstreams.dial(make, on_failure)
        self.current().dial = dial, streams
        return dial

    def check_given_up(self) -> None:
        """Law 3: the last connection that this task has asked for is not wanted any more. Nothing is left of it."""
        dial, streams = self.current().dial or (None, [])
        self.require(dial is None or dial.outcome, 3, "a connection is not wanted any more, and is still tried")
        alive = [stream for stream in streams if not stream.connection.is_closing()]
        self.require(not alive, 3, "a connection is made, and nobody has it")

    async def _take_a_break(self, seconds: float) -> None:
        life = self.current()
        life.in_break = True
        try:
            await waiting.sleep(seconds)
        finally:
            life.in_break = False

    def _is_made(self, task: Any, parent: Any) -> None:
        around = self._scopes[parent] if parent is not None else None
        scope = self._scopes[task] = Scope(math.inf, False, around)
        host = self.lives.get(parent._task) if parent is not None else None
        if host is not None:
            host.children += 1
        self.lives[task] = Life(task, scope, host, self._world.phase_number)

    @contextlib.contextmanager
    def _step(self, task: Any) -> Any:
        """A task is resumed in this block."""
        world, life, running = self._world, self.lives.get(task), self._running
        self.require(running is None, 8, "a task is resumed inside another one, which waits for {!r}",
                     running and running.waits)  # fmt: skip
        assert life is not None, "a task is resumed after its end"
        world.network.happened += 1
        world.network.stir()
        if world.network.note is not None:
            world.network.note("a task goes on", life.waits and f"behind its wait for {life.waits}")
        self._running, life.at_once = life, 0
        life.steps += 1
        try:
            yield
        finally:
            self._running, life.doomed_in = None, -1
        if self.broken is not None:
            raise self.broken
        while self._failed:
            self.require(self._failed.pop().cancelled, 6, "a task of a group raises, and the group is not cancelled")
        if task in self.lives:
            doomed = life.scope.is_doomed()
            self.require(not doomed, 6, "a wait for {!r} begins in a cancelled scope", life.waits)
            if life.reading is not None and not life.in_break:
                life.reading.waits()

    def _ends(self, task: Any) -> None:
        life = self.lives.pop(task)
        del self._scopes[task]
        if life.parent is not None:
            life.parent.children -= 1
        self.require(not life.children, 3, "a task ends, and {} tasks of its groups go on", life.children)

    def _enters(self, scope: Any) -> None:
        life, known = self.current(), self._scopes[scope]
        known.parent, life.scope = life.scope, known
        known.entered_in = self._world.phase_number
        known.deadline = self._world.network.now + known.seconds
        if type(scope).__name__ != "_UntilTheyEnd":  # which holds to the end
            known.shield = known.shield and self._world.reactor.state is not CLOSED

    def _leaves(self, scope: Any, exc: BaseException | None) -> bool:
        """Whether it must catch `exc`."""
        life, known = self.current(), self._scopes.pop(scope)
        assert known.parent is not None and life.scope is known
        life.scope = known.parent
        own = known.shield or not known.parent.is_doomed()  # else the exception is for a scope around it
        return known.cancelled and isinstance(exc, Cancelled) and own

    def _is_cancelled(self, scope: Scope | None) -> None:
        if scope is None or scope.cancelled:
            return
        scope.cancelled = True
        if self._world.network.note is not None:
            self._world.network.note("a scope is cancelled, due at", f"{scope.deadline:.4f}")
        in_time = scope.by_program or scope.deadline == math.inf or self._world.waiter.asked_at >= scope.deadline
        self.require(in_time, 6, "a scope for {:.4f} is cancelled, and what had come was looked for at {:.4f}",
                     scope.deadline, self._world.waiter.asked_at)  # fmt: skip
        self._note_doomed()

    def _note_doomed(self) -> None:
        for life in self.lives.values():
            if life.doomed_in < 0 and life.scope.is_doomed():
                life.doomed_in = self._world.phase_number

    # What must hold.

    def phase_ends(self, phase: str) -> None:
        """Laws 6 and 8: after the timers and the calls, what was due in them is done."""
        world, number = self._world, self._world.phase_number
        if phase == "timers":
            for scope in self._scopes.values():
                late = scope.deadline <= world.asked_at and scope.entered_in < number and not scope.cancelled
                self.require(not late, 6, "a scope for {:.4f} is not cancelled at {:.4f}", scope.deadline,
                             world.asked_at)  # fmt: skip
            return
        for life in self.lives.values():
            self.require(life.steps or life.made_in >= number, 8, "a task was not begun")
            kept = 0 <= life.doomed_in < number and life.scope.is_doomed()
            self.require(not kept, 6, "a wait for {!r} goes on in a cancelled scope", life.waits)

    def loop_sleeps(self, until: float, slack: float) -> None:
        """Laws 1 and 6: no task waits for what is there, and no time is slept over."""
        for life in self.lives.values():
            there = life.ready is not None and not life.in_break and life.ready()
            self.require(not there, 1, "a task waits for {}, which is there, and the loop sleeps", life.waits)
            self.require(not life.in_break, 1, "a task takes a break, and the loop sleeps")
            self.require(until <= life.due + slack, 6, "a task waits until {:.3f}, and the loop sleeps until {:.3f}",
                         life.due, until)  # fmt: skip
        for scope in self._scopes.values():
            late = not scope.cancelled and until > scope.deadline + slack
            self.require(not late, 6, "a scope ends at {:.3f}, and the loop sleeps until {:.3f}", scope.deadline, until)

        for reads in self._world.reads.values():
            handler = reads.handler if reads.witness.life == "lost" else None
            in_order = not reads.is_closed and reads.witness.connection.close_reason is CloseReason.PEER_CLOSED
            left = handler is not None and not in_order and not self._scopes[handler.task].cancelled
            self.require(not left, 3, "a connection is lost, and its handler is not cancelled")

    def check_over(self) -> None:
        """Law 3: the reactor is closed, and no task is left."""
        self.require(not self.lives, 3, "{} tasks are left when the reactor is closed", len(self.lives))

    def abandon(self) -> None:
        """The world has ended, perhaps in the middle: leave nothing behind."""
        self._over = True
        sys.set_asyncgen_hooks(*self._hooks)
        for task in [*self.lives][::-1] * 3:
            with contextlib.suppress(BaseException):
                task.coroutine.close()

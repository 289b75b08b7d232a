"""A connection and the task that serves it: `Server(handler)` for an `async def handler(stream)`.

The two end together. When the handler returns, what it has written is sent, and the connection is closed. When it
raises an exception, the connection alone ends, with a reset, and the error is logged once (E9). When the connection is
lost, the handler is cancelled: it is not needed any more, but its clean-up runs. There is one exception. If the handler
has called `write_eof`, and then the peer ends its side too, both have ended in order. All input is there, and the
handler goes on with it.

A drain waits for a handler, but not while a task waits in a read of its stream: it may wait for ever. So a handler that
reads in one task and answers in another must say that an answer is to come: `stream.connection.hold()`, and `release()`
behind the answer. When a drain closes a connection, a read that waits raises ConnectionAbortedError.

Some errors are the peer's doing and no mistake of the program. They end the connection without a traceback: a line that
is too long, an end in the middle of `read_exactly`, and a ConnectionError after the connection was lost. So does a
group of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from ..connections.connection import Connection
from ..connections.states import CloseReason
from ..loop.states import CLOSED
from ..net.splitters import FrameTooLarge
from .endings import IncompleteReadError, error_of, is_all
from .groups import coroutine_of
from .roots import roots_of
from .scopes import Cancelled
from .stream import Stream
from .task import Task, make_last_calls

Handler = Callable[[Stream], Awaitable[Any]]
OF_THE_PEER = (FrameTooLarge, IncompleteReadError)


class ServedStream(Stream):
    """A stream with the task of its handler: `task`, None once it has ended."""

    __slots__ = ("task", "_handler")

    def __init__(self, handler: Handler) -> None:
        super().__init__()
        self.task: Task | None = None
        self._handler = handler

    def connection_made(self, connection: Connection) -> None:
        super().connection_made(connection)
        roots_of(connection.reactor)  # from now on it tells the tasks when the reactor closes
        self.task = Task(connection.reactor, coroutine_of(self._handler, (self,)), self)
        self.task.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        reactor, task = self.connection.reactor, self.task
        closed = self._lost is not None  # by us: what the handler does now does not need the connection
        if task is not None:
            roots_of(reactor).outliving[task] = None
            if reactor.state is CLOSED:
                self._lose(error_of(self.connection, exc))  # a write that waits raises this, and not `Cancelled`
                task.cancel_for_good()  # before a read raises: the task must not begin to wait again
        super().connection_lost(exc)
        if reactor.state is CLOSED:
            make_last_calls(reactor)
        elif task is not None and (closed or not isinstance(self._lost, BrokenPipeError)):
            task.cancel()

    def give_up_input(self) -> tuple[bytes, bool]:
        if self.task is not None:
            roots_of(self.connection.reactor).outliving[self.task] = None
        return super().give_up_input()

    def owes_answer(self) -> bool:
        """Whether the handler is at work, so that a drain waits for it. While any task waits in a read, it is not."""
        return self.task is not None and self._reader is None

    def task_ended(self, task: Task) -> None:
        """The handler has ended, and so does the connection."""
        connection, error = self.connection, task.error
        self.task = task.error = None
        roots_of(connection.reactor).outliving.pop(task, None)
        if self._lost is not None and (error is None or is_all(error, (*OF_THE_PEER, ConnectionError, Cancelled))):
            return
        if error is None or (is_all(error, (IncompleteReadError,)) and not connection.state.delivers):
            connection.close()
        elif is_all(error, OF_THE_PEER) and not is_all(error, (IncompleteReadError,)):
            connection._finish(CloseReason.FRAME_TOO_LARGE, error)  # type: ignore[arg-type]
        elif isinstance(error, Exception):
            connection._fail("the handler", error)
        else:  # cancelled, or SystemExit: the peer must not take what it has for the whole
            connection._end(CloseReason.ABORTED, None)


def is_handler(program: object) -> bool:
    """Whether `program` is an async function, or another callable whose call makes a coroutine."""
    return inspect.iscoroutinefunction(program) or (
        not isinstance(program, type) and inspect.iscoroutinefunction(getattr(program, "__call__", None))  # noqa: B004
    )


def handler_factory(handler: Callable[..., Any]) -> Callable[[], Stream]:
    """The factory of protocols for `handler`: a task for each connection.

    TypeError if `handler` cannot be called with one argument, the stream.
    """
    if not _takes(handler, 1):
        name = name_of(handler)
        raise TypeError(f"{name} must take one argument, the stream of its connection: {name}(stream)")
    return lambda: ServedStream(handler)


def mistake_in_handler(program: object) -> str | None:
    """What is wrong with `program`, if it was probably meant as a handler and is none; None if nothing is seen."""
    if inspect.iscoroutine(program):
        program.close()  # else it would also warn that it was never awaited
        name = program.__qualname__
        return f"give the function {name}, not the coroutine {name}(...): each connection has its own"
    if inspect.isasyncgenfunction(program):
        return f"{name_of(program)} is an async generator, because it has a `yield`: a handler must not have one"
    if inspect.isroutine(program) and not is_handler(program) and not _takes(program, 0) and _takes(program, 1):
        name = name_of(program)
        return f"{name} takes an argument: write `async def {name}(stream)`; a factory of protocols takes none"
    return None


def name_of(program: Any) -> str:
    """Its name in a message."""
    return str(getattr(program, "__qualname__", program))


def _takes(function: Callable[..., Any], count: int) -> bool:
    """Whether it can be called with `count` arguments, as far as that can be seen."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # it has no signature that can be read
        pass
    return True

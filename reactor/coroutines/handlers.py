"""A connection and the task that serves it: `Server(handler)` for an `async def handler(stream)`.

The two end together. When the handler returns, what it has written is sent, and the connection is closed. When it
raises, the connection alone ends, with a reset, and the error is logged once (E9). When the connection is lost, the
handler is cancelled: it is not needed any more, but its clean-up runs.

Some errors are the peer's doing and no mistake of the program. They end the connection without a traceback: a line that
is too long, an end in the middle of `read_exactly`, and a ConnectionError after the connection was lost.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from ..connections.connection import Connection
from ..connections.states import CloseReason
from ..loop.states import CLOSED
from ..net.splitters import FrameTooLarge
from .groups import coroutine_of
from .roots import roots_of
from .scopes import Cancelled
from .stream import IncompleteReadError, Stream
from .task import Task, make_last_calls

# What a handler may raise without a mistake of its own, once its connection is lost.
NO_MISTAKE = (ConnectionError, Cancelled, FrameTooLarge, IncompleteReadError)

Handler = Callable[[Stream], Awaitable[Any]]


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
        if task is not None:
            roots_of(reactor).outliving[task] = None
            if reactor.state is CLOSED:  # first: when its read raises, it must not begin to wait again
                task.cancel_for_good()
        super().connection_lost(exc)
        if reactor.state is CLOSED:
            make_last_calls(reactor)
        elif task is not None:
            task.cancel()

    def give_up_input(self) -> tuple[bytes, bool]:
        if self.task is not None:  # the new protocol hears of the connection's end, so nothing cancels the handler
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
        if self._lost is not None and (error is None or is_all(error, NO_MISTAKE)):
            return  # also if the connection was handed over: it is not ours to close
        if error is None or isinstance(error, IncompleteReadError):
            connection.close()
        elif isinstance(error, FrameTooLarge):
            connection._finish(CloseReason.FRAME_TOO_LARGE, error)
        elif isinstance(error, Exception):
            connection._fail("the handler", error)
        else:  # cancelled, or SystemExit: the peer must not take what it has for the whole
            connection._end(CloseReason.ABORTED, None)


def is_all(error: BaseException, kinds: tuple[type[BaseException], ...]) -> bool:
    """Whether `error` is of one of `kinds`; if it is a group, whether all in it are."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(kinds)[1] is None
    return isinstance(error, kinds)


def is_handler(program: object) -> bool:
    """Whether `program` is an async function, or another callable whose call makes a coroutine."""
    return inspect.iscoroutinefunction(program) or (
        not isinstance(program, type) and inspect.iscoroutinefunction(getattr(program, "__call__", None))  # noqa: B004
    )


def handler_factory(handler: Callable[..., Any]) -> Callable[[], Stream]:
    """The factory of protocols for `handler`: a task for each connection.

    TypeError if `handler` cannot be called with one argument, the stream.
    """
    try:
        inspect.signature(handler).bind(None)
    except TypeError:
        name = getattr(handler, "__qualname__", handler)
        raise TypeError(f"{name} must take one argument, the stream of its connection: {name}(stream)") from None
    except ValueError:  # it has no signature that can be read
        pass
    return lambda: ServedStream(handler)

"""What a program consists of: six callbacks, and the order in which they come.

A blocking server calls `recv` and waits. Here a program must not wait, because all connections share one thread. The
loop waits for all of them, and calls the program when something has happened. A program is a class with some of the six
methods below. Each connection has its own instance.

The names and meanings are those of PEP 3156, so the same class runs here and on asyncio. `connection_made` gets a
`Connection`, which is the transport of that PEP.

The order is a grammar, whatever the network does:

    life     =  connection_made  data_received*  eof_received?  connection_lost
    writing  =  ( pause_writing  resume_writing )*  pause_writing?

The callbacks of `writing` come between `connection_made` and `connection_lost`, at any place among the others. No
callback comes after `connection_lost`.

If a callback raises an exception, it is logged once with its traceback, and this connection alone ends (reason
`handler_error`). All others are served as before (E9).
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .connection import Connection


class Protocol:
    """The base of a program: every callback is there and does nothing.

    A program need not inherit from it: any object with these methods will do. It has no `__dict__` of its own, so a
    subclass with `__slots__` stays small.
    """

    __slots__ = ()

    def connection_made(self, connection: Connection) -> None:
        """Called once, first: the peer is connected and `connection` is how to talk to it."""

    def data_received(self, data: bytes) -> None:
        """Called with the next bytes of the stream, never empty.

        TCP is a stream of bytes, and the borders between chunks mean nothing (RFC 9293). What the peer sent in one
        piece may come in several, and the other way round.
        """

    def eof_received(self) -> bool | None:
        """Called at most once: the peer will send no more (its FIN has arrived), but it may still read.

        Return a true value to keep the connection open for writing, until `close` or `write_eof`. After a false value
        (also None) the connection closes itself when all output is sent.
        """

    def connection_lost(self, exc: Exception | None) -> None:
        """Called once, last: at the end of an iteration, never inside `write`, `close` or `abort`.

        `exc` is None if both sides closed, after `abort`, or if the server shut down. Otherwise it is what went wrong.
        After `close` that may be a peer that did not take the rest, or did not end, in time (TimeoutError).
        `connection.close_reason` names the reason.
        """

    def pause_writing(self) -> None:
        """Called when waiting output goes strictly over the high mark, or all buffers over `memory_bytes`: please stop.

        If output waits already, it comes inside the call of `write`. If not, the kernel is offered the data first, when
        the callback has returned, and `pause_writing` comes if too much is left.
        """

    def resume_writing(self) -> None:
        """Called after `pause_writing`, when the waiting output is down to the low mark or below it."""


CALLBACKS = tuple(name for name in vars(Protocol) if not name.startswith("_"))


def mistake_in(program: object) -> str | None:
    """What is wrong with `program`, as the end of a sentence that begins with its name; None if nothing is seen.

    `program` is a class of protocols, a callable that makes them, or a protocol. It is better to find a mistake at the
    start than at the first client. And a callback that is a coroutine function would do nothing, without an error.
    """
    if isinstance(program, type):
        if not any(hasattr(program, name) for name in CALLBACKS):
            return f"has none of the callbacks of a Protocol ({', '.join(CALLBACKS)})"
    elif callable(program):
        mistake = "is a coroutine function: give it to Server(...), or write a Protocol class"
        return mistake if inspect.iscoroutinefunction(program) else None
    else:
        for name in CALLBACKS:
            if not callable(getattr(program, name, None)):
                return f"has no method {name}: derive its class from Protocol"
    each = program if isinstance(program, type) else type(program)
    for name, method in ((name, method) for base in each.__mro__ for name, method in vars(base).items()):
        if inspect.iscoroutinefunction(method) and _is_callback(each, name):
            return f"has an `async def {name}`: a callback is a plain `def`, because the loop does not await it"
    return None


def check_program(program: object) -> None:
    """TypeError if there is a mistake in `program` that can be seen."""
    if mistake := mistake_in(program):
        raise TypeError(f"{getattr(program, '__name__', program)} {mistake}")


def _is_callback(program: type, name: str) -> bool:
    """Whether `name` is a callback: of PEP 3156, or a plain method of a base of `program`, such as `frame_received`."""
    methods = [vars(base).get(name) for base in program.__mro__]
    plain = [each for each in methods if inspect.isfunction(each) and not inspect.iscoroutinefunction(each)]
    return name in CALLBACKS or bool(plain)

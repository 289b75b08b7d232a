"""What a program must say to be served: six callbacks, and the order in which they come.

A blocking server asks: it calls `recv` and waits. Here nobody waits, so the roles are turned round. The
loop does the waiting for everyone, and calls the program when there is something to tell. A program is
a class with some of the six methods below, one instance a connection.

The names and their meaning are those of PEP 3156 to the letter, so that one class runs unchanged on
asyncio and here. What it is handed in `connection_made` is a `Connection`, the transport of that PEP.

The order is a grammar, and the core holds to it whatever the network does:

    life     =  connection_made  data_received*  eof_received?  connection_lost
    writing  =  ( pause_writing  resume_writing )*  pause_writing?

`writing` runs between `connection_made` and `connection_lost`, interleaved with the rest. Nothing is
ever called after `connection_lost`.

An exception that leaves any of these callbacks ends that one connection (reason `handler_error`), after
one log line with its traceback. Everyone else is served as before (E9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .connection import Connection


class Protocol:
    """The base of a program: every callback is there and does nothing.

    Inheriting from it is a convenience, not a duty: any object with these methods will do. It has no
    `__dict__` of its own, so that a subclass with `__slots__` stays as small as it can be.
    """

    __slots__ = ()

    def connection_made(self, connection: Connection) -> None:
        """Called once, first: the peer is connected and `connection` is how to talk to it."""

    def data_received(self, data: bytes) -> None:
        """Called with the next bytes of the stream, never empty.

        TCP is a stream of bytes: where one chunk ends and the next begins means nothing (RFC 9293). What
        the peer sent in one piece may come in several, and the other way round.
        """

    def eof_received(self) -> bool | None:
        """Called at most once: the peer will send no more (its FIN has arrived), but it may still read.

        Return a true value to keep the connection open for writing, until `close` or `write_eof`. With a
        false one, which None is, the connection closes itself when what was written has been sent.
        """

    def connection_lost(self, exc: Exception | None) -> None:
        """Called once, last.

        `exc` is None when the end was a clean one (both sides closed) or the program's own wish (`close`,
        `abort`). Otherwise it is what went wrong, and `connection.close_reason` has the name for it.
        """

    def pause_writing(self) -> None:
        """Called when the output that waits to be sent goes strictly over the high mark: please stop.

        It comes from inside a call of `write` that finds output waiting; or when the callback has returned, for what
        the kernel has left of a write that found none.
        """

    def resume_writing(self) -> None:
        """Called after `pause_writing`, when the waiting output is down to the low mark or below it."""

"""What a read or a write raises when there is no more.

A peer may end its side, break the connection off, or say nothing for too long. None of these is a mistake of the
program. So it gets one kind of error for all of them, ConnectionError, and the class says which end it was:

    BrokenPipeError          both sides have ended in order, or we have closed: nothing can be written any more
    ConnectionResetError     the network or the peer's kernel told of an error
    ConnectionAbortedError   a limit of ours, `abort`, the end of the reactor; or another protocol has the connection
"""

from __future__ import annotations

import errno

from ..connections.connection import Connection
from ..connections.states import CloseReason


class IncompleteReadError(EOFError):
    """The peer ended its side before `read_exactly` had its bytes. What it has sent stays to be read."""


HANDED_OVER = ConnectionAbortedError("the connection was handed over to another protocol")
CLOSED_BY_US = BrokenPipeError(errno.EPIPE, "the stream is closed")


def error_of(connection: Connection, exc: Exception | None) -> ConnectionError:
    """The error for the end of `connection`, whose `connection_lost` gets `exc`."""
    reason = connection.close_reason
    if isinstance(exc, OSError) and exc.errno:
        return ConnectionResetError(exc.errno, exc.strerror)
    if isinstance(exc, ConnectionAbortedError):
        return exc
    if reason is CloseReason.PEER_CLOSED:
        return BrokenPipeError(errno.EPIPE, "both sides of the connection have ended")
    # Not the text of `exc`: a program's exception may have none.
    return ConnectionAbortedError(f"the connection has ended: {reason and reason.value}")


def anew(exc: ConnectionError) -> ConnectionError:
    """A copy to raise: an exception that is raised twice collects the tracebacks of both."""
    return type(exc)(*exc.args)


def is_all(error: BaseException, kinds: tuple[type[BaseException], ...]) -> bool:
    """Whether `error` is of one of `kinds`; if it is a group, whether all in it are."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(kinds)[1] is None
    return isinstance(error, kinds)

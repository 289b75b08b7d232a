"""One line in the log for each connection that has ended: who it was, how long, how much, and why it ended.

An operator asks about one client among thousands. A descriptor does not answer: the kernel gives its number to the next
connection. So each connection has a serial number, and one record is logged when it is over. A connection that was
refused has one too.

The records go to the logger `reactor.access` at level DEBUG. `logging.getLogger("reactor.access").setLevel("DEBUG")`
turns them on, and `reactor serve --access-log` does that. Each record has a mapping as its argument, so a formatter can
write the fields one by one:

    connection   the serial number, in this reactor
    peer         the address of the other side
    listener     our address; None if we opened the connection
    seconds      from `accept` or `connect` to the end
    bytes_in     how many bytes were received, also those that were discarded after `close`
    bytes_out    how many the kernel took to send; both are None if the log was off when the connection began
    reason       the `CloseReason`, as text
    error        what `connection_lost` was told, as text; None if nothing went wrong

Where do the bytes come from? To count them in the dispatcher would make every message dearer, for all who do not ask.
So while the log is on, a connection gets a socket that counts. Its `recv` and `send` are methods in Python, so each
message pays for two more calls. While the log is off, it costs nothing.
"""

from __future__ import annotations

import logging
import socket
from typing import Any

from ..loop.reports import report
from .connection import Connection
from .sockaddr import describe
from .states import CloseReason

logger = logging.getLogger("reactor.access")


class CountingSocket(socket.socket):
    """A socket that counts the bytes of its `recv` and `send` calls."""

    __slots__ = ("received", "sent")

    def __init__(self, sock: socket.socket) -> None:
        """Take over the descriptor of `sock`, which is then closed."""
        super().__init__(sock.family, sock.type, sock.proto, sock.detach())
        self.received = self.sent = 0

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """`socket.recv`, counted unless it only peeks."""
        data = super().recv(size, flags)
        if not flags & socket.MSG_PEEK:
            self.received += len(data)
        return data

    def send(self, data: Any, flags: int = 0, /) -> int:
        """`socket.send`, counted."""
        count = super().send(data, flags)
        self.sent += count
        return count


def counted(sock: socket.socket) -> socket.socket:
    """`sock` itself, or a socket that counts in its place if the log is on."""
    if logger.isEnabledFor(logging.DEBUG) and isinstance(sock, socket.socket):  # not a simulated one
        return CountingSocket(sock)
    return sock


def log_end(connection: Connection) -> None:
    """Log the end of `connection`. Its socket is still open."""
    if not logger.isEnabledFor(logging.DEBUG):
        return
    sock, error = connection._socket, connection._error
    accepted = connection._admitted_from is not None
    _log(
        connection=connection.serial,
        peer=describe(connection._peername),
        listener=_own_address(sock) if accepted else None,
        seconds=round(connection.reactor.timers.now - connection._opened_at, 6),
        bytes_in=sock.received if isinstance(sock, CountingSocket) else None,
        bytes_out=sock.sent if isinstance(sock, CountingSocket) else None,
        reason=connection.close_reason.value if connection.close_reason is not None else "",
        error=None if error is None else _text_of(error),
    )


def log_refused(serial: int, peername: Any, sock: socket.socket, error: str) -> None:
    """Log that a connection was accepted and closed at once, because of the limit that `error` names."""
    if logger.isEnabledFor(logging.DEBUG):
        _log(
            connection=serial,
            peer=describe(peername),
            listener=_own_address(sock),
            seconds=0.0,
            bytes_in=0,
            bytes_out=0,
            reason=CloseReason.REFUSED.value,
            error=error,
        )


def _log(**fields: Any) -> None:
    way = "to %(peer)s" if fields["listener"] is None else "from %(peer)s on %(listener)s"
    amount = "" if fields["bytes_in"] is None else ", %(bytes_in)d bytes in, %(bytes_out)d out"
    error = "" if fields["error"] is None else " (%(error)s)"
    text = f"connection %(connection)d {way}: %(reason)s after %(seconds).3f s{amount}{error}"
    report(logger, logging.DEBUG, text, fields)


def _own_address(sock: socket.socket) -> str:
    try:
        return describe(sock.getsockname())
    except OSError:  # the program has closed it
        return "unknown"


def _text_of(error: Exception) -> str:
    try:
        return str(error) or type(error).__name__
    except Exception:  # the program's own exception, whose `__str__` raises
        return type(error).__name__

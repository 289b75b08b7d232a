"""What the kernel still holds of a connection, in either direction.

`send` says that the kernel has taken some bytes, not that the peer has them: up to some megabytes wait in the kernel,
and after them our FIN. `recv` is not called before the loop comes to it: until then a request lies in the kernel and
nobody knows of it. Whoever ends a connection by what our own buffers say ends it too early in both cases. The kernel
can be asked for both numbers, without a byte being moved: ioctl(2) with TIOCOUTQ and FIONREAD (tcp(7), unix(7)).

The cost: a system call for each question, about 2 µs. So it is asked when a connection or a server ends, and never for
a message.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .connection import Connection

try:
    import fcntl
    import termios
except ImportError:  # Windows
    fcntl = termios = None  # type: ignore[assignment]


def undelivered_bytes(sock: Any) -> int | None:
    """How many bytes the kernel has taken from us and the peer's has not acknowledged.

    A FIN that is not acknowledged counts as one byte on a TCP socket. On a UNIX socket it is the memory that they
    take, until the peer has read them. None where it cannot be told: systems other than Linux know no such question
    about a socket, and a socket of the simulation has no kernel.
    """
    return _ask(sock, "TIOCOUTQ")


def unread_bytes(sock: Any) -> int | None:
    """How many bytes of input the kernel has for us; None where it cannot be told."""
    return _ask(sock, "FIONREAD")


def undelivered_output(connection: Connection) -> int | None:
    """How many bytes of output the peer does not have; None where it cannot be told. Our FIN is none of them."""
    count = undelivered_bytes(connection.socket)
    return None if count is None else max(0, count - connection.fin_sent)


def _ask(sock: Any, question: str) -> int | None:
    if fcntl is None or not isinstance(sock, socket.socket):
        return None
    try:
        answer = fcntl.ioctl(sock.fileno(), getattr(termios, question), bytes(4))
    except (OSError, ValueError, AttributeError):  # not known here; or the socket is closed
        return None
    count: int = struct.unpack("i", answer)[0]
    return count

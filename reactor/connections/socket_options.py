"""What the kernel is told about a socket, and what it is asked.

Two of TCP's defaults are made for other programs. Small segments are held back in the hope of more, for the sake of
terminals over slow lines; and a socket that is closed ends the stream properly, as if all had been said.

`send` says that the kernel has taken some bytes, not that the peer has them: up to some megabytes wait in the kernel,
and after them our FIN. `recv` is not called before the loop comes to it: until then a request lies in the kernel and
nobody knows of it. Whoever ends a connection by what our own buffers say ends it too early in both cases. The kernel
can be asked for both numbers, without a byte being moved: ioctl(2) with TIOCOUTQ and FIONREAD (tcp(7), unix(7)).

The cost: a system call for each question, about 2 µs. So it is asked when a connection or a server ends, and never for
a message.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Any

from .connection import Connection

try:
    import fcntl
    import termios
except ImportError:  # Windows
    fcntl = termios = None  # type: ignore[assignment]

RESET = struct.pack("ii", 1, 0)  # struct linger {on, 0 seconds}


def send_at_once(sock: socket.socket) -> None:
    """Turn Nagle's algorithm off for a TCP socket, or for all that a listening one accepts, which inherit it.

    The algorithm holds a small segment back while an earlier one is unacknowledged, and the peer delays its
    acknowledgement by up to 40 ms: together they stall every second small reply. We gather the writes of a callback
    ourselves, so there is nothing left for Nagle to gain (RFC 1122, 4.2.3.4; tcp(7), TCP_NODELAY).
    """
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):  # some systems refuse options of a socket whose peer has left
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def is_listening(sock: socket.socket) -> bool:
    """Whether `listen` was called for it before (socket(7), SO_ACCEPTCONN)."""
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def reset_on_close(sock: socket.socket) -> None:
    """Have the close of `sock` send a RST instead of a FIN: the peer is not to take what it has for the whole.

    (socket(7), SO_LINGER with a time of 0.)
    """
    with contextlib.suppress(OSError):  # gone already, in which case there is nobody to tell
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


# What it still holds of a connection, in either direction.


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
    count = undelivered_bytes(connection._socket)
    return None if count is None else max(0, count - connection._fin_sent)


def _ask(sock: Any, question: str) -> int | None:
    if fcntl is None or not isinstance(sock, socket.socket):
        return None
    try:
        answer = fcntl.ioctl(sock.fileno(), getattr(termios, question), bytes(4))
    except (OSError, ValueError, AttributeError):  # not known here; or the socket is closed
        return None
    count: int = struct.unpack("i", answer)[0]
    return count

"""What we tell the kernel about a socket, and what we ask it.

Two of TCP's defaults do not suit a server. The kernel holds small segments back until there is more to send, which is
good for terminals over slow lines. And the close of a socket ends the stream with a FIN, even if output is missing.

Our own buffers do not say whether a connection may end. `send` says that the kernel has taken some bytes, not that the
peer has them: some megabytes may wait in the kernel, and our FIN after them. And a request may lie in the kernel until
the loop calls `recv`. The kernel can be asked for both numbers, and no byte moves: ioctl(2) with TIOCOUTQ and FIONREAD
(tcp(7), unix(7)).

The cost: a system call for each question, about 2 µs. So we ask when a connection or server ends, never for a message.
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
    """Turn Nagle's algorithm off for a TCP socket. The sockets that a listening socket accepts inherit this.

    The algorithm holds a small segment back while an earlier one is unacknowledged. The peer delays its acknowledgement
    by up to 40 ms. Together they stall every second small reply. We gather the writes of a callback ourselves, so the
    algorithm has nothing to gain here (RFC 1122, 4.2.3.4; tcp(7), TCP_NODELAY).
    """
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):  # some systems refuse options on a socket whose peer has left
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def is_listening(sock: socket.socket) -> bool:
    """Whether `listen` was called on `sock` (socket(7), SO_ACCEPTCONN)."""
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def reset_on_close(sock: socket.socket) -> None:
    """Let the close of `sock` send a RST, not a FIN: the peer must not take what it has for the whole.

    (socket(7), SO_LINGER with a time of 0.)
    """
    with contextlib.suppress(OSError):  # the connection is gone already: there is no peer to tell
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


# What the kernel still holds of a connection, in each direction.


def undelivered_bytes(sock: Any) -> int | None:
    """How many bytes the kernel has taken from us and the peer's kernel has not acknowledged.

    On a TCP socket, a FIN that is not acknowledged counts as one byte. On a UNIX socket, the answer is the memory that
    unread bytes take. None if there is no answer: only Linux has this question for sockets, and a socket of the
    simulation has no kernel.
    """
    return _ask(sock, "TIOCOUTQ")


def unread_bytes(sock: Any) -> int | None:
    """How many bytes of input the kernel has for us. None if there is no answer."""
    return _ask(sock, "FIONREAD")


def undelivered_output(connection: Connection) -> int | None:
    """How many bytes of output the peer does not have, without our FIN. None if there is no answer."""
    count = undelivered_bytes(connection._socket)
    return None if count is None else max(0, count - connection._fin_sent)


def _ask(sock: Any, question: str) -> int | None:
    if fcntl is None or not isinstance(sock, socket.socket):
        return None
    try:
        answer = fcntl.ioctl(sock.fileno(), getattr(termios, question), bytes(4))
    except (OSError, ValueError, AttributeError):  # this system does not know the question; or the socket is closed
        return None
    count: int = struct.unpack("i", answer)[0]
    return count

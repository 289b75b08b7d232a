"""What the kernel is told about a socket once, so that TCP does what a server wants of it.

Two of TCP's defaults are made for other programs. Small segments are held back in the hope of more, for the sake of
terminals over slow lines; and a socket that is closed ends the stream properly, as if all had been said.
"""

from __future__ import annotations

import contextlib
import socket
import struct

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

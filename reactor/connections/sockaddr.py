"""A socket address as text.

The `socket` module gives an address in a form of its own for each family: (host, port) for IPv4, (host, port, flow,
scope) for IPv6, and a path for a UNIX socket. People and configuration files write one text for each, and the log uses
the same: `127.0.0.1:80`, `[fe80::1%eth0]:80`, `unix:/run/server`. `net.addresses.parse` reads it.
"""

from __future__ import annotations

import os
import socket
from typing import Any


def describe(sockaddr: Any) -> str:
    """The socket address `sockaddr`, as `getsockname` and `accept` return it, as text."""
    if isinstance(sockaddr, tuple):
        host, port = sockaddr[:2]
        if ":" not in host:
            return f"{host}:{port}"
        if len(sockaddr) == 4 and sockaddr[3] and "%" not in host:
            host += f"%{_zone(sockaddr[3])}"
        return f"[{host}]:{port}"
    if isinstance(sockaddr, bytes):  # an abstract UNIX address (unix(7)) begins with a zero byte
        return f"unix:@{os.fsdecode(sockaddr[1:])}"
    if not sockaddr:
        return "unix:(unnamed)"  # most UNIX clients bind no path (unix(7))
    path = str(sockaddr)
    return f"unix:./{path}" if path.startswith("@") else f"unix:{path}"


def _zone(scope: int) -> str:
    try:
        return socket.if_indextoname(scope)
    except OSError:  # the interface is gone; its number can stand for it (RFC 4007, section 11.2)
        return str(scope)

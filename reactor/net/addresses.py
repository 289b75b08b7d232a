"""From what a person writes after `--bind` to bound sockets, and back to what a person can read.

An address as text names more than one socket: `localhost` is usually 127.0.0.1 and ::1, and `:8000` is every
interface in both families. The traps are known ones: an IPv6 socket that also takes the IPv4 port (so the
second bind fails), port 0 that gives each family a different port (A8), and a UNIX socket's path that
outlives its server, so that a careless server either cannot start or steals a live one's address (A7).

    HOST:PORT    a name or an IPv4 address        :PORT        every interface, both families
    [V6]:PORT    an IPv6 address                  unix:PATH    a UNIX stream socket
                                                  fd://N       a bound socket that was handed in
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable
from typing import Any, NamedTuple

SocketFactory = Callable[..., socket.socket]

PORT_0_TRIES = 16  # a port that is free for one family may be taken for the other; then another is tried


class Address(NamedTuple):
    """An address taken apart: exactly one of `port`, `path` and `fd` is not None."""

    host: str = ""
    port: int | None = None
    path: str | None = None
    fd: int | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        if self.fd is not None:
            return f"fd://{self.fd}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Endpoint(NamedTuple):
    """One socket address of one family, as the `socket` module takes it."""

    family: int
    sockaddr: Any


def parse(text: str) -> Address:
    """The `Address` that `text` names; ValueError, saying what would be right, if it names none."""
    if text.startswith("unix:"):
        if not text[5:] or "\0" in text:
            raise ValueError(f"address {text!r} lacks the path: write unix:PATH")
        return Address(path=text[5:])
    if text.startswith("fd://"):
        if not _is_number(text[5:], 2**31 - 1):
            raise ValueError(f"address {text!r} lacks the number of a descriptor: write fd://N")
        return Address(fd=int(text[5:]))
    host, colon, port = text.rpartition(":")
    if text.startswith("["):
        if not (host.endswith("]") and ":" in host):
            raise ValueError(f"address {text!r} is not [V6]:PORT")
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"address {text!r} is ambiguous: write [{host}]:{port} or [{text}]:PORT for IPv6")
    if not colon or "\0" in host or not _is_number(port, 65535):
        raise ValueError(f"address {text!r} is not HOST:PORT with a port from 0 to 65535 (nor unix:PATH, fd://N)")
    return Address(host=host, port=int(port))


def _is_number(text: str, most: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= most


def describe(sockaddr: Any) -> str:
    """A socket address (as `getsockname` gives it) in the words that `parse` takes."""
    if isinstance(sockaddr, tuple):
        return str(Address(host=sockaddr[0], port=sockaddr[1]))
    if isinstance(sockaddr, bytes):  # an abstract UNIX address (unix(7)) begins with a zero byte
        sockaddr = "@" + sockaddr[1:].decode(errors="replace")
    return f"unix:{sockaddr}"


def resolve(address: Address) -> list[Endpoint]:
    """Where to connect to, best first (getaddrinfo(3)). Blocks when the host is a name.

    OSError if the name is unknown; ValueError for fd://N, which is no destination.
    """
    if address.path is not None:
        return [Endpoint(socket.AF_UNIX, address.path)]
    if address.fd is not None:
        raise ValueError(f"{address} is a socket to listen on; nothing can be connected to it")
    return _lookup(address.host or "localhost", address)


def resolve_now(address: Address) -> list[Endpoint] | None:
    """`resolve` where that cannot block, for a path or a number; None for a name."""
    if address.path is not None:
        return resolve(address)
    for family, rest in ((socket.AF_INET, ()), (socket.AF_INET6, (0, 0))):
        with contextlib.suppress(OSError, ValueError):
            socket.inet_pton(family, address.host)
            return [Endpoint(family, (address.host, address.port, *rest))]
    return None


def _lookup(host: str | None, address: Address) -> list[Endpoint]:
    try:
        found = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as exc:
        raise OSError(exc.errno, f"cannot find the host {address.host!r}: {exc.strerror}") from None
    except UnicodeError:
        raise OSError(errno.EINVAL, f"{address.host!r} is not the name of a host") from None
    return list(dict.fromkeys(Endpoint(family, sockaddr) for family, _, _, _, sockaddr in found))


def bind(address: Address, socket_factory: SocketFactory = socket.socket) -> list[socket.socket]:
    """Bound sockets, one for each endpoint that `address` names, ready for `Reactor.listen`.

    OSError with a readable `strerror` that names the address when it is in use, not ours, or not allowed. Of
    several endpoints those that this machine cannot have are left out, so long as one remains.
    """
    if address.fd is not None:
        return [_adopt_descriptor(address)]
    if address.path is not None:
        return [_bind_unix(address.path, socket_factory)]
    endpoints = _lookup(address.host or None, address)
    for attempt in range(PORT_0_TRIES):
        try:
            return _bind_all(endpoints, socket_factory)
        except OSError as exc:
            unlucky = address.port == 0 and exc.errno == errno.EADDRINUSE and attempt < PORT_0_TRIES - 1
            if not unlucky:
                raise OSError(exc.errno, f"cannot listen on {address}: {_why(exc)}") from None
    raise AssertionError("unreachable: the last attempt returns or raises")


def _why(exc: OSError) -> str:
    if exc.errno == errno.EADDRINUSE:
        return "address in use"
    if exc.errno == errno.EADDRNOTAVAIL:
        return "it is not an address of this machine"
    return (exc.strerror or str(exc)).lower()


def _bind_all(endpoints: list[Endpoint], socket_factory: SocketFactory) -> list[socket.socket]:
    bound: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for endpoint in endpoints:
            # The families share a port: that of the first, when it was left to the kernel (A8).
            port = bound[0].getsockname()[1] if bound else endpoint.sockaddr[1]
            try:
                bound.append(_bind_tcp(endpoint, port, socket_factory))
            except OSError as exc:
                if exc.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                missing = exc
        if not bound:
            raise missing or OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    except BaseException:  # whatever it is goes on to the caller, and no descriptor stays behind
        for sock in bound:
            sock.close()
        raise
    return bound


def _bind_tcp(endpoint: Endpoint, port: int, socket_factory: SocketFactory) -> socket.socket:
    sock = socket_factory(endpoint.family, socket.SOCK_STREAM)
    try:
        # A restarted server would else wait a minute for connections of its predecessor in TIME_WAIT (socket(7)).
        # Windows means something else by it: that two servers may share the port.
        if os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if endpoint.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # leaves the IPv4 port to its own socket
        sock.bind((endpoint.sockaddr[0], port, *endpoint.sockaddr[2:]))
    except BaseException:  # as above
        sock.close()
        raise
    return sock


def _bind_unix(path: str, socket_factory: SocketFactory) -> socket.socket:
    sock = socket_factory(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_stale(path):
            os.unlink(path)
        sock.bind(path)
    except OSError as exc:
        sock.close()
        raise OSError(exc.errno, f"cannot listen on unix:{path}: {_why(exc)}") from None
    return sock


def _is_stale(path: str) -> bool:
    """Whether a socket lies at `path` that nobody listens on any more (A7)."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return False  # a file of another kind is never ours to remove: the bind will fail, and say so
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a live server with a full backlog must not hold us up: EAGAIN means it lives
        return probe.connect_ex(path) == errno.ECONNREFUSED


def unlink_unix(sockaddr: Any, inode: int) -> None:
    """Remove a UNIX socket's path, if it is still the one with that `inode`: another server may have taken it."""
    with contextlib.suppress(OSError):
        if os.stat(sockaddr).st_ino == inode:
            os.unlink(sockaddr)


def _adopt_descriptor(address: Address) -> socket.socket:
    assert address.fd is not None
    try:
        sock = socket.socket(fileno=address.fd)
    except OSError as exc:
        raise OSError(exc.errno, f"cannot listen on {address}: {_why(exc)}") from None
    if sock.type != socket.SOCK_STREAM:
        sock.detach()
        raise OSError(errno.EPROTOTYPE, f"cannot listen on {address}: it is not a stream socket")
    return sock

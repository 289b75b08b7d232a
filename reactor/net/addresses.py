"""From the text after `--bind` to bound sockets, and from a socket address back to text.

One address as text can name several sockets: `localhost` is usually 127.0.0.1 and ::1, and `:8000` is every
interface in both families. There are known traps. An IPv6 socket may also take the IPv4 port, and then the second
bind fails. Port 0 gives each family a different port (A8). A link-local IPv6 address means nothing without the
interface after its `%` (RFC 4007). A descriptor may be one of the process's own, and not one that was handed in (A10).
The traps of a UNIX socket's path are in `unix_paths`.

    HOST:PORT    a name or an IPv4 address        :PORT        every interface, both families
    [V6]:PORT    an IPv6 address                  unix:PATH    a UNIX stream socket
                                                  fd://N       a bound socket that was handed in

A link-local address is [V6%INTERFACE]:PORT, and an abstract UNIX address unix:@NAME.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
from collections.abc import Callable
from typing import Any, NamedTuple

from .unix_paths import bind_unix, unix_sockaddr

SocketFactory = Callable[..., socket.socket]

PORT_0_TRIES = 16  # the kernel's port may be free in one family and taken in the other: try another one


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


# Text.


def parse(text: str) -> Address:
    """The `Address` that `text` names.

    ValueError if it names none; its one line says what would be right. TypeError if `text` is not a string.
    """
    if not isinstance(text, str):
        raise TypeError(f"an address is text like HOST:PORT, not {text!r}")
    if text.startswith("unix:"):
        return Address(path=_checked_path(text))
    if text.startswith("fd://"):
        if not _is_number(text[5:], 2**31 - 1):
            raise ValueError(f"address {text!r} lacks the number of a descriptor: write fd://N")
        return Address(fd=int(text[5:]))
    address = _host_and_port(text)
    if address is None:
        raise ValueError(f"{text!r} is not an address: write {_what_would_be_right(text)}")
    return address


def _checked_path(text: str) -> str:
    path = text[5:]
    if path.startswith("//") and path[2:] and not path.startswith("///"):  # in a URL a host; bind would see a path
        raise ValueError(f"address {text!r} is ambiguous: write unix:{path[2:]} or unix:{path[1:]}")
    if not path.strip("/@") or "\0" in path:
        raise ValueError(f"address {text!r} lacks the path: write unix:PATH")
    try:
        os.fsencode(path)
    except UnicodeError:
        raise ValueError(f"address {text!r} has a path that no file can have here: write unix:PATH") from None
    return path


def _host_and_port(text: str) -> Address | None:
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]") and ":" in host
    if bracketed:
        host = host[1:-1]
    # A host with a star or slash, as in URLs and other programs' addresses, would be looked up and not found.
    if not colon or not _is_number(port, 65535) or re.search(r"[]\[*/\0]" if bracketed else r"[]\[*/\0:]", host):
        return None
    return Address(host=host, port=int(port))


def _what_would_be_right(text: str) -> str:
    """The address that the writer of `text` may have meant."""
    bare = re.sub(r"^([a-z][a-z0-9+.-]*:)?//", "", text.strip(), flags=re.IGNORECASE).partition("/")[0]
    host, _, port = bare.rpartition(":")
    if re.match(r"\.{0,2}/[^/]", text):
        return f"unix:{text}"
    if _is_number(bare, 65535):
        return f"127.0.0.1:{bare}, or :{bare} for every interface"
    if host == "*" and _is_number(port, 65535):
        return f":{port} for every interface"
    if _is_ipv6(host) and _is_ipv6(bare) and _is_number(port, 65535):
        return f"[{host}]:{port} or [{bare}]:PORT"
    if _is_ipv6(bare):
        return f"[{bare}]:PORT"
    if bare != text and _host_and_port(bare):
        return bare
    for name in (bare, host):
        if name and _host_and_port(f"{name}:0"):
            return f"{name}:PORT with a port from 0 to 65535"
    return "HOST:PORT, :PORT, [V6]:PORT (ports are from 0 to 65535), unix:PATH or fd://N"


def _is_number(text: str, most: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= most


def _is_ipv6(host: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    except (OSError, ValueError):
        return False
    return True


def _one_line(address: Address) -> str:
    """`address` as one line for a message: a path may hold line breaks."""
    text = str(address)
    return text if text.isprintable() else ascii(text)


# Endpoints.


def check_endpoint(endpoint: Any) -> None:
    """TypeError or ValueError unless `endpoint` is an `Endpoint` that `connect` takes without a look-up.

    If its host were a name, `socket.connect` itself would look it up, and the whole loop would wait.
    """
    if not isinstance(endpoint, Endpoint) or not isinstance(endpoint.family, int):
        raise TypeError(f"an Endpoint(family, sockaddr) is needed, not {endpoint!r}")
    if endpoint.family not in (socket.AF_INET, socket.AF_INET6):
        return
    host, port = (*endpoint.sockaddr, None, None)[:2] if isinstance(endpoint.sockaddr, tuple) else (None, None)
    if not isinstance(host, str) or not isinstance(port, int):
        raise TypeError(f"the address of an Endpoint must be (host, port), not {endpoint.sockaddr!r}")
    try:
        zoned = endpoint.family == socket.AF_INET6  # IPv4 has no zones, and a `%` would make it a name
        socket.inet_pton(endpoint.family, host.partition("%")[0] if zoned else host)
    except (OSError, ValueError):
        raise ValueError(f"the host of an Endpoint must be a numeric address, not {host!r}") from None
    if not 0 <= port <= 65535:
        raise ValueError(f"the port of an Endpoint must be from 0 to 65535, not {port}")


def resolve(address: Address) -> list[Endpoint]:
    """The endpoints to connect to, best first (getaddrinfo(3)). Blocks when the host is a name.

    OSError if the name is unknown; ValueError for fd://N, which is no destination.
    """
    if address.path is not None:
        return [Endpoint(socket.AF_UNIX, unix_sockaddr(address.path))]
    if address.fd is not None:
        raise ValueError(f"{address} is a socket to listen on; nothing can be connected to it")
    return _lookup(address.host or "localhost", address)


def resolve_now(address: Address) -> list[Endpoint] | None:
    """Like `resolve`, for what cannot block: a path or a number. None for a name."""
    if address.path is not None or address.fd is not None:
        return resolve(address)
    host, percent, zone = address.host.partition("%")
    with contextlib.suppress(OSError, ValueError):
        if not percent:
            socket.inet_pton(socket.AF_INET, host)
            return [Endpoint(socket.AF_INET, (host, address.port))]
    with contextlib.suppress(OSError, ValueError):
        socket.inet_pton(socket.AF_INET6, host)
        scope = 0 if not percent else int(zone) if zone.isdecimal() else socket.if_nametoindex(zone)
        return [Endpoint(socket.AF_INET6, (host, address.port, 0, scope))]
    return None


def _lookup(host: str | None, address: Address) -> list[Endpoint]:
    try:
        found = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as exc:
        raise OSError(exc.errno, f"cannot find the host {address.host!r}: {exc.strerror}") from None
    except UnicodeError:
        raise OSError(errno.EINVAL, f"{address.host!r} is not the name of a host") from None
    return list(dict.fromkeys(Endpoint(family, sockaddr) for family, _, _, _, sockaddr in found))


# Binding.


def bind(address: Address, socket_factory: SocketFactory = socket.socket) -> list[socket.socket]:
    """Bound sockets, one for each endpoint that `address` names, ready for `Reactor.listen`.

    OSError when the address is in use, not ours, or not allowed; its readable `strerror` names the address. If there
    are several endpoints, those that this machine cannot have are left out, as long as one remains. A UNIX socket
    listens already (see `unix_paths`). A descriptor that is refused stays open: it is not ours.
    """
    endpoints = [] if address.port is None else _lookup(address.host or None, address)
    try:
        if address.fd is not None:
            return [_adopt_descriptor(address.fd)]
        if address.path is not None:
            return [bind_unix(address.path, socket_factory)]
        return _bind_all(endpoints, socket_factory, PORT_0_TRIES if address.port == 0 else 1)
    except OSError as exc:
        raise OSError(exc.errno, f"cannot listen on {_one_line(address)}: {_why(exc, address)}") from None


def _why(exc: OSError, address: Address) -> str:
    if exc.errno == errno.EADDRNOTAVAIL:
        return "it is not an address of this machine"
    if exc.errno == errno.EINVAL and address.host.lower().startswith("fe80:") and "%" not in address.host:
        return f"a link-local address needs its interface: write [{address.host}%eth0]:{address.port} if that is eth0"
    text = exc.strerror or str(exc)
    if text == os.strerror(errno.EADDRINUSE):
        return "address in use"
    return text if text[:2].isupper() else text[:1].lower() + text[1:]


def _bind_all(endpoints: list[Endpoint], socket_factory: SocketFactory, tries: int) -> list[socket.socket]:
    while True:
        tries -= 1
        try:
            return _bind_each(endpoints, socket_factory)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE or not tries:
                raise


def _bind_each(endpoints: list[Endpoint], socket_factory: SocketFactory) -> list[socket.socket]:
    bound: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for endpoint in endpoints:
            # All families share one port. If the kernel picks it, the first socket's port is the one (A8).
            port = bound[0].getsockname()[1] if bound else endpoint.sockaddr[1]
            try:
                bound.append(_bind_tcp(endpoint, port, socket_factory))
            except OSError as exc:
                if exc.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                missing = exc
        if not bound:
            raise missing or OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    except BaseException:  # no descriptor may stay open, and the caller gets the exception
        for sock in bound:
            sock.close()
        raise
    return bound


def _bind_tcp(endpoint: Endpoint, port: int, socket_factory: SocketFactory) -> socket.socket:
    sock = socket_factory(endpoint.family, socket.SOCK_STREAM)
    try:
        # Without this, a restarted server waits a minute for its old connections in TIME_WAIT (socket(7)).
        # On Windows the option means something else: two servers may share the port.
        if os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if endpoint.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # leave the IPv4 port to another socket
        sock.bind((endpoint.sockaddr[0], port, *endpoint.sockaddr[2:]))
    except BaseException:  # as above
        sock.close()
        raise
    return sock


def _adopt_descriptor(fd: int) -> socket.socket:
    sock = socket.socket(fileno=fd)
    try:
        _check_handed_in(sock)
        # Like sd_listen_fds(3): a program that we start must not keep the port after our end.
        sock.set_inheritable(False)
    except BaseException:  # it stays open, because it is not ours
        sock.detach()
        raise
    return sock


def _check_handed_in(sock: socket.socket) -> None:
    """OSError for a descriptor that is not a socket to listen on, such as one of a loop's own (A10)."""
    unix = getattr(socket, "AF_UNIX", None)
    if sock.family not in (socket.AF_INET, socket.AF_INET6, unix):
        raise OSError(errno.EAFNOSUPPORT, "it is neither a TCP nor a UNIX socket")
    if sock.type != socket.SOCK_STREAM:
        raise OSError(errno.EPROTOTYPE, "it is not a stream socket")
    if _has_peer(sock):
        raise OSError(errno.EISCONN, "it is a connection, not a socket to listen on")
    name = sock.getsockname()
    if not (name if sock.family == unix else name[1]):
        raise OSError(errno.EINVAL, "it is bound to no address")


def _has_peer(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True

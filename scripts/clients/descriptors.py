"""What the system allows one program: a number of open files, and a number of connections to one address.

A connection is a file descriptor, and the kernel limits the descriptors of a process. There is a *soft* limit, often
1,024, which the process may raise up to the *hard* limit; only root may raise that. The soft limit is low because of
old programs that use select(2) with its 1,024 bits (see getrlimit(2)). This program does not use select, so it asks
for all it can have. If that is not enough, it says so before the first connect: a run that runs out of descriptors in
the middle has measured nothing.

A connection is also a pair of addresses. All connections from here to one server differ only in our port, and the
kernel picks it from a range of some 28,000. The only remedies are a wider range or a second address. How many ports
are free shows only when one tries.
"""

from __future__ import annotations

import errno
import os
import pathlib

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

# Standard streams, the selector and its copy, both ends of the waker, and what the parent may have left open.
OTHER_DESCRIPTORS = 32
PORT_RANGE = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range")


def make_room(connections: int) -> None:
    """Raise the soft limit of descriptors as far as possible; ValueError if that is too few for `connections`."""
    if resource is None:
        return
    needed = connections + OTHER_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS calls the hard limit infinite and then refuses it; then ask only for what is needed.
    for wanted in (hard, needed):
        if soft != resource.RLIM_INFINITY and soft < needed:
            soft = _raise_soft_limit(soft, wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < needed:
        raise ValueError(
            f"{connections:,} connections need {needed:,} file descriptors, and this process may open {soft:,}"
            f" (RLIMIT_NOFILE): ask for at most {max(soft - OTHER_DESCRIPTORS, 0):,} connections, or raise the limit"
            f" with `ulimit -n {needed}` as root or by a line '* hard nofile {needed}' in /etc/security/limits.conf"
        )


def _raise_soft_limit(soft: int, wanted: int, hard: int) -> int:
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):
        return soft
    return wanted


def explain(exc: OSError) -> str:
    """Why a connect failed, and what to do, where something can be done."""
    if exc.errno == errno.EADDRNOTAVAIL:
        return (
            f"no local port is left for one more connection to this address: the range is {_port_range()}"
            " (net.ipv4.ip_local_port_range), less those that ended in the last minute (TIME_WAIT); wait a minute, or"
            " use fewer clients"
        )
    if exc.errno in (errno.EMFILE, errno.ENFILE):
        return "no file descriptor is left, for this process or for the whole system"
    return exc.strerror or (os.strerror(exc.errno) if exc.errno else str(exc))


def _port_range() -> str:
    try:
        return " to ".join(PORT_RANGE.read_text().split())
    except OSError:
        return "the system's"

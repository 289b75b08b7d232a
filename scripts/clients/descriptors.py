"""What the system allows one program: so many open files, and so many connections to one place.

A connection is a file descriptor, and the kernel gives a process only so many: there is a *soft* limit, often
1,024, which the process may raise by itself up to the *hard* one, which only root may raise. The soft one is
low for the sake of old programs that use select(2) with its 1,024 bits (see getrlimit(2)). This one does not,
so it asks for all it can have, and says so before the first connect when that is not enough: a run that stops
in the middle for want of descriptors has measured nothing.

A connection is also a pair of addresses, and all that start here and end at one server differ in nothing but
our port. The kernel picks it from a range of some 28,000. There the only remedy is a wider range, or a second
address; how many are free, only trying can tell.
"""

from __future__ import annotations

import errno
import os
import pathlib

try:
    import resource
except ImportError:  # Windows, where a process has no such limit
    resource = None  # type: ignore[assignment]

# Standard streams, the selector and its copy, two ends of the waker, and what a parent may have left open.
OTHER_DESCRIPTORS = 32
PORT_RANGE = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range")


def make_room(connections: int) -> None:
    """Raise the soft limit of descriptors as far as it goes; ValueError if that is too few for `connections`."""
    if resource is None:
        return
    needed = connections + OTHER_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS calls the hard limit infinite and then refuses it; there, what is needed is asked for.
    for wanted in (hard, needed):
        if soft != resource.RLIM_INFINITY and soft < needed:
            soft = _raise_soft_limit(soft, wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < needed:
        raise ValueError(
            f"{connections:,} connections need {needed:,} file descriptors, and this process may open {soft:,}"
            f" (RLIMIT_NOFILE): raise the limit with `ulimit -n {needed}` as root or by a line"
            f" '* hard nofile {needed}' in /etc/security/limits.conf, or ask for at most"
            f" {max(soft - OTHER_DESCRIPTORS, 0):,} connections"
        )


def _raise_soft_limit(soft: int, wanted: int, hard: int) -> int:
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):
        return soft
    return wanted


def explain(exc: OSError) -> str:
    """Why a connect failed, in words that say what to do where there is something to do."""
    if exc.errno == errno.EADDRNOTAVAIL:
        return (
            f"no local port is left for one more connection to this address: the range is {_port_range()}"
            " (net.ipv4.ip_local_port_range), less those that ended in the last minute (TIME_WAIT)"
        )
    if exc.errno in (errno.EMFILE, errno.ENFILE):
        return "no file descriptor is left, for this process or for the whole system"
    return exc.strerror or (os.strerror(exc.errno) if exc.errno else str(exc))


def _port_range() -> str:
    try:
        return " to ".join(PORT_RANGE.read_text().split())
    except OSError:
        return "the system's"

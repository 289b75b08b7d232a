"""Room for as many connections as are promised.

A connection is a file descriptor, and a process may have only so many. There are two limits: the *soft* one is what
holds, often 1,024, and a process may raise it by itself up to the *hard* one, which only root may raise. The soft one
is low for the sake of programs that use select(2), which cannot take a descriptor above 1,023 (getrlimit(2)). So a
server that promises 10,000 connections has to ask for them when it starts, and to say so when it does not get them:
under load is too late.

The cost: programs that this one starts inherit the limit.
"""

from __future__ import annotations

try:
    import resource
except ImportError:  # Windows, where a process has no such limit
    resource = None  # type: ignore[assignment]

# Besides connections: the standard streams, the selector and its copy, the waker, listeners; and some for the program.
OTHER_DESCRIPTORS = 64


def make_room(connections: int) -> str:
    """Raise the soft limit of descriptors to what `connections` need, or as far as it goes.

    Empty if that is enough; else one line that says how many connections can be served, and what would help.
    """
    if resource is None:
        return ""  # type: ignore[unreachable]
    needed, infinity = connections + OTHER_DESCRIPTORS, resource.RLIM_INFINITY
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != infinity and soft < needed:
        soft = _raise(soft, needed if hard == infinity else min(needed, hard), hard)
    if soft == infinity or soft >= needed:
        return ""
    served = max(soft - OTHER_DESCRIPTORS, 0)
    return (
        f"about {served:,} connections can be served, not {connections:,}: this process may open {soft:,} file"
        f" descriptors (RLIMIT_NOFILE); run `ulimit -n {needed}` as root first, or set max_connections to"
        f" {max(served, 1)}"
    )


def _raise(soft: int, wanted: int, hard: int) -> int:
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):  # macOS calls the hard limit infinite, and then refuses what is above its own
        return soft
    return wanted

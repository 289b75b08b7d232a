"""Enough file descriptors for the connections that a server promises.

Each connection is a file descriptor, and the system limits how many a process may have (getrlimit(2)). The *soft*
limit is in force, and is often 1,024. A process may raise it up to the *hard* limit, which only root may raise. The
soft limit is low because select(2) cannot handle a descriptor above 1,023. So a server that promises 10,000
connections raises the limit when it starts, and says so if it cannot. Under load it would be too late.

The cost: programs that this one starts inherit the limit.
"""

from __future__ import annotations

try:
    import resource
except ImportError:  # Windows, where a process has no such limit
    resource = None  # type: ignore[assignment]

# Besides connections: the standard streams, the selector and its copy, the waker, the listeners, the program's files.
OTHER_DESCRIPTORS = 64


def make_room(connections: int) -> str:
    """Raise the soft limit of descriptors to what `connections` need, or as far as the system allows.

    Returns "" if that is enough. Else returns one line: how many connections can be served, and what would help.
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
    except (ValueError, OSError):  # macOS reports an infinite hard limit, yet refuses numbers above a limit of its own
        return soft
    return wanted

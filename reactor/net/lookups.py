"""Names are looked up on threads, because `getaddrinfo` can only block.

getaddrinfo(3) blocks for as long as the resolver takes: seconds when a name server is gone. It cannot be asked without
waiting, and a look-up cannot be cancelled. So each name is looked up on a thread of its own, and the answer comes to
the loop by `call_soon_threadsafe`.

Three things go wrong with such threads. If the resolver hangs, threads would collect without end. So there are only
`MOST_LOOK_UPS` places. A thread may not start at all (a limit on processes, a container's limit on tasks). Then the
caller is told, and the place is free again. And a fork copies the count of taken places, but not the threads that
would give them back. So a child begins with a new count (C3).

The cost: 64 look-ups that hang keep others out until the resolver gives up.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Callable

from ..connections.reactor import Reactor
from ..loop import fork
from .addresses import Address, Endpoint, resolve

MOST_LOOK_UPS = 64  # threads that may wait for the resolver at once
_places = threading.BoundedSemaphore(MOST_LOOK_UPS)


def look_up(
    reactor: Reactor,
    address: Address,
    found: Callable[[list[Endpoint]], object],
    failed: Callable[[OSError], object],
) -> None:
    """Look up `address`. The loop of `reactor` then calls `found` with its endpoints, or `failed` with the reason.

    If the look-up cannot begin, `failed` is called at once. If the reactor is closed meanwhile, neither is called.
    """
    places = _places
    if not places.acquire(blocking=False):
        failed(OSError(errno.EAGAIN, f"{MOST_LOOK_UPS} names are being looked up already; try again later"))
        return
    arguments = (reactor, address, found, failed, places)
    try:
        threading.Thread(target=_on_thread, args=arguments, name=f"look-up of {address}", daemon=True).start()
    except Exception as exc:  # RuntimeError or MemoryError: the system has no more threads for us (P4)
        places.release()
        failed(OSError(errno.EAGAIN, f"cannot look up {address}: {exc}"))


def _on_thread(
    reactor: Reactor,
    address: Address,
    found: Callable[[list[Endpoint]], object],
    failed: Callable[[OSError], object],
    places: threading.BoundedSemaphore,
) -> None:
    answer: tuple[Callable[..., object], object]
    try:
        answer = found, resolve(address)
    except OSError as exc:
        answer = failed, exc
    except BaseException as exc:  # of the resolver's own making: the caller must be told all the same
        answer = failed, OSError(errno.EINVAL, f"cannot look up {address}: {exc!r}")
    finally:
        places.release()
    with contextlib.suppress(RuntimeError):  # the reactor was closed meanwhile, so no caller waits
        reactor.call_soon_threadsafe(*answer)


def _renew() -> None:
    global _places
    _places = threading.BoundedSemaphore(MOST_LOOK_UPS)


fork.renew(_renew)

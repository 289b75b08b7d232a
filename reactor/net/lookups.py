"""Names become addresses on threads, since nothing else can be done with `getaddrinfo`.

getaddrinfo(3) blocks for as long as the resolver takes, seconds when a name server is gone, and there is no way to ask
it without waiting, nor to call it off. So each name is looked up by a thread of its own, and the answer comes to the
loop by `call_soon_threadsafe`.

Three things go wrong with such threads. A resolver that hangs would collect them without end, so there are only so
many places, `MOST_LOOK_UPS`. A thread may not start at all (a limit on processes, a container's limit on tasks): then
whoever asked is told, and the place is free again. And a fork copies the count of the places taken but none of the
threads that would give them back, so a child begins with a new count (C3).

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
    """Have the loop of `reactor` call `found` with what `address` stands for, or `failed` with the reason why not.

    When no look-up can be begun, `failed` is called at once. Nobody is called when the reactor is closed meanwhile.
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
    except BaseException as exc:  # of the resolver's own making; who waits for it must be told all the same
        answer = failed, OSError(errno.EINVAL, f"cannot look up {address}: {exc!r}")
    finally:
        places.release()
    with contextlib.suppress(RuntimeError):  # the reactor was closed meanwhile, and nobody waits any more
        reactor.call_soon_threadsafe(*answer)


def _renew() -> None:
    global _places
    _places = threading.BoundedSemaphore(MOST_LOOK_UPS)


fork.renew(_renew)

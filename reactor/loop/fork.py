"""The special problem of fork.

`fork` copies the process, descriptors included, but not what the kernel has behind them: the child's epoll
descriptor is the parent's epoll instance, and its sockets are the parent's connections (fork(2), epoll(7)). A child
that went on with the loop would take the parent's events, answer the parent's peers a second time, and by
unregistering its copies blind the parent. Even a child that only holds the copies does harm: a connection that the
parent closes stays open, because somebody still has it.

So the child's loops give up their copies in the moment of the fork, by `close`, which touches nothing of the
parent's, and refuse to be used (L5). `fork` followed by `exec` never gets here: descriptors made by Python are not
inherited by other programs (PEP 446).

Memory is copied, too, but of the threads only the one that forked (pthread_atfork(3)). A counter of what other
threads are doing, or a lock that one of them holds, would keep its value in the child for ever. Whoever has such
state names, by `renew`, a call that makes it anew (C3).
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable
from typing import Any

from .reports import report

logger = logging.getLogger("reactor.loop")

_loops: weakref.WeakSet[Any] = weakref.WeakSet()  # `Loop`, in a file that needs this one
_renewals: list[Callable[[], object]] = []
_hooked = False


def watch(loop: Any) -> None:
    """Have `loop.abandon()` called in every child of this process."""
    _loops.add(loop)
    _hook()


def renew(call: Callable[[], object]) -> None:
    """Have `call()` made in every child of this process, right after the fork and before anything else of ours.

    It is for the state of a module, so it cannot be taken back, and is called in the order of these calls, after
    all loops were abandoned. What it raises is logged and keeps nothing else from being renewed. Does nothing
    where there is no fork.
    """
    _renewals.append(call)
    _hook()


def _hook() -> None:
    global _hooked
    if not _hooked and hasattr(os, "register_at_fork"):
        _hooked = True  # once for all: such a hook cannot be taken back
        os.register_at_fork(after_in_child=_in_child)


def _in_child() -> None:
    for call in (*(loop.abandon for loop in list(_loops)), *_renewals):
        try:
            call()
        except Exception as exc:  # each stands for itself: the next one has a parent to protect, too
            report(logger, logging.ERROR, "%r failed after a fork", call, exc=exc)

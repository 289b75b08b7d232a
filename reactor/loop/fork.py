"""The special problem of fork.

`fork` copies the process and its descriptors, but not the kernel objects behind them. The child's epoll descriptor
is the parent's epoll instance, and its sockets are the parent's connections (fork(2), epoll(7)). A child that went
on with the loop would take the parent's events and answer the parent's peers a second time. If it unregistered its
copies, the parent would get no more events. A child that only holds the copies does harm too: a connection that the
parent closes stays open.

So the child's loops close their copies directly after the fork, and refuse to be used (L5). Closing a copy changes
nothing for the parent. A program that is started by `exec` needs no such care: it does not inherit descriptors that
Python made (PEP 446).

Memory is copied too, but only the thread that forked lives on in the child (pthread_atfork(3)). A counter of the other
threads' work, or a lock that one of them holds, would keep its value in the child for ever. A module with such
state gives `renew` a call that makes the state anew (C3).
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable
from typing import Any

from .reports import report

logger = logging.getLogger("reactor.loop")

_loops: weakref.WeakSet[Any] = weakref.WeakSet()  # of `Loop`, whose file imports this one
_renewals: list[Callable[[], object]] = []
_hooked = False


def watch(loop: Any) -> None:
    """Call `loop.abandon()` in every child that this process forks."""
    _loops.add(loop)
    _hook()


def renew(call: Callable[[], object]) -> None:
    """Make `call()` in every child that this process forks, directly after the fork.

    It is for the state of a module, so it cannot be taken back. In the child, all loops are abandoned first. Then
    these calls are made, in the order in which they were given. An exception is logged, and the other calls are
    still made. Does nothing on a platform without fork.
    """
    _renewals.append(call)
    _hook()


def _hook() -> None:
    global _hooked
    if not _hooked and hasattr(os, "register_at_fork"):
        _hooked = True  # only once: Python cannot remove such a hook
        os.register_at_fork(after_in_child=_in_child)


def _in_child() -> None:
    for call in (*(loop.abandon for loop in list(_loops)), *_renewals):
        try:
            call()
        except Exception as exc:  # the other calls protect the parent too, so they are still made
            report(logger, logging.ERROR, "%r failed after a fork", call, exc=exc)

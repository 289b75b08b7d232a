"""The special problem of fork.

`fork` copies the process, descriptors included, but not what the kernel has behind them: the child's epoll
descriptor is the parent's epoll instance, and its sockets are the parent's connections (fork(2), epoll(7)). A child
that went on with the loop would take the parent's events, answer the parent's peers a second time, and by
unregistering its copies blind the parent. Even a child that only holds the copies does harm: a connection that the
parent closes stays open, because somebody still has it.

So the child's reactors give up their copies in the moment of the fork, by `close`, which touches nothing of the
parent's, and refuse to be used (L5). `fork` followed by `exec` never gets here: descriptors made by Python are not
inherited by other programs (PEP 446).
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .loop import Reactor

_reactors: weakref.WeakSet[Reactor] = weakref.WeakSet()
_hooked = False


def watch(reactor: Reactor) -> None:
    """Have `reactor` abandoned in every child of this process."""
    global _hooked
    _reactors.add(reactor)
    if not _hooked and hasattr(os, "register_at_fork"):
        _hooked = True  # once for all: such a hook cannot be taken back
        os.register_at_fork(after_in_child=_abandon_all)


def _abandon_all() -> None:
    for reactor in list(_reactors):
        reactor.abandon()

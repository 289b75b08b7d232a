"""What the kernel is asked to watch, and how its answer reaches the one who asked.

`selectors.DefaultSelector` picks the best demultiplexer of the platform: epoll on Linux, kqueue on the BSDs
and macOS, poll or select elsewhere. A `Poller` wraps it and adds what a reactor needs on top:

- a table from file descriptor to handler, for all but connections, which their dispatcher looks up itself;
- three questions that `selectors` cannot ask. It knows only readable and writable, and refuses an
  interest of neither. But a connection whose reading is paused, or whose peer has sent its FIN, is
  interested in neither and must still hear of a reset (R5, E5).

Where the selector is an epoll one, the wrapper therefore speaks to the same epoll instance by a second
descriptor. `select.epoll.fromfd` takes ownership of the descriptor that it is given and closes it at the
end, so it gets a duplicate: a descriptor with two owners is closed twice, the second time under somebody
else's feet. Elsewhere the selector's own methods are used, and such a connection is simply not watched
until it wants to read or write again; README concedes that.

Readiness is level-triggered: an event that is not dealt with comes again. So nothing is lost when a budget
cuts a batch short, and whatever is watched without wanting it keeps the loop spinning.
"""

from __future__ import annotations

import errno
import math
import os
import select
import selectors
import socket
from collections.abc import Callable
from typing import Any

# The bits of an interest and of an event. Their values are epoll's, so that epoll needs no translation.
READABLE = 0x001  # EPOLLIN: there is input, or an end of it, or an error to fetch
WRITABLE = 0x004  # EPOLLOUT: the kernel has room for output
BROKEN = 0x018  # EPOLLERR | EPOLLHUP: an error, or both directions are over
PEER_FIN = 0x2000  # EPOLLRDHUP: the peer will send no more, though its last bytes may be unread

EVENTS_PER_POLL = 1024  # one answer's length; the rest is level-triggered and comes with the next

Handler = Callable[[Any, int], None]


class SelectorPoller:
    """Any selector of the standard library, by its own methods."""

    __slots__ = ("selector", "handlers", "in_batch", "_discarded")

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self.selector = selector
        # By descriptor: whom to call, and with what.
        self.handlers: dict[int, tuple[Handler, Any]] = {}
        self.in_batch = False  # events that were fetched are being handed out
        self._discarded: list[socket.socket] = []

    def register(self, fd: int, interest: int, handler: Handler, source: object) -> None:
        """Call `handler(source, events)` when something of `interest` happens at `fd`.

        OSError when the kernel cannot watch it, or when it is registered already; then nothing has changed.
        """
        if fd in self.handlers:
            raise OSError(errno.EEXIST, f"descriptor {fd} is in use by this loop already")
        self.handlers[fd] = (handler, source)
        try:
            self._watch(fd, 0, interest)
        except BaseException:
            del self.handlers[fd]
            raise

    def modify(self, fd: int, before: int, interest: int) -> None:
        """Change the interest in `fd`, whoever is to be told; 0 watches nothing."""
        self._watch(fd, before, interest)

    def unregister(self, fd: int, interest: int) -> None:
        """Forget `fd`, before it is closed. Events for it in the batch at hand are dropped."""
        self.handlers.pop(fd, None)
        self._watch(fd, interest, 0)

    def tell(self, fd: int, events: int) -> None:
        """Call the handler of `fd`; nobody, if it was unregistered earlier in this batch: the event is stale (E7)."""
        if fd in self.handlers:
            handler, source = self.handlers[fd]
            handler(source, events)

    def discard(self, sock: socket.socket, fd: int, interest: int) -> None:
        """Unregister `fd` and close `sock`, whose it is; in the middle of a batch, at its end.

        Its number must not be used again before: an event that was fetched for it would reach the newcomer (E7).
        """
        self.unregister(fd, interest)
        if self.in_batch:
            self._discarded.append(sock)
        else:
            sock.close()

    def end_batch(self) -> None:
        """All events that were fetched have been handed out, or will be fetched again."""
        self.in_batch = False
        while self._discarded:
            self._discarded.pop().close()

    def _watch(self, fd: int, before: int, after: int) -> None:
        was, wanted = _selector_events(before), _selector_events(after)
        if wanted and was:
            self.selector.modify(fd, wanted)
        elif wanted:
            self.selector.register(fd, wanted)
        elif was:
            self.selector.unregister(fd)

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        """Wait at most `timeout` seconds (infinity: for ever) and tell what happened: (fd, events)."""
        ready = self.selector.select(None if timeout == math.inf else timeout)
        return [
            (key.fd, events & READABLE | (events & selectors.EVENT_WRITE and WRITABLE))
            for key, events in ready
        ]

    def close(self) -> None:
        """Give back the kernel's object. What was registered stays open: it has its own owner."""
        self.handlers.clear()
        self.selector.close()


class EpollPoller(SelectorPoller):
    """The same over an epoll selector, asking the kernel directly for what `selectors` cannot say."""

    __slots__ = ("epoll",)

    def __init__(self, selector: selectors.BaseSelector, epoll: select.epoll) -> None:
        super().__init__(selector)
        self.epoll = epoll  # the instance behind `selector`, by a descriptor of its own

    def _watch(self, fd: int, before: int, after: int) -> None:
        if before and after:
            self.epoll.modify(fd, after)
        elif after:
            self.epoll.register(fd, after)
        elif before:
            try:
                self.epoll.unregister(fd)
            except (OSError, ValueError):
                pass  # closed by somebody else, or we are a fork's child

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        """Wait at most `timeout` seconds (infinity: for ever) and tell what happened: (fd, events)."""
        return self.epoll.poll(-1 if timeout == math.inf else timeout, EVENTS_PER_POLL)

    def close(self) -> None:
        """Give back the kernel's object, which goes with the last of its two descriptors."""
        self.epoll.close()
        super().close()


def _selector_events(interest: int) -> int:
    return interest & READABLE | (interest & WRITABLE and selectors.EVENT_WRITE)


def make_poller(selector: selectors.BaseSelector | SelectorPoller) -> SelectorPoller:
    """The best wrapper for `selector`; a wrapper that the caller has made already is kept."""
    if isinstance(selector, SelectorPoller):
        return selector
    if hasattr(selectors, "EpollSelector") and isinstance(selector, selectors.EpollSelector):
        return EpollPoller(selector, select.epoll.fromfd(os.dup(selector.fileno())))
    return SelectorPoller(selector)

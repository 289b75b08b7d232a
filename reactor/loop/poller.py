"""What the kernel is asked to watch, and how its answer reaches the right handler.

`selectors.DefaultSelector` picks the best demultiplexer of the platform: epoll on Linux, kqueue on the BSDs
and macOS, poll or select elsewhere. A `SelectorPoller` wraps it and adds what a reactor needs:

- A table from file descriptor to handler. Connections are not in it: the dispatcher finds them itself.
- Interests that `selectors` cannot express. It knows only readable and writable, and refuses an interest in
  neither. But a connection whose reading is paused, or whose peer has sent its FIN, may want neither and must still
  learn of a reset (R5, E5).

So if the selector is an epoll one, the wrapper uses the same epoll instance through a second descriptor.
`select.epoll.fromfd` takes ownership of its descriptor, and closes it at the end. So it gets a duplicate: two
owners would close one descriptor twice, and the second close could hit a new file of the same number. Without epoll,
the selector's own methods are used, and such a connection is not watched until it wants to read or write again;
README concedes that.

Readiness is level-triggered: an event that is not dealt with comes again. So nothing is lost if
only a part is read or accepted. But a loop that watches something without acting on it never waits.
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

# The bits of an interest and of an event. They have epoll's values, so that epoll needs no translation.
READABLE = 0x001  # EPOLLIN: there is input, an end of input, or an error to fetch
WRITABLE = 0x004  # EPOLLOUT: the kernel has room for output
BROKEN = 0x018  # EPOLLERR | EPOLLHUP: an error, or both directions are over
PEER_FIN = 0x2000  # EPOLLRDHUP: the peer will send no more, though its last bytes may be unread

EVENTS_PER_POLL = 1024  # the most events in one answer; the rest comes with the next one

Handler = Callable[[Any, int], None]


class SelectorPoller:
    """Any selector of the standard library, by its own methods."""

    __slots__ = ("selector", "handlers", "in_batch", "calls", "_discarded")

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self.selector = selector
        # By descriptor: the handler, and the object that it is called with.
        self.handlers: dict[int, tuple[Handler, Any]] = {}
        self.in_batch = False  # fetched events are being dispatched
        self.calls = 0  # of handlers, so that the watchdog can tell one from the next
        self._discarded: list[socket.socket] = []

    def register(self, fd: int, interest: int, handler: Handler, source: object) -> None:
        """Call `handler(source, events)` when something of `interest` happens at `fd`.

        OSError when the kernel cannot watch `fd`, or when it is registered already; then nothing has changed.
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
        """Change the interest in `fd` from `before` to `interest`; 0 watches nothing."""
        self._watch(fd, before, interest)

    def unregister(self, fd: int, interest: int) -> None:
        """Forget `fd`; call this before closing it. Its events in the current batch are dropped."""
        self.handlers.pop(fd, None)
        self._watch(fd, interest, 0)

    def tell(self, fd: int, events: int) -> None:
        """Call the handler of `fd`. If this batch has unregistered `fd`, the event is stale and is dropped (E7)."""
        if fd in self.handlers:
            self.calls += 1
            handler, source = self.handlers[fd]
            handler(source, events)

    def discard(self, sock: socket.socket, fd: int, interest: int) -> None:
        """Unregister `fd` and close its socket `sock`. In the middle of a batch, the close waits for its end.

        Until then no new socket can get the number, and with it an event that was meant for the old one (E7).
        """
        self.unregister(fd, interest)
        if self.in_batch:
            self._discarded.append(sock)
        else:
            sock.close()

    def end_batch(self) -> None:
        """Close the discarded sockets: all fetched events were dispatched, or will be fetched again."""
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
        """Close the kernel's object. Registered descriptors stay open: they have their own owners."""
        self.handlers.clear()
        self.selector.close()


class EpollPoller(SelectorPoller):
    """The same over an epoll selector. It asks epoll directly for the interests that `selectors` cannot express."""

    __slots__ = ("epoll",)

    def __init__(self, selector: selectors.BaseSelector, epoll: select.epoll) -> None:
        super().__init__(selector)
        self.epoll = epoll  # the epoll instance of `selector`, by a second descriptor

    def _watch(self, fd: int, before: int, after: int) -> None:
        if before and after:
            self.epoll.modify(fd, after)
        elif after:
            self.epoll.register(fd, after)
        elif before:
            try:
                self.epoll.unregister(fd)
            except (OSError, ValueError):
                pass  # other code has closed `fd`, or this is a fork's child

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        """Wait at most `timeout` seconds (infinity: for ever) and tell what happened: (fd, events)."""
        return self.epoll.poll(-1 if timeout == math.inf else timeout, EVENTS_PER_POLL)

    def close(self) -> None:
        """Close both descriptors. The kernel frees the epoll instance with the last one."""
        self.epoll.close()
        super().close()


def _selector_events(interest: int) -> int:
    return interest & READABLE | (interest & WRITABLE and selectors.EVENT_WRITE)


def make_poller(selector: selectors.BaseSelector | SelectorPoller) -> SelectorPoller:
    """The best wrapper for `selector`; a `selector` that is a wrapper already is returned as it is."""
    if isinstance(selector, SelectorPoller):
        return selector
    if hasattr(selectors, "EpollSelector") and isinstance(selector, selectors.EpollSelector):
        return EpollPoller(selector, select.epoll.fromfd(os.dup(selector.fileno())))
    return SelectorPoller(selector)

"""How another thread, or a signal, gets the attention of a loop that sleeps in the kernel.

The loop waits in `select` for descriptors. A thread that wants something done, and a signal handler, which
Python runs on the main thread between two bytecodes, have no descriptor of their own. So the loop
watches one end of a socket pair, and whoever wants its attention writes a byte into the other: the
self-pipe trick (D. J. Bernstein), here with a socket pair because Windows cannot select on pipes.

Two things can go wrong with it, and both are dealt with here (L2):

- A pipe that nobody empties fills up, and the writer blocks, perhaps inside a signal handler. Both ends are
  non-blocking, and a full pipe is as good as one byte: the loop will wake. So failing to write is success.
- Signal numbers sent through the pipe (`signal.set_wakeup_fd`) are lost when it is full, and a lost SIGTERM is a
  server that will not stop. Here the byte only wakes. Which signals came is noted elsewhere (see `signals`).

The bytes tell one thing more. If the number of a signal stays in the pipe, the loop does not come to read it. Another
thread can look at that (`peek`), even where code in C keeps every handler in Python from running.

The cost: one registered descriptor, and one system call for each wake-up of a sleeping loop. Threads that
call while a wake-up is already under way pay none.
"""

from __future__ import annotations

import socket

from .poller import READABLE, SelectorPoller

PEEK_BYTES = 256


class Waker:
    """One loop's socket pair."""

    __slots__ = ("socket", "lent", "_sender", "_poller", "_pending")

    def __init__(self, poller: SelectorPoller) -> None:
        self.socket, self._sender = socket.socketpair()
        self.socket.setblocking(False)
        self._sender.setblocking(False)
        self.lent = False  # signals may be sent here although the loop is closed: see `signals`
        self._pending = False
        self._poller = poller
        poller.register(self.socket.fileno(), READABLE, Waker._drain, self)

    def wake(self) -> None:
        """Make the loop's wait end, now or when it next begins. From any thread, and from a signal handler."""
        if self._pending:
            return
        self._pending = True
        try:
            self._sender.send(b"\0")
        except OSError:
            pass  # full, so the loop will wake; or closed, so there is no loop to wake

    def fileno(self) -> int:
        """The descriptor to write a byte to, for `signal.set_wakeup_fd`."""
        return self._sender.fileno()

    def peek(self) -> bytes:
        """The first bytes that the loop has not taken; they stay. From any thread."""
        try:
            return self.socket.recv(PEEK_BYTES, socket.MSG_PEEK)
        except OSError:  # there are none; or it is closed
            return b""

    def _drain(self, _events: int) -> None:
        try:
            while len(self.socket.recv(4096)) == 4096:
                pass
        except BlockingIOError:
            pass
        # Off when the pipe is empty, not before: a wake-up between the two would lose its byte and leave the flag
        # on, and all later ones would rely on a byte that is gone. One that comes before this line leaves no byte,
        # and needs none: the loop looks for what was asked of it after this and before it sleeps again.
        self._pending = False

    def close(self) -> None:
        """Give back both descriptors."""
        try:
            self._poller.unregister(self.socket.fileno(), READABLE)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close both descriptors and leave the poller alone: in a child process it is the parent's."""
        if not self.lent:
            self.socket.close()
            self._sender.close()

"""How another thread, or a signal, wakes a loop that sleeps in the kernel.

The loop waits in `select`, and only a descriptor or the time ends that wait. A signal alone does not: Python runs the
handler and then waits again (PEP 475). A thread has no descriptor to offer either. So the loop watches one end of a
socket pair, and a byte written into the other end wakes it. This is the self-pipe trick (D. J. Bernstein), here with
a socket pair because Windows cannot select on pipes.

Two things can go wrong with it, and both are dealt with here (L2):

- A full pipe would block the writer, perhaps inside a signal handler. So both ends are non-blocking. A full pipe
  wakes the loop as well as one byte does. So a failed write does no harm.
- Signal numbers sent through the pipe (`signal.set_wakeup_fd`) are lost when it is full, and a server that loses a
  SIGTERM does not stop. So the byte only wakes the loop here. `signals` notes which signals came.

The bytes show one more thing. If the number of a signal is still there later, the loop is stuck: it would have read it.
Another thread can see that (`peek`), even while code in C keeps every handler in Python from running.

The cost: one registered descriptor, and two system calls (`send` and `recv`) for each wake-up of a sleeping loop. A
wake-up while another one is already under way costs none.
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
        self.lent = False  # signals may still be sent here after the loop is closed: see `signals`
        self._pending = False
        self._poller = poller
        poller.register(self.socket.fileno(), READABLE, Waker._drain, self)

    def wake(self) -> None:
        """End the loop's wait: this one, or else the next. From any thread, and from a signal handler."""
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
        """The first bytes in the pipe, without taking them out. From any thread."""
        try:
            return self.socket.recv(PEEK_BYTES, socket.MSG_PEEK)
        except OSError:  # the pipe is empty, or closed
            return b""

    def _drain(self, _events: int) -> None:
        try:
            while len(self.socket.recv(4096)) == 4096:
                pass
        except BlockingIOError:
            pass
        # Clear the flag last. If it were cleared first, a thread could set it again and send its byte, `recv` would
        # take that byte, and the flag would stay set: no wake-up would send a byte any more. A wake-up before this line
        # sends none and needs none: the loop looks at its queues before it sleeps again.
        self._pending = False

    def close(self) -> None:
        """Give back both descriptors."""
        try:
            self._poller.unregister(self.socket.fileno(), READABLE)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close both descriptors, but do not touch the poller: in a child process it is the parent's."""
        if not self.lent:
            self.socket.close()
            self._sender.close()

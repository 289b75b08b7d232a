"""One end of a UNIX connection (unix(7)): the same calls as over TCP, with other answers.

A server that was tested only over TCP may rely on things that only TCP does. On a UNIX socket both ends are in one
kernel, so:

- Nothing is on its way. What one side sends is in the other's buffer at once. The sender's output and the receiver's
  unread input are one buffer, and the sender's size bounds it.
- There are no resets. A side that closes with input unread leaves one ECONNRESET to the other side. SO_LINGER has no
  effect: the peer reads all that was sent before an abort, and then a plain end.
- A write to a closed side fails at once with EPIPE. `send` never reports a waiting error. `recv` reports it, after the
  data and before the end.
- A socket is writable when three quarters of that buffer are free.
- A socket always knows its peer's address, and a second `shutdown` is no error.

`kernel` compares this with the real kernel, by the same scripts.
"""

from __future__ import annotations

import errno

from .network import ERR, HUP, IN, OUT, RDHUP, Endpoint

OVERHEAD_BYTES = 512  # the kernel's memory beside the data that waits; the real number is higher


class UnixEndpoint(Endpoint):
    """An end whose `outgoing` is the `incoming` of its peer."""

    __slots__ = ()
    ends_plainly = True

    def joined(self) -> None:
        """Its output buffer is its peer's input buffer."""
        self.outgoing = self.peer.incoming
        self.no_delay = True  # a UNIX socket never delays output

    def events(self) -> int:
        """What epoll would report for it (`unix_poll` in Linux)."""
        bits = IN if self.incoming else 0
        if self.fin_received:
            bits |= IN | RDHUP
            if self.fin_queued or self.dead:
                bits |= HUP
        if 4 * len(self.outgoing) <= self.send_room:
            bits |= OUT
        if self.error:
            bits |= ERR
        return bits

    def receive(self, size: int, peek: bool = False) -> bytes:
        """The next bytes, at most `size`; b"" at the end. Raises an error that waits."""
        if self.incoming:
            data = bytes(self.incoming[:size])
            if not peek:
                del self.incoming[:size]
                self._tell_soon(self.peer)  # there is room for output again
            return data
        self._raise_error()
        if self.fin_received:
            return b""
        raise BlockingIOError(errno.EAGAIN, "nothing to read")

    def send(self, data: bytes | bytearray | memoryview) -> int:
        """Put as much of `data` into the peer's buffer as fits. Raises errors as send(2)."""
        if self.dead or self.fin_queued:
            raise BrokenPipeError(errno.EPIPE, "nobody reads that")
        count = min(len(data), self.send_room - len(self.outgoing))
        if count <= 0 and len(data):
            raise BlockingIOError(errno.EAGAIN, "no room")
        self.outgoing += data[:count]
        self.taken += count
        self._tell_soon(self.peer)
        return count

    def shut_down(self) -> None:
        """End our side. A second call does nothing."""
        self.fin_queued = self.fin_delivered = True
        self.peer.fin_received = True
        self._tell_soon(self.peer)

    def is_over(self) -> bool:
        """A UNIX socket always knows its peer."""
        return False

    def count_undelivered(self) -> int:
        """ioctl(2) with TIOCOUTQ: the memory of what the peer has not read. A FIN takes none."""
        left = len(self.outgoing) and len(self.outgoing) + OVERHEAD_BYTES
        if 0 < left < self.seen_left:
            self.seen_left, self.seen_less_at = left, self.network.now
        return left

    def close(self) -> None:
        """The program closes it. The peer can read what is there, and can send nothing more."""
        self._leave(errno.ECONNRESET if self.incoming else 0)

    def break_off(self) -> None:
        """It is closed before it was accepted."""
        self._leave(errno.ECONNRESET)

    def reset_arrives(self, error: int) -> None:
        """Never called: no network can reset a UNIX socket."""
        raise AssertionError(f"error {error} cannot come to a UNIX socket from outside")

    def pump_soon(self) -> None:
        """Does nothing: `send` delivers at once."""

    def _leave(self, error: int) -> None:
        peer = self.peer
        if self.closed or peer is self:
            return
        self.closed = True
        self.changed = None
        self.incoming.clear()
        if not peer.closed:
            peer.error = error or peer.error
            peer.fin_received = peer.dead = True
            self._tell_soon(peer)

    def _tell_soon(self, peer: Endpoint) -> None:
        """Tell the peer's program a little later. It never runs inside our call."""
        self.network.later(self._delay(), peer.tell)


def endpoint_class(family: str) -> type[Endpoint]:
    """The class for the ends of a connection of `family`."""
    return UnixEndpoint if family == "unix" else Endpoint

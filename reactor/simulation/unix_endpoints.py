"""One end of a UNIX connection (unix(7)): the same calls as over TCP, and other answers.

A server that was tried over TCP alone takes for granted what only TCP does. Here both ends are in one kernel, and so:

- There is no way in between. What one side sends is in the buffer of the other at once. What the sender has still to
  get rid of is what the receiver has not read: it is one buffer, and the sender's size bounds it.
- There are no resets. Whoever closes with something unread leaves ECONNRESET to the other side, once; SO_LINGER does
  nothing, so what was sent before an abort is read to its last byte, and then comes a plain end.
- Whoever writes to somebody who has left is told EPIPE, at once, and not by a reset later. An error that waits is told
  by `recv` alone, and before the end.
- A socket counts as writable when three quarters of that buffer are free.
- Nobody forgets whom it is connected to, and to end a side again is no mistake.

`kernel` holds this to the real one, by the same scripts.
"""

from __future__ import annotations

import errno

from .network import ERR, HUP, IN, OUT, RDHUP, Endpoint

OVERHEAD_BYTES = 512  # of a piece that waits; more than that in earnest


class UnixEndpoint(Endpoint):
    """An end whose `outgoing` is the `incoming` of its peer."""

    __slots__ = ()
    ends_plainly = True

    def joined(self) -> None:
        """Nothing is kept of what was sent."""
        self.outgoing = self.peer.incoming
        self.no_delay = True  # nothing is ever held back

    def events(self) -> int:
        """What epoll would tell of it (`unix_poll`)."""
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
        """The next bytes, at most `size`; an error that waits; or none at the end."""
        if self.incoming:
            data = bytes(self.incoming[:size])
            if not peek:
                del self.incoming[:size]
                self._tell_soon(self.peer)  # there is room again
            return data
        self._raise_error()
        if self.fin_received:
            return b""
        raise BlockingIOError(errno.EAGAIN, "nothing to read")

    def send(self, data: bytes | bytearray | memoryview) -> int:
        """Put the beginning of `data` into the peer's buffer, as much as there is room for. Errors as from send(2)."""
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
        """End our side, or do nothing if it has ended."""
        self.fin_queued = self.fin_delivered = True
        self.peer.fin_received = True
        self._tell_soon(self.peer)

    def is_over(self) -> bool:
        """The socket knows its peer for ever."""
        return False

    def count_undelivered(self) -> int:
        """ioctl(2) with TIOCOUTQ: the memory of what the peer has not read. An end takes none."""
        left = len(self.outgoing) and len(self.outgoing) + OVERHEAD_BYTES
        if 0 < left < self.seen_left:
            self.seen_left, self.seen_less_at = left, self.network.now
        return left

    def close(self) -> None:
        """The program lets go: the peer can read what is there, and whatever it sends from now on is refused."""
        self._leave(errno.ECONNRESET if self.incoming else 0)

    def break_off(self) -> None:
        """It is closed before anybody has accepted it."""
        self._leave(errno.ECONNRESET)

    def reset_arrives(self, error: int) -> None:
        """There is no network that could do that."""
        raise AssertionError(f"error {error} cannot come to a UNIX socket from outside")

    def pump_soon(self) -> None:
        """Nothing is on its way."""

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
        """Its program runs when the scheduler comes to it, not inside our call."""
        self.network.later(self._delay(), peer.tell)


def endpoint_class(family: str) -> type[Endpoint]:
    """What connections of that family are made of."""
    return UnixEndpoint if family == "unix" else Endpoint

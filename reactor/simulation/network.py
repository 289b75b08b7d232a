"""A network in one thread: how TCP behaves towards the two programs at its ends, in virtual time.

Some events are rare and dangerous for a server: a reset between two system calls, a buffer with room for one byte, a
FIN that comes together with data. On a real network a test cannot make them happen. Here a schedule decides when each
event happens, a seed decides the schedule, and to wait is to change a number.

The model is what a program can see of Linux's TCP (tcp(7); the sources of `tcp_poll`, `tcp_recvmsg`, `tcp_reset` and
`tcp_close`):

- Both sides have bounded buffers, with a window between them.
- A FIN comes after the data before it. A RST drops what was not delivered.
- An error is reported once. After that there is end of file or EPIPE.
- A close with input unread sends a reset. Data for a closed side is answered by a reset.
- The bits are those of epoll. Writable means that a third of the buffer is free.

`kernel` compares all this with the real kernel, step by step. It is simpler than Linux on purpose:

- The network loses nothing, so nothing is sent twice. Bytes count as acknowledged when they are delivered.
- A buffer holds exactly its size in bytes. Linux counts overhead, grows its buffers, and rounds.
- A handshake is one event: a client is connected when its SYN arrives. A full queue drops the SYN, and the client
  tries again a second later.
- There is no TIME_WAIT, urgent data, Nagle's algorithm or simultaneous open.
- Data before a reset may be delivered or lost. Chance decides; on a real network, the exact moment does.
"""

from __future__ import annotations

import errno
import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from typing import Any

# The bits of epoll(7). poll(2) and select(2) use some of them.
IN, OUT, ERR, HUP, RDHUP = 0x001, 0x004, 0x008, 0x010, 0x2000

SYN_RETRY_SECONDS = 1.0  # how long a client waits before it sends its SYN again (RFC 6298)


class Network:
    """Virtual time, and the schedule of events in it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.now = 1000.0  # not 0, so that code which takes a missing time for 0 fails
        self.draw = random.Random(seed).random  # the only source of chance; `random()` is the same on every Python
        self._schedule: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._sequence = 0
        self.happened = 0  # how many events so far: shows whether a loop turns for nothing
        self.stirred = 0  # how often anything may have changed (`stir`)
        self.patience = math.inf  # above this, `stirred` shows an endless loop
        self.lost_patience: Callable[[], None] = _nothing  # called in that case
        self.note: Callable[..., None] | None = None  # called with each event, if the run keeps a trace

    def stir(self) -> None:
        """Note a call, a callback or a step: anything may have changed."""
        self.stirred += 1
        if self.stirred > self.patience:
            self.lost_patience()

    def clock(self) -> float:
        """The time, in seconds."""
        return self.now

    def later(self, seconds: float, call: Callable[..., object], *arguments: Any) -> None:
        """Call `call(*arguments)` after `seconds` of virtual time."""
        self._sequence += 1
        heapq.heappush(self._schedule, (self.now + seconds, self._sequence, call, arguments))

    def next_time(self) -> float:
        """When the next event is due; infinity if there is none."""
        return self._schedule[0][0] if self._schedule else math.inf

    def run_due(self) -> None:
        """Run every event that is due."""
        schedule = self._schedule
        while schedule and schedule[0][0] <= self.now:
            _, _, call, arguments = heapq.heappop(schedule)
            self.happened += 1
            call(*arguments)

    def pick(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + int(self.draw() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """True with `probability`. With 0 it uses no random number."""
        return probability > 0 and self.draw() < probability


def _nothing() -> None:
    """The default for `lost_patience`."""


class Endpoint:
    """One end of a connection, as the kernel keeps it for a socket. `link` gives it its peer."""

    __slots__ = (
        "network", "name", "peer", "owner", "outgoing", "incoming", "send_room", "receive_room", "latency",
        "fin_queued", "fin_delivered", "fin_received", "error", "dead", "closed", "linger_zero", "pumping",
        "changed", "taken", "seen_left", "seen_less_at", "was_reset", "address", "no_delay",
    )  # fmt: skip

    ends_plainly = False  # whether the peer sees a plain end even after a reset

    def __init__(self, network: Network, name: str, send_room: int, receive_room: int, latency: float) -> None:
        self.network = network
        self.name = name
        self.peer: Endpoint = self
        self.owner: Any = None  # the object that keeps the accounts of this end
        self.address: tuple[Any, ...] | str = ("", 0)
        self.no_delay = False  # TCP_NODELAY
        self.outgoing = bytearray()  # the send buffer: taken from the program, not delivered
        self.incoming = bytearray()  # the receive buffer: delivered, not read by the program
        self.send_room = send_room  # the sizes of these two buffers, in bytes
        self.receive_room = receive_room
        self.latency = latency  # the longest delay of what is sent from here, in seconds
        self.fin_queued = False  # our program has ended its side
        self.fin_delivered = False  # the peer has received our FIN
        self.fin_received = False
        self.error = 0  # the error number that the next call will report
        self.dead = False  # the state CLOSE of the kernel, after a reset from either side
        self.closed = False  # closed by its program
        self.linger_zero = False  # SO_LINGER of 0 seconds: close sends a reset
        self.pumping = False  # a delivery is scheduled
        self.changed: Callable[[], None] | None = None  # called when there is news for the program at this end
        self.seen_left = math.inf  # the lowest number of undelivered bytes that its program has seen
        self.seen_less_at = -math.inf  # when the program saw that number fall
        self.taken = 0  # how many bytes `send` has taken in all
        self.was_reset = False  # the connection ended by a reset

    # What the program at this end can do.

    def events(self) -> int:
        """What epoll would report for it."""
        bits = 0
        if self.incoming:
            bits = IN
        if self.dead:
            bits |= IN | OUT | HUP | RDHUP
        else:
            if self.fin_received:
                bits |= IN | RDHUP
                if self.fin_queued:
                    bits |= HUP
            if self.fin_queued or 2 * (self.send_room - len(self.outgoing)) >= len(self.outgoing):
                bits |= OUT
        if self.error:
            bits |= ERR
        return bits

    def receive(self, size: int, peek: bool = False) -> bytes:
        """The next bytes, at most `size`; b"" at the end. Raises errors as recv(2)."""
        if self.incoming:
            data = bytes(self.incoming[:size])
            if not peek:
                del self.incoming[:size]
                self.peer.pump_soon()  # the window has opened
            return data
        if self.fin_received:  # reported before an error that came later
            return b""
        self._raise_error()
        if self.dead:
            return b""
        raise BlockingIOError(errno.EAGAIN, "nothing to read")

    def count_undelivered(self) -> int:
        """ioctl(2) with TIOCOUTQ: the bytes on their way, plus one for a FIN that has not arrived."""
        left = 0 if self.dead else len(self.outgoing)
        if 0 < left < self.seen_left:
            self.seen_left, self.seen_less_at = left, self.network.now
        return left + (self.fin_queued and not self.fin_delivered and not self.dead)

    def send(self, data: bytes | bytearray | memoryview) -> int:
        """Take as much of `data` as there is room for. Raises errors as send(2)."""
        self._raise_error()
        if self.dead or self.fin_queued:
            raise BrokenPipeError(errno.EPIPE, "our side has ended")
        count = min(len(data), self.send_room - len(self.outgoing))
        if count <= 0 and len(data):
            raise BlockingIOError(errno.EAGAIN, "no room")
        self.outgoing += data[:count]
        self.taken += count
        self.pump_soon()
        return count

    def shut_down(self) -> None:
        """End our side. OSError (ENOTCONN) if the connection is over."""
        if self.is_over():
            raise OSError(errno.ENOTCONN, "not connected")
        self.fin_queued = True
        self.pump_soon()

    def is_over(self) -> bool:
        """Whether the connection is over for the kernel: by a reset, or by a FIN in both directions."""
        return self.dead or (self.fin_received and self.fin_delivered)

    def take_error(self) -> int:
        """SO_ERROR: the error number that waits. It is then reported, and gone."""
        error, self.error = self.error, 0
        return error

    def close(self) -> None:
        """The program closes it: a reset if input is unread or SO_LINGER asks for it, else a FIN after the output."""
        self.closed = True
        self.changed = None
        if self.dead or (self.fin_received and self.fin_delivered and not self.linger_zero and not self.incoming):
            return
        if self.linger_zero or self.incoming:
            self.break_off()
        else:
            self.fin_queued = True
            self.pump_soon()

    def break_off(self) -> None:
        """Send a reset. Earlier data may arrive before it, or be lost."""
        if self.dead:
            return
        if self.network.chance(0.5):
            self._deliver()
        self.dead = self.was_reset = True
        self.outgoing.clear()
        self.network.later(self._delay(), self.peer.reset_arrives, errno.ECONNRESET)

    # What the network does to this end.

    def pump_soon(self) -> None:
        """Schedule a delivery, if there is anything to deliver."""
        if self.pumping or self.dead:
            return
        peer = self.peer
        if self.outgoing:
            wanted = len(peer.incoming) < peer.receive_room or peer.closed or peer.dead
        else:
            wanted = self.fin_queued and not self.fin_delivered
        if wanted:
            self.pumping = True
            self.network.later(self.latency * self.network.draw(), self._pump)

    def reset_arrives(self, error: int) -> None:
        """The peer or the network has reset the connection. Unsent output is lost."""
        if self.is_over():
            return
        half_closed = self.fin_received and not self.fin_queued
        self.error = errno.EPIPE if half_closed and error == errno.ECONNRESET else error
        self.dead = self.was_reset = True
        self.outgoing.clear()
        self.tell()

    def _pump(self) -> None:
        self.pumping = False
        if self.dead:
            return
        self._deliver()
        self.pump_soon()
        self.tell()

    def _deliver(self) -> None:
        peer = self.peer
        if self.outgoing and (peer.closed or peer.dead):
            # No program can read it, so the answer is a reset (RFC 9293, 3.10.7.4).
            peer.dead = peer.was_reset = True
            peer.outgoing.clear()
            self.network.later(self._delay(), self.reset_arrives, errno.ECONNRESET)
            return
        count = min(len(self.outgoing), peer.receive_room - len(peer.incoming))
        if count > 0:
            if count > 1 and self.network.chance(0.3):
                count = self.network.pick(1, count)  # deliver a part: a segment may have any length
            peer.incoming += self.outgoing[:count]
            del self.outgoing[:count]
        fin = self.fin_queued and not self.outgoing and not self.fin_delivered
        if fin:
            self.fin_delivered = True
            peer.fin_received = peer.fin_received or not peer.dead
        if fin or count > 0:
            peer.tell()

    def _delay(self) -> float:
        return self.latency * self.network.draw()

    def _raise_error(self) -> None:
        if self.error:
            error = self.take_error()
            raise OSError(error, errno.errorcode[error])

    def tell(self) -> None:
        """Tell the program at this end that there is news."""
        if self.changed is not None:
            self.changed()

    def joined(self) -> None:
        """Called when it has got a peer."""


def link(one: Endpoint, other: Endpoint) -> None:
    """Make `one` and `other` the two ends of one connection."""
    one.peer, other.peer = other, one
    one.joined()
    other.joined()


class Door:
    """A listening socket as the kernel keeps it: the queue of connections that are not accepted yet."""

    def __init__(self, network: Network, address: tuple[Any, ...] | str) -> None:
        self.network = network
        self.address = address
        self.backlog = 0
        self.inherited = False  # it was listening already when its program received it
        self.no_delay = False  # TCP_NODELAY, which new connections inherit (tcp(7))
        self.open = True
        self.waiting: deque[Endpoint] = deque()  # the server's ends

    def events(self) -> int:
        """What epoll would report for it."""
        return IN if self.waiting else 0

    def knock(self, client: Endpoint, server: Endpoint, answer: Callable[[int], None]) -> None:
        """The SYN of `client` has arrived. Calls `answer` with 0, or with the error number for `connect`."""
        if not self.open:
            answer(errno.ECONNREFUSED)
        elif len(self.waiting) > self.backlog:  # as on Linux, the queue holds one more than `backlog`
            self.network.later(SYN_RETRY_SECONDS, self.knock, client, server, answer)
        else:
            server.no_delay = self.no_delay
            link(client, server)
            self.waiting.append(server)
            answer(0)

    def close(self) -> None:
        """Stop listening. Connections that wait are reset."""
        self.open = False
        while self.waiting:
            server = self.waiting.popleft()
            server.break_off()
            server.closed = True

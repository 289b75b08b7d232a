"""A network in one thread: TCP's behaviour towards the two programs at its ends, in virtual time.

A server meets its worst moments by accident: a reset between two system calls, a buffer that has room for one byte,
a FIN that comes together with data. On a real network such moments come once in a million, and never when one looks.
Here a schedule decides when each thing happens, a seed decides the schedule, and waiting is moving a number.

What is modelled is what a program can see of Linux's TCP (tcp(7), and the sources of `tcp_poll`, `tcp_recvmsg`,
`tcp_reset` and `tcp_close`): bounded buffers of either side and the window between them; FIN in its place in the
stream; RST past everything that was not delivered; errors that are told once and then become end of file or EPIPE; a
close with unread input that resets; data for somebody who has closed, which is answered by a reset; the bits of
epoll, in which writable means that a third of the buffer is free. `kernel` holds it to the real one, step by step.

Where it is simpler than Linux, on purpose:

- The network loses nothing, so there is no retransmission; bytes count as acknowledged when they are delivered.
- A buffer holds exactly the bytes it was made for. Linux counts overhead, grows its buffers, and rounds.
- A handshake is one event: a client is connected as soon as its SYN gets there. A full queue drops the SYN, which
  is tried again a second later.
- TIME_WAIT, urgent data, Nagle's algorithm and simultaneous open do not exist.
- A reset that follows data may find it delivered or not: a draw decides, as on a real wire the moment does.
"""

from __future__ import annotations

import errno
import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from typing import Any

# The bits of epoll(7), of which those of poll(2) and select(2) are a part.
IN, OUT, ERR, HUP, RDHUP = 0x001, 0x004, 0x008, 0x010, 0x2000

SYN_RETRY_SECONDS = 1.0  # how long a client waits before it knocks again (RFC 6298)


class Network:
    """Virtual time, and what is due at which moment of it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.now = 1000.0  # not 0: whoever takes a missing time for 0 should be found out
        self.draw = random.Random(seed).random  # the one source of chance; `random()` is the same everywhere
        self._schedule: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._sequence = 0
        self.happened = 0  # how many things, so that a loop that turns for nothing can be told
        self.stirred = 0  # the same, and whatever else can have changed anything
        self.patience = math.inf  # more than that is no honest work any more
        self.lost_patience: Callable[[], None] = _nothing  # called then
        self.note: Callable[..., None] | None = None  # whom to tell of everything, when somebody listens

    def stir(self) -> None:
        """Something was done that can have changed anything: a call, a callback, a step."""
        self.stirred += 1
        if self.stirred > self.patience:
            self.lost_patience()

    def clock(self) -> float:
        """The time, in seconds."""
        return self.now

    def later(self, seconds: float, call: Callable[..., object], *arguments: Any) -> None:
        """Have `call` made after `seconds` of virtual time."""
        self._sequence += 1
        heapq.heappush(self._schedule, (self.now + seconds, self._sequence, call, arguments))

    def next_time(self) -> float:
        """When the next thing happens; infinity when nothing will."""
        return self._schedule[0][0] if self._schedule else math.inf

    def run_due(self) -> None:
        """Have everything happen that is due."""
        schedule = self._schedule
        while schedule and schedule[0][0] <= self.now:
            _, _, call, arguments = heapq.heappop(schedule)
            self.happened += 1
            call(*arguments)

    def pick(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + int(self.draw() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """Whether something comes true that does so with `probability`. Costs no draw when it never does."""
        return probability > 0 and self.draw() < probability


def _nothing() -> None:
    """Who has all the patience in the world."""


class Endpoint:
    """One end of a connection, as the kernel keeps it behind a socket. `link` gives it its peer."""

    __slots__ = (
        "network", "name", "peer", "owner", "outgoing", "incoming", "send_room", "receive_room", "latency",
        "fin_queued", "fin_delivered", "fin_received", "error", "dead", "closed", "linger_zero", "pumping",
        "changed", "taken", "seen_left", "seen_less_at", "was_reset", "address", "no_delay",
    )  # fmt: skip

    ends_plainly = False  # whatever its end was, a reset if need be

    def __init__(self, network: Network, name: str, send_room: int, receive_room: int, latency: float) -> None:
        self.network = network
        self.name = name
        self.peer: Endpoint = self
        self.owner: Any = None  # who keeps account of it
        self.address: tuple[Any, ...] | str = ("", 0)
        self.no_delay = False  # TCP_NODELAY
        self.outgoing = bytearray()  # the send buffer: taken, not delivered
        self.incoming = bytearray()  # the receive buffer: delivered, not read
        self.send_room = send_room  # how many bytes each of them holds
        self.receive_room = receive_room
        self.latency = latency  # of what leaves from here: at most so many seconds
        self.fin_queued = False  # our side is shut down
        self.fin_delivered = False  # and the peer knows
        self.fin_received = False
        self.error = 0  # the error number that the next call will be told
        self.dead = False  # the state CLOSE of the kernel, after a reset from either side
        self.closed = False  # by its program: an orphan
        self.linger_zero = False  # SO_LINGER of 0 seconds: close resets
        self.pumping = False  # a delivery is on its way
        self.changed: Callable[[], None] | None = None  # told when there is news for the program at this end
        self.seen_left = math.inf  # how many bytes were on their way when its program last asked
        self.seen_less_at = -math.inf  # when it last asked and they had become less
        self.taken = 0  # bytes that `send` has taken, ever
        self.was_reset = False  # the connection was broken off, not ended

    # What a program can do with its end.

    def events(self) -> int:
        """What epoll would tell of it."""
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
        """The next bytes, at most `size`; none at the end. BlockingIOError or OSError as from recv(2)."""
        if self.incoming:
            data = bytes(self.incoming[:size])
            if not peek:
                del self.incoming[:size]
                self.peer.pump_soon()  # the window has opened
            return data
        if self.fin_received:  # told before an error that came later
            return b""
        self._raise_error()
        if self.dead:
            return b""
        raise BlockingIOError(errno.EAGAIN, "nothing to read")

    def count_undelivered(self) -> int:
        """ioctl(2) with TIOCOUTQ: the bytes on their way, and one for a FIN that has not arrived."""
        left = 0 if self.dead else len(self.outgoing)
        if 0 < left < self.seen_left:
            self.seen_left, self.seen_less_at = left, self.network.now
        return left + (self.fin_queued and not self.fin_delivered and not self.dead)

    def send(self, data: bytes | bytearray | memoryview) -> int:
        """Take the beginning of `data`, as much as there is room for. Errors as from send(2)."""
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
        """End our side. OSError (ENOTCONN) when nothing is left to be ended."""
        if self.is_over():
            raise OSError(errno.ENOTCONN, "not connected")
        self.fin_queued = True
        self.pump_soon()

    def is_over(self) -> bool:
        """Whether the kernel has no connection behind the socket any more: a reset, or an end either way."""
        return self.dead or (self.fin_received and self.fin_delivered)

    def take_error(self) -> int:
        """SO_ERROR: the error number that waits, which by this is told."""
        error, self.error = self.error, 0
        return error

    def close(self) -> None:
        """The program lets go. A reset if it did not read everything or asked for one, else a FIN behind the output."""
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
        """Send a reset. What was on its way before it may get there first, or not at all."""
        if self.dead:
            return
        if self.network.chance(0.5):
            self._deliver()
        self.dead = self.was_reset = True
        self.outgoing.clear()
        self.network.later(self._delay(), self.peer.reset_arrives, errno.ECONNRESET)

    # What the network does to it.

    def pump_soon(self) -> None:
        """Deliver after a while, if there is anything to deliver."""
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
        """The peer, or the network, has broken the connection off: what waits to be sent is lost."""
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
            # Nobody is there to read it: the answer is a reset (RFC 9293, 3.10.7.4).
            peer.dead = peer.was_reset = True
            peer.outgoing.clear()
            self.network.later(self._delay(), self.reset_arrives, errno.ECONNRESET)
            return
        count = min(len(self.outgoing), peer.receive_room - len(peer.incoming))
        if count > 0:
            if count > 1 and self.network.chance(0.3):
                count = self.network.pick(1, count)  # a segment is as long as it is
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
        """There is news for the program at this end."""
        if self.changed is not None:
            self.changed()

    def joined(self) -> None:
        """It has a peer from now on."""


def link(one: Endpoint, other: Endpoint) -> None:
    """Make them the two ends of one connection."""
    one.peer, other.peer = other, one
    one.joined()
    other.joined()


class Door:
    """A listening socket as the kernel keeps it: the queue of those that are connected and not accepted yet."""

    def __init__(self, network: Network, address: tuple[Any, ...] | str) -> None:
        self.network = network
        self.address = address
        self.backlog = 0
        self.inherited = False  # it listened before it came to those who use it now
        self.no_delay = False  # what TCP_NODELAY says for those who come in from now on (tcp(7))
        self.open = True
        self.waiting: deque[Endpoint] = deque()  # our ends

    def events(self) -> int:
        """What epoll would tell of it."""
        return IN if self.waiting else 0

    def knock(self, client: Endpoint, server: Endpoint, answer: Callable[[int], None]) -> None:
        """The SYN of `client` is here. `answer` is told 0, or the error number that `connect` fails with."""
        if not self.open:
            answer(errno.ECONNREFUSED)
        elif len(self.waiting) > self.backlog:  # so the queue holds one more than its length, as on Linux
            self.network.later(SYN_RETRY_SECONDS, self.knock, client, server, answer)
        else:
            server.no_delay = self.no_delay
            link(client, server)
            self.waiting.append(server)
            answer(0)

    def close(self) -> None:
        """Whoever waits is reset."""
        self.open = False
        while self.waiting:
            server = self.waiting.popleft()
            server.break_off()
            server.closed = True

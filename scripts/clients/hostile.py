"""Clients that misbehave on purpose, so that a person can watch the limits of a server work.

Clients that send, wait and leave are easy for a server. To take a server down needs only a handful of connections and
no skill: send and never read, write without end, send a byte now and then so as not to be idle, leave in the middle
of a message. Here are four such kinds, in any number, beside the honest clients. The question is not whether a
hostile client is well served, but what the honest ones notice.

  slow_readers    send as fast as they can, and read not one byte of what comes back
  firehose        sends as fast as it can, without end, and reads everything that comes back. It breaks no rule; the
                  question is whether the others get their turn
  slowloris       send a byte at once and another every few seconds, and never finish a message
  vanish          send half a message, leave (by RST and by FIN in turn), and come back at once, again and again

They are only counted and never make a run fail: the server may end them, or not. They connect and begin before the
honest clients connect, and end with them.

Their cost is bounded. They have a deadline of their own. A slow reader stops when the server has taken
`SLOW_READER_BYTES` without an answer being read, because a server that keeps all of it would use up this machine's
memory. All vanishing clients share one rate, because each FIN occupies a local port for a minute (TIME_WAIT), and the
kernel has only some 28,000.

They share the loop of the honest clients, so they delay those a little, and this shows in the latencies: a firehose
keeps two processes busy, the server and this one.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator

from reactor import Connection, Limits, Protocol, Reactor, connect
from reactor.net.addresses import Endpoint

from . import descriptors
from .connecting import Connecting
from .messages import LARGEST_NUMBER, PIECE_BYTES, Messages

SLOW_READER_BYTES = 64 << 20  # twice the default of output_hard_bytes, what one connection of reactor may keep waiting
SLOWLORIS_SECONDS = 5.0  # slowhttptest takes 10 s and slowloris.pl 100 s, against servers with longer deadlines
VANISHES_PER_SECOND = 100.0  # of all together: half of them are FINs, so at most 3,000 ports are in TIME_WAIT


@dataclasses.dataclass(frozen=True)
class Hostility:
    """How many of each kind, and for how long at most."""

    slow_readers: int = 0
    firehose: int = 0
    slowloris: int = 0
    vanish: int = 0
    seconds: float = 60.0

    def counts(self) -> dict[str, int]:
        """The kinds with at least one client, and their numbers."""
        counts = {kind: getattr(self, kind) for kind in KINDS}
        return {kind: count for kind, count in counts.items() if count}

    def descriptors(self) -> int:
        """How many sockets they may have open at the same time."""
        # After a FIN, a vanished client keeps its socket until the server's FIN comes, or for linger_seconds.
        lingering = math.ceil(VANISHES_PER_SECOND * Limits().linger_seconds) if self.vanish else 0
        return sum(self.counts().values()) + lingering


@dataclasses.dataclass(slots=True)
class Tally:
    """What happened to all clients of one kind."""

    connected: int = 0  # how often a connection was made
    failed: int = 0  # how often it could not be made
    ended_by_eof: int = 0  # connections that the server ended by a FIN, if the client read up to it
    ended_by_reset: int = 0  # connections that the server, or the network, broke
    bytes_sent: int = 0  # taken by our kernel; a piece of 64 KiB counts when it is complete
    bytes_received: int = 0
    vanished: int = 0  # how often a client left on purpose, in the middle


class Hostile(Protocol):
    """What all kinds share: they are counted, and what comes back is thrown away."""

    __slots__ = (
        "crowd",
        "tally",
        "connection",
        "over",  # it was ended, or has left: nothing more is counted
    )

    def __init__(self, crowd: Crowd, tally: Tally) -> None:
        self.crowd = crowd
        self.tally = tally
        self.over = False

    def connection_made(self, connection: Connection) -> None:
        self.connection = connection
        self.tally.connected += 1
        self.crowd.members.add(self)
        if self.crowd.over:
            self.leave()

    def data_received(self, data: bytes) -> None:
        self.tally.bytes_received += len(data)

    def eof_received(self) -> None:
        if not self.over:
            self.over = True
            self.tally.ended_by_eof += 1

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and not self.over:
            self.tally.ended_by_reset += 1
        self.over = True
        self.crowd.members.discard(self)

    def leave(self) -> None:
        """Leave, with all others."""
        self.over = True
        self.connection.abort()


class Flood(Hostile):
    """Writes up to `most` bytes, as fast as the server takes them; reads what comes back, or never reads."""

    __slots__ = ("reads", "left", "paused")

    def __init__(self, crowd: Crowd, tally: Tally, *, reads: bool, most: float) -> None:
        super().__init__(crowd, tally)
        self.reads = reads
        self.left = most
        self.paused = False

    def connection_made(self, connection: Connection) -> None:
        connection.set_write_buffer_limits(high=0)  # so it is paused whenever a part of a piece is left
        if not self.reads:
            connection.pause_reading()
        super().connection_made(connection)
        self._write_piece()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._go_on()

    def _write_piece(self) -> None:
        if self.left > 0 and not self.over:
            self.left -= PIECE_BYTES
            self.connection.write(self.crowd.piece)
            self.crowd.reactor.call_soon(self._look)  # one piece a turn: the honest clients have theirs, too

    def _look(self) -> None:
        if self.connection.is_closing():
            return  # whether it was taken, we cannot know
        if self.connection.get_write_buffer_size() == 0:
            self._go_on()
        elif not self.paused:  # the kernel has not been offered it yet
            self.crowd.reactor.call_soon(self._look)

    def _go_on(self) -> None:
        """The kernel has taken a whole piece."""
        self.tally.bytes_sent += PIECE_BYTES
        self._write_piece()


class Slowloris(Hostile):
    """Sends single bytes. What this does to a server depends on what the server waits for: see `frame_seconds`."""

    __slots__ = ()

    def connection_made(self, connection: Connection) -> None:
        super().connection_made(connection)
        self._send_byte()

    def _send_byte(self) -> None:
        if not self.over:
            self.tally.bytes_sent += 1
            self.connection.write(self.crowd.piece[:1])
            self.crowd.reactor.call_later(SLOWLORIS_SECONDS, self._send_byte)


class Vanisher(Hostile):
    """Sends half a message, stays for its share of the common rate, leaves, and starts its successor."""

    __slots__ = ()

    def connection_made(self, connection: Connection) -> None:
        super().connection_made(connection)
        if not self.over:
            self.tally.bytes_sent += len(self.crowd.half_message)
            connection.write(self.crowd.half_message)
        self.crowd.reactor.call_later(self.crowd.vanish_seconds, self._vanish)

    def _vanish(self) -> None:
        if not self.over:
            self.over = True
            self.tally.vanished += 1
            if self.tally.vanished % 2:
                self.connection.abort()
            else:
                self.connection.close()
        self.crowd.come_again()


KINDS: dict[str, Callable[[Crowd, Tally], Hostile]] = {
    "slow_readers": functools.partial(Flood, reads=False, most=SLOW_READER_BYTES),
    "firehose": functools.partial(Flood, reads=True, most=math.inf),
    "slowloris": Slowloris,
    "vanish": Vanisher,
}


class Crowd:
    """All hostile clients of a run against the server at `endpoints`, whose honest messages have `size` bytes."""

    def __init__(self, reactor: Reactor, endpoints: list[Endpoint], hostility: Hostility, size: int) -> None:
        self.reactor = reactor
        self.tallies = {kind: Tally() for kind in hostility.counts()}
        self.failures: Counter[tuple[str, str]] = Counter()  # by kind and reason, why no connection could be made
        self.members: set[Hostile] = set()  # those that are connected
        self.over = False
        # It bears a number that no honest client has: if a server mixes up the streams, that shows.
        self.piece = Messages(PIECE_BYTES).piece(LARGEST_NUMBER, 0, PIECE_BYTES)
        self.half_message = self.piece[: size // 2]
        self.vanish_seconds = hostility.vanish / VANISHES_PER_SECOND
        self._endpoints = endpoints
        self._hostility = hostility
        self._left: Iterator[tuple[str, int]] = iter(hostility.counts().items())

    def start(self, on_done: Callable[[], object]) -> None:
        """Connect them; each begins at once. Call `on_done` when all are connected or cannot be."""
        if self.tallies:
            self.reactor.call_later(self._hostility.seconds, self.leave)
        self._connect_next(on_done)

    def _connect_next(self, on_done: Callable[[], object]) -> None:
        """Connect one kind after the other, so that a failure can be counted for its kind."""
        kind, count = next(self._left, (None, 0))
        if kind is None or self.over:
            on_done()
            return
        factories = itertools.repeat(self._factory(kind), count)
        failed, done = functools.partial(self._failed, kind), functools.partial(self._connect_next, on_done)
        Connecting(self.reactor, self._endpoints, factories, failed, done).start()

    def _factory(self, kind: str) -> Callable[[], Hostile]:
        return functools.partial(KINDS[kind], self, self.tallies[kind])

    def _failed(self, kind: str, exc: OSError) -> None:
        self.tallies[kind].failed += 1
        self.failures[kind, descriptors.explain(exc)] += 1
        if kind == "vanish":
            self.reactor.call_later(self.vanish_seconds, self.come_again)

    def come_again(self) -> None:
        """Replace a client that has vanished."""
        if not self.over:
            connect(self.reactor, self._factory("vanish"), self._endpoints, functools.partial(self._failed, "vanish"))

    def leave(self) -> None:
        """End all of them. A second call does nothing."""
        self.over = True
        for member in self.members:
            member.leave()

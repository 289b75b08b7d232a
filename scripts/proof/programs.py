"""The programs that are served: from the well-behaved to those that do everything at the worst moment.

A server framework has two unknowns, the network and the program on top. So both are drawn at random. Each class here
is a habit that some program has: to answer and leave, to close other connections, to raise, to write more than its
peer reads. `Chaos` has all habits at once.

Each program has its own random numbers, seeded by the scenario and by the peer that it serves. So when a peer is left
out to make a scenario smaller, the programs of the other peers still do what they did.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from reactor.connections.connection import Connection
from reactor.connections.protocol import Protocol
from reactor.simulation.peers import PATTERN

from .lines import Lines

if TYPE_CHECKING:
    from .world import World


class Mishap(Exception):
    """What these programs raise on purpose."""


class Interruption(KeyboardInterrupt):
    """What they raise in place of a Ctrl-C, so that it is not taken for a real one."""


class Program(Protocol):
    """What all of them have in common."""

    __slots__ = ("world", "connection", "witness", "draw", "size")

    def __init__(self, world: World) -> None:
        self.world = world
        self.draw: Callable[[], float] = random.random  # until the peer is known
        self.size = world.scenario.size

    def connection_made(self, connection: Connection) -> None:
        """Keep the connection, and seed the random numbers for its peer."""
        self.connection = connection
        witness: Any = connection._protocol
        self.witness = witness
        self.draw = random.Random(self.world.scenario.seed * 1009 + witness.number).random

    def pick(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + int(self.draw() * (high - low + 1))

    def data(self, size: int) -> bytes:
        """`size` bytes to write: the pattern, from a place that depends on what was written before."""
        return bytes(pattern(len(self.witness.accepted) * 13 + self.witness.number, size))

    def others(self) -> list[Connection]:
        """All other connections."""
        return [witness.connection for witness in self.world.live if witness.connection is not self.connection]


def pattern(begin: int, size: int) -> bytes:
    """`size` bytes of the repeated pattern, from `begin` on."""
    begin %= len(PATTERN)
    data = PATTERN[begin : begin + size]
    while len(data) < size:
        data += PATTERN[: size - len(data)]
    return data


class Echo(Program):
    """Sends back its input, and ignores a pause."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        self.connection.write(data)


class PoliteEcho(Echo):
    """The same, but reads nothing while writing is paused."""

    __slots__ = ()

    def pause_writing(self) -> None:
        self.connection.pause_reading()

    def resume_writing(self) -> None:
        self.connection.resume_reading()


class Chat(Program):
    """Sends its input to all other connections."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        for other in self.others():
            if other.can_write_eof() and not other.is_closing():
                other.write(data)


class EarlyCloser(Program):
    """Replies to the first input, and closes while the peer may still be sending (E3)."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        self.connection.write(self.data(self.size))
        self.connection.close()


class HalfCloser(Program):
    """Replies and ends its side, then reads until the peer ends too."""

    __slots__ = ("ended",)

    def connection_made(self, connection: Connection) -> None:
        super().connection_made(connection)
        self.ended = False

    def data_received(self, data: bytes) -> None:
        if not self.ended:
            self.ended = True
            self.connection.writelines([self.data(self.size // 2), b"", self.data(1)])
            self.connection.write_eof()


class LateReplier(Program):
    """Keeps the connection open after the peer's end, and replies when a timer fires (E1)."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        if self.draw() < 0.3:
            self.connection.write(data)

    def eof_received(self) -> bool:
        self.connection.hold()
        self.world.later(self.draw() * 2, self.reply)
        return True

    def reply(self) -> None:
        """Send the rest, then end in one of the two ways."""
        if self.connection._holds:
            self.connection.release()
        self.connection.write(self.data(self.size))
        if self.draw() < 0.5:
            self.connection.close()
        elif not self.connection.is_closing():
            self.connection.write_eof()


class Raiser(Program):
    """Raises in one of its callbacks, now and then an exception that ends the loop."""

    __slots__ = ("where",)

    def connection_made(self, connection: Connection) -> None:
        super().connection_made(connection)
        self.where = self.pick(0, 5) if self.draw() < 0.6 else 5
        self._perhaps(0)

    def data_received(self, data: bytes) -> None:
        self.connection.write(data * 3)
        self._perhaps(1)

    def eof_received(self) -> bool:
        self._perhaps(2)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._perhaps(3)

    def pause_writing(self) -> None:
        self._perhaps(4)

    def resume_writing(self) -> None:
        self._perhaps(5)

    def _perhaps(self, where: int) -> None:
        if where == self.where and self.draw() < 0.7:
            self.world.leave(self.draw(), self)


class Killer(Program):
    """Ends other connections from its own callbacks (E6)."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        self.connection.write(data)
        self._kill()

    def eof_received(self) -> bool:
        self._kill()
        return self.draw() < 0.5

    def connection_lost(self, exc: Exception | None) -> None:
        self._kill()

    def _kill(self) -> None:
        for other in self.others():
            if self.draw() < 0.3:
                other.write(self.data(self.size))
                (other.abort if self.draw() < 0.5 else other.close)()
            elif self.draw() < 0.1:
                other.pause_reading()
                self.world.later(0.5, other.resume_reading)


class Doorkeeper(Echo):
    """Closes the doors on its first input, perhaps in the batch in which newcomers knock (E7).

    It then opens a connection. That would get the listener's number if the number were free already.
    """

    __slots__ = ()

    def connection_made(self, connection: Connection) -> None:
        super().connection_made(connection)
        if self.draw() < 0.2:
            self._shut()

    def data_received(self, data: bytes) -> None:
        self._shut()
        super().data_received(data)

    def _shut(self) -> None:
        if self.world.doors.any_open():
            self.world.doors.stop()
            self.world.upstreams.dial(lambda: Echo(self.world), self._failed)

    def _failed(self, exc: OSError) -> None:
        """Ignore it."""


class BigReplier(Program):
    """Writes much at once, even if the peer reads little (W1)."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        self.connection.writelines(self.data(self.size) for _ in range(self.pick(1, 5)))


class Source(Program):
    """Writes until it is paused, goes on when it is resumed, and closes at the end (W7)."""

    __slots__ = ("left", "paused")

    def connection_made(self, connection: Connection) -> None:
        super().connection_made(connection)
        self.left, self.paused = self.size * 4, False
        self._write()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._write()

    def _write(self) -> None:
        while self.left > 0 and not self.paused and not self.connection.is_closing():
            size = min(self.left, self.pick(1, self.size))
            self.left -= size
            self.connection.write(self.data(size))
            if self.draw() < 0.1:
                self.world.later(0.1, self._write)
                return
        if self.left <= 0:
            self.connection.close()


class Timed(Program):
    """Ends by a timer. It also blocks the loop for so long that several timers are due at once."""

    __slots__ = ("handles",)

    def connection_made(self, connection: Connection) -> None:
        super().connection_made(connection)
        ending = connection.close if self.draw() < 0.7 else connection.abort
        limits, number = self.world.limits, self.pick(1, 100)
        seconds = number / 10 if number <= 50 else limits.first_byte_seconds if number <= 80 else limits.idle_seconds
        self.handles = [self.later(min(seconds, 30.0), ending)]

    def data_received(self, data: bytes) -> None:
        self.connection.write(data)
        if self.draw() < 0.2:
            self.world.dawdle(self.draw() * 2)
        self.handles.append(self.later(self.pick(1, 20) / 10, self.connection.write, self.data(3)))

    def later(self, seconds: float, call: Callable[..., object], *arguments: Any) -> Any:
        """Call at a full tenth of a second, so that some calls come together with the ticks of deadlines."""
        now = self.world.network.now
        return self.world.later(math.ceil((now + seconds) * 10) / 10 - now, call, *arguments)

    def connection_lost(self, exc: Exception | None) -> None:
        for handle in self.handles:
            self.world.call_off(handle)


class Pauser(Program):
    """Stops reading, and reads again later. Meanwhile its peer may leave (R5)."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        if self.connection.state.writes:
            self.connection.write(data)
        self.connection.pause_reading()
        if self.draw() < 0.7:
            self.world.later(self.draw() * 3, self.connection.resume_reading)
        if self.draw() < 0.3 and not self.connection.is_closing():
            self.connection.write_eof()

    def eof_received(self) -> bool:
        return self.draw() < 0.3


class Requeuer(Program):
    """Asks for the next iteration again and again, in part by `call_soon_threadsafe`."""

    __slots__ = ("turns",)

    def data_received(self, data: bytes) -> None:
        self.turns = self.pick(1, 5)
        self._again(data)

    def _again(self, data: bytes) -> None:
        self.connection.write(data[: self.turns])
        self.turns -= 1
        if self.turns > 0:
            (self.world.soon if self.draw() < 0.7 else self.world.soon_threadsafe)(self._again, data)


class Relay(Program):
    """Opens a second connection for each newcomer, and passes on what either side sends."""

    __slots__ = ("other",)

    def __init__(self, world: World, other: Relay | None = None) -> None:
        super().__init__(world)
        self.other = other  # the program of the other connection of the pair

    def connection_made(self, connection: Connection) -> None:
        super().connection_made(connection)
        if self.other is not None:
            self.other.other = self
        else:
            self.world.upstreams.dial(lambda: Relay(self.world, self), self._failed)

    def _failed(self, exc: OSError) -> None:
        self.connection.close()

    def data_received(self, data: bytes) -> None:
        if self.other is not None and not self.other.connection.is_closing():
            self.other.connection.write(data)

    def eof_received(self) -> bool:
        if self.other is None:
            return False
        if not self.other.connection.is_closing():
            self.other.connection.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None:
            (self.other.connection.abort if exc else self.other.connection.close)()

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.connection.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.connection.resume_reading()


PROGRAMS: tuple[Any, ...] = (
    Echo, PoliteEcho, Chat, EarlyCloser, HalfCloser, LateReplier, Raiser, Killer, BigReplier, Source, Timed, Pauser,
    Requeuer, Lines, Relay, Doorkeeper,
)  # fmt: skip

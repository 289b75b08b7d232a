"""The program that has all habits at once.

A list of habits holds only what its author has thought of. In each callback, `Chaos` does a random number of random
things to its own connection or to another one. So calls come in orders that no author has thought of: a close inside
the pause that a write has caused, a write by a timer between the peer's end and our own, a resume after an abort.
"""

from __future__ import annotations

from reactor.connections.connection import Connection

from .programs import Program


class Chaos(Program):
    """Does anything at any time."""

    __slots__ = ("calm",)

    def connection_made(self, connection: Connection) -> None:
        super().connection_made(connection)
        self.calm = 0.3 + 0.6 * self.draw()  # how much of the time it does nothing
        self._act()

    def data_received(self, data: bytes) -> None:
        if self.draw() < 0.5 and self.connection.state.writes:
            self.connection.write(data)
        self._act()

    def eof_received(self) -> bool:
        self._act()
        return self.draw() < 0.6

    def connection_lost(self, exc: Exception | None) -> None:
        self._act()

    def pause_writing(self) -> None:
        self._act()

    def resume_writing(self) -> None:
        self._act()

    def _act(self) -> None:
        while self.draw() > self.calm:
            connection = self.connection
            others = self.others()
            if others and self.draw() < 0.3:
                connection = others[self.pick(0, len(others) - 1)]
            ACTIONS[self.pick(0, len(ACTIONS) - 1)](self, connection)

    # What it does.

    def write(self, connection: Connection) -> None:
        """Some bytes, of any type that holds bytes. After `write_eof` this must raise RuntimeError."""
        data = self.data(self.pick(0, self.size))
        kind = self.pick(0, 2)
        try:
            connection.write(data if kind == 0 else bytearray(data) if kind == 1 else memoryview(data))
        except RuntimeError:
            self.world.misused(connection)

    def write_often(self, connection: Connection) -> None:
        """Many small pieces."""
        try:
            connection.writelines([self.data(1), b"", self.data(self.pick(1, 9)), self.data(2)])
        except RuntimeError:  # our side ended before, or in the pause that one of these pieces has caused
            self.world.misused(connection)

    def close(self, connection: Connection) -> None:
        """Close it."""
        connection.close()

    def abort(self, connection: Connection) -> None:
        """Abort it."""
        if self.draw() < 0.5:
            connection.abort()

    def write_eof(self, connection: Connection) -> None:
        """End our side."""
        connection.write_eof()

    def pause(self, connection: Connection) -> None:
        """Stop reading; in most cases only for a while."""
        connection.pause_reading()
        if self.draw() < 0.8:
            self.world.later(self.draw() * 2, connection.resume_reading)

    def resume(self, connection: Connection) -> None:
        """Read again."""
        connection.resume_reading()

    def set_marks(self, connection: Connection) -> None:
        """Move the marks of the output buffer."""
        high, number = self.pick(0, self.size), self.draw()
        if number < 0.4:
            connection.set_write_buffer_limits(high=high)
        elif number < 0.8:
            connection.set_write_buffer_limits(high=high, low=self.pick(0, high))
        elif number < 0.95:
            connection.set_write_buffer_limits(low=high // 4)
        else:
            connection.set_write_buffer_limits()

    def act_later(self, connection: Connection) -> None:
        """Do something after some time."""
        self.world.later(self.draw() * 3, self._act)

    def act_soon(self, connection: Connection) -> None:
        """Do something in the next iteration."""
        (self.world.soon if self.draw() < 0.8 else self.world.soon_threadsafe)(self._act)

    def close_later(self, connection: Connection) -> None:
        """Close after some time."""
        self.world.later(self.draw() * 3, connection.close)

    def dawdle(self, connection: Connection) -> None:
        """Take time, while all others wait."""
        self.world.dawdle(self.draw() * 0.3)

    def leave(self, connection: Connection) -> None:
        """Raise; now and then something that ends the loop."""
        if self.draw() < 0.6:
            self.world.leave(self.draw(), self)

    def stop(self, connection: Connection) -> None:
        """Stop the loop, close it, or only stop listening. Each of these is rare."""
        number = self.draw()
        if number < 0.1:
            self.world.reactor.stop()
        elif number < 0.12:
            self.world.reactor.close()
        elif number < 0.3:
            self.world.doors.stop(self.pick(0, 9))


ACTIONS = (
    Chaos.write, Chaos.write, Chaos.write, Chaos.write, Chaos.write_often, Chaos.close, Chaos.abort, Chaos.write_eof,
    Chaos.pause, Chaos.resume, Chaos.set_marks, Chaos.act_later, Chaos.act_soon, Chaos.close_later, Chaos.dawdle,
    Chaos.leave, Chaos.stop,
)  # fmt: skip

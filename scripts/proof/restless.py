"""Restless programs: they stop the loop, arm many timers, and cancel many at a time.

Programs seldom ask the loop itself for something. So some moments of asking are seldom tried: a stop from inside a
timer or from the last callback of a turn, a SystemExit while more timers are due, many timers cancelled at once.
"""

from __future__ import annotations

from typing import Any

from reactor.connections.connection import Connection

from .programs import Program

MANY_TIMERS = 70  # when these are cancelled, the heap is rebuilt


class Stopper(Program):
    """Stops the loop again and again, from every callback. It seldom closes the loop, or stops listening."""

    __slots__ = ()

    def connection_made(self, connection: Connection) -> None:
        super().connection_made(connection)
        self._perhaps()

    def data_received(self, data: bytes) -> None:
        self.connection.write(data * 2)
        self._perhaps()

    def eof_received(self) -> bool:
        self._perhaps()
        if self.draw() < 0.5:
            return False
        self.world.later(self.draw(), self.connection.close)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._perhaps()

    def pause_writing(self) -> None:
        self._perhaps()

    def resume_writing(self) -> None:
        self._perhaps()

    def _perhaps(self) -> None:
        number = self.draw()
        if number < 0.15:
            self._stop()
        elif number < 0.25:
            self.world.later(self.draw(), self._stop)
        elif number < 0.35:
            self.world.soon(self._stop)
        elif number < 0.45:
            self.world.soon_threadsafe(self._stop)

    def _stop(self) -> None:
        number = self.draw()
        if number < 0.9:
            self.world.reactor.stop()
        elif number < 0.92:
            self.world.reactor.close()
        else:
            self.world.doors.stop(self.pick(0, 9))


class Fickle(Program):
    """Arms timers for the same few times, raises in some of them, and cancels others."""

    __slots__ = ("promises",)

    def connection_made(self, connection: Connection) -> None:
        super().connection_made(connection)
        self.promises: list[Any] = []
        self._arm()

    def data_received(self, data: bytes) -> None:
        self.connection.write(data)
        if self.draw() < 0.5:
            self._call_off(self.draw())
        self._arm()

    def eof_received(self) -> bool:
        self._call_off(1.0)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._call_off(0.8)

    def _arm(self) -> None:
        count = MANY_TIMERS if self.draw() < 0.2 else self.pick(1, 5)
        seconds = self.draw() * 2
        for number in range(count):
            call = self._leave if number % 4 == 1 else self._think_again if number % 8 == 4 else self._speak
            self.promises.append(self.world.later(seconds + number % 3 / 4, call))

    def _speak(self) -> None:
        if not self.connection.is_closing():
            self.connection.write(self.data(1))

    def _leave(self) -> None:
        if self.draw() < 0.5:
            self.world.leave(self.draw() / 2, self)

    def _think_again(self) -> None:
        """Cancel some of the timers that are due together with this one, or later."""
        self._call_off(0.3)

    def _call_off(self, share: float) -> None:
        for promise in self.promises:
            if self.draw() < share:
                self.world.call_off(promise)
        if share == 1.0:
            self.promises.clear()


class Sluggish(Program):
    """Takes a little time for each answer, too little to count as an absence. In a crowd, the last ones wait long."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        self.world.dawdle(self.draw() * 0.09)
        self.connection.write(data)

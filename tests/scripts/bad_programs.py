"""Programs that echo correctly, and harm their server in ways that no client notices."""

from __future__ import annotations

import os

from reactor import Connection
from reactor.apps.echo import Echo

DIES_AFTER = 100


class Harmful(Echo):
    """Keeps every chunk, leaks descriptors, spins, and raises in `connection_lost`."""

    __slots__ = ()
    kept: list[bytes] = []
    connections = 0

    def connection_made(self, connection: Connection) -> None:
        super().connection_made(connection)
        Harmful.connections += 1
        if self.connections % 20 == 0:
            os.dup(0)
        if self.connections == 1:
            self._spin()

    def _spin(self) -> None:
        self.connection.reactor.call_soon(self._spin)

    def data_received(self, data: bytes) -> None:
        self.kept.append(data)
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            raise RuntimeError("of those who leave in the middle")


class Mortal(Echo):
    """Ends the whole server after so many connections."""

    __slots__ = ()
    connections = 0

    def connection_made(self, connection: Connection) -> None:
        super().connection_made(connection)
        Mortal.connections += 1
        if self.connections == DIES_AFTER:
            os._exit(3)

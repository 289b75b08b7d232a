"""Send back whatever comes.

The smallest server there is, and already one that can be brought down: a peer that sends and never reads makes a
naive echo keep every byte. The remedy costs two methods. While the output waits for a peer that does not read,
we do not read from it either; the kernel's buffers fill up, and TCP tells the peer to stop sending. So nobody
can make this server keep more than its marks, one receive and the kernel's own buffers.
"""

from __future__ import annotations

from ..connections.connection import Connection
from ..connections.protocol import Protocol


class Echo(Protocol):
    """RFC 862's service, with back-pressure."""

    __slots__ = ("connection",)

    def connection_made(self, connection: Connection) -> None:
        self.connection = connection

    def data_received(self, data: bytes) -> None:
        self.connection.write(data)

    def pause_writing(self) -> None:
        self.connection.pause_reading()

    def resume_writing(self) -> None:
        self.connection.resume_reading()


PROGRAM = Echo

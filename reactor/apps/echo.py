"""Send back whatever comes.

This is the smallest server, and a peer can already break a naive version: if the peer sends and never reads, the
server keeps every byte. The remedy is two methods. While output waits for a peer that does not read, we do not read
from that peer. The kernel's buffers fill up, and TCP tells the peer to stop sending. So for each peer this server
keeps at most its high mark, one receive, and the kernel's own buffers.
"""

from __future__ import annotations

from ..connections.connection import Connection
from ..connections.protocol import Protocol


class Echo(Protocol):
    """The echo service (RFC 862), with back-pressure."""

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

"""The programs as served by reactor: those in the words of PEP 3156 unchanged, and those that split by lines with
what reactor has for it.
"""

from reactor.net.framing import FramedProtocol

from .drain_protocols import *  # noqa: F403  # served from here by their names
from .end_protocols import *  # noqa: F403
from .loop_protocols import *  # noqa: F403
from .protocols import *  # noqa: F403


class Lines(FramedProtocol):
    def frame_received(self, frame):
        self.connection.write(frame + b"\n")

    def frame_too_large(self, error):
        self.connection.write(b"too long\n")


class Chat(FramedProtocol):
    inside = set()

    def connection_made(self, connection):
        super().connection_made(connection)
        self.inside.add(self)
        connection.write(b"hello\n")

    def frame_received(self, frame):
        for other in self.inside - {self}:
            other.connection.write(frame + b"\n")

    def connection_lost(self, exc):
        self.inside.discard(self)

"""What the documentation leaves to a program: a bound for a line, and deadlines, in a few lines each.

asyncio's transports have marks, and nothing else: whoever wants a line to be finite, or to be rid of a peer that takes
nothing, writes it into the protocol, with `call_later` and `abort`. trio's streams and curio's sockets have nothing
that bounds a line. So where a row of FAILURES asks for it, it is done here as one would after reading that
documentation. The protocols are for asyncio and uvloop, which have the same; ours runs the programs as they are.
"""

import asyncio

from . import protocols
from .handlers import TooLong

SETTINGS = {}  # by the names of our `Limits`: filled by the script of asyncio and uvloop
LINE_BYTES = 65536


def call_later(name, function, *arguments):
    """Arm the deadline that is named in the settings, if it is there."""
    if seconds := SETTINGS.get(name):
        return asyncio.get_running_loop().call_later(seconds, function, *arguments)
    return None


class Lines(protocols.Program):
    """A line has a limit, and from its first byte on a deadline, which more of it does not push back."""

    deadline = None

    def connection_made(self, connection):
        super().connection_made(connection)
        self.line = bytearray()

    def data_received(self, data):
        for number, piece in enumerate(data.split(b"\n")):
            if number:
                self.answer()
            self.line += piece
            if len(self.line) > SETTINGS.get("frame_bytes", LINE_BYTES):
                self.connection.write(b"too long\n")
                return self.connection.close()
        if self.line and self.deadline is None:
            self.deadline = call_later("frame_seconds", self.connection.abort)

    def answer(self):
        self.connection.write(self.line + b"\n")
        self.line.clear()
        self.end_deadline()

    def connection_lost(self, exc):
        self.end_deadline()

    def end_deadline(self):
        if self.deadline:
            self.deadline.cancel()
            self.deadline = None


class PoliteFlood(protocols.PoliteFlood):
    """While it is paused nothing is written: an output that has not become less is one that nobody takes."""

    watch = None

    def pause_writing(self):
        super().pause_writing()
        self.look(None)

    def look(self, before):
        left = self.connection.get_write_buffer_size()
        if left == before or self.lost:
            return self.connection.abort()
        self.watch = call_later("write_stall_seconds", self.look, left)

    def resume_writing(self):
        if self.watch:
            self.watch.cancel()
        super().resume_writing()


class ReplyAndClose(protocols.ReplyAndClose):
    """What is not sent some time after `close` is given up."""

    def data_received(self, data):
        super().data_received(data)
        call_later("close_seconds", self.connection.abort)


class LinesByHand:
    """For a stream of `handlers` that has `receive`."""

    def __init__(self):
        self.unread = bytearray()

    async def line(self, limit):
        while (end := self.unread.find(b"\n")) < 0 and len(self.unread) <= limit:
            data = await self.receive()
            if not data:
                return None
            self.unread += data
        if not 0 <= end <= limit:
            raise TooLong
        line = bytes(self.unread[:end])
        del self.unread[: end + 1]
        return line

    async def one_byte(self):
        if not self.unread:
            self.unread += await self.receive()
        byte = bytes(self.unread[:1])
        del self.unread[:1]
        return byte

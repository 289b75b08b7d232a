"""More of the programs of `adapter.PROGRAMS`: those that have something in hand when their server is told to stop."""

import threading
import time

from .protocols import Program, loop_of

LATER_SECONDS = 0.5


class Later(Program):
    """Its answer is made when the callback is over. A server that can be told so is told."""

    def data_received(self, data):
        loop = loop_of(self.connection)
        for letter in data:
            getattr(self.connection, "hold", int)()
            if letter == ord("t"):
                threading.Thread(target=self.work, args=[loop]).start()
            elif letter != ord("n"):
                loop.call_later(LATER_SECONDS, self.answer)

    def work(self, loop):
        time.sleep(LATER_SECONDS)
        loop.call_soon_threadsafe(self.answer)

    def answer(self):
        self.connection.write(b"later\n")
        getattr(self.connection, "release", int)()


class Feeds(Program):
    """Has connections of its own, and wants them for ever."""

    rest = b""

    def data_received(self, data):
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            Feed(loop_of(self.connection), line.decode()).open()


class Feed(Program):
    def __init__(self, loop, address):
        self.loop, self.address = loop, address

    def open(self):
        if hasattr(self.loop, "create_connection"):
            host, _, port = self.address.rpartition(":")
            self.task = self.loop.create_task(self.loop.create_connection(lambda: self, host, int(port)))
        else:
            from reactor import connect

            connect(self.loop, lambda: self, self.address, on_failure=print)

    def connection_made(self, connection):
        super().connection_made(connection)
        connection.write(b"subscribe")

    def connection_lost(self, exc):
        self.open()

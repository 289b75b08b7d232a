"""More of the programs of `adapter.PROGRAMS`: those that trouble one another, and those that are about how things end.
"""

import gc

from .protocols import MIB, REPLY, Program, loop_of, say

PIECE = 64 * 1024
HOST = {}  # how a server that runs these programs is told to go: filled by its script, see `stop_listening`


def stop_listening(connection):
    """Close the server's listening socket."""
    if "stop_listening" in HOST:
        HOST["stop_listening"]()
    else:
        acceptor = connection.reactor.acceptor
        for listener in acceptor.listeners():
            acceptor.stop_listening(listener)


def close_loop(connection):
    """End the loop that calls us."""
    if "close_loop" in HOST:
        HOST["close_loop"]()
    else:
        connection.reactor.close()


# Those that write to each other.


class Sized(Program):
    """Its lines are numbers; it does not ask whether anyone reads."""

    rest = b""

    def data_received(self, data):
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            for start in range(0, int(line), MIB):
                self.connection.write(REPLY[: min(MIB, int(line) - start)])


class Tandem(Program):
    """Two of them, each writing into the other's connection from every one of its own callbacks."""

    BLOCKS = 200  # for each of the two
    alone = None
    depth = deepest = 0

    def connection_made(self, connection):
        super().connection_made(connection)
        self.paused = False
        self.blocks = 0  # that it was sent
        self.partner, Tandem.alone = Tandem.alone, None
        if self.partner is None:
            Tandem.alone = self
        else:
            self.partner.partner = self

    def data_received(self, data):
        if data == b"d":
            self.connection.write(b"%d\n" % Tandem.deepest)
        else:
            self.nested(self.write_to_both)

    def pause_writing(self):
        self.paused = True
        self.nested(self.partner.take_one)

    def resume_writing(self):
        self.paused = False
        self.nested(self.write_to_both)

    def nested(self, callback):
        """Call it, and note how many of our callbacks are in the middle of something."""
        Tandem.depth += 1
        Tandem.deepest = max(Tandem.deepest, Tandem.depth)
        callback()
        Tandem.depth -= 1

    def write_to_both(self):
        self.partner.take_one()
        for one in (self.partner, self):
            while not one.paused and one.blocks < self.BLOCKS:
                one.take_one()

    def take_one(self):
        if self.blocks < self.BLOCKS:
            number = self.blocks
            self.blocks += 1
            self.connection.write(b"%08d" % number * (PIECE // 8))


# Those that have more to say when the client has said all.


class PoliteReply(Program):
    sent = 0
    begun = paused = False

    def data_received(self, data):
        self.begun = True
        self.fill()

    def fill(self):
        while self.begun and not self.paused and self.sent < len(REPLY):
            piece = REPLY[self.sent : self.sent + PIECE]
            self.sent += len(piece)
            self.connection.write(piece)
        if self.sent == len(REPLY):
            self.connection.close()

    def pause_writing(self):
        self.paused = True

    def resume_writing(self):
        self.paused = False
        self.fill()

    def eof_received(self):
        return True


class NeverDone(Program):
    def eof_received(self):
        say("eof")
        return True

    def connection_lost(self, exc):
        say("lost")


# Those that end things at the wrong moment.


class Deeds(Program):
    """What is asked for is done inside the named callback; then everything that one should not do any more."""

    number = 0
    everyone = {}
    for_the_next = []

    def connection_made(self, connection):
        super().connection_made(connection)
        Deeds.number += 1
        self.number = Deeds.number
        self.everyone[self.number] = self
        self.orders, Deeds.for_the_next = Deeds.for_the_next, []
        self.rest = b""
        connection.write(b"%d\n" % self.number)
        self.callback("connection_made")

    def data_received(self, data):
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.take_order(line.decode())
        self.callback("data_received")

    def take_order(self, line):
        if line == "reply":
            self.connection.write(REPLY)
        elif line.startswith("connection_made "):
            Deeds.for_the_next.append(line.split())
        elif " " in line:
            self.orders.append(line.split())
        else:
            self.connection.write(line.encode() + b"\n")

    def eof_received(self):
        self.callback("eof_received")

    def pause_writing(self):
        self.callback("pause_writing")

    def resume_writing(self):
        self.callback("resume_writing")

    def connection_lost(self, exc):
        self.callback("connection_lost")

    def callback(self, name):
        say("callback", self.number, name)
        due = [order for order in self.orders if order[0] == name]
        self.orders = [order for order in self.orders if order[0] != name]
        for _, deed, target in due:
            self.do(deed, target)
            say("deed", self.number, name, deed, target)

    def do(self, deed, target):
        if target == "listener":
            stop_listening(self.connection)
        elif target == "loop":
            close_loop(self.connection)
        else:
            other = self if target == "self" else self.everyone[int(target)]
            getattr(other.connection, deed)()
            other.go_on_regardless()

    def go_on_regardless(self):
        connection = self.connection
        connection.write(b"after the end\n")
        connection.pause_reading()
        connection.resume_reading()
        connection.close()


class Tags(Program):
    """Answers what it is called by, and later, when its connection is long gone, answers and closes again."""

    TAG_BYTES = 16
    gone = 0

    def connection_made(self, connection):
        super().connection_made(connection)
        self.tag = b""

    def data_received(self, data):
        self.tag += data
        if len(self.tag) >= self.TAG_BYTES:
            self.answer()
            self.answer()
            loop_of(self.connection).call_soon(self.answer)

    def answer(self):
        self.connection.write(self.tag)
        self.connection.close()

    def connection_lost(self, exc):
        loop = loop_of(self.connection)
        loop.call_soon(self.answer_again)
        loop.call_later(0.002, self.answer_again)
        Tags.gone += 1
        if Tags.gone % 500 == 0:
            gc.collect()

    def answer_again(self):
        if not self.connection.is_closing():
            say("an ended connection is open again")
        self.answer()
        self.connection.abort()

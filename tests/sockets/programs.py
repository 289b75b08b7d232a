"""Programs for the tests of this folder to serve, as `MODULE:NAME` from the current folder."""

from reactor import Protocol

ANSWER = b"".join(b"%15d\n" % number for number in range(640 * 1024))  # 10 MiB, and a misplaced piece shows


class AnswerAtEnd(Protocol):
    """Reads until the client has ended its side, then writes a long answer."""

    def connection_made(self, connection):
        self.connection = connection

    def eof_received(self):
        self.connection.write(ANSWER)
        self.connection.close()
        return True


class AnswerAtOnce(Protocol):
    """Writes the same long answer to all data. The client ends the connection."""

    def connection_made(self, connection):
        self.connection = connection

    def data_received(self, data):
        self.connection.write(ANSWER)


class NeverReads(Protocol):
    """Never reads."""

    def connection_made(self, connection):
        connection.pause_reading()


class AnswerEarly(Protocol):
    """Answers at the first bytes and closes, without reading the rest."""

    def connection_made(self, connection):
        self.connection = connection

    def data_received(self, data):
        self.connection.write(b"no thanks")
        self.connection.close()

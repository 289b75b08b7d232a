"""Programs for the tests of this folder to serve, as `MODULE:NAME` from the current folder."""

from reactor import Protocol

ANSWER = b"".join(b"%15d\n" % number for number in range(640 * 1024))  # 10 MiB in which every place differs


class AnswerAtEnd(Protocol):
    """Listens until the client has said all, then answers at length."""

    def connection_made(self, connection):
        self.connection = connection

    def eof_received(self):
        self.connection.write(ANSWER)
        self.connection.close()
        return True


class AnswerAtOnce(Protocol):
    """Has the same long answer to everything, and leaves the ending to the client."""

    def connection_made(self, connection):
        self.connection = connection

    def data_received(self, data):
        self.connection.write(ANSWER)


class NeverReads(Protocol):
    """Has better things to do."""

    def connection_made(self, connection):
        connection.pause_reading()


class AnswerEarly(Protocol):
    """Has its answer at the first byte, and does not care for the rest."""

    def connection_made(self, connection):
        self.connection = connection

    def data_received(self, data):
        self.connection.write(b"no thanks")
        self.connection.close()

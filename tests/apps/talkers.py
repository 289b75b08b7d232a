"""What the tests of the chat share: its clients, and a server with some of them in the lobby."""

import contextlib

from tests.support import connect, reset, serving, wait_until


class Talker:
    """A client in the chat room."""

    def __init__(self, server):
        self.socket = connect(server.address)
        self.file = self.socket.makefile("rb")
        self.greeting = self.hear()
        self.name = self.greeting.split()[3].rstrip(b",")

    def say(self, line):
        self.socket.sendall(line + b"\n")

    def ask(self, line):
        self.say(line)
        return self.hear()

    def hear(self):
        return self.file.readline().rstrip(b"\n")

    def hear_all(self, count):
        return [self.hear() for _ in range(count)]

    def leave(self):
        self.file.close()
        self.socket.close()

    def vanish(self):
        self.file.close()  # the socket stays open as long as this file
        reset(self.socket)


def comes(talker):
    return b"# " + talker.name + b" comes"


def goes(talker):
    return b"# " + talker.name + b" goes"


@contextlib.contextmanager
def room(*options, talkers):
    """A server and its clients, which have all heard each other come."""
    with serving("chat", "--log-format", "json", *options) as server, contextlib.ExitStack() as stack:
        inside = []
        for _ in range(talkers):
            inside.append(Talker(server))
            stack.callback(inside[-1].leave)
            for other in inside[:-1]:
                assert other.hear() == comes(inside[-1])
        yield server, inside


def expect_closed(server, **reasons):
    closed = lambda: server.statistics()["closed"]  # noqa: E731
    wait_until(lambda: all(closed()[reason] == count for reason, count in reasons.items()), f"{reasons} ends")

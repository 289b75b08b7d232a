"""What the tests of the key-value server share: replies as Python values, clients, and a Redis to compare with."""

import contextlib
import io
import shutil
import subprocess
import time

import pytest

from reactor.apps.kv.bounds import Bounds
from reactor.apps.kv.client import Client, Database
from reactor.apps.kv.commands import answer
from reactor.apps.kv.resp import split_words
from tests.support import DEADLINE_SECONDS, connect, free_port, reset

needs_redis = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")


def encode(*arguments):
    """A request of these arguments, which are `bytes`, or text."""
    parts = [each if isinstance(each, bytes) else str(each).encode() for each in arguments]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


class Replies:
    """Cuts a stream of replies, which comes by `read_line` and `read`, into Python values.

    A string is text, or `bytes` if it is not UTF-8; an error is text that begins with a minus; nil is None.
    """

    def __init__(self, file):
        self._file = file

    def next(self):
        """The next reply; EOFError at the end of the stream."""
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError(line)
        kind, text = line[:1], line[1:-2]
        if kind == b"+":
            return text.decode()
        if kind == b"-":
            return f"-{text.decode('latin-1')}"
        if kind == b":":
            return int(text)
        if kind == b"*":
            return None if text == b"-1" else [self.next() for _ in range(int(text))]
        assert kind == b"$", line
        if text == b"-1":
            return None
        value = self._file.read(int(text) + 2)[:-2]
        with contextlib.suppress(UnicodeDecodeError):
            return value.decode()
        return value


class Talker:
    """A client over a real socket, of our server or of Redis."""

    def __init__(self, address):
        self.socket = connect(address)
        self._file = self.socket.makefile("rb")
        self._replies = Replies(self._file)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.leave()

    def send(self, data):
        """Send these bytes."""
        self.socket.sendall(data)

    def ask(self, *arguments):
        """The reply to a request of these arguments."""
        self.send(encode(*arguments))
        return self.hear()

    def say(self, line):
        """The reply to a request that is a line."""
        return self.ask(*split_words(line.encode()))

    def hear(self):
        """The next reply, or message."""
        return self._replies.next()

    def hear_all(self, count):
        """The next `count` replies."""
        return [self.hear() for _ in range(count)]

    def rest(self):
        """All bytes up to the end of the connection."""
        return self._file.read()

    def leave(self):
        """Close the connection."""
        self._file.close()
        self.socket.close()

    def vanish(self):
        """Break the connection off."""
        self._file.close()  # the socket stays open as long as this file
        reset(self.socket)


class Local:
    """A client without a network: requests go to the commands themselves. `messages` are what was delivered."""

    def __init__(self, database=None, **bounds):
        self.database = database or Database(Bounds(**bounds))
        self.messages = []
        self.client = Client(self.database, self.messages.append)

    def ask(self, *arguments):
        """The reply to a request of these arguments; a list if there are more than one."""
        request = [each if isinstance(each, bytes) else str(each).encode() for each in arguments]
        return self.decode(answer(self.client, request))

    def say(self, line):
        """The reply to a request that is a line."""
        return self.ask(*split_words(line.encode()))

    @staticmethod
    def decode(reply):
        """The value of one encoded reply; a list of them if there are more."""

        file = io.BytesIO(reply)
        values = []
        while file.tell() < len(reply):
            values.append(Replies(file).next())
        return values[0] if len(values) == 1 else values


@contextlib.contextmanager
def redis_running(folder):
    """The address of a `redis-server` that keeps nothing."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with open(folder / "redis.log", "wb") as log:
        process = subprocess.Popen([*command, "--dir", str(folder)], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            with contextlib.suppress(ConnectionRefusedError), Talker(("127.0.0.1", port)) as talker:
                assert talker.ask("PING") == "PONG"
                break
            assert process.poll() is None and time.monotonic() < deadline, (folder / "redis.log").read_text()
            time.sleep(0.01)
        yield ("127.0.0.1", port)
    finally:
        process.kill()
        process.wait()

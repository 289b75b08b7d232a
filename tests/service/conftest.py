"""For the tests of `Server`: a program whose connections end in every possible way."""

import queue

import pytest

from reactor import Limits, Protocol, Server

BIG = bytes(16 * 1024 * 1024)  # far more than the kernel's buffers hold


class Reporter(Protocol):
    """Does one deed for each byte that it receives, and reports its own end."""

    def __init__(self, ends):
        self.ends = ends

    def connection_made(self, connection):
        self.connection = connection

    def data_received(self, data):
        for deed in data.decode():
            if deed == "b":
                self.connection.write(BIG)
            elif deed == "c":
                self.connection.close()
            elif deed == "a":
                self.connection.abort()
            elif deed == "x":
                raise RuntimeError("by request")
            else:
                self.connection.write(deed.encode())

    def connection_lost(self, exc):
        self.ends.put((self.connection.close_reason.value, exc))


@pytest.fixture
def ends():
    """How each `Reporter` ended: (close reason, exception)."""
    return queue.SimpleQueue()


@pytest.fixture
def reporter(ends):
    """A factory of `Reporter`s."""
    return lambda: Reporter(ends)


@pytest.fixture
def reporting(reporter):
    """A server of `Reporter`s on its own thread. Its drain cuts after 0.2 s."""
    limits = Limits(drain_seconds=0.2, linger_seconds=3600)
    with Server(reporter, limits=limits, bind="127.0.0.1:0") as server:
        yield server

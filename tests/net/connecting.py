"""The outcome of a `connect`, and endpoints to connect to: for the tests of `connector` and `lookups`."""

import os
import signal
import socket
import warnings

from reactor.connections.sockaddr import describe
from reactor.net.addresses import Endpoint
from tests.rig import DEADLINE_SECONDS, Recorder


class Outcome:
    """The outcome of one `connect`: the protocol that was made, or the errors."""

    def __init__(self):
        self.protocols = []
        self.errors = []

    def make(self):
        self.protocols.append(Recorder())
        return self.protocols[-1]

    @property
    def any(self):
        return self.protocols or self.errors

    @property
    def error(self):
        assert not self.protocols and len(self.errors) == 1
        return self.errors[0]

    @property
    def protocol(self):
        assert not self.errors and len(self.protocols) == 1
        return self.protocols[0]


def endpoint(sock):
    return Endpoint(sock.family, sock.getsockname())


def nobody():
    """The endpoint of a port on which no server listens now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return endpoint(sock)


def text(endpoint):
    return describe(endpoint.sockaddr)


def answers(*endpoints):
    """A stand-in for getaddrinfo that finds these endpoints."""
    return lambda *_, **__: [(family, socket.SOCK_STREAM, 6, "", sockaddr) for family, sockaddr in endpoints]


def in_a_child(act):
    """Whether `act()` was true in a child of this process, which then ends."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # about forks beside threads, which are meant here
        pid = os.fork()
    if not pid:
        signal.alarm(int(DEADLINE_SECONDS))
        try:
            os._exit(0 if act() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

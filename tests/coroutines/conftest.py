"""Handlers that are served on a loop that the test turns. No time passes but what the test lets pass."""

import socket

import pytest

from reactor import Queue
from reactor.coroutines.handlers import ServedStream
from tests import rig


class Serving:
    """Connections with handlers on one reactor, and their peers."""

    def __init__(self, reactor):
        self.reactor = reactor
        self.sockets = []

    def connect(self, handler, pair=socket.socketpair, stream=ServedStream, **limits):
        """Serve a new connection by `handler`. Returns its stream, and the peer's socket."""
        ours, peer = pair()
        peer.settimeout(rig.DEADLINE_SECONDS)
        self.sockets.append(peer)
        stream = stream(handler)
        rig.adopt(self.reactor, ours, stream, rig.Limits(**limits) if limits else None)
        return stream, peer

    def turn(self):
        """Turn the loop until nothing is left to do at this time."""
        rig.turn_until_idle(self.reactor)
        while self.reactor._ready or self.reactor.dispatcher.attention:  # calls, which no descriptor tells of
            self.reactor.run_once(0)
            rig.turn_until_idle(self.reactor)

    def hear(self, peer, data):
        """Let the peer send `data`, which the kernel takes whole, and let the loop do what follows."""
        peer.sendall(data)
        self.turn()

    def pass_time(self, seconds):
        """Let so much time pass, and let the loop do what is due."""
        rig.pass_time(self.reactor, seconds)
        self.turn()

    def end(self, peer):
        """The peer sends its FIN."""
        peer.shutdown(socket.SHUT_WR)
        self.turn()

    def reset(self, peer):
        """The peer breaks the connection off."""
        rig.reset(peer)
        self.turn()

    @property
    def buffered(self):
        """What counts for `memory_bytes` now."""
        return self.reactor.counters.buffered_bytes

    def closed(self):
        """How many connections have ended, by the names of the reasons."""
        self.turn()
        return {reason.value: count for reason, count in self.reactor.counters.closed.items() if count}


@pytest.fixture
def serving(timed):
    """A `Serving` with a clock that stands still."""
    serving = Serving(timed)
    yield serving
    for sock in serving.sockets:
        sock.close()


class Puppet:
    """A handler that makes one call after the other, as the test says: `do(lambda stream: stream.read())`."""

    def __init__(self):
        self.stream = self.task = None
        self.outcomes = []
        self.ended = None  # what ended the handler

    async def __call__(self, stream):
        self.stream, self.calls = stream, Queue(100)
        try:
            while True:
                call = await self.calls.get()
                if call is None:
                    return
                try:
                    self.outcomes.append(await call(stream))
                except Exception as exc:
                    self.outcomes.append(exc)
        except BaseException as exc:
            self.ended = type(exc)
            raise


class Played:
    """A puppet on a connection: what it was told to do, and what came of it."""

    def __init__(self, serving, pair=socket.socketpair, **limits):
        self.serving = serving
        self.puppet = Puppet()
        self.stream, self.peer = serving.connect(self.puppet, pair, **limits)
        serving.turn()

    def do(self, *calls):
        """Let the handler make these calls. Returns what came of all calls so far that are over."""
        for call in calls:
            self.puppet.calls.put_nowait(call)
        self.serving.turn()
        return self.outcomes

    def hear(self, data):
        """Let the peer send `data`. Returns as `do`."""
        self.serving.hear(self.peer, data)
        return self.outcomes

    def finish(self):
        """The handler returns."""
        self.puppet.calls.put_nowait(None)
        self.serving.turn()

    @property
    def outcomes(self):
        """What came of the calls."""
        return self.puppet.outcomes

    @property
    def connection(self):
        """The connection."""
        return self.stream.connection


@pytest.fixture
def play(serving):
    """`play(frame_bytes=10, ...)`: a new connection with a handler that does as it is told."""
    return lambda **options: Played(serving, **options)

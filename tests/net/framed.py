"""A framed program on a loop that the test turns, and the peer that it serves: for the tests of `FramedProtocol`."""

from reactor import Limits, State
from reactor.net.framing import FramedProtocol
from tests import rig

BUDGET = 10
MUCH = bytes(8 * 1024 * 1024)  # more than the kernel takes for a peer that does not read


class Framed(FramedProtocol):
    """Keeps its frames in `frames`, and calls `reaction` for each."""

    def __init__(self, reaction=None):
        self.frames = []
        self.reaction = reaction
        self.ended = []
        self.too_large = None

    def frame_received(self, frame):
        self.frames.append(frame)
        if self.reaction:
            self.reaction(self, frame)

    def frame_too_large(self, error):
        self.too_large = error
        self.connection.write(b"too large\n")

    def connection_lost(self, exc):
        self.ended.append(exc)


def pausing_after(*frames):
    """A program that pauses after each of these frames, until the test resumes it."""
    return Framed(lambda protocol, frame: protocol.pause_frames() if frame in frames else None)


class Served:
    """A `Framed` program on a loop that the test turns, and its peer."""

    def __init__(self, reactor, pair, protocol, **limits):
        self.reactor = reactor
        self.protocol = protocol
        ours, self.peer = pair
        limits = Limits(**{"frames_per_iteration": BUDGET, **limits})
        self.connection = rig.adopt(reactor, ours.dup(), protocol, limits)
        ours.close()

    @property
    def frames(self):
        return self.protocol.frames

    def turn(self):
        rig.turn_until_idle(self.reactor)
        while self.reactor._ready:  # queued calls, which no descriptor tells of
            self.reactor.run_once(0)
            rig.turn_until_idle(self.reactor)

    def hear(self, data):
        self.peer.sendall(data)
        self.turn()

    def read(self, size):
        """Let the peer read `size` bytes, and let the program go on with what that allows."""
        while size > 0:
            size -= len(self.peer.recv(1 << 20))
            self.turn()

    def expect_end(self, reason):
        self.turn()
        assert self.connection.state is State.CLOSED and self.connection.close_reason is reason
        assert len(self.protocol.ended) == 1
        assert self.reactor.counters.buffered_bytes == 0


def lines(count, start=0):
    return [b"%d" % number for number in range(start, start + count)]


def stream(frames):
    return b"".join(frame + b"\n" for frame in frames)

"""Our line echo: `FramedProtocol` hands over line by line, and each line is written back.

It is what anyone would write on the package, for `python -m reactor serve
scripts.benchmarks.servers.reactor_lines:Lines`.
"""

from reactor.net.framing import FramedProtocol


class Lines(FramedProtocol):
    """Each line back as it came."""

    __slots__ = ()

    def frame_received(self, frame: bytes) -> None:
        self.connection.write(frame + b"\n")

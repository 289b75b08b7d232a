"""An echo that sends back whole records of 64 bytes, the honest clients' messages: a server that waits for frames."""

from reactor.net.framing import FramedProtocol

RECORD_BYTES = 64


class Records:
    """Cuts a stream into records of one size."""

    def __init__(self):
        self.data = b""

    def feed(self, data):
        self.data += data

    def next_frame(self):
        if len(self.data) < RECORD_BYTES:
            return None
        frame, self.data = self.data[:RECORD_BYTES], self.data[RECORD_BYTES:]
        return frame

    def waiting(self):
        return len(self.data)


class RecordEcho(FramedProtocol):
    def make_splitter(self, most):
        return Records()

    def frame_received(self, frame):
        self.connection.write(frame)

"""What the clients send, and therefore what must come back.

If all messages were alike, an echo server that gives client 7 the bytes of client 8 would pass every test. If they
were runs of one letter, so would a server that loses a byte and doubles another. So each message starts with the
number of its connection and its own number, and the rest is noise that begins at a different place in each message.

Done simply, this is expensive: a hundred clients with messages of 1 MiB would need hundreds of MiB of noise, and much
time to make it. So the noise is made once, and is short. A message walks through it, round and round, from a place
that follows from the two numbers. All messages of a client, one after the other, are its *stream*. Any piece of a
stream can be computed from its position, to be sent or to be compared with what came back. So no whole message is
kept, unless it is small.

The length of the noise is prime, and greater than a piece. So no block that a buggy server could lose, double or swap
is as long as the noise, and every such bug shows as bytes out of place.
"""

from __future__ import annotations

import random
import struct

HEADER = struct.Struct("!II")  # the connection's number, the message's number on that connection
LARGEST_NUMBER = (1 << 32) - 1
PIECE_BYTES = 65536  # the longest piece
NOISE_BYTES = 65537

# Coprime to the prime above and far from its simple fractions, so that neighbours start far from each other.
CONNECTION_STRIDE = 40503
MESSAGE_STRIDE = 49471


class Messages:
    """All messages of `size` bytes each. ValueError if the two numbers do not fit into `size`."""

    __slots__ = ("size", "_noise", "_noise_each")

    def __init__(self, size: int) -> None:
        if size < HEADER.size:
            raise ValueError(f"a message needs at least {HEADER.size} bytes, for its two numbers, not {size}")
        self.size = size
        noise = random.Random(size).randbytes(NOISE_BYTES)  # the seed makes every run send the same
        self._noise = noise + noise[:PIECE_BYTES]  # so that no piece has to be joined at the end
        self._noise_each = size - HEADER.size

    def piece(self, connection: int, position: int, at_most: int) -> bytes:
        """The stream of `connection` from byte `position` on, at most to the end of that message.

        At most `at_most` bytes, which may not exceed `PIECE_BYTES`.
        """
        number, start = divmod(position, self.size)
        begin = (connection * CONNECTION_STRIDE + number * MESSAGE_STRIDE) % NOISE_BYTES
        if start == 0 and at_most >= self.size:  # a whole message: the usual case, which must be fast
            return HEADER.pack(connection, number) + self._noise[begin : begin + self._noise_each]
        length = min(self.size - start, at_most)
        header = HEADER.pack(connection, number)[start : start + length]
        begin = (begin + max(start - HEADER.size, 0)) % NOISE_BYTES
        return header + self._noise[begin : begin + length - len(header)]

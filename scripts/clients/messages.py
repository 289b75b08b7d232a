"""What the clients send, and what therefore has to come back.

If all messages were alike, an echo server that gives client 7 the bytes of client 8 would pass every test; if
they were long runs of one letter, so would one that loses a byte and doubles another. So each message starts
with its connection's number and its own, and the rest is noise that begins at another place for each.

Made naively, that is dear: a hundred clients with messages of 1 MiB would hold hundreds of MiB of noise and
spend their time making it. So the noise is made once, and is short; a message is a walk through it, round and
round, from a place that follows from the two numbers. A client's messages, one after the other, are its
*stream*, and any piece of a stream can be had by its position, to be sent or to be compared with what came
back. Nobody ever holds a whole message, unless it is a small one.

The noise's length is prime, and greater than a piece, so that no block that a buggy server could lose, double
or swap for another is as long as the noise: whatever it does to the bytes, they are seen to be out of place.
"""

from __future__ import annotations

import random
import struct

HEADER = struct.Struct("!II")  # the connection's number, the message's number on that connection
LARGEST_NUMBER = (1 << 32) - 1
PIECE_BYTES = 65536  # the longest piece: what the reactor reads at once
NOISE_BYTES = 65537

# Coprime to the prime above and far from its simple fractions, so that neighbours start far from one another.
CONNECTION_STRIDE = 40503
MESSAGE_STRIDE = 49471


class Messages:
    """All messages of `size` bytes each. ValueError when the two numbers do not fit into so few."""

    __slots__ = ("size", "_noise", "_noise_each")

    def __init__(self, size: int) -> None:
        if size < HEADER.size:
            raise ValueError(f"a message needs at least {HEADER.size} bytes, for its two numbers, not {size}")
        self.size = size
        noise = random.Random(size).randbytes(NOISE_BYTES)  # seeded: every run sends the same
        self._noise = noise + noise[:PIECE_BYTES]  # so that a piece never has to be put together at the end
        self._noise_each = size - HEADER.size

    def piece(self, connection: int, position: int, at_most: int) -> bytes:
        """The stream of `connection` from byte `position` on: to the end of that message, or less.

        At most `at_most` bytes, which may not exceed `PIECE_BYTES`.
        """
        number, start = divmod(position, self.size)
        begin = (connection * CONNECTION_STRIDE + number * MESSAGE_STRIDE) % NOISE_BYTES
        if start == 0 and at_most >= self.size:  # a whole one: the case that has to be quick
            return HEADER.pack(connection, number) + self._noise[begin : begin + self._noise_each]
        length = min(self.size - start, at_most)
        header = HEADER.pack(connection, number)[start : start + length]
        begin = (begin + max(start - HEADER.size, 0)) % NOISE_BYTES
        return header + self._noise[begin : begin + length - len(header)]

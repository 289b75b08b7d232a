"""Bytes that wait to be sent.

A program writes when it has something to say; the kernel takes bytes when it has room. What is written
and not yet taken has to be kept, in order, and given to the kernel piece by piece as room appears.

The naive buffer is one `bytearray`: append behind, `del buffer[:sent]` in front. Appending copies every
byte once, and that is fine for small ones; but a program that writes 100 MB in one `bytes` object pays for
a copy of it, and needs twice the memory. The other naive buffer, a list of the written objects, keeps the
100 MB as they are but pays a whole Python object (33 bytes and a pointer) for every byte that a program
writes byte by byte, so its true size escapes the limit that was set on it.

So: small pieces are gathered into a block that grows to `BLOCK_BYTES`, large ones are kept as they are.
What is sent next is the first block, so a system call carries many small writes or a part of a large one.

The cost: a small piece that has to wait is copied once. Pieces that need not wait never come here: a
`Connection` holds the only chunk of an unhindered reply by itself.
"""

from __future__ import annotations

from collections import deque

BLOCK_BYTES = 65536  # what one send may carry: about what a socket buffer takes at once when it has room


class OutputBuffer:
    """A queue of bytes: `append` behind, `head` and `consume` in front. `len` is the bytes in it."""

    __slots__ = ("_blocks", "_sent", "_size")

    def __init__(self) -> None:
        self._blocks: deque[bytes | bytearray] = deque()
        self._sent = 0  # how much of the first block is gone already
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def append(self, data: bytes) -> None:
        """Put `data` behind all that is here. A large object is kept, a small one copied."""
        if not data:
            return
        self._size += len(data)
        last = self._blocks[-1] if self._blocks else None
        if type(last) is bytearray and len(last) + len(data) <= BLOCK_BYTES:
            last += data
        elif len(data) < BLOCK_BYTES // 2:
            self._blocks.append(bytearray(data))
        else:
            self._blocks.append(data)

    def head(self) -> memoryview:
        """The bytes to offer to the kernel next, at most one block of them. Release it before `append`."""
        return memoryview(self._blocks[0])[self._sent : self._sent + BLOCK_BYTES]

    def consume(self, count: int) -> None:
        """Forget the first `count` bytes of `head`: the kernel has them."""
        self._size -= count
        self._sent += count
        if self._sent == len(self._blocks[0]):
            self._blocks.popleft()
            self._sent = 0

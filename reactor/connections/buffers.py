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

The program may write at any moment, even while a block is offered to the kernel: the garbage collector runs its
`__del__` methods, and the interpreter its signal handlers, between any two steps of ours. So a block is taken out
before it is offered (`take`), what the kernel left of it goes back in front (`put_back`), and whatever was written
meanwhile is behind it. Each change of the queue is one call that is written in C; the size is changed after what it
counts.

The cost: a small piece that has to wait is copied once. Pieces that need not wait never come here: a
`Connection` holds the only chunk of an unhindered reply by itself.
"""

from __future__ import annotations

from collections import deque

BLOCK_BYTES = 65536  # what one send may carry: about what a socket buffer takes at once when it has room


class OutputBuffer:
    """A queue of bytes: `append` behind, `take` and `put_back` in front. `len` is the bytes in it, taken ones too."""

    __slots__ = ("_blocks", "_taken", "_sent", "_size")

    def __init__(self) -> None:
        self._blocks: deque[bytes | bytearray] = deque()
        self._taken: bytes | bytearray = b""  # the block that is being offered to the kernel
        self._sent = 0  # how much of that, or else of the first block, is gone already
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def append(self, data: bytes) -> None:
        """Put `data` behind all that is here. A large object is kept, a small one copied."""
        size = len(data)
        if not size:
            return
        last = self._blocks[-1] if self._blocks else None
        if type(last) is bytearray and len(last) + size <= BLOCK_BYTES:
            last += data
        elif size < BLOCK_BYTES // 2:
            self._blocks.append(bytearray(data))
        else:
            self._blocks.append(data)
        self._size += size

    def prepend(self, data: bytes, sent: int) -> None:
        """Put `data`, of which the kernel has the first `sent` bytes already, in front of all that is here.

        Nothing may have been taken from this buffer before.
        """
        size = len(data) - sent
        block = data if len(data) >= BLOCK_BYTES // 2 else bytearray(data)  # small ones gather what comes behind
        self._sent = sent
        self._blocks.appendleft(block)
        self._size += size

    def take(self) -> memoryview:
        """The bytes to offer to the kernel next, at most one block of them, until `put_back`. Not when it is empty."""
        self._taken = self._blocks.popleft()
        return memoryview(self._taken)[self._sent : self._sent + BLOCK_BYTES]

    def put_back(self, count: int) -> None:
        """The kernel has the first `count` bytes of what was taken. The view of it must have been released."""
        block, sent = self._taken, self._sent + count
        if sent < len(block):
            self._sent = sent
            self._blocks.appendleft(block)
        else:
            self._sent = 0
        self._taken = b""
        self._size -= count

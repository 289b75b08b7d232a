"""Bytes that wait to be sent.

A program writes when it has something to say. The kernel takes bytes when it has room. What the kernel has not taken
yet must be kept, in order, and offered piece by piece.

The simplest buffer is one `bytearray`: append at the end, and `del buffer[:sent]` at the front. It copies every byte
once. For small pieces this is fine. But a program that writes 100 MB in one `bytes` object pays for a copy of it, and
needs twice the memory. Another simple buffer is a list of the written objects. It copies nothing. But each object has
33 bytes beside its data, and a pointer. If a program writes a few bytes at a time, the list takes many times the memory
that its limit counts.

So small pieces are gathered into a block of up to `BLOCK_BYTES`, and large ones are kept as they are. Each send takes
from the first block. So one system call carries many small writes, or a part of a large one.

The program may write at any moment, even while a block is offered to the kernel: the garbage collector runs its
`__del__` methods, and the interpreter its signal handlers, between any two steps of ours. So `take` removes a block
before it is offered, and `put_back` puts the rest of it in front again. What was written in between comes behind it.
Each change of the queue is one call of a function in C, and the size is changed after the queue.

The cost: a small piece that has to wait is copied once. Most replies never come here: a `Connection` keeps what was
not offered to the kernel yet itself, if it is one chunk, or if it is small pieces below the high mark.
"""

from __future__ import annotations

from collections import deque

BLOCK_BYTES = 65536  # the most of a buffer that one send carries: about what a socket takes at once
LARGE_BYTES = BLOCK_BYTES // 2  # a piece of this size or more is kept as it is, not copied


class OutputBuffer:
    """A queue of bytes: `append` at the end, `take` and `put_back` at the front. `len` includes the bytes taken out."""

    __slots__ = ("_blocks", "_taken", "_sent", "_size")

    def __init__(self) -> None:
        self._blocks: deque[bytes | bytearray] = deque()
        self._taken: bytes | bytearray = b""  # the block that is being offered to the kernel
        self._sent = 0  # how much of that block is sent already; if none is offered, of the first block
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def append(self, data: bytes) -> None:
        """Put `data` at the end. A large object is kept, a small one is copied."""
        size = len(data)
        if not size:
            return
        last = self._blocks[-1] if self._blocks else None
        if type(last) is bytearray and len(last) + size <= BLOCK_BYTES:
            last += data
        elif size < LARGE_BYTES:
            self._blocks.append(bytearray(data))
        else:
            self._blocks.append(data)
        self._size += size

    def prepend(self, data: bytes | bytearray, sent: int) -> None:
        """Put `data` at the front. The kernel has its first `sent` bytes already. A `bytearray` is kept.

        This buffer must be new: nothing was taken from it yet.
        """
        size = len(data) - sent
        small = type(data) is bytes and len(data) < LARGE_BYTES
        block = bytearray(data) if small else data  # later small pieces can be added to a bytearray
        self._sent = sent
        self._blocks.appendleft(block)
        self._size += size

    def take(self) -> memoryview:
        """Take out the bytes to offer to the kernel next: at most `BLOCK_BYTES`. The buffer must not be empty."""
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

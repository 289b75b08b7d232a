"""What a coroutine does with its stream: reads and writes of every kind, each of them checked.

`Talk` is one stream in the hands of a program. It asks for input in all ways that a stream has, and tells its `Reads`
what it has asked for and what it got. A read while another task reads must be refused, and the program sees that as
`Refused`. `Channel` is a queue between two tasks.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from reactor.coroutines.endings import IncompleteReadError
from reactor.coroutines.scopes import Cancelled, CancelScope
from reactor.coroutines.stream import Stream
from reactor.coroutines.waiting import Queue, QueueEmpty, sleep
from reactor.net.splitters import FrameTooLarge

from .programs import pattern
from .reads import Ask, Reads

if TYPE_CHECKING:
    from .world import World


class Refused(Exception):
    """This program has asked for what it may not have. It leaves that, and goes on."""


class Talk:
    """One stream in the hands of a program."""

    def __init__(self, world: World, stream: Stream, draw: Callable[[], float], number: int) -> None:
        self.world, self.tasks, self.stream, self.draw = world, world.tasks, stream, draw
        self.number = number
        self.reads: Reads = world.reads[stream]
        self.size = world.scenario.size
        self.written = 0

    def pick(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + int(self.draw() * (high - low + 1))

    def seconds(self) -> float:
        """A short time; often a full tenth, so that several are over together."""
        return self.pick(0, 8) / 10 if self.draw() < 0.7 else self.draw() * 2

    async def sleep(self, depth: int = 0) -> None:
        """Sleep for a short time, or let the others have their turn."""
        seconds = self.seconds()
        await self.tasks.wait("time", sleep, seconds, seconds=seconds)

    # Reading.

    async def read_some(self, depth: int) -> None:
        """One read of any kind, and perhaps an answer to what has come."""
        kind = self.pick(0, 4)
        if kind == 0:
            data = await self._read(Ask(self.reads), self.stream.read)
        elif kind == 1:
            count = self.pick(1, max(2, min(self.size, 200)))
            data = await self._read(Ask(self.reads, count=count), self.stream.read_exactly, count)
        elif kind == 2:
            delimiter, most = self._delimiter(), self.pick(1, 40) if self.draw() < 0.3 else None
            most = most and min(most, self.world.limits.frame_bytes)
            ask = Ask(self.reads, delimiter, most=-1 if most is None else most)
            data = await self._read(ask, self.stream.read_until, delimiter, most)
        elif kind == 3:
            data = b"".join(await self._read_lines(self.pick(1, 5)))
        else:
            data = await self._read_by_lines(self.pick(1, 4))
        if data and self.draw() < 0.6:
            await self.write(data)

    async def read_often(self, depth: int) -> None:
        """Read and answer up to the end, or up to a number of times."""
        for _ in range(self.pick(1, 6)):
            data = await self._read(Ask(self.reads), self.stream.read)
            if not data:
                return
            await self.write(data)

    async def read_patiently(self, depth: int) -> None:
        """Read, and try again when it takes too long."""
        for _ in range(self.pick(2, 4)):
            with CancelScope(self.seconds()):
                await self.read_some(depth)

    async def _read(self, ask: Ask, function: Callable[..., Any], *args: Any) -> bytes:
        data: bytes = await self._checked(ask, function, *args)
        self.reads.got(ask, data, bool(ask.delimiter) and data.endswith(ask.delimiter))
        return data

    def _delimiter(self) -> bytes:
        """Mostly the end of a line; else two bytes that the peer is going to send soon."""
        if self.draw() < 0.5:
            return b"\n"
        peer = self.reads.witness.endpoint.peer.owner
        return bytes(pattern(peer._begin + self.reads.begin + self.pick(0, 12), 2))

    async def _read_lines(self, most: int) -> list[bytes]:
        ask = Ask(self.reads, b"\n")
        lines: list[bytes] = await self._checked(ask, self.stream.read_lines, most)
        self.tasks.require(len(lines) <= most, 8, "{} lines are read at once, and {} may be", len(lines), most)
        for line in lines:
            self._took_line(ask, line)
        if not lines:
            self.reads.got(ask, b"", False)
        return lines

    async def _read_by_lines(self, most: int) -> bytes:
        lines, found = self.stream.lines(), b""
        try:
            for _ in range(most):
                ask = Ask(self.reads, b"\n")
                try:  # only the first line of a batch is a wait
                    line = await self._checked(ask, lines.__anext__, may_be_none=True)
                except StopAsyncIteration:
                    self.reads.got(ask, b"", False)
                    break
                self._took_line(ask, line)
                self.reads.batch += len(line) + 1
                found += line + b"\n"
        finally:
            await lines.aclose()
        return found

    def _took_line(self, ask: Ask, line: bytes) -> None:
        """A line came without its newline; only the last one may have had none."""
        reads, end = self.reads, self.reads.begin + len(line)
        ended = reads.stream()[end : min(end + 1, reads.witness.delivered)] == b"\n"
        reads.took(line, int(ended))
        self.tasks.require(ended or (line and not reads.kept() and reads.may_end()), 5, "a line {!r} has no end", line)
        self.tasks.require(len(line) <= ask.most, 6, "a line of {} bytes is read, and {} may be", len(line), ask.most)

    async def _checked(self, ask: Ask, function: Callable[..., Any], *args: Any, may_be_none: bool = False) -> Any:
        life, reads = self.tasks.current(), self.reads
        if reads.reader is not None and not reads.reader.in_break:
            return await self._refused(function, *args)
        if reads.reader is not None:
            raise Refused
        reads.begins(life, ask)
        try:
            return await self.tasks.wait("input", function, *args, ready=ask.is_there, may_be_none=may_be_none)
        except FrameTooLarge:
            reads.too_large(ask)
            raise
        except IncompleteReadError:
            reads.incomplete(ask)
            raise
        except ConnectionError:
            reads.told_lost(ask)
            raise
        finally:
            reads.ends(life)

    async def _refused(self, function: Callable[..., Any], *args: Any) -> Any:
        """Another task waits in a read: this one must be refused."""
        doomed = self.tasks.current().scope.is_doomed()
        try:
            await self.tasks.wait("input that another task waits for", function, *args)
        except RuntimeError:
            raise Refused from None
        except Cancelled:
            self.tasks.require(doomed, 6, "a read is cancelled, and its scope is not")
            raise
        except FrameTooLarge:  # asked for more than may be
            raise Refused from None
        self.tasks.require(False, 4, "two tasks read from one stream")

    # Writing.

    async def write_some(self, depth: int) -> None:
        """Write a piece or more, and wait for the last."""
        for _ in range(self.pick(0, 3)):
            self._write(self.pick(1, max(2, self.size)))
        await self.write(self.data(self.pick(1, self.size)))

    def data(self, size: int) -> bytes:
        """`size` bytes to write."""
        self.written += size
        return bytes(pattern(self.written * 13 + self.number, size))

    def _write(self, size: int) -> None:
        """Write, and do not wait."""
        try:
            waits = self.stream.write(self.data(size))
        except RuntimeError:  # after `write_eof`
            self.world.misused(self.stream.connection)
            raise Refused from None
        if inspect.iscoroutine(waits):
            waits.close()  # else it would warn that nothing awaits it

    async def write(self, data: bytes) -> None:
        """Write `data`, and wait while writing is paused."""
        witness, stream = self.reads.witness, self.stream

        async def write() -> None:
            await stream.write(data)

        def is_free() -> bool:
            taken = not witness.paused and not stream.connection.is_closing()
            return taken or self.reads.is_lost() or self.reads.is_closed

        try:
            await self.tasks.wait("room", write, ready=is_free, may_be_none=True)
        except RuntimeError:
            self.world.misused(stream.connection)
            raise Refused from None
        except ConnectionError:
            right = self.reads.is_lost() or self.reads.is_closed
            self.tasks.require(right, 9, "a write of {} raises, and it is not lost", stream.connection)
            raise
        held = witness.paused and witness.life in ("made", "eof")
        self.tasks.require(not held, 4, "a write of {} ends, and its writing is paused", stream.connection)

    async def end_writing(self, depth: int) -> None:
        """End our side."""
        if self.reads.witness.life != "gone":
            self.stream.write_eof()

    async def close(self, depth: int) -> None:
        """Close the connection, or abort it."""
        if self.draw() < 0.3 and self.reads.witness.life != "gone":
            if self.draw() < 0.7:
                self.stream.close()
            else:
                self.stream.abort()


class Channel:
    """A queue between the tasks of a group. Nothing in it is lost or comes twice."""

    def __init__(self, talk: Talk, size: int) -> None:
        self.talk, self.queue = talk, Queue[int](size)
        self.put, self.got = 0, list[int]()

    async def fill(self) -> None:
        """Put things, and now and then do something else."""
        for _ in range(self.talk.pick(1, 5)):
            await self.talk.tasks.wait("room in a queue", self.queue.put, self.put, ready=self.has_room)
            self.put += 1
            few = len(self.queue) <= self.queue.maxsize
            self.talk.tasks.require(few, 6, "{} things are in a queue for {}", len(self.queue), self.queue.maxsize)
            if self.talk.draw() < 0.3:
                await self.talk.sleep()
            elif self.talk.draw() < 0.2:
                with contextlib.suppress(QueueEmpty):
                    self.got.append(self.queue.get_nowait())

    async def empty(self) -> None:
        """Take things, and write a little for each."""
        for _ in range(self.talk.pick(1, 5)):
            with CancelScope(self.talk.seconds() + 0.1):
                self.got.append(await self.talk.tasks.wait("a thing", self.queue.get, ready=self.has_things))
                await self.talk.write(self.talk.data(2))

    def has_room(self) -> bool:
        """Whether a putter need not wait."""
        return self.put - len(self.got) < self.queue.maxsize

    def has_things(self) -> bool:
        """Whether a getter need not wait."""
        return self.put > len(self.got)

    def check(self) -> None:
        """Law 5: each thing that was put was taken once, or is still there."""
        require, left = self.talk.tasks.require, len(self.queue)
        require(self.got == list(range(self.put - left)), 5, "{} things were put into a queue, {} are left, and taken "
                "were {}", self.put, left, self.got)  # fmt: skip

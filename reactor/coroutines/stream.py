"""A connection as a coroutine sees it: `data = await stream.read()`, `await stream.write(data)`.

A `Stream` is a protocol. Its `data_received` has two cases. If a task waits in a read, it gets the bytes and goes on at
once. If not, they are kept up to a mark; then reading pauses, the kernel's buffer fills, and TCP holds the peer back. A
read that is broken off loses no byte: the next one gets them.

`write` sends nothing itself. All that a task writes before it waits leaves in one `send`, as with any callback. It
waits only while the connection wants writing to pause.

The peer's end is told as often as it is asked for: `read` returns b"". If the connection is lost, a read and a write
raise a ConnectionError, and the task that serves it is cancelled.

What is kept is bounded and counted as in `net.framing`: `frame_bytes` for one line, `memory_bytes` for all connections.
While a read waits for the rest of a line, the peer has `frame_seconds` for it (R3, R4).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Generator
from types import TracebackType
from typing import Any, Self

from ..connections.connection import Connection
from ..connections.protocol import Protocol
from ..connections.states import ENDED, HALF_CLOSED_REMOTE, NEVER
from ..net.splitters import FrameTooLarge
from .kept import Kept
from .pausing import DONE, pause, suspending
from .roots import roots_of
from .scopes import Cancelled, get_current
from .task import STEPS_PER_TURN, Task
from .waiting import Event, WaitQueue, sleep, step


class IncompleteReadError(EOFError):
    """The peer ended its side before `read_exactly` had its bytes. They stay to be read."""


class Stream(Protocol):
    """One connection, for coroutines. `connection` is the `Connection` below it.

    Only one task may read at a time: RuntimeError for a second one. Several may write. With `async with`, it closes
    itself at the end of the block; if the block raises, it aborts.
    """

    __slots__ = ("connection", "_reader", "_kept", "_held", "_writers", "_lost")

    def __init__(self) -> None:
        self.connection: Connection = None  # type: ignore[assignment]  # until `connection_made`
        self._reader: Task | None = None  # that waits in a read
        self._kept: Kept | None = None  # None while nothing is kept and more may come
        self._held = False  # a write has to wait, or to raise
        self._writers: WaitQueue | None = None  # tasks that wait to write
        self._lost: ConnectionError | None = None  # why no more can be read or written

    # What the connection tells.

    def connection_made(self, connection: Connection) -> None:
        self.connection = connection

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        if reader is not None:
            reader.resume(data)
            if self._kept is None:
                return
        else:
            self._keep(data)
        if self._reader is None:
            self._note_kept()

    def eof_received(self) -> bool:
        self._tell_reader_of_end()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(exc)
        self._tell_reader_of_end()

    def pause_writing(self) -> None:
        self._held = True

    def resume_writing(self) -> None:
        self._held = False
        if self._writers is not None:
            self._writers.wake_all()

    def give_up_input(self) -> tuple[bytes, bool]:
        """Called by `Connection.set_protocol`: what is kept, and whether the peer has ended. After `close`: nothing.

        Reads raise afterwards.
        """
        kept, ended = self._take_rest(), self.connection.state is HALF_CLOSED_REMOTE
        if self.connection.is_closing():
            kept = b""
        self._lose(ConnectionAbortedError("the connection was handed over to another protocol"))
        self._kept = Kept()
        self._read_on()  # the other protocol has not paused it
        if self._reader is not None:
            self._reader.soon(self._tell_reader_of_end)
        return kept, ended

    def _lose(self, exc: Exception | None) -> None:
        if self._lost is None:
            if isinstance(exc, OSError) and exc.errno:
                self._lost = ConnectionResetError(exc.errno, exc.strerror)
            elif isinstance(exc, ConnectionAbortedError):
                self._lost = exc
            else:  # not its text: a program's exception may have none
                reason = self.connection.close_reason
                self._lost = ConnectionAbortedError(f"the connection has ended: {reason and reason.value}")
        self._held = True
        if self._writers is not None:
            self._writers.wake_all()

    def _tell_reader_of_end(self) -> None:
        if self._kept is None:
            self._kept = Kept()
        if self._reader is None:
            return
        if self._lost is None:
            self._reader.resume(b"")
        else:
            self._reader.throw(self._lost_error(self._lost))

    # Reading.

    @suspending
    def read(self) -> Generator[None, bytes, bytes]:
        """The next bytes as they come; b"" at the peer's end, also when it is called again.

        ConnectionError if the connection was lost and nothing is left to read.
        """
        if self._kept is not None:
            return (yield from self._read_kept().__await__())
        if self._reader is not None:
            self._refuse()
        self._reader = get_current()  # no local variable: each idle connection would keep it
        try:
            if self._reader.doomed:
                raise Cancelled
            return (yield)
        finally:
            self._reader = None

    async def read_exactly(self, count: int) -> bytes:
        """Exactly `count` bytes.

        IncompleteReadError if the peer ends before; what it has sent stays to be read. FrameTooLarge if `count` is more
        than `frame_bytes`: a length that a peer has chosen must not fill the memory. ValueError for a negative count.
        """
        if count < 0:
            raise ValueError(f"the count of bytes must be 0 or more, not {count}")
        if count > self.connection.limits.frame_bytes:
            raise FrameTooLarge(f"{count} bytes are more than frame_bytes ({self.connection.limits.frame_bytes})")
        if self._reader is not None:
            self._refuse()
        if (self._kept is not None or not count) and step():
            await sleep(0)
        if not count:  # which needs no input to come
            return b""
        while self._kept is None or len(self._kept) < count:
            if not await self._more():
                have = len(self._kept or b"")
                raise IncompleteReadError(f"the peer has ended its side after {have} of {count} bytes")
        return self._take(count)

    async def read_until(self, delimiter: bytes = b"\n", most: int | None = None) -> bytes:
        """The bytes up to `delimiter`, and the delimiter. At the peer's end: what is left, without a delimiter, or b"".

        FrameTooLarge if there are more than `most` bytes before it, by default `frame_bytes`. ValueError for an empty
        delimiter.
        """
        count = await self._find(delimiter, most)
        return self._take(count) if count else self._take_rest()

    async def read_lines(self, most: int = STEPS_PER_TURN) -> list[bytes]:
        """The whole lines that have come, without their newlines: one to `most` of them; [] at the peer's end.

        A carriage return before the newline stays. An unfinished last line comes too. FrameTooLarge if a line is longer
        than `frame_bytes`. ValueError unless `most` is 1 or more.
        """
        if most < 1:
            raise ValueError(f"the number of lines must be 1 or more, not {most}")
        lines = await self._split_lines(most)
        taken = lines[: -most - 1 : -1]
        del lines[-most:]
        self._note_taken()
        return taken

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """`async for line in stream.lines()`: each line without its newline, until the peer's end. See `read_lines`.

        After `break`, the lines that have come stay to be read.
        """
        while lines := await self._split_lines(STEPS_PER_TURN):
            while lines:
                yield lines.pop()

    # Parts of these.

    async def _read_kept(self) -> bytes:
        if self._reader is not None:
            self._refuse()
        self._note_taken()  # `lines` does not tell of each line: it may have taken the last one
        if step():
            await sleep(0)
        kept = self._kept
        if kept is None:  # another task has read it during the break
            return await self.read()
        if len(kept):
            self._read_on()
            return self._take(len(kept))
        self._raise_if_lost()
        return b""

    async def _find(self, delimiter: bytes, most: int | None) -> int:
        """Wait until `delimiter` has come, and return how many bytes there are with it; 0 at the peer's end."""
        if not delimiter:
            raise ValueError("a delimiter must have at least one byte")
        if most is None:
            most = self.connection.limits.frame_bytes
        if self._reader is not None:
            self._refuse()
        if self._kept is not None and step():
            await sleep(0)
        while True:
            kept = self._kept
            if kept is not None:
                count = kept.find(delimiter)
                if (count or len(kept)) > most + len(delimiter) - (not count):  # all but its last byte may be there
                    raise FrameTooLarge(f"more than {most} bytes before {delimiter!r}")
                if count:
                    return count
            if not await self._more():
                return 0

    async def _split_lines(self, most: int) -> list[bytes]:
        """Wait until a whole line has come. The lines that have come, the first one last; [] at the peer's end.

        They still belong to `_kept`: to take a line is to take it off this list.
        """
        longest = self.connection.limits.frame_bytes
        if self._reader is not None:
            self._refuse()
        if self._kept is not None:
            if len(self._kept) != self.connection._kept_bytes:  # else the peer would have its time again (R3)
                self._note_taken()
            if step():
                await sleep(0)
        while self._kept is None or not self._kept.split(most, longest):
            if len(self._kept or b"") > longest:
                raise FrameTooLarge(f"more than {longest} bytes before b'\\n'")
            if not await self._more():
                rest = self._take_rest()
                return [rest] if rest else []
        lines = self._kept.lines
        get_current().steps += len(lines)
        return lines

    async def _more(self) -> bool:
        """Wait for more input, and put it behind what is kept. False at the peer's end."""
        connection, task = self.connection, get_current()
        if self._reader is not None:
            self._refuse()
        if task.doomed:
            raise Cancelled
        if self._lost is not None or not connection.state.delivers:
            self._raise_if_lost()
            return False
        if self._kept is not None and len(self._kept):  # the peer owes us the rest from now on
            since = connection._frame_since
            self._account(connection.reactor.timers.now if since == NEVER else since)
        self._read_on()
        self._reader = task
        try:
            data = await pause()
        finally:
            self._reader = None
        if data:
            self._keep(data)
        return bool(data)

    def _refuse(self) -> None:
        if get_current().doomed:
            raise Cancelled
        raise RuntimeError("another task is reading from this stream")

    def _raise_if_lost(self) -> None:
        if self._lost is not None:
            raise self._lost_error(self._lost)

    def _lost_error(self, lost: ConnectionError) -> ConnectionError:
        """A new exception each time: if one were raised twice, it would collect the tracebacks of both."""
        return type(lost)(*lost.args)

    def _read_on(self) -> None:
        if self.connection._reading_paused:
            self.connection.resume_reading()

    def _keep(self, data: bytes) -> None:
        if self._kept is None:
            self._kept = Kept(data)
        else:
            self._kept.add(data)

    def _note_kept(self) -> None:
        """Something is kept, and no task waits for more. The peer is not late now."""
        self._account(NEVER)
        connection = self.connection
        if self._kept is not None and len(self._kept) > connection.limits.frame_bytes and connection.state.delivers:
            connection.pause_reading()

    def _account(self, since: float) -> None:
        """Count what is kept. `since` is when the peer began to owe us the rest of a line; NEVER if it does not."""
        connection = self.connection
        if self._lost is None and connection.state is not ENDED:  # after that its buffers are not counted
            connection._keep_input(len(self._kept or b""), since)

    def _take(self, count: int) -> bytes:
        kept = self._kept
        assert kept is not None
        piece = kept.take(count)
        self._note_taken()
        return piece

    def _take_rest(self) -> bytes:
        return self._take(len(self._kept)) if self._kept is not None else b""

    def _note_taken(self) -> None:
        connection, kept = self.connection, self._kept
        if connection._kept_bytes or connection._frame_since != NEVER:
            self._account(NEVER)
        if kept is not None and not len(kept) and connection.state.delivers and self._lost is None:
            self._kept = None

    # Writing, and the rest.

    def write(self, data: bytes | bytearray | memoryview) -> Awaitable[None]:
        """Send all of `data` behind what was written before. Await it, to be held back while the peer does not read.

        The data is queued in any case. ConnectionError when it is awaited and the connection was lost. The other errors
        are those of `Connection.write`.
        """
        self.connection.write(data)
        return self._until_taken() if self._held else DONE

    async def _until_taken(self) -> None:
        while self._held:
            self._raise_if_lost()
            if self._writers is None:
                self._writers = WaitQueue()
            await self._writers.wait()

    def write_eof(self) -> None:
        """End our side after all that was written. Reading goes on."""
        self.connection.write_eof()

    def close(self) -> None:
        """Send what was written, then end the connection. Reads return b"". A second call does nothing."""
        self.connection.close()
        if self._kept is None:
            self._kept = Kept()

    def abort(self) -> None:
        """End the connection now. The peer sees a reset."""
        self.connection.abort()

    @property
    def peername(self) -> Any:
        """The peer's address, in the form of the `socket` module."""
        return self.connection.get_extra_info("peername")

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As `Connection.get_extra_info`."""
        return self.connection.get_extra_info(name, default)

    @property
    def draining(self) -> Event:
        """Set when the server begins to drain. A handler that does not read should wait for it, and end."""
        return roots_of(self.connection.reactor).draining

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


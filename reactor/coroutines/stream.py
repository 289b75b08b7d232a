"""A connection as a coroutine sees it: `data = await stream.read()`, `await stream.write(data)`.

A `Stream` is a protocol. Its `data_received` has two cases. If a task waits in a read, it gets the bytes and goes on at
once. If not, they are kept up to a mark; then reading pauses, the kernel's buffer fills, and TCP holds the peer back. A
read that is broken off loses no byte: the next one gets them.

`write` sends nothing itself. All that a task writes before it waits leaves in one `send`, as with any callback. It
waits only while the connection wants writing to pause.

The peer's end is told as often as it is asked for: `read` returns b"". If the connection is lost, a read and a write
raise a ConnectionError, and the task that serves it is cancelled.

What is kept is bounded and counted as in `net.framing`: `frame_bytes` for one line, `memory_bytes` for all connections.
A peer has `frame_seconds` for the rest of a line, and only the time counts in which a read waits for it (R3, R4).
"""

from __future__ import annotations

import types
from collections.abc import AsyncGenerator, Awaitable, Generator
from typing import Any, Self

from ..connections.connection import Connection
from ..connections.protocol import Protocol
from ..connections.states import ENDED, FLUSHING, HALF_CLOSED_REMOTE, NEVER
from ..net.splitters import FrameTooLarge
from .endings import CLOSED_BY_US, HANDED_OVER, IncompleteReadError, anew, error_of
from .kept import Kept
from .pausing import DONE, pause, suspending
from .roots import roots_of
from .scopes import Cancelled, get_current
from .task import STEPS_PER_TURN, Task
from .waiting import Event, WaitQueue, sleep, step


class Stream(Protocol):
    """One connection, for coroutines. `connection` is the `Connection` below it.

    Only one task may read at a time: RuntimeError for a second one. Several may write. With `async with`, it closes
    itself at the end of the block; if the block raises, it aborts. After `Connection.set_protocol` it has no connection
    any more: reads and writes raise ConnectionAbortedError, and `close` and `abort` do nothing.
    """

    __slots__ = ("connection", "_reader", "_kept", "_held", "_writers", "_lost")

    def __init__(self) -> None:
        self.connection: Connection = None  # type: ignore[assignment]  # until `connection_made`
        self._reader: Task | None = None  # that waits in a read
        self._kept: Kept | None = None  # None while nothing is kept and more may come
        self._held = False  # a write has to wait, or to raise
        self._writers: WaitQueue | None = None  # tasks that wait to write
        self._lost: ConnectionError | None = None  # what writes raise now; reads too, unless it is a BrokenPipeError

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
            self._hold_back()

    def eof_received(self) -> bool:
        self._kept = self._kept or Kept()
        self._tell_reader_of_end()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(error_of(self.connection, exc))
        self._tell_reader_of_end()

    def pause_writing(self) -> None:
        self._held = True

    def resume_writing(self) -> None:
        self._held = False
        if self._writers is not None:
            self._writers.wake_all()

    def give_up_input(self) -> tuple[bytes, bool]:
        """Called by `Connection.set_protocol`: what is kept, and whether the peer has ended. After `close`: nothing."""
        state = self.connection.state
        told = self._take_rest(), self._lost is None and (state is HALF_CLOSED_REMOTE or state is FLUSHING)
        self._read_on()
        self._lose(HANDED_OVER)
        return told

    def _lose(self, why: ConnectionError) -> None:
        self._lost = self._lost or why
        self._kept = self._kept or Kept()
        self._held = True
        if self._writers is not None:
            self._writers.wake_all()
        if self._reader is not None:  # not now: perhaps a task runs
            self._reader.soon(self._tell_reader_of_end)

    def _tell_reader_of_end(self) -> None:
        if self._reader is None:
            return
        if self._lost is None or isinstance(self._lost, BrokenPipeError):
            self._reader.resume(b"")
        else:
            self._reader.throw(anew(self._lost))

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
        if (self._kept is not None or not count) and step():
            await sleep(0)
        if self._reader is not None:
            self._refuse()
        while (have := len(self._kept or b"")) < count:
            if not await self._more():
                raise IncompleteReadError(f"the peer has ended its side after {have} of {count} bytes")
        return self._take(count) if count else b""

    async def read_until(self, delimiter: bytes = b"\n", most: int | None = None) -> bytes:
        """The bytes up to `delimiter`, and the delimiter. At the peer's end: what is left, without a delimiter, or b"".

        FrameTooLarge if there are more than `most` bytes before it, by default `frame_bytes`. ValueError for an empty
        delimiter.
        """
        count = await self._find(delimiter, most)
        return self._take(count) if count else self._take_rest()

    async def read_lines(self, most: int = STEPS_PER_TURN) -> list[bytes]:
        """Whole lines that have come, without their newlines: at least one, at most `most`; [] at the peer's end.

        A carriage return before the newline stays. An unfinished last line comes too. FrameTooLarge if the first line
        is longer than `frame_bytes`. ValueError unless `most` is 1 or more.
        """
        if most < 1:
            raise ValueError(f"the number of lines must be 1 or more, not {most}")
        lines = await self._split_lines(most)
        taken = lines[: -most - 1 : -1]
        del lines[-most:]
        if self._kept is not None:  # it is None at the peer's end
            self._note_taken()
        return taken

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """`async for line in stream.lines()`: each line without its newline, until the peer's end. See `read_lines`.

        After `break`, the lines that have come stay to be read.
        """
        while lines := await self._split_lines(STEPS_PER_TURN):
            while lines:
                yield lines.pop()

    async def _read_kept(self) -> bytes:
        if step():
            await sleep(0)
        if self._reader is not None:
            self._refuse()
        if self._kept is not None:
            self._note_taken()  # `lines` has perhaps taken the last one
        kept = self._kept
        if kept is None:  # or another task has read it during the break
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
        if self._kept is not None:
            if step():
                await sleep(0)
            if self._reader is not None:
                self._refuse()
        while True:
            kept = self._kept
            if kept is not None:
                if count := kept.find(delimiter):
                    if count > most + len(delimiter):
                        break
                    return count
                if len(kept) >= most + len(delimiter):  # its last bytes may be the beginning of the delimiter
                    break
            if not await self._more():
                if kept is None or len(kept) <= most:
                    return 0
                break
        raise FrameTooLarge(f"more than {most} bytes before {delimiter!r}")

    async def _split_lines(self, most: int) -> list[bytes]:
        """Wait until a whole line has come. The lines that have come, the first one last; [] at the peer's end.

        They still belong to `_kept`: to take a line is to take it off this list.
        """
        longest = self.connection.limits.frame_bytes
        if self._kept is not None:
            self._note_taken()
            if step():
                await sleep(0)
            if self._reader is not None:
                self._refuse()
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
        connection, kept, task = self.connection, self._kept, get_current()
        if task.doomed or self._reader is not None:
            self._refuse()
        if self._lost is not None or not connection.state.delivers:
            self._raise_if_lost()
            return False
        if kept is not None and len(kept):  # the peer owes us the rest from now on
            since = connection._frame_since
            self._account(connection.reactor.timers.now - kept.spent if since == NEVER else since)
        self._read_on()
        self._reader, data = task, b""
        try:
            data = await pause()
        finally:
            self._reader = None
            if not data:
                self._stop_clock()
        if data:
            self._keep(data)
        return bool(data)

    def _refuse(self) -> None:
        if get_current().doomed:
            raise Cancelled
        raise RuntimeError("another task is reading from this stream")

    def _raise_if_lost(self) -> None:
        """For a read: raise if the connection did not end in order."""
        lost = self._lost
        if lost is None and self.connection.state is ENDED:  # `connection_lost` comes later in this turn
            lost = error_of(self.connection, self.connection._error)
        if lost is not None and not isinstance(lost, BrokenPipeError):
            raise anew(lost)

    def _read_on(self) -> None:
        if self.connection._reading_paused:
            self.connection.resume_reading()

    def _keep(self, data: bytes) -> None:
        if self._kept is None:
            self._kept = Kept(data)
        else:
            self._kept.add(data)

    def _hold_back(self) -> None:
        """Something is kept, and no task waits for more. The peer is not late now, and must not send much more."""
        self._stop_clock()
        connection = self.connection
        if self._kept is not None and len(self._kept) > connection.limits.frame_bytes and connection.state.delivers:
            connection.pause_reading()

    def _stop_clock(self) -> None:
        """No task waits for the rest of a line now. The time that the peer had so far is not forgotten (R3)."""
        connection = self.connection
        if self._kept is not None and connection._frame_since != NEVER:
            self._kept.spent = connection.reactor.timers.now - connection._frame_since
        self._account(NEVER)

    def _account(self, since: float) -> None:
        """Count what is kept. `since` is when the peer began to owe us the rest of a line; NEVER if it does not."""
        connection = self.connection
        if self._lost is None and connection.state is not ENDED:  # after that its buffers are not counted
            connection._keep_input(len(self._kept or b""), since)

    def _take(self, count: int) -> bytes:
        assert self._kept is not None
        piece = self._kept.take(count)
        self._note_taken()
        return piece

    def _take_rest(self) -> bytes:
        return self._take(len(self._kept)) if self._kept is not None else b""

    def _note_taken(self) -> None:
        connection, kept = self.connection, self._kept
        assert kept is not None
        if connection._kept_bytes or connection._frame_since != NEVER:
            self._account(NEVER)
        if not len(kept) and connection.state.delivers and self._lost is None:
            self._kept = None

    # Writing, and the rest.

    def write(self, data: bytes | bytearray | memoryview) -> Awaitable[None]:
        """Send all of `data` behind what was written before. Await it, to be held back while the peer does not read.

        The data is queued in any case. ConnectionError when it is awaited and the connection was lost, or was closed by
        us. The other errors are those of `Connection.write`.
        """
        connection = self.connection
        if not self._held:
            connection.write(data)
            if connection._steady:  # so it takes writes, and has not just paused them
                return DONE
        elif self._lost is not HANDED_OVER:
            connection.write(data)
        return self._until_taken() if self._held or not connection.state.writes else DONE

    @types.coroutine  # not `async def`: nobody is warned if it is not awaited
    def _until_taken(self) -> Generator[None, None, None]:
        # A write that was dropped waits too. Else a task that only writes would never let the loop tell it of the end.
        while self._held or self.connection.is_closing():
            if self._lost is not None:
                raise anew(self._lost)
            if self._writers is None:
                self._writers = WaitQueue()
            yield from self._writers.wait().__await__()

    def write_eof(self) -> None:
        """End our side after all that was written. Reading goes on."""
        if self._lost is None:
            self.connection.write_eof()

    def close(self) -> None:
        """Send what was written, then end the connection. Reads return b"", and writes raise. Again does nothing."""
        if self._lost is None:
            self.connection.close()
            self._take_rest()
            self._lose(CLOSED_BY_US)

    def abort(self) -> None:
        """End the connection now. The peer sees a reset."""
        if self._lost is not HANDED_OVER:
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

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

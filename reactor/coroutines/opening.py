"""Streams that a coroutine opens itself: to a server, or as a server.

`open_stream` is `net.connector.connect` as a wait. One moment is hard: the connection is made, and before the task goes
on, it is cancelled. Then nobody would own the stream, so it is aborted.

`Listener` hands over each connection that comes in, in place of a handler for each. Nothing else ends such a stream,
neither the end of the function that gets it nor the end of the block. So the function ends it, here by `async with`:

    async def serve(stream):
        async with stream:
            ...

    async with TaskGroup() as group, Listener("127.0.0.1:9000") as listener:
        async for stream in listener:
            group.start_soon(serve, stream)
"""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from ..connections.acceptor import Listener as ListeningSocket
from ..connections.limits import Limits
from ..connections.reactor import Reactor
from ..connections.sockaddr import describe
from ..net.addresses import Endpoint, bind, parse
from ..net.connector import connect
from ..net.unix_paths import OwnPath, own_path
from .scopes import Cancelled, current_task
from .stream import Stream
from .task import Task
from .waiting import Event, WaitQueue, take_a_break


async def open_stream(address: str | Sequence[Endpoint], limits: Limits | None = None) -> Stream:
    """Connect to `address`, within `limits.connect_seconds`. Arguments and errors are those of `net.connector.connect`.

    Use it with `async with await open_stream(...) as stream:`, and the connection ends with the block. OSError if no
    connection can be made; TimeoutError, which is an OSError, if that takes too long.
    """
    task: Task = current_task()
    if task.doomed:
        raise Cancelled
    answered = Event()
    streams: list[Stream] = []
    failures: list[OSError] = []

    def make_stream() -> Stream:
        streams.append(Stream())
        answered.set()
        return streams[0]

    def on_failure(exc: OSError) -> None:
        failures.append(exc)
        answered.set()

    connector = connect(task.reactor, make_stream, address, on_failure, limits)
    try:
        await answered.wait()
    except BaseException:
        connector.cancel()
        for stream in streams:
            stream.abort()
        raise
    if failures:
        try:
            raise failures.pop()
        finally:
            del connector  # the error refers to this frame: no cycle for the garbage collector
    return streams.pop()


class Listener:
    """The connections that come to `address`, as streams: `async for stream in listener`, in an `async with` block.

    `addresses` has the real addresses inside the block, with ports, as text. Several tasks may wait for streams; each
    stream goes to one of them. A stream that nobody has taken yet counts for `max_connections`, and stops reading at
    `frame_bytes`. At the end of the block the listener stops, and streams that nobody has taken are aborted. The others
    go on. An `async for` in another task ends then.

    ValueError for a wrong address. OSError, when the block is entered, if it is not available. RuntimeError when it is
    entered twice, or used outside its block.
    """

    def __init__(self, address: str, limits: Limits | None = None) -> None:
        self.addresses: list[str] = []
        self._address = parse(address)
        self._limits = limits
        self._sockets: list[ListeningSocket] = []
        self._path: OwnPath | None = None
        self._streams: OrderedDict[Stream, None] = OrderedDict()  # that nobody has taken; each may leave at any time
        self._waiting = WaitQueue()
        self._reactor: Reactor | None = None

    async def __aenter__(self) -> Self:
        if self._reactor is not None:
            raise RuntimeError("a listener can be entered only once: make another one")
        reactor = self._reactor = current_task().reactor
        if self._address.fd in reactor.poller.handlers:
            raise OSError(errno.EBUSY, f"cannot listen on {self._address}: this program has it in use already")
        sockets = bind(self._address, reactor.socket_factory)
        try:
            if self._address.path is not None:
                self._path = own_path(self._address.path)
            while sockets:
                self._sockets.append(reactor.listen(sockets[0], self._make_stream, self._limits))
                del sockets[0]  # the reactor owns it now
        except BaseException:
            for sock in sockets:
                sock.close() if self._address.fd is None else sock.detach()  # one that was handed in stays open
            self._stop()
            raise
        self.addresses = [describe(listening.address) for listening in self._sockets]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        for stream in list(self._streams):
            stream.abort()
        self._streams.clear()
        self._waiting.wake_all()

    def _stop(self) -> None:
        if self._path is not None:
            self._path.remove()  # while its socket is open: see `OwnPath.remove`
            self._path = None
        assert self._reactor is not None
        while self._sockets:
            self._reactor.acceptor.stop_listening(self._sockets.pop())

    def _make_stream(self) -> Stream:
        stream = _Accepted(self._streams)
        self._waiting.wake()
        return stream

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Stream:
        if self._reactor is None:
            raise RuntimeError("use a listener inside its block: `async with Listener(...) as listener:`")
        if self._streams:
            await take_a_break()
        while not self._streams:
            if not self._sockets:
                raise StopAsyncIteration
            await self._waiting.wait()
        return self._streams.popitem(last=False)[0]


class _Accepted(Stream):
    """A stream that waits to be taken. If its connection is lost before, nobody needs it."""

    __slots__ = ("_queue",)

    def __init__(self, queue: OrderedDict[Stream, None]) -> None:
        super().__init__()
        self._queue = queue
        queue[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._queue.pop(self, None)

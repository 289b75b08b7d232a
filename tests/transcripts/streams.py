"""One handler, two kinds of streams, one transcript each: what does a coroutine see on asyncio's streams and on ours?

`harness` compares protocols. Here the program is a coroutine that reads and writes. What it does is a list of steps,
which are the same on both; `OnAsyncio` and `OnReactor` say how each step is spelt there. Each step notes what it
returned, or the name of what it raised. The client and the lines that are compared are those of `harness`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any

from reactor import Event, Limits, Server, Stream, TaskGroup, sleep, timeout
from tests.support import DEADLINE_SECONDS, socket_address
from tests.transcripts.harness import SMALL_BYTES, Client, Reports, Step, Transcript

LIMIT_BYTES = 100  # the longest line
SOON_SECONDS = 0.05


@dataclasses.dataclass(frozen=True)
class Script:
    """What the handler does, and what the client does. After its steps the handler closes, except with `returns`."""

    name: str
    handler: list[Step]
    client: list[Step]
    returns: bool = False


class Handler:
    """Does the steps of a script, and notes what it sees.

    Steps: read, read_exactly COUNT, read_until DELIMITER, read_line, lines (all that come), write DATA, echo (up to the
    end), write_eof, close, abort, small_buffer (in the kernel, for output), wait (until the client says `server`),
    in_time STEP (broken off soon if it is not over), during STEP STEP (the second begins while the first waits), ask
    NAME, fail.
    """

    def __init__(self, script: Script, transcript: Transcript) -> None:
        self.script = script
        self.transcript = transcript
        self.go: Any = None

    async def serve(self) -> None:
        self.transcript.add("connected")
        for step in self.script.handler:
            await self.perform(step)
        if not self.script.returns:
            self.close()

    async def perform(self, step: Step) -> None:
        name, *arguments = step
        if name == "fail":
            raise ValueError
        try:
            result = getattr(self, f"do_{name}", None) or getattr(self, name)
            result = result(*arguments)
            if inspect.isawaitable(result):
                result = await result
        except BaseException as exc:
            self.transcript.add(f"{name} raised", type(exc).__name__)
            if not isinstance(exc, Exception):
                raise
        else:
            self.transcript.add(name, result)

    async def do_wait(self) -> None:
        await self.go.wait()
        self.go.clear()

    async def do_echo(self) -> None:
        while data := await self.read():  # type: ignore[attr-defined]
            await self.write(data)  # type: ignore[attr-defined]

    def close(self) -> None:
        raise NotImplementedError


class OnAsyncio(Handler):
    """The steps on a StreamReader and a StreamWriter."""

    def __init__(self, script: Script, transcript: Transcript, reader: Any, writer: Any) -> None:
        super().__init__(script, transcript)
        self.reader, self.writer = reader, writer
        self.go = asyncio.Event()
        self.read_exactly, self.read_until, self.read_line = reader.readexactly, reader.readuntil, reader.readline
        self.write_eof, self.close = writer.write_eof, writer.close
        self.abort = writer.transport.abort

    async def read(self) -> Any:
        return await self.reader.read(1 << 16)

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def lines(self) -> list[bytes]:
        return [line async for line in self.reader]

    async def in_time(self, step: Step) -> None:
        async with asyncio.timeout(SOON_SECONDS):
            await self.perform(step)

    async def during(self, first: Step, second: Step) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.perform(first))
            await asyncio.sleep(0)
            await self.perform(second)

    def ask(self, name: str) -> str:
        return str(self.writer.get_extra_info(name, "none"))

    def do_small_buffer(self) -> None:
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BYTES)


class OnReactor(Handler):
    """The steps on a `Stream`."""

    def __init__(self, script: Script, transcript: Transcript, stream: Stream) -> None:
        super().__init__(script, transcript)
        self.stream = stream
        self.go = Event()
        self.read, self.read_exactly, self.read_until = stream.read, stream.read_exactly, stream.read_until
        self.read_line, self.write = stream.read_until, stream.write
        self.write_eof, self.close, self.abort = stream.write_eof, stream.close, stream.abort

    async def lines(self) -> list[bytes]:
        return [line async for line in self.stream.lines()]

    async def in_time(self, step: Step) -> None:
        with timeout(SOON_SECONDS):
            await self.perform(step)

    async def during(self, first: Step, second: Step) -> None:
        async with TaskGroup() as group:
            group.start_soon(self.perform, first)
            await sleep(0)
            await self.perform(second)

    def ask(self, name: str) -> str:
        return str(self.stream.get_extra_info(name, "none"))

    def do_small_buffer(self) -> None:
        self.stream.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BYTES)


class Stage:
    """What a host gives a script."""

    def __init__(self) -> None:
        self.transcript = Transcript()
        self.reported: list[str] = []
        self.address: tuple[str, int] = ("", 0)
        self.handler: Handler
        self.call: Any = None  # has the loop make a call

    def on_server(self, _steps: list[Step]) -> None:
        """Let the handler go on behind its `wait`."""
        self.call(lambda: self.handler.go.set())


@contextlib.contextmanager
def on_asyncio(script: Script) -> Iterator[Stage]:
    """Serve on asyncio's streams."""
    stage, ended = Stage(), threading.Event()

    async def serve(reader: Any, writer: Any) -> None:
        handler = stage.handler = OnAsyncio(script, stage.transcript, reader, writer)
        try:
            await handler.serve()
        finally:
            stage.transcript.add("ended")

    async def main() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        loop.set_exception_handler(lambda _, context: stage.reported.append(type(context.get("exception")).__name__))
        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=LIMIT_BYTES)
        stage.address, stage.call = server.sockets[0].getsockname(), loop.call_soon_threadsafe
        stage.stop = stop  # type: ignore[attr-defined]
        ended.set()
        await stop.wait()
        server.close()

    thread = threading.Thread(target=asyncio.run, args=[main()])
    thread.start()
    assert ended.wait(DEADLINE_SECONDS)
    try:
        yield stage
    finally:
        stage.call(stage.stop.set)  # type: ignore[attr-defined]
        thread.join()


@contextlib.contextmanager
def on_reactor(script: Script) -> Iterator[Stage]:
    """Serve on our streams."""
    stage = Stage()

    async def serve(stream: Stream) -> None:
        handler = stage.handler = OnReactor(script, stage.transcript, stream)
        try:
            await handler.serve()
        finally:
            stage.transcript.add("ended")

    reports = Reports(stage.reported)
    logging.getLogger("reactor").addHandler(reports)
    try:
        with Server(serve, bind="127.0.0.1:0", limits=Limits(frame_bytes=LIMIT_BYTES)) as server:
            stage.call, stage.address = server.reactor.call_soon_threadsafe, socket_address(server.addresses[0])
            yield stage
    finally:
        logging.getLogger("reactor").removeHandler(reports)


def play(script: Script, host: Any) -> list[str]:
    """Play `script` on `host` to the end; return the lines to compare."""
    with host(script) as stage:
        client = Client(stage.address, stage.transcript, stage.on_server)
        try:
            client.perform(script.client)
        finally:
            client.socket.close()
        stage.transcript.wait_for("ended")
    lines = [f"handler: {line}" for line in stage.transcript.lines()]
    lines += [f"client: {line}" for line in client.lines()]
    return lines + [f"reported: {name}" for name in stage.reported]

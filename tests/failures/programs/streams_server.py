"""asyncio's streams: `start_server`, `write` followed by `drain`, `close` followed by `wait_closed`."""

import asyncio
import contextlib
import logging
import signal
import sys

from tests.failures.programs.handlers import HANDLERS, TooLate, TooLong
from tests.failures.programs.serving import arguments, host_and_port, tell


class Stream:
    GONE = (ConnectionError,)

    def __init__(self, reader, writer, settings):
        self.reader, self.writer, self.settings = reader, writer, settings
        self.write, self.writelines = writer.write, writer.writelines

    async def receive(self):
        return await self.reader.read(65536)

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def line(self, limit):
        """The limit is the reader's: it was given to `start_server`."""
        try:
            return (await self.reader.readuntil(b"\n"))[:-1]
        except asyncio.LimitOverrunError as exc:
            raise TooLong from exc
        except asyncio.IncompleteReadError:
            return None

    async def one_byte(self):
        return await self.reader.read(1)

    async def within(self, seconds, what):
        try:
            return await asyncio.wait_for(what, seconds)
        except TimeoutError as exc:
            self.writer.transport.abort()
            raise TooLate from exc

    async def turn(self):
        await asyncio.sleep(0)

    async def end(self):
        self.writer.close()
        await self.writer.wait_closed()

    async def ended(self):
        await self.writer.wait_closed()

    def event(self):
        return asyncio.Event()

    async def set(self, event):
        event.set()

    async def wait(self, event):
        await event.wait()


def handler(program, settings):
    async def connected(reader, writer):
        stream = Stream(reader, writer, settings)
        try:
            with contextlib.suppress(TooLate, *Stream.GONE):
                await HANDLERS[program](stream)
        finally:
            writer.close()
            with contextlib.suppress(*Stream.GONE):
                await writer.wait_closed()

    return connected


async def listen(connected, bind, settings):
    options = {"backlog": settings.get("backlog", 100), "limit": settings.get("frame_bytes", 65536)}
    if bind.startswith("unix:"):
        return await asyncio.start_unix_server(connected, bind[5:], **options)
    return await asyncio.start_server(connected, *host_and_port(bind), **options)


async def main(program, bind, settings):
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asyncio.current_task().cancel)
    loop.add_signal_handler(signal.SIGUSR1, logging.info, "SIGUSR1")
    if "blocked_seconds" in settings:  # documented under "Developing with asyncio", Debug Mode
        loop.set_debug(True)
        loop.slow_callback_duration = settings["blocked_seconds"]
    server = await listen(handler(program, settings), bind, settings)
    tell(*[sock.getsockname() for sock in server.sockets])
    with contextlib.suppress(asyncio.CancelledError):
        async with server:
            await server.serve_forever()


logging.basicConfig(level=logging.INFO)
program, bind, settings = arguments()
try:
    asyncio.run(main(program, bind, settings))
except OSError as exc:
    sys.exit(f"cannot listen on {bind}: {exc}")

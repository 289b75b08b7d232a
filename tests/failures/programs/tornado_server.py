"""Tornado: a `TCPServer` whose `handle_stream` reads from and writes to an `IOStream`."""

import asyncio
import logging
import signal
import sys
from datetime import timedelta

from tornado import gen
from tornado.iostream import StreamClosedError, UnsatisfiableReadError
from tornado.netutil import bind_unix_socket
from tornado.tcpserver import TCPServer

from tests.failures.programs.handlers import HANDLERS, TooLate, TooLong
from tests.failures.programs.serving import arguments, host_and_port, tell

OUTPUT_HARD_BYTES = 32 << 20  # what a connection may keep; ours has the same number


class Stream:
    GONE = (StreamClosedError,)

    def __init__(self, stream, settings):
        self.stream, self.settings = stream, settings
        self.stream.max_write_buffer_size = OUTPUT_HARD_BYTES  # an argument of IOStream, which TCPServer makes
        self.write = stream.write
        self.closed = asyncio.Event()
        stream.set_close_callback(self.closed.set)  # and so it listens for the end while nothing is being read

    async def receive(self):
        try:
            return await self.stream.read_bytes(65536, partial=True)
        except StreamClosedError:
            return b""  # the end is told in the same way as a reset

    async def send(self, data):
        await self.stream.write(data)

    async def line(self, limit):
        try:
            return (await self.stream.read_until(b"\n", max_bytes=limit + 1))[:-1]
        except UnsatisfiableReadError as exc:
            raise TooLong from exc
        except StreamClosedError as exc:
            if isinstance(exc.real_error, UnsatisfiableReadError):
                raise TooLong from exc
            return None

    async def one_byte(self):
        try:
            return await self.stream.read_bytes(1)
        except StreamClosedError:
            return b""

    async def within(self, seconds, what):
        try:
            return await gen.with_timeout(timedelta(seconds=seconds), what, quiet_exceptions=StreamClosedError)
        except gen.TimeoutError as exc:
            raise TooLate from exc

    async def turn(self):
        await gen.sleep(0)

    async def end(self):
        self.stream.close()

    async def ended(self):
        await self.closed.wait()

    def event(self):
        return asyncio.Event()

    async def set(self, event):
        event.set()

    async def wait(self, event):
        await event.wait()


class Server(TCPServer):
    def __init__(self, program, settings):
        # What may be read ahead; a little more than a line, so that one that is too long is found to be so.
        super().__init__(max_buffer_size=settings.get("frame_bytes", 100 << 20) + 65536)
        self.handler, self.settings = HANDLERS[program], settings

    async def handle_stream(self, stream, address):
        try:
            await self.handler(Stream(stream, self.settings))
        except (StreamClosedError, TooLate):
            pass
        finally:
            stream.close()


async def main(program, bind, settings):
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    loop.add_signal_handler(signal.SIGUSR1, logging.info, "SIGUSR1")
    if "blocked_seconds" in settings:  # its loop is asyncio's
        loop.set_debug(True)
        loop.slow_callback_duration = settings["blocked_seconds"]
    server = Server(program, settings)
    backlog = settings.get("backlog", 128)
    if bind.startswith("unix:"):
        server.add_socket(bind_unix_socket(bind[5:], backlog=backlog))
    else:
        host, port = host_and_port(bind)
        server.listen(port, host, backlog=backlog)
    tell(*[sock.getsockname() for sock in server._sockets.values()])
    await over.wait()
    server.stop()


logging.basicConfig(level=logging.INFO)
program, bind, settings = arguments()
try:
    asyncio.run(main(program, bind, settings))
except OSError as exc:
    sys.exit(f"cannot listen on {bind}: {exc}")

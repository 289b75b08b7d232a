"""asyncio's echo, as its documentation would have it: by a Protocol or by streams, on its own loop or on uvloop's.

asyncio receives into a new block of 256 KiB each time. From 128 KiB on, glibc's malloc asks the kernel for a mapping
and gives it back at the end, which makes three more system calls and doubles what an echo costs; but only until a
mapped block that large has been freed once, for then malloc takes it for something that comes again (mallopt(3),
M_MMAP_THRESHOLD). Most programs free one as they start. A tiny one like this does not, and asyncio would look worse
than it is to most of its users. So it frees one: others are to be beaten at their best.

Usage: python asyncio_echo.py echo|lines protocol|streams asyncio|uvloop
"""

import asyncio
import sys

RECEIVE_BYTES = 65536
BACKLOG = 4096
BLOCK_BYTES = 1 << 20


class Echo(asyncio.Protocol):
    """Whatever comes, back."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()


class Lines(Echo):
    """Line by line: a program answers each for itself."""

    def connection_made(self, transport):
        self.transport = transport
        self.rest = b""

    def data_received(self, data):
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.transport.write(line + b"\n")


async def echo(reader, writer):
    while data := await reader.read(RECEIVE_BYTES):
        writer.write(data)
        await writer.drain()
    writer.close()


async def lines(reader, writer):
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


async def main(program: str, style: str) -> None:
    if style == "protocol":
        factory = {"echo": Echo, "lines": Lines}[program]
        server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0, backlog=BACKLOG)
    else:
        handler = {"echo": echo, "lines": lines}[program]
        server = await asyncio.start_server(handler, "127.0.0.1", 0, backlog=BACKLOG)
    print(f"asyncio_echo: listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", file=sys.stderr)
    await server.serve_forever()


if __name__ == "__main__":
    _, program, style, loop = sys.argv
    if loop == "uvloop":
        import uvloop

        uvloop.install()
    bytearray(BLOCK_BYTES)  # and freed: see above
    asyncio.run(main(program, style))

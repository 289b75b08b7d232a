"""Tornado's echo: a TCPServer and its IOStream. Usage: python tornado_echo.py echo|lines"""

import asyncio
import sys

from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.tcpserver import TCPServer

RECEIVE_BYTES = 65536
BACKLOG = 4096


class Echo(TCPServer):
    """Whatever comes, back; or each line."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self.program = program

    async def handle_stream(self, stream, address):
        stream.set_nodelay(True)
        try:
            while self.program == "lines":
                await stream.write(await stream.read_until(b"\n"))
            while True:
                await stream.write(await stream.read_bytes(RECEIVE_BYTES, partial=True))
        except StreamClosedError:
            pass  # the client is gone


async def main() -> None:
    server = Echo(sys.argv[1])
    sockets = bind_sockets(0, "127.0.0.1", backlog=BACKLOG)
    server.add_sockets(sockets)
    print(f"tornado_echo: listening on 127.0.0.1:{sockets[0].getsockname()[1]}", file=sys.stderr)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())

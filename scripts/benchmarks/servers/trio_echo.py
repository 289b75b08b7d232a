"""trio's echo, on its SocketStream. Usage: python trio_echo.py echo|lines"""

import sys

import trio

RECEIVE_BYTES = 65536
BACKLOG = 4096


async def echo(stream):
    async for data in stream:
        await stream.send_all(data)


async def lines(stream):
    rest = b""  # trio has no lines of its own
    async for data in stream:
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            await stream.send_all(line + b"\n")


async def main() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=BACKLOG)
    print(f"trio_echo: listening on 127.0.0.1:{listener.socket.getsockname()[1]}", file=sys.stderr)
    await trio.serve_listeners({"echo": echo, "lines": lines}[sys.argv[1]], [listener])


if __name__ == "__main__":
    trio.run(main)

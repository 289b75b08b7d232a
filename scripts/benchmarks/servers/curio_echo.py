"""curio's echo, on its sockets and its streams. Usage: python curio_echo.py echo|lines"""

import sys

import curio
from curio import socket

RECEIVE_BYTES = 65536
BACKLOG = 4096


async def echo(client, address):
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    async with client:
        while data := await client.recv(RECEIVE_BYTES):
            await client.sendall(data)


async def lines(client, address):
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    async with client:
        stream = client.as_stream()
        async for line in stream:
            await stream.write(line)


async def main() -> None:
    listener = curio.network.tcp_server_socket("127.0.0.1", 0, backlog=BACKLOG)
    print(f"curio_echo: listening on 127.0.0.1:{listener.getsockname()[1]}", file=sys.stderr)
    await curio.network.run_server(listener, {"echo": echo, "lines": lines}[sys.argv[1]])


if __name__ == "__main__":
    curio.run(main)

"""gevent's echo: a StreamServer and a greenlet for each client. Usage: python gevent_echo.py echo|lines"""

import socket
import sys

from gevent.server import StreamServer

RECEIVE_BYTES = 65536
BACKLOG = 4096


def echo(client, address):
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := client.recv(RECEIVE_BYTES):
        client.sendall(data)


def lines(client, address):
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for line in client.makefile("rb"):
        client.sendall(line)


if __name__ == "__main__":
    server = StreamServer(("127.0.0.1", 0), {"echo": echo, "lines": lines}[sys.argv[1]], backlog=BACKLOG)
    server.start()
    print(f"gevent_echo: listening on 127.0.0.1:{server.server_port}", file=sys.stderr)
    server.serve_forever()

"""An echo with a thread for each client: step 2 of the ladder, at its best, and by lines as well as by blocks.

The ladder's own step leaves TCP as it comes; here nothing waits for Nagle's algorithm, as nothing does elsewhere.

Usage: python threads_echo.py echo|lines
"""

import socket
import sys
import threading

RECEIVE_BYTES = 65536
BACKLOG = 4096


def echo(connection: socket.socket) -> None:
    while data := connection.recv(RECEIVE_BYTES):
        connection.sendall(data)


def lines(connection: socket.socket) -> None:
    with connection.makefile("rb") as file:
        for line in file:
            connection.sendall(line)


def serve(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection:
        try:
            PROGRAMS[sys.argv[1]](connection)
        except OSError:
            pass  # the client is gone


PROGRAMS = {"echo": echo, "lines": lines}

if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    print(f"threads_echo: listening on 127.0.0.1:{listener.getsockname()[1]}", file=sys.stderr)
    while True:
        threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()

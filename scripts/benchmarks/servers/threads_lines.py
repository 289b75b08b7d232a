"""A line echo with a thread for each client: step 2 of the ladder, reading lines in place of blocks.

Usage: python threads_lines.py
"""

import socket
import sys
import threading

BACKLOG = 1024  # that of the ladder


def echo(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection, connection.makefile("rb") as lines:
        try:
            for line in lines:
                connection.sendall(line)
        except OSError:
            pass  # the client is gone


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    print(f"threads_lines: listening on 127.0.0.1:{listener.getsockname()[1]}", file=sys.stderr)
    while True:
        threading.Thread(target=echo, args=[listener.accept()[0]], daemon=True).start()

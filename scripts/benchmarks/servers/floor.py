"""The floor: the least Python that can echo for many connections, on a bare `select.epoll`.

No framework, no classes, no errors, no limits: a `recv`, a dictionary look-up and a `send`. No server in pure Python
can have less for a small message, so what another one takes beyond this is what its services cost. Its sockets block,
so that `send` takes all of a message however full the kernel is; a client that does not read would stop it, and the
load always reads.

Usage: python floor.py echo|lines
"""

import select
import socket
import sys

RECEIVE_BYTES = 65536
BACKLOG = 4096


def serve_echo(listener: socket.socket) -> None:
    epoll, sockets, listening = select.epoll(), {}, listener.fileno()
    epoll.register(listening, select.EPOLLIN)
    while True:
        for fd, _ in epoll.poll(-1, 1024):
            if fd == listening:
                take(listener, epoll, sockets)
            elif data := sockets[fd].recv(RECEIVE_BYTES):
                sockets[fd].send(data)
            else:
                sockets.pop(fd).close()


def serve_lines(listener: socket.socket) -> None:
    epoll, sockets, rests, listening = select.epoll(), {}, {}, listener.fileno()
    epoll.register(listening, select.EPOLLIN)
    while True:
        for fd, _ in epoll.poll(-1, 1024):
            if fd == listening:
                take(listener, epoll, sockets)
            elif data := sockets[fd].recv(RECEIVE_BYTES):
                *lines, rest = (rests.pop(fd, b"") + data).split(b"\n")
                if rest:
                    rests[fd] = rest
                sockets[fd].send(b"".join([line + b"\n" for line in lines]))
            else:
                rests.pop(fd, None)
                sockets.pop(fd).close()


def take(listener: socket.socket, epoll: select.epoll, sockets: dict[int, socket.socket]) -> None:
    connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sockets[connection.fileno()] = connection
    epoll.register(connection, select.EPOLLIN)


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    print(f"floor: listening on 127.0.0.1:{listener.getsockname()[1]}", file=sys.stderr)
    (serve_lines if sys.argv[1] == "lines" else serve_echo)(listener)

"""Step 1 of the ladder: one client after another.

A socket is one end of a conversation between two programs. The program holds a small number for it, a
file descriptor; the kernel holds everything else: the two addresses, the bytes that have come in and
wait to be read, the bytes that are on their way out. An address here is a host and a port. The host
127.0.0.1 is the loopback: what is sent there never leaves this machine.

A server has two kinds of socket. The *listening* one carries no data. It is made in three calls:
`socket` creates it, `bind` gives it an address, `listen` opens it. From then on the kernel answers
connects by itself and puts each finished connection in a queue. `accept` takes the first one out of
that queue, or waits until there is one, and returns it as a socket of the second kind, whose other end
is that one client.

On a connection, `recv` waits until something has come and returns it: a part of a message, or two at
once, for TCP carries bytes and knows no messages. b"" means that the client has finished sending.
`sendall` hands over bytes and waits until the kernel has taken the last of them.

Everything here waits, and a program that waits for one client does nothing for another. While the first
is connected, even if it is silent, the others sit in the queue of unaccepted connections. They cannot
tell: their connect succeeded, what they send is taken, and no answer ever comes.
"""

import argparse
import signal
import socket
import sys


def listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # For a minute or so after a server has ended, the kernel may still remember connections of its
    # (TIME_WAIT, RFC 9293), and would refuse the address to the next server.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(1024)  # connections that may wait in the queue; beyond that, connects are ignored
    return listener


def serve(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            echo(connection)


def echo(connection: socket.socket) -> None:
    try:
        while data := connection.recv(65536):
            connection.sendall(data)
    except OSError:
        pass  # the client is gone without a goodbye; that must not end the server


def main() -> None:
    parser = argparse.ArgumentParser(description="An echo server that serves one client after another.")
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=65432, type=int)
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program, and shows no traceback
    try:
        listener = listen(arguments.host, arguments.port)
    except (OSError, OverflowError) as error:
        sys.exit(f"cannot listen on {arguments.host}:{arguments.port}: {error}")
    host, port = listener.getsockname()
    print(f"1_blocking: listening on {host}:{port}", file=sys.stderr)
    serve(listener)


if __name__ == "__main__":
    main()

"""Step 1 of the ladder: one client after another.

A socket is one end of a connection between two programs. The program holds only a small number for it, the
*file descriptor*. The kernel holds the rest: the two addresses, the bytes that have arrived and wait to be
read, the bytes that still have to go out. An address here is a host and a port. The host 127.0.0.1 is the
loopback: what is sent there never leaves this machine.

A server has two kinds of socket. The *listening* socket carries no data. Three calls make it: `socket`
creates it, `bind` gives it an address, `listen` opens it. From then on the kernel answers connects by itself
and puts each finished connection into a queue. `accept` takes the first connection out of the queue; if the
queue is empty, it waits. It returns a socket of the second kind, which is connected to one client.

On a connection, `recv` waits until bytes have arrived and returns them. They may be half a message or two
messages, for TCP carries bytes and knows no messages. b"" means that the client has finished sending.
`sendall` waits until the kernel has taken all the bytes.

Every one of these calls waits, and a program that waits for one client does nothing for the others. While
the first client is connected, even if it is silent, the others stay in the queue. They cannot tell: their
connect has succeeded, the kernel takes what they send, and no answer comes.
"""

import argparse
import signal
import socket
import sys


def listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # After a server has ended, the kernel remembers its connections for a minute or so (TIME_WAIT,
    # RFC 9293). Without this option it would refuse the same address to the next server.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(1024)  # how many connections may wait in the queue; the kernel ignores further connects
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
        pass  # the connection broke; that must not end the server


def main() -> None:
    parser = argparse.ArgumentParser(description="An echo server that serves one client after another.")
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=65432, type=int)
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program without a traceback
    try:
        listener = listen(arguments.host, arguments.port)
    except (OSError, OverflowError) as error:
        sys.exit(f"cannot listen on {arguments.host}:{arguments.port}: {error}")
    host, port = listener.getsockname()
    print(f"1_blocking: listening on {host}:{port}", file=sys.stderr)
    serve(listener)


if __name__ == "__main__":
    main()

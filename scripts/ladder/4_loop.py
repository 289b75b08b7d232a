"""Step 4 of the ladder: the loop, taken out of the program.

The loop of step 3 cannot be used again: it knows what a listener is and what a client is. A loop need not know. This
one watches descriptors and makes calls: after `add_reader(fd, callback)` it calls `callback` whenever `fd` can be
read, after `add_writer` whenever there is room to write. The program is now four short functions, and the same loop
can run another program. It still has no limits, and the next program must write these functions again.
"""

import argparse
import contextlib
import pathlib
import signal
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # so that it runs from the checkout, not installed

from reactor.loop.loop import Loop  # importable only after the line above

loop = Loop()


def accept(listener: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError, ConnectionAbortedError):  # the client gave up before we accepted it
        connection, _ = listener.accept()
        connection.setblocking(False)
        loop.add_reader(connection, receive, connection, bytearray())


def receive(connection: socket.socket, output: bytearray) -> None:
    try:
        data = connection.recv(65536)
    except BlockingIOError:
        return
    except OSError:
        return close(connection)  # the connection broke: there is nowhere to send to
    output += data  # echo
    if not data:
        loop.remove_reader(connection)
    send(connection, output, ended=not data)


def send(connection: socket.socket, output: bytearray, ended: bool) -> None:
    try:
        del output[: connection.send(output)]
    except BlockingIOError:
        pass  # the kernel's buffer is full; the loop calls us when there is room
    except OSError:
        return close(connection)
    if output:
        loop.add_writer(connection, send, connection, output, ended)
    elif ended:
        close(connection)
    else:
        loop.remove_writer(connection)


def close(connection: socket.socket) -> None:
    loop.remove_reader(connection)
    loop.remove_writer(connection)
    connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="An echo server on the loop alone.")
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=65432, type=int)
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program without a traceback
    try:
        listener = socket.create_server((arguments.host, arguments.port), backlog=1024)
    except (OSError, OverflowError) as error:
        sys.exit(f"cannot listen on {arguments.host}:{arguments.port}: {error}")
    listener.setblocking(False)
    loop.add_reader(listener, accept, listener)
    print(f"4_loop: listening on {arguments.host}:{listener.getsockname()[1]}", file=sys.stderr)
    loop.run()


if __name__ == "__main__":
    main()

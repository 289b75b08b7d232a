"""Step 3 of the ladder: one thread that never waits for one client.

Step 2 needs ten thousand threads for ten thousand clients, though most of them are silent.

The idea is to wait for all clients at once. `select` sleeps until at least one socket can be read or written,
and returns those that can. The sockets are non-blocking: `recv` and `send` do what is possible now, and
return. This turns the program inside out. In step 2, the stack of a thread remembered what its client was
doing. Here the program keeps it by hand: the bytes that still have to go out (`send` takes only what fits
into the kernel's buffer) and whether more will come in. From these two follows what to ask `select` for:
READ until the client has finished sending, WRITE only while there are bytes to send. (An idle socket can
always be written, so the loop would spin.) When the program needs neither, the connection is done.

This server is fast and correct, and still you should not run it, because it has no limits:

- A client that sends and never reads makes its buffer here grow until memory is used up.
- A client that connects and says nothing keeps its place for ever.
- When file descriptors run out, `accept` raises, and that cuts off every client.
- The purpose of the program, echo, is one line in the middle of everything else.

Step 4 takes the loop out of the program. Step 5 adds limits, deadlines and a name for every ending.
"""

import argparse
import signal
import socket
import sys
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector


def serve(listener: socket.socket) -> None:
    listener.setblocking(False)
    selector = DefaultSelector()
    selector.register(listener, EVENT_READ)
    while True:
        for key, events in selector.select():
            if key.fileobj is listener:
                try:
                    connection, _ = listener.accept()
                except (BlockingIOError, ConnectionAbortedError):
                    continue  # the client gave up before we accepted it
                connection.setblocking(False)
                selector.register(connection, EVENT_READ, data=bytearray())
                continue
            connection, output, reading = key.fileobj, key.data, key.events & EVENT_READ
            try:
                if events & EVENT_READ:
                    data = connection.recv(65536)
                    output += data  # echo
                    reading = EVENT_READ if data else 0
                if output:
                    del output[: connection.send(output)]
            except BlockingIOError:
                pass  # the kernel's buffer is full; `select` tells us when there is room
            except OSError:
                output, reading = b"", 0  # the connection broke: there is nowhere to send to
            interest = reading | (EVENT_WRITE if output else 0)
            if not interest:
                selector.unregister(connection)
                connection.close()
            elif interest != key.events:
                selector.modify(connection, interest, data=output)


def main() -> None:
    parser = argparse.ArgumentParser(description="An echo server on one thread.")
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=65432, type=int)
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program without a traceback
    try:
        listener = socket.create_server((arguments.host, arguments.port), backlog=1024)
    except (OSError, OverflowError) as error:
        sys.exit(f"cannot listen on {arguments.host}:{arguments.port}: {error}")
    print(f"3_selectors: listening on {arguments.host}:{listener.getsockname()[1]}", file=sys.stderr)
    serve(listener)


if __name__ == "__main__":
    main()

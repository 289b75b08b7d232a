"""Step 3 of the ladder: one thread that never waits for one client.

What step 2 could not do: hold ten thousand clients, most of them silent, without ten thousand threads.

The insight is to wait for all of them at once. `select` sleeps until any of the sockets can be read or
written, and says which. The sockets are non-blocking: `recv` and `send` do what can be done now, and
return. That turns the program inside out. What each client is in the middle of, which a thread's stack
remembered, is now kept by hand: the bytes that still have to go out (`send` takes what fits into the
kernel's buffer, often less than all) and whether more will come in. What to ask `select` for follows:
READ until the client has finished sending, WRITE only while there are bytes to send, since an idle
socket can always be written and the loop would spin. When neither is left, the connection is done.

It is fast and it is right, and still nobody should run it, for it says yes to everything:

- A client that sends and never reads makes its buffer here grow without end, until memory is gone.
- A client that connects and says nothing keeps its place for ever.
- Out of file descriptors, `accept` raises, and everybody is cut off.
- What the program is for, echo, is one line in the middle of how it is done.

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
                    continue  # the client gave up before we came to it
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
                pass  # the kernel's buffer is full; `select` will tell when there is room
            except OSError:
                output, reading = b"", 0  # the client is gone without a goodbye: nobody to send to
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
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program, and shows no traceback
    try:
        listener = socket.create_server((arguments.host, arguments.port), backlog=1024)
    except (OSError, OverflowError) as error:
        sys.exit(f"cannot listen on {arguments.host}:{arguments.port}: {error}")
    print(f"3_selectors: listening on {arguments.host}:{listener.getsockname()[1]}", file=sys.stderr)
    serve(listener)


if __name__ == "__main__":
    main()

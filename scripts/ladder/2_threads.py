"""Step 2 of the ladder: a thread for each client.

Step 1 could not answer a second client while the first was still connected. Its only thread waited in
`recv`, so nothing called `accept`.

The simplest answer is more threads. The main thread only accepts. Each connection gets its own thread, which
runs the same `echo` as before. That thread may wait: the kernel runs the other threads meanwhile, and Python
releases its global lock around every call that waits. If a client does not read, `sendall` now holds up the
thread of that client alone, and no output piles up. For a few dozen clients this is the right program, and
the easiest to read.

Every client has its cost, even a client that says nothing:

- A stack: 8 MiB of address space on Linux, of which a Python thread touches some tens of KiB.
- A place in the kernel's scheduler. Each message wakes one thread, which must get the global lock before it
  can run a single line. The more threads are awake, the longer they wait for the lock.
- A lock around everything that two clients share. An echo server shares nothing; a chat server shares
  nearly everything. A forgotten lock shows up once a month.
- No control. No part of the program can say "at most so many" or "close the silent one". If threads or file
  descriptors run out, an exception ends the main thread, and nothing accepts any more.
"""

import argparse
import signal
import socket
import sys
import threading


def serve(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=echo, args=[connection]).start()


def echo(connection: socket.socket) -> None:
    with connection:
        try:
            while data := connection.recv(65536):
                connection.sendall(data)
        except OSError:
            pass  # the connection broke; that must not end the thread with a traceback


def main() -> None:
    parser = argparse.ArgumentParser(description="An echo server with a thread for each client.")
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=65432, type=int)
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program and all its threads
    try:
        # `socket`, SO_REUSEADDR, `bind` and `listen` of step 1, in one call of the standard library.
        listener = socket.create_server((arguments.host, arguments.port), backlog=1024)
    except (OSError, OverflowError) as error:
        sys.exit(f"cannot listen on {arguments.host}:{arguments.port}: {error}")
    host, port = listener.getsockname()
    print(f"2_threads: listening on {host}:{port}", file=sys.stderr)
    serve(listener)


if __name__ == "__main__":
    main()

"""Step 2 of the ladder: a thread for each client.

What step 1 could not do: answer a second client while the first is still connected. Its one thread was
asleep in `recv`, and nobody else was there to call `accept`.

The shortest way out is more threads. The main thread does nothing but accept; every connection gets a
thread of its own, which runs the same `echo` as before, line for line. It may wait as long as it likes,
because the kernel runs the other threads meanwhile, and Python lets go of its global lock around every
call that waits. `sendall` on a full socket now holds up only the client that does not read, and that is
just: nothing piles up here. For a few dozen clients this is the right program, and the easiest to read.

What it costs grows with every client, even one that says nothing:

- A stack, 8 MiB of address space on Linux, of which a Python thread really touches some tens of KiB.
- A place in the kernel's scheduler. Each message wakes one thread, which then has to get hold of the
  global lock before it can run a single line; the more threads are awake, the longer they queue for it.
- A lock around everything that two clients share. Echo shares nothing; a chat server shares it all, and
  a lock that was forgotten shows up once a month.
- Nobody is in charge. There is no place to say "at most so many" or "close the one that is silent"; and
  where threads or file descriptors run out, the exception ends the main thread and nobody accepts.
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
            pass  # the client is gone without a goodbye; that must not end its thread with a traceback


def main() -> None:
    parser = argparse.ArgumentParser(description="An echo server with a thread for each client.")
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=65432, type=int)
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program, and all its threads
    try:
        # Step 1's socket, SO_REUSEADDR, bind and listen, as the standard library offers them in one call.
        listener = socket.create_server((arguments.host, arguments.port), backlog=1024)
    except (OSError, OverflowError) as error:
        sys.exit(f"cannot listen on {arguments.host}:{arguments.port}: {error}")
    host, port = listener.getsockname()
    print(f"2_threads: listening on {host}:{port}", file=sys.stderr)
    serve(listener)


if __name__ == "__main__":
    main()

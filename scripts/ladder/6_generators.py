"""Step 6 of the ladder: functions that stop in the middle, and a loop that resumes them.

In steps 3 to 5 the program is a set of callbacks. A callback must not wait, so the program keeps by hand what each
client was doing: `output` and `ended` in step 4. In step 2 the stack of a thread remembered it, and the echo was two
lines. But a thread for each client is costly.

A *generator* remembers it without a thread. `yield` stops the function and gives a value to its caller. An object of a
few hundred bytes keeps the variables and the place. `send` resumes the function there. So a function that must wait
yields what it waits for, here a socket and an event. The loop tells the selector, and resumes the function when the
selector reports the socket.

This is where `await` comes from. `await f()` runs `f` and passes each value that `f` yields up to the caller. So the
`yield` in `ready` stops `ready`, `recv` and `echo` together, and its value comes out of `task.send` in `resume`. Each
function in between has to be an `async def`. (`yield from`, of PEP 380, does the same. PEP 492 made it `await`.)

`serve` and `echo` are those of step 2, with an `await` at each call that waits. If a client does not read, `sendall`
stops the task of that client alone, and no output piles up. A task stops only at an `await`, so most of the locks of
step 2 are not needed.

This scheduler is complete, and still you should not run it:

- Tasks wait for sockets only. There are no deadlines: a client that says nothing keeps its place for ever.
- Nothing can cancel a task. The loop can only resume it.
- A task that raises ends the loop, and that cuts off every client. `accept` raises if file descriptors run out.
- Nothing limits the number of tasks, and nothing waits for their end.
"""

import argparse
import contextlib
import signal
import socket
import sys
import types
from collections.abc import Coroutine, Generator
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector

selector = DefaultSelector()


def resume(task: Coroutine) -> None:
    """Begin a task, or let it go on, until it waits for something; tell the selector for what."""
    with contextlib.suppress(StopIteration):  # the task has returned
        sock, event = task.send(None)
        selector.register(sock, event, data=task)


def run() -> None:
    while True:
        for key, _ in selector.select():
            selector.unregister(key.fileobj)  # what the task waited for has come
            resume(key.data)


@types.coroutine  # so that `await` takes it; else `await` takes only what `async def` made
def ready(sock: socket.socket, event: int) -> Generator:
    yield sock, event


async def accept(listener: socket.socket) -> socket.socket:
    while True:
        await ready(listener, EVENT_READ)
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):  # the client gave up before we accepted it
            connection, _ = listener.accept()
            connection.setblocking(False)
            return connection


async def recv(connection: socket.socket, size: int) -> bytes:
    while True:
        await ready(connection, EVENT_READ)  # even if bytes are here: the others must have their turn
        with contextlib.suppress(BlockingIOError):
            return connection.recv(size)


async def sendall(connection: socket.socket, data: bytes) -> None:
    while data:
        try:
            data = data[connection.send(data) :]
        except BlockingIOError:  # the kernel's buffer is full
            await ready(connection, EVENT_WRITE)


async def serve(listener: socket.socket) -> None:
    while True:
        connection = await accept(listener)
        resume(echo(connection))


async def echo(connection: socket.socket) -> None:
    with connection:
        try:
            while data := await recv(connection, 65536):
                await sendall(connection, data)
        except OSError:
            pass  # the connection broke; that must not end the loop


def main() -> None:
    parser = argparse.ArgumentParser(description="An echo server of coroutines, on one thread.")
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=65432, type=int)
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program without a traceback
    try:
        listener = socket.create_server((arguments.host, arguments.port), backlog=1024)
    except (OSError, OverflowError) as error:
        sys.exit(f"cannot listen on {arguments.host}:{arguments.port}: {error}")
    listener.setblocking(False)
    resume(serve(listener))
    print(f"6_generators: listening on {arguments.host}:{listener.getsockname()[1]}", file=sys.stderr)
    run()


if __name__ == "__main__":
    main()

"""The programs as served by reactor to coroutines: an `async def` for each, called with the `Stream` of a connection.

Most of them are those of `handlers`, for which `Spelt` says how a stream is spelt here. Its limits and deadlines come
from `Limits`, so nothing is done by hand. The rest are written here, since the other servers cannot do them.
"""

import contextlib
import time

from reactor import Cancelled, Event, FrameTooLarge, TaskGroup, open_stream, run_in_thread, sleep
from tests.failures.programs.drain_protocols import LATER_SECONDS
from tests.failures.programs.handlers import HANDLERS, TooLong
from tests.failures.programs.protocols import ByRequest


class Spelt:
    """A stream of `handlers`."""

    GONE = (ConnectionError,)
    settings = {}

    def __init__(self, stream):
        self.stream, self.loop = stream, stream.connection.reactor
        self.receive, self.send = stream.read, stream.write
        self.write, self.writelines = stream.connection.write, stream.connection.writelines

    async def line(self, _limit):
        """The limit is `frame_bytes`."""
        try:
            line = await self.stream.read_until()
        except FrameTooLarge as exc:
            raise TooLong from exc
        return line[:-1] if line.endswith(b"\n") else None

    async def turn(self):
        await sleep(0)

    async def end(self):
        self.stream.close()

    async def ended(self):
        await Event().wait()  # a handler is cancelled when its connection is lost

    def event(self):
        return Event()

    async def set(self, event):
        event.set()

    async def wait(self, event):
        await event.wait()

    async def arm_and_cancel(self):
        self.loop.call_later(3600.0, int).cancel()


def spelt(program):
    async def serve(stream):
        await program(Spelt(stream))

    return serve


globals().update({program.__name__: spelt(program) for program in HANDLERS.values()})

async def lines(stream):
    """What is raised behind the answer is the reason of the end."""
    try:
        while (line := await stream.read_until()).endswith(b"\n"):
            await stream.write(line)
    except FrameTooLarge:
        await stream.write(b"too long\n")
        raise


async def raise_by_request(stream):
    """For the end of a connection: it raises while it cleans up, when the connection is lost."""
    try:
        await HANDLERS["raise"](Spelt(stream))
    except ByRequest as exc:
        if exc.args == ("l",):
            stream.close()
            with contextlib.suppress(Cancelled):
                await Event().wait()
        raise


inside = {}


async def chat(stream):
    inside[stream] = None
    try:
        await stream.write(b"hello\n")
        async for line in stream.lines():
            for other in inside:
                if other is not stream:
                    other.connection.write(line + b"\n")
    finally:
        del inside[stream]


async def later(stream):
    """While a task waits for input, a drain takes the handler for idle. So the answers say that they are to come."""
    async with TaskGroup() as group:
        while data := await stream.read():
            for letter in data:
                stream.connection.hold()
                group.start_soon(answer, stream, letter)
        group.cancel()


async def answer(stream, letter):
    if letter == ord("n"):
        await Event().wait()
    elif letter == ord("t"):
        await run_in_thread(time.sleep, LATER_SECONDS)
    else:
        await sleep(LATER_SECONDS)
    await stream.write(b"later\n")
    stream.connection.release()


async def feeds(stream):
    async with TaskGroup() as group:
        async for line in stream.lines():
            group.start_soon(feed, line.decode())


async def feed(address):
    while True:
        try:
            async with await open_stream(address) as stream:
                await stream.write(b"subscribe")
                while await stream.read():
                    pass
        except ConnectionResetError:
            pass

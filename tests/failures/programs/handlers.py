"""The programs of `adapter.PROGRAMS` for servers that have no callbacks: one handler for each connection, read from
top to bottom.

Such a server calls a coroutine (asyncio's streams, Tornado, trio, curio) or a function on a thread of some kind
(gevent, socketserver) for each connection. What differs between them is the spelling, so the programs are here once,
in terms of a stream, and each server's script says in a class how a stream is spelt there, by the calls that its own
documentation recommends:

    receive()           the next bytes, b"" at the end of the stream
    send(data)          returns when the server lets the handler go on
    line(limit)         the next line without its newline, None at the end; TooLong
    one_byte()          one byte, b"" at the end
    within(s, what)     `what`, awaited for no more than so many seconds; TooLate
    ended()             wait until the connection is gone, if there is a way to be told
    event(), set(event), wait(event)       one handler waits for another one
    arm_and_cancel()    a timer of an hour
    loop                for calls from threads, and after a fork: `call_soon`, `call_soon_threadsafe`
    write(data), writelines(chunks), turn()     only where one can write without waiting

Functions on threads run the same coroutines: nothing that they await ever suspends, so `run` needs one step.

A handler that returns or raises has its connection closed. GONE is what a stream raises when the peer has left.
"""

import threading
import types

from .loop_protocols import TIMERS, WAKES, CallCounter, Fork, sleep_for_a_second
from .protocols import CHUNK, FLOOD_BYTES, MIB, REPLY, ByRequest, say

PIECE = 64 * 1024
TAG_BYTES = 16


class TooLong(Exception):
    """A line is longer than its limit."""


class TooLate(Exception):
    """A deadline has passed."""


def run(coroutine):
    """Run a coroutine that never has to wait for anything but blocking calls."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("it waits for somebody else")


async def send_within(stream, name, data):
    """Send, with the deadline that is named in the settings, if there is one."""
    seconds = stream.settings.get(name)
    if seconds:
        await stream.within(seconds, stream.send(data))
    else:
        await stream.send(data)


async def echo(stream):
    while data := await stream.receive():
        await stream.send(data)


async def dots(stream):
    while data := await stream.receive():
        if newlines := data.count(b"\n"):
            await stream.send(b"." * newlines)


async def lines(stream):
    try:
        while (line := await next_line(stream)) is not None:
            await stream.send(line + b"\n")
    except TooLong:
        await stream.send(b"too long\n")


async def next_line(stream):
    """The next line; if there is a deadline for one, it begins with the line's first byte."""
    limit, seconds = stream.settings.get("frame_bytes", 65536), stream.settings.get("frame_seconds")
    if not seconds:
        return await stream.line(limit)
    first = await stream.one_byte()
    if first in (b"", b"\n"):
        return b"" if first else None
    rest = await stream.within(seconds, stream.line(limit))
    return None if rest is None else first + rest


# Those that answer at length.


async def reply_10mb(stream):
    while data := await stream.receive():
        for _ in range(data.count(b"\n")):
            await stream.send(REPLY)


async def reply_at_end(stream):
    while await stream.receive():
        pass
    await stream.send(REPLY)


async def reply_and_close(stream):
    if await stream.receive():
        await send_within(stream, "close_seconds", REPLY)


async def answer_early(stream):
    if await stream.receive():
        await stream.send(b"no thanks\n")


async def polite_reply(stream):
    if await stream.receive():
        for start in range(0, len(REPLY), PIECE):
            await stream.send(REPLY[start : start + PIECE])


async def polite_flood(stream):
    """Every send is a pause, so it is said at the first that it comes to."""
    if await stream.receive():
        say("pause_writing")
        for _ in range(0, FLOOD_BYTES, len(CHUNK)):
            await send_within(stream, "write_stall_seconds", bytes(bytearray(CHUNK)))


async def flood(stream):
    """Here too each write would be a pause, if it were awaited."""
    if await stream.receive():
        say("pause_writing")
        for _ in range(0, FLOOD_BYTES, len(CHUNK)):
            stream.write(bytes(bytearray(CHUNK)))  # each its own memory, which nobody can share
            await stream.turn()


async def flood_lines(stream):
    if await stream.receive():
        say("pause_writing")
        for _ in range(0, FLOOD_BYTES, len(CHUNK)):
            chunk = bytes(bytearray(CHUNK))
            stream.writelines([chunk[:1000], chunk[1000:]])
            await stream.turn()


async def sized(stream):
    while (line := await stream.line(65536)) is not None:
        for start in range(0, int(line), MIB):
            stream.write(REPLY[: min(MIB, int(line) - start)])


# Those that write what or when one should not.


async def write_nothing(stream):
    if await stream.receive():
        await stream.send(b"")
        if hasattr(stream, "writelines"):
            stream.writelines([b"", b""])
            stream.writelines([])
        await stream.send(b"")


kept = []


async def write_after_end(stream):
    while data := await stream.receive():
        for letter in data.decode():
            if letter == "k":
                kept[:] = [stream]
                await stream.send(b"k")
            elif letter == "w":
                await stream.send(write_to_kept())


def write_to_kept():
    try:
        for _ in range(10_000):
            kept[0].write(b"anyone there?\n")
    except Exception as exc:
        return f"{type(exc).__name__}\n".encode()
    return b"w"


async def never_done(stream):
    while await stream.receive():
        pass
    say("eof")
    try:
        await stream.ended()
    finally:
        say("lost")


async def tags(stream):
    tag = b""
    while len(tag) < TAG_BYTES:
        data = await stream.receive()
        if not data:
            return
        tag += data
    await stream.send(tag)
    await stream.end()
    for _ in range(2):
        try:
            await stream.send(tag)
        except stream.GONE:
            pass  # as it should be
        await stream.end()


next_raises_in = ""


def take(letter):
    global next_raises_in
    if next_raises_in == letter:
        next_raises_in = ""
        raise ByRequest(letter)


async def raise_by_request(stream):
    """A handler has no callbacks, but the same places: its first line, between two reads, while it sends, its end."""
    global next_raises_in
    take("f")
    take("m")
    at_end = ""
    try:
        while data := await stream.receive():
            for letter in data.decode():
                next_raises_in = letter if letter in "mf" else next_raises_in  # before the answer: threads overtake
            await stream.send(data)
            for letter in data.decode():
                at_end += letter if letter in "el" else ""
                if letter == "r":
                    await stream.send(REPLY)
                if letter in "dpr":
                    raise ByRequest(letter)
        if "e" in at_end:
            raise ByRequest("e")
    finally:
        if "l" in at_end:
            raise ByRequest("l")


# Those that trouble the loop.


async def block(stream):
    while data := await stream.receive():
        for _ in range(data.count(b"b")):
            sleep_for_a_second()
        await stream.send(data)


async def fork(stream):
    forking = Fork()
    forking.connection = types.SimpleNamespace(reactor=stream.loop, write=None)
    while data := await stream.receive():
        for letter in data:
            if letter == ord("f"):
                await stream.send(forking.fork())
            elif letter == ord("x"):
                forking.end_children()
                await stream.send(b"x")
            elif letter == ord("c"):
                return
            else:
                await stream.send(bytes([letter]))


paused = []


async def pause(stream):
    while data := await stream.receive():
        if b"r" in data:
            while paused:
                await stream.set(paused.pop())
        await stream.send(data)
        if b"p" in data:
            event = stream.event()
            paused.append(event)
            await stream.wait(event)


async def wake(stream):
    while data := await stream.receive():
        for number in data:
            await wake_often(stream)
            await stream.send(bytes([number]))


async def wake_often(stream):
    left, event, loop = WAKES, stream.event(), stream.loop

    def called():
        nonlocal left
        left -= 1
        if not left:
            event.set()

    def call():
        for _ in range(WAKES):
            loop.call_soon_threadsafe(called)

    threading.Thread(target=call).start()
    await stream.wait(event)


async def timers(stream):
    calls = CallCounter()
    while data := await stream.receive():
        for letter in data:
            if letter == ord("c"):
                calls.start()
            for _ in range(TIMERS):
                await stream.arm_and_cancel()
            await stream.send(b"%d\n" % calls.take())


HANDLERS = {
    **{handler.__name__: handler for handler in (echo, dots, lines, reply_10mb, reply_at_end, reply_and_close)},
    **{handler.__name__: handler for handler in (answer_early, polite_reply, polite_flood, flood, flood_lines, sized)},
    **{handler.__name__: handler for handler in (write_nothing, write_after_end, never_done, tags, block, fork)},
    **{handler.__name__: handler for handler in (pause, wake, timers)},
    "raise": raise_by_request,
}

"""The programs of `adapter.PROGRAMS` as protocols in the words of PEP 3156: they run on reactor and on asyncio alike.

What a program has to say apart from its connections goes to standard error, in lines that begin with `program:`.
"""

import json
import math
import os
import random
import sys
import threading
import time
import warnings

KIB, MIB = 1 << 10, 1 << 20
REPLY = random.Random(1).randbytes(10 * MIB)  # no two places alike, and the same for whoever asks
CHUNK = random.Random(2).randbytes(64 * KIB)
FLOOD_BYTES = 1 << 30
WAKES = 10_000
WAKING_THREADS = 8
TIMERS = 20_000


def say(*words):
    print("program:", *words, file=sys.stderr, flush=True)


def loop_of(connection):
    """The loop that a connection lives on. The only thing here that PEP 3156 leaves open."""
    reactor = getattr(connection, "reactor", None)
    if reactor is not None:
        return reactor
    import asyncio

    return asyncio.get_running_loop()


class Program:
    """Keeps the connection, and does nothing."""

    def connection_made(self, connection):
        self.connection = connection
        self.lost = False

    def data_received(self, data):
        pass

    def eof_received(self):
        pass

    def connection_lost(self, exc):
        self.lost = True

    def pause_writing(self):
        pass

    def resume_writing(self):
        pass


class Echo(Program):
    def data_received(self, data):
        self.connection.write(data)

    def pause_writing(self):
        self.connection.pause_reading()

    def resume_writing(self):
        self.connection.resume_reading()


class Dots(Program):
    def data_received(self, data):
        if newlines := data.count(b"\n"):
            self.connection.write(b"." * newlines)


class Lines(Program):
    """As everyone writes it first: nothing is bounded."""

    rest = b""

    def data_received(self, data):
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.connection.write(line + b"\n")


class Chat(Program):
    inside = set()
    rest = b""

    def connection_made(self, connection):
        super().connection_made(connection)
        self.inside.add(self)
        connection.write(b"hello\n")

    def data_received(self, data):
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            for other in self.inside - {self}:
                other.connection.write(line + b"\n")

    def connection_lost(self, exc):
        self.inside.discard(self)


# Those that answer at length.


class Reply10mb(Program):
    def data_received(self, data):
        for _ in range(data.count(b"\n")):
            self.connection.write(REPLY)


class ReplyAtEnd(Program):
    def eof_received(self):
        self.connection.write(REPLY)
        self.connection.close()
        return True


class ReplyAndClose(Program):
    def data_received(self, data):
        self.connection.write(REPLY)
        self.connection.close()


class AnswerEarly(Program):
    def data_received(self, data):
        self.connection.write(b"no thanks\n")
        self.connection.close()


class Flood(Program):
    written = -1

    def data_received(self, data):
        if self.written < 0:
            self.written = 0
            self.turn()

    def turn(self):
        if self.written < FLOOD_BYTES and not self.connection.is_closing():
            self.write(bytes(bytearray(CHUNK)))  # each its own memory, which nobody can share
            self.written += len(CHUNK)
            loop_of(self.connection).call_soon(self.turn)

    def write(self, chunk):
        self.connection.write(chunk)

    def pause_writing(self):
        say("pause_writing")


class FloodLines(Flood):
    def write(self, chunk):
        self.connection.writelines([chunk[:1000], chunk[1000:]])


class PoliteFlood(Program):
    written = FLOOD_BYTES
    paused = False

    def data_received(self, data):
        self.written = 0
        self.fill()

    def fill(self):
        while self.written < FLOOD_BYTES and not self.paused and not self.connection.is_closing():
            self.written += len(CHUNK)
            self.connection.write(bytes(bytearray(CHUNK)))

    def pause_writing(self):
        say("pause_writing")
        self.paused = True

    def resume_writing(self):
        self.paused = False
        self.fill()


# Those that write what or when one should not.


class WriteNothing(Program):
    def data_received(self, data):
        self.connection.write(b"")
        self.connection.writelines([b"", b""])
        self.connection.writelines([])
        self.connection.write(b"")
        self.connection.close()


class WriteAfterEnd(Program):
    kept = None

    def data_received(self, data):
        for letter in data.decode():
            if letter == "k":
                WriteAfterEnd.kept = self.connection
                self.connection.write(b"k")
            elif letter == "w":
                self.connection.write(self.write_to_kept())

    def write_to_kept(self):
        try:
            for _ in range(10_000):
                self.kept.write(b"anyone there?\n")
        except Exception as exc:
            return f"{type(exc).__name__}\n".encode()
        return b"w"


class ByRequest(Exception):
    """What `Raise` raises."""


class Raise(Echo):
    next_raises_in = ""

    def __init__(self):
        self.raises_in = self.take("f")

    @classmethod
    def take(cls, letter):
        if cls.next_raises_in == letter:
            cls.next_raises_in = ""
            raise ByRequest(letter)
        return ""

    def connection_made(self, connection):
        super().connection_made(connection)
        self.take("m")

    def data_received(self, data):
        self.connection.write(data)
        for letter in data.decode():
            if letter in "mf":
                Raise.next_raises_in = letter
            elif letter in "elpr":
                self.raises_in += letter
            elif letter == "d":
                raise ByRequest(letter)
        if "p" in self.raises_in or "r" in self.raises_in:
            self.connection.write(REPLY)

    def eof_received(self):
        self.maybe("e")

    def connection_lost(self, exc):
        say("lost")
        self.maybe("l")

    def pause_writing(self):
        self.maybe("p")

    def resume_writing(self):
        self.maybe("r")

    def maybe(self, letter):
        if letter in self.raises_in:
            self.raises_in = self.raises_in.replace(letter, "")
            raise ByRequest(letter)


# Those that trouble the loop.


class Block(Echo):
    def data_received(self, data):
        for _ in range(data.count(b"b")):
            sleep_for_a_second()
        self.connection.write(data)


def sleep_for_a_second():
    time.sleep(1.0)


class Fork(Echo):
    children = []

    def data_received(self, data):
        for letter in data:
            if letter == ord("f"):
                self.connection.write(self.fork())
            elif letter == ord("x"):
                self.end_children()
                self.connection.write(b"x")
            elif letter == ord("c"):
                self.connection.close()
            else:
                self.connection.write(bytes([letter]))

    def fork(self):
        reader, writer = os.pipe()
        stay, let_go = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python 3.12 warns of a fork beside threads: this child needs none
            pid = os.fork()
        if pid == 0:
            os.close(let_go)
            os.write(writer, self.use_the_loop())
            os.read(stay, 1)
            os._exit(0)
        os.close(writer)
        os.close(stay)
        self.children.append((pid, let_go))
        met = os.read(reader, 1000)
        os.close(reader)
        return met

    def use_the_loop(self):
        """In the child, which has the parent's descriptors, or copies of them."""
        try:
            loop_of(self.connection).call_soon(self.connection.write, b"from the child")
        except Exception as exc:
            return f"raised {type(exc).__name__}\n".encode()
        return b"nothing\n"

    @classmethod
    def end_children(cls):
        while cls.children:
            pid, let_go = cls.children.pop()
            os.close(let_go)
            os.waitpid(pid, 0)


class Pause(Echo):
    paused = set()

    def data_received(self, data):
        if b"r" in data:
            while self.paused:
                self.paused.pop().resume_reading()
        self.connection.write(data)
        if b"p" in data:
            self.connection.pause_reading()
            self.paused.add(self.connection)

    def connection_lost(self, exc):
        self.paused.discard(self.connection)


class Wake(Program):
    def data_received(self, data):
        loop = loop_of(self.connection)
        for letter in data:
            self.left = WAKES
            patient = letter == ord("w")
            for _ in range(WAKING_THREADS):
                threading.Thread(target=self.wake, args=[loop, bytes([letter]), patient]).start()

    def wake(self, loop, answer, patient):
        called = threading.Event()
        for _ in range(WAKES // WAKING_THREADS):
            loop.call_soon_threadsafe(self.call, answer, called)
            if patient:
                called.wait()
                called.clear()

    def call(self, answer, called):
        called.set()
        self.left -= 1
        if not self.left:
            self.connection.write(answer)


class Timers(Program):
    def connection_made(self, connection):
        super().connection_made(connection)
        self.before = time.thread_time_ns()

    def data_received(self, data):
        loop = loop_of(self.connection)
        for _ in data:
            for timer in [loop.call_later(3600.0, self.never) for _ in range(TIMERS)]:
                timer.cancel()
            now = time.thread_time_ns()
            self.connection.write(b"%d\n" % (now - self.before))
            self.before = now

    def never(self):
        raise AssertionError("this timer was cancelled")


class TimerOrder(Program):
    def data_received(self, data):
        self.loop = loop_of(self.connection)
        self.called, self.early = [], []
        report = {"nan": self.refusal(math.nan), "called": self.called, "early": self.early}
        start = self.loop.time()
        endless = self.loop.call_later(math.inf, self.call, "infinity", math.inf)
        for number in range(20):  # equal times, armed between others
            self.arm(start + 0.05, f"tie {number}")
            self.arm(start + 0.02 + 0.001 * (number % 3), f"mixed {number % 3}")
        self.arm(start - 1.0, "past")
        self.loop.call_later(-5.0, self.call, "negative", start - 5.0)
        self.loop.call_later(0.1, self.report, report, endless)

    def refusal(self, seconds):
        try:
            self.loop.call_later(seconds, self.call, "nan", -math.inf).cancel()
        except Exception as exc:
            return type(exc).__name__
        return "taken"

    def arm(self, when, name):
        self.loop.call_at(when, self.call, name, when)

    def call(self, name, when):
        self.called.append(name)
        if self.loop.time() < when:
            self.early.append(name)

    def report(self, report, endless):
        endless.cancel()
        self.connection.write(json.dumps(report).encode() + b"\n")

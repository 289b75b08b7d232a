"""More of the programs of `adapter.PROGRAMS`: those that trouble the loop, by blocking it, forking it, waking it."""

import cProfile
import json
import math
import os
import threading
import time
import warnings

from .protocols import Echo, Program, loop_of, say

WAKES = 10_000
WAKING_THREADS = 8
TIMERS = 20_000


class Block(Echo):
    def data_received(self, data):
        for _ in range(data.count(b"b")):
            sleep_for_a_second()
        self.connection.write(data)


def sleep_for_a_second():
    say("blocks")
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
        loop = loop_of(self.connection)  # in the child asyncio would say that it has none, and take calls all the same
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python 3.12 warns of a fork beside threads: this child needs none
            pid = os.fork()
        if pid == 0:
            os.close(let_go)
            os.write(writer, self.use_in_child(loop))
            os.read(stay, 1)
            os._exit(0)
        os.close(writer)
        os.close(stay)
        self.children.append((pid, let_go))
        met = os.read(reader, 1000)
        os.close(reader)
        return met

    def use_in_child(self, loop):
        """Use the parent's loop; the child has its descriptors, or copies of them."""
        try:
            loop.call_soon(self.connection.write, b"from the child")
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


class CallCounter:
    """The number of functions that this thread calls, Python's and built-in ones: work, told without a clock."""

    def __init__(self):
        self.profile = None

    def start(self):
        """Count from now on, which makes each call several times dearer."""
        if self.profile is None:
            self.profile = cProfile.Profile()
            self.profile.enable()  # once: since Python 3.12 a second time is refused

    def take(self):
        """How many since the last time; 0 before the start."""
        if self.profile is None:
            return 0
        count = sum(entry.callcount for entry in self.profile.getstats())
        self.profile.clear()
        return count


class Timers(Program):
    def connection_made(self, connection):
        super().connection_made(connection)
        self.calls = CallCounter()

    def data_received(self, data):
        loop = loop_of(self.connection)
        for letter in data:
            if letter == ord("c"):
                self.calls.start()
            for timer in [loop.call_later(3600.0, self.never) for _ in range(TIMERS)]:
                timer.cancel()
            self.connection.write(b"%d\n" % self.calls.take())

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

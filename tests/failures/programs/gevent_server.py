"""gevent: a `StreamServer` with a `Pool`, whose size is how many connections it takes; a greenlet for each, on a
blocking socket and its `makefile`.
"""

import contextlib
import logging
import os
import signal
import sys

import gevent
from gevent import event, socket
from gevent.pool import Pool
from gevent.server import StreamServer

from tests.failures.programs.handlers import HANDLERS, TooLate, TooLong, run
from tests.failures.programs.serving import address, arguments, tell

POOL_SIZE = 10_000  # as in its documentation


class Loop:
    """Calls from threads, and the call that a child could make."""

    def __init__(self):
        self.call_soon_threadsafe = gevent.get_hub().loop.run_callback_threadsafe
        self.call_soon = gevent.get_hub().loop.run_callback


class Stream:
    GONE = (OSError, ValueError)

    def __init__(self, sock, settings):
        self.socket, self.settings, self.lines = sock, settings, sock.makefile("rb")
        self.loop = Loop()

    async def receive(self):
        return self.socket.recv(65536)

    async def send(self, data):
        self.socket.sendall(data)

    async def line(self, limit):
        line = self.lines.readline(limit + 1)
        if len(line) > limit and not line.endswith(b"\n"):
            raise TooLong
        return line[:-1] if line.endswith(b"\n") else None

    async def one_byte(self):
        return self.lines.read(1)

    async def within(self, seconds, what):
        try:
            with gevent.Timeout(seconds):
                return await what
        except gevent.Timeout as exc:
            raise TooLate from exc

    async def end(self):
        self.lines.close()
        self.socket.close()

    async def ended(self):
        event.Event().wait()  # nothing tells: only its next send would find out

    def event(self):
        return event.Event()

    async def set(self, flag):
        flag.set()

    async def wait(self, flag):
        flag.wait()

    async def arm_and_cancel(self):
        gevent.Timeout.start_new(3600).close()


def handler(program, settings):
    def connected(sock, _address):
        stream = Stream(sock, settings)
        with contextlib.suppress(TooLate, *Stream.GONE), stream.lines:
            run(HANDLERS[program](stream))

    return connected


def unix_listener(path, backlog):
    """As in its example of a server on a UNIX socket, which removes whatever is at the path."""
    if os.path.exists(path):
        os.remove(path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(backlog)
    return listener


def serve(program, bind, settings):
    backlog = settings.get("backlog", 256)
    listener = unix_listener(bind[5:], backlog) if bind.startswith("unix:") else address(bind)
    pool = Pool(settings.get("max_connections", POOL_SIZE))
    options = {} if bind.startswith("unix:") else {"backlog": backlog}
    server = StreamServer(listener, handler(program, settings), spawn=pool, **options)
    server.start()
    over = event.Event()
    watches = [gevent.signal_handler(number, over.set) for number in (signal.SIGTERM, signal.SIGINT)]
    gevent.signal_handler(signal.SIGUSR1, logging.info, "SIGUSR1")
    tell(server.socket.getsockname())
    over.wait()
    for watch in watches:
        watch.cancel()  # who is told again ends at once
    server.stop(settings.get("drain_seconds"))  # for the idle ones too; None is its own, a second


logging.basicConfig(level=logging.INFO)
program, bind, settings = arguments()
if "blocked_seconds" in settings and "GEVENT_MONITOR_THREAD_ENABLE" not in os.environ:
    # documented under gevent.config: a thread that looks after the hub; it is read when gevent is imported
    monitor = {"GEVENT_MONITOR_THREAD_ENABLE": "1", "GEVENT_MAX_BLOCKING_TIME": str(settings["blocked_seconds"])}
    os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | monitor)
try:
    serve(program, bind, settings)
except OSError as exc:
    sys.exit(f"cannot listen on {bind}: {exc}")

"""The standard library's `ThreadingTCPServer`: a thread for each connection, a `StreamRequestHandler` in it."""

import contextlib
import logging
import signal
import socket
import socketserver
import sys
import threading

from tests.failures.programs.handlers import HANDLERS, TooLong, run
from tests.failures.programs.serving import address, arguments, tell


class Stream:
    GONE = (OSError, ValueError)

    def __init__(self, handler, settings):
        self.socket, self.lines, self.settings = handler.connection, handler.rfile, settings

    async def receive(self):
        return self.lines.read1(65536)

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
        """A socket's timeout is for each call, which a trickle pushes back. So this is by hand."""
        timer = threading.Timer(seconds, self.cut)
        timer.start()
        try:
            return await what
        finally:
            timer.cancel()

    def cut(self):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            self.socket.shutdown(socket.SHUT_RDWR)

    async def end(self):
        self.lines.close()
        self.socket.close()

    async def ended(self):
        threading.Event().wait()  # nothing tells: only its next send would find out

    def event(self):
        return threading.Event()

    async def set(self, event):
        event.set()

    async def wait(self, event):
        event.wait()


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        try:
            run(HANDLERS[program](Stream(self, settings)))
        except Stream.GONE:
            pass


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True  # else it waits at its end for whoever is idle


class UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


def serve(bind, settings):
    kind = UnixServer if bind.startswith("unix:") else Server
    kind.request_queue_size = settings.get("backlog", kind.request_queue_size)
    with kind(address(bind), Handler) as server:
        # `shutdown` waits for `serve_forever`, which a signal interrupts on this very thread
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
        signal.signal(signal.SIGUSR1, lambda *_: None)
        tell(server.server_address)
        server.serve_forever()


logging.basicConfig(level=logging.INFO)
program, bind, settings = arguments()
try:
    serve(bind, settings)
except OSError as exc:
    sys.exit(f"cannot listen on {bind}: {exc}")

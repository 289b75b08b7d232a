"""curio: `tcp_server`'s two halves, `tcp_server_socket` and `run_server`, so that the port is known before they run;
a task for each connection. It reads lines by hand: `readline` of `as_stream` has no limit.
"""

import logging
import signal
import sys
import threading

import curio
from curio.network import run_server

from tests.failures.programs.by_hand import LinesByHand
from tests.failures.programs.handlers import HANDLERS, TooLate
from tests.failures.programs.serving import address, arguments, tell


class Stream(LinesByHand):
    GONE = (OSError, ValueError)  # a closed socket's descriptor is -1, which its selector refuses by ValueError

    def __init__(self, client, settings):
        super().__init__()
        self.client, self.settings = client, settings

    async def receive(self):
        return await self.client.recv(65536)

    async def send(self, data):
        await self.client.sendall(data)

    async def within(self, seconds, what):
        try:
            return await curio.timeout_after(seconds, what)
        except curio.TaskTimeout as exc:
            raise TooLate from exc

    async def end(self):
        await self.client.close()

    async def ended(self):
        await curio.Event().wait()  # nothing tells: only its next send would find out

    def event(self):
        return curio.Event()

    async def set(self, event):
        await event.set()

    async def wait(self, event):
        await event.wait()

    async def arm_and_cancel(self):
        async with curio.timeout_after(3600):
            pass


def handler(program, settings):
    async def connected(client, _address):
        try:
            await HANDLERS[program](Stream(client, settings))
        except (TooLate, *Stream.GONE):
            pass

    return connected


def listen(bind, settings):
    backlog = settings.get("backlog", 100)
    if bind.startswith("unix:"):
        return curio.unix_server_socket(address(bind), backlog=backlog)
    return curio.tcp_server_socket(*address(bind), backlog=backlog)


async def main(program, bind, settings):
    over = curio.UniversalEvent()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=over.set).start())
    signal.signal(signal.SIGUSR1, lambda *_: logging.info("SIGUSR1"))
    try:
        listener = listen(bind, settings)
    except OSError as exc:
        sys.exit(f"cannot listen on {bind}: {exc}")
    serving = await curio.spawn(run_server, listener, handler(program, settings))
    tell(listener.getsockname())
    await over.wait()
    await serving.cancel()


logging.basicConfig(level=logging.INFO)
curio.run(main, *arguments())

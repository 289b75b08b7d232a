"""trio: a handler for each `SocketStream`, run by `serve_listeners`. As in the echo server of its tutorial, a handler
catches what goes wrong in it, since what it lets out ends the whole program.
"""

import logging
import signal
import sys

import trio

from tests.failures.programs.by_hand import LinesByHand
from tests.failures.programs.handlers import HANDLERS, TooLate
from tests.failures.programs.serving import arguments, host_and_port, tell


class Loop:
    """Calls from threads, and the only call that a child could make."""

    def __init__(self):
        self.call_soon_threadsafe = trio.lowlevel.current_trio_token().run_sync_soon

    def call_soon(self, function, *arguments):
        trio.lowlevel.current_trio_token().run_sync_soon(function, *arguments)


class Stream(LinesByHand):
    GONE = (trio.BrokenResourceError, trio.ClosedResourceError)

    def __init__(self, stream, settings):
        super().__init__()
        self.stream, self.settings = stream, settings
        self.loop = Loop()

    async def receive(self):
        return await self.stream.receive_some()

    async def send(self, data):
        await self.stream.send_all(data)

    async def within(self, seconds, what):
        try:
            with trio.fail_after(seconds):
                return await what
        except trio.TooSlowError as exc:
            raise TooLate from exc

    async def end(self):
        await self.stream.aclose()

    async def ended(self):
        await trio.sleep_forever()  # nothing tells: only its next send would find out

    def event(self):
        return trio.Event()

    async def set(self, event):
        event.set()

    async def wait(self, event):
        await event.wait()

    async def arm_and_cancel(self):
        with trio.move_on_after(3600):
            pass


def handler(program, settings):
    async def connected(stream):
        try:
            async with stream:
                await HANDLERS[program](Stream(stream, settings))
        except (TooLate, *Stream.GONE):
            pass
        except Exception:
            logging.exception("a handler crashed")

    return connected


async def listen(bind, settings):
    host, port = host_and_port(bind)
    return await trio.open_tcp_listeners(port, host=host, backlog=settings.get("backlog"))


async def main(program, bind, settings):
    listeners = await listen(bind, settings)
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGUSR1) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, handler(program, settings), listeners)
            tell(*[listener.socket.getsockname() for listener in listeners])
            async for number in signals:
                if number != signal.SIGUSR1:
                    nursery.cancel_scope.cancel()


logging.basicConfig(level=logging.INFO)
program, bind, settings = arguments()
try:
    trio.run(main, program, bind, settings)
except OSError as exc:
    sys.exit(f"cannot listen on {bind}: {exc}")

"""`asyncio_server.py CLASS BIND SETTINGS`: a program of `protocols` on asyncio, as asyncio's documentation serves one.

SIGTERM and SIGINT leave the block that closes the server. Of the settings those are heeded that asyncio has: the
backlog, the marks of a transport's output, and how long a callback may block before its debug mode says so; and those
that its documentation has a program see to itself (`by_hand`).
"""

import asyncio
import contextlib
import json
import logging
import signal
import sys

from tests.failures.programs import by_hand, end_protocols
from tests.failures.programs.serving import program_class


def factory(program, settings):
    marks = {"high": settings.get("output_high_bytes"), "low": settings.get("output_low_bytes")}

    def make():
        protocol = program()
        made = protocol.connection_made

        def connection_made(transport):
            transport.set_write_buffer_limits(**marks)
            made(transport)

        protocol.connection_made = connection_made
        return protocol

    return make


async def listen(make, bind, settings):
    loop = asyncio.get_running_loop()
    backlog = settings.get("backlog", 100)
    if bind.startswith("unix:"):
        return await loop.create_unix_server(make, bind[5:], backlog=backlog)
    host, _, port = bind.rpartition(":")
    return await loop.create_server(make, host.strip("[]") or None, int(port), backlog=backlog)


def describe(name):
    if isinstance(name, str):
        return f"unix:{name}"
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"


async def main(class_name, bind, settings):
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    loop.add_signal_handler(signal.SIGINT, task.cancel)
    loop.add_signal_handler(signal.SIGUSR1, logging.info, "SIGUSR1")
    if "blocked_seconds" in settings:  # documented under "Developing with asyncio", Debug Mode
        loop.set_debug(True)
        loop.slow_callback_duration = settings["blocked_seconds"]
    by_hand.SETTINGS.update(settings)
    program = getattr(by_hand, class_name, None) or program_class(class_name)
    server = await listen(factory(program, settings), bind, settings)
    end_protocols.HOST.update(stop_listening=server.close, close_loop=task.cancel)
    addresses = ", ".join(describe(sock.getsockname()) for sock in server.sockets)
    print("listening on", addresses, file=sys.stderr, flush=True)
    with contextlib.suppress(asyncio.CancelledError):
        async with server:
            await loop.create_future()  # not serve_forever, which ends when a program closes the listener


def serve(run):
    """Run it as the command line says, by `asyncio.run` or by another loop's function of that kind."""
    logging.basicConfig(level=logging.INFO)
    class_name, bind, settings = sys.argv[1:]
    try:
        run(main(class_name, bind, json.loads(settings)))
    except OSError as exc:
        sys.exit(f"cannot listen on {bind}: {exc}")


if __name__ == "__main__":
    serve(asyncio.run)

"""Pass each connection on to another server, and bring back what that answers: `reactor serve proxy --to ADDRESS`.

A proxy stands between two speeds. If it reads from the fast side as fast as it can, it keeps what the slow side has not
taken, without a bound. And each side may end in its own way, which the other side must see as it was: an end of one
direction, while the other goes on, or a reset.

Here each direction is one task (`pass_on`). `await sink.write(data)` waits while the slow side has more
than its high mark to take. Meanwhile nothing is read from the fast side, so TCP holds that peer back. If a task meets
an error, its group cancels the other one, and both sides are reset. A peer must not take half a reply for the whole.

For each client a connection is opened, within `connect_seconds`. None is kept for the next client, because the proxy
does not know the protocol: it cannot say whether a connection is as good as new. If none can be made, the client sees
a reset, and the log says why.

The cost: two descriptors for each client, and at most some 400 KiB for each direction whose receiver does not read. A
drain waits for all clients, also for silent ones, because the proxy cannot know whether an answer is to come.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Awaitable, Callable

from ..coroutines.groups import TaskGroup
from ..coroutines.opening import open_stream
from ..coroutines.stream import Stream
from ..loop.reports import report
from ..net.addresses import parse

logger = logging.getLogger("reactor.apps")


def proxy_to(address: str) -> Callable[[Stream], Awaitable[None]]:
    """The handler that passes its connection on to `address`. ValueError if `address` is not one to connect to."""
    if parse(address).fd is not None:
        raise ValueError(f"{address} is a socket to listen on; nothing can be connected to it")

    async def proxy(client: Stream) -> None:
        try:
            upstream = await open_stream(address)
        except OSError as exc:
            reason = exc.strerror or str(exc)
            report(logger, logging.WARNING, "reset %s: cannot connect to %s: %s", client.connection, address, reason)
            client.abort()
            return
        try:
            async with upstream, TaskGroup() as group:
                group.start_soon(pass_on, client, upstream)
                group.start_soon(pass_on, upstream, client)
        except* ConnectionError:  # the upstream was lost; if the client is lost, this task is cancelled
            client.abort()

    return proxy


async def pass_on(source: Stream, sink: Stream) -> None:
    """Write to `sink` what comes from `source`, up to its end, and then end that direction."""
    source.connection.hold()  # a drain waits until it is closed, and resets it if that takes too long
    while data := await source.read():
        await sink.write(data)
    sink.write_eof()


def add_options(parser: argparse._ActionsContainer) -> None:
    """The options of this program alone."""
    parser.add_argument("--to", metavar="ADDRESS", help="where to connect to for each client")


def make_program(options: argparse.Namespace) -> Callable[[Stream], Awaitable[None]]:
    """The program for these options. ValueError if there is no `--to` or it is wrong."""
    if options.to is None:
        raise ValueError("proxy needs --to ADDRESS, where to connect to for each client")
    try:
        return proxy_to(options.to)
    except ValueError as exc:
        raise ValueError(f"argument --to: {exc}") from None

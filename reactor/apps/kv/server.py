"""The server: one coroutine for each client, and one store for all of them.

A coroutine reads what came, answers every whole request in it, and writes all replies at once. So a client that sends
100 requests in one segment (pipelining) costs one `recv` and one `send`.

Three things would let one client hold up or fill the server, and each has its bound here. Many requests in one segment:
after ten milliseconds the others have their turn. (A number of requests would not do, since one may take a thousand
times longer than another.) Large replies to small requests: replies are written as soon as 64 KiB are there, and while
the client does not read them, no more of its requests are answered (back-pressure). A request that never ends: what is
kept of it counts as input of the connection, and has a deadline (`frame_seconds`).

Nothing is saved: when the process ends, the data is gone.
"""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable

from ...connections.connection import Connection
from ...connections.reactor import Reactor
from ...connections.states import NEVER
from ...coroutines.stream import Stream
from ...coroutines.waiting import sleep
from .bounds import Bounds
from .client import Client, Database
from .commands import answer
from .replies import error
from .resp import Parser, ProtocolError

SWEEP_SECONDS = 0.1  # between two looks for expired keys; Redis has hz 10
TURN_SECONDS = 0.01  # that one client's requests may take, until the others have their turn
PIECE_BYTES = 65_536  # of replies that are written at once


class KeyValues:
    """A program for `Server`: `Server(KeyValues(max_bytes=1 << 30).serve)`. Its arguments are the fields of `Bounds`.

    ValueError for a bound below 1, TypeError for one that there is not.
    """

    def __init__(self, **bounds: int) -> None:
        self.database = Database(Bounds(**bounds))
        self._swept_by: Reactor | None = None  # whose timer will look for expired keys; None: no key expires

    async def serve(self, stream: Stream) -> None:
        """Serve one client until it leaves."""
        connection = stream.connection
        self.database.counters = connection.reactor.counters
        client = Client(self.database, connection.write)
        parser = Parser(self.database.bounds)
        try:
            while not client.leaving and (data := await stream.read()):
                parser.feed(data)
                answered = await self._answer_all(stream, client, parser)
                _note_unfinished(connection, parser.waiting(), answered)
        finally:
            client.leave()

    async def _answer_all(self, stream: Stream, client: Client, parser: Parser) -> int:
        """Answer every whole request that is here; how many there were."""
        reactor, store = stream.connection.reactor, self.database.store
        replies: list[bytes] = []
        answered = size = 0
        store.now = reactor.time()
        turn_ends = store.now + TURN_SECONDS
        try:
            while not client.leaving and (request := parser.next_request()) is not None:
                reply = answer(client, request)
                replies.append(reply)
                answered += 1
                size += len(reply)
                if size >= PIECE_BYTES or reactor.time() >= turn_ends:
                    await stream.write(b"".join(replies))
                    replies, size = [], 0
                    await sleep(0)
                    store.now = reactor.time()
                    turn_ends = store.now + TURN_SECONDS
        except ProtocolError as exc:
            replies.append(error(f"ERR Protocol error: {exc}"))
            client.leaving = True
        if replies:
            await stream.write(b"".join(replies))
        if store.deadlines() and self._swept_by is not reactor:
            self._sweep(reactor)
        return answered

    def _sweep(self, reactor: Reactor) -> None:
        """Remove expired keys, and look again later, for as long as any key expires."""
        store = self.database.store
        store.now = reactor.time()
        more = store.sweep(self.database.bounds.sweep_keys)
        self._swept_by = reactor if store.deadlines() else None
        if store.deadlines():
            reactor.call_later(0 if more else SWEEP_SECONDS, self._sweep, reactor)


def _note_unfinished(connection: Connection, kept: int, answered: int) -> None:
    """Count the `kept` bytes of an unfinished request as input that is kept, and give its rest a deadline.

    The deadline is `frame_seconds` after the first of these bytes, whatever comes meanwhile: a peer that sends a byte
    now and then would never be late otherwise (R3).
    """
    if not kept:
        since = NEVER
    elif answered or connection._frame_since == NEVER:
        since = connection.reactor.timers.now
    else:
        since = connection._frame_since
    if kept or connection._kept_bytes:
        connection._keep_input(kept, since)


# From the command line.


def add_options(parser: argparse._ActionsContainer) -> None:
    """The options of this program alone."""
    meaning = f"of keys and values, at most ({Bounds().max_bytes:,})"
    parser.add_argument("--max-bytes", metavar="N", type=_whole, default=Bounds().max_bytes, help=meaning)


def _whole(text: str) -> int:
    try:
        return int(text.replace(",", ""))
    except ValueError:
        raise argparse.ArgumentTypeError(f"a whole number of bytes is needed, not {text!r}") from None


def make_program(options: argparse.Namespace) -> Callable[[Stream], Awaitable[None]]:
    """The program for these options. ValueError for a bound below 1."""
    return KeyValues(max_bytes=options.max_bytes).serve

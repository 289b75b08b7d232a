"""Transactions: MULTI queues commands, EXEC runs them with nothing in between.

One thread runs every command from beginning to end, so EXEC is atomic without any lock: it is a loop. WATCH makes it
conditional. A client watches keys, reads them, and computes; if one of them changes before its EXEC, EXEC does nothing,
and the client begins again (optimistic locking). A command that fails inside EXEC does not undo the others (as in
Redis).
"""

from __future__ import annotations

from .client import Client
from .replies import NIL_ARRAY, OK, CommandError, array, error
from .table import OUT_OF_MEMORY, RUN, Command, command


@command(in_transaction=RUN)
def multi(client: Client) -> bytes:
    if client.queue is not None:
        raise CommandError("ERR MULTI calls can not be nested")
    client.queue = []
    client.spoiled = False
    return OK


@command(in_transaction=RUN)
def exec_(client: Client) -> bytes:
    """The replies of all commands. If they are too long together, those past the bound are errors in its place."""
    if client.queue is None:
        raise CommandError("ERR EXEC without MULTI")
    for key in client.watched:
        client.store.get(key)  # one whose time is over has changed
    queue, spoiled, stale = client.queue, client.spoiled, client.watched_changed
    client.end_transaction()
    if spoiled:
        raise CommandError("EXECABORT Transaction discarded because of previous errors.")
    if stale:
        return NIL_ARRAY
    if client.store.is_full() and any(found.adds for found, _ in queue):
        raise CommandError(OUT_OF_MEMORY)
    most = client.bounds.reply_bytes
    replies = []
    for found, request in queue:
        reply = _run(client, found, request)
        most -= len(reply)
        replies.append(reply if most >= 0 else error(f"ERR the reply is longer than {client.bounds.reply_bytes} bytes"))
    return array(replies)


def _run(client: Client, found: Command, request: list[bytes]) -> bytes:
    try:
        return found.function(client, *request[1:])
    except CommandError as exc:
        return error(str(exc))


@command(in_transaction=RUN)
def discard(client: Client) -> bytes:
    if client.queue is None:
        raise CommandError("ERR DISCARD without MULTI")
    client.end_transaction()
    return OK


@command(adds=True, in_transaction=RUN)
def watch(client: Client, key: bytes, *keys: bytes) -> bytes:
    if client.queue is not None:
        raise CommandError("ERR WATCH inside MULTI is not allowed")
    new = {key, *keys} - client.watched
    if len(client.watched) + len(new) > client.bounds.subscriptions:
        raise CommandError(f"ERR a client watches at most {client.bounds.subscriptions} keys")
    client.watch(new)
    return OK


@command()
def unwatch(client: Client) -> bytes:
    client.unwatch()
    return OK

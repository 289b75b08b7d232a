"""Commands on sets: members without an order."""

from __future__ import annotations

from .client import Client
from .lists import parse_count
from .replies import EMPTY, NIL, CommandError, bulk, bulks, number
from .store import MEMBER_BYTES
from .table import command


def _size(members: set[bytes] | list[bytes]) -> int:
    return sum(map(len, members)) + MEMBER_BYTES * len(members)


@command(adds=True)
def sadd(client: Client, key: bytes, member: bytes, *members: bytes) -> bytes:
    target: set[bytes] = client.store.fetch_or_add(key, set)
    new = {member, *members} - target
    if new:
        target |= new
        client.store.changed(key, _size(new))
    return number(len(new))


@command()
def srem(client: Client, key: bytes, member: bytes, *members: bytes) -> bytes:
    target: set[bytes] = client.store.fetch(key, set) or set()
    gone = {member, *members} & target
    if gone:
        target -= gone
        client.store.changed(key, -_size(gone))
    return number(len(gone))


@command()
def spop(client: Client, key: bytes, count: bytes | None = None) -> bytes:
    """Remove members, whichever come first: Redis draws them, and here nobody can rely on which they are either."""
    most = 1 if count is None else parse_count(count)
    target: set[bytes] = client.store.fetch(key, set) or set()
    members = [target.pop() for _ in range(min(most, len(target)))]
    if not members:
        return NIL if count is None else EMPTY
    try:
        reply = bulk(members[0]) if count is None else bulks(members, client.bounds.reply_bytes)
    except CommandError:
        target.update(members)
        raise
    client.store.changed(key, -_size(members))
    return reply


@command()
def scard(client: Client, key: bytes) -> bytes:
    return number(len(client.store.fetch(key, set) or ()))


@command()
def sismember(client: Client, key: bytes, member: bytes) -> bytes:
    return number(member in (client.store.fetch(key, set) or ()))


@command()
def smembers(client: Client, key: bytes) -> bytes:
    return bulks(client.store.fetch(key, set) or (), client.bounds.reply_bytes)

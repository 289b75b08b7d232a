"""Commands on hashes: fields with values, below one key."""

from __future__ import annotations

from .client import Client
from .replies import EMPTY, NIL, bulk, bulks, bulks_or_nils, number
from .store import PAIR_BYTES
from .table import command, wrong_number


def _fetch(client: Client, key: bytes) -> dict[bytes, bytes]:
    return client.store.fetch(key, dict) or {}


@command(adds=True)
def hset(client: Client, key: bytes, field: bytes, value: bytes, *more: bytes) -> bytes:
    if len(more) % 2:
        raise wrong_number("hset")
    target: dict[bytes, bytes] = client.store.fetch_or_add(key, dict)
    before, grown = len(target), 0
    for each, its_value in ((field, value), *zip(more[::2], more[1::2], strict=True)):
        old = target.get(each)
        grown += len(its_value) - len(old) if old is not None else PAIR_BYTES + len(each) + len(its_value)
        target[each] = its_value
    client.store.changed(key, grown)
    return number(len(target) - before)


@command()
def hget(client: Client, key: bytes, field: bytes) -> bytes:
    value = _fetch(client, key).get(field)
    return NIL if value is None else bulk(value)


@command()
def hmget(client: Client, key: bytes, field: bytes, *fields: bytes) -> bytes:
    return bulks_or_nils(map(_fetch(client, key).get, (field, *fields)), client.bounds.reply_bytes)


@command()
def hgetall(client: Client, key: bytes) -> bytes:
    pairs = _fetch(client, key).items()
    return bulks([part for pair in pairs for part in pair], client.bounds.reply_bytes) if pairs else EMPTY


@command()
def hlen(client: Client, key: bytes) -> bytes:
    return number(len(_fetch(client, key)))


@command()
def hexists(client: Client, key: bytes, field: bytes) -> bytes:
    return number(field in _fetch(client, key))


@command()
def hdel(client: Client, key: bytes, field: bytes, *fields: bytes) -> bytes:
    target = _fetch(client, key)
    gone = [(each, target.pop(each)) for each in (field, *fields) if each in target]
    if gone:
        client.store.changed(key, -sum(PAIR_BYTES + len(each) + len(value) for each, value in gone))
    return number(len(gone))

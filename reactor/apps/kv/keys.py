"""Commands on keys of any type: whether they are there, how long they live, and all of them."""

from __future__ import annotations

from collections import deque

from .client import Client
from .patterns import compile_pattern
from .replies import OK, ONE, SYNTAX, ZERO, CommandError, bulks, number
from .sorted_set import SortedSet
from .strings import MOST_MILLISECONDS
from .table import command, parse_integer

TYPES = {bytes: "string", bytearray: "string", deque: "list", set: "set", dict: "hash", SortedSet: "zset"}


@command()
def del_(client: Client, key: bytes, *keys: bytes) -> bytes:
    return number(sum(map(client.store.delete, (key, *keys))))


@command()
def unlink(client: Client, key: bytes, *keys: bytes) -> bytes:
    return del_(client, key, *keys)


@command()
def exists(client: Client, key: bytes, *keys: bytes) -> bytes:
    return number(sum(client.store.get(each) is not None for each in (key, *keys)))


@command()
def type_(client: Client, key: bytes) -> bytes:
    return b"+%b\r\n" % TYPES.get(type(client.store.get(key)), "none").encode()


@command()
def expire(client: Client, key: bytes, seconds: bytes) -> bytes:
    return _expire(client, key, seconds, 1000, "expire")


@command()
def pexpire(client: Client, key: bytes, milliseconds: bytes) -> bytes:
    return _expire(client, key, milliseconds, 1, "pexpire")


def _expire(client: Client, key: bytes, text: bytes, unit_milliseconds: int, name: str) -> bytes:
    """A time that is over removes the key, as in Redis."""
    count = parse_integer(text)
    if abs(count) > MOST_MILLISECONDS // unit_milliseconds:
        raise CommandError(f"ERR invalid expire time in '{name}' command")
    store = client.store
    if store.get(key) is None:
        return ZERO
    store.expire_at(key, store.now + count * unit_milliseconds / 1000)
    return ONE


@command()
def ttl(client: Client, key: bytes) -> bytes:
    left = _milliseconds_left(client, key)
    return number(left if left < 0 else (left + 500) // 1000)


@command()
def pttl(client: Client, key: bytes) -> bytes:
    return number(_milliseconds_left(client, key))


def _milliseconds_left(client: Client, key: bytes) -> int:
    """How long `key` lives; -1 without a deadline, -2 without a value."""
    if client.store.get(key) is None:
        return -2
    when = client.store.deadline(key)
    return -1 if when is None else round((when - client.store.now) * 1000)


@command()
def persist(client: Client, key: bytes) -> bytes:
    if client.store.get(key) is None or client.store.deadline(key) is None:
        return ZERO
    client.store.expire_at(key, None)
    return ONE


@command()
def keys(client: Client, pattern: bytes) -> bytes:
    """It looks at every key, and all other clients wait meanwhile, as in Redis."""
    store = client.store
    found = list(store)
    if pattern != b"*":
        check_pattern(client, pattern)
        matches = compile_pattern(pattern).fullmatch
        found = [key for key in found if matches(key)]
    if store.deadlines():
        found = [key for key in found if store.get(key) is not None]
    return bulks(found, client.bounds.reply_bytes)


def check_pattern(client: Client, pattern: bytes) -> None:
    """CommandError if `pattern` is too long."""
    if len(pattern) > client.bounds.pattern_bytes:
        raise CommandError(f"ERR a pattern has at most {client.bounds.pattern_bytes} bytes")


@command()
def dbsize(client: Client) -> bytes:
    return number(len(client.store))


@command()
def flushall(client: Client, *how: bytes) -> bytes:
    """SYNC or ASYNC may be asked for; it is SYNC, because to free memory on another thread helps nobody here."""
    if len(how) > 1 or (how and how[0].upper() not in (b"SYNC", b"ASYNC")):
        raise CommandError(SYNTAX)
    client.store.clear()
    return OK


@command()
def flushdb(client: Client, *how: bytes) -> bytes:
    return flushall(client, *how)

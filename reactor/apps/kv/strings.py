"""Commands on strings: values that are bytes, and perhaps the digits of a number."""

from __future__ import annotations

from .client import Client
from .replies import NIL, NO_INTEGER, OK, ONE, SYNTAX, ZERO, CommandError, bulk, bulks_or_nils, number
from .resp import LEAST, MOST, whole_number
from .store import STRING
from .table import command, parse_integer, wrong_number

MOST_MILLISECONDS = MOST // 1000  # that a key may live: as many as Redis allows seconds


def fetch(client: Client, key: bytes) -> bytes | bytearray | None:
    """The string at `key`, or None. CommandError if something else is there."""
    return client.store.fetch(key, STRING)  # type: ignore[arg-type]  # a tuple, as isinstance takes it


def deadline_in(client: Client, text: bytes, unit_milliseconds: int, name: str) -> float:
    """When a key expires that lives for as long as `text` says. CommandError if that is no time from 1 up."""
    count = parse_integer(text)
    if not 0 < count <= MOST_MILLISECONDS // unit_milliseconds:
        raise CommandError(f"ERR invalid expire time in '{name}' command")
    return client.store.now + count * unit_milliseconds / 1000


@command()
def get(client: Client, key: bytes) -> bytes:
    value = fetch(client, key)
    return NIL if value is None else bulk(value)


@command(adds=True)
def set_(client: Client, key: bytes, value: bytes, *options: bytes) -> bytes:
    """Options: NX (only a new key), XX (only an old one), GET (reply with the old value), EX, PX, KEEPTTL."""
    store = client.store
    if not options:
        store.put(key, value)
        return OK
    flags, when = _set_options(client, options)
    before = fetch(client, key) if b"GET" in flags else None
    present = store.get(key) is not None
    refused = present if b"NX" in flags else not present if b"XX" in flags else False
    if not refused:
        kept = store.deadline(key) if present and b"KEEPTTL" in flags else when
        store.put(key, value)
        store.expire_at(key, kept)
    if b"GET" in flags:
        return NIL if before is None else bulk(before)
    return NIL if refused else OK


def _set_options(client: Client, options: tuple[bytes, ...]) -> tuple[set[bytes], float | None]:
    flags: set[bytes] = set()
    when = None
    words = iter(options)
    for word in words:
        flag = word.upper()
        if flag in (b"EX", b"PX"):
            text = next(words, None)
            if text is None or flags & {b"EX", b"PX", b"KEEPTTL"}:
                raise CommandError(SYNTAX)
            when = deadline_in(client, text, 1000 if flag == b"EX" else 1, "set")
        elif flag not in (b"NX", b"XX", b"GET", b"KEEPTTL"):
            raise CommandError(SYNTAX)
        flags.add(flag)
    if {b"NX", b"XX"} <= flags or (b"KEEPTTL" in flags and when is not None):
        raise CommandError(SYNTAX)
    return flags, when


@command(adds=True)
def setnx(client: Client, key: bytes, value: bytes) -> bytes:
    if client.store.get(key) is not None:
        return ZERO
    client.store.put(key, value)
    return ONE


@command(adds=True)
def setex(client: Client, key: bytes, seconds: bytes, value: bytes) -> bytes:
    when = deadline_in(client, seconds, 1000, "setex")
    client.store.put(key, value)
    client.store.expire_at(key, when)
    return OK


@command(adds=True)
def psetex(client: Client, key: bytes, milliseconds: bytes, value: bytes) -> bytes:
    when = deadline_in(client, milliseconds, 1, "psetex")
    client.store.put(key, value)
    client.store.expire_at(key, when)
    return OK


@command(adds=True)
def getset(client: Client, key: bytes, value: bytes) -> bytes:
    before = get(client, key)
    client.store.put(key, value)
    return before


@command()
def getdel(client: Client, key: bytes) -> bytes:
    before = get(client, key)
    client.store.delete(key)
    return before


@command()
def mget(client: Client, key: bytes, *keys: bytes) -> bytes:
    values = [client.store.get(each) for each in (key, *keys)]
    strings = [value if isinstance(value, STRING) else None for value in values]
    return bulks_or_nils(strings, client.bounds.reply_bytes)


@command(adds=True)
def mset(client: Client, key: bytes, value: bytes, *more: bytes) -> bytes:
    if len(more) % 2:
        raise wrong_number("mset")
    put = client.store.put
    put(key, value)
    for each, its_value in zip(more[::2], more[1::2], strict=True):
        put(each, its_value)
    return OK


@command()
def strlen(client: Client, key: bytes) -> bytes:
    return number(len(fetch(client, key) or b""))


@command(adds=True)
def append(client: Client, key: bytes, value: bytes) -> bytes:
    before = fetch(client, key)
    if before is None:
        client.store.put(key, value)
        return number(len(value))
    if len(before) + len(value) > client.bounds.argument_bytes:
        raise CommandError("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
    string = before if isinstance(before, bytearray) else bytearray(before)
    string += value
    client.store.replace(key, string, len(value))
    return number(len(string))


@command(adds=True)
def incr(client: Client, key: bytes) -> bytes:
    return _add(client, key, 1)


@command(adds=True)
def decr(client: Client, key: bytes) -> bytes:
    return _add(client, key, -1)


@command(adds=True)
def incrby(client: Client, key: bytes, increment: bytes) -> bytes:
    return _add(client, key, parse_integer(increment))


@command(adds=True)
def decrby(client: Client, key: bytes, decrement: bytes) -> bytes:
    amount = parse_integer(decrement)
    if amount == LEAST:
        raise CommandError("ERR decrement would overflow")
    return _add(client, key, -amount)


def _add(client: Client, key: bytes, amount: int) -> bytes:
    text = fetch(client, key)
    before = 0 if text is None else whole_number(bytes(text))
    if before is None:
        raise CommandError(NO_INTEGER)
    total = before + amount
    if not LEAST <= total <= MOST:
        raise CommandError("ERR increment or decrement would overflow")
    value = b"%d" % total
    if text is None:
        client.store.put(key, value)
    else:
        client.store.replace(key, value, len(value) - len(text))
    return b":%b\r\n" % value

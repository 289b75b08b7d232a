"""Commands on lists. A list is a `deque`: both ends are near, and the middle is far, as in Redis."""

from __future__ import annotations

from collections import deque
from itertools import islice

from .client import Client
from .replies import EMPTY, NIL, NIL_ARRAY, OK, CommandError, bulk, bulks, number
from .store import ITEM_BYTES
from .table import command, parse_integer

POSITIVE = "ERR value is out of range, must be positive"


def parse_count(text: bytes) -> int:
    """The number of elements that `text` asks for. CommandError if it is none from 0 up."""
    try:
        count = parse_integer(text)
    except CommandError:
        count = -1
    if count < 0:
        raise CommandError(POSITIVE)
    return count


def span(start: int, stop: int, size: int) -> tuple[int, int]:
    """Where the range from `start` to `stop` begins, and how many elements it has, in a list of `size`.

    Both ends belong to it. Negative numbers count from the end of the list.
    """
    start = max(start + size if start < 0 else start, 0)
    stop = min(stop + size if stop < 0 else stop, size - 1)
    return start, max(stop - start + 1, 0)


@command(adds=True)
def lpush(client: Client, key: bytes, item: bytes, *items: bytes) -> bytes:
    target = client.store.fetch_or_add(key, deque)
    target.appendleft(item)
    target.extendleft(items)
    client.store.changed(key, _size(item, *items))
    return number(len(target))


@command(adds=True)
def rpush(client: Client, key: bytes, item: bytes, *items: bytes) -> bytes:
    target = client.store.fetch_or_add(key, deque)
    target.append(item)
    target.extend(items)
    client.store.changed(key, _size(item, *items))
    return number(len(target))


def _size(*items: bytes) -> int:
    return sum(map(len, items)) + ITEM_BYTES * len(items)


@command()
def lpop(client: Client, key: bytes, count: bytes | None = None) -> bytes:
    return _pop(client, key, count, from_the_left=True)


@command()
def rpop(client: Client, key: bytes, count: bytes | None = None) -> bytes:
    return _pop(client, key, count, from_the_left=False)


def _pop(client: Client, key: bytes, text: bytes | None, from_the_left: bool) -> bytes:
    count = None if text is None else parse_count(text)
    source = client.store.fetch(key, deque)
    if source is None:
        return NIL if count is None else NIL_ARRAY
    pop = source.popleft if from_the_left else source.pop
    if count is None:
        item = pop()
        client.store.changed(key, -_size(item))
        return bulk(item)
    items = list(islice(source if from_the_left else reversed(source), count))
    reply = bulks(items, client.bounds.reply_bytes)  # this may refuse, and then nothing is popped
    for _ in items:
        pop()
    client.store.changed(key, -_size(*items))
    return reply


@command()
def llen(client: Client, key: bytes) -> bytes:
    return number(len(client.store.fetch(key, deque) or ()))


@command()
def lindex(client: Client, key: bytes, index: bytes) -> bytes:
    source = client.store.fetch(key, deque)
    if source is None:
        return NIL
    place = parse_integer(index)
    return bulk(source[place]) if -len(source) <= place < len(source) else NIL


@command()
def lrange(client: Client, key: bytes, first: bytes, last: bytes) -> bytes:
    start, stop = parse_integer(first), parse_integer(last)
    source = client.store.fetch(key, deque) or deque()
    start, count = span(start, stop, len(source))
    if not count:
        return EMPTY
    behind = len(source) - start - count
    if start <= behind:
        items = list(islice(source, start, start + count))
    else:  # the right end is nearer
        items = list(islice(reversed(source), behind, behind + count))
        items.reverse()
    return bulks(items, client.bounds.reply_bytes)


@command()
def ltrim(client: Client, key: bytes, first: bytes, last: bytes) -> bytes:
    start, stop = parse_integer(first), parse_integer(last)
    source = client.store.fetch(key, deque) or deque()
    start, count = span(start, stop, len(source))
    if not source or count == len(source):
        return OK
    behind = len(source) - start - count
    removed = [source.popleft() for _ in range(start if count else len(source))]
    removed += [source.pop() for _ in range(behind if count else 0)]
    client.store.changed(key, -_size(*removed))
    return OK

"""Commands on sorted sets: members in the order of their scores."""

from __future__ import annotations

import math

from .client import Client
from .lists import parse_count, span
from .replies import EMPTY, NIL, NO_FLOAT, SYNTAX, CommandError, bulk, bulks, number, score
from .sorted_set import SortedSet
from .store import SCORED_BYTES
from .table import command, parse_integer


def parse_score(text: bytes) -> float:
    """The score that `text` is. CommandError if it is no number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value) or text != text.strip() or b"_" in text:  # `float` takes " 1" and "1_0", Redis does not
        raise CommandError(NO_FLOAT)
    return value


def _replied(client: Client, ranked: list[tuple[float, bytes]], with_scores: bool) -> bytes:
    parts = [part for rank, member in ranked for part in ((member, score(rank)) if with_scores else (member,))]
    return bulks(parts, client.bounds.reply_bytes)


@command(adds=True)
def zadd(client: Client, key: bytes, first: bytes, second: bytes, *more: bytes) -> bytes:
    """Options in front of the scores: NX (only new members), XX (only old ones), CH (count changed ones too)."""
    arguments = [first, second, *more]
    flags = set()
    while arguments and arguments[0].upper() in (b"NX", b"XX", b"CH"):
        flags.add(arguments.pop(0).upper())
    if not arguments or len(arguments) % 2:
        raise CommandError(SYNTAX)
    if {b"NX", b"XX"} <= flags:
        raise CommandError("ERR XX and NX options at the same time are not compatible")
    scores = [parse_score(text) for text in arguments[::2]]
    target = client.store.fetch(key, SortedSet)
    if target is None:
        if b"XX" in flags:
            return number(0)
        target = client.store.fetch_or_add(key, SortedSet)
    added = changed = grown = 0
    for value, member in zip(scores, arguments[1::2], strict=True):
        before = target.scores.get(member)
        if (b"NX" if before is not None else b"XX") in flags:
            continue
        if before is None:
            added += 1
            grown += SCORED_BYTES + len(member)
        elif before != value:
            changed += 1
        target.set(member, value)
    if added or changed:
        client.store.changed(key, grown)
    return number(added + (changed if b"CH" in flags else 0))


@command()
def zrem(client: Client, key: bytes, member: bytes, *members: bytes) -> bytes:
    target = client.store.fetch(key, SortedSet) or SortedSet()
    gone = {member, *members} & target.scores.keys()
    for each in gone:
        target.remove(each)
    if gone:
        client.store.changed(key, -sum(SCORED_BYTES + len(each) for each in gone))
    return number(len(gone))


@command()
def zscore(client: Client, key: bytes, member: bytes) -> bytes:
    value = (client.store.fetch(key, SortedSet) or SortedSet()).scores.get(member)
    return NIL if value is None else bulk(score(value))


@command()
def zcard(client: Client, key: bytes) -> bytes:
    return number(len(client.store.fetch(key, SortedSet) or ()))


@command()
def zrange(client: Client, key: bytes, first: bytes, last: bytes, option: bytes | None = None) -> bytes:
    """The members of these ranks, the lowest score first. Option: WITHSCORES."""
    if option is not None and option.upper() != b"WITHSCORES":
        raise CommandError(SYNTAX)
    start, stop = parse_integer(first), parse_integer(last)
    source = client.store.fetch(key, SortedSet) or SortedSet()
    start, count = span(start, stop, len(source))
    return _replied(client, source.ranks(start, count), option is not None)


@command()
def zpopmin(client: Client, key: bytes, count: bytes = b"1", *more: bytes) -> bytes:
    if more:
        raise CommandError(SYNTAX)
    most = parse_count(count)
    source = client.store.fetch(key, SortedSet)
    if source is None:
        return EMPTY
    lowest = source.ranks(0, most)
    reply = _replied(client, lowest, with_scores=True)  # this may refuse, and then nothing is popped
    for _, member in lowest:
        source.remove(member)
    client.store.changed(key, -sum(SCORED_BYTES + len(member) for _, member in lowest))
    return reply

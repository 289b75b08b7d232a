"""The commands of publish and subscribe. A subscription is answered by one array for each channel or pattern."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .client import Client
from .keys import check_pattern
from .replies import NIL, CommandError, array, bulk, number
from .table import REFUSE, command


@command()
def publish(client: Client, channel: bytes, message: bytes) -> bytes:
    return number(client.database.channels.publish(channel, message))


@command(adds=True, in_transaction=REFUSE, subscribed=True)
def subscribe(client: Client, channel: bytes, *channels: bytes) -> bytes:
    if len(client.channels.keys() | {channel, *channels}) > client.bounds.subscriptions:
        raise CommandError(f"ERR a client subscribes to at most {client.bounds.subscriptions} channels")
    return _confirm(client, "subscribe", client.subscribe, (channel, *channels))


@command(adds=True, in_transaction=REFUSE, subscribed=True)
def psubscribe(client: Client, pattern: bytes, *patterns: bytes) -> bytes:
    for each in (pattern, *patterns):
        check_pattern(client, each)
    if len(client.patterns.keys() | {pattern, *patterns}) > client.bounds.patterns:
        raise CommandError(f"ERR a client subscribes to at most {client.bounds.patterns} patterns")
    return _confirm(client, "psubscribe", client.subscribe_pattern, (pattern, *patterns))


@command(in_transaction=REFUSE, subscribed=True)
def unsubscribe(client: Client, *channels: bytes) -> bytes:
    return _confirm(client, "unsubscribe", client.unsubscribe, channels or tuple(client.channels))


@command(in_transaction=REFUSE, subscribed=True)
def punsubscribe(client: Client, *patterns: bytes) -> bytes:
    return _confirm(client, "punsubscribe", client.unsubscribe_pattern, patterns or tuple(client.patterns))


def _confirm(client: Client, kind: str, change: Callable[[bytes], None], names: Iterable[bytes]) -> bytes:
    """Make each change, and confirm it: with its name, and how many subscriptions there are then."""
    replies = []
    for name in names:
        change(name)
        replies.append(_confirmation(client, kind, bulk(name)))
    return b"".join(replies) or _confirmation(client, kind, NIL)


def _confirmation(client: Client, kind: str, name: bytes) -> bytes:
    return array([bulk(kind.encode()), name, number(client.subscriptions())])

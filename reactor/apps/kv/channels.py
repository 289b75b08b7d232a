"""Publish and subscribe: a message goes to all clients that asked for its channel, by name or by a pattern.

A message is encoded once, and the same object is written to every subscriber. To write never waits. If a subscriber
does not read, its messages wait in the output of its own connection, and the limits bound that output: over the hard
mark the connection is ended (`slow_reader`), and if many are slow together, the largest (`memory`). So no publisher
waits for a subscriber, and no subscriber for another.

The cost of a publication: one write for each subscriber, and one comparison for each pattern that any client asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from .patterns import compile_pattern
from .replies import array, bulk

Deliver = Callable[[bytes], None]


class Channels:
    """Who has subscribed to what. A subscriber is a function that takes an encoded message."""

    __slots__ = ("by_name", "by_pattern", "_compiled")

    def __init__(self) -> None:
        self.by_name: dict[bytes, set[Deliver]] = {}
        self.by_pattern: dict[bytes, set[Deliver]] = {}
        self._compiled: dict[bytes, re.Pattern[bytes]] = {}

    def subscribe(self, name: bytes, deliver: Deliver) -> None:
        """Deliver what is published to the channel `name`."""
        self.by_name.setdefault(name, set()).add(deliver)

    def subscribe_pattern(self, pattern: bytes, deliver: Deliver) -> None:
        """Deliver what is published to any channel that `pattern` matches."""
        if pattern not in self.by_pattern:
            self._compiled[pattern] = compile_pattern(pattern)
        self.by_pattern.setdefault(pattern, set()).add(deliver)

    def unsubscribe(self, name: bytes, deliver: Deliver) -> None:
        """Take `subscribe` back."""
        _discard(self.by_name, name, deliver)

    def unsubscribe_pattern(self, pattern: bytes, deliver: Deliver) -> None:
        """Take `subscribe_pattern` back."""
        _discard(self.by_pattern, pattern, deliver)
        if pattern not in self.by_pattern:
            del self._compiled[pattern]

    def publish(self, channel: bytes, message: bytes) -> int:
        """Deliver `message`; how often. A client that asked by name and by pattern gets it twice, as from Redis."""
        count = 0
        if channel in self.by_name:
            count += _deliver(self.by_name[channel], b"message", channel, message)
        for pattern, compiled in self._compiled.items():
            if compiled.fullmatch(channel):
                count += _deliver(self.by_pattern[pattern], b"pmessage", pattern, channel, message)
        return count


def _deliver(subscribers: set[Deliver], *parts: bytes) -> int:
    encoded = array([bulk(part) for part in parts])
    for deliver in subscribers:
        deliver(encoded)
    return len(subscribers)


def _discard(table: dict[bytes, set[Deliver]], name: bytes, deliver: Deliver) -> None:
    table[name].discard(deliver)
    if not table[name]:
        del table[name]

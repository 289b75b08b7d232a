"""What the server knows of one client, and what all clients share.

A client is in one of three modes. Normally a command is run at once. Between MULTI and EXEC commands are queued. And a
client with a subscription may only change its subscriptions, because messages come between its replies.
"""

from __future__ import annotations

from typing import Any

from ...connections.counters import Counters
from .bounds import Bounds
from .channels import Channels, Deliver
from .store import Store

NAME_BYTES = 400  # what Python keeps for a watched key or a subscription, beside the name
PATTERN_BYTES = 4_000  # and for a pattern, which is kept as a regular expression


class Database:
    """What all clients of one server share. One thread uses it, so a command is never interrupted by another."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.store = Store(bounds.max_bytes)
        self.channels = Channels()
        self.clients: set[Client] = set()
        self.commands = 0  # how many were asked for
        self.counters = Counters()  # those of the reactor that serves the clients, for INFO


class Client:
    """One client: its mode, its name, and all that is to be taken back when it leaves."""

    __slots__ = ("database", "store", "bounds", "deliver", "name", "leaving", "queue", "queued_bytes", "spoiled",
                 "watched", "watched_changed", "channels", "patterns")  # fmt: skip

    def __init__(self, database: Database, deliver: Deliver) -> None:
        self.database = database
        self.store = database.store
        self.bounds = database.bounds
        self.deliver = deliver  # writes a message to it, and never waits
        self.name = b""
        self.leaving = False  # it asked for the end of its connection
        self.queue: list[Any] | None = None  # since MULTI: each a `table.Command` and its request; None: no transaction
        self.queued_bytes = 0  # what these take
        self.spoiled = False  # a command was refused; if that is since MULTI, EXEC will be refused too
        self.watched: set[bytes] = set()
        self.watched_changed = False  # one of these keys has changed, so EXEC does nothing
        self.channels: dict[bytes, None] = {}  # in the order of subscription
        self.patterns: dict[bytes, None] = {}
        database.clients.add(self)

    def subscribe(self, channel: bytes) -> None:
        """Get what is published to `channel`."""
        if channel not in self.channels:
            self.channels[channel] = None
            self.database.channels.subscribe(channel, self.deliver)
            self.count(NAME_BYTES + len(channel))

    def subscribe_pattern(self, pattern: bytes) -> None:
        """Get what is published to channels that match `pattern`."""
        if pattern not in self.patterns:
            self.patterns[pattern] = None
            self.database.channels.subscribe_pattern(pattern, self.deliver)
            self.count(PATTERN_BYTES)

    def unsubscribe(self, channel: bytes) -> None:
        """Take `subscribe` back, if it was called."""
        if channel in self.channels:
            del self.channels[channel]
            self.database.channels.unsubscribe(channel, self.deliver)
            self.count(-NAME_BYTES - len(channel))

    def unsubscribe_pattern(self, pattern: bytes) -> None:
        """Take `subscribe_pattern` back, if it was called."""
        if pattern in self.patterns:
            del self.patterns[pattern]
            self.database.channels.unsubscribe_pattern(pattern, self.deliver)
            self.count(-PATTERN_BYTES)

    def subscriptions(self) -> int:
        """To how many channels and patterns it has subscribed."""
        return len(self.channels) + len(self.patterns)

    def key_changed(self) -> None:
        """A key that it watches has changed (`store.Watcher`)."""
        self.watched_changed = True

    def unwatch(self) -> None:
        """Watch no key any more."""
        for key in self.watched:
            self.store.unwatch(key, self)
            self.count(-NAME_BYTES - len(key))
        self.watched.clear()
        self.watched_changed = False

    def count_queued(self, grown: int) -> None:
        """Its queue takes `grown` bytes more."""
        self.queued_bytes += grown
        self.count(grown)

    def count(self, grown: int) -> None:
        """What is kept for it takes `grown` bytes more."""
        self.store.client_bytes += grown

    def watch(self, keys: set[bytes]) -> None:
        """Watch these keys too, of which it watches none yet."""
        for key in keys:
            self.store.watch(key, self)
            self.count(NAME_BYTES + len(key))
        self.watched |= keys

    def end_transaction(self) -> None:
        """Forget the queue and the watched keys."""
        self.queue = None
        self.count_queued(-self.queued_bytes)
        self.spoiled = False
        self.unwatch()

    def forget(self) -> None:
        """Take back all that it asked for: its transaction, its watched keys, its subscriptions."""
        self.end_transaction()
        for channel in list(self.channels):
            self.unsubscribe(channel)
        for pattern in list(self.patterns):
            self.unsubscribe_pattern(pattern)

    def leave(self) -> None:
        """Its connection has ended."""
        self.forget()
        self.database.clients.discard(self)

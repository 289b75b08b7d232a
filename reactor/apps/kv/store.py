"""The keys and values: a dictionary that forgets what has expired, and knows how large it is.

Three things make it more than a `dict`.

**Expiry.** A key may have a deadline. A key whose deadline has passed must never be seen, so each access looks at it
(lazily). But a key that nobody asks for would stay for ever, so a sweep removes what is due. Deadlines are in a heap,
and the sweep takes from its front: it looks at no key that is not due. A key that gets a new deadline leaves its old
entry in the heap, which the sweep drops. When such entries are the majority, the heap is built anew, so it is never
much larger than the number of keys with a deadline.

**Size.** Commands that add are refused while the values take more than `max_bytes`. Python cannot say what an object
takes with all that belongs to it, so the store counts: the bytes of keys and values, and for each object an estimate of
what CPython adds. What a command adds is told to `changed`. What a value takes is counted again when it is removed,
which costs no more than to free it.

**Watching.** `WATCH` needs to know whether a key has changed. The store keeps who watches what, and tells them once.

The store does no I/O and asks no clock: `now` is set by the caller, once for each batch of requests. So a command sees
one moment, and a test chooses it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

from .replies import WRONG_TYPE, CommandError
from .sorted_set import SortedSet

# Bytes that CPython 3.11 takes beside the bytes themselves, by measurement (`tests/apps/kv/test_store.py`).
KEY_BYTES = 130  # an entry of the dictionary, the key's object and the value's
LIST_BYTES, ITEM_BYTES = 640, 56  # a list, and each element
SET_BYTES, MEMBER_BYTES = 200, 100  # a set, and each member
HASH_BYTES, PAIR_BYTES = 200, 150  # a hash, and each field with its value
SORTED_SET_BYTES, SCORED_BYTES = 400, 190  # a sorted set, and each member with its score
DEADLINE_BYTES = 160  # an entry of the dictionary of deadlines, and one of the heap

# A string that grew by APPEND is a `bytearray`, so that the next APPEND need not copy it.
STRING = (bytes, bytearray)

Value = TypeVar("Value")


class Watcher(Protocol):
    """Who is told that a key has changed."""

    def key_changed(self) -> None:
        """A watched key has changed."""


def size_of(value: Any) -> int:
    """What `value` takes, in bytes: an estimate."""
    if isinstance(value, STRING):
        return len(value)
    if isinstance(value, deque):
        return LIST_BYTES + len(value) * ITEM_BYTES + sum(map(len, value))
    if isinstance(value, set):
        return SET_BYTES + len(value) * MEMBER_BYTES + sum(map(len, value))
    if isinstance(value, dict):
        return HASH_BYTES + len(value) * PAIR_BYTES + sum(map(len, value)) + sum(map(len, value.values()))
    assert isinstance(value, SortedSet)
    return SORTED_SET_BYTES + len(value) * SCORED_BYTES + sum(map(len, value.scores))


class Store:
    """Values by key.

    A value is `bytes` or a `bytearray`, a `deque`, a `set`, a `dict` or a `SortedSet`. Only a string may be empty.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.used_bytes = 0  # by keys and values
        self.client_bytes = 0  # what is kept for clients, such as queued commands: it counts too (`client.Client`)
        self.now = 0.0  # in seconds of any clock that does not jump
        self.expired = 0  # keys removed because their time was over
        self._values: dict[bytes, Any] = {}
        self._deadlines: dict[bytes, float] = {}
        self._heap: list[tuple[float, bytes]] = []  # has an entry for each deadline, and old ones
        self._watchers: dict[bytes, set[Watcher]] = {}

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[bytes]:
        """The keys; expired ones too, until they are swept."""
        return iter(self._values)

    def is_full(self) -> bool:
        """Whether commands that add are to be refused."""
        return self.used_bytes + self.client_bytes > self.max_bytes

    # Values.

    def get(self, key: bytes) -> Any:
        """The value of `key`; None if it has none, or has expired."""
        if key in self._deadlines and self._deadlines[key] <= self.now:
            self._expire(key)
            return None
        return self._values.get(key)

    def fetch(self, key: bytes, kind: type[Value]) -> Value | None:
        """`get`, for a value of this kind. CommandError for a value of another."""
        value = self.get(key)
        if value is None or isinstance(value, kind):
            return value
        raise CommandError(WRONG_TYPE)

    def fetch_or_add(self, key: bytes, kind: type[Value]) -> Value:
        """`fetch`, but an empty value if there is none. The caller puts something into it, and says so (`changed`)."""
        value = self.fetch(key, kind)
        if value is None:
            value = self._values[key] = kind()
            self.used_bytes += KEY_BYTES + len(key) + size_of(value)
        return value

    def put(self, key: bytes, value: Any) -> None:
        """Give `key` this value, in place of another. It has no deadline then."""
        if key in self._values:
            self._remove(key)
        self._values[key] = value
        self.changed(key, KEY_BYTES + len(key) + size_of(value))

    def replace(self, key: bytes, value: bytes | bytearray, grown: int) -> None:
        """Give `key`, which has a string, this one, which is `grown` bytes longer. It keeps its deadline."""
        self._values[key] = value
        self.changed(key, grown)

    def changed(self, key: bytes, grown: int) -> None:
        """The value of `key` was changed, and takes `grown` bytes more. If it is empty now, the key is removed."""
        self.used_bytes += grown
        self._tell_watchers(key)
        value = self._values[key]
        if not value and not isinstance(value, STRING):
            self._remove(key)

    def delete(self, key: bytes) -> bool:
        """Remove `key`; whether it was there."""
        if self.get(key) is None:
            return False
        self._remove(key)
        self._tell_watchers(key)
        return True

    def clear(self) -> None:
        """Remove every key."""
        for key in self._watchers.keys() & self._values.keys():
            self._tell_watchers(key)
        for forgotten in (self._values, self._deadlines, self._heap):
            forgotten.clear()
        self.used_bytes = 0

    def _remove(self, key: bytes) -> None:
        self.used_bytes -= KEY_BYTES + len(key) + size_of(self._values.pop(key))
        self._forget_deadline(key)

    # Deadlines.

    def deadline(self, key: bytes) -> float | None:
        """When `key` expires, on the clock of `now`; None if it does not."""
        return self._deadlines.get(key)

    def deadlines(self) -> int:
        """How many keys have a deadline."""
        return len(self._deadlines)

    def expire_at(self, key: bytes, when: float | None) -> None:
        """Let `key`, which has a value, expire at `when`. None: not at all. A time that has passed removes it now."""
        self._forget_deadline(key)
        self._tell_watchers(key)
        if when is None:
            return
        if when <= self.now:
            self._remove(key)
            return
        self._deadlines[key] = when
        self.used_bytes += DEADLINE_BYTES
        heapq.heappush(self._heap, (when, key))
        if len(self._heap) > 2 * len(self._deadlines) + 64:  # most are old
            self._heap = [(when, key) for key, when in self._deadlines.items()]
            heapq.heapify(self._heap)

    def sweep(self, most: int) -> bool:
        """Remove keys whose time is over; whether more than `most` entries were due, and some remain."""
        heap = self._heap
        for _ in range(most):
            if not heap or heap[0][0] > self.now:
                return False
            when, key = heapq.heappop(heap)
            if self._deadlines.get(key) == when:
                self._expire(key)
        return bool(heap) and heap[0][0] <= self.now

    def _expire(self, key: bytes) -> None:
        self.expired += 1
        self._remove(key)
        self._tell_watchers(key)

    def _forget_deadline(self, key: bytes) -> None:
        if self._deadlines.pop(key, None) is not None:
            self.used_bytes -= DEADLINE_BYTES

    # Watchers.

    def watch(self, key: bytes, watcher: Watcher) -> None:
        """Call `watcher.key_changed()` whenever `key` is changed, removed or expires, until `unwatch`."""
        self.get(key)  # if its time is over already, that is no change any more
        self._watchers.setdefault(key, set()).add(watcher)

    def unwatch(self, key: bytes, watcher: Watcher) -> None:
        """Take `watch` back."""
        watchers = self._watchers[key]
        watchers.discard(watcher)
        if not watchers:
            del self._watchers[key]

    def _tell_watchers(self, key: bytes) -> None:
        if self._watchers:
            for watcher in self._watchers.get(key, ()):
                watcher.key_changed()

"""The store: what has expired is gone, what it counts is what it holds, and its own tables are bounded."""

import random
import tracemalloc

import pytest

from reactor.apps.kv.store import DEADLINE_BYTES, KEY_BYTES, Store, size_of
from tests.apps.kv.talking import Local


def counted(store):
    """What the store should say it uses, counted anew."""
    values = sum(KEY_BYTES + len(key) + size_of(value) for key, value in store._values.items())
    return values + DEADLINE_BYTES * len(store._deadlines)


COMMANDS = """set setnx setex getset getdel mset append incr decr lpush rpush lpop rpop ltrim sadd srem spop hset hdel
zadd zrem zpopmin del expire pexpire persist multi exec discard watch flushall""".split()


@pytest.mark.parametrize("seed", range(20))
def test_what_it_counts_is_what_it_holds(seed):
    rand, local = random.Random(seed), Local()
    store = local.database.store
    words = ["k", "l", "m", "1", "2", "5", "x" * 50, "EX", "NX", "CH", "-1"]
    for _ in range(1500):
        if rand.random() < 0.01:
            store.now += rand.choice([0.001, 1, 3])
            store.sweep(rand.choice([1, 100]))
        name = rand.choice(COMMANDS) if rand.random() < 0.999 else "flushall"
        if name != "flushall" or rand.random() < 0.05:
            local.ask(name, *rand.choices(words, k=rand.choice([0, 1, 1, 2, 2, 3, 4, 5])))
        assert store.used_bytes == counted(store)
        assert all(value or isinstance(value, bytes | bytearray) for value in store._values.values()), name
        assert store._deadlines.keys() <= store._values.keys()
    local.say("DISCARD")
    local.say("FLUSHALL")
    assert (store.used_bytes, len(store), store.deadlines(), store._heap) == (0, 0, 0, [])


FILLS = {
    "strings": lambda local, i, most: local.ask("SET", f"key:{i}", f"value:{i:06d}"),
    "long strings": lambda local, i, most: local.ask("SET", f"key:{i}", "x" * 1000),
    "a list": lambda local, i, most: local.ask("RPUSH", "l", f"value:{i:06d}"),
    "a set": lambda local, i, most: local.ask("SADD", "s", f"value:{i:06d}"),
    "a hash": lambda local, i, most: local.ask("HSET", "h", f"field:{i}", f"value:{i:06d}"),
    "a sorted set": lambda local, i, most: local.ask("ZADD", "z", f"{i}.5", f"value:{i:06d}"),
    "keys that expire": lambda local, i, most: local.ask("SET", f"key:{i}", f"value:{i:06d}", "EX", 1000 + i),
    "strings that grow": lambda local, i, most: local.ask("APPEND", f"key:{i % most}", f"value:{i:06d}"),
    "small lists": lambda local, i, most: local.ask("RPUSH", f"key:{i % most}", f"value:{i:06d}"),
    "small sets": lambda local, i, most: local.ask("SADD", f"key:{i % most}", f"value:{i:06d}"),
    "small hashes": lambda local, i, most: local.ask("HSET", f"key:{i % most}", f"field:{i}", f"value:{i:06d}"),
    "small sorted sets": lambda local, i, most: local.ask("ZADD", f"key:{i % most}", f"{i}.5", f"value:{i:06d}"),
}


@pytest.mark.parametrize("size", [5_000, 6_000])  # before and after a dictionary grows
@pytest.mark.parametrize("name", FILLS)
def test_what_it_counts_is_about_what_python_takes(name, size):
    local = Local()
    tracemalloc.start()
    try:
        for number in range(size):
            FILLS[name](local, number, size // 4)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert 0.5 < local.database.store.used_bytes / taken < 2


# Expiry.


@pytest.fixture
def store():
    return Store(1 << 20)


def test_a_sweep_removes_what_is_due_and_nothing_else(store):
    for number in range(100):
        store.put(b"%d" % number, b"v")
        store.expire_at(b"%d" % number, 1.0 + number)
    store.now = 50.0
    assert store.sweep(1000) is False
    assert sorted(map(int, store)) == list(range(50, 100))
    assert (store.expired, store.deadlines(), len(store._heap)) == (50, 50, 50)


def test_a_sweep_has_a_bound_and_says_that_more_are_due(store):
    for number in range(25):
        store.put(b"%d" % number, b"v")
        store.expire_at(b"%d" % number, 1.0)
    store.now = 1.0
    assert [(store.sweep(10), len(store)) for _ in range(4)] == [(True, 15), (True, 5), (False, 0), (False, 0)]


def test_a_key_with_a_new_deadline_outlives_its_old_one(store):
    store.put(b"k", b"v")
    store.expire_at(b"k", 5.0)
    store.expire_at(b"k", 50.0)
    store.now = 10.0
    store.sweep(10)
    assert store.get(b"k") == b"v"
    store.put(b"k", b"w")  # which has none
    store.now = 100.0
    store.sweep(10)
    assert store.get(b"k") == b"w"


def test_a_key_that_is_set_again_and_again_does_not_fill_the_heap(store):
    for number in range(10_000):
        store.put(b"k", b"v")
        store.expire_at(b"k", 100.0 + number)
        assert len(store._heap) <= 67
    store.now = 100.0 + 9_999
    assert store.get(b"k") is None


def test_the_heap_has_every_deadline_after_it_was_built_anew(store):
    for turn in range(3):
        for number in range(100):
            store.put(b"%d" % number, b"v")
            store.expire_at(b"%d" % number, 10.0 * (3 - turn) + number)
    assert len(store._heap) <= 2 * 100 + 64
    store.now = 9.9
    store.sweep(1000)
    assert len(store) == 100
    store.now = 110.0
    store.sweep(1000)
    assert len(store) == 0


# Watching.


class Watcher:
    def __init__(self):
        self.told = 0

    def key_changed(self):
        self.told += 1


def test_a_watcher_is_told_of_every_way_to_change(store):
    watcher = Watcher()
    store.watch(b"k", watcher)
    ways = [
        lambda: store.put(b"k", b"v"),
        lambda: store.replace(b"k", b"vw", 1),
        lambda: store.expire_at(b"k", 9.0),
        lambda: store.delete(b"k"),
        lambda: store.put(b"k", b"v"),
        lambda: store.clear(),
    ]
    for number, change in enumerate(ways, 1):
        change()
        assert watcher.told == number
    store.put(b"other", b"v")
    assert watcher.told == len(ways)
    store.unwatch(b"k", watcher)
    store.put(b"k", b"v")
    assert watcher.told == len(ways)


@pytest.mark.parametrize("lazily", [True, False])
def test_a_watcher_is_told_of_a_key_that_expires(store, lazily):
    watcher = Watcher()
    store.put(b"k", b"v")
    store.expire_at(b"k", 1.0)
    store.watch(b"k", watcher)
    store.now = 2.0
    if lazily:
        store.get(b"k")
    else:
        store.sweep(10)
    assert watcher.told == 1

"""The commands, without a network: what they reply, that Redis replies with the same, and what they refuse."""

import random
import re

import pytest

from reactor.apps.kv.commands import COMMANDS, answer
from reactor.apps.kv.store import size_of
from tests.apps.kv.conversations import AS_REDIS, OURS
from tests.apps.kv.talking import Local, Talker, needs_redis, redis_running
from tests.support import ROOT

OUT_OF_MEMORY = "-OOM command not allowed when used memory > 'maxmemory'."


def hold(say, conversation):
    for number, (line, expected) in enumerate(conversation):
        assert say(line) == expected, f"line {number}: {line}"


@pytest.mark.parametrize("name", AS_REDIS)
def test_a_conversation(name):
    hold(Local().say, AS_REDIS[name])


@pytest.mark.parametrize("name", OURS)
def test_a_conversation_that_redis_would_not_have(name):
    hold(Local().say, OURS[name])


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    with redis_running(tmp_path_factory.mktemp("redis")) as address:
        yield address


@needs_redis
@pytest.mark.parametrize("name", AS_REDIS)
def test_redis_has_the_same_conversation(redis, name):
    with Talker(redis) as talker:
        talker.ask("FLUSHALL")
        hold(talker.say, AS_REDIS[name])


WORDS = "k l m 0 1 -1 2 x NX XX GET CH 1.5 100 WITHSCORES".split()
# Not: what depends on the time, on chance, or on the server itself, and what ends the conversation.
COMPARED = sorted({entry.name for entry in COMMANDS.values()} - {
    "ttl", "pttl", "spop", "smembers", "keys", "info", "config", "command", "hello", "client", "quit", "post",
    "subscribe", "psubscribe", "unsubscribe", "punsubscribe", "select", "setex", "psetex", "expire", "pexpire",
    "zrange",
})  # fmt: skip
# With more words, Redis sees the mistake when it runs the command: it matters in a transaction.
MOST_WORDS = {"exec": 0, "lpop": 2, "ping": 1, "rpop": 2}


@needs_redis
@pytest.mark.parametrize("seed", range(10))
def test_to_nonsense_redis_says_the_same(redis, seed):
    rand, ours = random.Random(seed), Local()
    with Talker(redis) as theirs:
        theirs.ask("FLUSHALL")
        theirs.ask("RESET")
        for _ in range(300):
            name = rand.choice(COMPARED)
            most = MOST_WORDS.get(name, 4)
            request = [name, *rand.choices(WORDS, k=min(most, rand.choice([0, 1, 1, 2, 2, 3, 4])))]
            assert ours.ask(*request) == theirs.ask(*request), request


def test_hello_tells_the_protocol():
    for words in ("HELLO", "HELLO 2"):
        reply = Local().say(words)
        facts = dict(zip(reply[::2], reply[1::2], strict=True))
        assert (facts["server"], facts["proto"]) == ("reactor", 2)


def test_every_command_is_in_the_table_by_both_spellings():
    assert Local().say("COMMAND COUNT") == len({entry.name for entry in COMMANDS.values()}) > 60
    for name in ("get", "GET", "exec", "EXEC", "del", "type", "set", "quit"):
        assert COMMANDS[name.encode()].name == name.lower()


def test_info_tells_what_is_there():
    local = Local()
    other = Local(local.database)
    local.say("SET k v EX 100")
    local.say("SET l v")
    report = local.say("INFO")
    for line in ("connected_clients:2", "maxmemory:268435456", "total_commands_processed:3", "expired_keys:0"):
        assert line in report.split("\r\n"), report
    assert "db0:keys=2,expires=1,avg_ttl=0" in report
    assert f"used_memory:{local.database.store.used_bytes}" in report
    other.client.leave()
    assert local.say("INFO clients") == "# Clients\r\nconnected_clients:1\r\n"


# Bounds.


def test_a_full_store_refuses_what_adds_and_nothing_else():
    local = Local(max_bytes=2000)
    assert local.ask("SET", "big", "x" * 3000) == "OK"  # it was not full before
    adding = {entry.name for entry in COMMANDS.values() if entry.adds}
    assert adding == set(
        "set setnx setex psetex getset mset append incr decr incrby decrby lpush rpush sadd hset zadd"
        " watch subscribe psubscribe".split()
    )
    for name in adding:
        assert local.ask(name, *["1"] * (COMMANDS[name.encode()].least - 1)) == OUT_OF_MEMORY, name
    assert local.say("DBSIZE") == 1
    assert local.say("GET big") == "x" * 3000
    assert local.say("DEL big") == 1
    assert local.say("SET k v") == "OK"


def test_a_full_store_refuses_a_transaction_as_a_whole():
    local = Local(max_bytes=2000)
    other = Local(local.database)
    local.say("MULTI")
    local.say("DEL k")
    local.say("SET k v")
    other.ask("SET", "big", "x" * 3000)
    assert local.say("EXEC") == OUT_OF_MEMORY
    assert other.say("EXISTS k") == 0
    local.say("MULTI")
    assert local.say("SET k v") == OUT_OF_MEMORY
    assert local.say("EXEC") == "-EXECABORT Transaction discarded because of previous errors."
    assert local.say("DEL big") == 1


TOO_MANY = "-ERR too many commands are queued in one transaction"


def test_a_queue_has_a_bound_in_commands():
    local = Local(queued_commands=3)
    local.say("MULTI")
    assert [local.say("INCR k") for _ in range(5)] == ["QUEUED"] * 3 + [TOO_MANY, "QUEUED"]
    assert not local.client.queue and not local.database.store.client_bytes
    assert local.say("EXEC") == "-EXECABORT Transaction discarded because of previous errors."
    assert local.say("GET k") is None


def test_a_queue_has_a_bound_in_bytes():
    local = Local(queued_bytes=1000)
    local.say("MULTI")
    assert local.ask("SET", "k", "x" * 500) == "QUEUED"
    assert local.ask("SET", "k", "x" * 500) == TOO_MANY
    local.say("DISCARD")
    local.say("MULTI")
    assert local.ask("SET", "k", "x" * 500) == "QUEUED"
    assert local.say("EXEC") == ["OK"]


@pytest.mark.parametrize("end", ["EXEC", "DISCARD", "RESET", None])
def test_what_all_clients_have_queued_counts_as_used(end):
    local = Local(max_bytes=10_000)
    others = [Local(local.database) for _ in range(3)]
    for other in others:
        other.say("MULTI")
        assert other.ask("GET", "x" * 4000) == "QUEUED"
    assert local.say("SET k v") == OUT_OF_MEMORY
    assert others[0].say("PING") == OUT_OF_MEMORY
    for other in others:
        if end is None:
            other.client.leave()
        else:
            other.say(end)
    assert local.database.store.client_bytes == 0
    assert local.say("SET k v") == "OK"


def test_a_client_watches_so_many_keys_and_no_more():
    local = Local(subscriptions=3)
    assert local.say("WATCH a b c a") == "OK"
    assert local.say("WATCH c") == "OK"
    assert local.say("WATCH d") == "-ERR a client watches at most 3 keys"


@pytest.mark.parametrize("fill, ask", [
    (["SET a 12345", "SET b 12345"], "MGET a b"),
    (["RPUSH l 12345 67890"], "LRANGE l 0 -1"),
    (["RPUSH l 12345 67890"], "LPOP l 2"),
    (["SADD s 12345 67890"], "SMEMBERS s"),
    (["SADD s 12345 67890"], "SPOP s 2"),
    (["HSET h 12345 67890"], "HGETALL h"),
    (["HSET h 12345 67890 67890 1234"], "HMGET h 12345 67890"),
    (["ZADD z 1 12345 1 67890"], "ZRANGE z 0 -1"),
    (["ZADD z 1 12345 1 67890"], "ZPOPMIN z 2"),
    (["SET 12345 x", "SET 67890 x"], "KEYS *"),
])  # fmt: skip
def test_a_reply_that_would_be_too_long_is_an_error_and_nothing_is_lost(fill, ask):
    local = Local(reply_bytes=8)
    for line in fill:
        local.say(line)
    store = local.database.store
    sizes = lambda: {key: size_of(store.get(key)) for key in store}  # noqa: E731
    before = sizes(), store.used_bytes
    assert local.say(ask) == "-ERR the reply is longer than 8 bytes"
    assert (sizes(), store.used_bytes) == before


def test_the_replies_of_a_transaction_have_one_bound_and_all_its_commands_run():
    local = Local(reply_bytes=1000)
    local.ask("SET", "k", "x" * 400)
    local.say("MULTI")
    for line in ("GET k", "GET k", "GET k", "INCR n"):
        assert local.say(line) == "QUEUED"
    too_long = "-ERR the reply is longer than 1000 bytes"
    assert local.say("EXEC") == ["x" * 400, "x" * 400, too_long, too_long]
    assert local.say("GET n") == "1"


def test_a_string_grows_to_the_size_of_an_argument_and_no_further():
    local = Local(argument_bytes=10)
    assert local.say("APPEND k 12345678") == 8
    assert local.say("APPEND k 90") == 10
    assert local.say("APPEND k x") == "-ERR string exceeds maximum allowed size (proto-max-bulk-len)"
    assert local.say("GET k") == "1234567890"


def test_a_pattern_has_a_bound():
    local = Local(pattern_bytes=5)
    local.say("SET abc x")
    assert local.say("KEYS abc*?") == []
    assert local.say("KEYS abc*??") == "-ERR a pattern has at most 5 bytes"


@pytest.mark.parametrize("bounds", [{"max_bytes": 0}, {"subscriptions": -1}])
def test_a_bound_below_one_is_refused(bounds):
    (name,) = bounds
    with pytest.raises(ValueError, match=re.escape(f"{name} must be at least 1, not {bounds[name]}")):
        Local(**bounds)


def test_an_error_is_one_line_whatever_the_request_holds():
    for name in (b"a\r\nb", b"\n", b"\r"):
        reply = answer(Local().client, [name, b"x\r\n+OK\r\n"])
        assert reply.startswith(b"-ERR unknown command") and reply.find(b"\n") == len(reply) - 1


# Expiry.


def test_a_key_is_gone_when_its_time_is_over_for_every_command():
    for line, reply in {
        "GET k": None, "EXISTS k": 0, "TTL k": -2, "TYPE k": "none", "DEL k": 0, "SET k w XX": None, "INCR k": 1,
        "PERSIST k": 0, "EXPIRE k 5": 0, "KEYS *": [], "APPEND k w": 1, "LPUSH k w": 1, "SETNX k w": 1,
        "MGET k": [None], "GETDEL k": None, "SET k w GET": None,
    }.items():  # fmt: skip
        local = Local()
        local.say("SET k v PX 1500")
        local.database.store.now += 1.499
        assert local.say("PTTL k") == 1
        assert local.say("EXISTS k") == 1
        local.database.store.now += 0.001
        assert local.say(line) == reply, line
        assert local.say("TTL k") in (-1, -2)


def test_a_watched_key_whose_time_is_over_has_changed():
    local = Local()
    local.say("SET k v PX 100")
    local.say("WATCH k")
    local.say("MULTI")
    local.database.store.now += 1
    assert local.say("EXEC") is None


def test_a_key_that_had_expired_before_it_was_watched_has_not_changed():
    local = Local()
    local.say("SET k v PX 100")
    local.database.store.now += 1
    local.say("WATCH k")
    local.say("MULTI")
    assert local.say("EXEC") == []


# Several clients.


def test_another_client_spoils_a_watched_key():
    local = Local()
    other = Local(local.database)
    local.say("WATCH k")
    other.say("SET k theirs")
    local.say("MULTI")
    local.say("SET k ours")
    assert local.say("EXEC") is None
    assert local.say("GET k") == "theirs"


def test_a_client_that_leaves_leaves_nothing_behind():
    local = Local()
    other = Local(local.database)
    other.say("SUBSCRIBE a b")
    other.say("PSUBSCRIBE a*")
    third = Local(local.database)
    third.say("WATCH k")
    other.client.leave()
    third.client.leave()
    assert local.say("PUBLISH a x") == 0
    assert local.database.clients == {local.client}
    channels, store = local.database.channels, local.database.store
    assert not (channels.by_name or channels.by_pattern or channels._compiled or store._watchers)


def test_who_says_farewell_or_speaks_http_is_to_leave():
    for line, reply in {"QUIT": "OK", "QUIT now": "OK", "POST / HTTP/1.1": [], "Host: reactor.test": []}.items():
        local = Local()
        assert local.say(line) == reply
        assert local.client.leaving


def test_the_page_names_every_command_and_its_file():
    page = (ROOT / "reactor" / "README.md").read_text()
    table = page[page.index("<!-- kv -->") : page.index("<!-- /kv -->")]
    rows = [row for row in table.split("\n") if row.startswith("| `")]
    told = {row.split("`")[1]: set(re.findall(r"`([A-Z]+)`", row)) for row in rows}
    there = {}
    for entry in COMMANDS.values():
        if entry.name != "post":  # it is there to be refused
            there.setdefault(f"{entry.function.__module__.split('.')[-1]}.py", set()).add(entry.name.upper())
    assert told == there

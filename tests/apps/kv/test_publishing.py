"""Publish and subscribe, without a network."""

import pytest

from tests.apps.kv.talking import Local, Talker, needs_redis, redis_running

ALONE = (
    "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
)


def heard(local):
    return [local.decode(message) for message in local.messages]


# What a subscriber says, and the replies: several to one request.
CONVERSATION = [
    ("SUBSCRIBE a a b", [["subscribe", "a", 1], ["subscribe", "a", 1], ["subscribe", "b", 2]]),
    ("PING", [["pong", ""]]), ("PING x", [["pong", "x"]]), ("GET a", [ALONE]),
    ("PSUBSCRIBE x*", [["psubscribe", "x*", 3]]),
    ("UNSUBSCRIBE a c", [["unsubscribe", "a", 2], ["unsubscribe", "c", 2]]), ("UNSUBSCRIBE", [["unsubscribe", "b", 1]]),
    ("GET a", [ALONE]), ("PUNSUBSCRIBE", [["punsubscribe", "x*", 0]]), ("UNSUBSCRIBE", [["unsubscribe", None, 0]]),
    ("PUNSUBSCRIBE", [["punsubscribe", None, 0]]), ("PING", ["PONG"]), ("GET a", [None]),
    ("PSUBSCRIBE y z", [["psubscribe", "y", 1], ["psubscribe", "z", 2]]), ("RESET", ["RESET"]), ("GET a", [None]),
    ("SUBSCRIBE", ["-ERR wrong number of arguments for 'subscribe' command"]), ("PUBLISH a x", [0]),
]  # fmt: skip


def test_a_subscriber_is_in_a_mode_of_its_own():
    local = Local()
    for line, expected in CONVERSATION:
        reply = local.say(line)
        assert reply == (expected if len(expected) > 1 else expected[0]), line


@needs_redis
def test_redis_does_the_same(tmp_path):
    with redis_running(tmp_path) as address, Talker(address) as talker:
        for line, expected in CONVERSATION:
            assert [talker.say(line), *talker.hear_all(len(expected) - 1)] == expected, line


def test_a_message_goes_to_all_that_asked_for_its_channel():
    publisher = Local()
    first, second, third = (Local(publisher.database) for _ in range(3))
    first.say("SUBSCRIBE news")
    second.say("PSUBSCRIBE n?ws n*")
    third.say("SUBSCRIBE other")
    assert publisher.ask("PUBLISH", "news", b"a\r\nb\x00") == 3
    assert heard(first) == [["message", "news", "a\r\nb\x00"]]
    assert heard(second) == [["pmessage", "n?ws", "news", "a\r\nb\x00"], ["pmessage", "n*", "news", "a\r\nb\x00"]]
    assert heard(third) == []
    first.say("UNSUBSCRIBE news")
    assert publisher.say("PUBLISH news again") == 2
    assert len(heard(first)) == 1


def test_a_message_exists_once_however_many_hear_it():
    publisher = Local()
    listeners = [Local(publisher.database) for _ in range(10)]
    for listener in listeners:
        listener.say("SUBSCRIBE c")
    publisher.say("PUBLISH c hello")
    assert len({id(message) for listener in listeners for message in listener.messages}) == 1


def test_in_a_transaction_a_publication_comes_when_it_is_run():
    publisher = Local()
    listener = Local(publisher.database)
    listener.say("SUBSCRIBE c")
    publisher.say("MULTI")
    publisher.say("PUBLISH c x")
    assert heard(listener) == []
    assert publisher.say("EXEC") == [1]
    assert heard(listener) == [["message", "c", "x"]]


@pytest.mark.parametrize("name, what", [("SUBSCRIBE", "channels"), ("PSUBSCRIBE", "patterns")])
def test_subscriptions_have_a_bound(name, what):
    local = Local(subscriptions=3, patterns=3)
    too_many = f"-ERR a client subscribes to at most 3 {what}"
    assert local.say(f"{name} a b c d") == too_many
    assert local.client.subscriptions() == 0
    local.say(f"{name} a b")
    local.say(f"{name} c")
    assert local.say(f"{name} d") == too_many
    assert local.say(f"{name} a b b") == [[name.lower(), each, 3] for each in ("a", "b", "b")]


def test_a_pattern_has_a_bound():
    local = Local(pattern_bytes=5)
    assert local.say("PSUBSCRIBE x 123456") == "-ERR a pattern has at most 5 bytes"
    assert local.say("PSUBSCRIBE 12345") == ["psubscribe", "12345", 1]


@pytest.mark.parametrize("end", ["UNSUBSCRIBE", "RESET", None])
def test_what_is_kept_for_subscribers_and_watchers_counts_as_used(end):
    local = Local(max_bytes=20_000)
    others = [Local(local.database) for _ in range(3)]
    for other in others:
        other.ask("WATCH", "x" * 1000)
        other.ask("SUBSCRIBE", "x" * 1000, "y")
        other.say("PSUBSCRIBE x")
    refused = "-OOM command not allowed when used memory > 'maxmemory'."
    for request in ("SET k v", "SUBSCRIBE c", "PSUBSCRIBE c", "WATCH k"):
        assert local.say(request) == refused, request
    for other in others:
        if end == "UNSUBSCRIBE":
            other.say("UNSUBSCRIBE")
            other.say("PUNSUBSCRIBE")
            other.say("UNWATCH")
        elif end is not None:
            other.say(end)
        else:
            other.client.leave()
    assert local.database.store.client_bytes == 0
    assert local.say("SET k v") == "OK"

"""Clients that others wrote, against our server: redis-cli, redis-benchmark and redis-py."""

import importlib.util
import shutil
import subprocess

import pytest

from tests.apps.kv.talking import encode
from tests.support import DEADLINE_SECONDS, serving


def needs(tool):
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")


needs_redis_py = pytest.mark.skipif(
    importlib.util.find_spec("redis") is None,
    reason="redis-py is not installed: python scripts/environment.py test redis",
)


@pytest.fixture
def server():
    with serving("kv") as server:
        yield server
        assert server.terminate() == 0
        assert "Traceback" not in server.stderr.text


def run(server, tool, *arguments, **options):
    """What `tool` prints, which must succeed."""
    host, port = server.address
    command = [tool, "-h", host, "-p", str(port), *arguments]
    done = subprocess.run(command, capture_output=True, timeout=DEADLINE_SECONDS, check=True, **options)
    return done.stdout.decode()


@needs("redis-cli")
def test_redis_cli(server):
    for command, reply in {
        "PING": "PONG", "SET k v": "OK", "GET k": "v", "GET none": "", "INCR n": "1", "RPUSH l a b": "2",
        "LRANGE l 0 -1": "a\nb", "EXPIRE k 100": "1", "TTL k": "100", "HSET h f v": "1", "HGETALL h": "f\nv",
        "NOSUCH": "ERR unknown command 'NOSUCH', with args beginning with:", "DBSIZE": "4",
    }.items():  # fmt: skip
        assert run(server, "redis-cli", *command.split()).strip() == reply, command
    typed = b"MULTI\nINCR n\nINCR n\nEXEC\nDISCARD\n"
    assert run(server, "redis-cli", input=typed).split("\n")[:5] == ["OK", "QUEUED", "QUEUED", "2", "3"]


@needs("redis-cli")
def test_redis_cli_that_wants_resp3_goes_on_in_resp2(server):
    said = run(server, "redis-cli", "-3", "PING")
    assert said.strip().endswith("PONG")


@needs("redis-cli")
def test_a_pipe_of_redis_cli(server):
    count = 20_000
    requests = b"".join(encode("SET", f"key:{number}", f"value:{number}") for number in range(count))
    said = run(server, "redis-cli", "--pipe", input=requests)
    assert f"errors: 0, replies: {count}" in said
    assert run(server, "redis-cli", "DBSIZE").strip() == str(count)
    assert run(server, "redis-cli", "GET", "key:777").strip() == "value:777"


# Those that redis-benchmark 7 runs without being asked, by the beginning of their titles.
TESTS = """PING_INLINE PING_MBULK SET GET INCR LPUSH RPUSH LPOP RPOP SADD HSET SPOP ZADD ZPOPMIN LRANGE_100 LRANGE_300
LRANGE_500 LRANGE_600 MSET""".split()


@needs("redis-benchmark")
def test_all_tests_of_redis_benchmark(server):
    said = run(server, "redis-benchmark", "-n", "2000", "-c", "20", "-P", "16", "--csv")
    rows = [line.split('","')[0].strip('"') for line in said.splitlines()]
    assert "error" not in said.lower(), said
    for test in TESTS:
        assert any(row.startswith(test) for row in rows), f"{test} is not in {rows}"


@needs("redis-benchmark")
def test_redis_benchmark_with_many_keys_and_connections_that_end(server):
    options = "-n 1000 -c 20 -k 0 -r 100 -t set,get,lpush --csv".split()
    said = run(server, "redis-benchmark", *options)
    assert [line.split(",")[0] for line in said.splitlines()[1:]] == ['"SET"', '"GET"', '"LPUSH"'], said


@pytest.fixture
def client(server):
    import redis

    host, port = server.address
    # Since its version 8 it asks for RESP3, and leaves a server that does not have it.
    client = redis.Redis(host, port, decode_responses=True, socket_timeout=DEADLINE_SECONDS, protocol=2)
    with client:
        yield client


@needs_redis_py
def test_redis_py_with_values_of_every_kind(client):
    assert client.ping()
    assert client.set("k", "v") and client.get("k") == "v"
    assert client.set("k", "w", nx=True) is None
    assert client.mset({"a": 1, "b": 2}) and client.mget("a", "b", "none") == ["1", "2", None]
    assert client.incrby("a", 10) == 11
    assert client.rpush("l", "a", "b", "c") == 3 and client.lrange("l", 0, -1) == ["a", "b", "c"]
    assert client.lpop("l", 2) == ["a", "b"]
    assert client.sadd("s", "x", "y") == 2 and client.smembers("s") == {"x", "y"}
    assert client.hset("h", mapping={"f": "1", "g": "2"}) == 2 and client.hgetall("h") == {"f": "1", "g": "2"}
    assert client.zadd("z", {"low": 1, "high": 2.5}) == 2
    assert client.zrange("z", 0, -1, withscores=True) == [("low", 1.0), ("high", 2.5)]
    assert client.zpopmin("z") == [("low", 1.0)]
    assert client.type("z") == "zset" and sorted(client.keys("[ab]")) == ["a", "b"]
    assert client.delete("a", "b", "none") == 2
    assert client.info()["db0"]["keys"] == client.dbsize() == 5
    assert client.config_get("maxmemory") == {"maxmemory": str(256 << 20)}
    assert client.flushall() and client.dbsize() == 0


@needs_redis_py
def test_redis_py_with_keys_that_expire(client):
    client.set("k", "v", ex=100)
    assert 0 < client.ttl("k") <= 100
    assert client.persist("k") and client.ttl("k") == -1
    assert client.pexpire("k", 50_000) and 0 < client.pttl("k") <= 50_000
    assert client.expire("k", 0) and client.get("k") is None


@needs_redis_py
def test_redis_py_with_pipelines_and_transactions(client):
    with client.pipeline(transaction=False) as pipeline:
        for number in range(1000):
            pipeline.rpush("l", number)
        assert pipeline.execute() == list(range(1, 1001))
    with client.pipeline() as pipeline:
        pipeline.set("k", 1).incr("k").get("k")
        assert pipeline.execute() == [True, 2, "2"]
    with client.pipeline() as pipeline:
        pipeline.watch("k")
        value = int(pipeline.get("k"))
        pipeline.multi()
        pipeline.set("k", value * 2)
        assert pipeline.execute() == [True]


@needs_redis_py
def test_redis_py_is_told_that_a_watched_key_has_changed(client):
    import redis

    client.set("k", 1)
    with client.pipeline() as pipeline:
        pipeline.watch("k")
        client.set("k", "of another connection")
        pipeline.multi()
        pipeline.set("k", 2)
        with pytest.raises(redis.WatchError):
            pipeline.execute()
    assert client.get("k") == "of another connection"


@needs_redis_py
def test_redis_py_is_told_what_was_wrong(client):
    import redis

    client.set("k", "v")
    with pytest.raises(redis.ResponseError, match="value is not an integer"):
        client.incr("k")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        client.lpush("k", "x")
    with pytest.raises(redis.ResponseError, match="unknown command 'NOSUCH'"):
        client.execute_command("NOSUCH")
    assert client.get("k") == "v"


@needs_redis_py
def test_redis_py_publishes_and_subscribes(client):
    with client.pubsub() as listener:
        listener.subscribe("news")
        listener.psubscribe("n*")
        kinds = [listener.get_message(timeout=DEADLINE_SECONDS)["type"] for _ in range(2)]
        assert kinds == ["subscribe", "psubscribe"]
        assert client.publish("news", "hello") == 2
        heard = [listener.get_message(timeout=DEADLINE_SECONDS) for _ in range(2)]
        assert [(each["type"], each["channel"], each["data"]) for each in heard] == [
            ("message", "news", "hello"), ("pmessage", "news", "hello"),
        ]  # fmt: skip
        listener.unsubscribe()
        listener.punsubscribe()
        assert [listener.get_message(timeout=DEADLINE_SECONDS)["type"] for _ in range(2)] == [
            "unsubscribe", "punsubscribe",
        ]  # fmt: skip

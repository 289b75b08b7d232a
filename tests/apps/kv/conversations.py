"""What clients say and what they hear: each conversation begins with an empty store. Redis is held to most of them.

A reply is as `talking.Replies` decodes it: an error begins with a minus, nil is None.
"""

WRONG_TYPE = "-WRONGTYPE Operation against a key holding the wrong kind of value"
NO_INTEGER = "-ERR value is not an integer or out of range"
SYNTAX = "-ERR syntax error"
POSITIVE = "-ERR value is out of range, must be positive"


def arguments(name):
    return f"-ERR wrong number of arguments for '{name}' command"


# Redis 7 answers with the same.
AS_REDIS = {
    "a connection": [
        ("PING", "PONG"), ("ping", "PONG"), ("pInG hello", "hello"), ("PING a b", arguments("ping")),
        ("ECHO hi", "hi"), ("ECHO", arguments("echo")), ("SELECT 0", "OK"),
        ("SELECT 16", "-ERR DB index is out of range"), ("SELECT x", NO_INTEGER),
        ("FOO", "-ERR unknown command 'FOO', with args beginning with: "),
        ("foo bar 'b c'", "-ERR unknown command 'foo', with args beginning with: 'bar' 'b c' "),
        ("'F\r\nO'", "-ERR unknown command 'F  O', with args beginning with: "),
        ("''", "-ERR unknown command '', with args beginning with: "),
        (f"FOO {'x' * 200} y", f"-ERR unknown command 'FOO', with args beginning with: '{'x' * 128}' "),
        (f"{'x' * 200}", f"-ERR unknown command '{'x' * 128}', with args beginning with: "), ("CLIENT GETNAME", None),
        ("CLIENT SETNAME me", "OK"), ("client getname", "me"),
        ("CLIENT SETNAME 'a b'", "-ERR Client names cannot contain spaces, newlines or special characters."),
        ("CLIENT SETNAME", arguments("client|setname")), ("CLIENT SETNAME ''", "OK"), ("CLIENT GETNAME", None),
        ("CLIENT FOO", "-ERR unknown subcommand 'FOO'. Try CLIENT HELP."), ("CLIENT", arguments("client")),
        ("HELLO 9", "-NOPROTO unsupported protocol version"),
        ("HELLO x", "-ERR Protocol version is not an integer or out of range"), ("CONFIG GET save", ["save", ""]),
        ("CONFIG GET appendonly", ["appendonly", "no"]), ("CONFIG GET nosuch", []),
        ("CONFIG GET", arguments("config|get")), ("CONFIG FOO", "-ERR unknown subcommand 'FOO'. Try CONFIG HELP."),
        ("COMMAND DOCS nosuch", []), ("COMMAND FOO", "-ERR unknown subcommand 'FOO'. Try COMMAND HELP."),
        ("INFO nosuch", ""), ("RESET", "RESET"),
    ],
    "strings": [
        ("GET k", None), ("SET k v", "OK"), ("GET k", "v"), ("STRLEN k", 1), ("STRLEN none", 0),
        ("GET", arguments("get")), ("SET k v NX", None), ("SET k w XX", "OK"), ("GET k", "w"), ("SET new w XX", None),
        ("EXISTS new", 0), ("SET new w nx", "OK"), ("SET k v GET", "w"), ("SET none v GET XX", None),
        ("SET k w NX GET", "v"), ("SET k", arguments("set")), ("SET k v FOO", SYNTAX), ("SET k v NX XX", SYNTAX),
        ("SET k v EX", SYNTAX), ("SETNX k x", 0), ("SETNX k2 x", 1), ("GETSET k y", "v"), ("GETSET k3 y", None),
        ("GETDEL k3", "y"), ("GETDEL k3", None), ("MSET a 1 b 2 a 3", "OK"),
        ("MGET a b none k", ["3", "2", None, "y"]), ("MSET a", arguments("mset")), ("MSET a 1 b", arguments("mset")),
        ("APPEND a 45", 3), ("APPEND a 6", 4), ("GET a", "3456"), ("TYPE a", "string"), ("INCR a", 3457),
        ("APPEND c x", 1), ("APPEND a ''", 4), ("SET k ''", "OK"), ("GET k", ""), ("EXISTS k", 1),
        ("SET n\0n \0", "OK"), ("GET n\0n", "\0"),
    ],
    "counters": [
        ("INCR n", 1), ("INCR n", 2), ("DECR n", 1), ("INCRBY n 10", 11), ("DECRBY n 20", -9), ("GET n", "-9"),
        ("INCRBY n x", NO_INTEGER), ("INCRBY n 1.5", NO_INTEGER), ("SET s ' 1'", "OK"), ("INCR s", NO_INTEGER),
        ("SET n 9223372036854775807", "OK"), ("INCR n", "-ERR increment or decrement would overflow"),
        ("DECR n", 2**63 - 2), ("DECRBY n -9223372036854775808", "-ERR decrement would overflow"),
        ("INCRBY n 9223372036854775808", NO_INTEGER), ("SET n -9223372036854775808", "OK"),
        ("DECR n", "-ERR increment or decrement would overflow"), ("GET n", "-9223372036854775808"),
        ("SET e ''", "OK"), ("INCR e", NO_INTEGER),
    ],
    "keys": [
        ("MSET a 1 b 2 c 3", "OK"), ("DBSIZE", 3), ("EXISTS a a none", 2), ("DEL a none b", 2), ("DEL a", 0),
        ("UNLINK c", 1), ("DBSIZE", 0), ("TYPE none", "none"), ("RPUSH l x", 1), ("TYPE l", "list"), ("SADD s x", 1),
        ("TYPE s", "set"), ("HSET h f v", 1), ("TYPE h", "hash"), ("ZADD z 1 m", 1), ("TYPE z", "zset"),
        ("KEYS l", ["l"]), ("KEYS x*", []), ("KEYS", arguments("keys")), ("FLUSHALL x", SYNTAX), ("DBSIZE", 4),
        ("FLUSHALL ASYNC", "OK"), ("DBSIZE", 0), ("SET a 1", "OK"), ("FLUSHDB", "OK"), ("GET a", None),
        ("DEL", arguments("del")),
    ],
    "expiry": [
        ("SET k v EX 100", "OK"), ("TTL k", 100), ("TTL none", -2), ("PTTL none", -2), ("SET k v", "OK"),
        ("TTL k", -1), ("PTTL k", -1), ("EXPIRE k 50", 1), ("TTL k", 50), ("PERSIST k", 1), ("PERSIST k", 0),
        ("PERSIST none", 0), ("PEXPIRE k 70000", 1), ("TTL k", 70), ("APPEND k w", 2), ("TTL k", 70),
        ("SET k v KEEPTTL", "OK"), ("TTL k", 70), ("SET k v XX", "OK"), ("TTL k", -1), ("EXPIRE none 5", 0),
        ("SETEX k 60 v", "OK"), ("TTL k", 60), ("PSETEX k 60000 v", "OK"), ("TTL k", 60), ("GETSET k v", "v"),
        ("TTL k", -1), ("EXPIRE k 0", 1), ("GET k", None), ("SET k v", "OK"), ("EXPIRE k -5", 1), ("EXISTS k", 0),
        ("SET k v EX 0", "-ERR invalid expire time in 'set' command"),
        ("SET k v PX -1", "-ERR invalid expire time in 'set' command"), ("SET k v EX x", NO_INTEGER),
        ("SETEX k 0 v", "-ERR invalid expire time in 'setex' command"), ("SET k v EX 1 PX 1", SYNTAX),
        ("SET k v EX 1 KEEPTTL", SYNTAX), ("SET k v KEEPTTL EX 1", SYNTAX),
        ("PSETEX k 0 v", "-ERR invalid expire time in 'psetex' command"), ("EXPIRE k x", NO_INTEGER),
        ("EXPIRE k 99999999999999999", "-ERR invalid expire time in 'expire' command"), ("EXISTS k", 0),
        ("INCR n", 1), ("EXPIRE n 100", 1), ("INCR n", 2), ("TTL n", 100), ("RPUSH l x", 1), ("EXPIRE l 100", 1),
        ("RPUSH l y", 2), ("TTL l", 100), ("DEL l", 1), ("RPUSH l y", 1), ("TTL l", -1), ("MSET n 1", "OK"),
        ("TTL n", -1),
    ],
    "lists": [
        ("LPUSH l c b a", 3), ("RPUSH l d e", 5), ("LRANGE l 0 -1", list("abcde")), ("LRANGE l 1 2", list("bc")),
        ("LRANGE l -2 -1", list("de")), ("LRANGE l -100 1", list("ab")), ("LRANGE l 3 100", list("de")),
        ("LRANGE l 3 1", []), ("LRANGE l 5 9", []), ("LRANGE none 0 -1", []), ("LRANGE l x 1", NO_INTEGER),
        ("LLEN l", 5), ("LLEN none", 0), ("LINDEX l 0", "a"), ("LINDEX l -1", "e"), ("LINDEX l 5", None),
        ("LINDEX l -6", None), ("LINDEX none 0", None), ("LPOP l", "a"), ("RPOP l", "e"), ("LPOP l 2", list("bc")),
        ("RPOP l 5", ["d"]), ("EXISTS l", 0), ("LPOP l", None), ("LPOP l 2", None), ("RPOP l 0", None),
        ("RPUSH l a b", 2), ("LPOP l 0", []), ("LPOP l -1", POSITIVE), ("LPOP l x", POSITIVE),
        ("RPOP l 2", list("ba")), ("LPUSH l", arguments("lpush")), ("RPUSH l a b c d e", 5), ("LTRIM l 1 3", "OK"),
        ("LRANGE l 0 -1", list("bcd")), ("LTRIM l 0 -1", "OK"), ("LLEN l", 3), ("LTRIM l -1 -1", "OK"),
        ("LRANGE l 0 -1", ["d"]), ("LTRIM l 5 6", "OK"), ("EXISTS l", 0), ("LTRIM l 0 1", "OK"),
    ],
    "sets": [
        ("SADD s a b a", 2), ("SADD s b c", 1), ("SADD s a", 0), ("SCARD s", 3), ("SCARD none", 0),
        ("SISMEMBER s a", 1), ("SISMEMBER s x", 0), ("SREM s a b x", 2), ("SMEMBERS s", ["c"]), ("SMEMBERS none", []),
        ("SPOP s", "c"), ("EXISTS s", 0), ("SPOP s", None), ("SPOP s 3", []), ("SADD s a", 1), ("SPOP s 0", []),
        ("SPOP s -1", POSITIVE), ("SPOP s x", POSITIVE), ("SPOP s 5", ["a"]), ("SADD s", arguments("sadd")),
        ("SREM none x", 0), ("SADD s a", 1), ("SREM s a", 1), ("EXISTS s", 0),
    ],
    "hashes": [
        ("HSET h a 1 b 2", 2), ("HSET h a 3 c 4", 1), ("HGET h a", "3"), ("HGET h x", None), ("HGET none x", None),
        ("HGETALL h", ["a", "3", "b", "2", "c", "4"]), ("HGETALL none", []), ("HMGET h b x", ["2", None]),
        ("HLEN h", 3), ("HEXISTS h a", 1), ("HEXISTS h x", 0), ("HDEL h a x", 1), ("HDEL h b c", 2), ("EXISTS h", 0),
        ("HDEL h a", 0), ("HSET h a", arguments("hset")), ("HSET h a 1 b", arguments("hset")), ("HLEN none", 0),
        ("HMGET none a", [None]),
    ],
    "sorted sets": [
        ("ZADD z 2 b 1 a 3 c", 3), ("ZADD z 2 a", 0), ("ZADD z CH 5 a 1 new", 2), ("ZCARD z", 4), ("ZSCORE z a", "5"),
        ("ZSCORE z x", None), ("ZSCORE none x", None), ("ZRANGE z 0 -1", ["new", "b", "c", "a"]),
        ("ZRANGE z 1 1 WITHSCORES", ["b", "2"]), ("ZRANGE z 9 10", []), ("ZRANGE none 0 -1", []),
        ("ZRANGE z 0 -1 FOO", SYNTAX), ("ZPOPMIN z", ["new", "1"]), ("ZPOPMIN z 2", ["b", "2", "c", "3"]),
        ("ZPOPMIN none", []), ("ZPOPMIN z 0", []), ("ZPOPMIN z -1", POSITIVE), ("ZPOPMIN z x", POSITIVE),
        ("ZREM z x", 0), ("ZREM z a x", 1), ("EXISTS z", 0), ("ZADD z x m", "-ERR value is not a valid float"),
        ("ZADD z nan m", "-ERR value is not a valid float"), ("ZADD z ' 1' m", "-ERR value is not a valid float"),
        ("ZADD z 1_0 m", "-ERR value is not a valid float"), ("ZADD z 1", arguments("zadd")),
        ("ZADD z 1 a 2", SYNTAX), ("ZADD z 1 a x b", "-ERR value is not a valid float"), ("EXISTS z", 0),
        ("ZADD z NX XX 1 a", "-ERR XX and NX options at the same time are not compatible"), ("ZADD z XX 1 a", 0),
        ("EXISTS z", 0), ("ZADD z 0.5 b +inf d -inf a 1e3 c", 4), ("ZADD z NX 7 a 8 e", 1), ("ZADD z XX 7 a 8 f", 0),
        ("ZRANGE z 0 -1 withscores", ["b", "0.5", "a", "7", "e", "8", "c", "1000", "d", "inf"]),
        ("ZADD t 1 b 1 a 1 ab", 3), ("ZRANGE t 0 -1", ["a", "ab", "b"]),
        ("ZPOPMIN t 9", ["a", "1", "ab", "1", "b", "1"]), ("EXISTS t", 0),
    ],
    "another kind of value": [
        ("SET s x", "OK"), ("RPUSH l x", 1), ("SADD u x", 1), ("HSET h f v", 1), ("ZADD z 1 m", 1),
        ("GET l", WRONG_TYPE), ("INCR l", WRONG_TYPE), ("APPEND l x", WRONG_TYPE), ("GETSET l x", WRONG_TYPE),
        ("STRLEN u", WRONG_TYPE), ("SET l x GET", WRONG_TYPE), ("GETDEL l", WRONG_TYPE), ("MGET l s", [None, "x"]),
        ("LPUSH s x", WRONG_TYPE), ("LPOP s", WRONG_TYPE), ("LRANGE h 0 1", WRONG_TYPE), ("LLEN z", WRONG_TYPE),
        ("SADD s x", WRONG_TYPE), ("SPOP l", WRONG_TYPE), ("SMEMBERS h", WRONG_TYPE), ("HSET s f v", WRONG_TYPE),
        ("HGET z f", WRONG_TYPE), ("ZADD s 1 m", WRONG_TYPE), ("ZPOPMIN l", WRONG_TYPE), ("ZRANGE u 0 1", WRONG_TYPE),
        ("DBSIZE", 5), ("SETNX l x", 0), ("SET l x", "OK"), ("GET l", "x"),
    ],
    "transactions": [
        ("MULTI", "OK"), ("SET k 1", "QUEUED"), ("INCR k", "QUEUED"), ("GET k", "QUEUED"), ("EXEC", ["OK", 2, "2"]),
        ("EXEC", "-ERR EXEC without MULTI"), ("DISCARD", "-ERR DISCARD without MULTI"), ("MULTI", "OK"), ("EXEC", []),
        ("MULTI", "OK"), ("SET k 9", "QUEUED"), ("DISCARD", "OK"), ("GET k", "2"), ("MULTI", "OK"),
        ("MULTI", "-ERR MULTI calls can not be nested"), ("WATCH k", "-ERR WATCH inside MULTI is not allowed"),
        ("INCR k", "QUEUED"), ("EXEC", [3]), ("MULTI", "OK"), ("INCR k", "QUEUED"), ("LPUSH k x", "QUEUED"),
        ("INCR k", "QUEUED"), ("EXEC", [4, WRONG_TYPE, 5]), ("MULTI", "OK"), ("INCR k", "QUEUED"),
        ("GET", arguments("get")), ("INCR k", "QUEUED"),
        ("EXEC", "-EXECABORT Transaction discarded because of previous errors."), ("GET k", "5"), ("MULTI", "OK"),
        ("FOO", "-ERR unknown command 'FOO', with args beginning with: "),
        ("EXEC", "-EXECABORT Transaction discarded because of previous errors."), ("GET", arguments("get")),
        ("MULTI", "OK"), ("PING", "QUEUED"), ("EXEC", ["PONG"]), ("MULTI", "OK"), ("SET k 1", "QUEUED"),
        ("RESET", "RESET"), ("EXEC", "-ERR EXEC without MULTI"),
    ],
    "watching": [
        ("WATCH k l", "OK"), ("MULTI", "OK"), ("SET k 1", "QUEUED"), ("EXEC", ["OK"]), ("WATCH k", "OK"),
        ("SET k 2", "OK"), ("MULTI", "OK"), ("SET k 3", "QUEUED"), ("EXEC", None), ("GET k", "2"), ("MULTI", "OK"),
        ("EXEC", []), ("WATCH k", "OK"), ("DEL k", 1), ("MULTI", "OK"), ("EXEC", None), ("WATCH k", "OK"),
        ("DEL k", 0), ("MULTI", "OK"), ("EXEC", []), ("SET k 1", "OK"), ("WATCH k", "OK"), ("EXPIRE k 100", 1),
        ("MULTI", "OK"), ("EXEC", None), ("WATCH k", "OK"), ("SET k 2", "OK"), ("UNWATCH", "OK"), ("MULTI", "OK"),
        ("EXEC", []), ("WATCH k", "OK"), ("FLUSHALL", "OK"), ("MULTI", "OK"), ("EXEC", None), ("RPUSH l x", 1),
        ("WATCH l", "OK"), ("RPOP l", "x"), ("MULTI", "OK"), ("EXEC", None), ("WATCH k k", "OK"), ("GET k", None),
        ("MULTI", "OK"), ("EXEC", []), ("WATCH", arguments("watch")), ("SADD s a", 1), ("WATCH s", "OK"),
        ("SADD s a", 0), ("MULTI", "OK"), ("EXEC", []), ("WATCH k", "OK"), ("MULTI", "OK"), ("DISCARD", "OK"),
        ("SET k 1", "OK"), ("MULTI", "OK"), ("EXEC", []),
    ],
}  # fmt: skip

# What is ours alone.
OURS = {
    "a connection": [
        ("CLIENT SETINFO LIB-NAME redis-py", "OK"), ("CLIENT SETINFO x", arguments("client|setinfo")),
        ("HELLO 3", "-NOPROTO unsupported protocol version"), ("COMMAND", []), ("COMMAND INFO get", []),
        ("SELECT 1", "-ERR DB index is out of range"),
        ("CONFIG GET maxmemory save", ["save", "", "maxmemory", str(256 << 20)]), ("HELLO 2 SETNAME x", SYNTAX),
    ],
    "scores": [
        ("ZADD z 3.1 a 1e300 b -0.25 c", 3), ("ZRANGE z 0 -1 WITHSCORES", ["c", "-0.25", "a", "3.1", "b", "1e+300"]),
    ],
    "a subscription has no place in a transaction": [
        ("MULTI", "OK"), ("SUBSCRIBE c", "-ERR Command not allowed inside a transaction"), ("PING", "QUEUED"),
        ("EXEC", "-EXECABORT Transaction discarded because of previous errors."), ("PING", "PONG"),
    ],
}  # fmt: skip

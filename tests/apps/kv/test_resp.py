"""The parser: however the bytes are cut, the same requests and the same errors. Its errors are those of Redis."""

import random

import pytest

from reactor.apps.kv.bounds import Bounds
from reactor.apps.kv.resp import Parser, ProtocolError, whole_number
from tests.apps.kv.requests import MALFORMED, MOST, REQUESTS, TOO_LONG
from tests.apps.kv.talking import Talker, encode, needs_redis, redis_running

BOUNDS = Bounds()
SMALL = Bounds(arguments=3, argument_bytes=300, request_bytes=700, inline_bytes=100)


def parse(pieces, bounds=BOUNDS):
    """All requests in `pieces`; after them the text of the error, if there was one."""
    parser, found = Parser(bounds), []
    try:
        for piece in pieces:
            parser.feed(piece)
            while (request := parser.next_request()) is not None:
                found.append(request)
    except ProtocolError as exc:
        found.append(str(exc))
    return found


def cuts(data):
    """`data` cut into two at every byte, and into single bytes."""
    yield [bytes([byte]) for byte in data]
    for at in range(1, len(data)):
        yield [data[:at], data[at:]]


@pytest.mark.parametrize("data", REQUESTS)
def test_a_request_is_the_same_however_it_is_cut(data):
    assert parse([data]) == REQUESTS[data]
    for pieces in cuts(data):
        assert parse(pieces) == REQUESTS[data], pieces


@pytest.mark.parametrize("data", MALFORMED)
def test_what_is_no_request_is_the_same_error_however_it_is_cut(data):
    found = parse([data])
    assert found[-1] == MALFORMED[data]
    for pieces in cuts(data):
        assert parse(pieces) == found, pieces


@pytest.mark.parametrize("data", TOO_LONG, ids=TOO_LONG.values())
@pytest.mark.parametrize("piece_bytes", [1000, MOST - 1, MOST, 1 << 20])
def test_a_line_is_too_long_when_it_is(data, piece_bytes):
    rest = data + b"\r\n"
    assert parse([rest[at : at + piece_bytes] for at in range(0, len(rest), piece_bytes)]) == [TOO_LONG[data]]
    assert parse([data[:-1]]) == []


@pytest.mark.parametrize("seed", range(20))
def test_a_stream_of_everything_is_the_same_however_it_is_cut(seed):
    rand = random.Random(seed)
    parts, expected = [], []
    for _ in range(60):
        if rand.random() < 0.3:
            data = rand.choice(list(REQUESTS))
            parts.append(data)
            expected += REQUESTS[data]
        else:
            sizes = [rand.choice([0, 1, 5, 255, 256, 99, 300]) for _ in range(rand.randint(1, 3))]
            request = [rand.choice([b"\r\n", b"$1\r\n", b"ab", b"*"]) * size for size in sizes]
            request = [argument[:size] for argument, size in zip(request, sizes, strict=True)]
            parts.append(encode(*request))
            expected.append(request)
    stream, pieces = b"".join(parts), []
    while stream:
        size = rand.choice([1, 2, 3, 50, 500])
        pieces.append(stream[:size])
        stream = stream[size:]
    # Small bounds, so that some arguments are long enough to be kept apart.
    assert parse(pieces, Bounds(inline_bytes=200)) == expected


@pytest.mark.parametrize("step", [1, 7, 4096, 1 << 20])
def test_a_long_argument_comes_whole(step):
    long = bytes(range(256)) * 300
    stream = encode("SET", long, "x", long) + encode("GET")
    stream = stream if step > 1 else encode("SET", long[: MOST + 10], "x")
    pieces = [stream[at : at + step] for at in range(0, len(stream), step)]
    expected = [[b"SET", long, b"x", long], [b"GET"]] if step > 1 else [[b"SET", long[: MOST + 10], b"x"]]
    assert parse(pieces) == expected


def test_requests_before_an_error_are_returned_first():
    assert parse([b"PING\r\n*1\r\n$3\r\nGET\r\n*x\r\n"]) == [[b"PING"], [b"GET"], "invalid multibulk length"]


@pytest.mark.parametrize("data, error", [
    (b"*4\r\n", "invalid multibulk length"),
    (b"*3\r\n$301\r\n", "invalid bulk length"),
    (encode(b"x" * 300, b"x" * 300, b"x"), "too big request"),
    (b"*3\r\n$300\r\n" + b"x" * 302 + b"$300\r\n", "too big request"),  # known before the argument comes
    (b"x" * 101, "too big inline request"),
    (b"x" * 101 + b"\r\n", "too big inline request"),
])  # fmt: skip
def test_a_bound_that_is_passed_is_an_error(data, error):
    assert parse([data], SMALL) == [error]
    for pieces in cuts(data):
        assert parse(pieces, SMALL) == [error]


@pytest.mark.parametrize("bounds, request_, error", [
    ({"argument_bytes": 10}, [b"x" * 11], "invalid bulk length"),
    ({"arguments": 2}, [b"x"] * 3, "invalid multibulk length"),
    ({"request_bytes": 200}, [b"x" * 50] * 2, "too big request"),
])  # fmt: skip
def test_a_bound_holds_for_small_requests_too(bounds, request_, error):
    assert parse([encode(*request_)], Bounds(**bounds)) == [error]
    assert parse([encode(*request_)]) == [request_]


def test_many_requests_after_one_that_is_not_plain_take_no_longer():
    stream = encode("SET", "k", b"\r\n") + encode("SET", "k", "v") * 3000
    assert parse([stream]) == [[b"SET", b"k", b"\r\n"]] + [[b"SET", b"k", b"v"]] * 3000


@pytest.mark.parametrize("request_", [[b"x", b"y", b"z"], [b"x" * 300], [b"x" * 300, b"y" * 208, b""]])
def test_at_its_bound_a_request_is_taken(request_):
    assert parse([encode(*request_)], SMALL) == [request_]


def test_a_line_at_its_bound_is_taken():
    assert parse([b"x" * 100 + b"\n"], SMALL) == [[b"x" * 100]]


def test_what_it_keeps_is_what_came_and_not_what_was_announced():
    parser = Parser(BOUNDS)
    parser.feed(b"*2\r\n$3\r\nSET\r\n$8000000\r\n" + b"x" * 1000)
    assert parser.next_request() is None
    assert 1000 <= parser.waiting() < 1200
    parser.feed(b"x" * 100_000)
    assert parser.next_request() is None
    assert 101_000 <= parser.waiting() < 101_200


@pytest.mark.parametrize("data", [encode("GET", "k"), b"PING\r\n", encode("SET", "k", b"x" * 100_000), b"*0\r\n"])
@pytest.mark.parametrize("cut", [1, 5, 1 << 20])
def test_between_requests_it_keeps_nothing(data, cut):
    parser = Parser(BOUNDS)
    for piece in (data[:cut], data[cut:]):
        parser.feed(piece)
        while parser.next_request() is not None:
            pass
    assert parser.waiting() == 0
    assert not parser._data and not parser._part


@pytest.mark.parametrize("text, number", [
    (b"0", 0), (b"7", 7), (b"-7", -7), (b"9223372036854775807", 2**63 - 1), (b"-9223372036854775808", -(2**63)),
    (b"9223372036854775808", None), (b"-9223372036854775809", None), (b"", None), (b"-", None), (b"+1", None),
    (b" 1", None), (b"1 ", None), (b"01", None), (b"-0", None), (b"00", None), (b"1_0", None), (b"1.0", None),
    (b"\xd9\xa1", None), (b"9" * 100_000, None),
])  # fmt: skip
def test_a_number_has_one_spelling(text, number):
    assert whole_number(text) == number


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    with redis_running(tmp_path_factory.mktemp("redis")) as address:
        yield address


@needs_redis
@pytest.mark.parametrize("data, error", [*MALFORMED.items(), *TOO_LONG.items()], ids=ascii)
def test_redis_says_the_same(redis, data, error):
    with Talker(redis) as talker:
        talker.send(data)
        said = talker.rest().decode("latin-1")
    assert said.endswith(f"-ERR Protocol error: {error}\r\n"), said


@needs_redis
@pytest.mark.parametrize("data", REQUESTS)
def test_redis_finds_as_many_requests(redis, data):
    with Talker(redis) as talker:
        talker.send(data + encode("ECHO", "the end"))
        for request in REQUESTS[data]:
            said = talker.hear()
            assert (said == "PONG") is (request == [b"PING"]), said
        assert talker.hear() == "the end"

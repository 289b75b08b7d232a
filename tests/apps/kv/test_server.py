"""The server over real sockets: pipelining, malformed requests, back-pressure, expiry, and clients that misbehave."""

import contextlib
import signal
import socket
import threading

import pytest

from tests.apps.kv.requests import MALFORMED
from tests.apps.kv.talking import Talker, encode
from tests.support import receive, run_reactor, serving, wait_until

MIB = 1 << 20
SMALL = "tests.apps.kv.kv_programs:small"


@pytest.fixture(scope="module")
def server():
    with serving("kv") as server:
        yield server


@pytest.fixture
def talk(server):
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(Talker(server.address))


def test_many_requests_in_one_segment_are_answered_in_order(talk):
    talker = talk()
    count = 5000  # more than one turn answers
    talker.send(b"".join(encode("ECHO", number) for number in range(count)))
    assert talker.hear_all(count) == list(map(str, range(count)))


def test_a_request_may_come_byte_by_byte(talk):
    talker = talk()
    for byte in encode("SET", "bytewise", b"\r\n$\x00") + encode("GET", "bytewise"):
        talker.send(bytes([byte]))
    assert talker.hear_all(2) == ["OK", "\r\n$\x00"]


def test_a_person_with_nc_is_answered_too(talk):
    talker = talk()
    talker.send(b"SET typed 'by hand'\nGET typed\n\n")
    assert talker.hear_all(2) == ["OK", "by hand"]


def test_large_values_come_back_whole(talk):
    talker = talk()
    value = bytes(range(256)) * 16_384
    assert talker.ask("SET", "large", value) == "OK"
    assert talker.ask("GET", "large") == value


@pytest.mark.parametrize("data", MALFORMED)
def test_a_malformed_request_is_told_and_ends_its_connection_alone(talk, data):
    neighbour = talk()
    assert neighbour.ask("PING") == "PONG"
    for cut in range(0, len(data), 5):
        talker = talk()
        talker.send(data[:cut])
        talker.send(data[cut:])
        with contextlib.suppress(OSError):  # it may have ended already
            talker.send(encode("SET", "after", "x"))
        told = talker.rest().decode("latin-1")
        assert told.endswith(f"-ERR Protocol error: {MALFORMED[data]}\r\n")
    assert neighbour.ask("EXISTS", "after") == 0


def test_what_came_before_a_malformed_request_is_answered(talk):
    talker = talk()
    talker.send(encode("ECHO", "first") + b"*x\r\n")
    assert talker.rest() == b"$5\r\nfirst\r\n-ERR Protocol error: invalid multibulk length\r\n"


def test_quit_ends_the_connection_after_its_reply_and_what_follows_is_not_run(talk):
    talker = talk()
    talker.send(encode("SET", "last", "1") + encode("QUIT") + encode("SET", "last", "2"))
    assert talker.rest() == b"+OK\r\n+OK\r\n"
    assert talk().ask("GET", "last") == "1"


def test_a_request_of_a_browser_ends_its_connection_without_a_word(talk):
    for method in (b"POST", b"GET"):
        talker = talk()
        talker.send(method + b" / HTTP/1.1\r\nHost: x\r\n\r\nSET posted x\r\n")
        assert not talker.rest().endswith(b"+OK\r\n")
    assert talk().ask("EXISTS", "posted") == 0


def test_a_client_that_has_ended_its_side_is_answered(talk):
    talker = talk()
    talker.send(encode("ECHO", "a") * 3000)
    talker.socket.shutdown(socket.SHUT_WR)
    assert talker.rest() == b"$1\r\na\r\n" * 3000


def test_a_transaction_of_one_is_never_seen_in_the_middle_by_another(talk):
    writer, reader = talk(), talk()
    writer.ask("MSET", "left", 0, "right", 0)
    rounds = 300

    def write():
        for number in range(rounds):
            requests = ["MULTI"], ["SET", "left", number], ["SET", "right", number], ["EXEC"]
            for request in requests:
                writer.ask(*request)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        while thread.is_alive():
            left, right = reader.ask("MGET", "left", "right")
            assert left == right
    finally:
        thread.join()
    assert reader.ask("GET", "left") == str(rounds - 1)


def test_subscribers_hear_what_is_published(talk):
    publisher, first, second = talk(), talk(), talk()
    assert first.ask("SUBSCRIBE", "news") == ["subscribe", "news", 1]
    assert second.ask("PSUBSCRIBE", "n*") == ["psubscribe", "n*", 1]
    for number in range(1000):
        publisher.send(encode("PUBLISH", "news", number))
    assert publisher.hear_all(1000) == [2] * 1000
    assert first.hear_all(1000) == [["message", "news", str(number)] for number in range(1000)]
    assert second.hear_all(1000) == [["pmessage", "n*", "news", str(number)] for number in range(1000)]
    first.vanish()
    second.leave()
    wait_until(lambda: publisher.ask("PUBLISH", "news", "x") == 0, "the end of both subscribers")


def test_info_tells_what_the_reactor_counts(talk):
    talker = talk()
    facts = dict(line.split(":") for line in talker.ask("INFO").split("\r\n") if ":" in line)
    for name in ("connected_clients", "total_connections_received", "total_net_input_bytes", "total_net_output_bytes"):
        assert int(facts[name]) > 0, name


# Expiry.


def test_keys_that_nobody_asks_for_are_swept_too():
    with serving(SMALL) as server, Talker(server.address) as talker:
        for number in range(100):  # more than one look removes
            talker.send(encode("SET", number, "x", "PX", 1))
        assert talker.hear_all(100) == ["OK"] * 100
        wait_until(lambda: "expired_keys:100" in talker.ask("INFO", "stats"), "the sweep")
        assert talker.ask("DBSIZE") == 0
        server.wait_until_idle("the sweep")  # no key expires, so nothing looks for one
        assert talker.ask("SET", "later", "x", "PX", "1") == "OK"  # and another sweep begins
        wait_until(lambda: talker.ask("DBSIZE") == 0, "another sweep")
        assert server.terminate() == 0


# What is bounded.


def test_a_store_that_is_full_refuses_to_add():
    with serving(SMALL) as server, Talker(server.address) as talker:
        replies = [talker.ask("SET", number, "x" * 1000) for number in range(200)]
        refused = "-OOM command not allowed when used memory > 'maxmemory'."
        assert set(replies) == {"OK", refused} and replies == sorted(replies, reverse=True)
        assert talker.ask("GET", 0) == "x" * 1000
        assert talker.ask("FLUSHALL") == "OK"
        assert talker.ask("SET", "k", "v") == "OK"
        assert server.terminate() == 0


def test_how_much_it_keeps_is_an_option():
    with serving("kv", "--max-bytes", "2,000") as server, Talker(server.address) as talker:
        assert talker.ask("CONFIG", "GET", "maxmemory") == ["maxmemory", "2000"]
        assert server.terminate() == 0
    mistakes = {"0": "max_bytes must be at least 1, not 0", "x": "a whole number of bytes is needed, not 'x'"}
    for wrong, told in mistakes.items():
        done = run_reactor("serve", "kv", "--max-bytes", wrong)
        assert (done.returncode, done.stdout) == (2, "")
        assert told in done.stderr and done.stderr.count("\n") == 1


def test_a_client_that_asks_for_much_and_reads_nothing_is_not_answered_further():
    with serving("kv") as server, Talker(server.address) as talker, Talker(server.address) as greedy:
        value = b"x" * MIB
        assert talker.ask("SET", "large", value) == "OK"
        count = 500  # in 13 KB of requests
        greedy.send(encode("GET", "large") * count)
        assert talker.ask("PING") == "PONG"
        server.wait_until_idle("what it can do without a reader")
        assert server.peak_resident_bytes() < 64 * MIB
        for _ in range(count):
            assert receive(greedy.socket, len(value) + 12) == b"$1048576\r\n" + value + b"\r\n"
        assert server.terminate() == 0


def test_while_many_slow_requests_of_one_client_are_answered_the_others_have_their_turns():
    with serving("kv") as server, Talker(server.address) as busy, Talker(server.address) as other:
        for number in range(50):
            pairs = [part for key in range(100) for part in (f"{number}-{key}", "x")]
            assert busy.ask("MSET", *pairs) == "OK"
        count = 3000  # half a millisecond each, in two or three segments
        busy.send(encode("KEYS", "nosuch*x") * count)
        for _ in range(5):
            assert other.ask("PING") == "PONG"
        busy.socket.setblocking(False)
        answered = 0
        with contextlib.suppress(BlockingIOError):
            while data := busy.socket.recv(1 << 16):
                answered += data.count(b"*0\r\n")
        assert answered < count
        busy.vanish()  # and the rest is not run
        assert other.ask("PING") == "PONG"
        assert server.terminate() == 0


def test_a_subscriber_that_does_not_read_is_ended_and_holds_up_nobody():
    options = ["--output-hard-bytes", str(MIB), "--log-format", "json"]
    with serving("kv", *options) as server, contextlib.ExitStack() as stack:
        publisher, slow, reader = (stack.enter_context(Talker(server.address)) for _ in range(3))
        for subscriber in (slow, reader):
            assert subscriber.ask("SUBSCRIBE", "c") == ["subscribe", "c", 1]
        message, count, heard = "x" * 10_000, 2000, 0
        for _ in range(count):
            assert publisher.ask("PUBLISH", "c", message) in (1, 2)
            heard += reader.hear() == ["message", "c", message]
        assert heard == count
        assert publisher.ask("PUBLISH", "c", "last") == 1
        wait_until(lambda: server.statistics()["closed"]["slow_reader"] == 1, "its end")
        assert server.peak_resident_bytes() < 64 * MIB
        assert server.terminate() == 0


def test_an_unfinished_request_has_a_deadline():
    with serving("kv", "--frame-seconds", "0.2", "--log-format", "json") as server, contextlib.ExitStack() as stack:
        patient, slow, queueing = (stack.enter_context(Talker(server.address)) for _ in range(3))
        assert patient.ask("PING") == "PONG"
        assert queueing.ask("MULTI") == "OK"
        assert queueing.ask("PING") == "QUEUED"
        with contextlib.suppress(ConnectionError):
            slow.send(b"*2\r\n$4\r\nECHO\r\n$1000000\r\n")
            while True:
                slow.send(b"x")  # something comes all the time, and it is never whole
        assert server.statistics()["closed"]["frame_timeout"] == 1
        assert patient.ask("PING") == "PONG"
        assert queueing.ask("EXEC") == ["PONG"]


def test_unfinished_requests_count_and_the_largest_is_ended_when_they_are_too_many():
    options = ["--memory-bytes", str(8 * MIB), "--log-format", "json"]
    with serving("kv", *options) as server, contextlib.ExitStack() as stack:
        talkers = [stack.enter_context(Talker(server.address)) for _ in range(8)]
        for talker in talkers:
            with contextlib.suppress(ConnectionError):
                talker.send(b"*2\r\n$4\r\nECHO\r\n$8000000\r\n" + b"x" * 2 * MIB)
        wait_until(lambda: server.statistics()["closed"]["memory"] >= 4, "the end of half of them")
        with Talker(server.address) as other:
            assert other.ask("PING") == "PONG"
        assert server.statistics()["buffered_bytes"] <= 8 * MIB
        assert server.terminate() == 0


# The log, and the end.


def test_nothing_that_a_client_sends_reaches_the_log():
    with serving("kv", "--verbose") as server:
        name = encode("CLIENT", "SETNAME", "\x1b[2Jmarker")
        for data in (b"\x1b[2J\x1b]0;x\x07 marker\r\n", b"*1\r\n\x1b[2Jmarker\r\n", name):
            with Talker(server.address) as talker:
                talker.send(data)
                talker.send(encode("QUIT"))
                talker.rest()
        assert server.terminate() == 0
        assert "marker" not in server.stderr.text and "\x1b" not in server.stderr.text


def test_it_ends_cleanly_with_idle_clients_subscribers_transactions_and_half_requests():
    with serving("kv") as server, contextlib.ExitStack() as stack:
        idle, subscriber, queueing, half = (stack.enter_context(Talker(server.address)) for _ in range(4))
        assert idle.ask("SET", "k", "v", "EX", "1000") == "OK"
        assert subscriber.ask("SUBSCRIBE", "c") == ["subscribe", "c", 1]
        assert queueing.ask("MULTI") == "OK"
        half.send(encode("PING") + b"*2\r\n$4\r\nEC")
        assert half.hear() == "PONG"
        server.send_signal(signal.SIGTERM)
        for talker in (idle, subscriber, queueing, half):
            assert talker.rest() == b""
            talker.leave()
        assert server.wait() == 0
        assert "Traceback" not in server.stderr.text

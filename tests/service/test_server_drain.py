"""How a `Server` completes what is under way, and how it counts every connection."""

import os
import signal
import threading

import pytest

from reactor import Limits, Server
from reactor.apps.echo import Echo
from tests.support import DEADLINE_SECONDS, connect, exchange, receive, receive_all, reset, socket_address, wait_until

ANY_PORT = "127.0.0.1:0"


def address_of(server):
    return socket_address(server.addresses[0])


def test_a_drain_ends_idle_connections(reporter, ends):
    with Server(reporter, bind=ANY_PORT, limits=Limits(drain_seconds=60, linger_seconds=60)) as server:
        with connect(address_of(server)) as client:
            assert exchange(client, b"hello") == b"hello"
            server.close()
            assert client.recv(1) == b""
        assert ends.get(timeout=DEADLINE_SECONDS) == ("closed", None)


def test_a_drain_completes_the_reply_that_is_under_way(reporter, ends):
    with Server(reporter, bind=ANY_PORT, limits=Limits(drain_seconds=60)) as server:
        with connect(address_of(server)) as client:
            client.sendall(b"b")
            receive(client, 1)
            server.close()
            assert len(receive_all(client)) == 16 * 1024 * 1024 - 1
        assert ends.get(timeout=DEADLINE_SECONDS) == ("closed", None)


def test_a_drain_cuts_who_never_reads_at_the_deadline(reporting, ends):
    with connect(address_of(reporting)) as client:
        client.sendall(b"b")
        receive(client, 1)
        reporting.close()
        reason, error = ends.get(timeout=DEADLINE_SECONDS)
        assert reason == "drain_timeout"
        assert str(error) == "not finished within the 0.2 seconds of a drain"
        with pytest.raises(ConnectionResetError):
            receive_all(client)


def test_a_drain_waits_for_no_client_that_never_ends_its_side(reporting, ends):
    # An idle client ignores our FIN. The server owes it nothing, so its end does not count as cut.
    with connect(address_of(reporting)) as client:
        assert exchange(client, b"hello") == b"hello"
        reporting.close()
        assert ends.get(timeout=DEADLINE_SECONDS) == ("linger_timeout", None)
        reporting._thread.join(DEADLINE_SECONDS)
        assert reporting._drain.cut == 0


def test_a_drain_accepts_nobody(reporter):
    with Server(reporter, bind=ANY_PORT, limits=Limits(drain_seconds=60)) as server:
        with connect(address_of(server)) as client:
            client.sendall(b"b")
            receive(client, 1)
            server.close()
            wait_until(lambda: not server._listeners, "the listener's end, long before the server's")
            with pytest.raises(ConnectionRefusedError):
                connect(address_of(server))
            receive_all(client)


def test_a_second_signal_cuts_what_the_first_was_waiting_for(reporter, ends):
    server = Server(reporter, bind=ANY_PORT, limits=Limits(drain_seconds=3600))
    server.listen()
    with connect(address_of(server)) as client:
        client.sendall(b"b")

        def signals():
            receive(client, 1)
            os.kill(os.getpid(), signal.SIGTERM)
            wait_until(lambda: server._drain.begun, "the drain")
            os.kill(os.getpid(), signal.SIGTERM)

        thread = threading.Thread(target=signals)
        thread.start()
        assert server.run() == 1
        thread.join()
    assert ends.get(timeout=DEADLINE_SECONDS) == ("shutdown", None)


# Statistics.


def test_statistics_account_for_every_connection_by_the_reason_of_its_end(reporting, ends, caplog):
    def deed(letter):
        client = connect(address_of(reporting))
        client.sendall(letter)
        return client

    assert reporting.statistics()["accepted"] == 0
    idle, left, gone = deed(b"0"), deed(b"1"), deed(b"2")
    for client in (idle, left, gone):
        assert len(receive(client, 1)) == 1
    assert reporting.statistics()["open"] == reporting.statistics()["accepted"] == 3
    left.close()
    assert ends.get(timeout=DEADLINE_SECONDS) == ("peer_closed", None)
    reset(gone)
    assert ends.get(timeout=DEADLINE_SECONDS)[0] == "reset"
    for letter, reason in ((b"c", "closed"), (b"a", "aborted"), (b"x", "handler_error")):
        deed(letter).close()
        assert ends.get(timeout=DEADLINE_SECONDS)[0] == reason
    never_reads = deed(b"b")
    receive(never_reads, 1)
    reporting.close()
    at_deadline = {ends.get(timeout=DEADLINE_SECONDS)[0] for _ in range(2)}
    assert at_deadline == {"drain_timeout", "linger_timeout"}  # in any order
    idle.close(), never_reads.close()
    reporting._thread.join(DEADLINE_SECONDS)

    statistics = reporting.statistics()
    ended = {reason: count for reason, count in statistics["closed"].items() if count}
    reasons = ("peer_closed", "reset", "closed", "aborted", "handler_error", "drain_timeout", "linger_timeout")
    assert ended == dict.fromkeys(reasons, 1)
    assert statistics["accepted"] == sum(statistics["closed"].values()) == 7
    assert statistics["open"] == 0


def test_statistics_count_the_bytes_of_both_directions():
    with Server(Echo, bind=ANY_PORT) as server:
        with connect(address_of(server)) as client:
            for size in (1, 1000, 100_000):
                exchange(client, bytes(size))
        wait_until(lambda: server.statistics()["open"] == 0, "the client's end")
        statistics = server.statistics()
        assert statistics["bytes_received"] == statistics["bytes_sent"] == 101_001
        assert 3 <= statistics["receives"] <= 101_001

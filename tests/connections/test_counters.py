"""The counters add up, and a snapshot does not change later."""

import json
import socket

from reactor import CloseReason
from reactor.connections.counters import Counters
from reactor.loop.counters import LoopCounters
from tests.rig import Recorder, StubReactor, StubSocket, adopt, turn_until


def test_all_begin_at_zero():
    snapshot = Counters().snapshot()
    assert snapshot.pop("closed") == {reason.value: 0 for reason in CloseReason}
    assert set(snapshot.pop("lag_seconds").values()) == {0}
    assert set(snapshot.values()) == {0}


def test_open_is_what_came_in_either_way_and_has_not_ended():
    counters = Counters()
    counters.accepted, counters.connected = 5, 2
    counters.closed[CloseReason.RESET] += 3
    assert counters.open == 4
    assert counters.snapshot()["open"] == 4


def test_a_snapshot_does_not_change_afterwards():
    counters = Counters()
    snapshot = counters.snapshot()
    counters.accepted += 1
    counters.closed[CloseReason.RESET] += 1
    assert snapshot["accepted"] == 0
    assert snapshot["closed"]["reset"] == 0


def test_a_snapshot_is_fit_for_json_and_has_every_counter():
    snapshot = Counters().snapshot()
    assert json.loads(json.dumps(snapshot)) == snapshot
    assert set(snapshot) == {*Counters.__slots__, *LoopCounters.__slots__, "open", "lag_seconds"} - {"lag"}


def test_the_lag_is_told_by_percentile_as_an_upper_bound():
    counters = Counters()
    assert counters.lag_at(0.99) == 0
    counters.lag[0] = 90  # below 1 µs
    counters.lag[10] = 9  # below 1,024 µs
    counters.lag[20] = 1  # below 1,048,576 µs
    assert [counters.lag_at(share) for share in (0.5, 0.9, 0.91, 0.99, 1.0)] == [
        1e-6, 1e-6, 1024e-6, 1024e-6, 1048576e-6
    ]  # fmt: skip
    assert counters.snapshot()["lag_seconds"] == {"p50": 1e-6, "p99": 1024e-6, "max": 1048576e-6}


def test_a_life_is_accounted_for(reactor, pair):
    ours, theirs = pair
    protocol = Recorder(data_received=lambda recorder, data: recorder.connection.write(b"answer"))
    adopt(reactor, ours, protocol)
    theirs.sendall(b"hello")
    theirs.shutdown(socket.SHUT_WR)
    turn_until(reactor, lambda: protocol.lost, "the end")
    counters = reactor.counters.snapshot()
    assert (counters["connected"], counters["open"], counters["closed"]["peer_closed"]) == (1, 0, 1)
    assert sum(counters["closed"].values()) == 1
    assert (counters["receives"], counters["bytes_received"]) == (1, 5)
    assert (counters["sends"], counters["bytes_sent"]) == (1, 6)
    assert counters["iterations"] > 0


def test_a_send_that_took_nothing_is_not_counted():
    reactor = StubReactor()
    connection = adopt(reactor, StubSocket(sends=[BlockingIOError(), 2]), Recorder())
    connection.write(b"abc")
    reactor.finish()
    assert (reactor.counters.sends, reactor.counters.bytes_sent) == (0, 0)
    reactor.dispatcher.settle(connection)
    assert (reactor.counters.sends, reactor.counters.bytes_sent) == (1, 2)


def test_a_thousand_writes_to_what_has_ended_are_counted_and_logged_once(reactor, pair, caplog):
    caplog.set_level("INFO")
    connection = adopt(reactor, pair[0], Recorder())
    connection.abort()
    for _ in range(1000):
        connection.write(b"late")
    reactor.run_once(0)
    assert reactor.counters.dropped_writes == connection._dropped_writes == 1000
    assert len([record for record in caplog.records if "dropped" in record.message]) == 1

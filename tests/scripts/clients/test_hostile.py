"""Hostile clients against a real server: it ends those whom its limits forbid, and the honest notice nothing."""

import contextlib
import dataclasses
import functools
import pathlib
import socket
import time

import pytest

from reactor import Protocol, Reactor, Server
from reactor.net.addresses import parse, resolve
from scripts.clients import hostile
from scripts.clients.hostile import Crowd, Flood, Hostility, Tally
from scripts.clients.messages import PIECE_BYTES
from scripts.clients.report import explanations, summarize
from scripts.clients.swarm import Load, Swarm, client_limits
from tests.rig import turn_until, turn_until_idle
from tests.support import DEADLINE_SECONDS, serving, wait_until

HERE = pathlib.Path(__file__).parent
HONEST = Load(connections=5, messages=3, size=64, rate=0, timeout_seconds=DEADLINE_SECONDS)


class Sink(Protocol):
    """Takes everything and answers nothing."""


def endpoints_of(server):
    return resolve(parse(server.addresses[0]))


class Siege:
    """Hostile clients at `server`, with honest ones coming and going beside them; all of these are served right."""

    def __init__(self, reactor, server, hostility):
        self.reactor, self.server = reactor, server
        self.crowd = Crowd(reactor, endpoints_of(server), hostility, HONEST.size)
        self.honest = 0

    def until(self, condition):
        done = []
        self.crowd.start(lambda: done.append(True))
        turn_until(self.reactor, lambda: done, "the hostile clients are connected")
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition(self.crowd):
            assert time.monotonic() < deadline, self.crowd.tallies
            swarm = Swarm(self.reactor, endpoints_of(self.server), HONEST)
            swarm.run()
            assert summarize(swarm)["complete"] == HONEST.connections, summarize(swarm)
            self.honest += HONEST.connections
        self.crowd.leave()
        turn_until(self.reactor, lambda: not self.crowd.members, "the hostile clients have left")
        return self.crowd.tallies


@contextlib.contextmanager
def besieging(program, *options, **counts):
    """Serve `program` with these limits, besieged by so many of each kind; at the end nobody is left there."""
    with serving(program, "--log-format", "json", *options, cwd=HERE) as server:
        before = server.descriptors()
        with Reactor(limits=client_limits(HONEST)) as reactor:
            yield Siege(reactor, server, Hostility(**counts))
        wait_until(lambda: server.statistics()["open"] == 0, "every connection has ended")
        assert server.descriptors() == before


def ended_for(server):
    """How many connections ended for each reason that there was."""
    wait_until(lambda: server.statistics()["open"] == 0, "every connection has ended")
    return {reason: count for reason, count in server.statistics()["closed"].items() if count}


def test_slow_readers_are_ended_when_they_take_nothing_for_too_long():
    with besieging("echo", "--write-stall-seconds=0.2", slow_readers=3) as siege:
        [tally] = siege.until(lambda crowd: crowd.tallies["slow_readers"].ended_by_reset == 3).values()
        assert tally.bytes_sent > 0
        assert tally == Tally(connected=3, ended_by_reset=3, bytes_sent=tally.bytes_sent)
        assert ended_for(siege.server) == {"write_stalled": 3, "peer_closed": siege.honest}


def test_a_firehose_is_served_and_so_are_the_others():
    with besieging("echo", firehose=1) as siege:
        [tally] = siege.until(lambda crowd: crowd.tallies["firehose"].bytes_received > 16 << 20).values()
        assert tally.bytes_sent + PIECE_BYTES >= tally.bytes_received
        assert tally == Tally(connected=1, bytes_sent=tally.bytes_sent, bytes_received=tally.bytes_received)
        assert ended_for(siege.server) == {"reset": 1, "peer_closed": siege.honest}  # it left, as all of them do


def test_slowloris_is_ended_by_the_deadline_of_a_frame_that_a_trickle_does_not_push_back(monkeypatch):
    monkeypatch.setattr(hostile, "SLOWLORIS_SECONDS", 0.05)
    options = "--frame-seconds=0.3", "--first-byte-seconds=10", "--idle-seconds=10"
    with besieging("record_echo:RecordEcho", *options, slowloris=5) as siege:
        [tally] = siege.until(lambda crowd: ended(crowd.tallies["slowloris"]) == 5).values()
        assert (tally.connected, tally.bytes_received, tally.vanished) == (5, 0, 0)
        assert 5 < tally.bytes_sent < 5 * HONEST.size
        assert ended_for(siege.server) == {"frame_timeout": 5, "peer_closed": siege.honest}


def ended(tally):
    return tally.ended_by_eof + tally.ended_by_reset


def test_slowloris_that_pauses_for_longer_than_idle_seconds_is_idle():
    with besieging("echo", "--idle-seconds=0.5", slowloris=5) as siege:
        [tally] = siege.until(lambda crowd: crowd.tallies["slowloris"].ended_by_eof == 5).values()
        assert tally == Tally(connected=5, ended_by_eof=5, bytes_sent=5, bytes_received=5)
        assert ended_for(siege.server) == {"idle_timeout": 5, "peer_closed": siege.honest}


def test_who_vanishes_is_back_at_once_by_reset_and_by_fin_in_turn():
    with besieging("echo", vanish=4) as siege:
        [tally] = siege.until(lambda crowd: crowd.tallies["vanish"].vanished >= 20).values()
        assert tally.vanished <= tally.connected <= tally.vanished + 4
        assert ended(tally) == tally.failed == 0
        assert tally.bytes_sent == tally.connected * HONEST.size // 2
        reasons = ended_for(siege.server)
        assert set(reasons) == {"reset", "peer_closed"}
        assert sum(reasons.values()) == tally.connected + siege.honest
        # Those who were there in the end left by a reset, be it after their FIN.
        assert reasons["reset"] >= (tally.vanished + 1) // 2
        assert reasons["peer_closed"] >= siege.honest + tally.vanished // 2 - 4


def test_they_go_when_the_honest_clients_have_ended():
    load = dataclasses.replace(HONEST, hostility=Hostility(slow_readers=1, firehose=1, slowloris=1, vanish=1))
    with Server(Sink, bind="127.0.0.1:0") as server, Reactor(limits=client_limits(load)) as reactor:
        swarm = Swarm(reactor, endpoints_of(server), dataclasses.replace(load, timeout_seconds=0.1))
        swarm.run()
        assert swarm.crowd.over
        turn_until(reactor, lambda: not swarm.crowd.members, "they have left")
        assert summarize(swarm)["errors"]["timed_out"] == HONEST.connections


# What they may cost.


def test_they_leave_when_their_time_is_up_and_do_not_come_again():
    hostility = Hostility(slow_readers=1, firehose=1, slowloris=2, vanish=2, seconds=0.1)
    with Server(Sink, bind="127.0.0.1:0") as server, Reactor() as reactor:
        crowd = Crowd(reactor, endpoints_of(server), hostility, 64)
        crowd.start(lambda: None)
        nobody = lambda: not crowd.members and not reactor.at_close  # noqa: E731  # neither connected nor connecting
        turn_until(reactor, lambda: crowd.over and nobody(), "they have left")
        connected = {kind: tally.connected for kind, tally in crowd.tallies.items()}
        enough = reactor.time() + 3 * crowd.vanish_seconds
        turn_until(reactor, lambda: reactor.time() > enough, "whoever comes again would be here")
        assert {kind: tally.connected for kind, tally in crowd.tallies.items()} == connected
        assert sum(ended(tally) for tally in crowd.tallies.values()) == 0


def test_a_slow_reader_gives_up_on_a_server_that_takes_everything(monkeypatch):
    monkeypatch.setitem(hostile.KINDS, "slow_readers", functools.partial(Flood, reads=False, most=2 * PIECE_BYTES))
    with Server(Sink, bind="127.0.0.1:0") as server, Reactor() as reactor:
        crowd = Crowd(reactor, endpoints_of(server), Hostility(slow_readers=1), 64)
        crowd.start(lambda: None)
        tally = crowd.tallies["slow_readers"]
        turn_until(reactor, lambda: tally.bytes_sent == 2 * PIECE_BYTES, "it has sent all that it ever will")
        turn_until_idle(reactor)
        wait_until(lambda: server.statistics()["bytes_received"] == 2 * PIECE_BYTES, "the server has it")
        assert (tally.bytes_sent, len(crowd.members)) == (2 * PIECE_BYTES, 1)


def test_half_a_message_is_at_most_a_piece():
    with Reactor() as reactor:
        assert len(Crowd(reactor, [], Hostility(), 1 << 30).half_message) == PIECE_BYTES


@pytest.mark.parametrize("kind", hostile.KINDS)
def test_who_cannot_connect_is_counted_and_only_who_vanishes_tries_again(kind):
    with socket.socket() as not_listening, Reactor() as reactor:
        not_listening.bind(("127.0.0.1", 0))
        endpoints = resolve(parse(f"127.0.0.1:{not_listening.getsockname()[1]}"))
        swarm = Swarm(reactor, endpoints, Load(1, 1, 64, 0, DEADLINE_SECONDS, Hostility(**{kind: 3})))
        done = []
        swarm.crowd.start(lambda: done.append(True))
        tally = swarm.crowd.tallies[kind]
        turn_until(reactor, lambda: tally.failed >= (6 if kind == "vanish" else 3), "they have tried")
        turn_until_idle(reactor)
        assert done == [True]
        assert tally.failed == 3 or kind == "vanish"
        assert (tally.connected, reactor.counters.callback_errors) == (0, 0)
        [sentence] = explanations(swarm)
        assert sentence == f"{tally.failed} clients of {kind.replace('_', ' ')} could not connect: Connection refused"

"""All clients together: what is counted, and what is said about it, during the run and after."""

import errno
import io
import itertools
import socket

import pytest

from reactor import Protocol, Reactor, Server
from reactor.net.addresses import parse, resolve
from scripts.clients.client import Outcome
from scripts.clients.messages import PIECE_BYTES
from scripts.clients.progress import BAR_COLUMNS, Progress
from scripts.clients.report import summarize
from scripts.clients.swarm import Load, Phase, Swarm, client_limits
from scripts.clients.verdict import explanations

LOAD = Load(connections=10, messages=4, size=64, rate=0, timeout_seconds=30)


class Echo(Protocol):
    def connection_made(self, connection):
        self.connection = connection

    def data_received(self, data):
        self.connection.write(data)


class Silent(Protocol):
    pass


def sockets_failing_with(number, after):
    """A socket factory: the first `after` sockets connect, the others fail with the error `number`."""
    made = itertools.count()

    class FailingSocket(socket.socket):
        def connect_ex(self, _address):
            return number

    return lambda *args: (socket.socket if next(made) < after else FailingSocket)(*args)


def swarm_against(server, reactor, load=LOAD):
    return Swarm(reactor, resolve(parse(server.addresses[0])), load)


def test_no_deadline_of_the_reactor_comes_before_that_of_the_clients():
    limits = client_limits(Load(connections=1, messages=1, size=64, rate=0, timeout_seconds=86400))
    fields = "connect_seconds", "first_byte_seconds", "idle_seconds", "write_stall_seconds"
    assert min(getattr(limits, field) for field in fields) == 86400


def test_all_clients_may_keep_two_pieces_each():
    limits = client_limits(Load(connections=10_000, messages=1, size=1 << 20, rate=0, timeout_seconds=10))
    assert limits.memory_bytes >= 10_000 * 2 * PIECE_BYTES


def test_the_phases_come_in_order_and_the_bar_follows_them():
    with Server(Echo, bind="127.0.0.1:0") as server, Reactor() as reactor:
        swarm = swarm_against(server, reactor)
        progress = Progress(swarm, io.StringIO())
        assert progress.text() == f"connecting [{'.' * BAR_COLUMNS}]   0%  0 of 10 connections"
        swarm.run()
        assert progress.text() == f"done       [{'#' * BAR_COLUMNS}] 100%  40 of 40 messages"
        assert swarm.phase is Phase.DONE
        assert swarm.outcome_counts() == {Outcome.COMPLETE: 10}
        assert reactor.counters.open == 0


def test_the_bar_says_how_many_errors_there_are():
    with Server(Silent, bind="127.0.0.1:0") as server, Reactor() as reactor:
        swarm = swarm_against(server, reactor, Load(2, 1, 64, 0, timeout_seconds=0.05))
        swarm.run()
        assert Progress(swarm, io.StringIO()).text().endswith("  0%  0 of 2 messages, 2 errors")


def test_where_only_the_time_is_given_the_bar_follows_the_time():
    with Server(Echo, bind="127.0.0.1:0") as server, Reactor() as reactor:
        load = Load(10, None, 64, 0, timeout_seconds=30, seconds=0.1)
        swarm = swarm_against(server, reactor, load)
        progress = Progress(swarm, io.StringIO())
        assert progress.text().endswith("0 of 10 connections")
        swarm.run()
        messages = summarize(swarm)["messages"]
        assert progress.text() == f"done       [{'#' * BAR_COLUMNS}] 100%  0.1 of 0.1 s, {messages:,} messages"


@pytest.mark.parametrize("lucky", [0, 7])
def test_connects_that_fail_for_want_of_ports_are_counted_as_refused_and_explained(lucky):
    with Server(Echo, bind="127.0.0.1:0") as server:
        factory = sockets_failing_with(errno.EADDRNOTAVAIL, after=lucky)
        with Reactor(socket_factory=factory) as reactor:
            swarm = swarm_against(server, reactor)
            swarm.run()
            figures = summarize(swarm)
    assert (figures["connected"], figures["complete"], figures["errors"]["refused"]) == (lucky, lucky, 10 - lucky)
    [sentence] = explanations(swarm)
    share = "3 of 10" if lucky else "all 10"
    assert sentence.startswith(f"{share} clients could not connect to {server.addresses[0]}: no local port is left")


def test_connects_that_are_not_answered_are_told_apart_from_answers_that_do_not_come():
    with Server(Echo, bind="127.0.0.1:0") as server:
        with Reactor(socket_factory=sockets_failing_with(errno.ETIMEDOUT, after=9)) as reactor:
            swarm = swarm_against(server, reactor)
            swarm.run()
    assert summarize(swarm)["errors"]["timed_out"] == 1
    [sentence] = explanations(swarm)
    assert sentence.startswith("1 of 10 clients got no answer to the connect in 30 s: the server's accept queue")


def test_a_server_that_answers_nobody_may_not_echo_at_all():
    with Server(Silent, bind="127.0.0.1:0") as server, Reactor() as reactor:
        swarm = swarm_against(server, reactor, Load(3, 1, 64, 0, timeout_seconds=0.05))
        swarm.run()
        assert summarize(swarm)["never_answered"] == 3
        [sentence] = explanations(swarm)
    assert sentence.startswith("all 3 clients were accepted by the kernel and never answered")
    assert sentence.endswith("or it hangs, or it does not echo")


def test_a_run_that_was_cut_short_while_connecting_has_nobody_who_was_not_answered():
    with Server(Silent, bind="127.0.0.1:0") as server, Reactor() as reactor:
        swarm = swarm_against(server, reactor)
        reactor.stop()
        swarm.run()
        figures = summarize(swarm)
    assert (figures["never_answered"], figures["seconds"], sum(figures["errors"].values())) == (0, 0.0, 0)

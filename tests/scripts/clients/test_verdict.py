"""What is said of a run: the sentences before the table, and the verdict after it."""

import socket

import pytest

from reactor import Reactor
from reactor.net.addresses import Endpoint
from scripts.clients.client import ERRORS, Client, Outcome
from scripts.clients.swarm import Load, Swarm
from scripts.clients.verdict import MOST_SENTENCES, explanations, verdict

LOOPBACK = Endpoint(socket.AF_INET, ("127.0.0.1", 65432))


@pytest.fixture
def ended():
    """Make a swarm whose clients have ended: those in `connected` with these outcomes, the others before."""
    with Reactor() as reactor:

        def ended(connected=(), unconnected=(), endpoints=(LOOPBACK,), received=64):
            load = Load(len(connected) + len(unconnected), 1, 64, 0, 30.0)
            swarm = Swarm(reactor, list(endpoints), load)
            for number, outcome in enumerate(connected):
                client = Client(swarm._plan, number)
                client.outcome, client.due, client.received = outcome, 64, received
                swarm.clients.append(client)
            swarm.outcomes.update(unconnected)
            return swarm

        yield ended


@pytest.mark.parametrize("endpoints, remedy", [
    ([("127.0.0.1", 65432)], "start the server with `make run-server` in another terminal"),
    ([("127.0.0.1", 7)], "start the server with `make run-server PORT=7` in another terminal"),
    ([("::1", 65432, 0, 0)], "start the server with `make run-server HOST=::1` in another terminal"),
    ([("::1", 7, 0, 0), ("127.0.0.1", 7)], "start the server with `make run-server PORT=7` in another terminal"),
    ([("192.0.2.1", 7)], "start the server there, or say with HOST= and PORT= where it is"),
    ([("fe80::1%eth0", 7, 0, 2)], "start the server there, or say with HOST= and PORT= where it is"),
])  # fmt: skip
def test_who_finds_nothing_is_told_how_to_start_the_server_that_was_asked_for(ended, endpoints, remedy):
    families = {2: socket.AF_INET, 4: socket.AF_INET6}
    swarm = ended([], [Outcome.REFUSED] * 2, [Endpoint(families[len(address)], address) for address in endpoints])
    [sentence] = explanations(swarm)
    assert sentence.startswith("nothing listens on ") and sentence.endswith(f": {remedy}")


def test_a_server_that_ends_while_clients_connect_was_there_before(ended):
    swarm = ended([Outcome.RESET], [Outcome.REFUSED] * 2)
    assert explanations(swarm) == [
        "2 of 3 clients came when nothing listened any more: the server has ended",
        "the server broke 1 of 3 connections off: it has ended or crashed, or one of its limits ended them;"
        " its terminal says which",
    ]


def test_a_reset_before_the_connection_is_made_counts_as_broken_off(ended):
    [sentence] = explanations(ended([Outcome.COMPLETE], [Outcome.RESET]))
    assert sentence.startswith("the server broke 1 of 2 connections off")


def test_there_are_a_few_sentences_at_most_and_the_worst_comes_first(ended):
    outcomes = [Outcome.TIMED_OUT, Outcome.CLOSED_EARLY, Outcome.MISMATCHED]
    sentences = explanations(ended(outcomes, [Outcome.TIMED_OUT] * 2))
    assert len(sentences) == MOST_SENTENCES
    assert sentences[0].startswith("1 of 5 clients got a wrong byte")


def test_a_good_run_needs_no_sentence_but_its_verdict(ended):
    swarm = ended([Outcome.COMPLETE])
    swarm.latencies.record(1.0, 2.0)
    assert swarm.is_good() and explanations(swarm) == []
    assert verdict(swarm) == "every byte came back: 1 client, 1 message of 64 bytes"


@pytest.mark.parametrize("error", ERRORS)
def test_one_error_is_enough_for_the_verdict(ended, error):
    swarm = ended([Outcome.COMPLETE] * 2, [error])
    assert not swarm.is_good()
    assert verdict(swarm) == f"NOT every byte came back: 1 of 3 clients failed ({error.value.replace('_', ' ')})"


@pytest.mark.parametrize("connected, received, words", [
    ([None, Outcome.COMPLETE], 64, "all that came back until then was right"),
    ([None, None], 0, "nothing was back yet"),
    ([Outcome.MISMATCHED, None], 64, "until then 1 of 2 clients failed (mismatched)"),
])  # fmt: skip
def test_after_ctrl_c_the_verdict_is_about_what_was_done(ended, connected, received, words):
    swarm = ended(connected, received=received)
    swarm.interrupted = True
    assert verdict(swarm) == f"stopped by Ctrl-C: {words}"

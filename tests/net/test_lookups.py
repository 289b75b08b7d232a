"""Look-ups on threads: they never block the loop, their number is bounded, and each has an answer."""

import errno
import socket
import threading

import pytest

from reactor import Reactor, connect
from reactor.net import addresses
from reactor.net.lookups import MOST_LOOK_UPS
from tests import rig
from tests.net.connecting import Outcome, in_a_child, nobody
from tests.rig import turn_until, turn_until_idle

pytestmark = pytest.mark.usefixtures("descriptors_come_back")

NOT_KNOWN = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.fixture
def resolver(monkeypatch):
    """`resolver(answer)` puts `answer()` in the place of getaddrinfo."""
    return lambda answer: monkeypatch.setattr(addresses.socket, "getaddrinfo", lambda *_, **__: answer())


def test_the_first_endpoint_of_a_name_may_fail(reactor, outcome, listening, resolver):
    host, port = listening.getsockname()
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", each) for each in (("127.0.0.2", port), (host, port))]
    resolver(lambda: found)
    connect(reactor, outcome.make, f"some.name:{port}", outcome.errors.append)
    turn_until(reactor, lambda: outcome.any, "an answer")
    assert outcome.protocol.connection._peername == (host, port)


def test_a_name_is_looked_up_on_a_thread_of_its_own(reactor, outcome, resolver):
    asked, answer = [], threading.Event()

    def look_up():
        asked.append(threading.current_thread())
        answer.wait(rig.DEADLINE_SECONDS)
        raise NOT_KNOWN

    resolver(look_up)
    connect(reactor, outcome.make, "some.name:80", outcome.errors.append)
    called = []
    reactor.call_soon(called.append, 1)
    reactor.run_once(0)
    assert called and not outcome.any, "the loop goes on meanwhile"
    answer.set()
    turn_until(reactor, lambda: outcome.any, "an answer")
    assert "some.name" in outcome.error.strerror
    assert asked[0] is not threading.main_thread()
    asked[0].join()


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[fe80::1%lo]", "[fe80::1%1]"])
def test_a_number_needs_no_look_up_and_no_thread(reactor, outcome, resolver, host):
    resolver(lambda: pytest.fail("a number was looked up"))
    before = threading.active_count()
    connector = connect(reactor, outcome.make, f"{host}:9", outcome.errors.append)
    assert threading.active_count() == before
    turn_until(reactor, lambda: outcome.any, "an answer")
    connector.cancel()


def test_a_resolver_that_hangs_collects_only_so_many_threads(reactor, outcome, resolver):
    answer = threading.Event()

    def hang():
        answer.wait(rig.DEADLINE_SECONDS)
        raise NOT_KNOWN

    resolver(hang)
    others = [Outcome() for _ in range(MOST_LOOK_UPS)]
    for each in others:
        connect(reactor, each.make, "some.name:80", each.errors.append)
    connect(reactor, outcome.make, "some.name:80", outcome.errors.append)
    turn_until(reactor, lambda: outcome.any, "an answer")
    assert outcome.error.errno == errno.EAGAIN and not any(each.any for each in others)
    answer.set()
    turn_until(reactor, lambda: all(each.any for each in others), "their answers")


@pytest.mark.parametrize("exception", [UnicodeError("too long"), ValueError("null byte"), MemoryError(), SystemExit()])
def test_whatever_the_look_up_raises_is_told(reactor, outcome, resolver, exception):
    def look_up():
        raise exception

    resolver(look_up)
    connect(reactor, outcome.make, "some.name:80", outcome.errors.append)
    turn_until(reactor, lambda: outcome.any, "an answer")
    assert isinstance(outcome.error, OSError) and "some.name" in str(outcome.error)


def test_a_look_up_that_takes_too_long_is_given_up_and_its_answer_ignored(timed, outcome, listening, resolver):
    answer, threads = threading.Event(), []
    host, port = listening.getsockname()

    def look_up():
        threads.append(threading.current_thread())
        answer.wait(rig.DEADLINE_SECONDS)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]

    resolver(look_up)
    connect(timed, outcome.make, "some.name:80", outcome.errors.append)
    timed.timers.clock.now += timed.limits.connect_seconds
    turn_until(timed, lambda: outcome.any, "the deadline")
    assert isinstance(outcome.error, TimeoutError)
    answer.set()
    turn_until(timed, lambda: threads, "the look-up")
    threads[0].join()
    turn_until_idle(timed)
    assert len(outcome.errors) == 1 and not outcome.protocols


# A thread that cannot be started (P4).


@pytest.mark.parametrize("exception", [RuntimeError("can't start new thread"), MemoryError()], ids=repr)
def test_a_thread_that_cannot_be_started_is_told_and_gives_its_place_back(reactor, monkeypatch, outcome, exception):
    def refuse(thread):
        raise exception

    refused = [Outcome() for _ in range(2 * MOST_LOOK_UPS)]
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        for each in refused:
            connect(reactor, each.make, "some.name:80", each.errors.append)
            assert not each.any, "the caller is told inside its call"
    turn_until(reactor, lambda: all(each.any for each in refused), "their answers")
    assert {each.error.errno for each in refused} == {errno.EAGAIN}
    assert all("some.name:80" in each.error.strerror for each in refused), "of places there is no word"
    assert not reactor.at_close and len(reactor.timers) == 0
    connect(reactor, outcome.make, f"localhost:{nobody().sockaddr[1]}", outcome.errors.append)
    turn_until(reactor, lambda: outcome.any, "an answer")
    assert outcome.protocols or outcome.error.errno != errno.EAGAIN  # another program may have taken that port now


# A fork while names are looked up (C3).


def test_a_child_that_was_forked_while_all_places_are_taken_has_its_own(reactor, resolver, listening):
    let_go = threading.Event()
    others = [Outcome() for _ in range(MOST_LOOK_UPS)]

    def hang():
        let_go.wait(rig.DEADLINE_SECONDS)
        raise NOT_KNOWN

    resolver(hang)
    for each in others:
        connect(reactor, each.make, "some.name:80", each.errors.append)

    def looks_up():
        resolver(lambda: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", listening.getsockname())])
        outcomes = [Outcome() for _ in range(MOST_LOOK_UPS)]
        with Reactor() as own:
            for each in outcomes:
                connect(own, each.make, "some.name:80", each.errors.append)
                turn_until(own, lambda: each.any, "an answer")  # noqa: B023
        return all(each.protocols for each in outcomes)

    assert in_a_child(looks_up)
    let_go.set()
    turn_until(reactor, lambda: all(each.any for each in others), "the answers in the parent")

"""Several addresses for one connection: neither a silent one nor a full queue takes the others' time (C1, C2).

The clock stands still until the test moves it, so that each step shows its cause.
"""

import errno
import socket
import threading

import pytest

from reactor import Limits, Reactor, State, connect
from reactor.net import lookups
from reactor.net.addresses import Endpoint
from reactor.net.connector import MOST_ATTEMPTS, NEXT_ATTEMPT_SECONDS, interleaved
from tests import rig
from tests.net.connecting import endpoint, in_a_child, nobody
from tests.rig import turn_until, turn_until_idle, turns

pytestmark = pytest.mark.usefixtures("descriptors_come_back")

NO_SUCH_PATH = Endpoint(socket.AF_UNIX, "no/such/path")


def nobody_waits_at(listening):
    """Whether no connection waits to be accepted at `listening`."""
    listening.setblocking(False)
    try:
        listening.accept()[0].close()
    except BlockingIOError:
        return True
    return False


def is_over(reactor, connector):
    """Whether nothing of the connector is left: no attempt, no timer, no call at the close."""
    return not (connector.attempts or reactor.at_close or len(reactor.timers))


# The order (RFC 8305, section 4).


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", ""),
        ("4", "4"),
        ("44", "44"),
        ("64", "64"),
        ("446", "464"),
        ("66644", "64646"),
        ("4666", "4666"),
        ("u4466", "u4646"),
    ],
)
def test_the_families_take_turns_and_the_first_one_first(given, expected):
    families = {"4": socket.AF_INET, "6": socket.AF_INET6, "u": socket.AF_UNIX}
    endpoints = [Endpoint(families[letter], number) for number, letter in enumerate(given)]
    found = interleaved(endpoints)
    assert [endpoint.family for endpoint in found] == [families[letter] for letter in expected]
    for family in families.values():
        in_order = [each for each in endpoints if each.family == family]
        assert [each for each in found if each.family == family] == in_order


def test_they_are_tried_in_that_order(descriptors_come_back, outcome):
    tried = []

    def factory(family, kind):
        tried.append(family)
        return socket.socket(family, kind)

    with Reactor(socket_factory=factory) as reactor:
        connect(reactor, outcome.make, [nobody(), nobody(), NO_SUCH_PATH], outcome.errors.append)
        turn_until(reactor, lambda: outcome.any, "an answer")
    assert tried == [socket.AF_INET, socket.AF_UNIX, socket.AF_INET]


# One after the other.


def test_an_address_that_does_not_answer_is_followed_by_the_next_after_a_quarter_of_a_second(
    timed, clock, outcome, unanswered, listening
):
    connector = connect(timed, outcome.make, [unanswered, endpoint(listening)], outcome.errors.append)
    clock.now += 0.249
    turn_until_idle(timed)
    assert [attempt.endpoint for attempt in connector.attempts] == [unanswered] and nobody_waits_at(listening)
    clock.now += 0.001
    turn_until(timed, lambda: outcome.any, "an answer")
    assert outcome.protocol.connection._peername == listening.getsockname()
    assert not connector.attempts and not timed.at_close


def test_a_failure_is_followed_by_the_next_at_once(timed, outcome, listening):
    endpoints = [nobody(), NO_SUCH_PATH, nobody(), endpoint(listening)]
    connect(timed, outcome.make, endpoints, outcome.errors.append)
    turn_until(timed, lambda: outcome.any, "an answer, though no time passes")
    assert outcome.protocol.connection._peername == listening.getsockname()


def test_a_failure_beside_one_that_does_not_answer_is_followed_at_once_too(
    timed, clock, outcome, unanswered, listening
):
    connect(timed, outcome.make, [unanswered, nobody(), endpoint(listening)], outcome.errors.append)
    clock.now += NEXT_ATTEMPT_SECONDS
    turn_until(timed, lambda: outcome.any, "an answer")
    assert outcome.protocol.connection._peername == listening.getsockname()


def test_when_the_first_answers_no_other_is_tried(timed, clock, outcome, listening):
    with socket.create_server(("127.0.0.1", 0)) as second:
        connect(timed, outcome.make, [endpoint(listening), endpoint(second)], outcome.errors.append)
        turn_until(timed, lambda: outcome.any, "an answer")
        clock.now += 1.0
        turn_until_idle(timed)
        assert outcome.protocol.connection._peername == listening.getsockname()
        assert nobody_waits_at(second)


def test_a_failure_is_told_when_all_have_failed_and_not_before(timed, clock, outcome, unanswered):
    endpoints = [unanswered, nobody()]
    connector = connect(timed, outcome.make, endpoints, outcome.errors.append, Limits(connect_seconds=5))
    clock.now += NEXT_ATTEMPT_SECONDS
    turn_until(timed, lambda: connector._failure, "the refusal of the second")
    turn_until_idle(timed)
    assert not outcome.any, "the first may still answer"
    clock.now += 5
    turn_until(timed, lambda: outcome.any, "the deadline")
    assert isinstance(outcome.error, TimeoutError)
    assert "5 seconds" in outcome.error.strerror and "refused" in outcome.error.strerror
    turn_until_idle(timed)


def test_however_many_do_not_answer_the_good_one_is_reached_and_few_are_open_at_a_time(
    timed, clock, outcome, unanswered, listening
):
    endpoints = [unanswered] * (2 * MOST_ATTEMPTS) + [endpoint(listening)]
    connector = connect(timed, outcome.make, endpoints, outcome.errors.append, Limits(connect_seconds=3600))
    most = 0
    for _ in endpoints:
        turns(timed, 3)
        most = max(most, len(connector.attempts))
        clock.now += NEXT_ATTEMPT_SECONDS
    turn_until(timed, lambda: outcome.any, "an answer")
    assert outcome.protocol.connection.state is State.OPEN
    assert most == MOST_ATTEMPTS


def test_many_that_fail_at_once_do_not_hold_up_the_loop(descriptors_come_back, outcome):
    made = []

    def factory(family, kind):
        made.append(family)
        raise rig.os_error(errno.EAFNOSUPPORT)

    with Reactor(socket_factory=factory) as reactor:
        connect(reactor, outcome.make, [NO_SUCH_PATH] * 1000, outcome.errors.append)
        for tried in range(1, 1000):
            assert len(made) == tried and not outcome.any
            reactor.run_once(0)
        turn_until(reactor, lambda: outcome.any, "an answer")
    assert outcome.error.errno == errno.EAFNOSUPPORT and len(made) == 1000


# The deadline is judged by the evidence (P2): if the loop was away, that is no reason to give up.


LATE = 1.5  # longer than `SHORT` lets a connect take
SHORT = Limits(connect_seconds=1)


@pytest.mark.parametrize("failing", [[nobody], [nobody, lambda: NO_SUCH_PATH, nobody]])
def test_after_a_slow_callback_the_address_behind_a_failure_is_tried(timed, clock, outcome, listening, failing):
    timed.call_soon(setattr, clock, "now", clock.now + LATE)
    endpoints = [*(make() for make in failing), endpoint(listening)]
    connect(timed, outcome.make, endpoints, outcome.errors.append, SHORT)
    turn_until(timed, lambda: outcome.any, "an answer")
    assert outcome.protocol.connection._peername == listening.getsockname()


def test_after_a_slow_callback_the_address_behind_a_silent_one_is_asked(timed, clock, outcome, unanswered, listening):
    timed.call_soon(setattr, clock, "now", clock.now + LATE)
    connect(timed, outcome.make, [unanswered, endpoint(listening)], outcome.errors.append, SHORT)
    turn_until(timed, lambda: outcome.any, "an answer")
    assert outcome.protocol.connection._peername == listening.getsockname()


def test_after_a_slow_callback_a_unix_socket_that_has_room_again_is_asked(timed, clock, outcome, busy):
    def block():
        clock.now += LATE
        busy.accept()[0].close()

    timed.call_soon(block)
    connect(timed, outcome.make, [endpoint(busy)], outcome.errors.append, SHORT)
    turn_until(timed, lambda: outcome.any, "an answer")
    assert outcome.protocol.connection.state is State.OPEN
    busy.accept()[0].close()


def test_after_a_slow_callback_the_answer_of_a_look_up_is_heard(timed, clock, outcome, listening, monkeypatch):
    away, answered = threading.Event(), threading.Event()

    def resolve(_address):
        assert away.wait(rig.DEADLINE_SECONDS)
        return [endpoint(listening)]

    def block():
        away.set()
        clock.now += LATE
        assert answered.wait(rig.DEADLINE_SECONDS)

    give = timed.call_soon_threadsafe
    monkeypatch.setattr(lookups, "resolve", resolve)
    monkeypatch.setattr(timed, "call_soon_threadsafe", lambda *call: (give(*call), answered.set()))
    timed.call_soon(block)
    connect(timed, outcome.make, "some.name:80", outcome.errors.append, SHORT)
    turn_until(timed, lambda: outcome.any, "an answer")
    assert outcome.protocol.connection._peername == listening.getsockname()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_after_a_slow_callback_those_that_are_silent_get_one_turn_more(timed, clock, outcome, unanswered, count):
    timed.call_soon(setattr, clock, "now", clock.now + LATE)
    connect(timed, outcome.make, [unanswered] * count, outcome.errors.append, SHORT)
    turns(timed, 4)
    assert isinstance(outcome.error, TimeoutError) and not len(timed.timers)


def test_a_look_up_that_is_silent_gets_one_turn_more(timed, clock, outcome, monkeypatch):
    gone_on = threading.Event()
    monkeypatch.setattr(lookups, "resolve", lambda _: gone_on.wait(rig.DEADLINE_SECONDS) and [nobody()])
    timed.call_soon(setattr, clock, "now", clock.now + LATE)
    connect(timed, outcome.make, "some.name:80", outcome.errors.append, SHORT)
    turns(timed, 4)
    gone_on.set()
    assert isinstance(outcome.error, TimeoutError) and not len(timed.timers)


# A cancel.


@pytest.mark.parametrize("steps", range(8))
@pytest.mark.parametrize("what", ["cancel", "close"])
def test_a_cancel_at_any_moment_leaves_nothing(timed, clock, outcome, unanswered, full, steps, what):
    endpoints = [unanswered, full, nobody(), unanswered, NO_SUCH_PATH, unanswered]
    connector = connect(timed, outcome.make, endpoints, outcome.errors.append, Limits(connect_seconds=3600))
    for _ in range(steps):
        clock.now += NEXT_ATTEMPT_SECONDS
        turns(timed, 2)
    connector.cancel() if what == "cancel" else timed.close()
    assert is_over(timed, connector)
    if what == "cancel":
        clock.now += 10
        turn_until_idle(timed)
    assert not outcome.any


@pytest.mark.parametrize("number", range(1, 4))
def test_a_socket_factory_may_cancel(descriptors_come_back, outcome, unanswered, number):
    made = []

    def factory(family, kind):
        made.append(socket.socket(family, kind))
        if len(made) == number:
            for cancel in list(reactor.at_close):
                cancel()
        return made[-1]

    with Reactor(socket_factory=factory) as reactor:
        endpoints = [nobody()] * (number - 1) + [unanswered, nobody()]
        connector = connect(reactor, outcome.make, endpoints, outcome.errors.append)
        turn_until(reactor, lambda: len(made) == number, "the cancel")
        turn_until_idle(reactor)
        assert is_over(reactor, connector) and not outcome.any
    assert len(made) == number
    assert all(sock.fileno() == -1 for sock in made)


def test_a_socket_factory_may_cancel_and_fail(descriptors_come_back, outcome, unanswered):
    made = []

    def factory(family, kind):
        made.append(kind)
        for cancel in list(reactor.at_close):
            cancel()
        raise OSError(errno.EMFILE, "Too many open files")

    with Reactor(socket_factory=factory) as reactor:
        connector = connect(reactor, outcome.make, [unanswered, unanswered], outcome.errors.append)
        turns(reactor, 3)
        assert is_over(reactor, connector) and not outcome.any
    assert len(made) == 1, "the second address has no turn"


def test_a_child_forked_meanwhile_holds_none_of_the_sockets(timed, clock, outcome, unanswered, full):
    made, make = [], timed.socket_factory

    def factory(*arguments):
        made.append(make(*arguments))
        return made[-1]

    timed.socket_factory = factory
    connector = connect(timed, outcome.make, [unanswered, full, unanswered], outcome.errors.append)
    for _ in range(2):
        clock.now += NEXT_ATTEMPT_SECONDS
        turn_until_idle(timed)
    assert len(connector.attempts) == 3
    assert in_a_child(lambda: all(sock.fileno() == -1 for sock in made))
    assert sum(sock.fileno() != -1 for sock in made) == 2
    connector.cancel()


# A UNIX socket whose backlog is full.


@pytest.fixture
def busy(path):
    """A UNIX listener whose backlog is full."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen(0)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            yield sock


@pytest.fixture
def full(busy):
    """Its endpoint."""
    return endpoint(busy)


def test_a_unix_socket_with_a_full_backlog_is_tried_again(timed, clock, outcome, busy):
    connect(timed, outcome.make, [endpoint(busy)], outcome.errors.append)
    for _ in range(20):
        clock.now += 0.1
        turn_until_idle(timed)
    assert not outcome.any
    busy.accept()[0].close()
    clock.now += 0.1
    turn_until(timed, lambda: outcome.any, "an answer")
    assert outcome.protocol.connection.state is State.OPEN
    busy.accept()[0].close()


def test_the_pauses_grow_and_hold_no_descriptor(descriptors_come_back, clock, outcome, full):
    tried = []

    def factory(family, kind):
        tried.append((clock.now, socket.socket(family, kind)))
        return tried[-1][1]

    with Reactor(clock=clock, socket_factory=factory) as reactor:
        connect(reactor, outcome.make, [full], outcome.errors.append, Limits(connect_seconds=10))
        while not outcome.any:
            clock.now += 0.001
            turns(reactor, 2)
            assert all(sock.fileno() == -1 for _, sock in tried)
    assert isinstance(outcome.error, TimeoutError) and "unavailable" in outcome.error.strerror
    pauses = [round(after - before, 3) for (before, _), (after, _) in zip(tried, tried[1:], strict=False)]
    assert pauses[:3] == sorted(pauses[:3]) and pauses[0] < 0.01
    assert max(pauses) <= 0.102
    assert 90 < len(pauses) < 150


def test_a_full_backlog_does_not_keep_the_next_address_waiting(timed, clock, outcome, full, listening):
    connect(timed, outcome.make, [full, endpoint(listening)], outcome.errors.append)
    clock.now += NEXT_ATTEMPT_SECONDS
    turn_until(timed, lambda: outcome.any, "an answer")
    assert outcome.protocol.connection._peername == listening.getsockname()
    assert len(timed.timers) == timed.counters.open


def test_a_server_that_dies_meanwhile_is_told(timed, clock, outcome, busy, path):
    connect(timed, outcome.make, [endpoint(busy)], outcome.errors.append)
    turn_until_idle(timed)
    busy.close()
    clock.now += 0.1
    turn_until(timed, lambda: outcome.any, "an answer")
    assert outcome.error.errno == errno.ECONNREFUSED

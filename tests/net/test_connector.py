"""Opening connections: every outcome is told once, and nothing is left behind."""

import errno
import os
import select
import selectors
import socket

import pytest

from reactor import CloseReason, Limits, Reactor, State, connect
from reactor.loop.poller import WRITABLE, SelectorPoller
from reactor.net.addresses import Endpoint
from tests import rig
from tests.net.connecting import Outcome, endpoint, nobody, text
from tests.rig import Recorder, adopt, leave, turn_until, turn_until_idle

pytestmark = pytest.mark.usefixtures("descriptors_come_back")


@pytest.mark.parametrize("form", ["text", "endpoints"])
def test_a_connection_is_made_and_is_like_one_that_was_accepted(reactor, outcome, listening, form):
    target = text(endpoint(listening)) if form == "text" else [endpoint(listening)]
    connect(reactor, outcome.make, target, outcome.errors.append)
    assert not outcome.any, "the caller is told inside its call"
    turn_until(reactor, lambda: outcome.any, "an answer")
    connection = outcome.protocol.connection
    peer, _ = listening.accept()
    with peer:
        assert connection.state is State.OPEN
        assert connection.get_extra_info("peername") == listening.getsockname()
        assert connection.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert (reactor.counters.connected, reactor.counters.accepted) == (1, 0)
        connection.write(b"hello")
        reactor.run_once(0)
        assert peer.recv(10) == b"hello"
        peer.send(b"answer")
    turn_until(reactor, lambda: outcome.protocol.lost, "the end")
    assert outcome.protocol.received == b"answer"
    assert reactor.counters.open == 0
    assert len(reactor.timers) == 0


def test_a_unix_socket_is_connected_to(reactor, outcome, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("a.sock")
        listening.listen()
        connect(reactor, outcome.make, "unix:a.sock", outcome.errors.append)
        turn_until(reactor, lambda: outcome.any, "an answer")
        assert outcome.protocol.connection.get_extra_info("peername") == "a.sock"


@pytest.mark.parametrize("form", ["text", "endpoints"])
def test_a_refusal_is_told_once_from_the_loop(reactor, outcome, form):
    target = text(nobody()) if form == "text" else [nobody()]
    connect(reactor, outcome.make, target, outcome.errors.append)
    assert not outcome.any
    turn_until(reactor, lambda: outcome.any, "an answer")
    assert isinstance(outcome.error, ConnectionRefusedError)
    turn_until_idle(reactor)
    assert len(outcome.errors) == 1
    assert len(reactor.timers) == 0
    assert reactor.counters.connected == 0


@pytest.mark.parametrize(
    ("endpoints", "number"),
    [
        ([Endpoint(socket.AF_UNIX, "no/such/path")], errno.ENOENT),
        ([Endpoint(socket.AF_UNIX, "x" * 200)], errno.EINVAL),
        ([Endpoint(socket.AF_INET, ("255.255.255.255", 80))], None),
    ],
    ids=["no such path", "path too long", "not to be reached"],
)
def test_what_fails_at_once_is_told_from_the_loop_too(reactor, outcome, endpoints, number):
    connect(reactor, outcome.make, endpoints, outcome.errors.append)
    assert not outcome.any
    turn_until(reactor, lambda: outcome.any, "an answer")
    assert outcome.error.errno == (number or outcome.error.errno)
    assert len(reactor.timers) == 0


def test_the_next_endpoint_is_tried_when_one_fails(reactor, outcome, listening):
    endpoints = [nobody(), Endpoint(socket.AF_UNIX, "no/such/path"), nobody(), endpoint(listening)]
    connect(reactor, outcome.make, endpoints, outcome.errors.append)
    turn_until(reactor, lambda: outcome.any, "an answer")
    assert outcome.protocol.connection._peername == listening.getsockname()


def test_the_error_is_that_of_the_last_endpoint(reactor, outcome):
    endpoints = [Endpoint(socket.AF_UNIX, "no/such/path"), nobody()]
    connect(reactor, outcome.make, endpoints, outcome.errors.append)
    turn_until(reactor, lambda: outcome.any, "an answer")
    assert outcome.error.errno == errno.ECONNREFUSED


def test_no_answer_is_waited_for_no_longer_than_connect_seconds(timed, outcome, unanswered):
    connect(timed, outcome.make, [unanswered] * 3, outcome.errors.append, Limits(connect_seconds=7))
    timed.timers.clock.now += 6.999
    for _ in range(3):
        timed.run_once(0)
    assert not outcome.any
    timed.timers.clock.now += 0.001
    turn_until(timed, lambda: outcome.any, "the deadline")
    assert isinstance(outcome.error, TimeoutError)
    assert "7 seconds" in str(outcome.error)
    turn_until_idle(timed)


@pytest.mark.parametrize("form", ["text", "endpoints"])
def test_who_cancels_is_told_nothing(reactor, outcome, listening, form):
    target = text(endpoint(listening)) if form == "text" else [endpoint(listening)]
    connector = connect(reactor, outcome.make, target, outcome.errors.append)
    for _ in range(3):
        connector.cancel()
    turn_until_idle(reactor)
    assert not outcome.any
    assert not reactor.at_close
    assert len(reactor.timers) == 0


def test_after_a_cancel_a_failure_of_a_moment_ago_is_not_told(timed, outcome, unanswered):
    connector = connect(timed, outcome.make, [unanswered], outcome.errors.append, Limits(connect_seconds=7))
    timed.call_later(7, connector.cancel)  # after the deadline, and before the failure is told
    timed.timers.clock.now += 7
    turn_until(timed, lambda: not timed.timers, "the deadline")
    turn_until_idle(timed)
    assert not outcome.any


def test_to_cancel_what_is_done_does_nothing(reactor, outcome, listening):
    connector = connect(reactor, outcome.make, [endpoint(listening)], outcome.errors.append)
    turn_until(reactor, lambda: outcome.any, "an answer")
    connector.cancel()
    reactor.run_once(0)
    assert outcome.protocol.connection.state is State.OPEN


def test_closing_the_reactor_cancels(descriptors_come_back, outcome, unanswered):
    with Reactor() as reactor:
        connect(reactor, outcome.make, [unanswered], outcome.errors.append)
        connect(reactor, outcome.make, "127.0.0.1:9", outcome.errors.append)
        reactor.run_once(0)
    assert not outcome.protocols


def test_a_closed_reactor_does_not_connect(descriptors_come_back, outcome):
    with Reactor() as reactor:
        pass
    for target in ("127.0.0.1:9", [nobody()]):
        with pytest.raises(RuntimeError, match="closed"):
            connect(reactor, outcome.make, target, outcome.errors.append)


@pytest.mark.parametrize("nonsense", ["nonsense", "127.0.0.1", "fd://3", "unix:", "unix:\ud800", "http://localhost:80"])
def test_text_that_is_no_destination_is_refused_at_the_call(reactor, outcome, nonsense):
    with pytest.raises(ValueError):
        connect(reactor, outcome.make, nonsense, outcome.errors.append)
    assert not reactor.at_close and len(reactor.timers) == 0


GOOD = Endpoint(socket.AF_INET, ("127.0.0.1", 9))


@pytest.mark.parametrize(
    ("nonsense", "error"),
    [
        (None, TypeError),
        (80, TypeError),
        (b"127.0.0.1:80", TypeError),
        (GOOD, TypeError),
        ({GOOD}, TypeError),
        (["127.0.0.1:80"], TypeError),
        ([GOOD, GOOD.sockaddr], TypeError),
        ([], ValueError),
        ([GOOD, Endpoint(socket.AF_INET, ("127.0.0.1", 70000))], ValueError),
        ([GOOD, Endpoint(socket.AF_INET, ("localhost", 80))], ValueError),
    ],
    ids=repr,
)
def test_what_is_no_destination_is_refused_at_the_call_and_nothing_is_told_later(reactor, outcome, nonsense, error):
    with pytest.raises(error):
        connect(reactor, outcome.make, nonsense, outcome.errors.append)
    assert not reactor.at_close and len(reactor.timers) == 0
    turn_until_idle(reactor)
    assert not outcome.any


def test_what_cannot_be_called_is_refused_at_the_call(reactor, outcome):
    for arguments in ((None, [GOOD], outcome.errors.append), (outcome.make, [GOOD], None)):
        with pytest.raises(TypeError, match="called, not None"):
            connect(reactor, *arguments)
    assert not reactor.at_close and len(reactor.timers) == 0


@pytest.mark.parametrize(
    "endpoint",
    [
        Endpoint(socket.AF_UNIX, "\ud800"),
        Endpoint(socket.AF_UNIX, "a\0b"),
        Endpoint(socket.AF_UNIX, None),
        Endpoint(socket.AF_INET6, ("::1", 80, -1, 0)),
        Endpoint(socket.AF_INET6, ("::1", 80, 0, 2**40)),
        Endpoint(socket.AF_INET6, ("::1", 80, 0, 0, 0)),
        Endpoint(12345, ("127.0.0.1", 80)),
        Endpoint(2**70, ("127.0.0.1", 80)),
    ],
    ids=repr,
)
@pytest.mark.parametrize("place", ["alone", "second"])
def test_a_form_that_only_the_system_can_refuse_is_told_once(reactor, outcome, endpoint, place):
    endpoints = [endpoint] if place == "alone" else [nobody(), endpoint]
    connect(reactor, outcome.make, endpoints, outcome.errors.append)
    assert not outcome.any
    turn_until(reactor, lambda: outcome.any, "an answer")
    turn_until_idle(reactor)
    assert isinstance(outcome.error, OSError) and outcome.error.strerror
    assert not reactor.at_close and len(reactor.timers) == 0


class Unspeakable(Exception):
    def __str__(self):
        raise LookupError("on purpose")


@pytest.mark.parametrize("exception", [MemoryError(), RuntimeError("odd"), Unspeakable()], ids=["full", "odd", "mute"])
def test_whatever_the_socket_factory_raises_is_told_once(descriptors_come_back, outcome, exception):
    def factory(*_):
        raise exception

    with Reactor(socket_factory=factory) as reactor:
        connect(reactor, outcome.make, [nobody()], outcome.errors.append)
        turn_until(reactor, lambda: outcome.any, "an answer")
        assert type(exception).__name__ in outcome.error.strerror or "odd" in outcome.error.strerror
        assert (outcome.error.errno == errno.ENOMEM) is isinstance(exception, MemoryError)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.ENOMEM], ids=errno.errorcode.get)
def test_a_kernel_that_cannot_watch_the_handshake_is_told_once(descriptors_come_back, outcome, listening, number):
    class Full(SelectorPoller):
        def _watch(self, fd, before, after):
            if after == WRITABLE:
                raise rig.os_error(number)
            super()._watch(fd, before, after)

    with Reactor(selector=Full(selectors.DefaultSelector())) as reactor:
        watched = dict(reactor.poller.handlers)
        connect(reactor, outcome.make, [endpoint(listening)] * 2, outcome.errors.append)
        assert not outcome.any
        turn_until(reactor, lambda: outcome.any, "an answer")
        turn_until_idle(reactor)
        assert outcome.error.errno == number
        assert reactor.poller.handlers == watched


def test_system_exit_of_the_socket_factory_leaves_nothing_behind(descriptors_come_back, outcome):
    with Reactor(socket_factory=leave) as reactor:
        with pytest.raises(SystemExit):
            connect(reactor, outcome.make, [nobody()], outcome.errors.append)
        assert not reactor.at_close and len(reactor.timers) == 0


def test_a_connection_to_itself_is_refused(descriptors_come_back, outcome):
    target = nobody()

    def at_that_very_port(family, kind):
        sock = socket.socket(family, kind)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(target.sockaddr)
        return sock

    with Reactor(socket_factory=at_that_very_port) as reactor:
        connect(reactor, outcome.make, [target], outcome.errors.append)
        turn_until(reactor, lambda: outcome.any, "an answer")
    assert isinstance(outcome.error, ConnectionRefusedError)


def test_a_machine_out_of_descriptors_says_so(descriptors_come_back, outcome):
    def factory(*_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with Reactor(socket_factory=factory) as reactor:
        connect(reactor, outcome.make, [nobody()], outcome.errors.append)
        turn_until(reactor, lambda: outcome.any, "an answer")
    assert outcome.error.errno == errno.EMFILE


def test_an_exception_in_the_factory_ends_the_connection_with_one_log_line(reactor, outcome, listening, caplog):
    connect(reactor, rig.break_down, [endpoint(listening)], outcome.errors.append)
    turn_until(reactor, lambda: reactor.counters.closed[CloseReason.HANDLER_ERROR], "the end")
    assert not outcome.any
    assert len(caplog.records) == 1
    assert reactor.counters.open == 0


def test_an_exception_in_on_failure_stops_no_other_call(reactor, outcome, listening, caplog):
    connect(reactor, outcome.make, [nobody()], rig.break_down)
    turn_until(reactor, lambda: reactor.counters.callback_errors, "the exception")
    connect(reactor, outcome.make, [endpoint(listening)], outcome.errors.append)
    turn_until(reactor, lambda: outcome.any, "an answer")
    assert outcome.protocol


def test_system_exit_from_the_factory_leaves_nothing_behind(reactor, listening):
    connect(reactor, leave, [endpoint(listening)], rig.break_down)
    with pytest.raises(SystemExit):
        turn_until(reactor, lambda: False, "SystemExit")
    turn_until_idle(reactor)
    assert reactor.counters.open == 0
    assert not reactor.at_close and len(reactor.timers) == 0


def test_a_new_connect_does_not_take_the_answer_to_one_that_was_cancelled_in_the_same_batch(
    reactor, pair, outcome, unanswered
):
    ours, theirs = pair
    refused = Outcome()
    first = connect(reactor, refused.make, [nobody()], refused.errors.append)
    number = first.attempts[0].socket.fileno()

    def cancel_and_connect(recorder, data):
        # The refusal of the first connect was fetched with this data, and comes next.
        first.cancel()
        second.append(connect(reactor, outcome.make, [unanswered], outcome.errors.append))

    second = []
    adopt(reactor, ours, Recorder(data_received=cancel_and_connect))
    reactor.dispatcher.flush()
    assert select.select([], [first.attempts[0].socket], [], rig.DEADLINE_SECONDS)[1], "no answer to the first"
    theirs.send(b"x")
    events = sorted(reactor.poller.poll(rig.DEADLINE_SECONDS), key=lambda event: event[0] == number)
    assert [fd == number for fd, _ in events] == [False, True], "both are ready"
    reactor._dispatch(events)
    attempt = second[0].attempts[0]
    assert attempt.socket.fileno() != number
    assert not outcome.any, "its handshake has not ended"
    assert reactor.poller.handlers[attempt.socket.fileno()][1] is attempt
    reactor.run_once(0)
    assert not refused.any and not outcome.any


def test_hundreds_of_attempts_leave_nothing_behind(reactor, listening):
    # Endpoints need no look-up. Most are refused.
    outcomes = [Outcome() for _ in range(300)]
    for number, each in enumerate(outcomes):
        target = endpoint(listening) if number % 10 == 0 else nobody()
        connector = connect(reactor, each.make, [target], each.errors.append)
        if number % 3 == 0:
            connector.cancel()
    turn_until(reactor, lambda: sum(bool(each.any) for each in outcomes) == 200, "all answers")
    assert not reactor.at_close and len(reactor.timers) <= reactor.counters.open, "the deadlines of those that are open"
    assert all(not each.any for each in outcomes[::3])
    assert WRITABLE not in [connection._interest for connection in reactor.dispatcher.connections()]

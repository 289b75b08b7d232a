"""Taking connections in: a budget for each turn, errors told apart, and a rest when `accept` cannot work (A1-A6)."""

import contextlib
import errno
import math
import os
import socket

import pytest

from reactor import CloseReason, Limits, State
from reactor.connections.acceptor import ACCEPT_SKIP_ERRNOS, LOG_SECONDS, REST_SECONDS
from reactor.loop.poller import READABLE
from tests import rig
from tests.rig import Recorder, StubSocket, adopt, leave, os_error


def listening(stub, *accepts, factory=Recorder, limits=None):
    """A listener over a stub socket that answers `accept` with `accepts`; and the list of protocols that it makes."""
    made = []

    def make():
        made.append(factory())
        return made[-1]

    listener = stub.acceptor.listen(StubSocket(accepts=accepts), make, limits or Limits())
    return listener, made


def test_listening_is_told_the_backlog_and_watches_for_newcomers(stub):
    listener, _ = listening(stub, limits=Limits(backlog=7))
    assert listener.socket.backlog == 7
    assert stub.poller.watched[listener.fd] == READABLE
    assert stub.acceptor.listeners() == [listener]


def test_all_that_wait_are_accepted_in_one_turn(stub):
    listener, made = listening(stub, *[StubSocket() for _ in range(10)])
    stub.acceptor.accept(listener, READABLE)
    assert [protocol.names for protocol in made] == [["connection_made"]] * 10
    assert stub.counters.accepted == 10
    assert [connection.state for connection in stub.dispatcher.connections()] == [State.OPEN] * 10


def test_an_accept_storm_is_taken_in_portions(stub):
    limits = Limits(accepts_per_iteration=3)
    listener, made = listening(stub, *[StubSocket() for _ in range(7)], limits=limits)
    for expected in (3, 6, 7, 7):
        stub.acceptor.accept(listener, READABLE)
        assert len(made) == expected


@pytest.mark.parametrize(("ready", "accepted"), [(1, 1), (3, 3), (7, 5)])
def test_newcomers_get_as_many_turns_as_there_are_in_the_batch_up_to_the_budget(stub, ready, accepted):
    listener, made = listening(stub, *[StubSocket() for _ in range(10)], limits=Limits(accepts_per_iteration=5))
    stub.acceptor.ready = ready
    stub.acceptor.accept(listener, READABLE)
    assert len(made) == accepted


@pytest.mark.parametrize("number", sorted(ACCEPT_SKIP_ERRNOS), ids=errno.errorcode.get)
def test_an_error_of_one_newcomer_is_skipped_and_the_next_is_accepted_in_the_same_turn(stub, number, caplog):
    listener, made = listening(stub, os_error(number), os_error(number), StubSocket())
    stub.acceptor.accept(listener, READABLE)
    assert len(made) == 1
    assert stub.counters.accept_errors == 2
    assert stub.poller.watched[listener.fd] == READABLE
    assert not caplog.records


def test_skipping_has_a_budget_too(stub):
    errors = [os_error(errno.ECONNABORTED)] * 5
    listener, made = listening(stub, *errors, StubSocket(), limits=Limits(accepts_per_iteration=5))
    stub.acceptor.accept(listener, READABLE)
    assert not made
    stub.acceptor.accept(listener, READABLE)
    assert len(made) == 1


def test_the_errors_that_accept_2_lists_are_skipped():
    names = "ECONNABORTED EPROTO EPERM ENETDOWN ENOPROTOOPT EHOSTDOWN ENONET EHOSTUNREACH EOPNOTSUPP ENETUNREACH"
    assert {getattr(errno, name) for name in names.split()} <= ACCEPT_SKIP_ERRNOS


OUT_OF = [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM]
out_of_something = pytest.mark.parametrize("number", OUT_OF, ids=errno.errorcode.get)


@out_of_something
def test_a_listener_that_is_out_of_something_rests_and_comes_back(stub, number, caplog):
    listener, made = listening(stub, os_error(number), StubSocket())
    stub.acceptor.accept(listener, READABLE)
    assert stub.poller.watched[listener.fd] == 0, "it would spin"
    assert stub.counters.accept_errors == 1
    assert len(caplog.records) == 1 and os.strerror(number) in caplog.text
    stub.pass_time(REST_SECONDS)
    assert stub.poller.watched[listener.fd] == READABLE
    stub.acceptor.accept(listener, READABLE)
    assert len(made) == 1


def test_a_listener_without_memory_for_a_newcomer_rests_too(stub, caplog):
    listener, made = listening(stub, MemoryError(), StubSocket())
    stub.acceptor.accept(listener, READABLE)
    assert stub.poller.watched[listener.fd] == 0
    assert stub.counters.accept_errors == 1 and len(caplog.records) == 1
    stub.pass_time(REST_SECONDS)
    stub.acceptor.accept(listener, READABLE)
    assert len(made) == 1


@out_of_something
def test_a_resting_listener_comes_back_as_soon_as_a_connection_ends(stub, number):
    connection = adopt(stub, StubSocket(), Recorder())
    listener, _ = listening(stub, os_error(number))
    stub.acceptor.accept(listener, READABLE)
    connection.abort()
    stub.finish()
    assert stub.poller.watched[listener.fd] == READABLE


def test_however_often_accept_fails_there_is_at_most_one_log_line_a_second(stub, caplog):
    listener, _ = listening(stub, *[os_error(errno.EMFILE)] * 1000)
    turns = 0
    while stub.timers.now < 1000.0 + 5 * LOG_SECONDS:
        stub.acceptor.accept(listener, READABLE)
        stub.pass_time(REST_SECONDS)
        turns += 1
    assert stub.counters.accept_errors == turns > 50
    assert len(caplog.records) == 5


def test_several_listeners_rest_and_come_back_together(stub):
    first, _ = listening(stub, os_error(errno.EMFILE))
    second, _ = listening(stub, os_error(errno.EMFILE))
    third, _ = listening(stub)
    stub.acceptor.accept(first, READABLE)
    stub.acceptor.accept(second, READABLE)
    assert [stub.poller.watched[listener.fd] for listener in (first, second, third)] == [0, 0, READABLE]
    stub.pass_time(REST_SECONDS)
    assert [stub.poller.watched[listener.fd] for listener in (first, second)] == [READABLE, READABLE]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.ENOMEM], ids=errno.errorcode.get)
def test_a_listener_that_the_kernel_refuses_to_watch_again_rests_on_and_tries_again(stub, number, caplog, monkeypatch):
    refused, _ = listening(stub, os_error(errno.EMFILE))
    other, _ = listening(stub, os_error(errno.EMFILE))
    for listener in (refused, other):
        stub.acceptor.accept(listener, READABLE)
    watch, left = stub.poller._watch, [3]  # how often the kernel will still refuse

    def refuse(fd, before, after):
        if fd == refused.fd and after and left[0]:
            left[0] -= 1
            raise os_error(number)
        watch(fd, before, after)

    monkeypatch.setattr(type(stub.poller), "_watch", lambda poller, *arguments: refuse(*arguments))
    for tries_left in (2, 1, 0):
        stub.pass_time(REST_SECONDS)
        assert left == [tries_left], "one try for each rest"
        assert stub.poller.watched[refused.fd] == 0 and stub.poller.watched[other.fd] == READABLE
    stub.pass_time(REST_SECONDS)
    assert stub.poller.watched[refused.fd] == READABLE
    assert len(stub.timers) == 0, "no listener rests, and no timer is left"


def test_a_listener_that_cannot_be_watched_at_the_start_is_refused_and_stays_the_callers(stub, monkeypatch):
    def refuse(poller, *_arguments):
        raise os_error(errno.ENOSPC)

    monkeypatch.setattr(type(stub.poller), "_watch", refuse)
    sock = StubSocket()
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        stub.acceptor.listen(sock, Recorder, Limits())
    assert not stub.acceptor.listeners() and not sock.closed and not stub.poller.handlers


def test_a_socket_is_listened_on_once(stub):
    listener, _ = listening(stub)
    with pytest.raises(FileExistsError):
        stub.acceptor.listen(listener.socket, Recorder, Limits())
    assert stub.acceptor.listeners() == [listener]


def test_a_listener_can_be_closed_while_it_rests(stub):
    listener, _ = listening(stub, os_error(errno.EMFILE))
    stub.acceptor.accept(listener, READABLE)
    for _ in range(2):
        stub.acceptor.stop_listening(listener)
    stub.pass_time(REST_SECONDS)
    assert listener.socket.closed and not stub.acceptor.listeners()


def test_a_listener_that_is_closed_by_a_newcomer_accepts_no_more(stub):
    def factory():
        return Recorder(connection_made=lambda recorder: stub.acceptor.stop_listening(listener))

    listener, made = listening(stub, StubSocket(), StubSocket(), factory=factory)
    stub.acceptor.accept(listener, READABLE)
    assert len(made) == 1
    assert listener.socket.closed
    assert stub.dispatcher.connections() == [made[0].connection]


def test_an_exception_in_the_factory_ends_that_connection_alone(stub, caplog):
    answers = iter([LookupError("on purpose"), Recorder()])

    def factory():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    broken, good = StubSocket(), StubSocket()
    listener = stub.acceptor.listen(StubSocket(accepts=[broken, good]), factory, Limits())
    stub.acceptor.accept(listener, READABLE)
    stub.finish()
    (record,) = caplog.records
    assert record.exc_info[0] is LookupError and "factory" in record.getMessage()
    assert broken.closed and broken.resets and not good.closed
    assert stub.counters.closed[CloseReason.HANDLER_ERROR] == 1
    assert stub.counters.open == 1


def test_a_factory_that_makes_nothing_ends_that_connection_with_one_log_line(stub, caplog):
    sock = StubSocket()
    listener = stub.acceptor.listen(StubSocket(accepts=[sock]), lambda: None, Limits())
    stub.acceptor.accept(listener, READABLE)
    stub.finish()
    assert sock.closed and len(caplog.records) == 1
    assert stub.counters.closed[CloseReason.HANDLER_ERROR] == 1


def test_system_exit_from_the_factory_leaves_no_connection_behind(stub):
    sock = StubSocket()
    listener = stub.acceptor.listen(StubSocket(accepts=[sock]), leave, Limits())
    with pytest.raises(SystemExit):
        stub.acceptor.accept(listener, READABLE)
    stub.finish()
    assert sock.closed
    assert not stub.dispatcher.connections() and stub.counters.open == 0
    assert stub.dispatcher.admission.inside == 0


# Too many connections (A5).


def newcomers(*hosts):
    return [(StubSocket(), (host, 1000 + number)) for number, host in enumerate(hosts)]


def test_when_all_places_are_taken_newcomers_stay_in_the_queue_until_one_is_free(stub):
    sockets = newcomers(*["10.0.0.1"] * 3)
    listener, made = listening(stub, *sockets, limits=Limits(max_connections=2))
    stub.acceptor.accept(listener, READABLE)
    stub.acceptor.accept(listener, READABLE)
    assert len(made) == 2 and len(listener.socket.accepts) == 1
    assert stub.poller.watched[listener.fd] == 0, "it would spin"
    assert stub.counters.accept_errors == 0
    made[0].connection.abort()
    stub.finish()
    assert stub.poller.watched[listener.fd] == READABLE
    stub.acceptor.accept(listener, READABLE)
    assert len(made) == 3


def test_while_all_places_are_taken_nothing_wakes_the_listener_but_an_end(stub, caplog):
    sockets = newcomers(*["10.0.0.1"] * 3)
    endless = {"first_byte_seconds": math.inf, "idle_seconds": math.inf}  # no timer, unless the listener has one
    listener, made = listening(stub, *sockets, limits=Limits(max_connections=2, **endless))
    stub.acceptor.accept(listener, READABLE)
    assert not caplog.records and not stub.counters.full, "the last place was taken, and nobody waits as far as we know"
    stub.acceptor.accept(listener, READABLE)
    assert len(stub.timers) == 0 and stub.poller.watched[listener.fd] == 0
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == "all places are taken (max_connections 2): newcomers wait in the queue of unix:stub"
    assert stub.counters.full and stub.counters.times_full == 1
    made[0].connection.abort()
    stub.finish()
    assert not stub.counters.full
    stub.acceptor.accept(listener, READABLE)
    assert len(made) == 3 and stub.counters.times_full == 1


def test_a_listener_without_a_place_sleeps_on_while_another_lacks_a_descriptor(stub):
    """Each is woken by what it waits for: a place, or time."""
    waiting, _ = listening(stub, *newcomers("10.0.0.1", "10.0.0.1"), limits=Limits(max_connections=1))
    ours = adopt(stub, StubSocket(), Recorder())
    for _ in range(2):
        stub.acceptor.accept(waiting, READABLE)
    poor, _ = listening(stub, os_error(errno.EMFILE))
    stub.acceptor.accept(poor, READABLE)
    stub.pass_time(REST_SECONDS)
    assert [stub.poller.watched[listener.fd] for listener in (waiting, poor)] == [0, READABLE]
    ours.abort()  # we opened it, so no place comes free
    stub.finish()
    assert stub.poller.watched[waiting.fd] == 0 and stub.counters.full and stub.counters.times_full == 1


def test_a_listener_that_is_stopped_waits_for_no_place(stub):
    listener, made = full(stub, "queue")
    stub.acceptor.accept(listener, READABLE)
    assert stub.counters.full
    stub.acceptor.stop_listening(listener)
    adopt(stub, StubSocket(), Recorder()).abort()  # we opened it: no place comes free
    stub.finish()
    assert not stub.counters.full and made[0].connection.state is State.OPEN


def full(stub, when_full):
    """A listener that has no place for the many who come."""
    sockets = newcomers(*["10.0.0.1"] * 1000)
    limits = Limits(max_connections=1, when_full=when_full, accepts_per_iteration=2)
    listener, made = listening(stub, *sockets, limits=limits)
    stub.acceptor.accept(listener, READABLE)
    return listener, made


@pytest.mark.parametrize("when_full", ["queue", "refuse"])
def test_however_often_a_newcomer_finds_no_place_there_is_at_most_one_log_line_a_second(stub, caplog, when_full):
    listener, _ = full(stub, when_full)
    begin, turns = stub.timers.now, 0
    while stub.timers.now < begin + 5 * LOG_SECONDS:
        stub.acceptor.accept(listener, READABLE)
        stub.pass_time(0.05)
        turns += 1
    assert stub.counters.times_full >= turns > 50
    assert len(caplog.records) == 5


def test_what_is_refused_is_told_with_the_limit(stub, caplog):
    listener, _ = full(stub, "refuse")
    assert stub.counters.full
    stub.pass_time(LOG_SECONDS)
    stub.acceptor.accept(listener, READABLE)
    text = "all places are taken (max_connections 1): newcomers are refused"
    assert [record.getMessage() for record in caplog.records] == [text, text]


def test_a_peer_that_has_all_its_places_is_told_beside_the_other_limit(stub, caplog):
    limits = Limits(max_connections=2, max_connections_per_peer=1, when_full="refuse")
    listener, made = listening(stub, *newcomers("10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.3"), limits=limits)
    stub.acceptor.accept(listener, READABLE)
    assert [record.getMessage() for record in caplog.records] == [
        "10.0.0.1 has all its places (max_connections_per_peer 1): more are refused",
        "all places are taken (max_connections 2): newcomers are refused",
    ]
    assert len(made) == 2


def test_when_all_places_are_taken_newcomers_can_be_refused_at_once(stub):
    sockets = newcomers(*["10.0.0.1"] * 4)
    listener, made = listening(stub, *sockets, limits=Limits(max_connections=2, when_full="refuse"))
    stub.acceptor.accept(listener, READABLE)
    assert len(made) == 2
    assert [(sock.closed, sock.resets) for sock, _ in sockets] == [(False, False)] * 2 + [(True, False)] * 2
    assert stub.counters.closed[CloseReason.REFUSED] == 2
    assert stub.counters.accepted == 4 and stub.counters.open == 2
    assert stub.poller.watched[listener.fd] == READABLE


@pytest.mark.parametrize("when_full", ["queue", "refuse"])
def test_one_address_cannot_take_all_places(stub, when_full):
    sockets = newcomers("10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.2")
    limits = Limits(max_connections_per_peer=2, when_full=when_full)
    listener, made = listening(stub, *sockets, limits=limits)
    stub.acceptor.accept(listener, READABLE)
    assert [protocol.connection._peername[0] for protocol in made] == ["10.0.0.1", "10.0.0.1", "10.0.0.2"]
    assert sockets[2][0].closed
    made[0].connection.abort()
    stub.finish()
    listener.socket.accepts += newcomers("10.0.0.1")
    stub.acceptor.accept(listener, READABLE)
    assert len(made) == 4


def test_connections_that_we_opened_take_no_places(stub):
    connection = adopt(stub, StubSocket(), Recorder())
    listener, made = listening(stub, *newcomers("10.0.0.1"), limits=Limits(max_connections=1))
    stub.acceptor.accept(listener, READABLE)
    assert len(made) == 1
    connection.abort()
    stub.finish()
    assert stub.dispatcher.admission.inside == 1


# With a kernel.


def test_the_number_of_a_listener_closed_in_a_batch_is_not_used_again_in_it(reactor, pair):
    ours, theirs = pair
    listener = reactor.listen(socket.create_server(("127.0.0.1", 0)), Recorder)
    number, address = listener.fd, listener.address
    seen = []

    def stop_and_open(recorder, data):
        reactor.acceptor.stop_listening(listener)
        with socket.socket() as newcomer:
            seen.append(newcomer.fileno())

    adopt(reactor, ours, Recorder(data_received=stop_and_open))
    theirs.send(b"x")
    reactor.run_once(rig.DEADLINE_SECONDS)
    assert seen and number not in seen
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_a_listener_stopped_outside_a_batch_is_closed_at_once(reactor):
    listener = reactor.listen(socket.create_server(("127.0.0.1", 0)), Recorder)
    address = listener.address
    reactor.acceptor.stop_listening(listener)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


@pytest.mark.parametrize("before", [True, False], ids=["it came before", "it came after"])
@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_what_is_accepted_over_tcp_sends_at_once(reactor, family, host, before):
    """Also a connection from the queue of a socket that listened before we got it, as from systemd."""
    if family == socket.AF_INET6 and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    made = []
    sock = socket.create_server((host, 0), family=family)
    with contextlib.ExitStack() as stack:
        address = sock.getsockname()[:2]
        if before:
            stack.enter_context(socket.create_connection(address))
        reactor.listen(sock, lambda: made.append(Recorder()) or made[-1])
        if not before:
            stack.enter_context(socket.create_connection(address))
        rig.turn_until(reactor, lambda: made and made[0].names, "the connection")
        accepted = made[0].connection.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

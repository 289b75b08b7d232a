"""The reactor: six phases, and what they promise to callbacks, timers and other threads."""

import math
import selectors
import socket
import sys
import threading
from collections import deque

import pytest

from reactor import Limits, Reactor, State
from reactor.loop.timers import Handle
from tests import rig
from tests.rig import Recorder, adopt, break_down, turn_until, turn_until_idle, turns

SELECTORS = [
    getattr(selectors, name)
    for name in ("EpollSelector", "PollSelector", "SelectSelector", "KqueueSelector")
    if hasattr(selectors, name)
]


def observe_polls(reactor, order):
    """Note each poll of the kernel in `order`."""
    poller = reactor.poller

    class Observed:
        def __getattr__(self, name):
            return getattr(poller, name)

        def __setattr__(self, name, value):
            setattr(poller, name, value)

        def poll(self, timeout):
            order.append("poll")
            return poller.poll(timeout)

    reactor.poller = Observed()


# The phases.


def test_the_phases_come_in_their_order(reactor, pair):
    ours, theirs = pair
    order = []
    other_ours, other_theirs = socket.socketpair()
    with other_ours, other_theirs:
        other_theirs.setblocking(False)
        other = adopt(reactor, other_ours, Recorder())

        def data_received(recorder, data):
            order.append("dispatch")
            other.write(b"flushed")
            recorder.connection.abort()

        def flushed():
            try:
                return other_theirs.recv(100)
            except BlockingIOError:
                return b""

        def connection_lost(recorder, exc):
            order.append("flush" if flushed() else "not flushed")
            order.append("reap")

        adopt(reactor, ours, Recorder(data_received=data_received, connection_lost=connection_lost))
        theirs.send(b"x")
        reactor.call_soon(order.append, "ready")
        reactor.call_at(-math.inf, order.append, "timers")
        observe_polls(reactor, order)
        reactor.run_once(0)
    assert order == ["timers", "ready", "poll", "dispatch", "flush", "reap"]


def test_what_a_timer_writes_leaves_in_the_same_turn(reactor, pair):
    ours, theirs = pair
    connection = adopt(reactor, ours, Recorder())
    reactor.call_at(-math.inf, connection.write, b"in time")
    reactor.run_once(0)
    assert theirs.recv(100) == b"in time"


def test_what_a_timer_ends_is_gone_in_the_same_turn(reactor, pair):
    connection = adopt(reactor, pair[0], Recorder())
    reactor.call_at(-math.inf, connection.abort)
    reactor.run_once(0)
    assert connection.state is State.CLOSED


@pytest.mark.parametrize("make_selector", SELECTORS, ids=lambda selector: selector.__name__)
def test_the_same_is_served_over_every_selector(make_selector, descriptors_come_back):
    with Reactor(selector=make_selector()) as reactor:
        ours, theirs = rig.tcp_pair()
        with theirs:
            protocol = Recorder(data_received=lambda recorder, data: recorder.connection.write(data))
            connection = adopt(reactor, ours, protocol)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
            connection.write(b"x" * 3_000_000)
            theirs.setblocking(False)
            received = 0

            def receive():
                nonlocal received
                try:
                    received += len(theirs.recv(1 << 20))
                except BlockingIOError:
                    pass
                return received

            turn_until(reactor, lambda: receive() == 3_000_000, "all that was written")
            theirs.send(b"ping")
            turn_until(reactor, lambda: receive() == 3_000_004, "the echo")
            connection.pause_reading()
            turn_until_idle(reactor)
            connection.resume_reading()
            theirs.shutdown(socket.SHUT_WR)
            turn_until(reactor, lambda: protocol.lost, "the end")
        assert protocol.received == b"ping"
        assert protocol.names.count("pause_writing") == protocol.names.count("resume_writing") == 1


@pytest.mark.parametrize("nonsense", [None, Recorder()], ids=["nothing", "a protocol"])
def test_a_factory_that_cannot_be_called_is_refused_and_the_socket_stays_the_callers(reactor, nonsense):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        with pytest.raises(TypeError, match="^the factory of protocols must be callable, not of type "):
            reactor.listen(sock, nonsense)
        assert reactor.acceptor.listeners() == [] and sock.fileno() not in reactor.poller.handlers
        assert sock.getsockname()[1]


def test_a_place_that_comes_free_is_given_away_at_once(descriptors_come_back, clock):
    with Reactor(clock=clock, limits=Limits(max_connections=1)) as reactor:  # no timer wakes the listener
        listener = reactor.listen(socket.create_server(("127.0.0.1", 0)), Recorder)
        with socket.create_connection(listener.address), socket.create_connection(listener.address):
            turn_until(reactor, lambda: listener.resting, "the only place to be taken")
            reactor.dispatcher.connections()[0].abort()
            turn_until(reactor, lambda: reactor.counters.accepted == 2, "the second")


def test_a_place_that_comes_free_by_system_exit_is_given_away_too(descriptors_come_back, clock):
    def leave(recorder, exc):
        raise SystemExit

    with Reactor(clock=clock, limits=Limits(max_connections=1)) as reactor:
        listener = reactor.listen(socket.create_server(("127.0.0.1", 0)), lambda: Recorder(connection_lost=leave))
        with socket.create_connection(listener.address), socket.create_connection(listener.address):
            turn_until(reactor, lambda: listener.resting, "the only place to be taken")
            reactor.dispatcher.connections()[0].abort()
            with pytest.raises(SystemExit):
                turn_until(reactor, lambda: False, "the end")
            turn_until(reactor, lambda: reactor.counters.accepted == 2, "the second")
            reactor.dispatcher.connections()[0]._protocol.reactions.clear()


# call_soon


def test_soon_means_the_next_turn_in_order(reactor):
    called = []
    for number in range(10):
        reactor.call_soon(called.append, number)
    assert called == []
    reactor.run_once(0)
    assert called == list(range(10))
    reactor.run_once(0)
    assert called == list(range(10))


def test_a_callback_that_requeues_itself_has_one_turn_in_each_iteration(reactor, pair):
    ours, theirs = pair
    called = []

    def again():
        called.append(1)
        reactor.call_soon(again)

    protocol = Recorder()
    adopt(reactor, ours, protocol)
    theirs.send(b"x")
    again()
    reactor.run_once()
    assert len(called) == 2
    assert protocol.received == b"x", "it must not starve the sockets"


def test_a_cancelled_call_does_not_come(reactor):
    called = []
    handle = reactor.call_soon(called.append, "cancelled")
    reactor.call_soon(called.append, "other")
    handle.cancel()
    handle.cancel()
    reactor.run_once(0)
    assert called == ["other"]


def test_the_poll_does_not_wait_when_something_is_left_to_be_done(reactor, pair):
    connection = adopt(reactor, pair[0], Recorder())
    for prepare in (
        lambda: reactor.call_soon(reactor.call_soon, int),
        lambda: reactor.call_soon_threadsafe(int),
        lambda: reactor.call_soon(connection.write, b"x"),
        lambda: reactor.call_soon(connection.abort),
        reactor.stop,
    ):
        prepare()
        reactor.run_once(3600)  # an hour: if it waits, the test fails


def test_an_exception_in_a_callback_is_logged_counted_and_stops_nobody(reactor, caplog):
    called = []
    reactor.call_soon(break_down)
    reactor.call_at(-math.inf, break_down)
    reactor.call_soon(called.append, "next")
    reactor.call_soon(reactor.stop)
    reactor.run()
    assert called == ["next"]
    assert reactor.counters.callback_errors == 2
    assert [record.exc_info[0] for record in caplog.records] == [LookupError, LookupError]


# Timers, through the loop.


def test_timers_come_when_their_time_has_come_and_not_before(timed, clock):
    called = []
    timed.call_later(5, called.append, "later")
    timed.call_at(clock.now + 3, called.append, "at")
    timed.call_later(-1, called.append, "negative")
    turns(timed, 2)
    assert called == ["negative"]
    clock.now += 2.999
    turns(timed, 2)
    assert called == ["negative"]
    clock.now += 0.001
    turns(timed, 2)
    assert called == ["negative", "at"]
    clock.now += 2
    turns(timed, 2)
    assert called == ["negative", "at", "later"]


@pytest.mark.parametrize("arm", ["call_later", "call_at"])
def test_nan_is_refused_at_the_call(reactor, arm):
    with pytest.raises(ValueError, match="NaN"):
        getattr(reactor, arm)(math.nan, int)


def test_an_infinite_timer_does_not_keep_the_loop_from_waiting_or_stopping(reactor):
    reactor.call_later(math.inf, break_down)
    reactor.call_later(0.001, reactor.stop)
    reactor.run()


def test_time_is_that_of_the_clock(timed, clock):
    assert timed.time() == clock.now
    clock.now += 1
    assert timed.time() == clock.now


def test_a_sleeping_loop_wakes_for_its_timer(reactor):
    reactor.call_later(0.001, reactor.stop)
    reactor.run()


# Other threads.


def test_another_thread_wakes_a_sleeping_loop(reactor):
    asleep = threading.Event()

    def call():
        asleep.wait(rig.DEADLINE_SECONDS)
        reactor.call_soon_threadsafe(reactor.stop)

    thread = threading.Thread(target=call)
    thread.start()
    reactor.call_soon(asleep.set)
    reactor.run()
    thread.join()


def test_calls_of_many_threads_all_come_each_threads_own_in_order(reactor):
    called = []

    def call(name):
        for number in range(500):
            reactor.call_soon_threadsafe(called.append, (name, number))

    threads = [threading.Thread(target=call, args=[name]) for name in range(4)]
    for thread in threads:
        thread.start()
    turn_until(reactor, lambda: len(called) == 2000, "all calls")
    for thread in threads:
        thread.join()
    for name in range(4):
        assert [number for caller, number in called if caller == name] == list(range(500))


def test_threads_that_call_faster_than_they_are_served_do_not_hold_up_the_iteration(reactor):
    called = []

    class Busy(deque):
        """The queue of their calls. When one is taken, another one comes."""

        taken = 0

        def popleft(self):
            self.taken += 1
            assert self.taken < 100, "the iteration is held up"
            self.append(Handle(called.append, ("later",), -math.inf, None))
            return super().popleft()

    reactor._foreign = Busy([Handle(called.append, ("first",), -math.inf, None)])
    reactor.run_once(0)
    assert called == ["first"]
    reactor.run_once(0)
    assert called == ["first", "later"]


def test_no_call_is_lost_that_comes_while_others_are_taken_over(reactor):
    """Python switches between the threads as often as possible."""
    called, threads, calls = [], 4, 10_000

    def call():
        for _ in range(calls):
            reactor.call_soon_threadsafe(called.append, None)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        running = [threading.Thread(target=call) for _ in range(threads)]
        for thread in running:
            thread.start()
        while any(thread.is_alive() for thread in running):
            reactor.run_once(0)
        for thread in running:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    reactor.run_once(0)
    assert len(called) == threads * calls


def test_a_call_from_another_thread_can_be_cancelled(reactor):
    reactor.call_soon_threadsafe(break_down).cancel()
    reactor.run_once(0)
    assert reactor.counters.callback_errors == 0


def test_a_call_that_comes_while_the_loop_empties_its_pipe_is_made_and_so_is_the_next(reactor):
    called = []

    class Interrupted:
        def __init__(self, sock):
            self.sock = sock

        def recv(self, size):
            reactor.call_soon_threadsafe(called.append, "meanwhile")
            return self.sock.recv(size)

    waker = reactor._waker
    sock, waker.socket = waker.socket, Interrupted(waker.socket)
    reactor.call_soon_threadsafe(called.append, "first")
    reactor.run_once(0)
    waker.socket = sock
    reactor.run_once(0)
    assert called == ["first", "meanwhile"]
    reactor.call_soon_threadsafe(called.append, "later")
    assert reactor.poller.poll(0), "a loop that sleeps would not be woken"


def test_two_reactors_in_two_threads_do_not_disturb_each_other(descriptors_come_back):
    def serve(reactor, results, name):
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.setblocking(False)
            adopt(reactor, ours, Recorder(data_received=lambda recorder, data: recorder.connection.write(data)))
            for number in range(200):
                message = b"%s %d" % (name, number)
                theirs.send(message)
                received = []

                def answered(received=received):
                    try:
                        received.append(theirs.recv(100))
                    except BlockingIOError:
                        pass
                    return received

                turn_until(reactor, answered, "the echo")
                results.append(received[0] == message)

    reactors, results = [Reactor(), Reactor()], [[], []]
    names = [b"first", b"second"]
    threads = [threading.Thread(target=serve, args=each) for each in zip(reactors, results, names, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for reactor in reactors:
        assert reactor.counters.receives == 200
        reactor.close()
    assert results == [[True] * 200] * 2


def test_a_reactor_runs_on_another_thread_than_the_main_one(descriptors_come_back):
    reactor = Reactor()
    thread = threading.Thread(target=reactor.run)
    thread.start()
    reactor.call_soon_threadsafe(reactor.stop)
    thread.join(rig.DEADLINE_SECONDS)
    assert not thread.is_alive()
    reactor.close()

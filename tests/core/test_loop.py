"""The loop: six phases and what they promise each other, callbacks of every kind, signals, threads, and the end."""

import gc
import logging
import math
import os
import selectors
import signal
import socket
import threading
import weakref

import pytest

from reactor import CloseReason, Limits, Reactor, State
from reactor.core.counters import LAG_BUCKETS
from tests import rig
from tests.rig import FakeClock, Recorder, adopt, break_down, leave, turn_until, turn_until_idle

SELECTORS = [
    getattr(selectors, name)
    for name in ("EpollSelector", "PollSelector", "SelectSelector", "KqueueSelector")
    if hasattr(selectors, name)
]


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def timed(descriptors_come_back, clock):
    """A reactor whose clock stands still until it is pushed."""
    with Reactor(clock=clock) as reactor:
        yield reactor


def turns(reactor, count):
    for _ in range(count):
        reactor.run_once(0)


def observe_polls(reactor, order):
    """Have each poll of the kernel note itself in `order`."""
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
    assert connection.state is State.LOST


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


def test_a_place_that_comes_free_is_given_away_at_once(descriptors_come_back, clock):
    with Reactor(clock=clock, limits=Limits(max_connections=1)) as reactor:  # no timer will wake the listener
        listener = reactor.listen(socket.create_server(("127.0.0.1", 0)), Recorder)
        with socket.create_connection(listener.address), socket.create_connection(listener.address):
            turn_until(reactor, lambda: listener.resting, "the only place to be taken")
            reactor.dispatcher.connections()[0].abort()
            turn_until(reactor, lambda: reactor.counters.accepted == 2, "the second")


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
        reactor.run_once(3600)  # an hour: the test would not live to see the end of it


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


# run and stop.


def test_run_ends_at_the_end_of_the_iteration_that_stopped_it_and_can_be_run_again(reactor):
    called = []
    for _ in range(3):
        reactor.call_soon(reactor.stop)
        reactor.call_soon(called.append, "the same iteration")
        reactor.run()
    assert called == ["the same iteration"] * 3


def test_a_stop_before_run_ends_its_first_iteration(reactor):
    called = []
    reactor.stop()
    reactor.call_soon(called.append, 1)
    reactor.run()
    assert called == [1]


def test_a_running_reactor_cannot_be_run_from_its_own_callbacks(reactor):
    caught = []

    def run_inside(run):
        with pytest.raises(RuntimeError) as raised:
            run()
        caught.append(str(raised.value))

    reactor.call_soon(run_inside, reactor.run)
    reactor.call_soon(run_inside, reactor.run_once)
    reactor.call_soon(reactor.stop)
    reactor.run()
    reactor.call_soon(run_inside, reactor.run_once)
    reactor.run_once(0)
    assert len(caught) == 3 and all("running" in words for words in caught)


@pytest.mark.parametrize("where", ["call_soon", "call_at", "data_received", "connection_lost", "signal"])
@pytest.mark.parametrize("exception", [SystemExit, KeyboardInterrupt])
def test_system_exit_leaves_run_and_the_next_run_goes_on_with_nothing_lost(reactor, pair, where, exception):
    ours, theirs = pair
    called = []

    def leave_once(*_):
        if "left" not in called:
            called.append("left")
            raise exception

    reactions = {where: leave_once} if where in ("data_received", "connection_lost") else {}
    protocol = Recorder(**reactions)
    connection = adopt(reactor, ours, protocol)
    if where == "call_soon":
        reactor.call_soon(leave_once)
    elif where == "call_at":
        reactor.call_at(-math.inf, leave_once)
    elif where == "signal":
        reactor.add_signal_handler(signal.SIGUSR1, leave_once)
        signal.raise_signal(signal.SIGUSR1)
    elif where == "connection_lost":
        connection.abort()
    reactor.call_soon(called.append, "queued before")
    reactor.call_at(reactor.time(), called.append, "armed before")
    theirs.send(b"sent before")
    with pytest.raises(exception):
        reactor.run()
    assert "left" in called
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    turn_until(reactor, lambda: {"queued before", "armed before"} <= set(called), "what was owed")
    if where == "connection_lost":
        assert connection.state is State.LOST and ours.fileno() == -1
    else:
        turn_until(reactor, lambda: protocol.received == b"sent before", "what was sent")
        connection.write(b"answer")
        reactor.run_once(0)
        assert theirs.recv(100) == b"answer"


def test_after_system_exit_the_rest_of_the_batch_is_served_by_the_next_run(reactor):
    pairs = [socket.socketpair() for _ in range(5)]
    first = iter([True])
    protocols = [
        Recorder(data_received=lambda *_: leave() if next(first, False) else None) for _ in pairs
    ]
    for (ours, theirs), protocol in zip(pairs, protocols, strict=True):
        adopt(reactor, ours, protocol)
        theirs.send(b"x")
    with pytest.raises(SystemExit):
        reactor.run()
    turn_until(reactor, lambda: all(protocol.received == b"x" for protocol in protocols), "all of the batch")
    for _ours, theirs in pairs:
        theirs.close()


# Signals and Ctrl-C.


def test_a_signal_calls_back_in_the_loop(reactor):
    called = []
    reactor.add_signal_handler(signal.SIGUSR1, called.append, "signal")
    reactor.call_soon(signal.raise_signal, signal.SIGUSR1)
    turn_until(reactor, lambda: called, "the signal")
    assert called == ["signal"]
    assert reactor.remove_signal_handler(signal.SIGUSR1) is True
    assert reactor.remove_signal_handler(signal.SIGUSR1) is False
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


def test_a_signal_from_outside_wakes_a_sleeping_loop(reactor):
    reactor.add_signal_handler(signal.SIGUSR1, reactor.stop)
    asleep = threading.Event()

    def send():
        asleep.wait(rig.DEADLINE_SECONDS)
        os.kill(os.getpid(), signal.SIGUSR1)

    thread = threading.Thread(target=send)
    thread.start()
    reactor.call_soon(asleep.set)
    reactor.run()
    thread.join()


def test_sigterm_is_seen_behind_ten_thousand_others(reactor):
    counted, ended = [], []
    reactor.add_signal_handler(signal.SIGUSR1, counted.append, 1)
    reactor.add_signal_handler(signal.SIGTERM, ended.append, 1)
    for _ in range(10_000):
        signal.raise_signal(signal.SIGUSR1)
        reactor._waker.wake()
    signal.raise_signal(signal.SIGTERM)
    turn_until(reactor, lambda: ended, "SIGTERM")
    assert len(counted) == 10_000


def test_an_exception_in_a_signals_callback_stops_nobody(reactor, caplog):
    reactor.add_signal_handler(signal.SIGUSR1, break_down)
    signal.raise_signal(signal.SIGUSR1)
    turns(reactor, 2)
    assert reactor.counters.callback_errors == 1


def test_closing_gives_the_signals_back(descriptors_come_back):
    with Reactor() as reactor:
        reactor.add_signal_handler(signal.SIGUSR1, int)
        reactor.add_signal_handler(signal.SIGINT, int)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.set_wakeup_fd(-1) == -1


def test_ctrl_c_waits_for_the_end_of_the_iteration_and_the_loop_can_run_again(reactor):
    called = []

    def press():
        signal.raise_signal(signal.SIGINT)
        called.append("the rest of the callback")

    reactor.call_at(-math.inf, press)
    reactor.call_soon(called.append, "the rest of the iteration")
    with pytest.raises(KeyboardInterrupt):
        reactor.run()
    assert called == ["the rest of the callback", "the rest of the iteration"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    reactor.call_soon(reactor.stop)
    reactor.run()


def test_ctrl_c_from_outside_ends_a_loop_that_sleeps(reactor):
    asleep = threading.Event()

    def press():
        asleep.wait(rig.DEADLINE_SECONDS)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    reactor.call_soon(asleep.set)
    with pytest.raises(KeyboardInterrupt):
        reactor.run()
    thread.join()


def test_ctrl_c_in_the_iteration_that_stops_is_not_lost(reactor):
    reactor.call_soon(signal.raise_signal, signal.SIGINT)
    reactor.call_soon(reactor.stop)
    with pytest.raises(KeyboardInterrupt):
        reactor.run()
    called = []
    reactor.call_soon(called.append, 1)
    reactor.call_soon(reactor.call_soon, called.append, 2)
    reactor.call_soon(reactor.call_soon, reactor.stop)
    reactor.run()
    assert called == [1, 2], "neither the stop nor the Ctrl-C is left over"


def test_a_second_ctrl_c_raises_at_once(reactor):
    called = []

    def press_twice():
        signal.raise_signal(signal.SIGINT)
        called.append("first")
        signal.raise_signal(signal.SIGINT)
        called.append("second")

    reactor.call_soon(press_twice)
    with pytest.raises(KeyboardInterrupt):
        reactor.run()
    assert called == ["first"]
    reactor.call_soon(reactor.stop)
    reactor.run()


# Closing.


def test_close_ends_every_connection_tells_each_and_gives_back_every_descriptor(descriptors_come_back):
    reactor = Reactor()
    listener = reactor.listen(socket.create_server(("127.0.0.1", 0)), Recorder)
    address = listener.address
    clients = [socket.create_connection(address) for _ in range(20)]
    turn_until(reactor, lambda: reactor.counters.accepted == 20, "all of them")
    protocols = [connection.protocol for connection in reactor.dispatcher.connections()]
    protocols[0].connection.write(b"x" * 10_000_000)
    protocols[1].connection.close()
    protocols[2].connection.abort()
    protocols[3].connection.pause_reading()
    for _ in range(2):
        reactor.close()
    for protocol in protocols:
        assert protocol.names[-1] == "connection_lost" and protocol.names.count("connection_lost") == 1
        assert protocol.connection.state is State.LOST
    assert reactor.counters.open == 0
    assert reactor.counters.closed[CloseReason.SHUTDOWN] == 19
    assert reactor.counters.closed[CloseReason.ABORTED] == 1
    for client in clients:
        client.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


CALLBACKS = "connection_made data_received eof_received pause_writing resume_writing connection_lost".split()


@pytest.mark.parametrize("driven_by", ["run", "run_once"])
@pytest.mark.parametrize("callback", [*CALLBACKS, "call_soon", "call_at"])
def test_the_reactor_can_be_closed_from_every_callback_and_nobody_is_told_inside_it(
    descriptors_come_back, callback, driven_by
):
    reactor = Reactor(limits=Limits(output_low_bytes=0, output_high_bytes=0))
    told_inside = []

    def close(*_):
        before = len(protocol.calls), len(other.calls)
        reactor.close()
        told_inside.append((len(protocol.calls), len(other.calls)) != before)

    ours, theirs = socket.socketpair()
    other_ours, other_theirs = socket.socketpair()
    other = Recorder()
    protocol = Recorder(**{"data_received": lambda recorder, data: recorder.connection.write(b"x"), callback: close})
    with theirs, other_theirs:
        adopt(reactor, other_ours, other)
        reactor.call_soon(adopt, reactor, ours, protocol)
        if callback == "call_soon":
            reactor.call_soon(close)
        elif callback == "call_at":
            reactor.call_at(-math.inf, reactor.call_at, -math.inf, close)
        theirs.send(b"x")
        theirs.shutdown(socket.SHUT_WR)
        if driven_by == "run":
            reactor.run()
        else:
            while not told_inside:
                reactor.run_once(rig.DEADLINE_SECONDS)
    assert told_inside == [False]
    assert protocol.lost and protocol.names.count("connection_lost") == 1
    assert other.names == ["connection_made", "connection_lost"]
    assert reactor.counters.open == 0
    with pytest.raises(RuntimeError, match="closed"):
        reactor.run_once(0)


def test_a_connection_that_is_opened_while_closing_is_ended_too(descriptors_come_back):
    reactor = Reactor()
    opened = []

    def open_another(_recorder, _exc):
        ours, theirs = socket.socketpair()
        theirs.close()
        opened.append(adopt(reactor, ours, Recorder()))

    ours, theirs = socket.socketpair()
    with theirs:
        adopt(reactor, ours, Recorder(connection_lost=open_another))
        reactor.close()
    assert opened[0].state is State.LOST


def test_system_exit_while_closing_goes_on_when_all_are_told_and_everything_is_given_back(descriptors_come_back):
    reactor = Reactor()
    reactor.add_signal_handler(signal.SIGUSR1, int)
    protocols = [Recorder(connection_lost=leave) for _ in range(3)]
    for protocol in protocols:
        ours, theirs = socket.socketpair()
        theirs.close()
        adopt(reactor, ours, protocol)
    with pytest.raises(SystemExit):
        reactor.close()
    assert all(protocol.lost for protocol in protocols)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    reactor.close()


@pytest.mark.parametrize(
    "ask",
    [
        lambda reactor: reactor.run(),
        lambda reactor: reactor.run_once(0),
        lambda reactor: reactor.call_soon(int),
        lambda reactor: reactor.call_soon_threadsafe(int),
        lambda reactor: reactor.add_signal_handler(signal.SIGUSR1, int),
    ],
    ids="run run_once call_soon call_soon_threadsafe add_signal_handler".split(),
)
def test_what_is_asked_of_a_closed_reactor_raises(descriptors_come_back, ask):
    with Reactor() as reactor:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        ask(reactor)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


def test_a_closed_reactor_does_not_listen_and_leaves_the_socket_to_its_owner(descriptors_come_back):
    with Reactor() as reactor:
        pass
    with socket.create_server(("127.0.0.1", 0)) as sock:
        with pytest.raises(RuntimeError, match="closed"):
            reactor.listen(sock, Recorder)
        assert sock.fileno() >= 0


def test_to_stop_or_close_a_closed_reactor_does_nothing(descriptors_come_back):
    reactor = Reactor()
    for _ in range(3):
        reactor.close()
        reactor.stop()


def test_a_closed_reactor_and_all_it_held_are_garbage(descriptors_come_back):
    class Held:
        def call(self):
            pass

    held = Held()
    with Reactor() as reactor:
        reactor.call_later(1e6, held.call)
        reactor.call_soon(held.call)
    gone = weakref.ref(held)
    del reactor, held
    gc.collect()
    assert gone() is None


# What it knows of itself.


def test_the_time_away_from_the_poll_is_counted_and_a_long_one_is_logged(timed, clock, caplog):
    def block(seconds):
        clock.now += seconds

    turns(timed, 1)
    assert sum(timed.counters.lag) == 0, "the first iteration comes from nowhere"
    for seconds in (0, 1e-3, 0.4, 2.0):
        timed.call_soon(block, seconds)
        turns(timed, 1)
    assert sum(timed.counters.lag) == 4
    assert 2.0 < timed.counters.lag_at(1.0) < 4.2
    (record,) = caplog.records
    assert record.levelno == logging.WARNING and "2.000 seconds" in record.getMessage()


def test_a_clock_that_leaps_ages_ahead_breaks_nothing(timed, clock):
    turns(timed, 1)
    timed.call_soon(lambda: setattr(clock, "now", 1e15))
    turns(timed, 2)
    assert timed.counters.lag[LAG_BUCKETS - 1] == 1


def test_the_iterations_are_counted(reactor):
    before = reactor.counters.iterations
    turns(reactor, 7)
    assert reactor.counters.iterations == before + 7


def test_a_new_reactor_is_idle(reactor):
    turn_until_idle(reactor)
    assert reactor.counters.snapshot()["open"] == 0

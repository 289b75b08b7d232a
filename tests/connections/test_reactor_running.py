"""Running a reactor: after `stop`, SystemExit, a signal or Ctrl-C it can run again (L1, L2)."""

import math
import os
import signal
import socket
import threading

import pytest

from reactor import Reactor, State
from tests import rig
from tests.rig import Recorder, adopt, break_down, leave, turn_until, turns

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
        assert connection.state is State.CLOSED and ours.fileno() == -1
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


def test_an_exception_in_a_timer_is_counted_though_the_next_one_leaves(reactor, caplog):
    reactor.call_later(0, break_down)
    reactor.call_later(0, leave)
    with pytest.raises(SystemExit):
        reactor.run()
    assert reactor.counters.callback_errors == 1


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


def test_a_signals_callback_that_cannot_be_called_is_refused_and_the_signal_left_alone(reactor):
    with pytest.raises(TypeError, match="^a callback must be callable, not of type str$"):
        reactor.add_signal_handler(signal.SIGUSR1, "stop")
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert not reactor.remove_signal_handler(signal.SIGUSR1)


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

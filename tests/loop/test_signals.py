"""The latest loop that wants a signal gets it as a call. In the end, all is as it was before (L1, L2, P5, P6)."""

import asyncio
import contextlib
import os
import selectors
import signal
import socket
import threading

import pytest

from reactor import Reactor
from reactor.loop import signals as signals_module
from reactor.loop.poller import make_poller
from reactor.loop.signals import Signals
from reactor.loop.wakeup import Waker

pytestmark = pytest.mark.usefixtures("descriptors_come_back", "signals_come_back")


@pytest.fixture
def signals_come_back():
    """After a test, the process's handlers, mask and wake-up descriptor are as before."""
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2]
    before = [signal.getsignal(number) for number in numbers]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    yield
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
    assert wakeup_fd() == -1


def wakeup_fd():
    """The descriptor that signals write to, or -1."""
    fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd)
    return fd


@pytest.fixture
def poller():
    poller = make_poller(selectors.DefaultSelector())
    yield poller
    poller.close()


@pytest.fixture
def waker(poller):
    waker = Waker(poller)
    yield waker
    waker.close()


@pytest.fixture
def signals(waker):
    signals = Signals(waker)
    yield signals
    signals.close()


def woken(poller):
    """Whether a wait would end now. This also runs the waker's handler."""
    events = poller.poll(0)
    for fd, happened in events:
        poller.tell(fd, happened)
    return bool(events)


def put(waker, size):
    """Put `size` bytes into the pipe, as signals do; BlockingIOError when there is no room."""
    sender = socket.socket(fileno=waker.fileno())
    try:
        sender.send(b"\0" * size)
    finally:
        sender.detach()


def fill(waker):
    """Fill the pipe."""
    with contextlib.suppress(BlockingIOError):
        while True:
            put(waker, 65536)


def owed(signals):
    return [call.args for call in signals.take()]


def test_a_signal_wakes_the_loop_and_owes_its_call(poller, signals):
    signals.add(signal.SIGUSR1, print, "one")
    signals.add(signal.SIGUSR2, print, "two", "args")
    assert owed(signals) == []
    signal.raise_signal(signal.SIGUSR2)
    signal.raise_signal(signal.SIGUSR1)
    assert woken(poller)
    assert signals.take() == [(print, ("two", "args"), None), (print, ("one",), None)]
    assert signals.take() == []


def test_a_signal_is_not_lost_in_a_full_pipe(poller, waker, signals):
    signals.add(signal.SIGUSR1, print, "one")
    fill(waker)
    signal.raise_signal(signal.SIGUSR1)
    assert owed(signals) == [("one",)]


def test_a_flood_of_signals_neither_fills_the_pipe_nor_hides_another(poller, signals):
    signals.add(signal.SIGUSR1, print, "flood")
    signals.add(signal.SIGTERM, print, "end")
    for _ in range(10_000):
        signal.raise_signal(signal.SIGUSR1)
    signal.raise_signal(signal.SIGTERM)
    assert woken(poller)
    calls = owed(signals)
    assert calls[-1] == ("end",) and set(calls[:-1]) == {("flood",)}


def test_the_last_callback_counts(signals):
    signals.add(signal.SIGUSR1, print, "first")
    signals.add(signal.SIGUSR1, print, "second")
    signal.raise_signal(signal.SIGUSR1)
    assert owed(signals) == [("second",)]
    assert signals.remove(signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL, lambda number, frame: None])
def test_the_handler_from_before_comes_back(signals, handler):
    original = signal.signal(signal.SIGUSR1, handler)
    try:
        signals.add(signal.SIGUSR1, print)
        assert signal.getsignal(signal.SIGUSR1) is not handler
        assert signals.remove(signal.SIGUSR1) is True
        assert signal.getsignal(signal.SIGUSR1) is handler
        assert signals.remove(signal.SIGUSR1) is False
    finally:
        signal.signal(signal.SIGUSR1, original)


def test_the_wake_up_descriptor_is_ours_from_the_first_signal_to_the_last(waker, signals):
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        signal.set_wakeup_fd(left.fileno())
        try:
            signals.add(signal.SIGUSR1, print)
            signals.add(signal.SIGUSR2, print)
            assert wakeup_fd() == waker.fileno()
            signals.remove(signal.SIGUSR1)
            assert wakeup_fd() == waker.fileno()
            signals.remove(signal.SIGUSR2)
            assert wakeup_fd() == left.fileno()
        finally:
            signal.set_wakeup_fd(-1)


def test_closing_gives_all_back(signals):
    signals.add(signal.SIGUSR1, print)
    signals.add(signal.SIGTERM, print)
    signals.close()
    assert signal.getsignal(signal.SIGUSR1) is signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert wakeup_fd() == -1


def test_what_arrived_for_a_removed_signal_is_dropped(signals):
    signals.add(signal.SIGUSR1, print)
    signal.raise_signal(signal.SIGUSR1)
    signals.remove(signal.SIGUSR1)
    assert signals.take() == []


@pytest.mark.parametrize("number", [signal.SIGKILL, 0, 12345])
def test_a_signal_that_cannot_be_handled_is_refused_and_leaves_no_trace(signals, number):
    with pytest.raises((OSError, ValueError)):
        signals.add(number, print)
    assert signals.remove(number) is False
    assert wakeup_fd() == -1


def in_thread(call):
    """Run `call` on another thread; return the exception that it raised, or None."""
    raised = []

    def run():
        try:
            call()
        except BaseException as exc:
            raised.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised[0] if raised else None


def test_another_thread_than_the_main_one_is_refused(signals):
    assert isinstance(in_thread(lambda: signals.add(signal.SIGUSR1, print)), ValueError)
    assert signals.remove(signal.SIGUSR1) is False


# Ctrl-C


def test_ctrl_c_is_noted_wakes_the_loop_and_is_raised_at_the_end(poller, signals):
    done = []
    with pytest.raises(KeyboardInterrupt), signals.running():
        assert not signals.interrupted
        signal.raise_signal(signal.SIGINT)
        assert signals.interrupted
        assert woken(poller)
        done.append("went on")
    assert done == ["went on"]
    assert not signals.interrupted
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_second_ctrl_c_raises_at_once(signals):
    done = []
    with pytest.raises(KeyboardInterrupt), signals.running():
        signal.raise_signal(signal.SIGINT)
        done.append("first")
        signal.raise_signal(signal.SIGINT)
        done.append("second")
    assert done == ["first"]
    assert not signals.interrupted


def test_without_ctrl_c_nothing_is_raised_and_the_handler_comes_back(signals):
    with signals.running():
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_exception_takes_the_handler_back_too(signals):
    with pytest.raises(SystemExit), signals.running():
        raise SystemExit
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_somebody_elses_handler_of_ctrl_c_is_left_alone(signals):
    seen = []
    original = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        with signals.running():
            signal.raise_signal(signal.SIGINT)
            assert seen == [signal.SIGINT]
            assert not signals.interrupted
    finally:
        signal.signal(signal.SIGINT, original)


def test_our_own_call_for_sigint_takes_the_place_of_the_deferral(signals):
    signals.add(signal.SIGINT, print, "asked for")
    with signals.running():
        signal.raise_signal(signal.SIGINT)
        assert not signals.interrupted
    assert owed(signals) == [("asked for",)]


def test_off_the_main_thread_ctrl_c_is_not_ours(signals):
    def run():
        with signals.running():
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    assert in_thread(run) is None


def test_a_call_for_sigint_that_is_added_under_the_deferral_outlives_it(signals):
    with signals.running():
        signals.add(signal.SIGINT, print, "asked for")
        signal.raise_signal(signal.SIGINT)
        assert not signals.interrupted
    signal.raise_signal(signal.SIGINT)
    assert owed(signals) == [("asked for",), ("asked for",)]
    assert signals.remove(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_call_for_sigint_that_is_added_and_removed_under_the_deferral_leaves_it_deferred(signals):
    with pytest.raises(KeyboardInterrupt), signals.running():
        signals.add(signal.SIGINT, print)
        assert signals.remove(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        signal.raise_signal(signal.SIGINT)
        assert signals.interrupted
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def come_while_given_back(monkeypatch, number):
    """Let the signal come at the moment when a loop begins to give it back."""
    release = signals_module._process.release

    def interrupted(*arguments):
        signal.raise_signal(number)
        release(*arguments)

    monkeypatch.setattr(signals_module._process, "release", interrupted)


def test_a_ctrl_c_that_comes_while_it_is_given_back_is_raised(signals, monkeypatch):
    come_while_given_back(monkeypatch, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), signals.running():
        pass
    assert not signals.interrupted
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_that_comes_while_it_is_given_back_is_dropped_like_one_that_came_before(signals, monkeypatch):
    came = []
    signals.add(signal.SIGUSR1, came.append, "owed", at_once=lambda number, frame: came.append("at once"))
    come_while_given_back(monkeypatch, signal.SIGUSR1)
    assert signals.remove(signal.SIGUSR1)
    assert signals.take() == [] and came == [] and not signals.interrupted


def test_a_ctrl_c_before_it_can_be_deferred_leaves_nothing_behind(signals, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(signals_module._process, "claim", lambda *_: signal.raise_signal(signal.SIGINT))
        with signals.running():
            pytest.fail("it was interrupted before")
    with pytest.raises(KeyboardInterrupt), signals.running():
        signal.raise_signal(signal.SIGINT)
        assert signals.interrupted


# Several loops.


@pytest.fixture
def two(descriptors_come_back):
    """An older and a younger loop, which end with the test."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Reactor()) for _ in range(2)]


@pytest.mark.parametrize("first", [0, 1], ids=["the older goes first", "the younger goes first"])
@pytest.mark.parametrize("way", ["close", "remove"])
def test_the_latest_that_lives_gets_the_signal_whatever_the_order_of_going(two, first, way):
    seen = []
    for index, reactor in enumerate(two):
        reactor.add_signal_handler(signal.SIGUSR1, seen.append, index)
    signal.raise_signal(signal.SIGUSR1)
    for reactor in two:
        reactor.run_once(0)
    assert seen == [1]
    going, staying = two[first], two[1 - first]
    going.close() if way == "close" else going.remove_signal_handler(signal.SIGUSR1)
    assert wakeup_fd() == staying._waker.fileno()
    signal.raise_signal(signal.SIGUSR1)
    staying.run_once(0)
    assert seen == [1, 1 - first]
    staying.close()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL and wakeup_fd() == -1


def test_to_be_given_back_a_signal_needs_the_main_thread(signals):
    signals.add(signal.SIGUSR1, print, "one")
    refused = in_thread(lambda: signals.remove(signal.SIGUSR1))
    assert isinstance(refused, ValueError) and "on the main thread alone" in str(refused)
    signal.raise_signal(signal.SIGUSR1)
    assert owed(signals) == [("one",)]


def test_a_signal_stays_with_the_first_loop_when_the_second_is_interrupted_as_it_asks_for_it(two, monkeypatch):
    seen, (first, second) = [], two
    original = signal.signal(signal.SIGUSR1, lambda *_: seen.append("neither"))
    try:
        first.add_signal_handler(signal.SIGUSR1, seen.append, "first")
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(signal, "signal", lambda *_: signal.raise_signal(signal.SIGINT))
            second.add_signal_handler(signal.SIGUSR1, seen.append, "second")
        signal.raise_signal(signal.SIGUSR1)
        for reactor in two:
            reactor.run_once(0)
            reactor.close()
        assert seen == ["first"]
    finally:
        signal.signal(signal.SIGUSR1, original)


def test_each_of_two_signals_goes_to_its_own_loop(two):
    seen = []
    for reactor, number in zip(two, (signal.SIGUSR1, signal.SIGUSR2), strict=True):
        reactor.add_signal_handler(number, seen.append, number)
    two[0].close()
    signal.raise_signal(signal.SIGUSR2)
    two[1].run_once(0)
    assert seen == [signal.SIGUSR2]
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


def test_the_number_of_a_closed_loop_gets_no_bytes(two):
    older, younger = two
    older.add_signal_handler(signal.SIGUSR1, print)
    younger.add_signal_handler(signal.SIGUSR2, print)
    older.close()
    ours, theirs = socket.socketpair()  # these get the free numbers
    with ours, theirs:
        for end in (ours, theirs):
            end.setblocking(False)
        younger.close()
        with pytest.raises(BlockingIOError):
            theirs.recv(1)
        with pytest.raises(BlockingIOError):
            ours.recv(1)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGINT], ids=lambda number: number.name)
def test_the_loop_that_runs_is_woken_though_another_came_later(two, number):
    older, younger = two
    younger.add_signal_handler(number, print)  # SIGINT: so the loop that runs wants no signal itself
    older.call_soon(lambda: aimed.append(wakeup_fd()))
    older.call_soon(older.stop)
    aimed = []
    older.run()
    assert aimed == [older._waker.fileno()] and wakeup_fd() == younger._waker.fileno()


def test_a_handler_that_a_stranger_put_over_ours_stays(signals):
    signals.add(signal.SIGUSR1, print)
    theirs = signal.SIG_IGN
    signal.signal(signal.SIGUSR1, theirs)
    try:
        signals.close()
        assert signal.getsignal(signal.SIGUSR1) is theirs
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)


def test_a_descriptor_that_a_stranger_put_over_ours_stays(signals):
    signals.add(signal.SIGUSR1, print)
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        signal.set_wakeup_fd(left.fileno())
        try:
            signals.close()
            assert wakeup_fd() == left.fileno()
        finally:
            signal.set_wakeup_fd(-1)


@pytest.mark.parametrize("theirs_goes_first", [False, True])
def test_an_asyncio_loop_that_handles_signals_and_ours_end_in_either_order(theirs_goes_first):
    theirs, ours = asyncio.new_event_loop(), Reactor()
    theirs.add_signal_handler(signal.SIGUSR2, print)
    ours.add_signal_handler(signal.SIGUSR1, print)
    for loop in (theirs, ours) if theirs_goes_first else (ours, theirs):
        loop.close()
    # The fixtures check handlers, mask, wake-up descriptor and other descriptors.


def test_a_number_that_means_another_file_by_now_is_not_put_back(signals):
    left, right = socket.socketpair()
    left.setblocking(False)
    signal.set_wakeup_fd(left.fileno())
    signals.add(signal.SIGUSR1, print)
    number = left.fileno()
    with right:
        os.dup2(right.fileno(), number)  # its owner closed it, and another file has the number now
        right.setblocking(False)
        signals.close()
        assert wakeup_fd() == -1
        left.close()


def test_a_loop_that_is_closed_on_another_thread_gives_its_signals_back_when_they_come():
    hits, ours = [], Reactor()
    original = signal.signal(signal.SIGUSR1, lambda number, frame: hits.append(number))
    try:
        ours.add_signal_handler(signal.SIGUSR1, print)
        assert in_thread(ours.close) is None
        signal.raise_signal(signal.SIGUSR1)
        assert hits == [signal.SIGUSR1]
        with Reactor() as other:  # the main thread's next change gives back the wake-up descriptor too
            other.add_signal_handler(signal.SIGUSR2, print)
    finally:
        signal.signal(signal.SIGUSR1, original)


def test_a_loop_that_no_signal_wakes_any_more_is_closed_at_once_on_another_thread(two):
    seen, (older, younger) = [], two
    older.add_signal_handler(signal.SIGUSR2, print)
    younger.add_signal_handler(signal.SIGUSR1, seen.append, "younger")
    sender = older._waker.fileno()
    assert in_thread(older.close) is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(sender)
    signal.raise_signal(signal.SIGUSR1)
    younger.run_once(0)
    assert seen == ["younger"]


# What is inherited, and what is called at once.


def test_a_blocked_signal_is_let_through_until_it_is_given_back(signals):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)  # not to the process, which may have other threads
        signals.add(signal.SIGUSR1, print, "came")
        assert owed(signals) == [("came",)]
        signals.remove(signal.SIGUSR1)
        assert signal.SIGUSR1 in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])


def test_what_is_to_be_called_at_once_is_called_in_the_handler_and_the_call_is_owed_as_well(signals):
    came = []
    signals.add(signal.SIGUSR1, print, "owed", at_once=lambda number, frame: came.append(number))
    signal.raise_signal(signal.SIGUSR1)
    assert came == [signal.SIGUSR1]
    assert owed(signals) == [("owed",)]


def test_a_signal_that_comes_again_and_again_while_it_is_taken_holds_nobody_up(signals):
    signals.add(signal.SIGUSR1, print, "again")
    for _ in range(3):
        signal.raise_signal(signal.SIGUSR1)
    original, calls = signals._arrived, []

    class Endless:
        """Each look at the queue finds one more signal."""

        def __len__(self):
            return len(original)

        def popleft(self):
            original.append(signal.SIGUSR1)
            calls.append(1)
            assert len(calls) < 100, "it has no end"
            return original.popleft()

    signals._arrived = Endless()
    assert len(signals.take()) == 3
    signals._arrived = original


@pytest.mark.parametrize("number, at_once", [(10.5, None), ("10", None), (signal.SIGUSR1, "no function")])
def test_what_cannot_be_used_is_refused_at_the_call(two, number, at_once):
    before = signal.getsignal(signal.SIGUSR1)
    with pytest.raises(TypeError):
        two[0].add_signal_handler(number, print, at_once=at_once)
    assert signal.getsignal(signal.SIGUSR1) == before

"""A sleeping loop is woken by threads and signals, always, and everything is given back as it was (L1, L2)."""

import contextlib
import selectors
import signal
import socket
import threading

import pytest

from reactor.core.poller import make_poller
from reactor.core.wakeup import Signals, Waker

pytestmark = pytest.mark.usefixtures("descriptors_come_back", "signals_come_back")


@pytest.fixture
def signals_come_back():
    """The process's handlers and wake-up descriptor are as before."""
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2]
    before = [signal.getsignal(number) for number in numbers]
    yield
    assert [signal.getsignal(number) for number in numbers] == before
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
    """Whether a wait would end now; what the waker has to do about it is done."""
    events = poller.poll(0)
    for fd, happened in events:
        poller.tell(fd, happened)
    return bool(events)


def put(waker, size):
    """Put that many bytes into the pipe, as signals do; BlockingIOError when there is no room."""
    sender = socket.socket(fileno=waker.fileno())
    try:
        sender.send(b"\0" * size)
    finally:
        sender.detach()


def fill(waker):
    """Leave no room in the pipe."""
    with contextlib.suppress(BlockingIOError):
        while True:
            put(waker, 65536)


# Waker


def test_a_wake_up_ends_a_wait_once(poller, waker):
    assert not woken(poller)
    waker.wake()
    assert woken(poller)
    assert not woken(poller)


def test_it_wakes_again_and_again(poller, waker):
    for _ in range(10):
        waker.wake()
        assert woken(poller)


def test_a_wake_up_from_another_thread_ends_an_endless_wait(poller, waker):
    thread = threading.Thread(target=waker.wake)
    thread.start()
    assert poller.poll(float("inf"))
    thread.join()


def test_a_thousand_wake_ups_leave_one_byte(poller, waker):
    for _ in range(1000):
        waker.wake()
    assert waker.socket.recv(4096) == b"\0"


def test_a_full_pipe_neither_blocks_nor_raises_and_is_emptied_at_once(poller, waker):
    fill(waker)
    waker.wake()
    assert woken(poller)
    assert not woken(poller)
    waker.wake()
    assert woken(poller)


def test_emptying_the_pipe_never_blocks_however_many_bytes_are_in_it(poller, waker):
    for size in (4095, 4096, 4097, 8192):
        put(waker, size)
        assert woken(poller)
        assert not woken(poller)


def test_a_wake_up_while_the_pipe_is_being_emptied_loses_no_later_one(poller, waker):
    class Interrupted:
        """The receiving end; another thread wakes the loop just before it is read."""

        def __init__(self, receiver):
            self.receiver = receiver

        def recv(self, size):
            waker.wake()
            return self.receiver.recv(size)

    waker.wake()
    receiver = waker.socket
    waker.socket = Interrupted(receiver)
    try:
        assert woken(poller)
    finally:
        waker.socket = receiver
    waker.wake()
    assert woken(poller)


def test_to_wake_what_is_closed_does_nothing(poller):
    waker = Waker(poller)
    waker.close()
    waker.wake()
    assert poller.handlers == {}


# Signals


def owed(signals):
    return [arguments for _callback, arguments in signals.take()]


def test_a_signal_wakes_the_loop_and_owes_its_call(poller, signals):
    signals.add(signal.SIGUSR1, print, "one")
    signals.add(signal.SIGUSR2, print, "two", "args")
    assert owed(signals) == []
    signal.raise_signal(signal.SIGUSR2)
    signal.raise_signal(signal.SIGUSR1)
    assert woken(poller)
    assert signals.take() == [(print, ("two", "args")), (print, ("one",))]
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
    """Run `call` on another thread; the exception it raised, or None."""
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
    with pytest.raises(KeyboardInterrupt), signals.deferred_interrupt():
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
    with pytest.raises(KeyboardInterrupt), signals.deferred_interrupt():
        signal.raise_signal(signal.SIGINT)
        done.append("first")
        signal.raise_signal(signal.SIGINT)
        done.append("second")
    assert done == ["first"]
    assert not signals.interrupted


def test_without_ctrl_c_nothing_is_raised_and_the_handler_comes_back(signals):
    with signals.deferred_interrupt():
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_exception_takes_the_handler_back_too(signals):
    with pytest.raises(SystemExit), signals.deferred_interrupt():
        raise SystemExit
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_somebody_elses_handler_of_ctrl_c_is_left_alone(signals):
    seen = []
    original = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        with signals.deferred_interrupt():
            signal.raise_signal(signal.SIGINT)
            assert seen == [signal.SIGINT]
            assert not signals.interrupted
    finally:
        signal.signal(signal.SIGINT, original)


def test_our_own_call_for_sigint_takes_the_place_of_the_deferral(signals):
    signals.add(signal.SIGINT, print, "asked for")
    with signals.deferred_interrupt():
        signal.raise_signal(signal.SIGINT)
        assert not signals.interrupted
    assert owed(signals) == [("asked for",)]


def test_off_the_main_thread_ctrl_c_is_not_ours(signals):
    def run():
        with signals.deferred_interrupt():
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    assert in_thread(run) is None


def test_a_call_for_sigint_that_is_added_under_the_deferral_outlives_it(signals):
    with signals.deferred_interrupt():
        signals.add(signal.SIGINT, print, "asked for")
        signal.raise_signal(signal.SIGINT)
        assert not signals.interrupted
    signal.raise_signal(signal.SIGINT)
    assert owed(signals) == [("asked for",), ("asked for",)]
    assert signals.remove(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_call_for_sigint_that_is_added_and_removed_under_the_deferral_leaves_it_deferred(signals):
    with pytest.raises(KeyboardInterrupt), signals.deferred_interrupt():
        signals.add(signal.SIGINT, print)
        assert signals.remove(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        signal.raise_signal(signal.SIGINT)
        assert signals.interrupted
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

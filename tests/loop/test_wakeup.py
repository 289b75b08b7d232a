"""Threads and signals always wake a sleeping loop, and its two descriptors are closed in the end (L2)."""

import contextlib
import selectors
import socket
import threading

import pytest

from reactor.loop.poller import make_poller
from reactor.loop.wakeup import Waker

pytestmark = pytest.mark.usefixtures("descriptors_come_back")


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
        """A receiving end: another thread wakes the loop just before each read."""

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


def test_what_lies_in_the_pipe_can_be_looked_at_and_stays(poller, waker):
    assert waker.peek() == b""
    put(waker, 3)
    assert waker.peek() == waker.peek() == bytes(3)
    assert woken(poller)
    assert waker.peek() == b""


def test_of_a_closed_waker_there_is_nothing_to_be_seen(poller):
    waker = Waker(poller)
    waker.close()
    assert waker.peek() == b""

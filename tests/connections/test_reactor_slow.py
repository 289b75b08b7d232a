"""In a slow iteration, times count from the moment when something happened, not from the iteration's beginning.

Also: after an exception has left the loop between two phases, the next iteration does what is left.
"""

import logging
import selectors
import socket

import pytest

from reactor import CloseReason, Reactor, State
from reactor.connections.derived import next_deadline
from reactor.loop.poller import SelectorPoller
from tests.rig import Recorder, adopt, leave


class SlowSelector(selectors.DefaultSelector):
    """Each wait takes `seconds` of the clock. The time-outs that were asked for are noted in `timeouts`."""

    seconds = 0.0

    def __init__(self, clock):
        super().__init__()
        self.clock = clock
        self.timeouts = []

    def select(self, timeout=None):
        self.timeouts.append(timeout)
        self.clock.now += self.seconds
        return super().select(0)


@pytest.fixture
def slow(descriptors_come_back, clock):
    """A reactor that waits by a `SlowSelector`."""
    with Reactor(clock=clock, selector=SelectorPoller(SlowSelector(clock))) as reactor:
        yield reactor


@pytest.fixture
def pairs(slow):
    """Two pairs of connected sockets."""
    made = socket.socketpair(), socket.socketpair()
    yield made
    for pair in made:
        for sock in pair:
            sock.close()


def test_a_timer_counts_from_the_call_in_a_slow_callback(timed, clock):
    fired = []

    def take_long():
        clock.now += 5
        assert timed.call_later(1, fired.append, "late").when == clock.now + 1

    timed.call_soon(take_long)
    timed.run_once(0)
    clock.now += 0.9
    timed.run_once(0)
    timed.run_once(0)
    assert not fired
    clock.now += 0.1
    timed.run_once(0)
    timed.run_once(0)
    assert fired == ["late"]


def test_what_comes_after_a_long_wait_was_heard_then(slow, clock, pairs):
    ours, theirs = pairs[0]
    connection = adopt(slow, ours, Recorder())
    theirs.send(b"x")
    slow.poller.selector.seconds = 7.0
    slow.run_once()
    assert connection._protocol.received == b"x"
    assert connection._heard_at == clock.now == 1007.0


def test_a_close_in_a_slow_callback_has_its_deadline_from_when_it_is_settled(slow, clock, pairs):
    connection = adopt(slow, pairs[0][0], Recorder())

    def take_long():
        clock.now += 5
        connection.close()

    slow.call_soon(take_long)
    slow.run_once()
    assert connection.state is State.LINGERING
    assert next_deadline(connection) == (1005.0 + connection.limits.linger_seconds, CloseReason.LINGER_TIMEOUT)


def test_a_log_that_takes_its_time_does_not_hold_up_a_timer(slow, clock):
    class SlowHandler(logging.Handler):
        def emit(self, record):
            clock.now += 3

    def take_long():
        clock.now += 1

    handler = SlowHandler()
    logging.getLogger("reactor.loop").addHandler(handler)
    try:
        slow.call_later(5, int)
        slow.run_once()
        slow.call_soon(take_long)
        slow.run_once(0)
        slow.poller.selector.timeouts.clear()
        slow.run_once()
    finally:
        logging.getLogger("reactor.loop").removeHandler(handler)
    # The clock says 1004 now: the callback took one second, and its log line three.
    assert slow.poller.selector.timeouts[0] == 1.0


def test_the_loop_does_not_sleep_on_connections_that_wait_to_be_reaped(slow, pairs):
    first, second = Recorder(connection_lost=leave), Recorder()
    for (ours, _), protocol in zip(pairs, (first, second), strict=True):
        adopt(slow, ours, protocol)
    slow.call_soon(first.connection.abort)
    slow.call_soon(second.connection.abort)
    with pytest.raises(SystemExit):
        slow.run_once()
    assert (first.lost, second.lost) == (True, False)
    slow.poller.selector.timeouts.clear()
    slow.run_once()
    assert second.lost
    assert slow.poller.selector.timeouts == [0.0]

"""While a callback blocks, it is reported with its name, time and place; other callbacks are not (L6).

The reactor runs on this thread, as in a server. No test waits for a time: a callback that blocks does so until its
report has been logged.
"""

import logging
import math
import socket
import threading
import time

import pytest

from reactor import Limits, Protocol, Reactor, Server
from reactor.loop.watchdog import Watchdog
from tests.rig import DEADLINE_SECONDS, FakeClock, Recorder, adopt, turn_until
from tests.support import connect, exchange, socket_address

SHORT_SECONDS = 0.02  # a callback that blocks for so long is reported


class Reports(logging.Handler):
    """What the watchdog has logged, and a way to wait for it."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.texts = []
        self._changed = threading.Condition()

    def emit(self, record):
        with self._changed:
            if "has blocked the loop" in record.getMessage():
                self.texts.append(record.getMessage())
                self._changed.notify_all()

    def wait_for(self, count):
        """Block until `count` reports have come."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.texts) >= count, DEADLINE_SECONDS), self.texts


@pytest.fixture
def reports():
    """The reports from now on."""
    handler = Reports()
    logger = logging.getLogger("reactor.loop")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture
def reactor(descriptors_come_back):
    """A reactor that has polled once: before that, it counts as not running."""
    with Reactor(limits=Limits(blocked_seconds=SHORT_SECONDS)) as reactor:
        reactor.run_once(0)
        yield reactor


@pytest.fixture
def watchdog(reactor):
    watchdog = Watchdog(reactor)
    yield watchdog
    watchdog.stop()


def wait_here(reports, count=1):
    reports.wait_for(count)


def test_a_callback_that_blocks_is_named_with_its_place_its_time_and_its_stack(reactor, watchdog, reports):
    def slow_callback():
        wait_here(reports)

    reactor.call_soon(slow_callback)
    turn_until(reactor, lambda: reports.texts, "a report")
    (report,) = reports.texts
    head, *stack = report.splitlines()
    name, _, rest = head.partition(" (")
    assert name.endswith("slow_callback")
    place, _, rest = rest.partition(") ")
    assert place.startswith(__file__ + ":")
    assert rest.startswith("has blocked the loop for ") and rest.endswith(" seconds; it is at")
    assert float(rest.split()[5]) >= SHORT_SECONDS - 0.05  # one decimal
    frames = [line.split(" in ")[1] for line in stack if line.startswith("  File ")]
    assert frames.index("slow_callback") < frames.index("wait_here") < frames.index("wait_for")
    assert frames.index("run_once") < frames.index("slow_callback")


class Slow(Protocol):
    def __init__(self, reports):
        self.reports = reports

    def data_received(self, data):
        self.reports.wait_for(1)


def test_a_protocol_is_named_by_its_class_and_callback(reactor, watchdog, reports, pair):
    ours, theirs = pair
    adopt(reactor, ours.dup(), Slow(reports))
    ours.close()
    theirs.sendall(b"x")
    turn_until(reactor, lambda: reports.texts, "a report")
    assert reports.texts[0].startswith("Slow.data_received (")


def test_a_timer_is_named(reactor, watchdog, reports):
    reactor.call_later(0, Slow(reports).data_received, b"")
    turn_until(reactor, lambda: reports.texts, "a report")
    assert reports.texts[0].startswith("Slow.data_received (")


def test_it_is_reported_once_however_long_it_takes_and_the_next_one_again(reactor, watchdog, reports):
    looked = []
    look = watchdog._look
    enough = threading.Event()

    def count_looks():
        look()
        looked.append(len(reports.texts))
        if looked.count(len(reports.texts)) >= 10 and reports.texts:
            enough.set()

    watchdog._look = count_looks

    def block():
        enough.clear()
        assert enough.wait(DEADLINE_SECONDS)

    reactor.call_soon(block)
    turn_until(reactor, lambda: enough.is_set(), "ten looks at one callback")
    assert len(reports.texts) == 1
    looked.clear()
    enough.clear()
    reactor.call_soon(wait_here, reports, 2)
    turn_until(reactor, lambda: len(reports.texts) == 2, "a second report")


def test_a_loop_that_waits_is_not_blocked(reactor, watchdog, reports):
    looks = count_looks(watchdog)
    while looks() < 10:
        reactor.run_once(0.01)
    assert reports.texts == []


def test_a_loop_that_does_not_run_is_not_blocked(reactor, watchdog, reports):
    looks = count_looks(watchdog)
    reactor.run_once(0)
    reactor.call_soon(reactor.stop)
    reactor.run()
    deadline = time.monotonic() + DEADLINE_SECONDS
    while looks() < 10:
        assert time.monotonic() < deadline
    assert reports.texts == []


def count_looks(watchdog):
    """How often it has looked, from now on."""
    looks = []
    look = watchdog._look
    watchdog._look = lambda: (look(), looks.append(1))
    return lambda: len(looks)


@pytest.mark.parametrize("called_by", ["call_soon", "timers", "writers"])
def test_many_short_callbacks_are_not_reported_as_one_long_one(reports, called_by):
    clock = FakeClock()
    with Reactor(limits=Limits(blocked_seconds=1.0), clock=clock) as reactor:
        watchdog = Watchdog(reactor)
        watchdog.stop()  # the test itself looks, at chosen moments
        reactor.run_once(0)

        def short():
            clock.now += 0.4
            watchdog._look()

        pairs = [socket.socketpair() for _ in range(5)]
        for ours, _ in pairs:
            if called_by == "call_soon":
                reactor.call_soon(short)
            elif called_by == "timers":
                reactor.call_later(0, short)
            else:
                reactor.add_writer(ours, short)
        reactor.run_once(0)
        for ours, theirs in pairs:
            reactor.remove_writer(ours)
            ours.close()
            theirs.close()
        assert clock.now >= 5 * 0.4 and reports.texts == []


def test_the_time_is_that_of_the_callback(reports):
    clock = FakeClock()
    with Reactor(limits=Limits(blocked_seconds=1.0), clock=clock) as reactor:
        watchdog = Watchdog(reactor)
        watchdog.stop()
        reactor.run_once(0)

        def long():
            for _ in range(9):
                watchdog._look()
                clock.now += 0.25
            assert len(reports.texts) == 1

        reactor.call_soon(long)
        reactor.run_once(0)
        assert "blocked the loop for 1.0 seconds" in reports.texts[0]


def test_a_log_that_breaks_does_not_end_it(reactor, reports, watchdog):
    class Broken(logging.Handler):
        def emit(self, record):
            raise OSError("no space left on device")

    def block():
        number = len(reports.texts)
        reports.wait_for(number + 1)

    handler, logger = Broken(), logging.getLogger("reactor.loop")
    logger.addHandler(handler)  # after `reports`: both get each line
    try:
        for _ in range(2):
            reactor.call_soon(block)
            reactor.run_once(0)
    finally:
        logger.removeHandler(handler)
    assert len(reports.texts) == 2


def test_stop_ends_its_thread(reactor):
    before = threading.active_count()
    watchdog = Watchdog(reactor)
    assert threading.active_count() == before + 1
    watchdog.stop()
    assert threading.active_count() == before


@pytest.mark.parametrize("seconds", [0, 1e-9, 1e300])
def test_any_time_will_do(descriptors_come_back, seconds):
    with Reactor(limits=Limits(blocked_seconds=seconds)) as reactor:
        watchdog = Watchdog(reactor)
        reactor.run_once(0)
        watchdog.stop()


@pytest.mark.parametrize("seconds, threads", [(SHORT_SECONDS, 1), (math.inf, 0)])
def test_a_server_has_one_unless_it_is_told_not_to(seconds, threads, reports):
    before = threading.active_count()
    seen = []

    def answer(recorder, data):
        seen.append(threading.active_count() - before)
        recorder.connection.write(data)

    limits = Limits(blocked_seconds=seconds)
    with (
        Server(lambda: Recorder(data_received=answer), bind="127.0.0.1:0", limits=limits) as server,
        connect(socket_address(server.addresses[0])) as client,
    ):
        assert exchange(client, b"x") == b"x"
    assert seen == [1 + threads]
    assert threading.active_count() == before

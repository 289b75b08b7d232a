"""`call_every`: calls at equal distances, without drift and without catching up, until they are cancelled."""

import gc
import math
import random
import socket
import weakref
from fractions import Fraction

import pytest

from reactor.loop.loop import Loop
from reactor.loop.states import IDLE
from reactor.loop.timers import Timers
from tests.rig import FakeClock, break_down

SMALLEST = 5e-324


@pytest.fixture
def loop(descriptors_come_back):
    with Loop(clock=FakeClock()) as loop:
        yield loop


def at(loop, when):
    """Set the clock, and let the loop make what is due then, as if it had asked the kernel before."""
    loop.timers.clock.now = loop.timers.asked_at = when
    loop.run_once(0)


def times_of(loop, seconds, then=lambda: None):
    """The list of the times at which a call came that is made every `seconds`, and its handle."""
    times = []

    def note():
        times.append(loop.time())
        then()

    return times, loop.call_every(seconds, note)


def turn_from_due_to_due(loop, handle, count):
    for _ in range(count):
        at(loop, handle.when)


def test_the_first_call_comes_after_one_period_and_never_early(loop):
    times, _ = times_of(loop, 5.0)
    start = loop.time()
    at(loop, start)
    at(loop, math.nextafter(start + 5.0, 0))
    assert times == []
    at(loop, start + 5.0)
    at(loop, start + 5.0)
    assert times == [start + 5.0]


def test_arguments_are_passed_to_each_call(loop):
    got = []
    handle = loop.call_every(1.0, lambda *arguments: got.append(arguments), 1, "two")
    turn_from_due_to_due(loop, handle, 2)
    assert got == [(1, "two")] * 2


@pytest.mark.parametrize("seconds", [0.1, 1 / 3, 1e-3, 7.7, Fraction(1, 10)])
def test_neither_rounding_nor_lateness_adds_up(loop, seconds):
    start, late = loop.time(), random.Random(1)
    times, handle = times_of(loop, seconds)
    for number in range(1, 2001):
        assert handle.when == start + number * float(seconds)
        at(loop, handle.when + late.random() * float(seconds) / 2)
    assert len(times) == 2000


def test_whatever_is_missed_is_skipped_and_the_next_call_is_due_at_a_multiple_of_the_period(loop):
    start = loop.time()
    times, handle = times_of(loop, 10.0)
    at(loop, start + 10.0)
    at(loop, start + 57.0)
    assert times == [start + 10.0, start + 57.0]
    assert handle.when == start + 60.0
    for _ in range(3):
        at(loop, start + 57.0)
    assert len(times) == 2
    at(loop, start + 80.0)
    assert handle.when == start + 90.0, "a call that is late to the very next time is due at the one after it"


def test_a_callback_that_takes_longer_than_its_period_skips_calls_too(loop):
    start = loop.time()

    def take_long():
        loop.timers.clock.now += 2.5

    times, handle = times_of(loop, 1.0, take_long)
    at(loop, start + 1.0)
    assert handle.when == start + 4.0
    loop.run_once(0)
    assert times == [start + 1.0]


@pytest.mark.parametrize("start", [0.0, 1000.0, 1e9, 1e300])
@pytest.mark.parametrize("seconds", [SMALLEST, 1e-300, 1e-9, 0.3, 1e9, 1e307])
@pytest.mark.parametrize("passed", [0.0, 1e-9, 0.1, 1 / 3, 12345.678, 1e12])
def test_at_any_size_of_the_numbers_the_next_call_is_the_first_after_now(start, seconds, passed):
    clock, called = FakeClock(), []
    clock.now = start
    with Loop(clock=clock) as loop:
        handle = loop.call_every(seconds, called.append, 1)
        now = clock.now = max(handle.when, start + passed)
        handle.run()
        assert called and handle.when >= now
        if seconds > 4 * math.ulp(now):  # else a float cannot show the next multiple
            assert handle.when > now
        assert handle.when - seconds <= now + 4 * math.ulp(handle.when), "none is left out"


@pytest.mark.parametrize("seconds", [SMALLEST, 1e-9])
def test_a_period_that_is_too_short_makes_one_call_in_an_iteration_and_starves_no_socket(loop, seconds):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        called, received = [], []
        loop.add_reader(ours, lambda: received.append(ours.recv(10)))
        loop.call_every(seconds, called.append, 1)
        loop.timers.clock.now += 1.0
        for number in range(1, 20):
            theirs.send(b"x")
            loop.timers.clock.now += 1e-3
            loop.run_once(0)
            assert len(received) == number and len(called) <= number
        assert len(called) >= number // 2, "a call waits for a poll that was asked after its time"
        loop.remove_reader(ours)


# Cancelling.


def test_it_can_be_cancelled_before_the_first_call_and_again(loop):
    times, handle = times_of(loop, 1.0)
    assert not handle.cancelled()
    handle.cancel()
    handle.cancel()
    assert handle.cancelled() and len(loop.timers) == 0
    at(loop, loop.time() + 5.0)
    assert times == []


def test_it_can_be_cancelled_between_two_calls(loop):
    times, handle = times_of(loop, 1.0)
    turn_from_due_to_due(loop, handle, 2)
    assert not handle.cancelled(), "it is a series, so it goes on after a call"
    handle.cancel()
    at(loop, loop.time() + 5.0)
    assert len(times) == 2 and len(loop.timers) == 0


def test_it_can_be_cancelled_in_its_own_callback(loop):
    seen = []

    def end():
        seen.append(handle.cancelled())
        handle.cancel()
        seen.append(handle.cancelled())

    other, _ = times_of(loop, 2.0)
    handle = loop.call_every(1.0, end)
    for _ in range(4):
        at(loop, loop.time() + 1.0)
        assert len(loop.timers) == 1, "only the other series is left"
    assert seen == [False, True] and len(other) == 2


def test_it_can_be_cancelled_by_another_call_that_is_due_in_the_same_iteration(loop):
    loop.call_later(1.0, lambda: handle.cancel())
    times, handle = times_of(loop, 1.0)
    at(loop, loop.time() + 1.0)
    assert times == [] and len(loop.timers) == 0


def test_a_cancelled_series_lets_go_of_what_it_held(loop):
    class Big:
        def call(self, other):
            pass

    big, other = Big(), Big()
    handle = loop.call_every(1.0, big.call, other)
    at(loop, loop.time() + 1.0)
    gone = [weakref.ref(big), weakref.ref(other)]
    handle.cancel()
    del big, other
    gc.collect()
    assert [each() for each in gone] == [None, None]


@pytest.mark.parametrize("moment", ["before it is in the heap", "after it is in the heap"])
def test_foreign_code_may_cancel_it_in_the_moment_when_it_is_armed_again(loop, monkeypatch, moment):
    times, handle = times_of(loop, 1.0)
    arm, moments = Timers.arm, []

    def interrupted(timers, armed):
        if moment.startswith("before") and not moments:
            moments.append(handle.cancel())
        arm(timers, armed)
        if moment.startswith("after") and not moments:
            moments.append(handle.cancel())

    monkeypatch.setattr(Timers, "arm", interrupted)
    at(loop, loop.time() + 1.0)
    assert moments and handle.cancelled() and len(loop.timers) == 0
    at(loop, loop.time() + 1.0)
    assert len(times) == 1 and len(loop.timers) == 0


def test_series_that_are_started_and_cancelled_without_end_leave_the_heap_small(loop):
    kept, _ = times_of(loop, 1.0)
    for _ in range(10_000):
        loop.call_every(1e6, print).cancel()
    assert len(loop.timers) == 1 and len(loop.timers._heap) < 1000
    at(loop, loop.time() + 1.0)
    assert len(kept) == 1


# Trouble.


def test_an_exception_is_logged_once_and_counted_each_time_and_the_calls_go_on(loop, caplog):
    times, handle = times_of(loop, 1.0, break_down)
    turn_from_due_to_due(loop, handle, 1)
    (record,) = caplog.records
    assert record.levelname == "ERROR" and record.exc_info[0] is LookupError and "note" in record.getMessage()
    turn_from_due_to_due(loop, handle, 2)
    assert len(times) == 3 and loop.counters.callback_errors == 3


def test_a_callback_that_raises_after_it_has_cancelled_itself_ends_the_series(loop):
    def end():
        handle.cancel()
        break_down()

    times, handle = times_of(loop, 1.0, end)
    at(loop, loop.time() + 1.0)
    at(loop, loop.time() + 1.0)
    assert len(times) == 1 and loop.counters.callback_errors == 1


def test_system_exit_leaves_run_and_the_next_run_goes_on_with_the_series(loop):
    def leave():
        if len(times) == 1:
            raise SystemExit(3)
        loop.stop()

    start = loop.time()
    times, handle = times_of(loop, 1.0, leave)
    loop.timers.clock.now = loop.timers.asked_at = handle.when
    with pytest.raises(SystemExit):
        loop.run()
    assert loop.state is IDLE and handle.when == start + 2.0
    loop.timers.clock.now = loop.timers.asked_at = handle.when
    loop.run()
    assert times == [start + 1.0, start + 2.0] and not handle.cancelled()


def test_a_series_lives_over_a_stop_and_ends_with_the_loop(loop):
    times, handle = times_of(loop, 1.0, loop.stop)
    for _ in range(2):
        loop.timers.clock.now = loop.timers.asked_at = handle.when
        loop.run()
    assert len(times) == 2
    loop.close()
    with pytest.raises(RuntimeError, match="this loop is closed"):
        loop.call_every(1.0, print)


@pytest.mark.parametrize("seconds", [0, -0.0, -1, math.nan, math.inf, -math.inf, Fraction(1, 10**400)], ids=str)
def test_a_period_that_is_none_is_refused_in_one_line(loop, seconds):
    with pytest.raises(ValueError) as caught:
        loop.call_every(seconds, print)
    said = str(caught.value)
    assert said == f"the time between two calls must be a finite number of seconds above 0, not {seconds!r}"
    assert len(loop.timers) == 0


@pytest.mark.parametrize("seconds", ["5", None, 1j], ids=repr)
def test_a_period_that_is_no_number_is_refused(loop, seconds):
    with pytest.raises(TypeError):
        loop.call_every(seconds, print)
    assert len(loop.timers) == 0


@pytest.mark.parametrize("nonsense", [None, "print", 7])
def test_what_cannot_be_called_is_refused_at_once(loop, nonsense):
    with pytest.raises(TypeError, match=f"^a callback must be callable, not of type {type(nonsense).__name__}$"):
        loop.call_every(1.0, nonsense)
    assert len(loop.timers) == 0

"""Timers come in order, never early, and at most once. When they are cancelled, they leave nothing behind (L3, L4)."""

import gc
import heapq
import itertools
import math
import random
import weakref

import pytest

from reactor.loop.timers import COMPACT_FROM, Handle, Timers
from tests.rig import FakeClock


class Turn:
    """Timers with a clock that the test moves, and a list of the calls made."""

    def __init__(self):
        self.clock = FakeClock()
        self.timers = Timers(self.clock)
        self.called = []

    def arm(self, seconds, name=None):
        return self.timers.call_at(self.clock.now + seconds, self.called.append, name)

    def after(self, seconds):
        """Let time pass, run what is due, and return what was called."""
        self.called.clear()
        self.clock.now += seconds
        self.timers.asked_at = self.clock()
        self.timers.run_due()
        return list(self.called)


@pytest.fixture
def turn():
    return Turn()


def test_calls_come_in_the_order_of_their_times(turn):
    seconds = list(range(100))
    random.Random(1).shuffle(seconds)
    for second in seconds:
        turn.arm(second, second)
    assert turn.after(99) == list(range(100))


def test_ties_come_in_the_order_in_which_they_were_armed(turn):
    for name in range(100):
        turn.arm(5, name)
    assert turn.after(5) == list(range(100))


def test_nothing_comes_early_and_nothing_twice(turn):
    turn.arm(5, "call")
    assert turn.after(math.nextafter(5, 0) - 1e-6) == []
    assert turn.after(1) == ["call"]
    assert turn.after(1000) == []


def test_a_call_is_due_at_its_very_time(turn):
    turn.arm(5, "call")
    assert turn.after(5) == ["call"]


def test_nan_is_refused(turn):
    with pytest.raises(ValueError, match="NaN"):
        turn.timers.call_at(math.nan, turn.called.append)
    assert len(turn.timers) == 0


def test_a_time_may_be_of_any_kind_that_is_a_number_of_seconds(turn):
    class Seconds:
        """`float` takes it as a number, but it compares with no other."""

        def __float__(self):
            return turn.clock.now + 1.5

    turn.arm(2, "last")
    turn.timers.call_at(Seconds(), turn.called.append, "middle")
    turn.arm(1, "first")
    assert turn.after(2) == ["first", "middle", "last"]


def test_infinity_means_never_and_does_not_hold_up_the_rest(turn):
    turn.arm(math.inf, "never")
    turn.arm(1, "call")
    assert turn.timers.next_when() == turn.clock.now + 1
    assert turn.after(1e12) == ["call"]
    assert turn.timers.next_when() == math.inf
    turn.clock.now = turn.timers.asked_at = math.inf
    assert turn.after(0) == []


def test_a_time_that_has_passed_means_the_next_turn(turn):
    turn.arm(-5, "negative")
    turn.arm(-math.inf, "for ever ago")
    assert turn.after(0) == ["for ever ago", "negative"]


def test_arguments_are_passed_on(turn):
    got = []
    turn.timers.call_at(0, lambda *arguments: got.append(arguments), 1, "two")
    turn.after(0)
    assert got == [(1, "two")]


def test_a_cancelled_call_does_not_come(turn):
    handles = [turn.arm(1, name) for name in range(4)]
    handles[1].cancel()
    handles[2].cancel()
    assert handles[1].cancelled() and not handles[0].cancelled()
    assert len(turn.timers) == 2
    assert turn.after(1) == [0, 3]


def test_a_call_can_be_cancelled_by_one_that_is_due_before_it_at_the_same_time(turn):
    turn.timers.call_at(turn.clock.now, lambda: second.cancel())
    second = turn.arm(0, "second")
    assert turn.after(0) == []
    assert len(turn.timers) == 0


def test_cancelling_again_or_too_late_does_nothing(turn):
    handle = turn.arm(1, "call")
    others = [turn.arm(2, name) for name in range(3)]
    assert turn.after(1) == ["call"]
    assert handle.cancelled()
    for _ in range(3):
        handle.cancel()
        others[0].cancel()
    assert len(turn.timers) == 2
    assert turn.after(1) == [1, 2]


def test_a_callback_that_cancels_itself_disturbs_no_other(turn):
    handle = turn.timers.call_at(turn.clock.now, lambda: handle.cancel())
    turn.arm(1, "later")
    turn.after(0)
    assert len(turn.timers) == 1
    assert turn.after(1) == ["later"]


def test_a_cancelled_call_lets_go_of_what_it_held(turn):
    class Big:
        def call(self):
            pass

    big = Big()
    handle = turn.timers.call_at(turn.clock.now + 1e9, big.call)
    gone = weakref.ref(big)
    handle.cancel()
    del big
    gc.collect()
    assert gone() is None


def test_arming_and_cancelling_without_end_leaves_the_heap_small(turn):
    alive = [turn.arm(1, name) for name in range(10)]
    largest = 0
    for _ in range(20_000):
        turn.arm(1e6).cancel()
        largest = max(largest, len(turn.timers._heap))
    assert largest <= 2 * (len(alive) + COMPACT_FROM)
    assert len(turn.timers) == 10
    assert turn.after(1) == list(range(10))


def test_rebuilding_keeps_the_order(turn):
    numbers = random.Random(2)
    handles = [(numbers.randrange(50), name) for name in range(1000)]
    armed = [turn.arm(second, (second, name)) for second, name in handles]
    kept = set(numbers.sample(range(1000), 100))
    for name, handle in enumerate(armed):
        if name not in kept:
            handle.cancel()
    assert len(turn.timers) == 100
    assert turn.after(50) == sorted(handle for handle in handles if handle[1] in kept)


def test_a_callback_that_cancels_many_is_no_trouble_to_those_that_remain(turn):
    handles = [turn.arm(1, name) for name in range(1000)]
    turn.timers.call_at(turn.clock.now, lambda: [handle.cancel() for handle in handles[:-1]])
    turn.after(0)
    assert len(turn.timers) == 1
    assert turn.after(1) == [999]


@pytest.mark.parametrize("seconds", [0, -1, -math.inf])
def test_a_callback_that_rearms_itself_waits_for_the_next_turn(turn, seconds):
    def again():
        turn.called.append("again")
        turn.timers.call_at(turn.clock.now + seconds, again)

    again()
    assert turn.after(0) == ["again"]
    assert turn.after(0) == ["again"]


def test_a_callback_that_rearms_itself_for_the_past_does_not_starve_the_others(turn):
    def again():
        turn.timers.call_at(-math.inf, again)

    again()
    turn.arm(0, "other")
    assert turn.after(0) == ["other"]


def test_what_a_callback_arms_for_now_comes_in_the_next_turn_in_order(turn):
    turn.timers.call_at(turn.clock.now, lambda: [turn.arm(0, name) for name in "ab"])
    turn.arm(0, "first")
    assert turn.after(0) == ["first"]
    assert turn.after(0) == ["a", "b"]


def test_an_exception_is_logged_once_counted_and_holds_up_nobody(turn, caplog):
    def broken():
        raise LookupError("on purpose")

    turn.timers.call_at(turn.clock.now, broken)
    turn.arm(0, "next")
    assert turn.after(0) == ["next"]
    assert turn.timers.errors == 1
    (record,) = caplog.records
    assert record.exc_info[0] is LookupError and "broken" in record.getMessage()


def test_an_exception_is_counted_though_the_next_call_leaves_the_loop(turn, caplog):
    def broken():
        raise LookupError("on purpose")

    def leave():
        raise SystemExit

    turn.timers.call_at(turn.clock.now, broken)
    turn.timers.call_at(turn.clock.now, leave)
    with pytest.raises(SystemExit):
        turn.after(0)
    assert turn.timers.errors == 1


def test_what_leaves_the_loop_loses_no_other_call(turn):
    def leave():
        raise SystemExit

    turn.arm(0, "before")
    turn.timers.call_at(turn.clock.now, leave)
    cancelled = turn.arm(0, "cancelled")
    turn.arm(0, "after")
    with pytest.raises(SystemExit):
        turn.after(0)
    assert turn.called == ["before"]
    cancelled.cancel()
    assert len(turn.timers) == 1
    assert turn.after(0) == ["after"]
    assert len(turn.timers) == 0


def test_next_when_passes_over_the_cancelled(turn):
    now = turn.clock.now
    first, second = turn.arm(1), turn.arm(2)
    first.cancel()
    assert turn.timers.next_when() == now + 2
    second.cancel()
    assert turn.timers.next_when() == math.inf


def test_any_mixture_is_as_a_sorted_list_would_have_it(turn):
    numbers, sequence = random.Random(3), itertools.count()
    model = {}
    for _ in range(3000):
        step = numbers.random()
        if step < 0.5:
            entry = (turn.clock.now + numbers.randrange(20), next(sequence))
            model[entry] = turn.timers.call_at(entry[0], turn.called.append, entry)
        elif step < 0.8 and model:
            model.pop(numbers.choice(list(model))).cancel()
        else:
            called = turn.after(numbers.randrange(3))
            assert called == sorted(entry for entry in model if entry[0] <= turn.clock.now)
            for entry in called:
                del model[entry]
        assert len(turn.timers) == len(model)
        assert turn.timers.next_when() == min(model, default=(math.inf,))[0]


@pytest.mark.parametrize("nonsense", [None, "print", 7])
def test_what_cannot_be_called_is_refused_when_it_is_armed(turn, nonsense):
    with pytest.raises(TypeError, match=f"^a callback must be callable, not of type {type(nonsense).__name__}$"):
        turn.timers.call_at(turn.clock.now, nonsense)
    assert len(turn.timers) == 0 and turn.after(1) == []


def test_a_handle_calls_once():
    called = []
    handle = Handle(called.append, (1,), 0.0, None)
    assert handle.run() and handle.run()
    assert called == [1]
    assert handle.cancelled()


def test_a_call_that_is_armed_in_the_moment_before_a_rebuild_is_kept(turn, monkeypatch):
    def push(heap, entry, heappush=heapq.heappush):
        heappush(heap, entry)
        turn.timers._rebuild()  # as when foreign code cancels many others at this moment

    monkeypatch.setattr(heapq, "heappush", push)
    turn.arm(1, "call")
    assert len(turn.timers) == 1 and turn.after(1) == ["call"]


def test_a_call_that_is_armed_in_the_moment_of_a_look_is_kept(monkeypatch):
    timers, armed = Timers(lambda: 0.0), []
    timers.call_at(2.0, print).cancel()

    def pop(heap, heappop=heapq.heappop):
        if not armed:
            armed.append(timers.call_at(1.0, print))
        return heappop(heap)

    monkeypatch.setattr(heapq, "heappop", pop)
    assert timers.next_when() == 1.0
    assert len(timers) == 1

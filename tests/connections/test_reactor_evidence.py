"""After the loop was away, it asks the kernel what came meanwhile, before it ends a connection (R7, P2)."""

import contextlib
import math
import socket

import pytest

from reactor import CloseReason, Limits, Reactor
from reactor.loop import loop as loop_module
from reactor.loop.poller import READABLE
from reactor.loop.timers import Timers
from tests import rig
from tests.net.framed import Framed
from tests.rig import FakeClock, Recorder, adopt, tcp_pair, turn_until, turn_until_idle


class Answers:
    """A poller that gives the prepared `answers`, and moves the clock while it waits."""

    def __init__(self, poller, clock):
        self._poller, self._clock = poller, clock
        self.answers = []  # (seconds that the wait takes, events); after the last: no events, at once
        self.asked = []  # the time-outs that were asked for

    def __getattr__(self, name):
        return getattr(self._poller, name)

    def poll(self, timeout):
        self.asked.append(timeout)
        seconds, events = self.answers.pop(0) if self.answers else (0.0, [])
        self._clock.now += seconds
        return events


@pytest.fixture
def answering(descriptors_come_back):
    clock = FakeClock()
    with Reactor(clock=clock) as reactor:
        real = reactor.poller
        reactor.poller = Answers(real, clock)
        yield reactor, reactor.poller, clock
        reactor.poller = real


def test_a_wait_that_brings_nothing_is_followed_by_a_look(answering):
    reactor, poller, clock = answering
    fired = []
    reactor.call_later(5, fired.append, "fired")
    poller.answers = [(5.0, [])]
    reactor.run_once()
    assert poller.asked == [5.0, 0.0]
    reactor.run_once(0)
    assert fired == ["fired"]


def test_a_wait_that_brings_something_is_not(answering):
    reactor, poller, clock = answering
    poller.answers = [(1.0, [(9999, READABLE)])]
    reactor.run_once(10)
    assert poller.asked == [10]


def test_a_timer_whose_time_passed_during_the_wait_comes_after_the_next_look(answering):
    reactor, poller, clock = answering
    order = []
    reactor.call_later(1, order.append, "timer")
    reactor.poller.register(9999, 0, lambda source, events: order.append(source), "event")
    poller.answers = [(7.0, [(9999, READABLE)]), (0.0, [(9999, READABLE)])]
    reactor.run_once()
    reactor.run_once()
    assert order == ["event", "event"], "what came while the process was stopped comes first"
    reactor.run_once()
    assert order == ["event", "event", "timer"]
    del reactor.poller.handlers[9999]


def test_a_connection_that_spoke_while_the_process_was_stopped_is_not_ended(descriptors_come_back):
    clock, limits = FakeClock(), Limits(idle_seconds=2.0, first_byte_seconds=2.0)
    ours, theirs = socket.socketpair()
    with Reactor(clock=clock, limits=limits) as reactor, theirs:
        protocol = Recorder()
        connection = adopt(reactor, ours, protocol, limits)
        turn_until_idle(reactor)
        real = reactor.poller.poll

        def stopped(timeout):
            """The kernel found nothing. Then the process was stopped, and the peer sent something meanwhile."""
            events = real(0)
            reactor.poller.poll = real
            theirs.send(b"here I am")
            clock.now += 60
            return events

        reactor.poller = rig_poller(reactor.poller, stopped)
        reactor.run_once()
        rig.turns(reactor, 3)
        assert protocol.received == b"here I am"
        assert connection.close_reason is None
        rig.pass_time(reactor, 60)
        rig.turns(reactor, 3)
        assert connection.close_reason is CloseReason.IDLE_TIMEOUT, "and a peer that says nothing still is"


def test_the_loop_does_not_wait_while_more_is_buffered_than_may_be(answering):
    reactor, poller, clock = answering
    reactor.counters.buffered_bytes = reactor.limits.memory_bytes + 1  # as SystemExit leaves it, before the flush
    reactor.run_once(10)
    assert poller.asked == [0.0]


LIMITS = Limits(frame_seconds=10.0, close_seconds=10.0, first_byte_seconds=math.inf, idle_seconds=math.inf)
HELD_UP_SECONDS = 12.0


@pytest.fixture
def held_up(descriptors_come_back):
    """A reactor whose clock the test moves, and both ends of a connection."""
    ours, theirs = tcp_pair()
    with Reactor(clock=FakeClock(), limits=LIMITS) as reactor, theirs:
        theirs.settimeout(rig.DEADLINE_SECONDS)
        yield reactor, ours, theirs


def test_a_frame_whose_end_came_while_the_loop_was_held_up_is_read_however_many_receives_that_takes(held_up):
    reactor, ours, theirs = held_up
    whole, framed = bytes(50_000), Framed()
    adopt(reactor, ours, framed, LIMITS)
    theirs.sendall(whole[:10])
    turn_until(reactor, framed.connection._buffered_bytes, "its beginning")
    theirs.sendall(whole[10:] + b"\n")
    reactor.timers.clock.now += HELD_UP_SECONDS
    turn_until(reactor, lambda: framed.frames or framed.connection.close_reason, "the frame, or the end")
    assert framed.frames == [whole]


def test_a_reply_goes_on_though_the_loop_was_held_up_longer_than_a_close_may_take(held_up):
    reactor, ours, theirs = held_up
    connection = adopt(reactor, ours, Recorder(), LIMITS)
    connection.write(bytes(20_000_000))
    connection.close()
    rig.turns(reactor, 3)
    reactor.timers.clock.now += HELD_UP_SECONDS
    received = []
    theirs.setblocking(False)

    def has_ended():
        with contextlib.suppress(BlockingIOError):
            received.append(len(theirs.recv(1 << 20)))
        return received and received[-1] == 0

    turn_until(reactor, has_ended, "the end")
    assert sum(received) == 20_000_000


def test_what_falls_due_while_the_loop_is_held_up_has_as_much_time_again_and_no_more(held_up):
    reactor, ours, theirs = held_up
    framed = Framed()
    adopt(reactor, ours, framed, LIMITS)
    theirs.sendall(b"x")
    turn_until(reactor, framed.connection._buffered_bytes, "the byte")
    reactor.timers.clock.now += HELD_UP_SECONDS
    rig.turns(reactor, 3)
    for seconds in (4.0, 5.8):
        rig.pass_time(reactor, seconds)
        rig.turns(reactor, 3)
        assert framed.connection.close_reason is None
    rig.pass_time(reactor, 0.5)
    rig.turns(reactor, 3)
    assert framed.connection.close_reason is CloseReason.FRAME_TIMEOUT, "its limit is ten seconds, not twelve"


def test_what_was_put_off_gives_way_to_the_shorter_time_that_the_first_byte_brings(held_up):
    reactor, ours, theirs = held_up
    limits = Limits(first_byte_seconds=10.0, idle_seconds=1.0)
    connection = adopt(reactor, ours, Recorder(), limits)
    reactor.run_once(0)
    reactor.timers.clock.now += HELD_UP_SECONDS
    rig.turns(reactor, 3)
    theirs.sendall(b"x")
    turn_until(reactor, lambda: connection._heard_at > 0, "the byte")
    assert connection.close_reason is None
    rig.pass_time(reactor, 1.2)
    rig.turns(reactor, 3)
    assert connection.close_reason is CloseReason.IDLE_TIMEOUT


def rig_poller(poller, first_poll):
    """`poller`, but it calls `first_poll` for the next poll."""

    class Once:
        def __init__(self):
            self.poll = first_poll

        def __getattr__(self, name):
            return getattr(poller, name)

        def __setattr__(self, name, value):
            if name == "poll":
                object.__setattr__(self, name, value)
            else:
                setattr(poller, name, value)

    return Once()


@pytest.fixture
def small_batches(monkeypatch):
    """A batch has at most four events."""
    monkeypatch.setattr(loop_module, "EVENTS_PER_POLL", 4)


def full(*fds):
    return 0.0, [(fd, READABLE) for fd in fds]


def test_while_batches_are_full_no_timer_is_judged_until_all_descriptors_were_told(answering, small_batches):
    reactor, poller, clock = answering
    for fd in range(9990, 9999):  # nine descriptors and the waker fit into three batches
        reactor.poller.register(fd, 0, lambda source, events: None, fd)
    fired = []
    reactor.call_later(1, fired.append, "timer")
    clock.now += 2
    poller.answers = [full(9990, 9991, 9992, 9993), full(9994, 9995, 9996, 9997), full(9998, 9990, 9991, 9992)]
    for _ in range(3):
        reactor.run_once(0)
        assert fired == []
    poller.answers = [full(9990, 9991, 9992, 9993)] * 4
    reactor.run_once(0)
    assert fired == ["timer"], "though there is always more: a deadline has an end"
    for fd in range(9990, 9999):
        del reactor.poller.handlers[fd]


def test_a_batch_that_is_not_full_has_told_of_everything(answering, small_batches):
    reactor, poller, clock = answering
    fired = []
    reactor.call_later(1, fired.append, "timer")
    clock.now += 2
    poller.answers = [full(9990, 9991, 9992)]
    reactor.run_once(0)
    reactor.run_once(0)
    assert fired == ["timer"]


def test_a_batch_that_an_exception_ends_proves_nothing(answering):
    reactor, poller, clock = answering
    fired = []
    reactor.call_later(1, fired.append, "timer")
    clock.now += 2
    reactor.poller.register(9999, 0, rig.leave, None)
    poller.answers = [full(9999)]
    with pytest.raises(SystemExit):
        reactor.run_once(0)
    reactor.run_once(0)
    assert fired == []
    reactor.run_once(0)
    assert fired == ["timer"]
    del reactor.poller.handlers[9999]


def test_a_timer_thirty_days_away_is_no_trouble_to_the_wait(reactor):
    reactor.call_later(30 * 86400, rig.break_down)
    reactor._waker.wake()  # this byte ends the wait, but does not shorten the time-out that the loop asks for
    reactor.run_once()
    assert len(reactor.timers) == 1


def test_a_wait_without_a_number_is_refused(reactor):
    with pytest.raises(ValueError, match="NaN"):
        reactor.run_once(float("nan"))
    reactor.run_once(0)


@pytest.mark.parametrize("fraction", [0.0, 0.03], ids=["at a tick", "before the tick at which it is looked at"])
def test_what_falls_due_while_the_process_is_stopped_in_a_wait_is_put_off_too(held_up, fraction):
    reactor, ours, theirs = held_up
    framed, clock = Framed(), reactor.timers.clock
    rig.pass_time(reactor, fraction)
    adopt(reactor, ours, framed, LIMITS)
    theirs.sendall(b"x")
    turn_until(reactor, framed.connection._buffered_bytes, "the byte")
    rig.turns(reactor, 2)
    real = reactor.poller.poll

    def stopped(timeout):
        clock.now += timeout + HELD_UP_SECONDS
        reactor.poller.poll = real
        return real(0)

    poller, reactor.poller = reactor.poller, rig_poller(reactor.poller, stopped)
    reactor.run_once()
    reactor.poller = poller
    rig.turns(reactor, 3)
    assert framed.connection.close_reason is None
    rig.pass_time(reactor, LIMITS.frame_seconds + 1)
    rig.turns(reactor, 3)
    assert framed.connection.close_reason is CloseReason.FRAME_TIMEOUT


def test_two_absences_without_a_look_in_between_are_one(timed_timers):
    timers = timed_timers
    timers.note_absence(1001.0, 1003.0)
    timers.note_absence(1003.0, 1004.0)
    assert (timers.left_at, timers.back_at) == (1001.0, 1004.0)
    timers.asked_at = 1004.0  # all events from before that time were dispatched
    timers.note_absence(1004.0, 1005.0)
    assert (timers.left_at, timers.back_at) == (1004.0, 1005.0), "a loop that is always late puts nothing off for ever"


def test_an_absence_behind_a_wait_is_another_one(timed_timers):
    timed_timers.note_absence(1001.0, 1003.0)
    timed_timers.note_absence(1007.0, 1008.0)
    assert (timed_timers.left_at, timed_timers.back_at) == (1007.0, 1008.0)


@pytest.fixture
def timed_timers():
    return Timers(FakeClock())

"""Every state has its deadline, each is counted from its own event, and all of them cost one timer.

The clock stands still until it is pushed, so that "a moment before" and "at the moment" can be told apart; the sockets
are real, since what the kernel takes decides about half of the deadlines.
"""

import math

import pytest

from reactor import CloseReason, Limits, Reactor, State
from reactor.core.deadlines import NEVER, next_deadline
from tests import rig

MUCH = bytes(32 * 1024 * 1024)  # more than the kernel takes from one who does not read
SECONDS = 10.0
MOMENT = 2**-10  # seconds; a power of two, so that times add up exactly
DEADLINES = ("first_byte", "idle", "frame", "write_stall", "close", "linger")


@pytest.fixture
def reactor(descriptors_come_back):
    """A reactor whose time passes when it is told to."""
    with Reactor(clock=rig.FakeClock()) as reactor:
        yield reactor


def limits(**seconds):
    """No deadline but these, and no limit of another kind in the way."""
    never = {f"{name}_seconds": math.inf for name in DEADLINES}
    return Limits(**{**never, **{f"{name}_seconds": value for name, value in seconds.items()}})


class Life:
    """One connection over a pair of sockets, and time to pass."""

    def __init__(self, reactor, pair, **seconds):
        self.reactor = reactor
        ours, self.peer = pair
        self.protocol = rig.Recorder(eof_received=lambda recorder: True)
        self.connection = rig.adopt(reactor, ours.dup(), self.protocol, limits(**seconds))
        ours.close()
        self.turn()

    def turn(self):
        rig.turn_until_idle(self.reactor)

    def pass_time(self, seconds):
        self.reactor.timers.clock.now += seconds
        self.reactor.run_once(0)  # reads the clock
        self.reactor.run_once(0)  # runs what is due by it
        self.turn()

    def hear(self, data=b"x"):
        self.peer.sendall(data)
        self.turn()

    def write(self, data=MUCH):
        self.connection.write(data)
        self.turn()

    def read(self, size):
        """Have the peer read so much, and the kernel fetch what takes its place."""
        while size > 0:
            size -= len(self.peer.recv(min(size, 1 << 18)))
            self.turn()

    def makes_progress(self):
        """Whether the kernel has room when it is asked once more."""
        before = self.reactor.counters.bytes_sent
        self.write(b"more")
        return self.reactor.counters.bytes_sent > before

    @property
    def ended(self):
        return self.connection.state is State.LOST

    def assert_ends_in(self, seconds, reason):
        """Alive a moment before, ended at the moment, once and for this reason."""
        self.pass_time(seconds - MOMENT)
        assert not self.ended, f"ended early: {self.connection.close_reason}"
        self.pass_time(MOMENT)
        assert self.ended, f"still {self.connection.state}"
        assert self.connection.close_reason is reason
        assert self.reactor.counters.closed[reason] == 1 == sum(self.reactor.counters.closed.values())
        assert self.protocol.names.count("connection_lost") == 1
        assert isinstance(self.protocol.calls[-1][1], TimeoutError)
        assert len(self.reactor.timers) == 0, "the timer of an ended connection is still armed"


@pytest.fixture
def life(reactor, tcp_pair):
    """`life(idle=10)`: a connection with that deadline alone."""
    return lambda **seconds: Life(reactor, tcp_pair, **seconds)


# Each deadline, from its own event.


def test_a_peer_that_never_says_a_word_is_ended(life):
    life(first_byte=SECONDS).assert_ends_in(SECONDS, CloseReason.FIRST_BYTE_TIMEOUT)


def test_what_is_sent_to_a_peer_is_not_its_first_byte(life):
    silent = life(first_byte=SECONDS)
    silent.pass_time(1)
    silent.write(b"hello?")
    silent.assert_ends_in(SECONDS - 1, CloseReason.FIRST_BYTE_TIMEOUT)


def test_a_peer_that_never_says_a_word_is_idle_when_that_is_the_shorter_time(life):
    life(first_byte=2 * SECONDS, idle=SECONDS).assert_ends_in(SECONDS, CloseReason.IDLE_TIMEOUT)


def test_the_first_byte_is_asked_for_once(life):
    talker = life(first_byte=SECONDS)
    talker.hear()
    talker.pass_time(1000 * SECONDS)
    assert not talker.ended


@pytest.mark.parametrize("event", ["hear", "write"])
def test_a_byte_of_either_direction_begins_the_idle_time_anew(life, event):
    idler = life(idle=SECONDS)
    idler.hear()
    for _ in range(5):
        idler.pass_time(SECONDS - 1)
        idler.hear() if event == "hear" else idler.write(b"x")
    idler.assert_ends_in(SECONDS, CloseReason.IDLE_TIMEOUT)


def test_a_peer_that_has_ended_its_side_is_idle_too(life):
    half = life(idle=SECONDS, first_byte=1.0)
    half.peer.shutdown(1)
    half.turn()
    assert half.connection.state is State.HALF_CLOSED_REMOTE
    half.assert_ends_in(SECONDS, CloseReason.IDLE_TIMEOUT)


def test_a_connection_whose_reading_is_paused_is_idle_too(life):
    paused = life(idle=SECONDS)
    paused.hear()
    paused.connection.pause_reading()
    paused.turn()
    paused.pass_time(SECONDS - 1)
    paused.hear(b"not delivered")
    paused.assert_ends_in(1, CloseReason.IDLE_TIMEOUT)


def test_a_frame_has_its_time_from_its_beginning_and_a_trickle_does_not_help(life):
    trickler = life(frame=SECONDS, idle=SECONDS)
    trickler.hear()
    began = trickler.reactor.timers.now
    for size in range(1, 10):
        trickler.connection.keep_input(size, began)
        trickler.pass_time(1)
        trickler.hear()
    trickler.assert_ends_in(SECONDS - 9, CloseReason.FRAME_TIMEOUT)


def test_a_frame_that_is_whole_has_no_deadline_any_more(life):
    framer = life(frame=SECONDS)
    framer.hear()
    framer.connection.keep_input(1, framer.reactor.timers.now)
    framer.turn()
    framer.connection.keep_input(0, NEVER)
    framer.pass_time(1000 * SECONDS)
    assert not framer.ended


def test_the_next_frame_has_its_own_time(life):
    framer = life(frame=SECONDS)
    framer.hear()
    for _ in range(3):
        framer.connection.keep_input(1, framer.reactor.timers.now)
        framer.pass_time(SECONDS - 1)
    framer.assert_ends_in(1, CloseReason.FRAME_TIMEOUT)


def test_frames_that_wait_for_their_program_are_not_the_peers_fault(life):
    framer = life(frame=SECONDS)
    framer.hear()
    framer.connection.keep_input(1000, NEVER)
    framer.pass_time(1000 * SECONDS)
    assert not framer.ended


def test_output_that_nobody_takes_is_stalled(life):
    slow = life(write_stall=SECONDS)
    slow.hear()
    slow.write()
    assert slow.connection.has_output()
    slow.assert_ends_in(SECONDS, CloseReason.WRITE_STALLED)


def test_progress_in_sending_is_what_counts_and_trying_is_none(life):
    slow = life(write_stall=SECONDS)
    slow.hear()
    slow.write()
    for _ in range(3):
        slow.pass_time(SECONDS - 1)
        slow.read(4 * 1024 * 1024)  # so much that the kernel takes more
    while slow.makes_progress():
        pass
    for _ in range(9):
        slow.pass_time(1)
        assert not slow.makes_progress()
    slow.assert_ends_in(SECONDS - 9, CloseReason.WRITE_STALLED)


def test_the_wait_begins_when_output_begins_to_wait(life):
    slow = life(write_stall=SECONDS)
    slow.hear()
    slow.pass_time(1000 * SECONDS)
    slow.write()
    slow.assert_ends_in(SECONDS, CloseReason.WRITE_STALLED)


def test_one_who_reads_in_the_end_is_not_stalled_any_more(life):
    slow = life(write_stall=SECONDS)
    slow.hear()
    slow.write()
    slow.pass_time(SECONDS - 1)
    slow.read(len(MUCH))
    assert not slow.connection.has_output()
    slow.pass_time(1000 * SECONDS)
    assert not slow.ended


@pytest.mark.parametrize("half_closed", [False, True], ids=["closing", "flushing"])
def test_the_rest_after_close_has_its_deadline_and_progress_does_not_push_it_back(life, half_closed):
    slow = life(close=SECONDS, write_stall=SECONDS / 2)
    slow.hear()
    slow.write()
    if half_closed:
        slow.peer.shutdown(1)
        slow.turn()
    slow.connection.close()
    slow.turn()
    assert slow.connection.state is (State.FLUSHING if half_closed else State.CLOSING)
    for _ in range(3):
        slow.pass_time(1)
        slow.read(1024 * 1024)
    slow.assert_ends_in(SECONDS - 3, CloseReason.CLOSE_TIMEOUT)


@pytest.mark.parametrize("talks", [False, True], ids=["silent", "talking"])
def test_lingering_ends_however_much_the_peer_still_says(life, talks):
    peer = life(linger=SECONDS, idle=SECONDS / 4)
    peer.hear()
    peer.pass_time(1)
    peer.connection.close()
    peer.turn()
    assert peer.connection.state is State.LINGERING
    for _ in range(5):
        peer.pass_time(1)
        if talks:
            peer.hear(b"but wait")
    peer.assert_ends_in(SECONDS - 5, CloseReason.LINGER_TIMEOUT)


# All of them together.


def test_without_deadlines_nothing_ends(life):
    eternal = life()
    for event in (eternal.hear, eternal.write, eternal.connection.close):
        event()
        eternal.pass_time(1e9)
        assert not eternal.ended
    eternal.connection.abort()
    eternal.turn()


@pytest.mark.parametrize("shortest", ["idle", "frame", "write_stall"])
def test_the_earliest_of_several_is_the_one(life, shortest):
    life = life(**{**dict.fromkeys(["idle", "frame", "write_stall"], SECONDS), shortest: SECONDS / 2})
    life.hear()
    life.connection.keep_input(1, life.reactor.timers.now)
    life.write()
    reason = {"write_stall": "write_stalled"}.get(shortest, f"{shortest}_timeout")
    life.assert_ends_in(SECONDS / 2, CloseReason(reason))


def test_an_event_that_brings_the_deadline_forward_is_heeded_at_once(life):
    framer = life(idle=1000.0, frame=SECONDS)
    framer.hear()
    framer.pass_time(1)  # the timer is now set for the idle time
    framer.connection.keep_input(1, framer.reactor.timers.now)
    framer.turn()
    framer.assert_ends_in(SECONDS, CloseReason.FRAME_TIMEOUT)


def test_one_timer_serves_a_connection_and_a_message_touches_it_not(life, monkeypatch):
    talker = life(first_byte=SECONDS, idle=SECONDS, frame=SECONDS, write_stall=SECONDS)
    talker.hear()
    armed = []
    monkeypatch.setattr(type(talker.reactor.timers), "call_at", lambda *call: armed.append(call))
    for _ in range(100):
        talker.reactor.timers.clock.now += 0.01
        talker.hear()
        talker.write(b"x")
    assert armed == [] and len(talker.reactor.timers) == 1
    monkeypatch.undo()
    talker.assert_ends_in(SECONDS, CloseReason.IDLE_TIMEOUT)


@pytest.mark.parametrize("end", ["abort", "close"])
def test_one_who_ends_in_time_leaves_no_timer_behind(life, end):
    ended = life(**dict.fromkeys(DEADLINES, SECONDS))
    ended.hear()
    getattr(ended.connection, end)()
    ended.peer.close()
    ended.turn()
    assert ended.ended and len(ended.reactor.timers) == 0


def test_what_has_ended_has_no_deadline(life):
    ended = life(**dict.fromkeys(DEADLINES, SECONDS))
    ended.connection.abort()
    assert next_deadline(ended.connection)[0] == math.inf
    ended.turn()

"""Every state has a deadline, which follows from the state and from the times of what happened last."""

import math

import pytest

from reactor import CloseReason, Limits, State
from reactor.connections.deadlines import TICK_SECONDS, Deadlines
from reactor.connections.derived import next_deadline, next_look
from reactor.connections.states import NEVER
from reactor.loop.poller import READABLE, WRITABLE
from reactor.loop.timers import Timers
from tests.rig import FakeClock, Recorder, StubReactor, StubSocket, adopt, make_connection, told

LIMITS = Limits(
    first_byte_seconds=60, idle_seconds=300, frame_seconds=30,
    write_stall_seconds=50, close_seconds=20, linger_seconds=5,
)  # fmt: skip
ALIVE = [State.OPEN, State.HALF_CLOSED_REMOTE, State.HALF_CLOSED_LOCAL]
in_every_living_state = pytest.mark.parametrize("state", ALIVE, ids=lambda state: state.name)


def since(moment, state=State.OPEN, limits=LIMITS, **moments):
    connection = make_connection(state, limits)
    connection._state_since = moment
    for name, value in moments.items():
        setattr(connection, f"_{name}", value)
    return connection


@in_every_living_state
def test_the_first_byte_has_a_deadline(state):
    assert next_deadline(since(1000, state)) == (1060, CloseReason.FIRST_BYTE_TIMEOUT)


@in_every_living_state
@pytest.mark.parametrize(("heard", "progress"), [(1100, NEVER), (NEVER, 1100), (1100, 1050), (1050, 1100)])
def test_after_it_silence_in_both_directions_has_one(state, heard, progress):
    connection = since(1000, state, heard_at=heard, progress_at=progress)
    assert next_deadline(connection) == (1400, CloseReason.IDLE_TIMEOUT)


def test_a_frame_has_one_from_its_first_byte_however_much_trickles_in():
    connection = since(1000, heard_at=1100, frame_since=1100)
    assert next_deadline(connection) == (1130, CloseReason.FRAME_TIMEOUT)
    connection._heard_at = 1129
    assert next_deadline(connection) == (1130, CloseReason.FRAME_TIMEOUT)


@pytest.mark.parametrize(("idle", "look"), [(0.0, 1000.1), (7.0, 1007.0), (math.inf, 1060.0)])
def test_before_the_first_byte_it_is_looked_at_once_that_can_have_brought_a_nearer_deadline(idle, look):
    clock = FakeClock()
    timers = Timers(clock)
    connection = since(1000, limits=Limits(first_byte_seconds=60, idle_seconds=idle))
    Deadlines(timers, lambda connection: None).arm(connection, next_look(connection, 1060.0, 1000.0))
    assert timers.next_when() == pytest.approx(look) and timers.next_when() > 1000.0  # else the loop would spin


def test_the_earlier_of_two_holds():
    connection = since(1000, heard_at=1100, frame_since=1100, limits=Limits(idle_seconds=10, frame_seconds=30))
    assert next_deadline(connection) == (1110, CloseReason.IDLE_TIMEOUT)


@in_every_living_state
def test_output_that_waits_has_one_since_the_kernel_last_took_some(state):
    connection = since(1000, state, heard_at=1200, progress_at=1100, unsent=b"waiting")
    assert next_deadline(connection) == (1150, CloseReason.WRITE_STALLED)
    connection._unsent = b""
    assert next_deadline(connection) == (1500, CloseReason.IDLE_TIMEOUT)


@pytest.mark.parametrize("state", [State.CLOSING, State.FLUSHING], ids=lambda state: state.name)
def test_what_is_left_to_be_sent_after_close_has_one_whatever_is_heard(state):
    connection = since(1000, state, heard_at=1019, progress_at=1019, unsent=b"waiting")
    assert next_deadline(connection) == (1020, CloseReason.CLOSE_TIMEOUT)


def test_lingering_has_one_whatever_is_heard():
    assert next_deadline(since(1000, State.LINGERING, heard_at=1004)) == (1005, CloseReason.LINGER_TIMEOUT)


def test_what_has_ended_needs_none():
    assert next_deadline(since(1000, State.ENDED))[0] == math.inf


def test_an_infinite_deadline_never_comes():
    connection = since(1000, limits=Limits(first_byte_seconds=math.inf, idle_seconds=math.inf))
    assert next_deadline(connection)[0] == math.inf
    connection._heard_at = 1000
    assert next_deadline(connection)[0] == math.inf


# Kept by the dispatcher, with one timer each.


@pytest.fixture
def stub():
    return StubReactor(LIMITS)


def stubbed(stub, limits=LIMITS, **answers):
    return adopt(stub, StubSocket(**answers), Recorder(), limits)


def pass_until_the_end(stub, connection, step=0.5, feed=lambda: None):
    """Let time pass in steps until the connection has ended. Return how long, to within a step."""
    begin = stub.timers.now
    while connection.state is not State.CLOSED:
        assert stub.timers.now - begin < 1000, "it has no end"
        feed()
        stub.pass_time(step)
        stub.finish()
    assert isinstance(told(connection).calls[-1][1], TimeoutError)
    assert len(stub.timers) == 0
    return stub.timers.now - begin


def test_who_never_says_a_word_is_ended(stub):
    connection = stubbed(stub)
    assert pass_until_the_end(stub, connection) == 60
    assert connection.close_reason is CloseReason.FIRST_BYTE_TIMEOUT


def test_who_falls_silent_is_ended(stub):
    connection = stubbed(stub, receives=[b"x"] * 3)
    for _ in range(3):
        stub.pass_time(59)
        stub.happens(connection, READABLE)
    assert pass_until_the_end(stub, connection) == 300
    assert connection.close_reason is CloseReason.IDLE_TIMEOUT


@pytest.mark.parametrize("first_byte_after", [1, 15])
def test_silence_is_noticed_in_time_even_where_the_first_byte_may_take_longer(stub, first_byte_after):
    connection = stubbed(stub, limits=Limits(first_byte_seconds=60, idle_seconds=10), receives=[b"x"])
    for _ in range(first_byte_after):
        stub.pass_time(1)
        stub.finish()
    stub.happens(connection, READABLE)
    stub.finish()
    assert pass_until_the_end(stub, connection) == 10
    assert connection.close_reason is CloseReason.IDLE_TIMEOUT


@pytest.mark.parametrize("speaks", [True, False], ids=["it has spoken", "it never speaks"])
def test_a_peer_that_takes_what_is_sent_is_not_idle(stub, speaks):
    """The program may be a clock or a feed, whose clients have nothing to say."""
    connection = stubbed(stub, receives=[b"x"])
    if speaks:
        stub.happens(connection, READABLE)
    connection.write(b"the first news")
    stub.finish()
    for _ in range(10):
        stub.pass_time(200)
        connection.write(b"news")
        stub.finish()
    assert connection.state is State.OPEN
    assert pass_until_the_end(stub, connection) == 300
    assert connection.close_reason is CloseReason.IDLE_TIMEOUT


def test_a_peer_that_never_speaks_and_takes_nothing_is_ended(stub):
    connection = stubbed(stub, sends=[BlockingIOError()] * 10)
    connection.write(b"news")
    stub.finish()
    assert pass_until_the_end(stub, connection) == 50
    assert connection.close_reason is CloseReason.WRITE_STALLED


def test_a_trickle_does_not_push_back_the_deadline_of_a_frame(stub):
    connection = stubbed(stub, receives=[b"x"] * 1000)

    def trickle():
        stub.happens(connection, READABLE)
        since = connection._frame_since if connection._kept_bytes else stub.timers.now
        connection._keep_input(connection._kept_bytes + 1, since)

    assert pass_until_the_end(stub, connection, feed=trickle) == 30
    assert connection.close_reason is CloseReason.FRAME_TIMEOUT


def test_who_takes_nothing_of_what_waits_is_ended_and_who_takes_a_little_is_not(stub):
    connection = stubbed(stub, receives=[b"x"], sends=[1, *[0, 1] * 3, *[0] * 1000])
    stub.happens(connection, READABLE)
    connection.write(b"0123456789")
    stub.finish()
    for _ in range(6):
        stub.pass_time(40 / 2)
        stub.happens(connection, WRITABLE)
        stub.finish()
    assert connection.state is State.OPEN
    retry = lambda: stub.happens(connection, WRITABLE)  # noqa: E731
    assert pass_until_the_end(stub, connection, feed=retry) == 50
    assert connection.close_reason is CloseReason.WRITE_STALLED
    assert connection._socket.resets


@pytest.mark.parametrize("quiet_seconds", [0, 200])
def test_the_wait_for_the_kernel_begins_when_it_is_first_full(stub, quiet_seconds):
    connection = stubbed(stub, receives=[b"x"], sends=[2, *[0] * 1000])
    stub.happens(connection, READABLE)
    if quiet_seconds:
        connection.write(b"ok")
        stub.finish()
        stub.pass_time(quiet_seconds)
    else:
        connection._socket.sends.popleft()
    connection.write(b"more")
    stub.finish()
    assert pass_until_the_end(stub, connection) == 50
    assert connection.close_reason is CloseReason.WRITE_STALLED


def test_after_close_a_trickle_of_progress_does_not_help(stub):
    connection = stubbed(stub, sends=[0] + [1] * 1000)
    connection.write(b"x" * 1000)
    connection.close()
    stub.finish()
    assert pass_until_the_end(stub, connection, feed=lambda: stub.happens(connection, WRITABLE)) == 20
    assert connection.close_reason is CloseReason.CLOSE_TIMEOUT


def test_lingering_ends(stub):
    connection = stubbed(stub, receives=[b"x"] * 1000)
    connection.close()
    stub.finish()
    assert connection.state is State.LINGERING
    assert pass_until_the_end(stub, connection, feed=lambda: stub.happens(connection, READABLE)) == 5
    assert connection.close_reason is CloseReason.LINGER_TIMEOUT


def test_one_whose_reading_is_paused_is_idle_too(stub):
    connection = stubbed(stub, receives=[b"x"])
    stub.happens(connection, READABLE)
    connection.pause_reading()
    stub.finish()
    assert pass_until_the_end(stub, connection) == 300
    assert connection.close_reason is CloseReason.IDLE_TIMEOUT


def test_the_next_frame_has_its_own_time_and_one_that_its_program_holds_back_has_none(stub):
    connection = stubbed(stub, receives=[b"x"])
    stub.happens(connection, READABLE)
    for since in (True, False, True):
        connection._keep_input(1, stub.timers.now if since else NEVER)
        stub.finish()
        stub.pass_time(29 if since else 200)
        stub.finish()
        assert connection.state is State.OPEN
    assert pass_until_the_end(stub, connection) == 1
    assert connection.close_reason is CloseReason.FRAME_TIMEOUT


def test_who_is_looked_at_is_asked_for_little_again(stub):
    """If not, each small message would cost as much memory as the one large message before."""
    connection = stubbed(stub, receives=[b"x" * 10_000])
    little = connection._receive_bytes
    for _ in range(3):
        stub.happens(connection, READABLE)
    assert connection._receive_bytes > little
    for _ in range(3):
        stub.pass_time(59)
        stub.finish()
    assert connection.state is State.OPEN and connection._receive_bytes == little


def test_a_message_arms_no_timer(stub):
    connection = stubbed(stub, receives=[b"x"] * 1000)
    entries = len(stub.timers._heap)
    for _ in range(1000):
        stub.happens(connection, READABLE)
        connection.write(b"echo")
        stub.finish()
    assert len(stub.timers._heap) == entries == 1


# Connections that are looked at together.


class Looks:
    """Deadlines over a clock that the test moves. It notes which connections were looked at."""

    def __init__(self):
        self.timers = Timers(FakeClock())
        self.begin = self.timers.now
        self.deadlines = Deadlines(self.timers, lambda connection: self.seen.append(connection))
        self.seen = []

    def arm(self, connection, seconds):
        self.deadlines.arm(connection, self.begin + seconds)

    def at(self, seconds):
        """Which connections are looked at when `seconds` have passed since the beginning."""
        self.seen.clear()
        self.timers.now = self.timers.asked_at = self.timers.clock.now = self.begin + seconds
        self.timers.run_due()
        return list(self.seen)


@pytest.fixture
def looks():
    return Looks()


def test_those_of_one_tenth_of_a_second_share_a_timer_and_are_looked_at_in_their_order(looks):
    connections = [make_connection() for _ in range(100)]
    for number, connection in enumerate(connections):
        looks.arm(connection, 5.0 + 0.0009 * (number + 1))
    assert len(looks.timers) == 1
    assert looks.at(5.09) == []
    assert looks.at(5.11) == connections
    assert looks.at(100) == []
    assert len(looks.timers) == 0


@pytest.mark.parametrize("seconds", [0, 0.05, 0.1, 0.3, 1 / 3, 7.7, 12345.678])
def test_nobody_is_looked_at_before_the_time_nor_a_tick_after_it(looks, seconds):
    connection = make_connection()
    looks.arm(connection, seconds)
    assert looks.at(seconds - 1e-6) == []
    assert looks.at(seconds + TICK_SECONDS + 1e-6) == [connection]


def test_an_earlier_deadline_takes_the_place_of_a_later_one_and_not_the_other_way_round(looks):
    connection = make_connection()
    looks.arm(connection, 10)
    looks.arm(connection, 20)
    assert len(looks.timers) == 1 and looks.at(9.9) == []
    looks.arm(connection, 9.95)
    looks.arm(connection, 5)
    assert looks.at(9.95) == [connection]
    assert looks.at(1000) == [] and len(looks.timers) == 0


def test_who_is_disarmed_is_not_looked_at_and_leaves_nothing_behind(looks):
    first, second = make_connection(), make_connection()
    for connection in (first, second):
        looks.arm(connection, 5)
    looks.deadlines.disarm(first)
    looks.deadlines.disarm(first)
    assert looks.at(6) == [second]
    looks.arm(first, 10)
    looks.deadlines.disarm(first)
    assert len(looks.timers) == 0 and not looks.deadlines._ticks


def test_who_is_looked_at_can_be_armed_again_for_any_time(looks):
    first, second = make_connection(), make_connection()

    def look(connection):
        looks.seen.append(connection)
        looks.deadlines.disarm(second)
        looks.arm(connection, 5)  # that time has passed

    looks.deadlines = Deadlines(looks.timers, look)
    for connection in (first, second):
        looks.arm(connection, 5)
    assert looks.at(6) == [first, second], "both were due"
    assert looks.at(6) in ([first], [second], [first, second])


@pytest.mark.parametrize("seconds", [math.inf, 1e308, 1e300])
def test_a_deadline_beyond_all_time_is_none(looks, seconds):
    looks.arm(make_connection(), seconds)
    assert looks.at(1e15) == []


@pytest.mark.parametrize("seconds", [0, 1e308, math.inf])
def test_every_number_of_seconds_that_the_limits_allow_can_be_lived_under(seconds):
    limits = Limits(**{name: seconds for name in LIMITS.__slots__ if name.endswith("_seconds")})
    stub = StubReactor(limits)
    connection = stubbed(stub, limits=limits, receives=[b"x"], sends=[0] * 100)
    stub.happens(connection, READABLE)
    connection.write(b"waiting")
    stub.finish()
    connection.close()
    stub.finish()
    for _ in range(3):
        stub.pass_time(1000)
        stub.finish()
    assert connection.state is (State.CLOSED if seconds == 0 else State.CLOSING)


@pytest.mark.parametrize("when", [math.nextafter(tenths / 10, math.inf) for tenths in (9, 18, 35, 10010, 10015)])
def test_a_tick_is_never_before_the_deadline_however_the_division_is_rounded(when):
    clock = FakeClock()
    timers = Timers(clock)
    Deadlines(timers, lambda connection: None).arm(make_connection(State.OPEN, LIMITS), when)
    assert when <= timers.next_when() <= when + TICK_SECONDS * 1.001


@pytest.mark.parametrize("ask", [lambda connection: connection.write(b"x"), lambda connection: connection.close()])
def test_who_was_written_to_or_closed_by_a_timer_of_the_same_moment_is_not_judged_by_the_times_of_before(stub, ask):
    limits = Limits(first_byte_seconds=60, write_stall_seconds=1, close_seconds=1)
    connection = stubbed(stub, limits=limits)
    stub.timers.call_at(stub.timers.now + 59.9, ask, connection)
    stub.pass_time(60)  # in one step, as after a long callback: both are due
    assert connection.state is not State.ENDED
    stub.finish()
    assert connection.state in (State.OPEN, State.LINGERING)


def nothing(stub, connection):
    """The peer has not spoken."""


def silent(stub, connection):
    stub.happens(connection, READABLE)


def unfinished(stub, connection):
    stub.happens(connection, READABLE)
    connection._keep_input(1, stub.timers.now)


def stalled(stub, connection):
    connection.write(b"more than the kernel takes")


def closing(stub, connection):
    connection.write(b"more than the kernel takes")
    connection.close()


def lingering(stub, connection):
    connection.close()


OF_EACH_LIMIT = [
    ("first_byte_seconds", nothing, CloseReason.FIRST_BYTE_TIMEOUT),
    ("idle_seconds", silent, CloseReason.IDLE_TIMEOUT),
    ("frame_seconds", unfinished, CloseReason.FRAME_TIMEOUT),
    ("write_stall_seconds", stalled, CloseReason.WRITE_STALLED),
    ("close_seconds", closing, CloseReason.CLOSE_TIMEOUT),
    ("linger_seconds", lingering, CloseReason.LINGER_TIMEOUT),
]
ENDLESS = {name: math.inf for name, _, _ in OF_EACH_LIMIT}


@pytest.mark.parametrize(("name", "lead", "reason"), OF_EACH_LIMIT)
def test_a_deadline_of_zero_has_come_at_the_next_look_and_one_of_infinity_never_comes(stub, name, lead, reason):
    for seconds in (0.0, math.inf):
        limits = Limits(**ENDLESS | {name: seconds})
        connection = stubbed(stub, limits, receives=[b"x"], sends=[1] + [BlockingIOError()] * 99)
        lead(stub, connection)
        stub.finish()
        assert connection.state is not State.CLOSED, "a deadline is judged in a look, not before"
        for _ in range(2):
            stub.pass_time(TICK_SECONDS if seconds == 0 else 1e9)
            stub.finish()
        assert (connection.state is State.CLOSED) == (seconds == 0)
        if seconds == 0:
            assert connection.close_reason is reason

"""A connection without a network: how its calls change its state, and its interest in every state."""

import itertools

import pytest

from reactor import CloseReason, Limits, State
from reactor.connections.derived import wanted_interest
from reactor.loop.poller import BROKEN, PEER_FIN, READABLE, WRITABLE
from tests.rig import make_connection

NEW, OPEN = State.NEW, State.OPEN
HALF_CLOSED_REMOTE, HALF_CLOSED_LOCAL = State.HALF_CLOSED_REMOTE, State.HALF_CLOSED_LOCAL
CLOSING, LINGERING, FLUSHING = State.CLOSING, State.LINGERING, State.FLUSHING
ENDED, CLOSED = State.ENDED, State.CLOSED
MET = [state for state in State if state is not NEW]  # the states in which the protocol has its connection
WRITING = [OPEN, HALF_CLOSED_REMOTE]
ENDING = [CLOSING, LINGERING, FLUSHING, ENDED, CLOSED]

in_every_state = pytest.mark.parametrize("state", MET, ids=lambda state: state.name)
in_every_ending = pytest.mark.parametrize("state", ENDING, ids=lambda state: state.name)
# A steady connection in OPEN (`_steady` is set) takes the short way through `write`.
in_every_writing_state = pytest.mark.parametrize(
    ("state", "steady"), [(OPEN, False), (OPEN, True), (HALF_CLOSED_REMOTE, False)],
    ids=["OPEN", "steady", "HALF_CLOSED_REMOTE"],
)  # fmt: skip


def marks(high, low):
    return Limits(output_high_bytes=high, output_low_bytes=low)


# Ending.


AFTER_CLOSE = {OPEN: CLOSING, HALF_CLOSED_LOCAL: CLOSING, HALF_CLOSED_REMOTE: FLUSHING}
AFTER_WRITE_EOF = {OPEN: HALF_CLOSED_LOCAL, HALF_CLOSED_REMOTE: FLUSHING}


@in_every_state
def test_close_moves_on_once_keeps_what_was_written_and_tells_nobody_yet(state):
    connection = make_connection(state)
    connection._unsent = b"waiting"
    for _ in range(3):
        connection.close()
    assert connection.state is AFTER_CLOSE.get(state, state)
    assert connection.is_closing()
    assert connection.get_write_buffer_size() == 7
    assert connection._protocol.calls == []
    assert list(connection._attention) == ([connection] if state in AFTER_CLOSE else [])


def test_close_by_the_program_is_the_reason_unless_the_peer_closed_first():
    connection = make_connection(OPEN)
    connection.close()
    assert connection.close_reason is CloseReason.CLOSED
    connection = make_connection(HALF_CLOSED_REMOTE)
    connection.close_reason = CloseReason.PEER_CLOSED
    connection.close()
    assert connection.close_reason is CloseReason.PEER_CLOSED


@in_every_state
def test_write_eof_ends_our_side_once(state):
    connection = make_connection(state)
    assert connection.can_write_eof() is True
    for _ in range(3):
        connection.write_eof()
    assert connection.state is AFTER_WRITE_EOF.get(state, state)
    assert connection._protocol.calls == []


@in_every_state
def test_abort_ends_it_in_every_state_and_the_first_reason_stands(state):
    connection = make_connection(state)
    connection.abort()
    if state in (ENDED, CLOSED):
        assert connection.state is state
        assert connection.close_reason is None
    else:
        assert (connection.state, connection.close_reason) == (ENDED, CloseReason.ABORTED)
    reason = connection.close_reason
    connection._end(CloseReason.RESET, OSError("later"))
    assert connection.close_reason is reason
    assert connection._error is None
    assert connection._protocol.calls == []


def test_an_unclean_end_takes_the_place_of_a_clean_one_that_was_under_way():
    connection = make_connection()
    connection.write(b"never taken")
    connection.close()
    error = OSError("broken")
    connection._end(CloseReason.RESET, error)
    assert (connection.state, connection.close_reason, connection._error) == (ENDED, CloseReason.RESET, error)


@in_every_state
def test_is_closing_when_no_data_will_be_delivered_and_no_write_be_taken(state):
    assert make_connection(state).is_closing() is (state in ENDING)


# Reading.


@in_every_state
def test_pausing_and_resuming_reading_any_number_of_times_is_no_mistake_in_any_state(state):
    connection = make_connection(state)
    assert connection.is_reading() is (state in (OPEN, HALF_CLOSED_LOCAL))
    for _ in range(2):
        connection.pause_reading()
    assert connection.is_reading() is False
    for _ in range(2):
        connection.resume_reading()
    assert connection.is_reading() is (state in (OPEN, HALF_CLOSED_LOCAL))


# What the kernel is asked to watch.


INTEREST = {  # by (state, reading paused), without output; output adds WRITABLE | BROKEN
    (NEW, False): BROKEN,
    (OPEN, False): READABLE | BROKEN,
    (OPEN, True): PEER_FIN | BROKEN,
    (HALF_CLOSED_REMOTE, False): BROKEN,
    (HALF_CLOSED_LOCAL, False): READABLE | BROKEN,
    (HALF_CLOSED_LOCAL, True): PEER_FIN | BROKEN,
    (CLOSING, False): READABLE | BROKEN,
    (LINGERING, False): READABLE | BROKEN,
    (FLUSHING, False): BROKEN,
    (ENDED, False): 0,
    (CLOSED, False): 0,
}
OUTPUT = {"nothing": False, "one chunk": True, "a buffer": True}


@pytest.mark.parametrize(("state", "paused", "waiting"), list(itertools.product(State, [False, True], OUTPUT)))
def test_interest_is_a_function_of_the_state_alone(state, paused, waiting):
    connection = make_connection(state)
    connection._reading_paused = paused
    if waiting == "one chunk":
        connection._unsent = b"x"
    elif waiting == "a buffer":
        connection._unsent = b"xx"
        connection._put_back(connection._take_output(), 1)
    expected = INTEREST.get((state, paused), INTEREST[state, False])
    if OUTPUT[waiting] and state not in (ENDED, CLOSED):
        expected |= WRITABLE | BROKEN
    before = {name: getattr(connection, name, None) for name in connection.__slots__}
    assert wanted_interest(connection) == expected
    assert {name: getattr(connection, name, None) for name in connection.__slots__} == before


@pytest.mark.parametrize("known", [0, PEER_FIN, BROKEN, PEER_FIN | BROKEN])
def test_what_the_kernel_has_told_a_paused_reader_is_not_asked_for_again(known):
    connection = make_connection()
    connection.pause_reading()
    connection._reported = known
    assert wanted_interest(connection) == (PEER_FIN | BROKEN) & ~known
    connection.write(b"x")
    assert wanted_interest(connection) == WRITABLE | BROKEN | PEER_FIN & ~known


def test_a_reader_that_pauses_again_is_told_again():
    connection = make_connection()
    connection.pause_reading()
    connection._reported = PEER_FIN | BROKEN
    connection.resume_reading()
    assert wanted_interest(connection) == READABLE | BROKEN
    connection.pause_reading()
    assert wanted_interest(connection) == PEER_FIN | BROKEN


# Attention.


@pytest.mark.parametrize(
    "touch",
    [
        lambda connection: connection.write(b"x"),
        lambda connection: connection.writelines([b"x", b"y"]),
        lambda connection: connection.write_eof(),
        lambda connection: connection.close(),
        lambda connection: connection.abort(),
        lambda connection: connection.pause_reading(),
        lambda connection: connection.resume_reading(),
        lambda connection: connection.set_write_buffer_limits(),
    ],
    ids="write writelines write_eof close abort pause_reading resume_reading set_write_buffer_limits".split(),
)
def test_whoever_touches_a_connection_from_outside_has_it_settled_once(touch):
    connection = make_connection()
    touch(connection)
    connection.close()
    connection.abort()
    assert list(connection._attention) == [connection]


def test_in_its_own_callback_it_is_settled_anyway():
    connection = make_connection()
    connection._attended = True
    connection.write(b"x")
    connection.write(b"y")
    connection.close()
    connection.abort()
    assert not connection._attention


# The rest.


def test_the_extra_info_of_pep_3156():
    connection = make_connection()
    assert connection.get_extra_info("peername") == "peer"
    assert connection.get_extra_info("sockname") == "stub"
    assert connection.get_extra_info("socket") is connection._socket
    assert connection.get_extra_info("sslcontext") is None
    assert connection.get_extra_info("sslcontext", "default") == "default"


def test_extra_info_after_the_end_raises_nothing():
    connection = make_connection(CLOSED)
    connection._socket = None
    assert connection.get_extra_info("peername") == "peer"
    assert connection.get_extra_info("sockname", "gone") == "gone"


def test_who_has_heard_of_the_end_is_let_go_and_nobody_can_take_over():
    connection = make_connection(State.CLOSED)
    connection._protocol = None  # as the reaper leaves it
    connection.set_protocol(make_connection()._protocol)
    assert connection.get_protocol() is None


def test_the_protocol_can_hand_over():
    connection = make_connection(limits=marks(2, 1))
    first, second = connection.get_protocol(), make_connection()._protocol
    connection.set_protocol(second)
    assert connection.get_protocol() is second
    connection.writelines([b"so", b"me"])
    assert first.calls == []
    assert second.calls == [("pause_writing",)]


@in_every_state
def test_a_connection_says_what_it_is(state):
    assert repr(make_connection(state)).endswith(f" {state.label} peer=unix:peer>")


def test_a_connection_has_no_dict():
    assert not hasattr(make_connection(), "__dict__")

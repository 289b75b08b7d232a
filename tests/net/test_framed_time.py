"""A peer's time for a frame: the time of another frame, or in which no frame was wanted, does not count (R3)."""

import socket

import pytest

from reactor import CloseReason, Reactor, State
from tests import rig
from tests.net.framed import BUDGET, MUCH, Served, lines, pausing_after, stream


@pytest.fixture
def timed(descriptors_come_back):
    """A served `Framed` with a frame deadline of ten seconds, and a clock that the test moves."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(rig.DEADLINE_SECONDS)
    with Reactor(clock=rig.FakeClock()) as reactor, theirs:
        served = Served(reactor, (ours, theirs), pausing_after(b"pause"), frame_seconds=10.0)

        def pass_time(seconds):
            rig.pass_time(reactor, seconds)
            reactor.run_once(0)
            reactor.run_once(0)
            served.turn()

        served.pass_time = pass_time
        yield served


def test_a_trickle_does_not_push_back_the_frames_deadline(timed):
    for _ in range(9):
        timed.hear(b"x")
        timed.pass_time(1)
    assert timed.connection.state is State.OPEN
    timed.hear(b"x")
    timed.pass_time(1)
    timed.expect_end(CloseReason.FRAME_TIMEOUT)


def test_a_whole_frame_gives_the_next_one_its_own_time(timed):
    for _ in range(5):
        timed.hear(b"x")
        timed.pass_time(9)
        timed.hear(b"\n")
    for _ in range(5):
        timed.hear(b"\nx")
        timed.pass_time(9)
    assert timed.connection.state is State.OPEN and len(timed.frames) == 10
    timed.pass_time(1)
    timed.expect_end(CloseReason.FRAME_TIMEOUT)


def test_between_frames_there_is_no_frames_deadline(timed):
    timed.hear(b"x\n")
    timed.pass_time(60)
    assert timed.connection.state is State.OPEN


def test_a_frame_that_the_program_holds_back_is_not_the_peers_delay(timed):
    timed.hear(b"pause\nx\ny")
    timed.pass_time(60)
    assert timed.connection.state is State.OPEN
    timed.protocol.resume_frames()
    timed.turn()
    timed.pass_time(9)
    assert timed.connection.state is State.OPEN
    timed.pass_time(1)
    timed.expect_end(CloseReason.FRAME_TIMEOUT)


@pytest.mark.parametrize("paused_by", ["its reply", "a timer"])
def test_while_its_output_is_paused_the_rest_of_a_frame_is_not_the_peers_delay(timed, paused_by):
    connection = timed.connection
    if paused_by == "its reply":
        timed.protocol.reaction = lambda protocol, _frame: protocol.connection.write(MUCH)
    timed.hear(b"x\ny")
    if paused_by == "a timer":
        timed.reactor.call_soon(connection.write, MUCH)
        timed.turn()
    assert connection._writing_paused
    timed.pass_time(40)  # four times what a frame may take
    assert connection.state is State.OPEN
    timed.read(len(MUCH))
    timed.pass_time(9)
    assert connection.state is State.OPEN
    timed.pass_time(1)
    timed.expect_end(CloseReason.FRAME_TIMEOUT)


def test_a_pause_does_not_give_a_frame_its_whole_time_again(timed):
    timed.hear(b"y")
    for _ in range(2):
        timed.pass_time(4)
        timed.connection.write(MUCH)
        timed.turn()
        assert timed.connection._writing_paused
        timed.read(len(MUCH))
        timed.hear(b"z")
    timed.pass_time(1)
    assert timed.connection.state is State.OPEN
    timed.pass_time(1)
    timed.expect_end(CloseReason.FRAME_TIMEOUT)


def test_a_frame_that_is_held_behind_an_absence_has_its_whole_time_again(timed):
    timed.hear(b"y")
    timed.pass_time(4)
    timed.reactor.timers.clock.now += 5  # the loop is held up
    timed.turn()
    timed.connection.write(MUCH)
    timed.turn()
    assert timed.connection._writing_paused
    timed.read(len(MUCH))
    timed.pass_time(9)
    assert timed.connection.state is State.OPEN
    timed.pass_time(1)
    timed.expect_end(CloseReason.FRAME_TIMEOUT)


def test_after_system_exit_from_a_slow_frame_the_next_one_has_all_its_time(timed):
    def leave(_protocol, _frame):
        raise SystemExit

    timed.protocol.reaction = leave
    timed.hear(b"x")
    timed.pass_time(8)
    with pytest.raises(SystemExit):
        timed.hear(b"\ny")
    timed.turn()
    timed.pass_time(9)
    assert timed.connection.state is State.OPEN
    timed.pass_time(1)
    timed.expect_end(CloseReason.FRAME_TIMEOUT)


@pytest.mark.parametrize("held", [False, True])
def test_a_peer_that_has_ended_its_side_owes_no_rest_of_a_frame(timed, held):
    timed.protocol.frames_ended = lambda: True  # it still makes its answer
    timed.hear(b"pause\nx" if held else b"x")
    timed.peer.shutdown(socket.SHUT_WR)
    timed.turn()
    timed.protocol.resume_frames()
    timed.turn()
    timed.pass_time(60)
    assert timed.connection.state is State.HALF_CLOSED_REMOTE
    timed.connection.close()
    timed.expect_end(CloseReason.PEER_CLOSED)


def pause_and_resume(protocol, _frame):
    protocol.pause_frames()
    protocol.resume_frames()


HELD_BY = {
    "the program": (lambda protocol, _frame: protocol.pause_frames(), b""),
    "the program, for a moment": (pause_and_resume, b""),
    "its output": (lambda protocol, _frame: protocol.connection.write(MUCH), b""),
    "the budget": (None, stream(lines(2 * BUDGET))),
}


@pytest.mark.parametrize("held_by", HELD_BY)
def test_the_time_that_a_frame_had_taken_when_it_was_held_is_not_charged_to_the_next(timed, held_by):
    timed.protocol.reaction, more = HELD_BY[held_by]
    timed.hear(b"x")
    timed.pass_time(8)
    timed.hear(b"\n" + more + b"y")
    timed.protocol.reaction = None
    timed.protocol.resume_frames()
    if held_by == "its output":
        timed.read(len(MUCH))
    timed.turn()
    assert len(timed.frames) == more.count(b"\n") + 1
    timed.pass_time(9)
    assert timed.connection.state is State.OPEN
    timed.pass_time(1)
    timed.expect_end(CloseReason.FRAME_TIMEOUT)


@pytest.mark.parametrize("times", [1, 2])
def test_a_frame_that_was_held_by_a_timer_goes_on_with_the_time_that_it_had_taken_and_leaves_none_of_it(timed, times):
    timed.hear(b"y")
    timed.pass_time(6)
    for _ in range(times):
        timed.protocol.pause_frames()
        timed.pass_time(60)
        timed.protocol.resume_frames()
    timed.turn()
    timed.pass_time(3)
    assert timed.connection.state is State.OPEN
    timed.hear(b"\nz")
    timed.pass_time(9)
    assert timed.connection.state is State.OPEN
    timed.pass_time(1)
    timed.expect_end(CloseReason.FRAME_TIMEOUT)


@pytest.mark.parametrize("ended", [False, True], ids=["open", "half-closed"])
def test_a_program_that_has_ended_its_own_side_pauses_frames_and_its_peer_has_the_same_time(timed, ended):
    if ended:
        timed.connection.write_eof()
        timed.turn()
    timed.hear(b"pause\nx\ny")
    timed.pass_time(60)
    assert timed.frames == [b"pause"] and not timed.connection.is_closing()
    timed.protocol.resume_frames()
    timed.turn()
    timed.pass_time(9)
    assert timed.frames == [b"pause", b"x"] and not timed.connection.is_closing()
    timed.pass_time(1)
    timed.expect_end(CloseReason.FRAME_TIMEOUT)

"""The loop alone, without connections: descriptors that a program watches, calls, and the states of a loop."""

import socket

import pytest

from reactor.loop.loop import Loop
from reactor.loop.states import CLOSED, IDLE, NEXT, STOPPED, LoopState
from tests.rig import turn_until


@pytest.fixture
def loop(descriptors_come_back):
    with Loop() as loop:
        yield loop


@pytest.fixture
def pair(descriptors_come_back):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def test_a_reader_is_called_while_there_is_input_and_not_behind_its_removal(loop, pair):
    ours, theirs = pair
    called = []
    loop.add_reader(ours, called.append, "input")
    loop.run_once(0)
    theirs.send(b"x")
    loop.run_once(0)
    loop.run_once(0)
    assert called == ["input", "input"], "nothing was read, so it is called again"
    assert loop.remove_reader(ours) and not loop.remove_reader(ours)
    loop.run_once(0)
    assert len(called) == 2


def test_a_writer_and_a_reader_share_a_descriptor(loop, pair):
    ours, theirs = pair
    called = []
    loop.add_reader(ours, called.append, "input")
    loop.add_writer(ours, called.append, "room")
    theirs.send(b"x")
    loop.run_once(0)
    loop.run_once(0)
    assert called == ["input", "room"] * 2
    loop.remove_writer(ours)
    loop.run_once(0)
    assert called[4:] == ["input"]
    loop.remove_reader(ours)


def test_a_number_that_is_used_again_in_the_same_batch_gets_no_event_of_the_old_descriptor(loop):
    pairs = [socket.socketpair() for _ in range(2)]
    opened = []

    def replace(other):
        """Close the other one, whose event is in this batch too, and give its number to a new socket with room."""
        if not opened:
            number = other.fileno()
            loop.remove_reader(other)
            other.close()
            opened.extend(socket.socketpair())
            assert number in [each.fileno() for each in opened]
            for each in opened:
                loop.add_reader(each, called.append, each)

    called = []
    (first, first_peer), (second, second_peer) = pairs
    loop.add_reader(first, replace, second)
    loop.add_reader(second, replace, first)
    first_peer.send(b"x")
    second_peer.send(b"x")
    loop.run_once(0)
    assert opened and not called
    for each in (first, first_peer, second, second_peer, *opened):
        if each.fileno() >= 0:
            loop.remove_reader(each)
        each.close()


def test_a_second_callback_replaces_the_first(loop, pair):
    ours, theirs = pair
    called = []
    loop.add_reader(ours, called.append, 1)
    loop.add_reader(ours, called.append, 2)
    theirs.send(b"x")
    loop.run_once(0)
    assert called == [2]
    loop.remove_reader(ours)


def test_an_exception_is_counted_and_the_descriptor_watched_on(loop, pair, caplog):
    ours, theirs = pair
    loop.add_reader(ours, lambda: 1 / 0)
    theirs.send(b"x")
    loop.run_once(0)
    loop.run_once(0)
    assert loop.counters.callback_errors == 2 and "ZeroDivisionError" in caplog.text
    loop.remove_reader(ours)


@pytest.mark.parametrize("raises", [False, True], ids=["returns", "raises"])
@pytest.mark.parametrize("way", ["call_soon", "call_later", "add_reader", "add_writer"])
def test_an_exception_that_is_counted_inside_a_callback_stays_counted(loop, pair, caplog, way, raises):
    called = []

    def run_others():
        called.append(way)
        loop.counters.callback_errors += 1  # as a scheduler does that runs calls of its own
        if raises:
            raise LookupError("on purpose")

    ours, theirs = pair
    theirs.send(b"x")
    getattr(loop, way)(*{"call_soon": [], "call_later": [0]}.get(way, [ours]), run_others)
    turn_until(loop, lambda: called, "the call")
    assert loop.counters.callback_errors == 1 + raises == 1 + len(caplog.records)
    loop.remove_reader(ours)
    loop.remove_writer(ours)


def test_what_cannot_be_watched_is_refused_and_nothing_is_left(loop, pair, tmp_path):
    with open(tmp_path / "file", "w") as file, pytest.raises(OSError):
        loop.add_reader(file, print)
    with pytest.raises(TypeError, match="callable"):
        loop.add_reader(pair[0], None)
    assert not loop.remove_reader(pair[0])
    loop.close()
    with pytest.raises(RuntimeError, match="this loop is closed"):
        loop.add_writer(pair[0], print)


def test_a_stop_from_outside_is_one_iteration_and_a_close_from_inside_is_the_last(loop):
    called = []
    loop.stop()
    assert loop.state is STOPPED
    loop.call_soon(called.append, 1)
    loop.run()
    assert called == [1] and loop.state is IDLE
    loop.call_soon(loop.close)
    loop.run()
    assert loop.state is CLOSED


def test_every_state_is_in_the_table_and_a_step_that_it_lacks_is_refused(loop):
    assert set(NEXT) == set(LoopState) and not NEXT[CLOSED]
    loop.close()
    with pytest.raises(AssertionError, match="no step from CLOSED to IDLE"):
        loop._move(IDLE)

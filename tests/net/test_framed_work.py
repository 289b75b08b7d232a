"""Whole frames that were not handed over are work to do: they, and nothing else, hold the connection (E12)."""

import socket

import pytest

from reactor import CloseReason, Limits, Server, State
from reactor.net.framing import FramedProtocol
from reactor.net.splitters import PrefixedFrames
from tests.net.framed import BUDGET, MUCH, Framed, Served, lines, pausing_after, stream
from tests.net.test_framed_hand_over import Threes, heir
from tests.support import connect, receive, receive_all, socket_address


@pytest.fixture
def serve(reactor, pair):
    """`serve(protocol, **limits)` serves one connection with `protocol`."""
    return lambda protocol=None, **limits: Served(reactor, pair, protocol or Framed(), **limits)


def framed_by(splitter, **options):
    class Split(Framed):
        def make_splitter(self, most):
            return splitter(most)

    return Split(lambda protocol, frame: protocol.pause_frames())


def test_frames_behind_the_budget_hold_the_connection_until_the_last_is_handed_over(serve):
    served = serve()
    seen = []
    served.protocol.reaction = lambda protocol, _frame: seen.append(protocol.connection._holds)
    served.peer.sendall(stream(lines(3 * BUDGET)))
    while len(served.frames) < 3 * BUDGET:
        served.reactor.run_once(0)
        assert served.connection._holds == (0 < len(served.frames) < 3 * BUDGET)
    assert seen == [0] * BUDGET + [1] * 2 * BUDGET


@pytest.mark.parametrize("rest, holds", [(b"", 0), (b"ha", 0), (b"\n", 1), (b"xyz\nha", 1)])
def test_a_pause_holds_for_a_whole_frame_and_not_for_the_beginning_of_one(serve, rest, holds):
    served = serve(pausing_after(b"pause"))
    served.hear(b"pause\n" + rest)
    assert served.connection._holds == holds
    served.protocol.resume_frames()
    served.turn()
    assert served.connection._holds == 0


@pytest.mark.parametrize(
    "rest, holds", [(b"", 0), (b"\0", 0), (b"\0\2", 0), (b"\0\2x", 0), (b"\0\2xy", 1), (b"\0\0", 1), (b"\0\x0bxyz", 0)]
)
def test_a_frame_behind_its_length_holds_when_it_is_whole(serve, rest, holds):
    served = serve(framed_by(lambda most: PrefixedFrames(2, most)), frame_bytes=10)
    served.hear(b"\0\1p" + rest)
    assert served.connection._holds == holds


def test_a_line_that_is_too_long_holds_nothing(serve):
    served = serve(pausing_after(b"pause"), frame_bytes=10)
    served.hear(b"pause\n" + b"x" * 11 + b"\n")
    assert served.connection._holds == 0


def test_a_splitter_that_cannot_tell_holds_for_whatever_it_keeps(serve):
    served = serve(framed_by(lambda most: Threes()))
    served.hear(b"abcd")
    assert served.frames == [b"abc"] and served.connection._holds == 1
    served.protocol.resume_frames()
    served.turn()
    assert served.connection._holds == 0


def test_a_pause_by_its_output_holds_for_the_frames_behind_it(serve):
    served = serve(Framed(lambda protocol, frame: protocol.connection.write(MUCH)))
    served.hear(stream(lines(3)))
    assert len(served.frames) < 3 and served.connection._holds == 1
    served.read(3 * len(MUCH))
    assert len(served.frames) == 3 and served.connection._holds == 0


def test_the_end_behind_held_frames_is_work_too(serve):
    served = serve()
    holds = []
    served.protocol.frames_ended = lambda: holds.append(served.connection._holds) or True
    served.turn()
    served.protocol.pause_frames()
    served.peer.shutdown(socket.SHUT_WR)
    served.turn()
    assert served.connection._holds == 1
    served.protocol.resume_frames()
    served.turn()
    assert holds == [0] and served.connection._holds == 0


def test_pausing_again_and_again_holds_once(serve):
    served = serve(pausing_after(b"0", b"1"))
    served.hear(stream(lines(4)))
    for _ in range(3):
        served.protocol.pause_frames()
        assert served.connection._holds == 1
        served.protocol.resume_frames()
        assert served.connection._holds == 1
    served.turn()
    assert served.connection._holds == 1
    served.protocol.resume_frames()
    served.turn()
    assert served.connection._holds == 0 and served.frames == lines(4)


def test_the_programs_own_holds_are_its_own(serve):
    served = serve()

    def react(protocol, frame):
        protocol.connection.hold()
        if frame == b"0":
            protocol.pause_frames()

    served.protocol.reaction = react
    served.hear(stream(lines(2)))
    assert served.connection._holds == 2
    served.protocol.resume_frames()
    served.turn()
    assert served.connection._holds == 2
    for _ in range(2):
        served.connection.release()
    with pytest.raises(RuntimeError, match="release without hold"):
        served.connection.release()


def close(served):
    served.connection.close()


def fail(served):
    served.protocol.reaction = lambda *_: [][0]
    served.protocol.resume_frames()


def reset(served):
    served.connection.abort()


def too_large(served):
    served.protocol.resume_frames()


@pytest.mark.parametrize("way", [close, fail, reset, too_large])
def test_every_way_out_ends_the_hold(serve, way, caplog):
    served = serve(pausing_after(b"0"), frame_bytes=10)
    served.hear(stream(lines(2)) + b"x" * 12)
    assert served.connection._holds == 1
    way(served)
    served.turn()
    assert served.connection._holds == 0
    served.peer.close()
    served.turn()
    assert served.connection.state is State.CLOSED and served.connection._holds == 0


def test_system_exit_in_a_frame_leaves_the_hold_that_the_next_run_ends(serve):
    served = serve(Framed(lambda protocol, frame: frame == b"1" and (_ for _ in ()).throw(SystemExit)))
    with pytest.raises(SystemExit):
        served.hear(stream(lines(3)))
    assert served.connection._holds == 1
    served.turn()
    assert served.frames == lines(3) and served.connection._holds == 0


def test_a_hand_over_ends_the_hold(serve):
    served = serve(pausing_after(b"0"))
    served.hear(stream(lines(2)))
    assert served.connection._holds == 1
    assert heir(served.connection).calls == []
    assert served.connection._holds == 0


@pytest.mark.parametrize("answer, state", [(True, State.HALF_CLOSED_REMOTE), (None, State.CLOSED)])
def test_system_exit_in_frames_ended_closes_as_it_does_in_eof_received(serve, answer, state):
    def ended():
        if answer is None:
            raise SystemExit
        return answer

    served = serve(pausing_after(b"0"))
    served.protocol.frames_ended = ended
    served.hear(stream(lines(2)))
    served.peer.shutdown(socket.SHUT_WR)
    served.turn()
    served.protocol.resume_frames()
    if answer is None:
        with pytest.raises(SystemExit):
            served.turn()
    served.turn()
    assert served.connection.state is state
    served.connection.close()
    served.turn()
    assert served.connection.close_reason is CloseReason.PEER_CLOSED


class OneAtATime(FramedProtocol):
    """Answers each line a moment after it came, and takes the next line a moment later."""

    def frame_received(self, frame):
        self.pause_frames()
        if frame != b"stop":
            self.connection.hold()
            self.connection.reactor.call_later(0.05, self.answer, frame)

    def answer(self, frame):
        self.connection.write(frame + b"\n")
        self.connection.release()
        self.connection.reactor.call_later(0.2, self.resume_frames)  # a drain looks several times before that


def test_a_drain_waits_for_frames_that_came_whole_and_for_no_other():
    with Server(OneAtATime, bind="127.0.0.1:0", limits=Limits(drain_seconds=60, linger_seconds=60)) as server:
        address = socket_address(server.addresses[0])
        with connect(address) as busy, connect(address) as idle:
            idle.sendall(b"stop\nhalf")
            busy.sendall(stream(lines(5)))
            assert receive(busy, 2) == b"0\n"
            server.close()
            assert receive_all(idle) == b""  # long before the 60 seconds are over
            assert receive_all(busy) == stream(lines(4, 1))

"""A framed program: frames come in order, a few at a time, and wait when it pauses. An error ends its connection."""

import socket
import threading

import pytest

from reactor import CloseReason, State
from reactor.net.splitters import FrameTooLarge, PrefixedFrames
from tests import rig
from tests.net.framed import BUDGET, MUCH, Framed, Served, lines, pausing_after, stream
from tests.support import receive_all


@pytest.fixture
def serve(reactor, pair):
    """`serve(protocol, **limits)` serves one connection with `protocol`."""
    return lambda protocol=None, **limits: Served(reactor, pair, protocol or Framed(), **limits)


# In order, a few at a time.


def test_frames_come_in_order_and_without_their_delimiter(serve):
    served = serve()
    served.hear(b"one\ntwo\nth")
    assert served.frames == [b"one", b"two"]
    served.hear(b"ree\n\n")
    assert served.frames == [b"one", b"two", b"three", b""]


@pytest.mark.parametrize("sent", [b"one\n", b""], ids=["data", "the end"])
def test_a_program_that_forgets_to_keep_its_connection_is_told_so(serve, sent, caplog):
    class Forgetful(Framed):
        def connection_made(self, connection):
            pass

    served = serve(Forgetful())
    served.peer.sendall(sent)
    if not sent:
        served.peer.shutdown(socket.SHUT_WR)
    served.turn()
    (record,) = caplog.records
    assert str(record.exc_info[1]) == (
        "Forgetful has no connection: its connection_made must call super().connection_made(connection)"
    )
    assert served.connection.close_reason is CloseReason.HANDLER_ERROR


def test_a_program_can_choose_its_splitter(serve):
    class Prefixed(Framed):
        def make_splitter(self, most):
            return PrefixedFrames(2, most)

    served = serve(Prefixed(), frame_bytes=10)
    served.hear(b"\0\3one\0\0\0\3two\0\x0b")
    assert served.frames == [b"one", b"", b"two"]
    assert str(served.protocol.too_large) == "a frame of 11 bytes is longer than 10 bytes"
    assert served.peer.recv(100) == b"too large\n"
    served.peer.close()
    served.expect_end(CloseReason.FRAME_TOO_LARGE)


def test_a_flood_of_frames_in_one_segment_is_handled_a_few_in_each_turn(serve):
    served = serve()
    wanted = lines(20 * BUDGET + 3)
    served.peer.sendall(stream(wanted) + b"the rest")
    before = 0
    while before < len(wanted):
        served.reactor.run_once(0)
        assert len(served.frames) - before <= BUDGET
        before = len(served.frames)
    served.hear(b" of it\n")
    assert served.frames == [*wanted, b"the rest of it"]


def test_others_are_served_in_every_turn_of_a_flood(serve, reactor):
    ours, other = socket.socketpair()
    echo = rig.Recorder(data_received=lambda recorder, data: recorder.connection.write(data))
    rig.adopt(reactor, ours, echo)
    served = serve()
    served.peer.sendall(stream(lines(20 * BUDGET)))
    with other:
        other.settimeout(rig.DEADLINE_SECONDS)
        while not served.frames:
            reactor.run_once(0)
        for _ in range(3):
            other.sendall(b"x")
            for _ in range(2):  # it may be too late for the first turn
                reactor.run_once(0)
            assert other.recv(1) == b"x"
        assert len(served.frames) <= 8 * BUDGET
    served.turn()
    assert served.frames == lines(20 * BUDGET)


def test_a_burst_of_exactly_the_budget_leaves_reading_on(serve):
    served = serve()
    for start in range(0, 5 * BUDGET, BUDGET):
        served.hear(stream(lines(BUDGET, start)))
    assert served.frames == lines(5 * BUDGET)
    assert served.connection.is_reading()


def test_no_more_is_read_while_frames_are_waiting(serve):
    served = serve()
    served.peer.sendall(stream(lines(3 * BUDGET)))
    while not served.frames:
        served.reactor.run_once(0)
    assert not served.connection.is_reading()
    served.turn()
    assert served.connection.is_reading()


# The program's brakes.


def test_a_pause_inside_a_frame_holds_back_the_next(serve):
    served = serve(pausing_after(b"2", b"4"))
    served.hear(stream(lines(8)))
    assert served.frames == lines(3)
    served.hear(stream(lines(2, 8)))
    assert served.frames == lines(3)
    for count in (5, 10):
        served.protocol.resume_frames()
        served.turn()
        assert served.frames == lines(count)
    assert served.connection.is_reading()


def test_a_pause_at_the_last_frame_of_a_segment_holds_back_the_next_segment(serve):
    served = serve(pausing_after(b"2"))
    served.hear(stream(lines(3)))
    served.hear(stream(lines(3, 3)))
    assert served.frames == lines(3)
    served.protocol.resume_frames()
    served.turn()
    assert served.frames == lines(6)


def test_pausing_and_resuming_again_does_nothing(serve):
    served = serve()
    for _ in range(2):
        served.protocol.resume_frames()
        served.hear(b"a\n")
    for _ in range(2):
        served.protocol.pause_frames()
    served.hear(b"b\n")
    assert served.frames == [b"a", b"a"]
    for _ in range(2):
        served.protocol.resume_frames()
    served.turn()
    assert served.frames == [b"a", b"a", b"b"]


def test_a_pause_right_after_a_resume_holds(serve):
    served = serve(pausing_after(b"0"))
    served.hear(stream(lines(3)))
    served.protocol.resume_frames()
    served.protocol.pause_frames()
    served.turn()
    assert served.frames == lines(1)


def test_a_peer_that_does_not_read_its_replies_gets_no_more_of_them(serve):
    served = serve(Framed(lambda protocol, frame: protocol.connection.write(MUCH)))
    served.hear(stream(lines(5)))
    assert len(served.frames) < 5
    served.read(5 * len(MUCH))
    assert served.frames == lines(5)


@pytest.mark.parametrize("paused_first", ["by the program", "by its output"])
def test_the_programs_pause_and_that_of_its_output_are_two(serve, paused_first):
    served = serve()
    served.turn()
    connection, protocol = served.connection, served.protocol
    if paused_first == "by the program":
        protocol.pause_frames()
    connection.write(MUCH)
    if paused_first == "by its output":
        protocol.pause_frames()
    served.hear(b"a\n")
    served.read(len(MUCH))
    assert not connection._writing_paused
    assert served.frames == [], "the program's own pause ended with that of its output"
    protocol.resume_frames()
    served.turn()
    assert served.frames == [b"a"]


def test_a_program_cannot_resume_while_its_output_is_paused(serve):
    served = serve()
    served.turn()
    served.connection.write(MUCH)
    served.turn()
    served.hear(b"a\n")
    served.protocol.resume_frames()
    served.turn()
    assert served.frames == []
    served.read(len(MUCH))
    assert served.frames == [b"a"]


# Ends.


@pytest.mark.parametrize("number", [0, BUDGET, 2 * BUDGET + 1])
@pytest.mark.parametrize("end, reason", [("close", CloseReason.CLOSED), ("abort", CloseReason.ABORTED)])
def test_no_frame_comes_after_the_end(serve, end, reason, number):
    last = b"%d" % number
    served = serve(Framed(lambda protocol, frame: getattr(protocol.connection, end)() if frame == last else None))
    served.hear(stream(lines(5 * BUDGET)))
    served.peer.close()
    served.expect_end(reason)
    assert served.frames == lines(number + 1)


@pytest.mark.parametrize("number", [0, BUDGET, 2 * BUDGET + 1])
def test_an_exception_ends_its_connection_however_late_in_a_segment(serve, number, caplog):
    def react(protocol, frame):
        if frame == b"%d" % number:
            raise LookupError("on purpose")

    served = serve(Framed(react))
    served.hear(stream(lines(5 * BUDGET)))
    served.expect_end(CloseReason.HANDLER_ERROR)
    assert served.frames == lines(number + 1)
    assert isinstance(served.protocol.ended[0], LookupError)
    (record,) = (record for record in caplog.records if record.exc_info)
    assert record.exc_info[0] is LookupError


@pytest.mark.parametrize("count", [1, BUDGET, BUDGET + 1, 5 * BUDGET])
def test_frames_in_front_of_the_peers_end_all_come(serve, count):
    served = serve()
    served.peer.sendall(stream(lines(count)))
    served.peer.shutdown(socket.SHUT_WR)
    served.expect_end(CloseReason.PEER_CLOSED)
    assert served.frames == lines(count)


def test_frames_that_were_paused_come_after_the_peers_end_too_and_can_be_answered(serve):
    def react(protocol, frame):
        protocol.connection.write(frame + b"\n")
        if frame == b"1":
            protocol.pause_frames()

    served = serve(Framed(react))
    served.peer.sendall(stream(lines(3 * BUDGET)))
    served.peer.shutdown(socket.SHUT_WR)
    served.turn()
    assert served.frames == lines(2)
    served.protocol.resume_frames()
    served.expect_end(CloseReason.PEER_CLOSED)
    assert served.frames == lines(3 * BUDGET)
    assert receive_all(served.peer) == stream(lines(3 * BUDGET))


@pytest.mark.parametrize("in_front", [0, 1, 3 * BUDGET])
def test_a_frame_that_is_too_large_is_told_of_and_the_peer_can_be_too(serve, in_front):
    served = serve(frame_bytes=100)
    served.peer.sendall(stream(lines(in_front)) + b"x" * 102)
    served.turn()
    assert served.peer.recv(100) == b"too large\n"
    assert served.peer.recv(100) == b""
    served.peer.close()
    served.expect_end(CloseReason.FRAME_TOO_LARGE)
    assert served.frames == lines(in_front)
    assert isinstance(served.protocol.too_large, FrameTooLarge)
    assert served.protocol.ended == [served.protocol.too_large]


# What is kept.


def test_what_is_kept_for_a_frame_is_accounted_for(serve):
    served = serve(pausing_after(b"pause"))
    counters = served.reactor.counters
    for data, kept in [(b"abc", 3), (b"def", 6), (b"\ngh", 2), (b"\n", 0), (b"pause\nab\ncd", 5)]:
        served.hear(data)
        assert counters.buffered_bytes == kept
    served.protocol.resume_frames()
    served.turn()
    assert counters.buffered_bytes == 2
    served.peer.close()
    served.expect_end(CloseReason.PEER_CLOSED)


def test_a_frame_that_is_too_large_is_accounted_for_until_its_connection_is_gone(serve):
    served = serve(frame_bytes=100)
    counted = []
    served.protocol.frame_too_large = lambda error: counted.append(served.reactor.counters.buffered_bytes)
    served.hear(b"x" * 102)
    assert counted == [102]
    served.peer.close()
    served.expect_end(CloseReason.FRAME_TOO_LARGE)


@pytest.mark.parametrize("number", [1, BUDGET + 1])
def test_after_system_exit_from_a_frame_the_next_run_goes_on_with_the_one_behind_it(serve, number):
    def react(_protocol, frame):
        if frame == b"%d" % number:
            raise SystemExit

    served = serve(Framed(react))
    with pytest.raises(SystemExit):
        served.hear(stream(lines(3 * BUDGET)))
    served.turn()
    assert served.frames == lines(3 * BUDGET)
    served.hear(b"more\n")
    assert served.frames[-1] == b"more" and served.reactor.counters.buffered_bytes == 0


def test_frames_behind_the_budget_are_handed_over_though_both_sides_have_ended(serve):
    served = serve()
    told = []
    served.protocol.frames_ended = lambda: told.append("ended")
    served.connection.write_eof()
    served.turn()
    served.peer.sendall(stream(lines(3 * BUDGET + 2)))
    served.peer.shutdown(socket.SHUT_WR)
    served.expect_end(CloseReason.PEER_CLOSED)
    assert served.frames == lines(3 * BUDGET + 2) and told == ["ended"]


@pytest.mark.parametrize("way", ["pause_frames", "abort"])
def test_when_both_sides_have_ended_no_frame_comes_behind_a_pause_or_an_abort(serve, way):
    at, told = 2 * BUDGET, []

    def react(protocol, frame):
        if frame == b"%d" % at:
            (protocol.pause_frames if way == "pause_frames" else protocol.connection.abort)()

    served = serve(Framed(react))
    served.protocol.frames_ended = lambda: told.append("ended")
    served.connection.write_eof()
    served.turn()
    served.peer.sendall(stream(lines(3 * BUDGET)))
    served.peer.shutdown(socket.SHUT_WR)
    served.turn()
    assert served.frames == lines(at + 1) and told == []
    assert served.connection.state is State.CLOSED and served.reactor.counters.buffered_bytes == 0


def test_when_both_sides_have_ended_a_frame_that_is_too_large_is_told_of(serve):
    served = serve(frame_bytes=100)
    told, errors = [], []
    served.protocol.frames_ended = lambda: told.append("ended")
    served.protocol.frame_too_large = errors.append
    served.connection.write_eof()
    served.turn()
    served.peer.sendall(stream(lines(2 * BUDGET)) + b"x" * 102 + b"\nno more\n")
    served.peer.shutdown(socket.SHUT_WR)
    served.expect_end(CloseReason.PEER_CLOSED)
    assert served.frames == lines(2 * BUDGET) and told == []
    assert [str(error) for error in errors] == ["a frame is longer than 100 bytes"]


@pytest.mark.parametrize("held", [False, True])
def test_the_end_is_told_once_however_often_its_output_is_paused(serve, held):
    told = []

    def answer():
        told.append("ended")
        served.connection.write(MUCH)
        return True

    served = serve()
    served.protocol.frames_ended = answer
    if held:
        served.protocol.pause_frames()
    served.hear(b"a\n")
    served.peer.shutdown(socket.SHUT_WR)
    served.turn()
    served.protocol.resume_frames()
    served.turn()
    served.read(len(MUCH))
    assert told == ["ended"] and served.frames == [b"a"]
    served.connection.close()
    served.expect_end(CloseReason.PEER_CLOSED)


def test_a_program_may_use_the_names_that_come_to_mind(serve):
    """Programs derive from it, so its own inner names must not be theirs."""
    inner = "state paused more spent busy frames begin move wanted deliver end hold go_on note_work".split()

    class Program(Framed):
        def __init__(self):
            super().__init__()
            for name in inner:
                setattr(self, f"_{name}", None)

    served = serve(Program())
    served.hear(stream(lines(3 * BUDGET)))
    served.protocol.pause_frames()
    served.protocol.resume_frames()
    served.peer.shutdown(socket.SHUT_WR)
    served.expect_end(CloseReason.PEER_CLOSED)
    assert served.frames == lines(3 * BUDGET)


@pytest.mark.parametrize("paused", [False, True])
def test_another_thread_that_pauses_or_resumes_frames_is_refused_and_changes_nothing(serve, paused):
    served = serve()
    if paused:
        served.protocol.pause_frames()
    raised = []

    def call():
        for method in (served.protocol.pause_frames, served.protocol.resume_frames):
            try:
                method()
            except RuntimeError as exc:
                raised.append(exc)

    def from_outside():
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()

    served.reactor.call_soon(from_outside)
    served.turn()
    assert len(raised) == 2
    served.hear(b"one\n")
    assert served.frames == ([] if paused else [b"one"])
    served.protocol.resume_frames()
    served.turn()
    assert served.frames == [b"one"]

"""A framed program hands its connection over: the batch stops, and the next protocol gets all unused bytes."""

import socket

import pytest

from reactor import CloseReason, Protocol, Reactor, State
from reactor.net.splitters import DelimitedFrames
from tests import rig
from tests.net.framed import BUDGET, MUCH, Framed, Served, lines, pausing_after, stream


@pytest.fixture
def serve(reactor, pair):
    """`serve(protocol, **limits)` serves one connection with `protocol`."""
    return lambda protocol=None, **limits: Served(reactor, pair, protocol or Framed(), **limits)


def heir(connection, **reactions):
    """A recorder that takes the connection over."""
    recorder = rig.Recorder(**reactions)
    recorder.connection = connection
    connection.set_protocol(recorder)
    return recorder


def handing_over_at(*frames, heirs, **reactions):
    return Framed(lambda protocol, frame: frame in frames and heirs.append(heir(protocol.connection, **reactions)))


@pytest.mark.parametrize("at", [0, 1, BUDGET - 1, BUDGET, BUDGET + 1, 3 * BUDGET - 1])
def test_the_batch_stops_and_the_rest_goes_to_the_other_in_order(serve, at):
    heirs = []
    served = serve(handing_over_at(b"%d" % at, heirs=heirs))
    frames = lines(3 * BUDGET)
    served.hear(stream(frames) + b"half a fr")
    served.hear(b"ame\n")
    assert served.frames == frames[: at + 1]
    assert heirs[0].received == stream(frames[at + 1 :]) + b"half a frame\n"
    assert served.connection.is_reading() and served.reactor.counters.buffered_bytes == 0


def test_what_is_newer_comes_behind_it_when_a_timer_hands_over(serve):
    served = serve(Framed())
    served.hear(b"one\ntw")
    served.peer.sendall(b"o\n")
    recorder = heir(served.connection)
    served.turn()
    assert recorder.received == b"two\n" and served.frames == [b"one"]


def test_the_deadline_and_the_account_of_the_unfinished_frame_end(descriptors_come_back):
    ours, theirs = socket.socketpair()
    theirs.settimeout(rig.DEADLINE_SECONDS)
    with Reactor(clock=rig.FakeClock()) as reactor, theirs:
        served = Served(reactor, (ours, theirs), Framed(), frame_seconds=10.0)
        served.hear(b"half")
        recorder = heir(served.connection)
        served.turn()
        reactor.timers.clock.now += 20
        served.turn()
        assert served.connection.state is State.OPEN and recorder.received == b"half"
        assert reactor.counters.buffered_bytes == 0


@pytest.mark.parametrize("held_by", ["the program", "its output", "the budget"])
def test_held_frames_go_to_the_other_and_the_old_one_is_out_of_the_game(serve, held_by):
    served = serve(pausing_after(b"0") if held_by == "the program" else Framed())
    connection, old = served.connection, served.protocol
    served.turn()
    if held_by == "its output":
        connection.write(MUCH)
        served.turn()
    served.peer.sendall(stream(lines(3 * BUDGET)))
    while held_by != "its output" and not served.frames:
        served.reactor.run_once(0)
    taken = len(served.frames)
    recorder = heir(connection)
    old.resume_frames()
    old.pause_frames()
    served.turn()
    served.hear(b"more\n")
    assert len(served.frames) == taken
    assert recorder.received == stream(lines(3 * BUDGET - taken, taken)) + b"more\n"
    assert recorder.names[0] == ("pause_writing" if held_by == "its output" else "data_received")
    assert connection._holds == 0


@pytest.mark.parametrize(
    "when", ["before the end", "in frames_ended", "in frames_ended, late", "in call_soon behind it", "while paused"]
)
def test_an_end_that_was_received_reaches_the_other_behind_the_rest(serve, when):
    heirs = []
    served = serve(pausing_after(b"1") if when in ("while paused", "in frames_ended, late") else Framed())

    def hand_over():
        heirs.append(heir(served.connection, eof_received=lambda recorder: recorder.connection.write(b"bye")))

    def ended():
        if when.startswith("in frames_ended"):
            hand_over()
        elif when == "in call_soon behind it":
            served.reactor.call_soon(hand_over)
            return True

    served.protocol.frames_ended = ended
    if when == "before the end":
        served.protocol.reaction = lambda protocol, frame: frame == b"1" and hand_over()
    served.peer.sendall(b"0\n1\nhalf")
    served.peer.shutdown(socket.SHUT_WR)
    served.turn()
    if when == "while paused":
        hand_over()
    served.protocol.resume_frames()
    served.turn()
    assert served.frames == [b"0", b"1"]
    assert heirs[0].received == b"half" and heirs[0].names == ["data_received", "eof_received", "connection_lost"]
    assert served.peer.recv(10) == b"bye"
    assert served.connection.close_reason is CloseReason.PEER_CLOSED


@pytest.mark.parametrize("at", [b"1", None])
def test_when_both_sides_have_ended_the_rest_still_reaches_the_other(serve, at):
    heirs = []
    served = serve(handing_over_at(at, heirs=heirs))
    served.protocol.frames_ended = lambda: heirs.append(heir(served.connection))
    served.connection.write_eof()
    served.turn()
    served.peer.sendall(stream(lines(3 * BUDGET)) + b"half")
    served.peer.shutdown(socket.SHUT_WR)
    served.turn()
    expected = stream(lines(3 * BUDGET - 2, 2)) if at else b""
    assert [each.received for each in heirs] == [expected + b"half"]
    assert heirs[0].names == ["data_received", "eof_received", "connection_lost"]


def test_the_other_can_pause_reading_at_once(serve):
    heirs = []

    def react(protocol, _frame):
        protocol.pause_frames()
        protocol.resume_frames()  # it waits for its next turn
        heirs.append(heir(protocol.connection))
        protocol.connection.pause_reading()

    served = serve(Framed(react))
    served.hear(stream(lines(3)))
    assert heirs[0].calls == [] and not served.connection.is_reading()
    served.connection.resume_reading()
    served.turn()
    assert heirs[0].received == b"1\n2\n"


@pytest.mark.parametrize("introduced", ["before", "after"])
def test_from_frames_to_frames(serve, introduced):
    second = Framed()

    def react(protocol, frame):
        if frame == b"1":
            if introduced == "before":
                second.connection_made(protocol.connection)
            protocol.connection.set_protocol(second)
            if introduced == "after":
                second.connection_made(protocol.connection)

    served = serve(Framed(react))
    frames = lines(5 * BUDGET)
    served.peer.sendall(stream(frames))
    before = 0
    while len(second.frames) < len(frames) - 2:
        served.reactor.run_once(0)
        assert len(second.frames) - before <= BUDGET
        before = len(second.frames)
    served.peer.shutdown(socket.SHUT_WR)
    served.turn()
    assert served.frames == frames[:2] and second.frames == frames[2:]
    assert second.ended == [None] and served.protocol.ended == []


def test_twice_in_one_frame_the_last_one_gets_it(serve):
    heirs = []

    def react(protocol, frame):
        second = Framed()
        second.connection_made(protocol.connection)
        protocol.connection.set_protocol(second)
        protocol.connection.set_protocol(Framed())  # this one never gets `connection_made`
        heirs.extend([second, heir(protocol.connection)])

    served = serve(Framed(react))
    served.hear(b"go\nthe rest\n")
    assert served.frames == [b"go"] and heirs[0].frames == [] and heirs[1].received == b"the rest\n"


def test_a_connection_can_come_back(serve):
    class Four(Protocol):
        """Takes four bytes, and gives the connection back with the bytes after them."""

        def __init__(self, before):
            self.before, self.taken = before, b""

        def data_received(self, data):
            self.taken += data
            if len(self.taken) >= 4:
                raw.append(self.taken[:4])
                self.before.connection.set_protocol(self.before)
                if len(self.taken) > 4:
                    self.before.data_received(self.taken[4:])

    raw = []
    served = serve(Framed(lambda protocol, frame: frame == b"raw" and protocol.connection.set_protocol(Four(protocol))))
    served.hear(b"a\nraw\n\n\n\n\nb\nraw\nfo")
    assert served.frames == [b"a", b"raw", b"b", b"raw"]
    served.hear(b"ur")
    served.protocol.pause_frames()
    served.hear(b"c\n")
    served.protocol.resume_frames()
    served.turn()
    assert served.frames[4:] == [b"c"] and raw == [b"\n\n\n\n", b"four"]
    assert served.connection.is_reading() and served.connection._holds == 0


def given_back(serve):
    """A framed program whose connection was handed over, and was given back before anything came."""
    served = serve()
    heir(served.connection)
    served.connection.set_protocol(served.protocol)
    served.turn()
    return served


def test_a_connection_that_came_back_ends_with_its_peer(serve):
    served, told = given_back(serve), []
    served.protocol.frames_ended = lambda: told.append("ended")
    served.peer.shutdown(socket.SHUT_WR)
    served.expect_end(CloseReason.PEER_CLOSED)
    assert told == ["ended"]


def test_a_connection_that_came_back_gets_no_frame_while_its_output_waits(serve):
    served = given_back(serve)
    served.connection.write(MUCH)
    served.turn()
    served.hear(b"one\n")
    assert served.frames == [] and not served.connection.is_reading()
    served.read(len(MUCH))
    assert served.frames == [b"one"]


@pytest.mark.parametrize("end", ["close", "abort"])
@pytest.mark.parametrize("order", ["end first", "end last"])
def test_after_the_end_the_other_hears_of_that_alone(serve, end, order):
    heirs = []

    def react(protocol, _frame):
        for step in ("end", "hand over") if order == "end first" else ("hand over", "end"):
            if step == "end":
                getattr(protocol.connection, end)()
            else:
                heirs.append(heir(protocol.connection))

    served = serve(Framed(react))
    served.hear(stream(lines(3)) + b"half")
    served.peer.close()
    served.turn()
    assert heirs[0].names == ["connection_lost"] and served.frames == [b"0"]
    assert served.reactor.counters.buffered_bytes == 0


def test_an_exception_behind_the_hand_over_ends_the_connection_and_the_other_is_told(serve):
    heirs = []

    def react(protocol, _frame):
        heirs.append(heir(protocol.connection))
        raise LookupError("on purpose")

    served = serve(Framed(react))
    served.hear(stream(lines(3)))
    assert heirs[0].names == ["connection_lost"] and served.protocol.ended == []
    assert served.connection.close_reason is CloseReason.HANDLER_ERROR


@pytest.mark.parametrize("number", [0, BUDGET + 1])
def test_after_system_exit_behind_the_hand_over_the_next_run_tells_the_rest(serve, number):
    heirs = []

    def react(protocol, frame):
        if frame == b"%d" % number:
            heirs.append(heir(protocol.connection))
            raise SystemExit

    served = serve(Framed(react))
    with pytest.raises(SystemExit):
        served.hear(stream(lines(3 * BUDGET)))
    served.turn()
    assert heirs[0].received == stream(lines(3 * BUDGET - number - 1, number + 1))


class Threes:
    """A splitter with only the three methods that it needs."""

    def __init__(self):
        self.data = b""

    def feed(self, data):
        self.data += data

    def next_frame(self):
        if len(self.data) < 3:
            return None
        frame, self.data = self.data[:3], self.data[3:]
        return frame

    def waiting(self):
        return len(self.data)


def test_a_splitter_that_cannot_give_up_what_it_keeps_is_told_so_and_nothing_is_lost(serve):
    class Split(Framed):
        def make_splitter(self, most):
            return Threes()

    served = serve(Split())
    served.hear(b"abcd")
    with pytest.raises(AttributeError, match="'Threes' object has no attribute 'take_rest'"):
        heir(served.connection)
    served.hear(b"ef")
    assert served.frames == [b"abc", b"def"]
    recorder = heir(served.connection)
    served.hear(b"g")
    assert recorder.received == b"g"


def test_a_splitter_that_hands_over_once_more_breaks_nothing(serve):
    """`take_rest` is the program's own code, and may do anything."""
    others = [rig.Recorder(), rig.Recorder()]

    class Restless(DelimitedFrames):
        def take_rest(self):
            rest = super().take_rest()
            served.connection.set_protocol(others[0])
            return rest

    program = Framed()
    program.make_splitter = lambda most: Restless(b"\n", most)
    served = serve(program)
    served.hear(b"half a line")
    served.connection.set_protocol(others[1])
    served.hear(b" and more")
    assert served.connection.state is State.OPEN
    told = [("data_received", b"half a line"), ("data_received", b" and more")]
    assert (others[0].calls, others[1].calls) == ([], told)


def test_a_turn_that_was_queued_before_leaves_the_other_alone(serve):
    other = Framed()

    def hand_over(protocol, frame):
        protocol.pause_frames()
        protocol.resume_frames()  # this queues a turn
        other.connection_made(protocol.connection)
        protocol.connection.set_protocol(other)

    served = serve(Framed(hand_over))
    served.hear(b"go\nhalf a line")
    assert other.frames == [] and served.connection._kept_bytes == len(b"half a line")
    assert served.connection._frame_since > 0, "the rest of the line has a deadline"

"""`Drain`: which connections it closes, waits for (and how long) and cuts. Time passes only when a test says so."""

import socket
import threading

import pytest

from reactor import CloseReason, Reactor, State
from reactor.connections import socket_options
from reactor.connections.limits import Limits
from reactor.connections.socket_options import undelivered_bytes, unread_bytes
from reactor.loop.states import LAST, STOPPED
from reactor.service.drain import DRAIN_LINGER_SECONDS, Drain
from tests.rig import DEADLINE_SECONDS, FakeClock, Recorder, adopt, call, tcp_pair, turn_until, turn_until_idle, write
from tests.support import receive_all, wait_until

DRAIN_SECONDS = 30.0
BIG = bytes(16 << 20)  # far more than the kernel takes
NARROW_BYTES = 4096


class Rig:
    """A reactor with a clock that the test moves, and the peers of its connections."""

    def __init__(self, limits=None):
        self.clock = FakeClock()
        self.reactor = Reactor(clock=self.clock, limits=limits)
        self.drain = Drain(self.reactor, DRAIN_SECONDS)
        self.sockets = []

    def connect(self, pair=tcp_pair, accepted=True, **reactions):
        """A connection (accepted, unless `accepted` is false), its recorder, and its peer's socket."""
        ours, theirs = pair()
        self.sockets.append(theirs)
        recorder = Recorder(**reactions)
        connection = adopt(self.reactor, ours, recorder)
        if accepted:
            self.reactor.dispatcher.admission.enter("peer", self.reactor.limits)
            connection._admitted_from = "peer"
        return connection, recorder, theirs

    def turn(self):
        """Let the loop do all that it can do at this time."""
        turn_until_idle(self.reactor)

    def pass_time(self, seconds):
        """Let `seconds` pass, in steps that are shorter than the drain's."""
        for _ in range(round(seconds / 0.04)):
            self.clock.now += 0.04
            self.reactor.run_once(0)
        self.turn()

    @property
    def stopped(self):
        """Whether the drain has stopped the loop."""
        return self.reactor.state in LAST or self.reactor.state is STOPPED

    def close(self):
        """Close everything."""
        self.reactor.close()
        for sock in self.sockets:
            sock.close()


@pytest.fixture
def rig():
    rig = Rig()
    yield rig
    rig.close()


def narrow_pair():
    """Two connected sockets. The peer has a small buffer, so what it does not read stays in our kernel."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW_BYTES)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
    theirs.settimeout(20)
    return ours, theirs


def lingering(rig, pair=narrow_pair):
    """A connection that its program has closed. The kernel has taken its whole reply, and cannot deliver it."""
    connection, recorder, theirs = rig.connect(pair, data_received=lambda recorder, _: recorder.connection.close())
    connection.write(bytes(100_000))
    rig.turn()
    assert not connection.has_output()
    theirs.sendall(b"?")
    turn_until(rig.reactor, lambda: connection.state is State.LINGERING, "our FIN")
    return connection, recorder, theirs


# What is closed at once.


def test_an_idle_connection_is_closed_at_once(rig):
    connection, recorder, theirs = rig.connect()
    rig.drain.begin()
    rig.turn()
    assert theirs.recv(1) == b""
    theirs.close()
    turn_until(rig.reactor, lambda: recorder.lost, "its end")
    assert connection.close_reason is CloseReason.CLOSED
    assert not rig.stopped
    rig.pass_time(0.1)
    assert rig.stopped
    assert rig.drain.finish() == 0


def test_without_connections_it_stops_the_loop_at_once(rig):
    rig.drain.begin()
    assert rig.stopped


def test_to_begin_again_changes_nothing(rig):
    rig.connect(connection_made=call("hold"))
    assert not rig.drain.begun
    rig.drain.begin()
    assert rig.drain.begun
    rig.pass_time(DRAIN_SECONDS / 2)
    rig.drain.begin()
    rig.pass_time(DRAIN_SECONDS / 2 + 1)
    assert rig.stopped


def test_a_reply_under_way_is_completed(rig):
    connection, recorder, theirs = rig.connect(connection_made=write(BIG))
    rig.drain.begin()
    rig.pass_time(5)
    assert connection.state is State.OPEN
    received = bytearray()

    def read():
        theirs.setblocking(False)
        try:
            received.extend(theirs.recv(1 << 20))
        except BlockingIOError:
            pass
        rig.clock.now += 0.01
        return len(received) == len(BIG)

    def ended():
        rig.clock.now += 0.01
        return connection.state is State.LINGERING

    turn_until(rig.reactor, read, "all of the reply")
    turn_until(rig.reactor, ended, "our own end")  # our side first: the drain looks at it from time to time
    theirs.close()
    turn_until(rig.reactor, lambda: recorder.lost, "its end")
    assert connection.close_reason is CloseReason.CLOSED
    assert rig.drain.finish() == 0


# Lingering.


def test_a_connection_lingers_for_its_time_from_its_own_fin(rig):
    early, _, _ = rig.connect()
    late, _, _ = rig.connect(connection_made=call("hold"))
    rig.drain.begin()
    rig.pass_time(DRAIN_LINGER_SECONDS - 0.2)
    assert early.state is State.LINGERING
    late.release()
    rig.pass_time(0.4)
    assert early.close_reason is CloseReason.LINGER_TIMEOUT
    assert early.state is State.CLOSED
    assert late.state is State.LINGERING
    rig.pass_time(DRAIN_LINGER_SECONDS - 0.5)
    assert late.state is State.LINGERING
    rig.pass_time(0.4)
    assert late.close_reason is CloseReason.LINGER_TIMEOUT
    assert rig.drain.finish() == 0


def test_a_drain_that_begins_when_the_process_was_stopped_has_the_kernel_asked_first(rig):
    connection, _, theirs = rig.connect()
    connection.close()
    rig.turn()
    assert connection.state is State.LINGERING
    theirs.close()
    rig.clock.now += DRAIN_LINGER_SECONDS + 1
    rig.reactor.call_soon(rig.drain.begin)
    rig.turn()
    assert connection.close_reason is CloseReason.CLOSED


@pytest.mark.parametrize("pair", [narrow_pair, socket.socketpair])
def test_while_the_kernel_has_something_to_deliver_the_time_has_not_begun(rig, pair):
    connection, recorder, theirs = lingering(rig, pair)
    rig.drain.begin()
    longer = rig.reactor.limits.linger_seconds + DRAIN_LINGER_SECONDS
    assert longer < DRAIN_SECONDS
    for _ in range(round(longer / 0.5)):
        theirs.send(b"still here")  # if the socket were closed, the answer would be a reset
        rig.pass_time(0.5)
    assert connection.state is State.LINGERING
    assert len(receive_all(theirs)) == 100_000
    wait_until(lambda: undelivered_bytes(connection._socket) == 0, "the acknowledgement of our FIN")
    rig.pass_time(DRAIN_LINGER_SECONDS - 0.2)
    assert connection.state is State.LINGERING
    rig.pass_time(0.4)
    assert recorder.lost
    assert connection.close_reason is CloseReason.LINGER_TIMEOUT
    assert rig.drain.finish() == 0


def test_what_the_kernel_could_not_deliver_by_the_deadline_is_cut_and_seen(rig):
    connection, recorder, theirs = lingering(rig)
    rig.drain.begin()
    rig.pass_time(DRAIN_SECONDS - 1)
    assert connection.state is State.LINGERING
    rig.pass_time(1.1)
    assert recorder.lost
    assert connection.close_reason is CloseReason.DRAIN_TIMEOUT
    assert str(recorder.calls[-1][1]) == "not finished within the 30 seconds of a drain"
    with pytest.raises(ConnectionResetError):
        receive_all(theirs)
    assert rig.stopped
    assert rig.drain.finish() == 1


def test_a_fin_that_nobody_acknowledges_is_owed_to_nobody(rig, monkeypatch):
    connection, recorder, _ = rig.connect()
    monkeypatch.setattr(socket_options, "undelivered_bytes", lambda sock: int(connection._fin_sent))
    rig.drain.begin()
    rig.pass_time(DRAIN_LINGER_SECONDS + 0.2)
    assert connection.close_reason is CloseReason.LINGER_TIMEOUT
    assert rig.drain.finish() == 0


def test_where_the_kernel_cannot_tell_it_lingers_as_long_as_in_service(monkeypatch):
    monkeypatch.setattr(socket_options, "undelivered_bytes", lambda sock: None)
    rig = Rig(Limits(linger_seconds=7.0))
    connection, recorder, _ = rig.connect()
    rig.drain.begin()
    rig.pass_time(6.5)
    assert connection.state is State.LINGERING
    rig.pass_time(1)
    assert recorder.lost
    rig.close()


# Replies that come later.


def test_a_held_connection_is_waited_for_until_it_is_released(rig):
    connection, recorder, theirs = rig.connect(connection_made=call("hold"))
    rig.drain.begin()
    rig.pass_time(DRAIN_SECONDS / 2)
    assert connection.state is State.OPEN
    connection.write(b"late")
    connection.release()
    rig.pass_time(0.1)
    assert receive_all(theirs) == b"late"
    assert connection.state is State.LINGERING


def test_a_held_connection_is_cut_at_the_deadline_and_its_peer_can_tell(rig):
    connection, recorder, theirs = rig.connect(connection_made=call("hold"))
    rig.drain.begin()
    rig.pass_time(DRAIN_SECONDS + 0.1)
    assert connection.close_reason is CloseReason.DRAIN_TIMEOUT
    with pytest.raises(ConnectionResetError):
        theirs.recv(1)
    assert rig.drain.finish() == 1


def test_a_connection_that_its_program_has_closed_is_not_held(rig):
    connection, recorder, theirs = rig.connect(connection_made=call("hold"))
    connection.close()
    connection.hold()
    rig.turn()
    assert connection.state is State.LINGERING
    assert rig.drain.finish() == 0


def test_a_connection_that_we_opened_is_kept_for_as_long_as_an_answer_is_to_come(rig):
    front, _, _ = rig.connect(connection_made=call("hold"))
    upstream, recorder, theirs = rig.connect(accepted=False)
    rig.drain.begin()
    rig.pass_time(5)
    assert upstream.state is State.OPEN
    theirs.sendall(b"what was asked for")
    turn_until(rig.reactor, lambda: recorder.received, "the answer of the other server")
    front.release()
    rig.pass_time(0.1)
    assert front.state is upstream.state is State.LINGERING


# Answers that a thread works on.


@pytest.fixture
def gate():
    """A function for a thread may wait for this event."""
    gate = threading.Event()
    yield gate
    gate.set()


def test_while_a_thread_works_on_an_answer_every_connection_is_waited_for(rig, gate):
    asking, _, theirs = rig.connect()
    other, _, _ = rig.connect()
    upstream, _, _ = rig.connect(accepted=False)
    answered = []

    def answer(future):
        asking.write(b"late")
        answered.append(future)

    rig.reactor.run_in_thread(gate.wait, DEADLINE_SECONDS, then=answer)
    rig.drain.begin()
    rig.pass_time(DRAIN_SECONDS / 2)
    assert asking.state is other.state is upstream.state is State.OPEN
    gate.set()
    turn_until(rig.reactor, lambda: answered, "the answer")
    rig.pass_time(0.1)
    assert receive_all(theirs) == b"late"
    assert asking.state is other.state is upstream.state is State.LINGERING
    rig.pass_time(DRAIN_LINGER_SECONDS + 0.2)
    assert rig.stopped and rig.drain.finish() == 0


def test_an_answer_that_a_thread_has_ready_is_given_before_the_end(rig, gate):
    connection, _, theirs = rig.connect()
    rig.reactor.run_in_thread(gate.set, then=lambda future: connection.write(b"ready"))
    wait_until(lambda: rig.reactor._foreign, "the end of the function")
    rig.drain.begin()
    rig.pass_time(0.1)
    assert receive_all(theirs) == b"ready"


def test_if_a_thread_has_no_answer_by_the_deadline_that_counts_as_one_cut_and_idle_connections_end_cleanly(rig, gate):
    pairs = [rig.connect() for _ in range(2)]
    answered = []
    rig.reactor.run_in_thread(gate.wait, DEADLINE_SECONDS, then=answered.append)
    rig.drain.begin()
    rig.pass_time(DRAIN_SECONDS + 0.1)
    assert rig.stopped
    for connection, _, theirs in pairs:
        assert connection.close_reason is CloseReason.SHUTDOWN
        assert theirs.recv(1) == b""
    assert rig.drain.finish() == 1
    rig.reactor.close()
    assert not answered


def test_a_call_that_comes_during_the_drain_holds_nothing(rig, gate):
    """Such as the heartbeat of a timer: it must not make each drain last to its deadline."""
    connection, _, theirs = rig.connect()
    rig.drain.begin()
    rig.reactor.run_in_thread(gate.wait, DEADLINE_SECONDS, then=print)
    rig.pass_time(0.1)
    assert connection.state is State.LINGERING
    theirs.close()
    rig.pass_time(0.1)
    assert rig.stopped and rig.drain.finish() == 0


def test_a_call_that_a_request_from_before_the_drain_brings_is_waited_for(rig, gate):
    def ask(recorder, data):
        rig.reactor.run_in_thread(gate.wait, DEADLINE_SECONDS, then=lambda future: recorder.connection.write(data))

    connection, _, theirs = unread(rig, data_received=ask)
    rig.drain.begin()
    rig.pass_time(0.5)
    assert connection.state is State.OPEN
    gate.set()
    turn_until(rig.reactor, lambda: not rig.reactor.threads.unanswered, "the answer")
    rig.pass_time(0.1)
    assert receive_all(theirs) == b"please"


def test_a_call_in_a_thread_that_was_taken_back_holds_nothing(rig, gate):
    connection, _, _ = rig.connect()
    handle = rig.reactor.run_in_thread(gate.wait, DEADLINE_SECONDS, then=print)
    rig.drain.begin()
    rig.pass_time(0.1)
    assert connection.state is State.OPEN
    handle.cancel()
    rig.pass_time(0.1)
    assert connection.state is State.LINGERING


def test_without_connections_it_waits_for_the_thread_too(rig, gate):
    """The client has left, and what it asked for is being saved."""
    answered = []
    rig.reactor.run_in_thread(gate.wait, DEADLINE_SECONDS, then=answered.append)
    rig.drain.begin()
    rig.pass_time(0.2)
    assert not rig.stopped
    gate.set()
    turn_until(rig.reactor, lambda: answered, "the answer")
    rig.pass_time(0.1)
    assert rig.stopped and rig.drain.finish() == 0


# Input that the program has not seen yet.


def unread(rig, **reactions):
    """A connection with a request in the kernel, still unread."""
    connection, recorder, theirs = rig.connect(**reactions)
    theirs.sendall(b"please")
    wait_until(lambda: unread_bytes(connection._socket), "it to come")
    return connection, recorder, theirs


def test_a_request_that_lies_in_the_kernel_is_answered(rig):
    _, _, theirs = unread(rig, data_received=lambda recorder, data: recorder.connection.write(data + b"!"))
    rig.drain.begin()
    rig.pass_time(0.1)
    assert receive_all(theirs) == b"please!"


def test_a_client_that_never_stops_sending_is_not_waited_for(rig):
    connection, _, theirs = unread(rig)
    rig.drain.begin()
    for _ in range(10):
        theirs.send(b"more")
        rig.clock.now += 0.04
        rig.reactor.run_once(0)
    assert connection.is_closing()


def test_what_a_program_does_not_want_to_read_is_not_waited_for(rig):
    connection, _, theirs = rig.connect(connection_made=call("pause_reading"))
    rig.turn()
    theirs.sendall(b"please")
    wait_until(lambda: unread_bytes(connection._socket), "it to come")
    rig.drain.begin()
    rig.pass_time(0.1)
    assert connection.is_closing()


# The deadline of the drain.


def test_at_the_deadline_everything_ends_in_whatever_state_it_is(rig):
    held, _, _ = rig.connect(connection_made=call("hold"))
    writing, _, _ = rig.connect(connection_made=write(BIG))
    closing, _, _ = rig.connect(connection_made=write(BIG))
    closing.close()
    rig.connect(connection_made=call("abort"))
    rig.drain.begin()
    rig.pass_time(DRAIN_SECONDS - 0.5)
    newcomer, _, _ = rig.connect()
    rig.pass_time(0.3)
    assert newcomer.state is State.LINGERING
    last, _, _ = rig.connect()
    rig.clock.now += 0.3
    rig.turn()
    assert rig.stopped
    reasons = [each.close_reason for each in (held, writing, closing, newcomer, last)]
    cut = CloseReason.DRAIN_TIMEOUT
    assert reasons == [cut, cut, cut, CloseReason.LINGER_TIMEOUT, CloseReason.SHUTDOWN]
    assert rig.reactor.counters.open == 0
    assert rig.drain.finish() == 3


def test_who_is_left_when_the_loop_ends_before_is_cut_if_something_is_owed(rig):
    rig.connect()
    rig.connect(connection_made=call("hold"))
    _, _, theirs = rig.connect(connection_made=write(BIG))
    lingering(rig)
    unread(rig)
    assert rig.drain.finish() == 3 + 1
    rig.reactor.close()
    with pytest.raises(ConnectionResetError):
        receive_all(theirs)


def test_a_peer_that_goes_on_sending_is_reset_by_the_end_of_the_loop_and_counts_as_cut(rig):
    connection, _, peer = rig.connect(data_received=write(b"reply"))
    rig.drain.begin()
    rig.turn()
    assert connection.state is State.LINGERING
    peer.send(b"a request that nobody reads")
    wait_until(lambda: unread_bytes(connection._socket), "the request")
    assert rig.drain.finish() == 1
    rig.reactor.close()
    wait_until(lambda: peer.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), "the reset")


def test_a_connection_that_has_ended_is_not_cut(rig):
    connection, _, _ = rig.connect(connection_made=write(BIG))
    connection.abort()
    assert rig.drain.finish() == 0


def test_the_next_look_does_not_depend_on_this_one(rig, monkeypatch):
    rig.connect(connection_made=call("hold"))
    rig.drain.begin()
    monkeypatch.setattr(rig.reactor.dispatcher, "connections", lambda: 1 / 0)
    rig.pass_time(0.2)
    monkeypatch.undo()
    rig.pass_time(DRAIN_SECONDS)
    assert rig.stopped
    assert rig.reactor.counters.callback_errors > 1

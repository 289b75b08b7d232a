"""A connection is handed over: the new protocol gets what the former one gives up, first and once."""

import socket

import pytest

from reactor import CloseReason, Limits, Protocol, State
from reactor.connections.states import NEVER
from reactor.loop.poller import PEER_FIN, READABLE, WRITABLE
from tests import rig


class Keeper(rig.Recorder):
    """A protocol that has input to give up."""

    def __init__(self, rest=b"", ended=False, **reactions):
        super().__init__(**reactions)
        self.given_up = rest, ended

    def give_up_input(self):
        self.calls.append(("give_up_input",))
        return self.given_up


class Heir(rig.Recorder):
    """A protocol that takes over from `connection`."""

    def __init__(self, connection, **reactions):
        super().__init__(**reactions)
        self.connection = connection
        connection.set_protocol(self)


def kept(stub, rest, ended=False, *, receives=(), limits=None, state=None):
    """A connection whose protocol will give up `rest`."""
    connection = rig.adopt(stub, rig.StubSocket(receives=receives), Keeper(rest, ended), limits)
    if state is State.HALF_CLOSED_LOCAL:
        connection.write_eof()
    stub.finish()
    return connection


def test_what_is_given_up_is_told_before_anything_newer(stub):
    connection = kept(stub, b"old", receives=[b"new"])
    heir = Heir(connection)
    stub.happens(connection, READABLE)  # before the flush, as if a timer had handed over
    assert heir.calls == [("data_received", b"old"), ("data_received", b"new")]
    stub.finish()
    assert len(heir.calls) == 2 and stub.counters.buffered_bytes == 0


def test_what_waits_to_be_told_stays_counted_whatever_the_new_protocol_keeps(stub):
    connection = kept(stub, b"rest")
    heir = Heir(connection)
    connection.pause_reading()
    connection._keep_input(0, NEVER)  # as by a framed protocol that begins with a pause
    stub.finish()
    assert heir.calls == [] and stub.counters.buffered_bytes == 4
    connection._keep_input(3, NEVER)
    assert stub.counters.buffered_bytes == 7
    connection.resume_reading()
    stub.finish()
    assert heir.calls == [("data_received", b"rest")] and stub.counters.buffered_bytes == 0


def test_it_is_told_when_the_callback_has_returned_that_hands_over(stub):
    told_inside = []

    def hand_over(keeper, _data):
        heir = Heir(keeper.connection)
        told_inside.extend(heir.calls)

    connection = rig.adopt(stub, rig.StubSocket(receives=[b"x"]), Keeper(b"rest", data_received=hand_over))
    stub.happens(connection, READABLE)
    assert told_inside == [] and connection.get_protocol().calls == [("data_received", b"rest")]


def test_it_counts_against_the_memory_until_it_is_told(stub):
    connection = kept(stub, b"rest")
    connection.pause_reading()
    Heir(connection)
    stub.finish()
    assert stub.counters.buffered_bytes == 4
    connection.resume_reading()
    stub.finish()
    assert stub.counters.buffered_bytes == 0


def test_while_reading_is_paused_it_waits_and_so_does_the_peers_end(stub):
    connection = kept(stub, b"rest", receives=[b""])
    connection.pause_reading()
    heir = Heir(connection, eof_received=lambda _heir: True)
    stub.finish()
    stub.happens(connection, PEER_FIN)
    stub.finish()
    assert connection.state is State.HALF_CLOSED_REMOTE and heir.calls == []
    connection.resume_reading()
    stub.finish()
    assert heir.calls == [("data_received", b"rest"), ("eof_received",)]


@pytest.mark.parametrize("answer, state", [(True, State.HALF_CLOSED_REMOTE), (None, State.CLOSED)])
@pytest.mark.parametrize("rest", [b"rest", b""])
def test_an_end_that_was_given_up_is_told_and_its_answer_counts(stub, rest, answer, state):
    connection = kept(stub, rest, True)
    connection.get_protocol().reactions["eof_received"] = lambda keeper: True
    connection._socket.receives.append(b"")
    stub.happens(connection, READABLE)
    heir = Heir(connection, eof_received=lambda _heir: answer)
    stub.finish()
    stub.finish()
    assert heir.names[:2] == (["data_received", "eof_received"] if rest else ["eof_received"] + heir.names[1:2])
    assert connection.state is state and heir.names.count("eof_received") == 1


def test_the_end_of_both_sides_does_not_swallow_it(stub):
    connection = kept(stub, b"rest", True, receives=[b""], state=State.HALF_CLOSED_LOCAL)
    heirs = []
    connection.get_protocol().reactions["eof_received"] = lambda keeper: heirs.append(Heir(keeper.connection)) or True
    rig.readable(stub, connection)
    assert heirs[0].names == ["data_received", "eof_received", "connection_lost"]
    assert connection.close_reason is CloseReason.PEER_CLOSED


@pytest.mark.parametrize("closed", ["before", "after"])
@pytest.mark.parametrize("end", ["close", "abort"])
def test_after_the_end_nothing_is_told(stub, end, closed):
    connection = kept(stub, b"rest", closed == "after")
    if closed == "before":
        connection.get_protocol().given_up = b"", False  # as a `FramedProtocol` does after the end
        getattr(connection, end)()
    heir = Heir(connection)
    if closed == "after":
        getattr(connection, end)()
    stub.finish()
    connection.abort()
    stub.finish()
    assert heir.names == ["connection_lost"] and stub.counters.buffered_bytes == 0


def test_handed_over_twice_before_it_is_told_it_goes_to_the_last(stub):
    connection = kept(stub, b"rest", True)
    first = Heir(connection)
    last = Heir(connection, eof_received=lambda _heir: True)
    stub.finish()
    assert first.calls == [] and last.received == b"rest"


def test_a_second_hand_over_while_it_is_told_has_a_turn_of_its_own(stub):
    second = Keeper(b"rest of the rest")

    def hand_over(heir, _data):
        connection.set_protocol(second)
        Heir(connection)

    connection = kept(stub, b"rest", True)
    Heir(connection, data_received=hand_over)
    stub.dispatcher.flush()
    last = connection.get_protocol()
    assert last.calls == []
    stub.dispatcher.flush()
    assert last.names == ["data_received", "eof_received"] and last.received == b"rest of the rest"


def test_an_exception_while_it_is_told_ends_the_connection(stub, caplog):
    connection = kept(stub, b"rest", True)
    heir = Heir(connection, data_received=rig.break_down)
    stub.finish()
    assert heir.names == ["data_received", "connection_lost"]
    assert connection.close_reason is CloseReason.HANDLER_ERROR and len(caplog.records) == 1


@pytest.mark.parametrize("callback", ["data_received", "eof_received"])
def test_system_exit_while_it_is_told_leaves_the_next_run_in_order(stub, callback):
    connection = kept(stub, b"rest", True)
    heir = Heir(connection, **{callback: rig.leave})
    with pytest.raises(SystemExit):
        stub.finish()
    stub.finish()
    stub.finish()
    assert heir.names[:2] == ["data_received", "eof_received"] and heir.names.count("eof_received") == 1


def test_who_gives_up_nothing_leaves_the_connection_an_ordinary_one(stub):
    connection = kept(stub, b"")
    heir = Heir(connection)
    stub.finish()
    assert heir.calls == [] and connection._steady == READABLE and connection._given_up is None


def test_handing_over_to_the_same_one_does_nothing(stub):
    connection = kept(stub, b"rest")
    keeper = connection.get_protocol()
    connection.set_protocol(keeper)
    stub.finish()
    assert keeper.calls == [("connection_made",)]


# Each protocol has its own pause.


@pytest.mark.parametrize("left, names", [(2000, ["pause_writing", "resume_writing"]), (500, [])])
def test_the_new_protocol_is_paused_anew_and_hears_no_resume_of_anothers_pause(stub, left, names):
    limits = Limits(output_high_bytes=1000, output_low_bytes=100)
    connection = rig.adopt(stub, rig.StubSocket(sends=[0]), rig.Recorder(), limits)
    connection.writelines([b"x" * 1500, b"y" * 1500])
    assert connection.get_protocol().names[-1] == "pause_writing"
    stub.finish()
    heir = Heir(connection)
    connection._socket.sends.append(3000 - left)
    stub.finish()
    assert heir.names == names[:1]
    stub.happens(connection, WRITABLE)
    assert heir.names == names and not connection.has_output()


def test_a_pause_is_told_before_the_rest(stub):
    connection = kept(stub, b"rest", limits=Limits(output_high_bytes=10, output_low_bytes=1))
    connection._socket.sends.extend([0, 0, 0, 0])
    connection.writelines([b"x" * 20, b"y" * 20])
    stub.finish()
    heir = Heir(connection)
    stub.finish()
    assert heir.names == ["pause_writing", "data_received"]


@pytest.mark.parametrize("callback", ["pause_writing", "resume_writing"])
def test_a_pause_or_its_end_can_hand_over(stub, callback):
    heirs = []
    first = Keeper(b"rest", **{callback: lambda keeper: heirs.append(Heir(keeper.connection))})
    connection = rig.adopt(stub, rig.StubSocket(sends=[0]), first, Limits(output_high_bytes=10, output_low_bytes=1))
    connection.writelines([b"x" * 20, b"y" * 20])
    stub.finish()
    stub.happens(connection, WRITABLE)
    stub.finish()
    told = ["pause_writing", "data_received", "resume_writing"] if callback == "pause_writing" else ["data_received"]
    assert heirs[0].names == told and not connection.has_output()


def test_a_plain_protocol_passes_its_own_rest_on(reactor, pair):
    class Half(Protocol):
        def connection_made(self, connection):
            self.connection = connection

        def data_received(self, data):
            heir = Heir(self.connection)
            heir.data_received(data[2:])

    ours, peer = pair
    connection = rig.adopt(reactor, ours.dup(), Half())
    ours.close()
    peer.sendall(b"abcd")
    peer.shutdown(socket.SHUT_WR)
    rig.turn_until(reactor, lambda: connection.get_protocol() is None, "the end")
    assert connection.close_reason is CloseReason.PEER_CLOSED

"""A connection without a network: which output it takes, what it keeps, and when it asks to pause."""


import pytest

from reactor import CloseReason, Limits, State
from reactor.connections.states import NEVER
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


def make_writing(state, steady, limits=None):
    connection = make_connection(state, limits)
    connection._steady = steady
    return connection


def output(connection):
    """All that waits to be sent, taken as the dispatcher takes it."""
    taken = b""
    while connection.has_output():
        piece = connection._take_output()
        taken += piece
        connection._put_back(piece, len(piece))
    return taken


def take(connection, count):
    """The kernel takes `count` bytes of what it is offered. Return whether nothing waits now."""
    return connection._put_back(connection._take_output(), count)


def marks(high, low):
    return Limits(output_high_bytes=high, output_low_bytes=low)


# write


@in_every_writing_state
def test_the_only_chunk_is_kept_as_it_is_and_not_copied(state, steady):
    connection = make_writing(state, steady)
    data = b"x" * 1000
    connection.write(data)
    assert connection._unsent is data


@in_every_writing_state
def test_what_is_written_waits_in_order(state, steady):
    connection = make_writing(state, steady)
    for piece in (b"one ", b"two ", b"x" * 100_000, b" three"):
        connection.write(piece)
    assert connection.get_write_buffer_size() == 8 + 100_000 + 6
    assert output(connection) == b"one two " + b"x" * 100_000 + b" three"
    assert connection.get_write_buffer_size() == 0


@pytest.mark.parametrize("pieces_before", [0, 1, 2])
@pytest.mark.parametrize("wrap", [lambda data: data, memoryview], ids=["bytearray", "memoryview"])
def test_what_its_owner_may_change_is_copied_at_the_call(pieces_before, wrap):
    connection = make_connection()
    for _ in range(pieces_before):
        connection.write(b"before ")
    data = bytearray(b"right")
    connection.write(wrap(data))
    data[:] = b"wrong"
    assert output(connection) == b"before " * pieces_before + b"right"


def test_a_memoryview_counts_in_bytes_whatever_its_items_are():
    connection = make_connection()
    connection.write(memoryview(b"abcdefgh").cast("I"))
    connection.write(memoryview(b"a-b-c-")[::2])
    assert connection.get_write_buffer_size() == 11
    assert output(connection) == b"abcdefghabc"


@in_every_writing_state
@pytest.mark.parametrize("empty", [b"", bytearray(), memoryview(b"")], ids=["bytes", "bytearray", "memoryview"])
def test_empty_data_does_nothing(state, steady, empty):
    connection = make_writing(state, steady, marks(0, 0))
    connection.write(empty)
    assert not connection.has_output()
    connection.write(b"a")
    connection.write(empty)
    connection.write(b"b")
    connection.write(empty)
    assert output(connection) == b"ab"


@in_every_state
@pytest.mark.parametrize("nonsense", ["text", None, 1, [1, 2], object()], ids=repr)
def test_anything_but_bytes_is_refused_with_the_type(state, nonsense):
    connection = make_connection(state)
    with pytest.raises(TypeError, match=f"must be bytes, bytearray or memoryview, not {type(nonsense).__name__}"):
        connection.write(nonsense)
    assert not connection.has_output() and connection._dropped_writes == 0


def test_writelines_is_write_for_each():
    connection = make_connection()
    connection.writelines(data for data in [b"one ", bytearray(b"two "), b"", memoryview(b"three")])
    assert output(connection) == b"one two three"


def test_writelines_of_nothing_writes_nothing():
    connection = make_connection()
    connection.writelines([])
    connection.writelines([b"", b""])
    assert not connection.has_output()


def test_writelines_takes_no_text_for_lines():
    connection = make_connection()
    with pytest.raises(TypeError, match="not str"):
        connection.writelines("text")
    with pytest.raises(TypeError, match="not int"):
        connection.writelines(b"bytes")


def test_writelines_pauses_writing_too():
    connection = make_connection(limits=marks(10, 5))
    connection.writelines([b"12345", b"67890"])
    assert connection._protocol.calls == []
    connection.writelines([b"", b"1", b"2"])
    assert connection._protocol.calls == [("pause_writing",)]


@in_every_ending
def test_a_write_after_the_end_is_dropped_counted_and_logged_once(state, caplog):
    caplog.set_level("INFO")
    connection = make_connection(state)
    for _ in range(10_000):
        connection.write(b"late")
    assert not connection.has_output()
    assert connection._dropped_writes == connection.reactor.counters.dropped_writes == 10_000
    assert len(caplog.records) == 1
    assert connection._protocol.calls == []


def test_a_write_after_write_eof_is_the_programs_mistake():
    connection = make_connection()
    connection.write(b"before")
    connection.write_eof()
    with pytest.raises(RuntimeError, match="write after write_eof"):
        connection.write(b"after")
    with pytest.raises(RuntimeError, match="write after write_eof"):
        connection.writelines([b"after"])
    assert output(connection) == b"before"
    assert connection._dropped_writes == 0


# What the kernel took.


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_what_the_kernel_did_not_take_stays_in_front(step):
    connection = make_connection()
    data = bytes(range(256)) * 4
    connection.write(data)
    connection.write(b"behind")
    sent, all_of_it = b"", False
    while not all_of_it:
        offered = connection._take_output()
        piece = bytes(offered[:step])
        sent += piece
        all_of_it = connection._put_back(offered, len(piece))
        assert connection.get_write_buffer_size() == len(data) + 6 - len(sent)
    assert sent == data + b"behind"
    assert not connection.has_output()


@pytest.mark.parametrize("taken", [0, 1, 4])
def test_the_only_chunk_can_be_taken_in_part(taken):
    connection = make_connection()
    connection.write(b"12345")
    assert take(connection, taken) is False
    assert connection.get_write_buffer_size() == 5 - taken
    connection.write(b"678")
    assert output(connection) == b"12345678"[taken:]


def test_the_only_chunk_can_be_taken_whole():
    connection = make_connection()
    connection.write(b"12345")
    assert take(connection, 5) is True
    assert not connection.has_output()


# The marks.


@in_every_writing_state
def test_pause_writing_comes_only_strictly_above_the_high_mark(state, steady):
    connection = make_writing(state, steady, marks(10, 5))
    connection.write(b"1234567890")
    assert connection._protocol.calls == []
    connection.write(b"1")
    assert connection._protocol.calls == [("pause_writing",)]


@in_every_writing_state
def test_a_first_chunk_over_the_mark_is_judged_by_what_the_kernel_leaves_of_it(state, steady):
    connection = make_writing(state, steady, marks(10, 5))
    connection.write(b"123456789012")
    connection._check_high_mark()
    assert connection._protocol.calls == [], "it was not offered yet"
    for taken, calls in ((1, [("pause_writing",)]), (2, [])):
        connection = make_writing(state, steady, marks(10, 5))
        connection.write(b"123456789012")
        take(connection, taken)
        connection._check_high_mark()
        assert connection._protocol.calls == calls


@in_every_writing_state
def test_pause_writing_comes_once_however_much_is_written(state, steady):
    connection = make_writing(state, steady, marks(10, 5))
    for _ in range(10):
        connection.write(b"1234567890")
    assert connection._protocol.calls == [("pause_writing",)]


def test_pause_writing_can_write_more_without_recursion():
    connection = make_connection(limits=marks(2, 1), pause_writing=lambda recorder: recorder.connection.write(b"more"))
    connection.writelines([b"so", b"me "])
    assert connection._protocol.calls == [("pause_writing",)]
    assert output(connection) == b"some more"


def test_what_two_connections_write_to_each_other_in_pause_writing_stays_in_order():
    first, second = make_connection(limits=marks(0, 0)), make_connection(limits=marks(0, 0))
    first._protocol.reactions["pause_writing"] = lambda _: second.writelines([b"from ", b"the first"])
    second._protocol.reactions["pause_writing"] = lambda _: first.write(b" from the second")
    first.writelines([b"be", b"gin"])
    assert output(first) == b"begin from the second"
    assert output(second) == b"from the first"


@pytest.mark.parametrize("end", ["close", "abort", "write_eof"])
def test_pause_writing_can_end_the_connection(end):
    connection = make_connection(limits=marks(2, 1), pause_writing=lambda recorder: getattr(recorder.connection, end)())
    connection.writelines([b"so", b"me"])
    assert not connection.state.writes


def test_an_exception_in_pause_writing_ends_that_connection_and_not_the_one_who_wrote(caplog):
    def broken(_recorder):
        raise LookupError("on purpose")

    connection = make_connection(limits=marks(2, 1), pause_writing=broken)
    connection.writelines([b"so", b"me"])
    assert (connection.state, connection.close_reason) == (ENDED, CloseReason.HANDLER_ERROR)
    assert isinstance(connection._error, LookupError)
    (record,) = caplog.records
    assert "pause_writing" in record.getMessage() and record.exc_info[0] is LookupError


def test_what_was_written_is_sent_even_when_pause_writing_leaves_the_loop():
    def leave(_recorder):
        raise SystemExit

    connection = make_connection(limits=marks(2, 1), pause_writing=leave)
    with pytest.raises(SystemExit):
        connection.writelines([b"s", b"ome"])
    assert connection in connection._attention
    assert connection.state is OPEN and connection._writing_paused


def test_the_marks_are_those_of_the_limits():
    assert make_connection(limits=marks(10, 5)).get_write_buffer_limits() == (5, 10)


@pytest.mark.parametrize(
    ("given", "low", "high"),
    [
        ({}, 16384, 65536),
        ({"high": 100}, 25, 100),
        ({"high": 3}, 0, 3),
        ({"low": 100}, 100, 400),
        ({"high": 100, "low": 100}, 100, 100),
        ({"high": 100, "low": 0}, 0, 100),
        ({"high": 0}, 0, 0),
    ],
)
def test_marks_that_are_left_out_follow_from_the_other(given, low, high):
    connection = make_connection()
    connection.set_write_buffer_limits(**given)
    assert connection.get_write_buffer_limits() == (low, high)


@pytest.mark.parametrize("given", [{"high": 1, "low": 2}, {"high": -1}, {"low": -1}, {"high": 5, "low": -1}])
def test_marks_in_the_wrong_order_are_refused_and_change_nothing(given):
    connection = make_connection(limits=marks(10, 5))
    with pytest.raises(ValueError, match="0 <= low <= high"):
        connection.set_write_buffer_limits(**given)
    assert connection.get_write_buffer_limits() == (5, 10)


def test_a_high_mark_of_zero_pauses_whenever_anything_waits():
    connection = make_connection()
    connection.set_write_buffer_limits(high=0)
    connection.write(b"")
    take(connection, 0)
    connection._check_high_mark()
    assert connection._protocol.calls == []
    connection.write(b"1")
    take(connection, 0)
    connection._check_high_mark()
    assert connection._protocol.calls == [("pause_writing",)]


def test_a_high_mark_that_is_lowered_below_what_waits_pauses():
    connection = make_connection()
    connection.writelines([b"12345", b"67890"])
    connection.set_write_buffer_limits(high=10)
    assert connection._protocol.calls == []
    connection.set_write_buffer_limits(high=9)
    assert connection._protocol.calls == [("pause_writing",)]
    assert connection in connection._attention


@in_every_state
def test_marks_can_be_set_in_every_state_and_pause_nobody_who_cannot_write(state):
    connection = make_connection(state)
    connection._unsent = b"waiting"
    take(connection, 0)
    connection.set_write_buffer_limits(high=0)
    assert connection._protocol.calls == ([("pause_writing",)] if state in WRITING else [])


# What may be kept (W1, W2, W5).


def hard(size):
    return Limits(output_low_bytes=0, output_high_bytes=0, output_hard_bytes=size)


@pytest.mark.parametrize("write", ["write", "writelines"])
def test_a_write_that_finds_more_than_the_hard_mark_waiting_ends_the_connection(write):
    connection = make_connection(limits=hard(10))
    for piece in (b"12345", b"67890", b"1"):
        connection.write(piece) if write == "write" else connection.writelines([piece])
        assert connection.state is OPEN, "it finds no more than the mark"
    connection.write(b"2") if write == "write" else connection.writelines([b"2", b"3"])
    assert (connection.state, connection.close_reason) == (ENDED, CloseReason.SLOW_READER)
    assert "11 bytes" in str(connection._error) and "output_hard_bytes (10)" in str(connection._error)
    assert connection._protocol.names == ["pause_writing"], "it was asked to pause first"
    assert connection.get_write_buffer_size() == 11


def test_one_write_may_be_larger_than_the_hard_mark_and_the_next_is_asked_to_pause_before_any_is_ended():
    connection = make_connection(limits=hard(10))
    connection.write(b"x" * 1000)
    connection.write(b"y" * 1000)
    assert connection.state is OPEN and connection._protocol.names == ["pause_writing"]
    connection.write(b"z")
    assert connection.close_reason is CloseReason.SLOW_READER


@pytest.mark.parametrize("empty", [b"", bytearray(), memoryview(b"")], ids=["bytes", "bytearray", "memoryview"])
def test_an_empty_write_ends_nobody_however_much_waits(empty):
    connection = make_connection(limits=hard(10))
    connection.writelines([b"x" * 1000, b"y", empty])
    assert connection.state is OPEN and connection.get_write_buffer_size() == 1001


def counted(connection):
    """What this connection keeps, after a check that as much is counted for `memory_bytes`."""
    assert connection.reactor.counters.buffered_bytes == connection._buffered_bytes()
    return connection._buffered_bytes()


def test_what_is_kept_is_counted_until_it_is_sent():
    connection = make_connection()
    connection.write(b"12345")
    connection.write(b"678")
    assert counted(connection) == 0, "it was not offered to the kernel yet"
    take(connection, 3)
    assert counted(connection) == 5
    take(connection, 5)
    assert counted(connection) == 0
    connection.write(b"12345")
    take(connection, 0)
    assert counted(connection) == 5


def test_input_that_is_kept_is_counted_too():
    connection = make_connection()
    connection._keep_input(100, 5.0)
    assert counted(connection) == 100
    connection.write(b"1234567890")
    take(connection, 0)
    assert counted(connection) == 110
    connection._keep_input(30, 5.0)
    assert counted(connection) == 40
    connection._drop_buffers()
    assert counted(connection) == 0
    assert not connection.has_output()


def test_a_frame_that_begins_has_its_deadline_looked_at_and_one_that_grows_has_not():
    connection = make_connection()
    connection._attended = True
    for size, since, touched in [(1, 5.0, True), (2, 5.0, False), (0, NEVER, False), (1, 6.0, True)]:
        connection._steady = True
        connection._keep_input(size, since)
        assert (connection._frame_since, connection._steady) == (since, not touched)


def test_a_hold_is_counted():
    connection = make_connection(OPEN)
    connection.hold()
    connection.hold()
    connection.release()
    assert connection._holds == 1
    connection.release()
    with pytest.raises(RuntimeError, match="release without hold"):
        connection.release()


@pytest.mark.parametrize("state", [ENDED, CLOSED], ids=lambda state: state.name)
def test_a_release_after_the_end_does_nothing(state):
    make_connection(state).release()


@pytest.mark.parametrize("state", [OPEN, HALF_CLOSED_REMOTE, HALF_CLOSED_LOCAL], ids=lambda state: state.name)
def test_a_close_ends_all_holds(state):
    connection = make_connection(state)
    connection.hold()
    connection.hold()
    connection.close()
    assert connection._holds == 0
    connection.release()
    assert connection._holds == 0

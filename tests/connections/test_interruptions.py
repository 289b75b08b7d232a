"""The program's own code may run between any two steps of the core: a `__del__`, or a signal handler.

The interpreter runs signal handlers (and from Python 3.12 on, the garbage collector) when a function begins and when a
call of C returns. So each case here runs many times: once with the program's code at the first such moment inside the
core, once at the second, and so on to the last. Whatever that code does, nothing is lost, sent twice or told twice, and
no exception leaves the loop.
"""

import math
import os
import sys
from collections import deque

import pytest

import reactor
from reactor import Limits, State
from reactor.connections import fast_path
from reactor.connections.buffers import LARGE_BYTES
from reactor.loop.poller import PEER_FIN, READABLE, WRITABLE
from reactor.loop.timers import COMPACT_FROM, Timers
from tests import rig
from tests.rig import FakeClock, Recorder, StubReactor, StubSocket, readable, stubbed, told, write

CORE = os.path.dirname(reactor.__file__)
MOST_MOMENTS = 5000


class Interruption:
    """Calls `foreign` once inside the block: at the moment `number`, counted from 0."""

    def __init__(self, number, foreign):
        self.left = number
        self.foreign = foreign
        self.came = False

    def __enter__(self):
        sys.setprofile(self._look)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)

    def _look(self, frame, event, _):
        file = frame.f_code.co_filename
        system_call = event == "return" and file == rig.__file__ and frame.f_code.co_name in ("recv", "send")
        if not (system_call or (event in ("call", "c_return") and file.startswith(CORE))):
            return
        if not self.left:
            sys.setprofile(None)
            self.came = True
            self.foreign()
        self.left -= 1


def at_every_moment(case):
    """Run `case(number)` for the numbers from 0, until it returns false: there was no such moment."""
    for number in range(MOST_MOMENTS):
        if not case(number):
            assert number > 1, "there was no moment at all"
            return
    raise AssertionError("it has no end")


def settle_all(stub, connection):
    """Give the kernel room until nothing is left to do."""
    for _ in range(50):
        if connection._fd >= 0 and stub.poller.watched.get(connection._fd, 0) & WRITABLE:
            stub.happens(connection, WRITABLE)
        stub.finish()
    assert not stub.dispatcher.attention and not stub.dispatcher.reaper.doomed


REPLY, BEHIND = b"[the reply]", b"<behind>"
MUCH = b"<" + b"=" * LARGE_BYTES + b">"
CASES = {
    "all is sent at once": {"sends": []},
    "a part is sent": {"sends": [4]},
    "a part, and then nothing": {"sends": [4, BlockingIOError()]},
    "nothing at first": {"sends": [BlockingIOError()]},
    "byte by byte": {"sends": [1] * 40},
}


@pytest.mark.parametrize("foreign_writes", [1, 2, 3])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("behind", [BEHIND, MUCH], ids=["a little", "much"])
@pytest.mark.parametrize("chunks", [[REPLY], [b"[the ", b"reply]"], [b"[the", b" ", b"reply", b"]"]], ids=len)
def test_what_is_written_meanwhile_comes_once_and_so_does_the_reply(chunks, behind, case, foreign_writes):
    def run(number):
        stub = StubReactor()
        connection = stubbed(stub, receives=[b"x"], data_received=write(*chunks), **case)

        def foreign():
            for _ in range(foreign_writes):
                connection.write(behind)

        with Interruption(number, foreign) as interruption:
            stub.happens(connection, READABLE)
            stub.finish()
            if stub.poller.watched[connection._fd] & WRITABLE:
                stub.happens(connection, WRITABLE)
            stub.finish()
        settle_all(stub, connection)
        sent = b"".join(connection._socket.sent)
        if interruption.came:
            found = sent.count(behind), sent.replace(behind, b"")
            assert found == (foreign_writes, REPLY), f"moment {number}"
        assert not connection.has_output() and stub.counters.buffered_bytes == 0
        assert stub.counters.bytes_sent == len(sent)
        assert not connection._attended
        return interruption.came

    at_every_moment(run)


@pytest.mark.parametrize("budget", [len(REPLY), 1000], ids=["all of the budget", "less than the budget"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_written_meanwhile_to_a_connection_that_is_flushed_comes_once(case, budget):
    def run(number):
        stub = StubReactor(Limits(send_bytes=budget))
        connection = stubbed(stub, **case)
        connection.write(REPLY)
        with Interruption(number, lambda: connection.write(BEHIND)) as interruption:
            stub.finish()
        settle_all(stub, connection)
        sent = b"".join(connection._socket.sent)
        assert sent.replace(BEHIND, b"", 1) == REPLY and sent.count(BEHIND) == interruption.came
        assert stub.counters.buffered_bytes == 0
        return interruption.came

    at_every_moment(run)


EVENTS = {
    "data": [b"data"],
    "the end": [b""],
    "data and the end": [b"data", b""],
    "nothing": [BlockingIOError()],
    "a reset": [ConnectionResetError()],
}
WAYS = {
    "abort": lambda connection: connection.abort(),
    "close": lambda connection: connection.close(),
    "write and close": lambda connection: connection.state.writes and (connection.write(BEHIND), connection.close()),
    "write_eof": lambda connection: connection.write_eof(),
    "pause_reading": lambda connection: connection.pause_reading(),
}


@pytest.mark.parametrize("keep_open", [False, True], ids=["closes", "keeps open"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("receives", EVENTS.values(), ids=EVENTS)
@pytest.mark.parametrize("start", [State.OPEN, State.HALF_CLOSED_LOCAL, State.CLOSING], ids=lambda state: state.name)
def test_an_end_from_outside_at_any_moment_is_one_end(start, receives, way, keep_open):
    def run(number):
        stub = StubReactor()
        connection = stubbed(stub, receives=[*receives, b""], eof_received=lambda recorder: keep_open)
        if start is State.HALF_CLOSED_LOCAL:
            connection.write_eof()
        elif start is State.CLOSING:
            connection.write(REPLY)
            connection.close()
        with Interruption(number, lambda: way(connection)) as interruption:
            stub.finish()
            for _ in range(4):
                if connection._fd >= 0 and stub.poller.watched.get(connection._fd, 0) & READABLE:
                    stub.happens(connection, READABLE)
                stub.finish()
        if interruption.came and way is WAYS["abort"]:
            stub.finish()
            stub.finish()
            assert connection.state is State.CLOSED, f"moment {number}: the abort was forgotten"
        connection.resume_reading()
        connection.close()
        for _ in range(4):
            if connection._fd >= 0 and stub.poller.watched.get(connection._fd, 0) & READABLE:
                stub.happens(connection, READABLE)
            stub.finish()
        names = told(connection).names
        assert connection.state is State.CLOSED and connection._socket.closed, f"moment {number}: {connection}"
        assert names.count("connection_lost") == 1 and names[-1] == "connection_lost", f"moment {number}: {names}"
        assert names.count("eof_received") <= 1
        assert sum(stub.counters.closed.values()) == 1
        assert stub.counters.buffered_bytes == 0
        return interruption.came

    at_every_moment(run)


def test_no_moment_makes_a_newcomer_that_is_ended_at_once_be_told_twice():
    def run(number):
        stub = StubReactor()
        made = []

        class Newcomer(Recorder):
            def connection_made(self, connection):
                super().connection_made(connection)
                made.append(connection)

        def abort():
            aborted.extend(made)
            for connection in made:
                connection.abort()

        protocol, aborted = Newcomer(), []
        with Interruption(number, abort) as interruption:
            rig.adopt(stub, StubSocket(), protocol)
            stub.finish()
        stub.finish()
        if not aborted:  # that moment was before there was anything to abort
            made[0].abort()
            stub.finish()
        assert protocol.names == ["connection_made", "connection_lost"]
        return interruption.came

    at_every_moment(run)


def test_an_abort_while_a_connection_is_settled_is_not_forgotten():
    def run(number):
        stub = StubReactor()
        connection = stubbed(stub, receives=[b"x"])
        readable(stub, connection)
        connection.pause_reading()
        connection.resume_reading()
        with Interruption(number, connection.abort) as interruption:
            stub.dispatcher.flush()
        stub.finish()
        stub.finish()
        assert connection.state is (State.CLOSED if interruption.came else State.OPEN), f"moment {number}"
        return interruption.came

    at_every_moment(run)


# Timers.


def timers_at(seconds, timers):
    timers.clock.now = timers.now = timers.asked_at = seconds


def test_a_timer_that_is_armed_while_the_heap_is_rebuilt_fires():
    def run(number):
        timers, fired = Timers(FakeClock()), []
        handles = [timers.call_at(1e9, print) for _ in range(2 * COMPACT_FROM)]
        with Interruption(number, lambda: timers.call_at(1500.0, fired.append, "foreign")) as interruption:
            for handle in handles:
                handle.cancel()
        assert len(timers) == interruption.came
        assert timers.next_when() == (1500.0 if interruption.came else math.inf)
        timers_at(2000.0, timers)
        timers.run_due()
        assert fired == ["foreign"] * interruption.came
        assert len(timers) == 0 and timers._cancelled == len(timers._heap)
        return interruption.came

    at_every_moment(run)


def test_a_timer_that_is_called_off_while_the_heap_is_rebuilt_is_counted():
    def run(number):
        timers = Timers(FakeClock())
        kept = timers.call_at(1500.0, print)
        handles = [timers.call_at(1e9, print) for _ in range(COMPACT_FROM + 2)]
        with Interruption(number, kept.cancel) as interruption:
            for handle in handles:
                handle.cancel()
        assert len(timers) == 1 - interruption.came
        assert timers._cancelled == sum(handle.timers is None for _, _, handle in timers._heap)
        return interruption.came

    at_every_moment(run)


@pytest.mark.parametrize("foreign_when", [999.0, 1001.0, 1002.5], ids=["due", "between", "last"])
def test_timers_come_once_and_in_order_whatever_is_armed_and_called_off_meanwhile(foreign_when):
    def run(number):
        timers, fired = Timers(FakeClock()), []
        first, second, third = (timers.call_at(when, fired.append, when) for when in (1000.5, 1001.5, 1002.0))
        third.cancel()

        def foreign():
            timers.call_at(foreign_when, fired.append, foreign_when)
            second.cancel()

        with Interruption(number, foreign) as interruption:
            for seconds in (1000.0, 1001.0, 1002.0, 1003.0, 1004.0):
                timers_at(seconds, timers)
                timers.next_when()
                timers.run_due()
        timers_at(1005.0, timers)
        timers.run_due()
        assert fired.count(1000.5) == 1 and fired.count(foreign_when) == interruption.came
        assert fired.count(1001.5) <= 1 and 1002.0 not in fired
        assert len(timers) == 0 and timers._cancelled == 0, f"moment {number}"
        return interruption.came

    at_every_moment(run)


def test_what_an_interruption_ends_in_the_middle_of_a_batch_gets_nothing_of_it():
    def run(number):
        stub = StubReactor(Limits())
        first = stubbed(stub, receives=[b"one"], data_received=write(b"1"))
        second = stubbed(stub, receives=[b"two"], data_received=write(b"2"))
        ended = deque()

        def foreign():
            second.abort()
            ended.append(len(told(second).names))

        with Interruption(number, foreign) as interruption:
            fast_path.dispatch(stub.dispatcher, [(first._fd, READABLE), (second._fd, READABLE)])
            stub.finish()
        stub.finish()
        if interruption.came:
            assert told(second).names[ended[0] :] in (["connection_lost"], ["data_received", "connection_lost"])
        assert b"".join(first._socket.sent) == b"1"
        return interruption.came

    at_every_moment(run)


def test_after_a_resume_at_any_moment_the_next_pause_hears_of_the_peers_end():
    def case(number):
        stub = StubReactor()
        connection = stubbed(stub, receives=[b"unread"])
        connection.pause_reading()
        stub.finish()
        with Interruption(number, connection.resume_reading) as interruption:
            stub.happens(connection, PEER_FIN)
        stub.finish()
        if interruption.came:
            connection.pause_reading()
            stub.finish()
            assert stub.poller.watched[connection._fd] & PEER_FIN
        return interruption.came

    at_every_moment(case)

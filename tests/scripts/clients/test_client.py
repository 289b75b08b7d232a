"""One client, without a network: what it writes, what it accepts, when it gives up."""

import pytest

from scripts.clients.client import Client, Outcome, Plan
from scripts.clients.messages import PIECE_BYTES, Messages

TIMEOUT_SECONDS = 10.0


class FakeReactor:
    """A clock that is set by hand, and the timers that are due by it."""

    def __init__(self):
        self.now = 100.0
        self.timers = []

    def call_at(self, when, callback):
        self.timers.append((when, callback))

    def advance(self, seconds):
        self.now += seconds
        due = [timer for timer in self.timers if timer[0] <= self.now]
        self.timers = [timer for timer in self.timers if timer[0] > self.now]
        for _, callback in due:
            callback()


class FakeConnection:
    """Keeps what is written, and pauses the writer above `high_bytes` as the real one does."""

    def __init__(self, client, high_bytes=PIECE_BYTES):
        self.client, self.high_bytes = client, high_bytes
        self.unsent = bytearray()
        self.most_unsent = 0
        self.calls = []

    def write(self, data):
        before = len(self.unsent)
        self.unsent += data
        self.most_unsent = max(self.most_unsent, len(self.unsent))
        if before <= self.high_bytes < len(self.unsent):
            self.client.pause_writing()

    def take(self):
        taken, self.unsent = bytes(self.unsent), bytearray()
        if len(taken) > self.high_bytes:
            self.client.resume_writing()
        return taken

    def __getattr__(self, name):
        return lambda: self.calls.append(name)


class Bench:
    """One client on a fake reactor, with all that it reports."""

    def __init__(self, size=64, messages=3, interval_seconds=0.0, high_bytes=PIECE_BYTES, waited=None, seconds=1e9):
        self.reactor = FakeReactor()
        self.latencies = []
        self.ended = self.lost = 0
        self.plan = Plan(
            reactor=self.reactor,
            clock=lambda: self.reactor.now,
            piece=Messages(size).piece,
            size=size,
            total_bytes=size * messages,
            timeout_seconds=TIMEOUT_SECONDS,
            interval_seconds=interval_seconds,
            record=lambda began_at, ended_at: self.latencies.append(ended_at - began_at),
            on_end=self._count_end,
            on_lost=self._count_lost,
            waited=waited,
            ends_at=self.reactor.now + seconds,
        )
        self.client = Client(self.plan, 5)
        self.connection = FakeConnection(self.client, high_bytes)
        self.client.connection_made(self.connection)
        self.client.begin(self.reactor.now, self.reactor.now)

    def _count_end(self):
        self.ended += 1

    def _count_lost(self):
        self.lost += 1

    def echo(self):
        self.client.data_received(self.connection.take())


def test_a_closed_loop_sends_the_next_message_when_the_last_is_back():
    bench = Bench()
    for seconds in (0.5, 0.25, 1.0):
        assert len(bench.connection.unsent) == 64
        bench.reactor.advance(seconds)
        bench.echo()
    assert bench.latencies == [0.5, 0.25, 1.0]
    assert (bench.client.outcome, bench.ended) == (Outcome.COMPLETE, 1)
    assert bench.connection.unsent == b""


def test_a_client_whose_time_is_over_waits_for_the_answer_under_way_and_sends_no_more():
    bench = Bench(messages=1000, seconds=1.0)
    bench.reactor.advance(0.75)
    bench.echo()
    assert (bench.client.outcome, len(bench.connection.unsent)) == (None, 64)
    message = bench.connection.take()
    bench.reactor.advance(0.75)
    bench.client.data_received(message[:63])
    assert bench.client.outcome is None
    bench.client.data_received(message[63:])
    assert (bench.client.outcome, bench.ended, bench.connection.unsent) == (Outcome.COMPLETE, 1, b"")
    assert bench.latencies == [0.75, 0.75]


@pytest.mark.parametrize("chunk", [1, 7, 63])
def test_answers_may_come_in_any_pieces(chunk):
    bench = Bench()
    for _ in range(3):
        message = bench.connection.take()
        for start in range(0, 64, chunk):
            assert bench.client.outcome is None
            bench.client.data_received(message[start : start + chunk])
    assert (bench.client.outcome, len(bench.latencies)) == (Outcome.COMPLETE, 3)


def test_a_schedule_counts_from_the_scheduled_moment_however_late_message_and_answer_are():
    bench = Bench(interval_seconds=0.5)
    assert bench.connection.unsent == b""  # it is the schedule that says when
    bench.reactor.advance(2.0)  # this program was held up: messages for 100.0, 100.5 and 101.0 go out at 102.0
    for _ in range(3):
        bench.client.send_next(bench.reactor.now)
    bench.reactor.advance(0.25)
    bench.echo()
    assert bench.latencies == [2.25, 1.75, 1.25]
    assert bench.client.outcome is Outcome.COMPLETE


def test_large_messages_are_written_as_the_connection_takes_them():
    bench = Bench(size=1 << 20, messages=2)
    received = 0
    while bench.client.outcome is None:
        received += len(bench.connection.unsent)
        bench.echo()
    assert (bench.client.outcome, received) == (Outcome.COMPLETE, 2 << 20)
    assert bench.connection.most_unsent <= 2 * PIECE_BYTES


def test_a_schedule_keeps_its_messages_while_the_connection_takes_no_more():
    bench = Bench(size=64, messages=1000, interval_seconds=0.001, high_bytes=640)
    for _ in range(1000):
        bench.client.send_next(bench.reactor.now)
    assert len(bench.connection.unsent) == 640 + 64
    while bench.client.outcome is None:
        bench.echo()
    assert (bench.client.outcome, len(bench.latencies)) == (Outcome.COMPLETE, 1000)


def test_a_byte_that_was_not_sent_yet_cannot_come_back_even_if_it_is_the_right_one():
    bench = Bench(interval_seconds=1.0)
    bench.client.send_next(bench.reactor.now)
    first = bench.connection.take()
    bench.client.data_received(first + bench.plan.piece(5, 64, 1))
    assert bench.client.outcome is Outcome.MISMATCHED


def test_a_message_that_is_repeated_does_not_pass_for_the_next_one():
    bench = Bench(interval_seconds=1.0)
    bench.client.send_next(bench.reactor.now)
    first = bench.connection.take()
    bench.client.send_next(bench.reactor.now)
    bench.client.data_received(first)
    assert bench.client.outcome is None
    bench.client.data_received(first)
    assert bench.client.outcome is Outcome.MISMATCHED


def test_a_client_that_failed_is_held_and_not_read_any_more():
    bench = Bench()
    bench.client.data_received(b"nonsense")
    assert bench.connection.calls == ["pause_reading"]


def test_sending_on_does_not_postpone_the_deadline_of_what_was_sent():
    bench = Bench(messages=100, interval_seconds=1.0)
    for _ in range(int(TIMEOUT_SECONDS)):
        assert bench.client.outcome is None
        bench.client.send_next(bench.reactor.now)
        bench.reactor.advance(1.0)
    assert bench.client.outcome is Outcome.TIMED_OUT


def test_one_timer_is_enough_and_each_byte_postpones_it():
    bench = Bench(size=8)
    message = bench.connection.take()
    for byte in message[:7]:
        bench.reactor.advance(TIMEOUT_SECONDS * 0.9)
        bench.client.data_received(bytes([byte]))
        assert len(bench.reactor.timers) == 1
    assert bench.client.outcome is None
    bench.reactor.advance(TIMEOUT_SECONDS * 1.01)
    assert bench.client.outcome is Outcome.TIMED_OUT
    bench.reactor.advance(TIMEOUT_SECONDS)
    assert bench.reactor.timers == []


def test_what_does_not_count_as_waiting_is_waited_for_again():
    waits = [0.0, 4.0, TIMEOUT_SECONDS]
    bench = Bench(waited=lambda _since: waits.pop(0))
    for seconds in (TIMEOUT_SECONDS, TIMEOUT_SECONDS, TIMEOUT_SECONDS - 4.0):
        assert bench.client.outcome is None
        bench.reactor.advance(seconds)
    assert bench.client.outcome is Outcome.TIMED_OUT and waits == []


def test_between_two_messages_of_a_schedule_nothing_is_late():
    bench = Bench(interval_seconds=1000.0)
    bench.client.send_next(bench.reactor.now)
    bench.echo()
    for _ in range(20):
        bench.reactor.advance(TIMEOUT_SECONDS)
    assert bench.client.outcome is None
    bench.reactor.advance(TIMEOUT_SECONDS / 2)
    bench.client.send_next(bench.reactor.now)
    bench.reactor.advance(TIMEOUT_SECONDS * 0.9)
    assert bench.client.outcome is None
    bench.reactor.advance(TIMEOUT_SECONDS * 0.2)
    assert bench.client.outcome is Outcome.TIMED_OUT


@pytest.mark.parametrize(
    "exc, outcome",
    [
        (ConnectionResetError(), Outcome.RESET),
        (BrokenPipeError(), Outcome.RESET),
        (TimeoutError(), Outcome.TIMED_OUT),
        (None, None),
    ],
)
def test_a_lost_connection_is_named_by_its_error(exc, outcome):
    bench = Bench()
    bench.client.connection_lost(exc)
    assert (bench.client.outcome, bench.lost) == (outcome, 1)


def test_the_first_outcome_stands():
    bench = Bench()
    bench.client.data_received(b"nonsense")
    bench.client.eof_received()
    bench.client.connection_lost(ConnectionResetError())
    assert (bench.client.outcome, bench.ended) == (Outcome.MISMATCHED, 1)


def test_a_complete_client_may_lose_the_connection_but_may_not_get_a_byte_more():
    bench = Bench(messages=1)
    bench.echo()
    bench.client.eof_received()
    assert bench.client.outcome is Outcome.COMPLETE
    bench.client.data_received(b"\0")
    assert (bench.client.outcome, bench.ended) == (Outcome.MISMATCHED, 1)
    assert bench.connection.calls == ["abort"]


@pytest.mark.parametrize("complete, goodbye", [(True, "write_eof"), (False, "abort")])
def test_a_goodbye_is_for_complete_clients(complete, goodbye):
    bench = Bench(messages=1)
    if complete:
        bench.echo()
    bench.client.leave()
    assert bench.connection.calls == [goodbye]

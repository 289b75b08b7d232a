"""The schedule: each message at its moment, the connections in turn, and what is overdue at once but in bursts."""

import signal

import pytest

from scripts.clients.schedule import BURST, SHORTEST_SLEEP_SECONDS, Schedule


class FakeReactor:
    """Time passes only by hand; `advance` makes the calls that are due, and those that they ask for."""

    def __init__(self):
        self.now = 100.0
        self.calls = []

    def time(self):
        return self.now

    def call_soon(self, callback):
        self.calls.append((self.now, callback))

    def call_later(self, seconds, callback):
        assert seconds >= SHORTEST_SLEEP_SECONDS
        self.calls.append((self.now + seconds, callback))

    def next_call(self):
        """Go to the moment of the next call, make it, and return the moment."""
        when, callback = self.calls.pop(0)
        self.now = max(self.now, when)
        callback()
        return when


class RecordingClient:
    def __init__(self):
        self.first_at = None
        self.sent = []

    def begin(self, now, first_at):
        self.first_at = first_at

    def send_next(self, now):
        self.sent.append(now)


@pytest.fixture
def schedule(monkeypatch):
    monkeypatch.delattr(signal, "setitimer")  # the other way to wait is used when the clients run as a program

    def schedule(connections, rate, messages):
        reactor, clients = FakeReactor(), [RecordingClient() for _ in range(connections)]
        made = Schedule(reactor, clients, rate, messages)
        made.start()
        return made, reactor, clients

    return schedule


def test_each_message_goes_out_at_its_moment_and_the_connections_take_turns(schedule):
    _, reactor, clients = schedule(connections=3, rate=4.0, messages=2)
    while reactor.calls:
        reactor.next_call()
    assert [client.first_at for client in clients] == [100.0, 100.25, 100.5]
    assert [client.sent for client in clients] == [[100.0, 100.75], [100.25, 101.0], [100.5, 101.25]]


def test_what_was_missed_is_made_up_for_at_once(schedule):
    _, reactor, clients = schedule(connections=2, rate=10.0, messages=50)
    reactor.now += 5.0
    reactor.next_call()
    assert [len(client.sent) for client in clients] == [26, 25]
    assert len(reactor.calls) == 1


def test_a_long_delay_is_made_up_for_in_bursts_so_that_answers_are_looked_at(schedule):
    _, reactor, [client] = schedule(connections=1, rate=1000.0, messages=10 * BURST)
    reactor.now += 60.0
    counts = []
    while reactor.calls:
        reactor.next_call()
        counts.append(len(client.sent))
    assert counts[:3] == [1 + BURST, 1 + 2 * BURST, 1 + 3 * BURST]
    assert counts[-1] == 10 * BURST


def test_a_rate_beyond_what_a_wait_can_be_cut_into_goes_out_in_groups(schedule):
    _, reactor, [client] = schedule(connections=1, rate=1e6, messages=1000)
    calls = 0
    while reactor.calls:
        reactor.next_call()
        calls += 1
    assert len(client.sent) == 1000
    assert calls <= 20


def test_after_stop_nothing_is_sent_and_nothing_is_asked_for(schedule):
    made, reactor, clients = schedule(connections=2, rate=10.0, messages=5)
    made.stop()
    while reactor.calls:
        reactor.next_call()
    assert [len(client.sent) for client in clients] == [1, 0]

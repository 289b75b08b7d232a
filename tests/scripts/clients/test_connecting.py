"""Connecting: so many at a time, more when nobody answers, done once."""

import pytest

from scripts.clients import connecting
from scripts.clients.connecting import BATCH, STALLED_SECONDS, Connecting


class Bench:
    """`Connecting` on a fake reactor and with connects that are answered by hand."""

    def __init__(self, monkeypatch, count):
        monkeypatch.setattr(connecting, "connect", self.connect)
        self.soon, self.later, self.in_flight, self.made, self.failed, self.done = [], [], [], [], [], 0
        factories = [lambda number=number: number for number in range(count)]
        self.connecting = Connecting(self, ["endpoint"], factories, self.failed.append, self._count_done)
        self.connecting.start()

    def _count_done(self):
        self.done += 1

    def connect(self, reactor, factory, endpoints, on_failure):
        assert (reactor, endpoints) == (self, ["endpoint"])
        self.in_flight.append((factory, on_failure))

    def call_soon(self, callback):
        self.soon.append(callback)

    def call_later(self, seconds, callback):
        assert seconds == STALLED_SECONDS
        self.later.append(callback)

    def turn(self):
        soon, self.soon = self.soon, []
        for callback in soon:
            callback()

    def tick(self):
        later, self.later = self.later, []
        for callback in later:
            callback()

    def answer(self, count):
        for _ in range(count):
            factory, _ = self.in_flight.pop(0)
            self.made.append(factory())
        self.turn()

    def refuse(self, count):
        for _ in range(count):
            _, on_failure = self.in_flight.pop(0)
            on_failure(ConnectionRefusedError())
        self.turn()


def test_a_batch_is_in_flight_and_each_answer_lets_one_more_go(monkeypatch):
    bench = Bench(monkeypatch, 3 * BATCH)
    assert len(bench.in_flight) == BATCH
    bench.answer(1)
    bench.refuse(1)
    bench.answer(10)
    assert len(bench.in_flight) == BATCH
    while bench.in_flight:
        assert bench.done == 0
        assert len(bench.in_flight) <= BATCH
        bench.answer(1)
    assert (len(bench.made), len(bench.failed), bench.done) == (3 * BATCH - 1, 1, 1)
    assert bench.made == sorted(bench.made)


def test_when_nothing_is_answered_another_batch_may_go(monkeypatch):
    bench = Bench(monkeypatch, 3 * BATCH)
    bench.tick()
    assert len(bench.in_flight) == 2 * BATCH
    bench.answer(1)
    bench.tick()
    assert len(bench.in_flight) == 2 * BATCH  # there was an answer: no reason for more
    bench.tick()
    assert len(bench.in_flight) == 3 * BATCH - 1
    bench.tick()
    assert bench.later == []  # all are under way: nothing is left to watch


@pytest.mark.parametrize("count", [1, BATCH, BATCH + 1])
def test_it_is_done_once_whether_all_are_made_or_none(monkeypatch, count):
    for answer in (Bench.answer, Bench.refuse):
        bench = Bench(monkeypatch, count)
        while bench.in_flight:
            answer(bench, len(bench.in_flight))
        bench.tick()
        bench.turn()
        assert bench.done == 1

"""A wait counts while we are there; what came meanwhile is read before anyone is called late."""

import pytest

from reactor import Reactor
from scripts.clients.presence import Presence
from tests import rig

TIMEOUT_SECONDS = 2.0


class Watched:
    """A `Presence` on a loop that is turned by hand, on a clock that is pushed."""

    def __init__(self, reactor, clock, timeout_seconds=TIMEOUT_SECONDS):
        self.reactor, self.clock = reactor, clock
        self.presence = Presence(reactor, timeout_seconds)
        self.presence.start()
        reactor.run_once(0)

    def be_there(self, seconds, step=0.1):
        for _ in range(round(seconds / step)):
            self.clock.now += step
            self.reactor.run_once(0)

    def be_stopped(self, seconds):
        self.clock.now += seconds


@pytest.fixture
def watched(descriptors_come_back):
    clock = rig.FakeClock()
    with Reactor(clock=clock) as reactor:
        yield Watched(reactor, clock)


def test_while_we_are_there_every_second_counts(watched):
    since = watched.clock.now
    watched.be_there(TIMEOUT_SECONDS)
    assert watched.presence.waited(since) == pytest.approx(TIMEOUT_SECONDS)


@pytest.mark.parametrize("seconds", [1.1, 10.0, 1000.0])
@pytest.mark.parametrize("looked_first", ["the beat", "who waits"])
def test_after_an_absence_whoever_waits_has_all_of_the_time_again(watched, seconds, looked_first):
    since = watched.clock.now
    watched.be_there(1.9)
    watched.be_stopped(seconds)
    if looked_first == "the beat":
        watched.reactor.run_once(0)
        watched.reactor.run_once(0)
    assert watched.presence.waited(since) <= 0
    watched.be_there(1.5)
    assert 1.3 < watched.presence.waited(since) < 1.6


def test_nothing_counts_beyond_what_the_kernel_was_asked_for(watched):
    since = watched.clock.now
    watched.be_there(1.0)
    watched.clock.now += 0.4  # a slow callback: what came since has not been read
    assert watched.presence.waited(since) == pytest.approx(1.0)


def test_a_new_wait_after_an_absence_begins_when_it_begins(watched):
    watched.be_stopped(10)
    watched.be_there(1.0)
    since = watched.clock.now
    watched.be_there(0.5)
    assert watched.presence.waited(since) == pytest.approx(0.5)


def test_the_shortest_time_out_is_kept_too(watched):
    quick = Watched(watched.reactor, watched.clock, timeout_seconds=0.001)
    since = watched.clock.now
    quick.be_there(0.1, step=0.005)
    assert quick.presence.waited(since) >= 0.09

"""Fixtures of the tests that run in this process."""

import os
import signal
import socket
import threading

import pytest

from reactor import Reactor
from tests import rig

DEADLINE_SECONDS = 60.0


def pytest_configure():
    """Restore Ctrl-C and SIGHUP: a script starts background jobs with the first ignored, nohup with the second.

    A program that is started inherits that a signal is ignored, but it does not inherit a handler, even an empty one.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)


@pytest.fixture
def descriptors_come_back():
    """What the test opens is closed when it ends, and so is all that the reactor opens for it."""
    before = count_descriptors()
    yield
    assert count_descriptors() == before, "a descriptor was left open, or closed that was not ours"


def count_descriptors():
    """The number of open descriptors, without those of a resolver that still works for a test that is over."""
    for thread in threading.enumerate():
        if thread.name.startswith("look-up of "):
            thread.join(DEADLINE_SECONDS)
    return len(os.listdir("/dev/fd"))


@pytest.fixture
def reactor(descriptors_come_back):
    """A reactor that is closed at the end, with everything in it."""
    with Reactor() as reactor:
        yield reactor


@pytest.fixture
def pair(reactor):
    """Two connected UNIX sockets: one for the reactor, and its peer, whose calls have a deadline."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(rig.DEADLINE_SECONDS)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def tcp_pair(reactor):
    """The same over TCP on the loopback interface."""
    ours, theirs = rig.tcp_pair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture(params=["unix", "tcp"])
def any_pair(request):
    """Both, one after the other."""
    return request.getfixturevalue("pair" if request.param == "unix" else "tcp_pair")


@pytest.fixture
def clock():
    """A clock that stands still until a test moves it."""
    return rig.FakeClock()


@pytest.fixture
def timed(descriptors_come_back, clock):
    """A reactor that uses this clock."""
    with Reactor(clock=clock) as reactor:
        yield reactor


@pytest.fixture
def stub():
    """A dispatcher and an acceptor over stand-ins, without a kernel."""
    return rig.StubReactor()

"""A listener: its interest follows from its state alone."""

import socket

import pytest

from reactor import Limits
from reactor.connections.acceptor import Listener
from reactor.loop.poller import READABLE
from tests.rig import StubSocket


def make_listener():
    return Listener(StubSocket(), list, Limits())


@pytest.mark.parametrize("resting", [False, True])
@pytest.mark.parametrize("closed", [False, True])
def test_it_is_watched_unless_it_rests_or_is_closed(resting, closed):
    listener = make_listener()
    listener.resting, listener.closed = resting, closed
    assert listener.wanted_interest() == (0 if resting or closed else READABLE)


def test_a_new_one_is_awake_and_nothing_is_watched_yet():
    listener = make_listener()
    assert (listener.resting, listener.closed, listener.interest) == (False, False, 0)
    assert listener.fd == listener.socket.fileno()


def test_its_address_has_the_real_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        host, port = Listener(sock, list, Limits()).address
        assert host == "127.0.0.1" and port > 0


def test_it_says_what_it_is_even_when_its_socket_is_gone():
    listener = make_listener()
    assert "stub" in repr(listener)
    listener.closed, listener.socket = True, None
    assert "closed" in repr(listener)

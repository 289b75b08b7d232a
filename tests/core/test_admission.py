"""Who may come in: places in all, and places for one address (A5)."""

import pytest

from reactor import Limits
from reactor.core.admission import Admission, host_of


def test_there_are_as_many_places_as_max_connections():
    admission, limits = Admission(), Limits(max_connections=2)
    assert admission.enter("a", limits)
    assert not admission.is_full(limits)
    assert admission.enter("b", limits)
    assert admission.is_full(limits)
    assert not admission.enter("c", limits)
    assert admission.inside == 2


def test_who_leaves_makes_place():
    admission, limits = Admission(), Limits(max_connections=1)
    for _ in range(3):
        assert admission.enter("a", limits)
        assert not admission.enter("a", limits)
        admission.leave("a")
    assert admission.inside == 0


def test_one_address_gets_no_more_than_its_share():
    admission, limits = Admission(), Limits(max_connections_per_peer=2)
    assert [admission.enter("a", limits) for _ in range(4)] == [True, True, False, False]
    assert admission.enter("b", limits)
    assert admission.inside == 3
    admission.leave("a")
    assert admission.enter("a", limits)


def test_nobody_is_remembered_who_has_left():
    admission, limits = Admission(), Limits()
    for host in range(1000):
        admission.enter(str(host), limits)
        admission.leave(str(host))
    assert admission.by_host == {}


def test_a_unix_socket_has_no_address_to_share_places_by():
    admission, limits = Admission(), Limits(max_connections=3, max_connections_per_peer=1)
    assert [admission.enter(host_of(""), limits) for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize(
    ("peername", "host"),
    [(("10.0.0.1", 80), "10.0.0.1"), (("::1", 80, 0, 0), "::1"), ("", ""), (b"\0abstract", ""), (None, "")],
)
def test_peers_are_told_apart_by_their_host(peername, host):
    assert host_of(peername) == host

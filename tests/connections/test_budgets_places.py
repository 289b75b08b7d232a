"""Which connections get a place: places in all, and places for one peer (A5)."""

import pytest

from reactor import Limits
from reactor.connections.budgets import Admission, host_of


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
    assert [admission.enter(host_of("", 64), limits) for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize(
    ("peername", "host"),
    [
        (("10.0.0.1", 80), "10.0.0.1"),
        ("", ""),
        (b"\0abstract", ""),
        (None, ""),
        (("::1", 80, 0, 0), "::/64"),
        (("2001:db8:0:1:2:3:4:5", 80, 0, 0), "2001:db8:0:1::/64"),
        (("2001:db8:0:1::", 80, 0, 0), "2001:db8:0:1::/64"),
        (("2001:db8:0:2::", 80, 0, 0), "2001:db8:0:2::/64"),
        (("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 80, 0, 0), "ffff:ffff:ffff:ffff::/64"),
        (("fe80::1:2", 80, 0, 3), "fe80::%3/64"),
        (("fe80::1:2%eth0", 80, 0, 3), "fe80::%3/64"),
        (("::ffff:10.0.0.1", 80, 0, 0), "10.0.0.1"),
        (("::fffe:10.0.0.1", 80, 0, 0), "::/64"),
    ],
)
def test_peers_are_told_apart_by_their_host_or_their_network(peername, host):
    assert host_of(peername, 64) == host


@pytest.mark.parametrize(
    ("bits", "host"),
    [
        (1, "8000::/1"),
        (48, "ffff:ffff:ffff::/48"),
        (63, "ffff:ffff:ffff:fffe::/63"),
        (127, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127"),
        (128, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"),
    ],
)
def test_the_network_is_as_long_as_it_is_said_to_be(bits, host):
    assert host_of((":".join(["ffff"] * 8), 80, 0, 0), bits) == host
    assert host_of(("10.0.0.1", 80), bits) == "10.0.0.1"


def test_a_peer_has_one_count_whichever_family_of_socket_it_came_to():
    admission, limits = Admission(), Limits(max_connections_per_peer=1)
    peers = [("10.0.0.1", 80), ("::ffff:10.0.0.1", 80, 0, 0), ("::ffff:a00:1", 80, 0, 0)]
    assert [admission.enter(host_of(peer, 64), limits) for peer in peers] == [True, False, False]

"""Bound sockets: every endpoint or none, the same port in both families, and what may be handed in (A8, A10)."""

import errno
import os
import socket
import types

import pytest

from reactor.net import addresses
from tests.net.connecting import answers
from tests.rig import tcp_pair

pytestmark = pytest.mark.usefixtures("descriptors_come_back")


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 on its loopback interface")


def test_an_ipv4_address_is_bound_and_can_be_listened_on(bound):
    (sock,) = bound("127.0.0.1:0")
    host, port = sock.getsockname()
    assert host == "127.0.0.1" and port > 0
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    sock.listen()
    socket.create_connection((host, port)).close()


def test_where_it_would_share_the_port_the_address_is_not_to_be_used_again(bound, monkeypatch):
    monkeypatch.setattr(addresses, "os", types.SimpleNamespace(name="nt"))
    (sock,) = bound("127.0.0.1:0")
    assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)


@needs_ipv6
def test_an_ipv6_address_is_bound_and_leaves_the_port_of_ipv4_alone(bound):
    (sock,) = bound("[::1]:0")
    assert sock.family == socket.AF_INET6
    assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    (other,) = bound(f"127.0.0.1:{sock.getsockname()[1]}")
    assert other.family == socket.AF_INET


@needs_ipv6
@pytest.mark.parametrize("attempt", range(5))
def test_port_0_without_a_host_is_the_same_port_in_both_families(bound, attempt):
    sockets = bound(":0")
    assert {sock.family for sock in sockets} == {socket.AF_INET, socket.AF_INET6}
    (port,) = {sock.getsockname()[1] for sock in sockets}
    assert port > 0
    for sock in sockets:
        sock.listen()


@needs_ipv6
def test_a_port_that_the_other_family_has_taken_is_given_up_for_another(bound):
    taken = []

    def unlucky(family, kind):
        """The first time, another socket takes the port in the second family."""
        sock = socket.socket(family, kind)
        if made and len(made) == 1:
            thief = socket.socket(family, kind)
            thief.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1) if family == socket.AF_INET6 else None
            thief.bind((("::" if family == socket.AF_INET6 else "0.0.0.0"), made[0].getsockname()[1]))
            thief.listen()
            taken.append(thief)
        made.append(sock)
        return sock

    made = []
    sockets = bound(":0", unlucky)
    with taken[0]:
        assert len(made) == 4
        assert len({sock.getsockname()[1] for sock in sockets}) == 1
        assert sockets[0].getsockname()[1] != taken[0].getsockname()[1]
        assert [sock.fileno() for sock in made[:2]] == [-1, -1]


def test_it_does_not_try_for_ever(bound, refused):
    made = []

    class Taken(socket.socket):
        def bind(self, address):
            raise OSError(errno.EADDRINUSE, "in use")

    def factory(*arguments):
        made.append(Taken(*arguments))
        return made[-1]

    assert refused("127.0.0.1:0", factory).errno == errno.EADDRINUSE
    assert 1 < len(made) == addresses.PORT_0_TRIES
    made.clear()
    assert refused("127.0.0.1:80", factory).errno == errno.EADDRINUSE
    assert len(made) == 1, "a port that was asked for is not tried again"


def test_a_name_is_bound_at_all_its_endpoints_and_what_this_machine_lacks_is_left_out(bound, monkeypatch):
    endpoints = [(socket.AF_INET, ("192.0.2.1", 0)), (socket.AF_INET, ("127.0.0.1", 0)),
                 (socket.AF_INET, ("127.0.0.2", 0))]  # fmt: skip
    monkeypatch.setattr(addresses.socket, "getaddrinfo", answers(*endpoints))
    sockets = bound("some.name:0")
    assert [sock.getsockname()[0] for sock in sockets] == ["127.0.0.1", "127.0.0.2"]
    assert sockets[0].getsockname()[1] == sockets[1].getsockname()[1]


def test_when_one_endpoint_is_taken_none_is_kept(monkeypatch, refused):
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        endpoints = [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET, ("127.0.0.2", port))]
        monkeypatch.setattr(addresses.socket, "getaddrinfo", answers(*endpoints))
        assert refused(f"some.name:{port}").errno == errno.EADDRINUSE
        socket.create_server(("127.0.0.1", port)).close()


def test_an_address_that_is_not_ours_is_named(refused):
    error = refused("192.0.2.1:80")
    assert error.errno == errno.EADDRNOTAVAIL and "not an address of this machine" in error.strerror


def test_a_port_in_use_is_named(refused):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        error = refused(f"127.0.0.1:{taken.getsockname()[1]}")
    assert error.errno == errno.EADDRINUSE and error.strerror.endswith("address in use")


def test_a_link_local_address_without_its_interface_is_told_what_is_missing(refused, monkeypatch):
    monkeypatch.setattr(addresses.socket, "getaddrinfo", answers((socket.AF_INET, ("127.0.0.1", 0))))

    class Refusing(socket.socket):
        def bind(self, address):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    assert "[fe80::1%eth0]:80" in refused("[fe80::1]:80", Refusing).strerror


def test_a_machine_without_the_family_says_so(refused):
    def factory(*_):
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    assert refused("127.0.0.1:0", factory).errno == errno.EAFNOSUPPORT


# A descriptor that was handed in.


@needs_ipv6
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX], ids=lambda family: family.name)
def test_a_bound_socket_that_was_handed_in_is_taken_over(bound, path, family):
    with socket.socket(family) as given:
        given.bind(path if family == socket.AF_UNIX else ("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        name, fd = given.getsockname(), given.detach()
    (sock,) = bound(f"fd://{fd}")
    assert (sock.family, sock.getsockname(), sock.fileno()) == (family, name, fd)


def test_a_descriptor_that_is_no_socket_is_refused_and_left_open(refused):
    reader, writer = os.pipe()
    try:
        assert refused(f"fd://{reader}").errno == errno.ENOTSOCK
        os.fstat(reader)
    finally:
        os.close(reader)
        os.close(writer)


def test_a_descriptor_that_is_not_open_is_refused(refused):
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    assert refused(f"fd://{reader}").errno == errno.EBADF


@pytest.mark.parametrize("made", [socket.socketpair, tcp_pair])
def test_a_connection_is_refused_and_left_open(refused, made):
    ours, theirs = made()
    with ours, theirs:
        for each in (ours, theirs):
            assert refused(f"fd://{each.fileno()}").errno == errno.EISCONN
        ours.send(b"x")
        assert theirs.recv(1) == b"x"


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX], ids=lambda family: family.name)
def test_a_socket_that_is_not_bound_is_refused_and_left_open(refused, family):
    with socket.socket(family) as given:
        assert "bound to no address" in refused(f"fd://{given.fileno()}").strerror
        assert not given.get_inheritable()
        os.fstat(given.fileno())


def test_the_descriptors_of_a_loop_are_refused_and_left_open(reactor, refused):
    for fd in (reactor.poller.epoll.fileno(), *reactor.poller.handlers):
        refused(f"fd://{fd}")
    reactor.call_soon_threadsafe(reactor.stop)
    reactor.run()


def test_what_was_handed_in_is_not_handed_on_and_what_is_refused_stays_as_it_was(bound, refused):
    with socket.socket() as given, socket.socket() as other:
        given.bind(("127.0.0.1", 0))
        for sock in (given, other):
            sock.set_inheritable(True)
        (sock,) = bound(f"fd://{given.fileno()}")
        assert not sock.get_inheritable()
        refused(f"fd://{other.fileno()}")
        assert other.get_inheritable()
        given.detach()


def test_a_datagram_socket_is_refused_and_left_open(refused):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as given:
        error = refused(f"fd://{given.fileno()}")
        assert error.errno == errno.EPROTOTYPE and "not a stream socket" in error.strerror
        os.fstat(given.fileno())


@pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="this system has no sockets that are neither")
def test_a_socket_of_another_family_is_refused_and_left_open(refused):
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as given:
        error = refused(f"fd://{given.fileno()}")
        assert error.errno == errno.EAFNOSUPPORT and "neither a TCP nor a UNIX socket" in error.strerror
        os.fstat(given.fileno())

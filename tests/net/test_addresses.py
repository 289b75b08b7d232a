"""From text to bound sockets and back, with the traps on the way (A7, A8)."""

import errno
import os
import socket

import pytest

from reactor.net import addresses
from reactor.net.addresses import Address, Endpoint, bind, describe, parse, resolve, unlink_unix

pytestmark = pytest.mark.usefixtures("descriptors_come_back")


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 on its loopback interface")


# Text.


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", Address(host="127.0.0.1", port=80)),
        ("localhost:0", Address(host="localhost", port=0)),
        ("host.example:65535", Address(host="host.example", port=65535)),
        (":8000", Address(host="", port=8000)),
        ("[::1]:80", Address(host="::1", port=80)),
        ("[fe80::1%eth0]:80", Address(host="fe80::1%eth0", port=80)),
        ("[::]:0", Address(host="::", port=0)),
        ("unix:/run/x.sock", Address(path="/run/x.sock")),
        ("unix:relative:with:colons", Address(path="relative:with:colons")),
        ("fd://3", Address(fd=3)),
        ("fd://0", Address(fd=0)),
    ],
)
def test_an_address_is_taken_apart_and_put_together_again(text, address):
    assert parse(text) == address
    assert str(address) == text


NONSENSE = {
    "": "HOST:PORT",
    "localhost": "HOST:PORT",
    "80": "HOST:PORT",
    "localhost:": "HOST:PORT",
    "localhost:http": "0 to 65535",
    "localhost:-1": "0 to 65535",
    "localhost:+1": "0 to 65535",
    "localhost: 1": "0 to 65535",
    "localhost:1_0": "0 to 65535",
    "localhost:65536": "0 to 65535",
    "localhost:" + "9" * 5000: "0 to 65535",
    "localhost:\u0663": "0 to 65535",
    "::1:80": "[::1]:80",
    "::": "[::]:PORT",
    "::1": "[::1]:PORT",
    "[::1]": "[V6]:PORT",
    "[::1]:": "0 to 65535",
    "[]:80": "[V6]:PORT",
    "[localhost]:80": "[V6]:PORT",
    "[::1:80": "[V6]:PORT",
    "unix:": "unix:PATH",
    "unix:/a\0b": "unix:PATH",
    "local\0host:80": "HOST:PORT",
    "fd://": "fd://N",
    "fd://three": "fd://N",
    "fd://-1": "fd://N",
    "fd://\u0663": "fd://N",
    "fd://" + "9" * 30: "fd://N",
}


@pytest.mark.parametrize("text", NONSENSE, ids=lambda text: repr(text[:20]))
def test_what_is_no_address_is_refused_in_one_line_that_says_what_would_be_right(text):
    with pytest.raises(ValueError) as caught:
        parse(text)
    words = str(caught.value)
    assert NONSENSE[text] in words
    assert "\n" not in words and repr(text) in words


@pytest.mark.parametrize(
    ("sockaddr", "text"),
    [
        (("127.0.0.1", 80), "127.0.0.1:80"),
        (("::1", 80, 0, 0), "[::1]:80"),
        ("/run/x.sock", "unix:/run/x.sock"),
        (b"\0abstract", "unix:@abstract"),
    ],
)
def test_a_socket_address_is_described_in_the_words_of_parse(sockaddr, text):
    assert describe(sockaddr) == text


# Resolving.


def test_a_numeric_address_is_one_endpoint():
    assert resolve(parse("127.0.0.1:80")) == [Endpoint(socket.AF_INET, ("127.0.0.1", 80))]
    assert resolve(parse("[::1]:80")) == [Endpoint(socket.AF_INET6, ("::1", 80, 0, 0))]
    assert resolve(parse("unix:/x")) == [Endpoint(socket.AF_UNIX, "/x")]


def answers(*endpoints):
    """A stand-in for getaddrinfo that finds those."""
    return lambda *_, **__: [(family, socket.SOCK_STREAM, 6, "", sockaddr) for family, sockaddr in endpoints]


def test_a_name_is_all_its_endpoints_each_once_in_the_order_of_the_resolver(monkeypatch):
    first = (socket.AF_INET6, ("::1", 80, 0, 0))
    second = (socket.AF_INET, ("127.0.0.1", 80))
    monkeypatch.setattr(addresses.socket, "getaddrinfo", answers(first, second, first))
    assert resolve(parse("some.name:80")) == [Endpoint(*first), Endpoint(*second)]


def test_no_host_means_this_machine_when_connecting():
    endpoints = resolve(parse(":80"))
    assert endpoints and all(endpoint.sockaddr[0] in ("127.0.0.1", "::1") for endpoint in endpoints)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "." * 5, "x" * 300])
@pytest.mark.parametrize("use", [resolve, bind])
def test_a_host_that_cannot_be_found_is_named(host, use):
    with pytest.raises(OSError) as caught:
        use(parse(f"{host}:80"))
    assert host in caught.value.strerror


def test_a_socket_to_listen_on_is_no_destination():
    with pytest.raises(ValueError, match="nothing can be connected"):
        resolve(parse("fd://3"))


# Binding.


@pytest.fixture
def bound():
    """`bind`, with its sockets closed in the end."""
    sockets = []

    def bound(text, *arguments):
        new = bind(parse(text), *arguments)
        sockets.extend(new)
        return new

    yield bound
    for sock in sockets:
        sock.close()


def refused(text, *arguments):
    with pytest.raises(OSError) as caught:
        bind(parse(text), *arguments)
    words = caught.value.strerror
    assert words.startswith(f"cannot listen on {text}: ") and "\n" not in words
    return caught.value


def test_an_ipv4_address_is_bound_and_can_be_listened_on(bound):
    (sock,) = bound("127.0.0.1:0")
    host, port = sock.getsockname()
    assert host == "127.0.0.1" and port > 0
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    sock.listen()
    socket.create_connection((host, port)).close()


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
        """The first time, somebody else takes the port in the second family."""
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


def test_it_does_not_try_for_ever(bound):
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


def test_when_one_endpoint_is_taken_none_is_kept(monkeypatch):
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        endpoints = [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET, ("127.0.0.2", port))]
        monkeypatch.setattr(addresses.socket, "getaddrinfo", answers(*endpoints))
        assert refused(f"some.name:{port}").errno == errno.EADDRINUSE
        socket.create_server(("127.0.0.1", port)).close()


def test_an_address_that_is_not_ours_is_named():
    error = refused("192.0.2.1:80")
    assert error.errno == errno.EADDRNOTAVAIL and "not an address of this machine" in error.strerror


def test_a_port_in_use_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        error = refused(f"127.0.0.1:{taken.getsockname()[1]}")
    assert error.errno == errno.EADDRINUSE and error.strerror.endswith("address in use")


def test_a_machine_without_the_family_says_so():
    def factory(*_):
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    assert refused("127.0.0.1:0", factory).errno == errno.EAFNOSUPPORT


# UNIX sockets.


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a UNIX path has room for some hundred bytes, and tmp_path may take them all
    return "server.sock"


def connected(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    return True


def test_a_unix_path_is_bound(bound, path):
    (sock,) = bound(f"unix:{path}")
    sock.listen()
    assert connected(path)


def test_a_stale_unix_path_is_replaced(bound, path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
        dead.listen()
    (sock,) = bound(f"unix:{path}")
    sock.listen()
    assert connected(path)


@pytest.mark.parametrize("waiting", [0, 5])
def test_a_live_unix_path_is_in_use_and_its_server_is_not_disturbed(path, waiting):
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(path)
        live.listen(0 if waiting else 5)
        clients = []
        for _ in range(waiting):  # more than its queue holds: it lives all the same
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            clients.append(client)
            client.connect_ex(path)
        error = refused(f"unix:{path}")
        assert error.errno == errno.EADDRINUSE and error.strerror.endswith("address in use")
        for client in clients:
            client.close()
        if not waiting:
            assert connected(path)


def test_a_datagram_socket_at_the_path_is_not_ours_to_remove(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(path)
        assert refused(f"unix:{path}").errno == errno.EADDRINUSE
        assert os.path.exists(path)


@pytest.mark.parametrize("kind", ["file", "directory", "link to a file"])
def test_what_is_not_a_socket_is_not_removed(path, kind):
    if kind == "directory":
        os.mkdir(path)
    else:
        with open("a-file", "w") as file:
            file.write("precious")
        os.rename("a-file", path) if kind == "file" else os.symlink("a-file", path)
    assert refused(f"unix:{path}").errno == errno.EADDRINUSE
    assert os.path.exists(path)


def test_a_unix_path_that_cannot_be_is_refused(path):
    assert refused("unix:no/such/folder").errno == errno.ENOENT
    assert "too long" in refused("unix:" + "x" * 200).strerror


def test_only_our_own_path_is_removed(bound, path):
    (ours,) = bound(f"unix:{path}")
    inode = os.stat(path).st_ino
    ours.close()
    os.rename(path, "elsewhere")  # keeps the inode from being used again
    (others,) = bound(f"unix:{path}")
    unlink_unix(path, inode)
    assert os.path.exists(path), "it belongs to another by now"
    unlink_unix(path, os.stat(path).st_ino)
    assert not os.path.exists(path)
    unlink_unix(path, inode)


# A descriptor that was handed in.


@needs_ipv6
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX], ids=lambda family: family.name)
def test_a_bound_socket_that_was_handed_in_is_taken_over(bound, path, family):
    with socket.socket(family) as given:
        given.bind(path if family == socket.AF_UNIX else ("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        name, fd = given.getsockname(), given.detach()
    (sock,) = bound(f"fd://{fd}")
    assert (sock.family, sock.getsockname(), sock.fileno()) == (family, name, fd)


def test_a_descriptor_that_is_no_socket_is_refused_and_left_open():
    reader, writer = os.pipe()
    try:
        assert refused(f"fd://{reader}").errno == errno.ENOTSOCK
        os.fstat(reader)
    finally:
        os.close(reader)
        os.close(writer)


def test_a_descriptor_that_is_not_open_is_refused():
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    assert refused(f"fd://{reader}").errno == errno.EBADF


def test_a_datagram_socket_is_refused_and_left_open():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as given:
        error = refused(f"fd://{given.fileno()}")
        assert error.errno == errno.EPROTOTYPE and "not a stream socket" in error.strerror
        os.fstat(given.fileno())

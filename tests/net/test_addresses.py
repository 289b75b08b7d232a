"""From text to endpoints and back, with the traps on the way (A7, A8)."""

import socket

import pytest

from reactor.connections.sockaddr import describe
from reactor.net import addresses
from reactor.net.addresses import Address, Endpoint, bind, check_endpoint, parse, resolve, resolve_now
from tests.net.connecting import answers

pytestmark = pytest.mark.usefixtures("descriptors_come_back")


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
        ("unix:///run/x.sock", Address(path="///run/x.sock")),
        ("unix:@abstract", Address(path="@abstract")),
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
    "localhost": "localhost:PORT",
    "80": "127.0.0.1:80, or :80",
    "localhost:": "localhost:PORT",
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
    "[::1]": "[::1]:PORT",
    "[::1]:": "0 to 65535",
    "127.0.0.1": "127.0.0.1:PORT",
    "http://127.0.0.1:8000": "write 127.0.0.1:8000",
    "http://localhost:8000/": "write localhost:8000",
    "tcp://[::1]:80": "write [::1]:80",
    "tcp://:80": "write :80",
    "https://host.example/a:b": "write host.example:PORT",
    "HTTP://::1": "write [::1]:PORT",
    "localhost:8000/path": "write localhost:8000",
    "*:8000": "write :8000 for every interface",
    "fe80::1%lo": "write [fe80::1%lo]:PORT",
    "1:2:3": "HOST:PORT",
    "/run/x.sock": "write unix:/run/x.sock",
    "./x.sock": "write unix:./x.sock",
    "unix://run/x.sock": "unix:run/x.sock or unix:/run/x.sock",
    "unix://": "unix:PATH",
    "unix:@": "unix:PATH",
    "unix:\ud800": "unix:PATH",
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


@pytest.mark.parametrize("nonsense", [None, 8000, b"127.0.0.1:80", ["127.0.0.1:80"]])
def test_what_is_no_text_is_refused(nonsense):
    with pytest.raises(TypeError, match="HOST:PORT"):
        parse(nonsense)


LOOPBACK = socket.if_nametoindex("lo") if "lo" in [name for _, name in socket.if_nameindex()] else None
needs_lo = pytest.mark.skipif(not LOOPBACK, reason="there is no interface lo")


@pytest.mark.parametrize(
    ("sockaddr", "text"),
    [
        (("127.0.0.1", 80), "127.0.0.1:80"),
        (("::1", 80, 0, 0), "[::1]:80"),
        ("/run/x.sock", "unix:/run/x.sock"),
        (b"\0abstract", "unix:@abstract"),
        ("@a file", "unix:./@a file"),
        (("fe80::1", 80, 0, 999_999), "[fe80::1%999999]:80"),
        pytest.param(("fe80::1", 80, 0, LOOPBACK), "[fe80::1%lo]:80", marks=needs_lo),
    ],
)
def test_a_socket_address_is_described_in_the_words_of_parse(sockaddr, text):
    assert describe(sockaddr) == text
    assert str(parse(text)) == text


# Resolving.


def test_a_numeric_address_is_one_endpoint():
    assert resolve(parse("127.0.0.1:80")) == [Endpoint(socket.AF_INET, ("127.0.0.1", 80))]
    assert resolve(parse("[::1]:80")) == [Endpoint(socket.AF_INET6, ("::1", 80, 0, 0))]
    assert resolve(parse("unix:/x")) == [Endpoint(socket.AF_UNIX, "/x")]


@needs_lo
@pytest.mark.parametrize("zone", ["lo", LOOPBACK])
def test_the_zone_of_a_link_local_address_is_the_number_of_its_interface(zone):
    expected = [Endpoint(socket.AF_INET6, ("fe80::1", 80, 0, LOOPBACK))]
    assert resolve_now(parse(f"[fe80::1%{zone}]:80")) == expected
    assert resolve(parse(f"[fe80::1%{zone}]:80")) == expected


def test_a_zone_that_is_not_there_is_left_to_the_resolver_to_refuse():
    assert resolve_now(parse("[fe80::1%nowhere]:80")) is None
    with pytest.raises(OSError, match="fe80::1%nowhere"):
        resolve(parse("[fe80::1%nowhere]:80"))


@pytest.mark.parametrize(
    "endpoint",
    [
        Endpoint(socket.AF_INET, ("127.0.0.1", 0)),
        Endpoint(socket.AF_INET6, ("::1", 65535, 0, 0)),
        Endpoint(socket.AF_INET6, ("fe80::1%lo", 80)),
        Endpoint(socket.AF_UNIX, b"\0abstract"),
    ],
)
def test_an_endpoint_of_a_right_form_is_let_pass(endpoint):
    check_endpoint(endpoint)


@pytest.mark.parametrize(
    ("endpoint", "error"),
    [
        (None, TypeError),
        ("127.0.0.1:80", TypeError),
        ((socket.AF_INET, ("127.0.0.1", 80)), TypeError),
        (Endpoint("inet", ("127.0.0.1", 80)), TypeError),
        (Endpoint(socket.AF_INET, "127.0.0.1"), TypeError),
        (Endpoint(socket.AF_INET, ("127.0.0.1",)), TypeError),
        (Endpoint(socket.AF_INET, ("127.0.0.1", "80")), TypeError),
        (Endpoint(socket.AF_INET, ("127.0.0.1", None)), TypeError),
        (Endpoint(socket.AF_INET, (b"127.0.0.1", 80)), TypeError),
        (Endpoint(socket.AF_INET, ("localhost", 80)), ValueError),
        (Endpoint(socket.AF_INET, ("::1", 80)), ValueError),
        (Endpoint(socket.AF_INET6, ("127.0.0.1", 80, 0, 0)), ValueError),
        (Endpoint(socket.AF_INET, ("127.0.0.1\0", 80)), ValueError),
        (Endpoint(socket.AF_INET, ("127.0.0.1%some.host", 80)), ValueError),  # a name for getaddrinfo(3)
        (Endpoint(socket.AF_INET, ("127.0.0.1", 65536)), ValueError),
        (Endpoint(socket.AF_INET6, ("::1", -1, 0, 0)), ValueError),
    ],
)
def test_an_endpoint_of_a_wrong_form_is_refused(endpoint, error):
    with pytest.raises(error):
        check_endpoint(endpoint)


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

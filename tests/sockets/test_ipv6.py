"""Whole IPv6 networks, and addresses that need a zone, over real sockets in a network namespace."""

import concurrent.futures
import contextlib
import ctypes
import os
import pathlib
import re
import shutil
import socket
import subprocess

import pytest

from reactor import Reactor, connect
from tests.rig import Recorder, turn_until
from tests.support import DEADLINE_SECONDS, exchange, serving, socket_address

CLONE_NEWNET = 0x40000000  # unshare(2)
PLACES = 2
NETWORK = """\
link set lo up
address add 2001:db8:0:1::1/64 dev lo nodad
address add fe80::1/64 dev lo nodad
route add local 2001:db8:0:1::/64 dev lo
route add local 2001:db8:0:2::/64 dev lo
"""


class NoNetwork(Exception):
    """There can be no network namespace here, for this reason."""


def make_network():
    if shutil.which("ip") is None or os.geteuid():
        raise NoNetwork("only root can have one, with iproute2")
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise NoNetwork(os.strerror(ctypes.get_errno()))
    try:
        pathlib.Path("/proc/sys/net/ipv6/ip_nonlocal_bind").write_text("1")  # of this thread's network
        subprocess.run(["ip", "-6", "-batch", "-"], input=NETWORK, text=True, check=True, timeout=DEADLINE_SECONDS)
    except (OSError, subprocess.CalledProcessError) as exc:
        raise NoNetwork(str(exc)) from exc


def in_a_network_of_its_own(act):
    """Call `act()` on a thread with a new network, and return its result. Its sockets and child processes are there.

    The test is skipped if there can be no such network.
    """

    def on_thread():
        make_network()
        return act()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        try:
            return pool.submit(on_thread).result()
        except NoNetwork as reason:
            pytest.skip(f"no network of its own: {reason}")


@pytest.mark.parametrize(("bits", "served"), [(64, [2, 2]), (48, [2, 0]), (128, [4, 4])])
def test_the_addresses_of_one_network_share_the_places_of_one_peer(bits, served):
    """A client that has one IPv6 address has 2**64 of them, and must not get all places with them (S9)."""

    def count_served():
        limits = ["--max-connections-per-peer", str(PLACES), "--ipv6-peer-prefix-bits", str(bits)]
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(serving("echo", *limits, bind="[2001:db8:0:1::1]:0"))
            networks = [[f"2001:db8:0:{network}::{host}" for host in range(2, 6)] for network in (1, 2)]
            return [sum(is_served(server, host, stack) for host in hosts) for hosts in networks]

    assert in_a_network_of_its_own(count_served) == served


def is_served(server, host, stack):
    """Whether a client from the address `host` is served. It stays until the end of `stack`."""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # a refusal may come before `connect` returns
        address = socket_address(server.addresses[0])
        client = stack.enter_context(socket.create_connection(address, DEADLINE_SECONDS, (host, 0)))
        return exchange(client, b"x") == b"x"
    return False


def test_the_address_of_a_link_local_server_can_be_connected_to_as_it_is_told():
    def told_and_answered():
        with serving("echo", bind="[fe80::1%lo]:0") as server, Reactor() as reactor:
            protocol = Recorder(connection_made=lambda recorder: recorder.connection.write(b"hello"))
            failures = []
            connect(reactor, lambda: protocol, server.addresses[0], failures.append)
            turn_until(reactor, lambda: protocol.received or failures, "an answer")
            return server.addresses[0], protocol.received or failures

    told, answered = in_a_network_of_its_own(told_and_answered)
    assert re.fullmatch(r"\[fe80::1%lo\]:\d+", told) and answered == b"hello"

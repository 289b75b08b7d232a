"""E10 to E12: the end of a server that is still working. L7 and L8 have more of it."""

import signal
import time

import pytest

from reactor import Server
from reactor.apps.echo import Echo
from tests.failures.clients import deaf, refuses
from tests.failures.programs.protocols import REPLY
from tests.support import connect, receive, receive_all, wait_until

# Connections keep coming during a drain, so to wait for the last one is to wait for ever (E10).


def test_e10_a_program_that_opens_a_connection_again_whenever_it_is_lost(serve):
    with Server(Echo, bind="127.0.0.1:0") as upstream, serve("feeds", drain_seconds=1.0) as server:
        with connect(server.address) as client:
            client.sendall(f"{upstream.addresses[0]}\n".encode() * 3)
            wait_until(lambda: upstream.statistics()["accepted"] == 3, "its own connections")
            server.send_signal(signal.SIGTERM)
            status = server.wait()
            assert status in (0, 1), f"status {status}:\n{server.stderr.text}"


# The server has sent everything, its kernel has not; the client reads slowly, and still sends (E11).

E11_BYTES = 300_000  # the kernel of any server takes so much, and that of a deaf client next to nothing
E11_WORDS, E11_PAUSE_SECONDS = 30, 0.1  # three seconds in all


def half_read(server):
    """A client that has most of the reply still to receive when the drain has begun."""
    client = deaf(server.address)
    client.sendall(b"%d\n" % E11_BYTES)
    assert receive(client, 1) == REPLY[:1]
    server.send_signal(signal.SIGTERM)
    wait_until(lambda: refuses(server), "the drain to begin")
    return client


def test_e11_a_reply_that_is_read_late_by_a_client_that_still_speaks(serve):
    with serve("sized") as server, half_read(server) as client:
        for _ in range(E11_WORDS):
            client.send(b"x")  # a closed socket would answer with a reset, and the rest of the reply would be lost
            time.sleep(E11_PAUSE_SECONDS)
        rest = receive_all(client)
        assert len(rest) == E11_BYTES - 1, f"the reply was cut after {len(rest) + 1} of its {E11_BYTES} bytes"
        assert rest == REPLY[1:E11_BYTES]
        client.close()
        assert server.wait() == 0, f"everything was delivered:\n{server.stderr.text}"


def test_e11_a_reply_that_is_not_read_is_cut_at_the_deadline_and_both_sides_know(serve):
    with serve("sized", drain_seconds=1.0) as server, half_read(server) as client:
        assert server.wait() == 1, f"one connection had to be cut:\n{server.stderr.text}"
        with pytest.raises(ConnectionResetError):
            receive_all(client)


# The answer is not made yet (E12).

LATER = b"later\n"


@pytest.mark.parametrize("way", ["x", "t"], ids=["timer", "thread"])
def test_e12_a_reply_that_is_still_being_made(serve, way):
    with serve("later") as server, connect(server.address) as client:
        client.sendall(b"x")
        assert receive(client, len(LATER)) == LATER  # it was accepted
        client.sendall(way.encode())
        server.send_signal(signal.SIGTERM)
        assert receive_all(client) == LATER, "the reply is lost"
        client.close()
        assert server.wait() == 0, server.stderr.text


def test_e12_a_reply_that_is_never_made_is_waited_for_until_the_deadline(serve):
    with serve("later", drain_seconds=1.0) as server, connect(server.address) as client:
        client.sendall(b"nx")
        assert receive(client, len(LATER)) == LATER
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 1, f"one connection had to be cut:\n{server.stderr.text}"
        with pytest.raises(ConnectionResetError):
            receive_all(client)

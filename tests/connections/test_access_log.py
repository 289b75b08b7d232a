"""One record for each connection that is over: who, how long, how much, and why (`connections.access_log`)."""

import logging
import re
import socket

import pytest

from reactor import CloseReason, Limits, Reactor, connect
from reactor.connections.access_log import CountingSocket
from tests import rig
from tests.rig import Recorder, StubReactor, StubSocket, adopt, turn_until

pytestmark = pytest.mark.usefixtures("descriptors_come_back")


def echo(recorder, data):
    recorder.connection.write(data)


@pytest.fixture(params=[True, False], ids=["fast path", "plain path"])
def reactor(request):
    with Reactor(limits=Limits(max_connections_per_peer=2), fast_path=request.param) as reactor:
        yield reactor


@pytest.fixture
def ends(caplog):
    """The records of the connections that have ended."""
    caplog.set_level("DEBUG", "reactor.access")

    def records():
        return [record for record in caplog.records if record.name == "reactor.access"]

    return records


def listening(reactor, **reactions):
    sock = socket.create_server(("127.0.0.1", 0))
    reactor.listen(sock, lambda: Recorder(**reactions))
    return sock.getsockname()


def text(sockaddr):
    return f"{sockaddr[0]}:{sockaddr[1]}"


def test_a_record_says_who_how_long_how_much_and_why(reactor, ends):
    address = listening(reactor, data_received=echo)
    with socket.create_connection(address) as client:
        peer = text(client.getsockname())
        client.sendall(b"hello")
        turn_until(reactor, lambda: reactor.counters.bytes_sent == 5, "the echo")
        assert client.recv(99) == b"hello"
        assert not ends()
    turn_until(reactor, ends, "the end")
    [record] = ends()
    assert record.levelno == logging.DEBUG
    seconds = record.args.pop("seconds")
    assert record.args == {
        "connection": 1, "peer": peer, "listener": text(address), "bytes_in": 5, "bytes_out": 5,
        "reason": "peer_closed", "error": None,
    }  # fmt: skip
    assert 0 <= seconds < rig.DEADLINE_SECONDS
    record.args["seconds"] = 1.25
    assert record.getMessage() == (
        f"connection 1 from {peer} on {text(address)}: peer_closed after 1.250 s, 5 bytes in, 5 out"
    )


def test_a_number_is_given_once_though_the_descriptor_is_given_again(reactor, ends):
    address = listening(reactor)
    for _ in range(3):
        count = len(ends())
        with socket.create_connection(address):
            turn_until(reactor, lambda: reactor.counters.open, "a connection")
            [connection] = reactor.dispatcher.connections()
            before = repr(connection)
        turn_until(reactor, lambda count=count: len(ends()) > count, "its end")
        assert before.split()[1] == repr(connection).split()[1] == str(connection.serial)
    assert [record.args["connection"] for record in ends()] == [1, 2, 3]


def test_what_was_refused_has_a_record_with_the_limit(reactor, ends):
    address = listening(reactor)
    with socket.create_connection(address), socket.create_connection(address):
        with socket.create_connection(address) as third:
            turn_until(reactor, ends, "a refusal")
            peer = text(third.getsockname())
    [record] = ends()
    assert record.getMessage() == (
        f"connection 3 from {peer} on {text(address)}: refused after 0.000 s, 0 bytes in, 0 out"
        " (max_connections_per_peer)"
    )


def test_a_connection_that_we_opened_has_no_listener(reactor, ends):
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        made = []
        connect(reactor, lambda: made.append(Recorder()) or made[-1], text(theirs.getsockname()), pytest.fail)
        turn_until(reactor, lambda: made and made[0].connection, "the connection")
        made[0].connection.abort()
        turn_until(reactor, ends, "its end")
        [record] = ends()
        assert record.args["listener"] is None
        assert record.getMessage().startswith(f"connection 1 to {text(theirs.getsockname())}: aborted after ")


def test_the_reason_stands_there_once_and_an_error_says_more(ends):
    stub = StubReactor(Limits(first_byte_seconds=60))
    adopt(stub, StubSocket(), Recorder())
    stub.pass_time(61)
    stub.finish()
    [record] = ends()
    assert record.getMessage() == (
        "connection 1 to unix:peer: first_byte_timeout after 61.000 s (first_byte_seconds (60) passed in state open)"
    )


class Untold(Exception):
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize(("error", "said"), [(ValueError(), "ValueError"), (Untold(), "Untold")])
def test_an_error_without_a_text_is_named_by_its_class(ends, error, said):
    stub = StubReactor()

    def fail(recorder):
        raise error

    adopt(stub, StubSocket(), Recorder(connection_made=fail))
    stub.finish()
    [record] = ends()
    assert record.args["error"] == said and record.args["reason"] == "handler_error"


def test_while_the_log_is_off_nothing_is_counted_and_nothing_said(reactor, caplog):
    caplog.set_level("INFO", "reactor.access")
    address = listening(reactor)
    with socket.create_connection(address) as client:
        client.sendall(b"hello")
        turn_until(reactor, lambda: reactor.counters.bytes_received, "the data")
        [connection] = reactor.dispatcher.connections()
        assert type(connection._socket) is socket.socket
        caplog.set_level("DEBUG", "reactor.access")  # what began before was not counted
    turn_until(reactor, lambda: not reactor.counters.open, "the end")
    [record] = [record for record in caplog.records if record.name == "reactor.access"]
    assert record.args["bytes_in"] is record.args["bytes_out"] is None
    assert re.fullmatch(r"connection 1 from \S+ on \S+: peer_closed after \d+\.\d{3} s", record.getMessage())


def test_what_is_only_looked_at_is_not_counted():
    ours, theirs = socket.socketpair()
    fd = ours.fileno()
    with theirs, CountingSocket(ours) as counting:
        assert counting.fileno() == fd and ours.fileno() == -1
        assert (counting.family, counting.type) == (theirs.family, theirs.type)
        theirs.sendall(b"hello")
        assert counting.recv(1, socket.MSG_PEEK) == b"h"
        assert counting.received == 0
        assert counting.recv(99) == b"hello" and counting.send(b"hi") == 2
        assert (counting.received, counting.sent) == (5, 2)


class Leaves(Exception):
    def __str__(self):
        raise SystemExit


def test_an_error_that_leaves_the_loop_when_it_is_shown_leaves_no_socket_open(reactor, ends):
    def fail(recorder):
        raise Leaves

    address = listening(reactor, connection_made=fail)
    with socket.create_connection(address, rig.DEADLINE_SECONDS) as client:
        with pytest.raises(SystemExit):
            turn_until(reactor, lambda: reactor.counters.closed[CloseReason.HANDLER_ERROR], "the end")
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert not reactor.counters.open

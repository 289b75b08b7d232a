"""`Server`: what it takes, how it runs on this thread or its own, and how it ends what is under way."""

import os
import queue
import signal
import socket
import threading

import pytest

from reactor import Limits, Protocol, Reactor, Server
from reactor.apps.echo import Echo
from tests.support import (
    DEADLINE_SECONDS,
    connect,
    exchange,
    receive,
    receive_all,
    reset,
    socket_address,
    wait_until,
)

ANY_PORT = "127.0.0.1:0"
BIG = bytes(16 * 1024 * 1024)  # far more than the kernel's buffers take


def address_of(server):
    return socket_address(server.addresses[0])


class Reporter(Protocol):
    """Answers each byte with a deed of that name, and reports its own end."""

    def __init__(self, ends):
        self.ends = ends

    def connection_made(self, connection):
        self.connection = connection

    def data_received(self, data):
        for deed in data.decode():
            if deed == "b":
                self.connection.write(BIG)
            elif deed == "c":
                self.connection.close()
            elif deed == "a":
                self.connection.abort()
            elif deed == "x":
                raise RuntimeError("by request")
            else:
                self.connection.write(deed.encode())

    def connection_lost(self, exc):
        self.ends.put((self.connection.close_reason.value, exc))


@pytest.fixture
def ends():
    """How each `Reporter` ended: (close reason, exception)."""
    return queue.SimpleQueue()


@pytest.fixture
def reporting(ends):
    """A server of `Reporter`s on its own thread, which cuts after 0.2 s of draining."""
    limits = Limits(drain_seconds=0.2, linger_seconds=3600)
    with Server(lambda: Reporter(ends), bind=ANY_PORT, limits=limits) as server:
        yield server


def test_a_class_is_a_program():
    with Server(Echo, bind=ANY_PORT) as server, connect(address_of(server)) as client:
        assert exchange(client, b"hello") == b"hello"


def test_a_factory_is_a_program_and_makes_one_protocol_for_each_connection():
    made = []

    def factory():
        made.append(Echo())
        return made[-1]

    with Server(factory, bind=ANY_PORT) as server:
        for _ in range(3):
            with connect(address_of(server)) as client:
                assert exchange(client, b"hello") == b"hello"
    assert len(set(map(id, made))) == 3


@pytest.mark.parametrize("program", [None, "echo", Echo()])
def test_a_program_that_cannot_be_called_is_refused(program):
    with pytest.raises(TypeError, match="program must be a Protocol class or a factory"):
        Server(program)


@pytest.mark.parametrize("bind", ["127.0.0.1", "127.0.0.1:65536", ["127.0.0.1:0", "nonsense"], "", []])
def test_an_address_that_is_none_is_refused(bind):
    with pytest.raises(ValueError, match=r"address|bind"):
        Server(Echo, bind=bind)


def test_a_factory_that_raises_ends_its_connection_and_no_other(caplog):
    protocols = iter([Echo(), None, Echo()])

    def factory():
        if (protocol := next(protocols)) is None:
            raise RuntimeError("not today")
        return protocol

    with Server(factory, bind=ANY_PORT) as server, connect(address_of(server)) as first:
        assert exchange(first, b"first") == b"first"
        with pytest.raises(ConnectionResetError), connect(address_of(server)) as second:  # the first may raise it too
            receive_all(second)
        with connect(address_of(server)) as third:
            assert exchange(third, b"third") == b"third"
        assert exchange(first, b"again") == b"again"
        wait_until(lambda: server.statistics()["closed"]["handler_error"] == 1, "the count of it")
    assert [record.getMessage() for record in caplog.records if record.exc_info][0].startswith("the protocol factory")


# Addresses.


def test_listen_returns_the_addresses_with_their_real_ports(tmp_path):
    with Server(Echo, bind=[ANY_PORT, f"unix:{tmp_path}/socket"]) as server:
        tcp, unix = server.listen()
        assert server.addresses == [tcp, unix] == server.statistics()["listening"]
        assert socket_address(tcp)[1] > 0
        assert unix == f"unix:{tmp_path}/socket"


def test_a_client_that_connects_before_run_is_served_by_it():
    server = Server(Echo, bind=ANY_PORT)
    server.listen()
    client = connect(address_of(server))
    client.sendall(b"early")
    with server:
        assert receive(client, 5) == b"early"
        client.close()


def test_an_address_that_cannot_be_had_is_an_error_and_the_others_are_given_back(tmp_path):
    path = tmp_path / "socket"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with Reactor() as reactor:
            before = len(os.listdir("/proc/self/fd"))
            server = Server(Echo, bind=[ANY_PORT, f"unix:{path}", address], reactor=reactor)
            with pytest.raises(OSError, match=f"cannot listen on {address}: address in use"):
                server.listen()
            assert server.addresses == []
            assert len(os.listdir("/proc/self/fd")) == before
    assert not path.exists()


class FailingListen(socket.socket):
    """Bound to the last, but somebody else listens first."""

    def listen(self, _backlog):
        raise OSError(98, "Address already in use")


def test_of_two_families_none_is_kept_when_listening_fails():
    with Reactor(socket_factory=FailingListen) as reactor:
        server = Server(Echo, bind=":0", reactor=reactor)
        with pytest.raises(OSError, match="cannot listen on :0: Address already in use"):
            server.listen()  # a socket that is left open would be a ResourceWarning, and that an error
        assert server._listeners == []


def test_a_block_that_cannot_begin_leaves_no_descriptor():
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match=r"192\.0\.2\.1"), Server(Echo, bind="192.0.2.1:0"):
        pytest.fail("it has no such address to listen on")
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_port_can_be_had_again_at_once_after_the_end():
    with Server(Echo, bind=ANY_PORT) as server:
        address = server.addresses[0]
        with connect(address_of(server)) as client:
            assert exchange(client, b"hello") == b"hello"
            server.close()
            assert client.recv(1) == b""  # the server's FIN came first, so its end will be in TIME_WAIT
    with Server(Echo, bind=address) as server, connect(address_of(server)) as client:
        assert exchange(client, b"hello") == b"hello"


# On its own thread.


def test_the_block_runs_it_on_a_thread_and_ends_it():
    with Server(Echo, bind=ANY_PORT) as server:
        assert [thread for thread in threading.enumerate() if server.addresses[0] in thread.name]
    assert not [thread for thread in threading.enumerate() if server.addresses[0] in thread.name]
    with pytest.raises(ConnectionRefusedError):
        connect(address_of(server))


def test_an_exception_in_the_block_ends_it_too_and_goes_on():
    with pytest.raises(ZeroDivisionError), Server(Echo, bind=ANY_PORT) as server:
        raise ZeroDivisionError
    with pytest.raises(ConnectionRefusedError):
        connect(address_of(server))


def test_two_servers_side_by_side_do_not_disturb_each_other():
    with Server(Echo, bind=ANY_PORT) as one, Server(Echo, bind=ANY_PORT) as other:
        with connect(address_of(one)) as first, connect(address_of(other)) as second:
            assert exchange(first, b"first") == b"first"
            assert exchange(second, b"second") == b"second"
            one.close()
            assert first.recv(1) == b""
            assert exchange(second, b"again") == b"again"
        assert one.statistics()["accepted"] == other.statistics()["accepted"] == 1


def test_all_descriptors_are_given_back_at_the_end():
    before = len(os.listdir("/proc/self/fd"))
    with Server(Echo, bind=[ANY_PORT, ANY_PORT]) as server:
        for _ in range(5):
            with connect(address_of(server)) as client:
                assert exchange(client, b"hello") == b"hello"
    assert len(os.listdir("/proc/self/fd")) == before


# On this thread.


def test_run_serves_until_close_is_called_from_another_thread():
    server = Server(Echo, bind=ANY_PORT)
    server.listen()
    answers = []

    def client():
        with connect(address_of(server)) as sock:
            answers.append(exchange(sock, b"hello"))
            server.close()

    thread = threading.Thread(target=client)
    thread.start()
    assert server.run() == 0
    thread.join()
    assert answers == [b"hello"]


def test_close_from_a_callback_ends_it_once_the_reply_is_sent():
    class OneReply(Echo):
        def data_received(self, data):
            super().data_received(data + BIG)
            server.close()

    server = Server(OneReply, bind=ANY_PORT)
    server.listen()
    received = []

    def client():
        with connect(address_of(server)) as sock:
            sock.sendall(b"hello")
            received.append(receive_all(sock))

    thread = threading.Thread(target=client)
    thread.start()
    assert server.run() == 0
    thread.join()
    assert received == [b"hello" + BIG]


def test_close_before_run_has_it_return_at_once():
    server = Server(Echo, bind=ANY_PORT)
    server.close()
    assert server.run() == 0


def test_close_again_and_after_the_end_does_nothing():
    with Server(Echo, bind=ANY_PORT) as server:
        server.close()
        server.close()
    server.close()


def test_it_cannot_be_run_twice():
    server = Server(Echo, bind=ANY_PORT)
    server.close()
    server.run()
    with pytest.raises(RuntimeError, match="closed"):
        server.run()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_on_the_main_thread_drains_at_a_signal_and_gives_the_signal_back(number):
    before = signal.getsignal(number)
    server = Server(Echo, bind=ANY_PORT)
    server.reactor.call_soon(os.kill, os.getpid(), number)
    assert server.run() == 0
    assert signal.getsignal(number) is before


def test_run_off_the_main_thread_leaves_the_signals_alone():
    before = signal.getsignal(signal.SIGTERM)
    with Server(Echo, bind=ANY_PORT) as server, connect(address_of(server)) as client:
        assert exchange(client, b"hello") == b"hello"
        assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_signal_cuts_what_the_first_was_waiting_for(ends):
    server = Server(lambda: Reporter(ends), bind=ANY_PORT, limits=Limits(drain_seconds=3600))
    server.listen()
    with connect(address_of(server)) as client:
        client.sendall(b"b")

        def signals():
            receive(client, 1)
            os.kill(os.getpid(), signal.SIGTERM)
            wait_until(lambda: server._draining, "the drain")
            os.kill(os.getpid(), signal.SIGTERM)

        thread = threading.Thread(target=signals)
        thread.start()
        assert server.run() == 1
        thread.join()
    assert ends.get(timeout=DEADLINE_SECONDS) == ("shutdown", None)


# The drain.


def test_a_drain_ends_idle_connections(reporting, ends):
    with connect(address_of(reporting)) as client:
        assert exchange(client, b"hello") == b"hello"
        reporting.close()
        assert client.recv(1) == b""
    assert ends.get(timeout=DEADLINE_SECONDS) == ("closed", None)


def test_a_drain_completes_the_reply_that_is_under_way(ends):
    with Server(lambda: Reporter(ends), bind=ANY_PORT, limits=Limits(drain_seconds=60)) as server:
        with connect(address_of(server)) as client:
            client.sendall(b"b")
            receive(client, 1)
            server.close()
            assert len(receive_all(client)) == len(BIG) - 1
        assert ends.get(timeout=DEADLINE_SECONDS) == ("closed", None)


def test_a_drain_cuts_who_never_reads_at_the_deadline(reporting, ends):
    with connect(address_of(reporting)) as client:
        client.sendall(b"b")
        receive(client, 1)
        reporting.close()
        reason, error = ends.get(timeout=DEADLINE_SECONDS)
        assert reason == "drain_timeout"
        assert str(error) == "not finished within the 0.2 seconds of a drain"
        with pytest.raises(ConnectionResetError):
            receive_all(client)


def test_a_drain_waits_for_no_client_that_never_ends_its_side(reporting, ends):
    # An idle client that ignores our FIN: nothing is owed to it, so it is let go, and not counted as cut.
    with connect(address_of(reporting)) as client:
        assert exchange(client, b"hello") == b"hello"
        reporting.close()
        assert ends.get(timeout=DEADLINE_SECONDS) == ("linger_timeout", None)
        reporting._thread.join(DEADLINE_SECONDS)
        assert reporting._cut == 0


def test_a_drain_accepts_nobody(reporting, ends):
    with connect(address_of(reporting)) as client:
        client.sendall(b"b")
        receive(client, 1)
        reporting.close()
        wait_until(lambda: not reporting._listeners, "the listener's end")
        with pytest.raises(ConnectionRefusedError):
            connect(address_of(reporting))


# Statistics.


def test_statistics_account_for_every_connection_by_the_reason_of_its_end(reporting, ends, caplog):
    def deed(letter):
        client = connect(address_of(reporting))
        client.sendall(letter)
        return client

    assert reporting.statistics()["accepted"] == 0
    idle, left, gone = deed(b"0"), deed(b"1"), deed(b"2")
    for client in (idle, left, gone):
        assert len(receive(client, 1)) == 1
    assert reporting.statistics()["open"] == reporting.statistics()["accepted"] == 3
    left.close()
    assert ends.get(timeout=DEADLINE_SECONDS) == ("peer_closed", None)
    reset(gone)
    assert ends.get(timeout=DEADLINE_SECONDS)[0] == "reset"
    for letter, reason in ((b"c", "closed"), (b"a", "aborted"), (b"x", "handler_error")):
        deed(letter).close()
        assert ends.get(timeout=DEADLINE_SECONDS)[0] == reason
    never_reads = deed(b"b")
    receive(never_reads, 1)
    reporting.close()
    assert ends.get(timeout=DEADLINE_SECONDS)[0] == "drain_timeout"
    idle.close(), never_reads.close()
    reporting._thread.join(DEADLINE_SECONDS)

    statistics = reporting.statistics()
    ended = {reason: count for reason, count in statistics["closed"].items() if count}
    assert ended.pop("closed") + ended.pop("linger_timeout", 0) == 2  # by the program, and the idle one by the drain
    assert ended == dict.fromkeys(("peer_closed", "reset", "aborted", "handler_error", "drain_timeout"), 1)
    assert statistics["accepted"] == sum(statistics["closed"].values()) == 7
    assert statistics["open"] == 0


def test_statistics_count_the_bytes_of_both_directions():
    with Server(Echo, bind=ANY_PORT) as server:
        with connect(address_of(server)) as client:
            for size in (1, 1000, 100_000):
                exchange(client, bytes(size))
        wait_until(lambda: server.statistics()["open"] == 0, "the client's end")
        statistics = server.statistics()
        assert statistics["bytes_received"] == statistics["bytes_sent"] == 101_001
        assert 3 <= statistics["receives"] <= 101_001

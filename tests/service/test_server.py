"""`Server`: its arguments, its addresses, and how it runs on this thread or on its own."""

import contextlib
import os
import signal
import socket
import threading

import pytest

from reactor import Protocol, Reactor, Server
from reactor import connect as reactor_connect
from reactor.apps.echo import Echo
from reactor.service import server as server_module
from tests.support import connect, exchange, receive, receive_all, socket_address, wait_until

ANY_PORT = "127.0.0.1:0"
BIG = bytes(16 * 1024 * 1024)  # far more than the kernel's buffers hold


def address_of(server):
    return socket_address(server.addresses[0])


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
    with pytest.raises(TypeError, match="program must be a Protocol class, a factory of them or an async function"):
        Server(program)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"bind": 9000}, "bind must be an address like HOST:PORT, or several, not 9000"),
        ({"bind": b"127.0.0.1:0"}, "an address is text like HOST:PORT"),
        ({"bind": ("127.0.0.1", 9000)}, "an address is text like HOST:PORT, not the tuple"),
        ({"limits": {"idle_seconds": 3}}, r"limits must be Limits\(...\), not {'idle_seconds': 3}"),
        ({"reactor": 5}, "reactor must be a Reactor, not 5"),
    ],
)
def test_an_argument_of_a_wrong_kind_is_refused_with_a_sentence(arguments, said):
    with pytest.raises(TypeError, match=f"^{said}"):
        Server(Echo, **arguments)


class Awaits(Protocol):
    async def data_received(self, data):
        raise AssertionError("nothing awaits it")


@pytest.mark.parametrize(("program", "said"), [(Awaits, "Awaits has an `async def"), (int, "int has none of the")])
def test_a_program_with_a_mistake_that_can_be_seen_is_refused(program, said):
    with pytest.raises(TypeError, match=f"^{said}"):
        Server(program)
    with Reactor() as reactor, socket.create_server(("127.0.0.1", 0)) as sock:
        with pytest.raises(TypeError, match=f"^{said}"):
            reactor.listen(sock, program)
        with pytest.raises(TypeError, match=f"^{said}"):
            reactor_connect(reactor, program, "127.0.0.1:9000", print)


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
        with pytest.raises(ConnectionResetError), connect(address_of(server)) as second:  # `connect` may raise it too
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
            before = len(os.listdir("/dev/fd"))
            server = Server(Echo, bind=[ANY_PORT, f"unix:{path}", address], reactor=reactor)
            with pytest.raises(OSError, match=f"cannot listen on {address}: address in use"):
                server.listen()
            assert server.addresses == []
            assert len(os.listdir("/dev/fd")) == before
    assert not path.exists()


class FailingListen(socket.socket):
    """It can be bound, but another socket listens there first."""

    def listen(self, _backlog):
        raise OSError(98, "Address already in use")


def test_of_two_families_none_is_kept_when_listening_fails():
    with Reactor(socket_factory=FailingListen) as reactor:
        server = Server(Echo, bind=":0", reactor=reactor)
        with pytest.raises(OSError, match="cannot listen on :0: Address already in use"):
            server.listen()  # an open socket would be a ResourceWarning, which fails the test
        assert server._listeners == []


def test_a_block_that_cannot_begin_leaves_no_descriptor():
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(OSError, match=r"192\.0\.2\.1"), Server(Echo, bind="192.0.2.1:0"):
        pytest.fail("it has no such address to listen on")
    assert len(os.listdir("/dev/fd")) == before


def test_the_port_can_be_had_again_at_once_after_the_end():
    with Server(Echo, bind=ANY_PORT) as server:
        address = server.addresses[0]
        with connect(address_of(server)) as client:
            assert exchange(client, b"hello") == b"hello"
            server.close()
            assert client.recv(1) == b""  # the server's FIN comes first, so its side will be in TIME_WAIT
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
    before = len(os.listdir("/dev/fd"))
    with Server(Echo, bind=[ANY_PORT, ANY_PORT]) as server:
        for _ in range(5):
            with connect(address_of(server)) as client:
                assert exchange(client, b"hello") == b"hello"
    assert len(os.listdir("/dev/fd")) == before


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


def test_on_a_system_without_sighup_and_sigusr1_the_others_are_handled(monkeypatch):
    missing = [signal.SIGHUP, signal.SIGUSR1]
    before = [signal.getsignal(number) for number in missing]
    for number in missing:
        monkeypatch.delattr(signal, number.name)
    server, during = Server(Echo, bind=ANY_PORT), []
    server.reactor.call_soon(lambda: during.extend(signal.getsignal(number) for number in missing))
    server.reactor.call_soon(os.kill, os.getpid(), signal.SIGTERM)
    assert server.run() == 0
    assert during == before


def test_it_can_be_run_inside_a_stack_that_closes_it():
    with contextlib.ExitStack() as stack:
        server = Server(Echo, bind=ANY_PORT)
        stack.push(server)  # `__exit__` has no thread to wait for
        server.reactor.call_soon(server.close)
        assert server.run() == 0


def test_run_off_the_main_thread_leaves_the_signals_alone():
    before = signal.getsignal(signal.SIGTERM)
    with Server(Echo, bind=ANY_PORT) as server, connect(address_of(server)) as client:
        assert exchange(client, b"hello") == b"hello"
        assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_that_the_program_has_added_to_its_reactor_stays_its_own(descriptors_come_back):
    seen = []

    def mine():
        seen.append("mine")
        signal.raise_signal(signal.SIGTERM)

    with Reactor() as reactor:
        reactor.add_signal_handler(signal.SIGHUP, mine)
        server = Server(Echo, bind=ANY_PORT, reactor=reactor)
        reactor.call_soon(signal.raise_signal, signal.SIGHUP)
        assert server.run() == 0
    assert seen == ["mine"]


def test_a_reactor_that_another_server_is_about_to_run_on_a_thread_is_refused(monkeypatch, descriptors_come_back):
    monkeypatch.setattr(server_module, "_start_thread", lambda thread: None)  # the thread has not started yet
    with Reactor() as reactor:
        Server(Echo, bind=ANY_PORT, reactor=reactor).__enter__()
        with pytest.raises(RuntimeError, match="already running, for another server"):
            Server(Echo, bind=ANY_PORT, reactor=reactor).run()


def test_the_way_out_is_shown_what_lies_in_the_loops_pipe(monkeypatch, descriptors_come_back):
    shown = []
    with Reactor() as reactor:
        server = Server(Echo, bind=ANY_PORT, reactor=reactor)
        monkeypatch.setattr(server._way_out, "look", shown.append)
        server._look_for_a_way_out()
        reactor.call_soon_threadsafe(print)
        server._look_for_a_way_out()
    assert shown == [b"", b"\0"]

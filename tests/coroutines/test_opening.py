"""Streams that a coroutine opens itself, to a server or as a server: nothing is left open, whatever breaks it off."""

import contextlib
import errno
import os
import socket
import stat

import pytest

from reactor import (
    CancelScope,
    Limits,
    Listener,
    Reactor,
    TaskGroup,
    move_on_after,
    open_stream,
    run,
    sleep,
)
from reactor.net.addresses import Endpoint
from tests import rig

pytestmark = pytest.mark.usefixtures("descriptors_come_back")


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(rig.DEADLINE_SECONDS)
        yield server


@pytest.fixture
def refusing():
    """A port at which nobody listens while the test runs."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def text_of(sock):
    host, port = sock.getsockname()
    return f"{host}:{port}"


def endpoint_of(sock):
    return Endpoint(socket.AF_INET, sock.getsockname())


async def until(condition):
    with move_on_after(rig.DEADLINE_SECONDS) as scope:
        while not condition():
            await sleep(0.001)
    assert not scope.cancelled_caught, "not in time"


async def received(sock):
    """What the peer `sock` gets next, while the loop turns."""
    sock.setblocking(False)
    while True:
        with contextlib.suppress(BlockingIOError):
            return sock.recv(100)
        await sleep(0.001)


def ran(function, *arguments, limits=None):
    """Run it, and check that no connection and no counted byte is left before the reactor is closed."""
    with Reactor(limits=limits) as reactor:
        result = run(function, *arguments, reactor=reactor)
        rig.turn_until(reactor, lambda: not reactor.counters.open, "all connections ended")
        assert reactor.counters.buffered_bytes == 0
    return result


# To a server.


def test_a_stream_is_opened_used_and_closed(server):
    async def main():
        async with await open_stream(text_of(server)) as stream:
            peer, _ = server.accept()
            with peer:
                await stream.write(b"question\n")
                assert await received(peer) == b"question\n"
                peer.sendall(b"answer\n")
                assert await stream.read_until() == b"answer\n"
                assert stream.peername == server.getsockname()
        return True

    assert ran(main)


def test_a_connection_that_is_refused_raises_os_error(refusing):
    with pytest.raises(ConnectionRefusedError):
        ran(open_stream, text_of(refusing))


def test_a_connection_that_takes_too_long_raises_timeout_error():
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()):
            with pytest.raises(TimeoutError, match=r"no connection within 0\.1 seconds"):
                ran(open_stream, text_of(full), Limits(connect_seconds=0.1))


@pytest.mark.parametrize(("address", "error"), [("nonsense", ValueError), (5, TypeError), ([], ValueError)])
def test_a_mistake_in_the_address_is_raised_at_once(address, error):
    with pytest.raises(error):
        ran(open_stream, address)


def test_of_several_addresses_the_one_that_answers_is_taken(server, refusing):
    async def main():
        async with await open_stream([endpoint_of(refusing), endpoint_of(server)]) as stream:
            server.accept()[0].close()
            return stream.peername

    assert ran(main) == server.getsockname()


def test_if_no_address_answers_the_last_failure_is_raised(refusing):
    with pytest.raises(ConnectionRefusedError):
        ran(open_stream, [endpoint_of(refusing)] * 3)


def test_the_limits_are_those_of_the_connection(server):
    async def main():
        async with await open_stream(text_of(server), Limits(frame_bytes=77)) as stream:
            server.accept()[0].close()
            return stream.connection.limits.frame_bytes

    assert ran(main) == 77


def test_in_a_cancelled_scope_nothing_is_opened(server):
    async def main():
        with CancelScope() as scope:
            scope.cancel()
            await open_stream(text_of(server))
        assert scope.cancelled_caught

    ran(main)
    server.setblocking(False)
    with pytest.raises(BlockingIOError):
        server.accept()


def test_a_connect_that_is_cancelled_before_it_was_made_leaves_nothing():
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()):

            async def main():
                with move_on_after(0.05) as scope:
                    await open_stream(text_of(full))
                assert scope.cancelled_caught

            ran(main)


def test_a_connect_that_is_cancelled_after_it_was_made_aborts_it(server):
    with Reactor() as reactor:
        made = reactor.dispatcher.adopt

        def adopt(*arguments):  # the cancel comes in the same turn, so the task is told of it before it can go on
            scopes[0].cancel()
            return made(*arguments)

        async def main():
            with CancelScope() as scope:
                scopes.append(scope)
                await open_stream(text_of(server))
            assert scope.cancelled_caught

        scopes = []
        reactor.dispatcher.adopt = adopt
        run(main, reactor=reactor)
        rig.turn_until(reactor, lambda: not reactor.counters.open, "its end")
        assert {reason.value: count for reason, count in reactor.counters.closed.items() if count} == {"aborted": 1}
    peer, _ = server.accept()
    with peer, pytest.raises(ConnectionResetError):
        peer.settimeout(rig.DEADLINE_SECONDS)
        peer.recv(1)


def test_when_the_reactor_closes_a_connect_ends(server):
    async def main(reactor):
        try:
            reactor.call_soon(reactor.close)
            await open_stream(text_of(server))
            await sleep(1000)
        finally:
            ended.append("ended")

    ended = []
    reactor = Reactor()
    with contextlib.suppress(BaseException):
        run(main, reactor, reactor=reactor)
    assert ended == ["ended"]


# As a server.


def client_of(listener):
    host, port = listener.addresses[0].split(":")
    return socket.create_connection((host, int(port)), timeout=rig.DEADLINE_SECONDS)


def test_a_listener_hands_over_each_connection_in_order():
    async def serve(stream):
        async with stream:
            await stream.write(b"hello " + await stream.read_until())

    async def main():
        async with Listener("127.0.0.1:0") as listener:
            clients = [client_of(listener) for _ in range(3)]
            async with TaskGroup() as group:
                async for stream in listener:
                    served.append(stream.peername)
                    group.start_soon(serve, stream)
                    if len(served) == 3:
                        break
                for number, client in enumerate(clients):
                    client.sendall(b"%d\n" % number)
            assert served == [client.getsockname() for client in clients]
            for number, client in enumerate(clients):
                with client:
                    assert await received(client) == b"hello %d\n" % number

    served = []
    ran(main)


def test_a_connection_that_is_lost_before_it_is_taken_is_not_handed_over():
    async def main():
        async with Listener("127.0.0.1:0") as listener:
            lost, kept = client_of(listener), client_of(listener)
            await until(lambda: len(listener._streams) == 2)
            rig.reset(lost)
            await until(lambda: len(listener._streams) == 1)
            async with await anext(listener) as stream:
                assert stream.peername == kept.getsockname()
            kept.close()

    ran(main)


def test_at_the_end_of_the_block_waiting_connections_are_aborted_and_the_others_go_on():
    async def main():
        async with Listener("127.0.0.1:0") as listener:
            taken, left = client_of(listener), client_of(listener)
            stream = await anext(listener)
            await until(lambda: len(listener._streams) == 1)
        address = listener.addresses[0].rpartition(":")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address[0], int(address[2])))
        with left, pytest.raises(ConnectionResetError):
            await received(left)
        await stream.write(b"still here")
        with taken:
            assert await received(taken) == b"still here"
        stream.close()

    ran(main)


def test_a_wait_for_a_connection_can_be_cancelled_and_loses_none():
    async def main():
        async with Listener("127.0.0.1:0") as listener:
            with move_on_after(0.01) as scope:
                await anext(listener)
            assert scope.cancelled_caught
            with client_of(listener):
                async with await anext(listener):
                    pass

    ran(main)


def test_several_tasks_may_wait_for_connections_and_end_with_the_block():
    async def take(listener, number):
        async for stream in listener:
            taken.append(number)
            stream.close()
        ended.append(number)

    async def main():
        async with TaskGroup() as group:
            async with Listener("127.0.0.1:0") as listener:
                group.start_soon(take, listener, 1)
                group.start_soon(take, listener, 2)
                for count in range(1, 5):
                    with client_of(listener):
                        await until(lambda count=count: len(taken) == count)
        assert await anext(listener, "over") == "over"

    taken, ended = [], []
    ran(main)
    assert set(taken) == {1, 2} and sorted(ended) == [1, 2]


def test_a_flood_of_connections_lets_other_tasks_have_their_turn():
    async def main():
        async with TaskGroup() as group, Listener("127.0.0.1:0") as listener:
            async def tick():
                while True:
                    ticks.append(len(taken))
                    await sleep(0)

            clients = [client_of(listener) for _ in range(300)]
            await until(lambda: len(listener._streams) == 300)
            group.start_soon(tick)
            await sleep(0)
            async for stream in listener:
                taken.append(stream)
                stream.abort()
                if len(taken) == 300:
                    break
            for client in clients:
                client.close()
            group.cancel()

    taken, ticks = [], []
    ran(main)
    assert any(0 < count < 300 for count in ticks)


def test_a_listener_used_wrongly_says_so():
    async def main():
        listener = Listener("127.0.0.1:0")
        with pytest.raises(RuntimeError, match="inside its block"):
            await anext(listener)
        async with listener:
            pass
        with pytest.raises(RuntimeError, match="entered only once"):
            async with listener:
                pass

    ran(main)
    with pytest.raises(ValueError, match="nonsense"):
        Listener("nonsense")


def test_an_address_in_use_is_one_error_and_leaves_nothing(server):
    async def main():
        with pytest.raises(OSError, match="cannot listen on 127.0.0.1") as caught:
            async with Listener(text_of(server)):
                pass
        assert caught.value.errno == errno.EADDRINUSE

    ran(main)


def test_a_unix_path_is_removed_at_the_end(tmp_path, monkeypatch):
    async def main():
        async with Listener("unix:here.sock") as listener:
            assert listener.addresses == ["unix:here.sock"] and stat.S_ISSOCK(os.stat("here.sock").st_mode)
            async with await open_stream("unix:here.sock") as client, await anext(listener) as stream:
                await client.write(b"x")
                assert await stream.read() == b"x"
        assert not os.path.exists("here.sock")

    monkeypatch.chdir(tmp_path)
    ran(main)


def test_a_socket_that_was_handed_in_is_used_once_and_stays_open_when_it_cannot_be():
    async def main(fd):
        async with Listener(f"fd://{fd}") as listener:
            with pytest.raises(OSError, match="in use already"):
                async with Listener(f"fd://{fd}"):
                    pass
            with client_of(listener):
                (await anext(listener)).close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        ran(main, os.dup(server.fileno()))


def test_what_nobody_takes_counts_for_the_places():
    async def main():
        async with Listener("127.0.0.1:0", Limits(max_connections=2)) as listener:
            clients = [client_of(listener) for _ in range(3)]
            await until(lambda: len(listener._streams) == 2)
            await sleep(0.01)
            assert len(listener._streams) == 2
            (await anext(listener)).abort()
            await until(lambda: len(listener._streams) == 2)
            for client in clients:
                client.close()

    ran(main)


def test_a_listener_whose_reactor_closes_ends_in_order(tmp_path, monkeypatch):
    async def main(reactor):
        async with Listener("unix:here.sock") as listener:
            reactor.call_soon(reactor.close)
            async for _ in listener:
                pass

    monkeypatch.chdir(tmp_path)
    reactor = Reactor()
    with contextlib.suppress(BaseException):
        run(main, reactor, reactor=reactor)
    assert not os.path.exists("here.sock")

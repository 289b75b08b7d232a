"""Hundreds of clients at once on one thread: each gets its own bytes back, and nothing is left behind."""

import pathlib
import random
import socket

import pytest

from tests.support import connect, exchange, patterned, receive, receive_all, reset, wait_until

CLIENTS = 400


@pytest.fixture
def clients(echo):
    clients = [connect(echo.address) for _ in range(CLIENTS)]
    yield clients
    for client in clients:
        client.close()


def test_every_client_gets_its_own_bytes_back_and_the_server_is_idle_afterwards(echo, clients):
    order = random.Random(2)
    for turn in range(5):
        messages = [patterned(order.randrange(1, 5000), seed=turn * CLIENTS + number) for number in range(CLIENTS)]
        for number in order.sample(range(CLIENTS), CLIENTS):
            clients[number].sendall(messages[number])
        for number in order.sample(range(CLIENTS), CLIENTS):
            assert receive(clients[number], len(messages[number])) == messages[number]

    assert echo.statistics()["open"] == CLIENTS
    echo.wait_until_idle("no client sends")
    for client in clients:
        client.close()
    wait_until(lambda: echo.statistics()["open"] == 0, "the end of every connection")
    echo.wait_until_idle("every client is gone")


def test_every_end_is_accounted_for_by_its_reason(echo, clients):
    for number, client in enumerate(clients):
        assert exchange(client, b"%d" % number) == b"%d" % number
        if number % 4 == 0:
            reset(client)
        elif number % 4 == 1:
            client.shutdown(socket.SHUT_WR)
            assert receive_all(client) == b""
        else:
            client.close()
    wait_until(lambda: echo.statistics()["open"] == 0, "the end of every connection")
    ended = {reason: count for reason, count in echo.statistics()["closed"].items() if count}
    assert ended == {"reset": CLIENTS // 4, "peer_closed": CLIENTS * 3 // 4}


def test_short_connections_never_get_each_others_bytes(echo):
    # Their descriptor numbers are used again and again. No event or byte may reach another connection (E7, E8).
    waiting = []
    for number in range(2000):
        client = connect(echo.address)
        client.sendall(b"%08d" % number)
        waiting.append((number, client))
        if len(waiting) == 20:
            random.Random(number).shuffle(waiting)
            for tag, client in waiting:
                assert receive(client, 8) == b"%08d" % tag
                reset(client) if tag % 3 else client.close()
            waiting.clear()
    assert echo.statistics()["accepted"] == 2000


def test_no_thread_is_made_for_any_of_them(echo, request):
    def threads():
        return len(list(pathlib.Path(f"/proc/{echo.pid}/task").iterdir()))

    before = threads()
    for client in request.getfixturevalue("clients")[:: CLIENTS // 10]:
        assert exchange(client, b"hello") == b"hello"
    assert threads() == before

"""Whoever comes and goes is owed an answer, and says what was wrong with it."""

import contextlib
import socket

import pytest

from scripts.clients import churn
from scripts.clients.churn import Churn
from tests.scripts.bad_servers import BadServer, Gone
from tests.support import free_port, wait_until

SILENCE_SECONDS = 0.2


def echo(connection, _number, _size):
    while data := connection.recv(65536):
        connection.sendall(data)


def echo_and_end_the_silent(connection, number, size):
    connection.settimeout(SILENCE_SECONDS / 4)
    with contextlib.suppress(TimeoutError):
        echo(connection, number, size)
    raise Gone


def answer_wrongly(connection, _number, _size):
    while data := connection.recv(65536):
        connection.sendall(bytes(len(data)))


def end_early(connection, _number, _size):
    connection.sendall(connection.recv(65536)[:-1])
    connection.shutdown(socket.SHUT_WR)


def add_a_byte(connection, number, size):
    echo(connection, number, size)
    connection.sendall(b"\0")


def churn_at(address, *, visits=60, burst=0):
    clients = Churn(address, per_second=1000, seconds=0.02, burst=burst)
    clients.start()
    try:
        wait_until(lambda: clients.connected >= visits or clients.errors, "the clients to come and go")
    finally:
        clients.finish()
    return clients


@pytest.fixture(autouse=True)
def short_silence(monkeypatch):
    monkeypatch.setattr(churn, "SILENCE_SECONDS", SILENCE_SECONDS)


def test_a_server_that_echoes_and_ends_the_silent_gets_no_complaint(monkeypatch):
    with BadServer(echo_and_end_the_silent) as server:
        monkeypatch.setattr(churn, "SILENCE_SECONDS", 20 * SILENCE_SECONDS)
        clients = churn_at(("127.0.0.1", server.port))
    assert clients.errors == {}
    assert 20 <= clients.asked < clients.connected


@pytest.mark.parametrize(
    ("behave", "complaint"),
    [
        (answer_wrongly, "churn: a wrong answer"),
        (end_early, "churn: an end before the whole answer"),
        (add_a_byte, "churn: a byte after the answer"),
    ],
)
def test_a_wrong_answer_is_an_error_under_its_name(behave, complaint):
    with BadServer(behave) as server:
        assert complaint in churn_at(("127.0.0.1", server.port)).errors


def test_a_silent_client_that_nobody_ends_is_an_error():
    with BadServer(echo) as server:
        clients = churn_at(("127.0.0.1", server.port), visits=100_000)
    assert set(clients.errors) == {"churn: a silent client was not ended"}


def test_a_server_that_is_not_there_is_an_error():
    assert set(churn_at(("127.0.0.1", free_port())).errors) == {"churn: Connection refused"}


def test_a_burst_comes_once(monkeypatch):
    with BadServer(echo_and_end_the_silent) as server:
        monkeypatch.setattr(churn, "SILENCE_SECONDS", 20 * SILENCE_SECONDS)
        clients = churn_at(("127.0.0.1", server.port), visits=250, burst=200)
    assert 250 <= clients.connected < 450

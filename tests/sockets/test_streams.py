"""What TCP does to a server that is left running: half-closes, clients that do not read, resets, restarts."""

import platform
import signal
import socket
import threading

import pytest

from tests.sockets.programs import ANSWER
from tests.support import (
    DEADLINE_SECONDS,
    connect,
    exchange,
    patterned,
    receive,
    receive_all,
    reset,
    serving,
    wait_until,
)

MIB = 1024 * 1024
ENOUGH_BYTES = 128 * MIB  # several times what the kernel's buffers between client and server hold
FULL_SECONDS = 0.5  # if a `send` takes longer than this, all buffers are full


def send_and_end(client, message):
    """Send all of `message` and end that side, on a thread, so that the test can read the echo meanwhile."""

    def send():
        client.sendall(message)
        client.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def stuff(client):
    """Send without reading, until no more is taken or `ENOUGH_BYTES` are sent. Return what was sent."""
    sent = bytearray()
    client.settimeout(FULL_SECONDS)
    try:
        while len(sent) < ENOUGH_BYTES:
            message = patterned(MIB, seed=len(sent))
            sent += message[: client.send(message)]
    except TimeoutError:
        pass
    client.settimeout(DEADLINE_SECONDS)
    return sent


# Half-close.


def test_what_was_sent_before_the_end_comes_back_before_the_end(echo):
    with connect(echo.address) as client:
        message = patterned(8 * MIB)
        sender = send_and_end(client, message)
        assert receive_all(client) == message
        sender.join()


def test_an_end_with_nothing_before_it_is_answered_with_an_end(echo):
    with connect(echo.address) as client:
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == b""


@pytest.mark.parametrize("program", ["AnswerAtOnce", "AnswerAtEnd"])
def test_a_client_that_has_said_all_still_gets_a_long_answer(serve, program):  # E1, E2
    server = serve(program)
    with connect(server.address) as client:
        client.sendall(b"what?")
        client.shutdown(socket.SHUT_WR)
        wait_until(lambda: server.statistics()["sends"] > 0, "the answer")
        server.wait_until_idle("the client takes its time")
        assert receive_all(client) == ANSWER


def test_an_early_answer_reaches_a_client_that_is_still_sending(serve):  # E3
    server = serve("AnswerEarly")
    message = bytes(MIB)
    for _ in range(100):
        with connect(server.address) as client:
            client.sendall(message)
            client.shutdown(socket.SHUT_WR)
            assert receive_all(client) == b"no thanks"


# Much to send, and clients that do not read.


def test_big_messages_of_several_clients_come_back_whole(echo):
    clients = [connect(echo.address) for _ in range(4)]
    messages = [patterned(16 * MIB, seed) for seed in range(len(clients))]
    senders = [send_and_end(client, message) for client, message in zip(clients, messages, strict=True)]
    received = {}
    readers = [
        threading.Thread(target=lambda number=number, client=client: received.update({number: receive_all(client)}))
        for number, client in enumerate(clients)
    ]
    for thread in readers:
        thread.start()
    for thread in readers + senders:
        thread.join()
    for number, client in enumerate(clients):
        client.close()
        assert received[number] == messages[number]


def test_who_sends_and_never_reads_does_not_grow_the_server_and_then_gets_every_byte(echo):
    with connect(echo.address) as client:
        assert exchange(client, b"hello") == b"hello"
        before = echo.resident_bytes()
        sent = stuff(client)
        assert len(sent) < ENOUGH_BYTES, "the server took all, though the client does not read"
        assert echo.peak_resident_bytes() - before < 4 * MIB
        assert receive(client, len(sent)) == sent
        assert exchange(client, b"and on") == b"and on"


def test_who_does_not_read_holds_up_nobody_else_and_nobody_spins(echo):
    with connect(echo.address) as greedy, connect(echo.address) as other:
        stuff(greedy)
        echo.wait_until_idle("it can only wait until the client reads")
        for _ in range(10):
            assert exchange(other, b"hello") == b"hello"


def test_a_client_that_leaves_while_nobody_reads_is_noticed(serve):  # R5
    server = serve("NeverReads")
    connect(server.address).close()
    wait_until(lambda: server.statistics()["closed"]["peer_closed"] == 1, "the end")
    reset(connect(server.address))
    wait_until(lambda: server.statistics()["closed"]["reset"] == 1, "the reset")
    with connect(server.address) as client:
        client.sendall(b"unread")
        client.shutdown(socket.SHUT_WR)  # the server knows, but unread data is before the end
        server.wait_until_idle("it cannot be told")
        assert server.statistics()["open"] == 1
        reset(client)
        wait_until(lambda: server.statistics()["closed"]["reset"] == 2, "the reset behind the end")


def test_a_client_that_leaves_while_it_is_held_back_is_noticed(echo):
    client = connect(echo.address)
    stuff(client)
    reset(client)
    wait_until(lambda: echo.statistics()["closed"]["reset"] == 1, "the reset")


# Resets.


def test_a_reset_ends_one_connection_and_no_other(echo):
    with connect(echo.address) as other:
        for _ in range(50):
            client = connect(echo.address)
            assert exchange(client, b"hello") == b"hello"
            reset(client)
            assert exchange(other, b"hello") == b"hello"
        wait_until(lambda: echo.statistics()["closed"]["reset"] == 50, "all resets")


def test_a_reset_in_the_middle_of_a_reply_ends_it(serve):
    server = serve("AnswerAtEnd")
    for _ in range(10):
        client = connect(server.address)
        client.shutdown(socket.SHUT_WR)
        assert receive(client, 1) == ANSWER[:1]
        reset(client)
    wait_until(lambda: server.statistics()["closed"]["reset"] == 10, "all resets")


def test_clients_that_leave_before_they_are_accepted_leave_nothing(echo):
    echo.send_signal(signal.SIGSTOP)
    for _ in range(20):
        reset(connect(echo.address))
        connect(echo.address).close()
    echo.send_signal(signal.SIGCONT)
    with connect(echo.address) as client:
        assert exchange(client, b"hello") == b"hello"


# Restarts.


def test_the_port_can_be_had_again_at_once_after_a_restart():
    with serving("echo") as server, connect(server.address) as client:
        assert exchange(client, b"hello") == b"hello"
        server.send_signal(signal.SIGTERM)
        assert client.recv(1) == b""  # the server's FIN was first, so its socket goes to TIME_WAIT
        client.close()
        assert server.wait() == 0
    with serving("echo", bind=server.addresses[0]) as again, connect(again.address) as client:
        assert again.address == server.address
        assert exchange(client, b"hello") == b"hello"


def test_the_port_can_be_had_again_at_once_after_a_kill():
    with serving("echo") as server, connect(server.address) as client:
        assert exchange(client, b"hello") == b"hello"
        server.send_signal(signal.SIGKILL)
        server.wait()
        with serving("echo", bind=server.addresses[0]) as again, connect(again.address) as other:
            assert exchange(other, b"hello") == b"hello"


# Large messages.


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc is what this is about")
def test_no_large_message_costs_memory_anew(echo):
    size = 200_000  # over 128 KiB, from which malloc maps each block

    with connect(echo.address) as client:

        def send_and_receive(times):
            for number in range(times):
                message = patterned(size, seed=number)
                sender = threading.Thread(target=client.sendall, args=(message,))
                sender.start()
                assert receive(client, size) == message
                sender.join()

        send_and_receive(10)  # until `recv` is asked for `receive_bytes`
        before = echo.page_faults()
        send_and_receive(50)
        assert echo.page_faults() - before < 50 * 5

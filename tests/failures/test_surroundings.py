"""The surroundings (P1 and P3 in table.py): what a server is connected to besides its clients.

Standard error is a terminal, a pipe or a file. Whatever happens to it, no client may notice, and the exit status
stays the same. The server must write all the time: it logs the end of each connection, if it can do that, and a
terminal shows its status line.
"""

import contextlib
import os
import pty
import signal
import socket
import subprocess

import pytest

from tests.support import DEADLINE_SECONDS, ROOT, connect, exchange, free_port, package_environment, wait_until

CONNECTIONS = 1000  # so many ends are more than a terminal or a pipe holds unread
# Makes ours log each of them, beside a status line; the others log what they log.
LINES_OF_A_LOG = ["--verbose", "--log-format", "plain"]


@pytest.fixture
def serve_into(adapter):
    """`with serve_into(fd) as (process, address)`: an echo server whose standard output and error is `fd`.

    The test tries its port until it serves, because its output may be unreadable.
    """

    @contextlib.contextmanager
    def start(fd, **options):
        address = ("127.0.0.1", free_port())
        command = adapter.command("echo", f"127.0.0.1:{address[1]}", {})
        command += LINES_OF_A_LOG if adapter.has_statistics else []
        environment = {**package_environment(), "TERM": "xterm"}
        environment.pop("PYTHONUNBUFFERED", None)  # the usual case: its buffers keep what it could not write
        streams = {"stdin": subprocess.DEVNULL, "stdout": fd, "stderr": fd}
        with subprocess.Popen(command, cwd=ROOT, env=environment, **streams, **options) as process:
            try:
                wait_until(lambda: process.poll() is not None or answers(address), "an answer")
                yield process, address
            finally:
                process.kill()

    return start


def answers(address):
    with contextlib.suppress(OSError), connect(address):
        return True
    return False


def assert_served(address, client):
    """Nothing is noticed: not by `client`, which was there before, and not by those that come and go."""
    for _ in range(CONNECTIONS):
        connect(address).close()
    assert exchange(client, b"still here") == b"still here"
    with connect(address) as newcomer:
        assert exchange(newcomer, b"new") == b"new"


def assert_ends_clean(process):
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE_SECONDS) == 0


# The terminal (P1).


@pytest.fixture
def terminal():
    """(the window, the terminal in it): the test may close either."""
    ends = pty.openpty()
    yield ends
    for fd in ends:
        with contextlib.suppress(OSError):
            os.close(fd)


def test_p1_the_terminal_goes_away(serve_into, terminal):
    window, ours = terminal
    with serve_into(ours, start_new_session=True) as (process, address), connect(address) as client:
        os.close(ours)
        assert exchange(client, b"hello") == b"hello"
        os.close(window)
        assert_served(address, client)
        assert_ends_clean(process)


def test_p1_the_terminal_goes_away_while_it_is_full(serve_into, terminal):
    window, ours = terminal
    with serve_into(ours, start_new_session=True) as (process, address), connect(address) as client:
        os.close(ours)
        assert_served(address, client)
        os.close(window)
        assert_served(address, client)
        assert_ends_clean(process)


def test_p1_the_terminal_is_not_read(serve_into, terminal):
    with serve_into(terminal[1]) as (process, address), connect(address) as client:
        assert_served(address, client)
        assert_ends_clean(process)


def test_p1_the_terminal_is_non_blocking(serve_into, terminal):
    os.set_blocking(terminal[1], False)
    with serve_into(terminal[1]) as (process, address), connect(address) as client:
        assert_served(address, client)
        assert os.get_blocking(terminal[1]) is False
        assert_ends_clean(process)


def test_p1_the_terminal_is_stopped_with_ctrl_s(serve_into, terminal):
    window, ours = terminal
    with serve_into(ours) as (process, address), connect(address) as client:
        os.write(window, b"\x13")
        assert_served(address, client)
        client.close()
        assert_ends_clean(process)


# A pipe, a disk (P3).


def test_p3_the_reader_of_the_log_is_gone(serve_into):
    reader, writer = os.pipe()
    with serve_into(writer) as (process, address), connect(address) as client:
        os.close(writer)
        os.read(reader, 65536)
        os.close(reader)
        assert_served(address, client)
        client.close()
        assert_ends_clean(process)


def test_p3_the_reader_of_the_log_does_not_read(serve_into):
    reader, writer = os.pipe()
    with serve_into(writer) as (process, address), connect(address) as client:
        os.close(writer)
        assert_served(address, client)
        client.close()
        assert_ends_clean(process)
    os.close(reader)


def test_p3_the_log_is_a_socket_whose_reader_does_not_read(serve_into):
    reader, writer = socket.socketpair()
    with reader, serve_into(writer.fileno()) as (process, address), connect(address) as client:
        writer.close()
        assert_served(address, client)
        reader.close()
        assert_served(address, client)
        client.close()
        assert_ends_clean(process)


def test_p3_the_disk_is_full(serve_into):
    with open("/dev/full", "w") as full, serve_into(full.fileno()) as (process, address), connect(address) as client:
        assert_served(address, client)
        client.close()
        assert_ends_clean(process)

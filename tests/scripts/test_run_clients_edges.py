"""The load generator when something other than the server is in trouble: its output, the process, the clock."""

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
import time

import pytest

from tests.scripts.bad_servers import BadServer, echo, receive
from tests.scripts.test_run_clients import DEADLINE_SECONDS, ERRORS, command, echo_port, refusal, run  # noqa: F401

TIMEOUT_SECONDS = 0.5


def shell(redirection, *options, **environment):
    """Run the clients with the redirection `redirection` of a shell."""
    arguments = ["bash", "-c", f'exec "$@" {redirection}', "bash", *command(*options)]
    environment = {**os.environ, **environment}
    return subprocess.run(arguments, capture_output=True, text=True, timeout=DEADLINE_SECONDS, env=environment)


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "<&- 2>&-"])
def test_without_standard_error_nothing_is_missing(echo_port, redirection):  # noqa: F811
    result = shell(redirection, f"--port={echo_port}", "--messages=1", "--json")
    assert (result.returncode, json.loads(result.stdout)["complete"], result.stderr) == (0, 100, "")


def test_without_standard_output_it_says_so_before_it_connects():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        result = shell(">&-", f"--port={listener.getsockname()[1]}", "--connections=1")
        assert select.select([listener], [], [], 0)[0] == []
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert result.stderr.startswith("run_clients: standard output is closed")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_on_a_full_disk_the_figures_are_told_in_one_line(echo_port, options):  # noqa: F811
    result = shell(">/dev/full", f"--port={echo_port}", "--connections=3", "--messages=2", *options)
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    said, _, figures = result.stderr.partition("what was to be written there: ")
    assert said == "run_clients: cannot write to standard output (No space left on device); "
    assert json.loads(figures)["complete"] == 3


def test_a_pipe_whose_reader_is_gone_is_one_line(echo_port):  # noqa: F811
    reading, writing = os.pipe()
    os.close(reading)
    arguments = command(f"--port={echo_port}", "--connections=3", "--messages=2")
    result = subprocess.run(arguments, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=DEADLINE_SECONDS)
    os.close(writing)
    assert result.returncode == 2 and result.stderr.count("\n") == 1 and "Broken pipe" in result.stderr


@pytest.mark.parametrize("environment", [
    {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "koi8-r"},
], ids=["ascii", "C", "koi8-r"])  # fmt: skip
def test_an_encoding_without_the_sign_for_micro_gets_a_u(echo_port, environment):  # noqa: F811
    result = shell("", f"--port={echo_port}", "--connections=3", "--messages=2", **environment)
    assert (result.returncode, result.stderr) == (0, "")
    assert re.search(r"^latency us +[\d,]+  the fastest", result.stdout, re.MULTILINE) and "\\x" not in result.stdout


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
def test_help_that_cannot_be_shown_is_one_line(redirection):
    result = shell(redirection, "--help")
    assert result.returncode == 2 and result.stderr.splitlines()[0].startswith("run_clients: ")
    assert "Traceback" not in result.stderr and "Exception" not in result.stderr


@pytest.mark.parametrize("rate", ["1e-20", "1e-320", "0.00009", "-1e-20", "1e8", "inf"])
def test_a_rate_that_no_clock_can_keep_is_refused_and_what_can_be_is_named(refusal, rate):  # noqa: F811
    assert f"'{rate}' is not a rate: 0, or a number from 0.0001 to 1e+07" in refusal(f"--rate={rate}")


@pytest.mark.parametrize("rate", ["0", "0.0", "-0.0", "0.0001"])
def test_the_least_rate_and_none_are_taken(echo_port, rate):  # noqa: F811
    result = run(f"--port={echo_port}", "--connections=1", "--messages=1", f"--rate={rate}", "--json")
    assert (result.returncode, json.loads(result.stdout)["complete"], result.stderr) == (0, 1, "")


# A terminal that shows nothing.


def run_on_terminal(slave, *options, **environment):
    environment = {**os.environ, "TERM": "xterm", **environment}
    arguments = command(*options, "--json")
    try:
        return subprocess.run(
            arguments, stdout=subprocess.PIPE, stderr=slave, timeout=DEADLINE_SECONDS, env=environment
        )  # fmt: skip
    finally:
        os.close(slave)


@pytest.mark.parametrize("trouble", ["stopped", "full", "gone"])
def test_a_terminal_in_trouble_holds_nobody_up(echo_port, trouble):  # noqa: F811
    master, slave = os.openpty()
    if trouble == "stopped":  # as by Ctrl-S
        termios.tcflow(slave, termios.TCOOFF)
    elif trouble == "full":  # its reader hangs
        os.set_blocking(slave, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(slave, b"x" * 1000)
        os.set_blocking(slave, True)
    else:
        os.close(master)
    result = run_on_terminal(slave, f"--port={echo_port}", "--connections=10", "--messages=100")
    if trouble != "gone":
        os.close(master)
    assert (result.returncode, json.loads(result.stdout)["complete"]) == (0, 10)


def test_a_terminal_that_cannot_erase_a_line_gets_no_bar(echo_port):  # noqa: F811
    master, slave = os.openpty()
    os.set_blocking(master, False)
    result = run_on_terminal(slave, f"--port={echo_port}", "--connections=10", "--messages=100", TERM="dumb")
    with open(master, "rb", buffering=0) as screen, contextlib.suppress(OSError):  # EIO: there is no output
        assert screen.read(100) in (b"", None)
    assert result.returncode == 0


# The process is stopped.


class Stopped:
    """A run that is stopped for longer than its time-out, after every client has sent its first message."""

    def __init__(self, connections, answered):
        self.all_are_here = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.connections = connections
        self.answered = answered

    def behave(self, connection, number, size):
        message = receive(connection, size)
        self.all_are_here.release()
        assert self.go_on.wait(DEADLINE_SECONDS)
        if number in self.answered:
            connection.sendall(message)
            echo(connection, number, size)
        else:
            receive(connection, size)

    def run(self, *options):
        with BadServer(self.behave) as server:
            arguments = command(
                f"--port={server.port}", f"--connections={self.connections}", "--messages=3", "--json",
                f"--timeout={TIMEOUT_SECONDS}", *options,
            )  # fmt: skip
            with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as clients:
                try:
                    for _ in range(self.connections):
                        assert self.all_are_here.acquire(timeout=DEADLINE_SECONDS)
                    clients.send_signal(signal.SIGSTOP)
                    self.go_on.set()
                    time.sleep(3 * TIMEOUT_SECONDS)  # this time must not count
                    clients.send_signal(signal.SIGCONT)
                    said, _ = clients.communicate(timeout=DEADLINE_SECONDS)
                finally:
                    clients.kill()
            return json.loads(said)


@pytest.mark.skipif(sys.platform == "win32", reason="no process can be stopped there")
@pytest.mark.parametrize("options", [[], ["--rate=50"]], ids=["closed loop", "fixed rate"])
def test_answers_that_came_while_it_was_stopped_are_in_time(options):
    figures = Stopped(4, answered=range(4)).run(*options)
    assert figures["errors"] == dict.fromkeys(ERRORS, 0) and figures["complete"] == 4


def test_who_gets_no_answer_after_the_stop_either_has_timed_out():
    figures = Stopped(4, answered=[1, 3]).run()
    assert figures["errors"] == dict.fromkeys(ERRORS, 0) | {"timed_out": 2} and figures["complete"] == 2


def test_a_server_that_is_stopped_is_late():
    arguments = [sys.executable, "-m", "reactor", "serve", "echo", "--bind=127.0.0.1:0"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as server:
        try:
            port = int(server.stderr.readline().rpartition(":")[2])
            server.send_signal(signal.SIGSTOP)
            result = run(f"--port={port}", "--connections=3", "--json", f"--timeout={TIMEOUT_SECONDS}")
        finally:
            server.kill()
    assert json.loads(result.stdout)["errors"] == dict.fromkeys(ERRORS, 0) | {"timed_out": 3}

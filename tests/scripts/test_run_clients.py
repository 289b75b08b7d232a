"""The clients find no fault in a good echo server, and name the fault of each bad one."""

import contextlib
import json
import os
import pathlib
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import threading

import pytest

from scripts import run_clients
from scripts.clients import swarm
from tests.scripts.bad_servers import BAD_SERVERS, MESSAGES, BadServer, changing_the_last, echo, receive

ROOT = pathlib.Path(__file__).resolve().parents[2]
BLOCKING_SERVER = ROOT / "scripts" / "ladder" / "1_blocking.py"
DEADLINE_SECONDS = 120
ERRORS = ["refused", "reset", "closed_early", "timed_out", "mismatched"]
KEYS = [
    "connections", "connected", "served", "never_answered", "messages", "bytes", "seconds", "messages_per_second",
    "megabytes_per_second", "latency_us", "errors", "hostile",
]  # fmt: skip
HOSTILE_OPTIONS = ["--slow-readers", "--firehose", "--slowloris", "--vanish", "--hostile-seconds"]
NUMERIC_OPTIONS = ["--port", "--connections", "--messages", "--size", "--rate", "--timeout", *HOSTILE_OPTIONS]
# One message, one piece at a time; many on their way at once; messages of more than one piece.
LOADS = [
    pytest.param(["--size=64"], id="closed-loop"),
    pytest.param(["--size=64", "--rate=1000"], id="fixed-rate"),
    pytest.param(["--size=150000"], id="large-messages"),
]


def command(*options, python_options=()):
    return [sys.executable, *python_options, run_clients.__file__, *options]


def run(*options, python_options=(), **popen_options):
    arguments = command(*options, python_options=python_options)
    return subprocess.run(arguments, capture_output=True, text=True, timeout=DEADLINE_SECONDS, **popen_options)


@pytest.fixture
def figures_of(capsys):
    """Run the clients with --json; return their exit status and their figures."""

    def figures_of(port, *options):
        arguments = [f"--port={port}", "--json", *options]
        if any(option.startswith("--rate") for option in options):
            # In another process: a schedule uses the signal that pytest-timeout uses here.
            result = run(*arguments)
            return result.returncode, json.loads(result.stdout)
        status = run_clients.main(arguments)
        return status, json.loads(capsys.readouterr().out)

    return figures_of


@contextlib.contextmanager
def process_listening(*arguments, expected_status):
    with subprocess.Popen([sys.executable, *arguments], stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert select.select([process.stderr], [], [], DEADLINE_SECONDS)[0], "the server says nothing"
            line = process.stderr.readline()
            yield int(re.search(r"listening on \S*:(\d+)", line)[1])
        finally:
            process.terminate()
            status = process.wait(DEADLINE_SECONDS)
    assert status == expected_status


@pytest.fixture(scope="module")
def echo_port():
    with process_listening("-m", "reactor", "serve", "echo", "--bind=127.0.0.1:0", expected_status=0) as port:
        yield port


# Servers with a fault.


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("name", BAD_SERVERS)
def test_whatever_a_server_does_wrong_is_counted_under_its_kind(name, load, figures_of):
    behave, kind = BAD_SERVERS[name]
    timeout = "0.5" if kind == "timed_out" else str(DEADLINE_SECONDS)
    with BadServer(behave, size=int(load[0].partition("=")[2])) as server:
        status, figures = figures_of(
            server.port, "--connections=2", f"--messages={MESSAGES}", f"--timeout={timeout}", *load
        )
    assert figures["errors"] == dict.fromkeys(ERRORS, 0) | {kind: 2}
    assert figures["served"] == 0
    if kind != "reset":  # a reset discards what a client has not read yet: it may have seen a part, or nothing
        assert figures["never_answered"] == (2 if name in ("no answer", "an end at once") else 0)
    assert status == 1


def test_a_server_that_is_not_there_refuses_all(figures_of):
    with socket.socket() as not_listening:
        not_listening.bind(("127.0.0.1", 0))
        status, figures = figures_of(not_listening.getsockname()[1], "--connections=300")
    assert figures["errors"] == dict.fromkeys(ERRORS, 0) | {"refused": 300}
    assert (figures["connected"], figures["served"], figures["never_answered"]) == (0, 0, 0)
    assert status == 1


def test_one_bad_reply_among_good_ones_is_one_error_and_the_exit_status_tells(figures_of):
    bad = changing_the_last(lambda data: bytes(len(data)))

    def behave(connection, number, size):
        (bad if number == 7 else echo)(connection, number, size)

    with BadServer(behave) as server:
        status, figures = figures_of(server.port, "--connections=20", f"--messages={MESSAGES}")
    assert (figures["served"], figures["errors"]["mismatched"], status) == (19, 1, 1)
    assert figures["messages"] == 20 * MESSAGES - 1


# Servers without a fault.


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--size=8"],
        ["--size=200000", "--messages=3"],
        ["--size=65536", "--messages=3"],
        ["--rate=4000"],
        ["--rate=100", "--messages=2", "--size=150000"],
        ["--connections=1", "--messages=1"],
        ["--connections=500", "--messages=3"],
    ],
    ids=" ".join,
)
def test_a_good_server_gets_every_message_back_right(echo_port, options, figures_of):
    given = dict(option.lstrip("-").split("=") for option in options)
    load = {"connections": 20, "messages": 10, "size": 64} | {name: int(value) for name, value in given.items()}
    status, figures = figures_of(echo_port, *(f"--{name}={value}" for name, value in load.items()))
    assert status == 0
    assert list(figures) == KEYS
    assert list(figures["latency_us"]) == ["min", "p50", "p90", "p99", "p99_9", "max"]
    assert figures["errors"] == dict.fromkeys(ERRORS, 0)
    assert figures["connected"] == figures["served"] == load["connections"]
    assert figures["never_answered"] == 0
    assert figures["hostile"] == {}
    assert figures["messages"] == load["connections"] * load["messages"]
    assert figures["bytes"] == figures["messages"] * load["size"]
    assert list(figures["latency_us"].values()) == sorted(figures["latency_us"].values())
    assert 0 < figures["latency_us"]["min"]
    assert figures["messages_per_second"] == pytest.approx(figures["messages"] / figures["seconds"], rel=0.01)


def test_a_server_that_never_ends_its_side_is_left_and_that_is_no_error(figures_of, monkeypatch):
    monkeypatch.setattr(swarm, "GOODBYE_SECONDS", 0.05)
    released = threading.Event()

    def behave(connection, number, size):
        echo(connection, number, size)
        released.wait(DEADLINE_SECONDS)

    with BadServer(behave) as server:
        status, figures = figures_of(server.port, "--connections=2", f"--messages={MESSAGES}")
        released.set()
    assert (status, figures["served"]) == (0, 2)


def test_a_fixed_rate_does_not_wait_for_answers(figures_of):
    def behave(connection, _number, size):
        connection.sendall(receive(connection, MESSAGES * size))  # nothing until everything is here

    with BadServer(behave) as server:
        status, figures = figures_of(server.port, "--connections=2", f"--messages={MESSAGES}", "--rate=100")
    assert (status, figures["served"]) == (0, 2)
    # The first message waited for the last: 4 times a hundredth of a second, by the schedule.
    assert figures["latency_us"]["max"] >= 0.99 * 40_000


def test_all_connections_are_held_until_the_last_client_has_ended(figures_of):
    first_is_served = threading.Event()
    connections = {}
    ended_early = []

    def behave(connection, number, size):
        connections[number] = connection
        if number == 0:
            echo(connection, number, size)
            first_is_served.set()
            return
        # Many turns of the clients' loop: time enough for the first client to leave, if it would.
        assert first_is_served.wait(DEADLINE_SECONDS)
        for _ in range(MESSAGES):
            message = receive(connection, size)
            ended_early.extend(select.select([connections[0]], [], [], 0)[0])
            connection.sendall(message)

    with BadServer(behave) as server:
        status, _ = figures_of(server.port, "--connections=2", f"--messages={MESSAGES}")
    assert (status, ended_early) == (0, [])


def test_a_blocking_server_is_seen_to_serve_one_and_leave_the_others_in_its_accept_queue(figures_of):
    # SIGTERM kills it, because it handles no signals.
    arguments = [str(BLOCKING_SERVER), "127.0.0.1", "0"]
    with process_listening(*arguments, expected_status=-signal.SIGTERM) as port:
        table = run(f"--port={port}", "--connections=10", "--messages=3", "--timeout=0.5")
        status, figures = figures_of(port, "--connections=10", "--messages=3", "--timeout=0.5")
    assert figures["errors"] == dict.fromkeys(ERRORS, 0) | {"timed_out": 9}
    assert (figures["connected"], figures["served"], figures["never_answered"]) == (10, 1, 9)
    assert (table.returncode, status) == (1, 1)
    assert (
        "1 client was served; 9 were accepted by the kernel and never answered:"
        " they wait in the server's accept queue"
    ) in " ".join(table.stdout.split())


# The output.


def test_the_table_shows_all_figures_in_eighty_columns(echo_port):
    result = run(f"--port={echo_port}", "--connections=5", "--messages=1000")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    headers = [re.split(r"  +", line.strip()) for line in lines[0::4]]
    assert headers == [
        ["connections", "connected", "served", "never answered"],
        ["messages", "bytes", "seconds", "messages/s", "MB/s"],
        ["latency µs", "min", "p50", "p90", "p99", "p99.9", "max"],
        ["errors", "refused", "reset", "closed early", "timed out", "mismatched"],
    ]
    assert lines[2].split() == ["5", "5", "5", "0"]
    assert lines[6].split()[:2] == ["5,000", "320,000"]
    assert lines[14].split() == ["0"] * 6


def test_the_table_is_shown_when_nothing_went_right():
    with socket.socket() as not_listening:
        not_listening.bind(("127.0.0.1", 0))
        result = run(f"--port={not_listening.getsockname()[1]}", "--connections=3")
    assert result.returncode == 1
    assert result.stdout.splitlines()[14].split() == ["3", "3", "0", "0", "0", "0"]


def test_a_terminal_gets_a_bar_that_is_gone_at_the_end(echo_port):
    master, slave = os.openpty()
    with open(master, "rb", buffering=0) as screen:
        try:
            bar_there = command(f"--port={echo_port}", "--json")
            result = subprocess.run(bar_there, stdout=subprocess.PIPE, stderr=slave, timeout=DEADLINE_SECONDS)
        finally:
            os.close(slave)
        shown = b""
        with contextlib.suppress(OSError):  # EIO: the other end is closed everywhere, and all is read
            while chunk := screen.read(65536):
                shown += chunk
    assert json.loads(result.stdout)["served"] == 100
    assert re.match(rb"\r\x1b\[Kconnecting \[[#.]+\] +\d+%  0 of 100 connections", shown)
    assert shown.endswith(b"\r\x1b[K")
    assert b"\n" not in shown


def test_without_tabulate_one_line_says_what_to_do_and_json_works_all_the_same(echo_port):
    without_packages = {"python_options": ["-S"], "env": {**os.environ, "PYTHONPATH": ""}}
    result = run(f"--port={echo_port}", **without_packages)
    assert (result.returncode, result.stdout) == (2, "")
    assert re.fullmatch(r"run_clients: .* tabulate: .*make run-clients.*pip install tabulate.*\n", result.stderr)
    result = run(f"--port={echo_port}", "--json", **without_packages)
    assert (result.returncode, json.loads(result.stdout)["served"], result.stderr) == (0, 100, "")


def test_ctrl_c_shows_what_there_is_so_far():
    here = threading.Semaphore(0)

    def behave(connection, number, size):
        if number == 0:
            echo(connection, number, size)
        receive(connection, size)
        here.release()

    def as_in_a_terminal():  # a shell's background jobs ignore Ctrl-C, and their children inherit that
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with BadServer(behave) as server:
        clients = subprocess.Popen(
            command(f"--port={server.port}", "--connections=3", f"--messages={MESSAGES + 1}"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=as_in_a_terminal,
        )
        with clients:
            for _ in range(3):
                assert here.acquire(timeout=DEADLINE_SECONDS)
            clients.send_signal(signal.SIGINT)
            output, errors = clients.communicate(timeout=DEADLINE_SECONDS)
    assert clients.returncode == 130
    assert output.splitlines()[2].split() == ["3", "3", "0", "2"]
    assert output.splitlines()[6].split()[0] == str(MESSAGES)
    assert errors == "run_clients: interrupted; these are the figures up to then\n"


# Refused options.


@pytest.fixture
def refusal(capsys):
    """Run the clients with options that cannot be used; return their one line of output."""

    def refusal(*options):
        try:
            status = run_clients.main(options)
        except SystemExit as exc:
            status = exc.code
        said = capsys.readouterr()
        assert (status, said.out) == (2, "")
        assert said.err.startswith("run_clients: ")
        assert said.err.count("\n") == 1
        return said.err

    return refusal


@pytest.mark.parametrize("option", NUMERIC_OPTIONS)
@pytest.mark.parametrize("value", ["-1", "x", "", "nan", "99999999999999999999"])
def test_a_value_that_makes_no_sense_is_refused_with_one_line(refusal, option, value):
    line = refusal(f"{option}={value}")
    assert re.match(rf"run_clients: argument {option}: '{value}' is not a .*number from \S+ to \S+", line)
    assert line.endswith(" (see make run-clients ARGS=--help)\n")


@pytest.mark.parametrize("option", ["--port=0", "--port=65536", "--connections=0", "--messages=0", "--timeout=0"])
def test_values_out_of_range_are_refused(refusal, option):
    assert option.partition("=")[0] in refusal(option)


def test_a_size_without_room_for_the_two_numbers_is_refused_and_the_least_is_named(refusal):
    line = refusal("--size=7")
    assert "from 8 to" in line
    assert "a message begins with two numbers" in line


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a..b"])
def test_a_host_that_is_not_known_is_one_line(refusal, host):
    assert repr(host) in refusal(f"--host={host}")


def descriptors_limited_to(soft, hard):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_too_few_descriptors_are_told_before_any_connection_is_made():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        result = run(f"--port={port}", "--connections=100", preexec_fn=descriptors_limited_to(64, 64))
        assert select.select([listener], [], [], 0)[0] == []
    assert (result.returncode, result.stdout) == (2, "")
    assert re.fullmatch(r"run_clients: 100 connections need 132 .*RLIMIT_NOFILE.*ulimit -n 132.*\n", result.stderr)


def test_hostile_clients_need_descriptors_too():
    options = ["--connections=10", "--slow-readers=20", "--firehose=30", "--slowloris=40", "--vanish=20"]
    result = run(*options, preexec_fn=descriptors_limited_to(400, 400))
    assert (result.returncode, result.stdout) == (2, "")
    # 100 a second vanish, and after a FIN a socket stays for up to 5 seconds, if the server does not end its side.
    assert "620 connections need 652" in result.stderr


def test_a_soft_limit_is_raised_without_being_asked_for(echo_port):
    result = run(f"--port={echo_port}", "--connections=100", "--json", preexec_fn=descriptors_limited_to(64, 4096))
    assert (result.returncode, json.loads(result.stdout)["served"]) == (0, 100)

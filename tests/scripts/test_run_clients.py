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
    "connections", "connected", "complete", "served", "never_answered", "messages", "bytes", "seconds",
    "messages_per_second", "megabytes_per_second", "latency_us", "errors", "hostile", "verdict",
]  # fmt: skip
HOSTILE_OPTIONS = ["--slow-readers", "--firehose", "--slowloris", "--vanish", "--hostile-seconds"]
NUMERIC_OPTIONS = [
    "--port", "--connections", "--seconds", "--messages", "--size", "--rate", "--timeout", *HOSTILE_OPTIONS
]  # fmt: skip
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
    assert figures["complete"] == 0
    if kind != "reset":  # a reset discards what a client has not read yet: it may have seen a part, or nothing
        assert figures["never_answered"] == (2 if name in ("no answer", "an end at once") else 0)
    assert status == 1


def test_a_server_that_is_not_there_refuses_all(figures_of):
    with socket.socket() as not_listening:
        not_listening.bind(("127.0.0.1", 0))
        status, figures = figures_of(not_listening.getsockname()[1], "--connections=300")
    assert figures["errors"] == dict.fromkeys(ERRORS, 0) | {"refused": 300}
    assert (figures["connected"], figures["complete"], figures["never_answered"]) == (0, 0, 0)
    assert status == 1


def test_one_bad_reply_among_good_ones_is_one_error_and_the_exit_status_tells(figures_of):
    bad = changing_the_last(lambda data: bytes(len(data)))

    def behave(connection, number, size):
        (bad if number == 7 else echo)(connection, number, size)

    with BadServer(behave) as server:
        status, figures = figures_of(server.port, "--connections=20", f"--messages={MESSAGES}")
    assert (figures["complete"], figures["errors"]["mismatched"], status) == (19, 1, 1)
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
    assert figures["connected"] == figures["complete"] == load["connections"]
    assert figures["never_answered"] == 0
    assert figures["hostile"] == {}
    assert figures["messages"] == load["connections"] * load["messages"]
    assert figures["bytes"] == figures["messages"] * load["size"]
    assert list(figures["latency_us"].values()) == sorted(figures["latency_us"].values())
    assert 0 < figures["latency_us"]["min"]
    assert figures["messages_per_second"] == pytest.approx(figures["messages"] / figures["seconds"], rel=0.01)


def test_without_a_number_of_messages_they_are_sent_until_the_time_has_passed(echo_port, figures_of):
    status, figures = figures_of(echo_port, "--connections=20", "--seconds=0.2")
    assert (status, figures["complete"]) == (0, 20)
    assert figures["seconds"] >= 0.2 and figures["messages"] >= 20
    assert figures["bytes"] == figures["messages"] * 64


@pytest.mark.parametrize("rate, each", [(100, 10), (5, 1)])
def test_at_a_fixed_rate_the_time_is_a_number_of_messages_and_each_client_sends_one_at_least(
    echo_port, figures_of, rate, each
):
    status, figures = figures_of(echo_port, "--connections=2", "--seconds=0.2", f"--rate={rate}")
    assert (status, figures["complete"], figures["messages"]) == (0, 2, 2 * each)


def test_without_a_word_about_it_they_are_sent_for_five_seconds():
    load = run_clients._load(run_clients._parse([]))
    assert (load.messages, load.seconds) == (None, 5.0)


def test_a_server_that_never_ends_its_side_is_left_and_that_is_no_error(figures_of, monkeypatch):
    monkeypatch.setattr(swarm, "GOODBYE_SECONDS", 0.05)
    released = threading.Event()

    def behave(connection, number, size):
        echo(connection, number, size)
        released.wait(DEADLINE_SECONDS)

    with BadServer(behave) as server:
        status, figures = figures_of(server.port, "--connections=2", f"--messages={MESSAGES}")
        released.set()
    assert (status, figures["complete"]) == (0, 2)


def test_a_fixed_rate_does_not_wait_for_answers(figures_of):
    def behave(connection, _number, size):
        connection.sendall(receive(connection, MESSAGES * size))  # nothing until everything is here

    with BadServer(behave) as server:
        status, figures = figures_of(server.port, "--connections=2", f"--messages={MESSAGES}", "--rate=100")
    assert (status, figures["complete"]) == (0, 2)
    # The first message waited for the last: 4 times a hundredth of a second, by the schedule.
    assert figures["latency_us"]["max"] >= 0.99 * 40_000


def test_all_connections_are_held_until_the_last_client_has_ended(figures_of):
    first_is_complete = threading.Event()
    connections = {}
    ended_early = []

    def behave(connection, number, size):
        connections[number] = connection
        if number == 0:
            echo(connection, number, size)
            first_is_complete.set()
            return
        # Many turns of the clients' loop: time enough for the first client to leave, if it would.
        assert first_is_complete.wait(DEADLINE_SECONDS)
        for _ in range(MESSAGES):
            message = receive(connection, size)
            ended_early.extend(select.select([connections[0]], [], [], 0)[0])
            connection.sendall(message)

    with BadServer(behave) as server:
        status, _ = figures_of(server.port, "--connections=2", f"--messages={MESSAGES}")
    assert (status, ended_early) == (0, [])


def test_a_blocking_server_is_seen_to_answer_one_and_leave_the_others_in_its_accept_queue(figures_of):
    # SIGTERM kills it, because it handles no signals.
    arguments = [str(BLOCKING_SERVER), "127.0.0.1", "0"]
    with process_listening(*arguments, expected_status=-signal.SIGTERM) as port:
        table = run(f"--port={port}", "--connections=10", "--messages=3", "--timeout=0.5")
        status, figures = figures_of(port, "--connections=10", "--messages=3", "--timeout=0.5")
    assert figures["errors"] == dict.fromkeys(ERRORS, 0) | {"timed_out": 9}
    assert (figures["connected"], figures["complete"], figures["never_answered"]) == (10, 1, 9)
    assert (table.returncode, status) == (1, 1)
    assert (
        "9 of 10 clients were accepted by the kernel and never answered: they wait in the server's accept queue"
    ) in " ".join(table.stdout.split())


def test_without_tabulate_one_line_says_what_to_do_and_json_works_all_the_same(echo_port):
    without_packages = {"python_options": ["-S"], "env": {**os.environ, "PYTHONPATH": ""}}
    result = run(f"--port={echo_port}", **without_packages)
    assert (result.returncode, result.stdout) == (2, "")
    assert re.fullmatch(r"run_clients: .* tabulate: .*make run-clients.*pip install tabulate.*\n", result.stderr)
    result = run(f"--port={echo_port}", "--messages=1", "--json", **without_packages)
    assert (result.returncode, json.loads(result.stdout)["complete"], result.stderr) == (0, 100, "")


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


def test_how_long_is_a_time_or_a_number_of_messages_and_not_both(refusal):
    assert "argument --messages: not allowed with argument --seconds" in refusal("--seconds=1", "--messages=1")


@pytest.mark.parametrize("option", ["--port=0", "--port=65536", "--connections=0", "--messages=0", "--timeout=0"])
def test_values_out_of_range_are_refused(refusal, option):
    assert option.partition("=")[0] in refusal(option)


def test_a_size_without_room_for_the_two_numbers_is_refused_and_the_least_is_named(refusal):
    line = refusal("--size=7")
    assert "from 8 to" in line
    assert "a message begins with two numbers" in line


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a..b"])
def test_a_host_that_is_not_known_is_one_line(refusal, host):
    line = refusal(f"--host={host}")
    assert repr(host) in line and line.endswith("; say with HOST= or --host where the server is\n")


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
    result = run(f"--port={echo_port}", "--messages=1", "--json", preexec_fn=descriptors_limited_to(64, 4096))
    assert (result.returncode, json.loads(result.stdout)["complete"]) == (0, 100)

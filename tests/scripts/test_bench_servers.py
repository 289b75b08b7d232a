"""The bench measures what it says: each row works on real servers, and the load finds every wrong byte.

No test here looks at a time. The rows run with a handful of messages, to test that they give a figure, not which one.
Counts of system calls and instructions do not depend on other load on the machine, so they are tested exactly.
"""

import contextlib
import dataclasses
import json
import shutil
import socket
import statistics
import sys
import threading

import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("the bench reads Linux's /proc", allow_module_level=True)

from scripts.benchmarks import contenders, generator, instructions, processes, rows, system_calls
from scripts.benchmarks.generator import HERE, Tools, loading
from scripts.benchmarks.processes import MeasurementError

COMPILER = generator.find_compiler()
NEEDS_COMPILER = pytest.mark.skipif(COMPILER is None, reason="no C compiler here")
DEADLINE_SECONDS = 120
SCALE, CONNECTIONS = 0.001, 40
ROWS = {row.key: row for row in rows.ROWS}
STRACED = {"calls", "line calls"}


@pytest.fixture(scope="module")
def tools():
    """The programs that can be built here, once for all tests."""
    with Tools(COMPILER) as tools:
        yield tools


# The names of all servers; the one in C need not be built for that.
EVERYONE = [who.name for who in contenders.standard() + contenders.rivals()] + ["limit (C, epoll)"] * bool(COMPILER)


def contender(name, tools):
    everyone = contenders.standard() + contenders.rivals() + contenders.limit(tools)
    (found,) = (who for who in everyone if who.name == name)
    if found.package and contenders.version(found.package) is None:
        pytest.skip(f"{found.package} is not installed")
    return found


def measured(key, name, tools):
    if key in STRACED and not system_calls.is_available():
        pytest.skip("strace is not here")
    measurement = ROWS[key].measure(rows.Setting(contender(name, tools), tools, SCALE, CONNECTIONS))
    while True:
        try:
            next(measurement)
        except StopIteration as end:
            return end.value


# The rows, on real servers.


@pytest.mark.parametrize("name", ["reactor", "asyncio Protocol"])
@pytest.mark.parametrize("key", [key for key in ROWS if key not in STRACED])
def test_each_row_gives_a_figure(key, name, tools):
    sample = measured(key, name, tools)
    assert sample.value >= 0 if key == "memory" else sample.value > 0
    json.dumps(sample.details)


@NEEDS_COMPILER  # the load in Python is too slow for it
def test_the_firehose_leaves_the_floor_alive(tools):
    assert measured("firehose", "floor (Python, bare epoll)", tools).value > 0


def test_a_figure_of_turns_is_their_median(tools):
    sample = measured("echo", "reactor", tools)
    assert len(sample.turns) == rows.TURNS and sample.value == statistics.median(sample.turns)


@pytest.mark.parametrize("name", EVERYONE)
def test_each_contender_serves_both_programs(name, tools):
    assert measured("echo", name, tools).value > 0
    assert measured("lines", name, tools).value > 0


def test_growth_tells_the_cost_at_each_number_of_connections(tools):
    details = measured("growth", "reactor", tools).details
    assert list(details["microseconds"]) == ["10", str(CONNECTIONS)]


@pytest.mark.parametrize("name", ["reactor", "asyncio Protocol"])
def test_an_echo_is_one_receive_and_one_send(name, tools):
    calls = measured("calls", name, tools).details["by_name"]
    # The difference of two runs, in which the watchdog reads the loop's pipe a few times more or less.
    assert (round(calls["recv"]), round(calls["send"])) == (1, 1)


def test_our_line_echo_sends_once_for_a_segment(tools):
    assert measured("line calls", "reactor", tools).details["by_name"]["send"] == 1


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not here")
@pytest.mark.parametrize("work", [instructions.ECHO, instructions.SEGMENT], ids=["echo", "lines"])
def test_instructions_are_counted_by_the_difference_of_two_runs(tools, work):
    floor = contender("floor (Python, bare epoll)", tools)
    # A message needs some five thousand; a start takes hundreds of millions.
    assert 1_000 < instructions.per_message(floor, tools, dataclasses.replace(work, few=100, many=300)) < 100_000


# The load.


@contextlib.contextmanager
def answering(answer):
    """A server that answers whatever comes with `answer(it)`; None closes. Yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(connection):
            with connection, contextlib.suppress(ConnectionError):
                while (data := connection.recv(65536)) and (reply := answer(data)) is not None:
                    connection.sendall(reply)

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture(params=[pytest.param("c", marks=NEEDS_COMPILER), "python"])
def load_command(request, tools):
    """The command of each load generator."""
    return tools.load_command() if request.param == "c" else [sys.executable, str(HERE / "load.py")]


def test_the_load_sends_as_many_messages_as_it_is_told_and_says_how_they_fared(load_command):
    seen = []
    with answering(lambda data: seen.append(data) or data) as port, loading(load_command, port) as load:
        load.connect(3)
        seen.clear()
        told = load.echo(10, 64)
    assert [len(data) for data in seen] == [64] * 10
    assert set(told) == {"seconds", *rows.PERCENTILES}
    assert 0 < told["p50"] <= told["p90"] <= told["p99"] <= told["p99.9"] <= told["max"]


def test_a_volley_is_sent_whole_before_what_comes_between_and_then_all_of_it_is_awaited(load_command):
    seen, arrived, gate = [], threading.Semaphore(0), threading.Event()

    def answer(data):
        seen.append(data)
        arrived.release()
        return data if len(data) == 1 or gate.wait(DEADLINE_SECONDS) else None

    def open_gate():
        assert all(arrived.acquire(timeout=DEADLINE_SECONDS) for _ in range(3))
        gate.set()

    with answering(answer) as port, loading(load_command, port) as load:
        load.connect(3)
        for _ in seen:
            arrived.acquire()
        seen.clear()
        load.volley(64, 0, open_gate)
    assert [len(data) for data in seen] == [64] * 3


def test_the_load_sends_lines_when_told_to(load_command):
    seen = []
    with answering(lambda data: seen.append(data) or data) as port, loading(load_command, port) as load:
        load.connect(1)
        seen.clear()
        load.echo(2, 64, 16)
        load.volley(64, 16, lambda: None)
    assert len(seen) == 3
    for data in seen:
        assert [len(line) for line in data.split(b"\n")] == [15, 15, 15, 15, 0]


def test_large_messages_come_back_whole(load_command, tools):
    floor = contender("floor (Python, bare epoll)", tools)
    with processes.running(floor.command("echo"), floor.name) as server:
        with loading(load_command, server.port) as load:
            load.connect(4)
            assert load.echo(12, 1 << 20)["seconds"] > 0


def test_the_load_connects_and_closes_as_often_as_it_is_told(load_command):
    seen = []
    with answering(lambda data: seen.append(data) or data) as port, loading(load_command, port) as load:
        load.churn(7, 64, 3)
    assert [len(data) for data in seen] == [64] * 7


def test_a_firehose_flows_until_it_is_stopped_and_the_load_can_go_on(load_command):
    with answering(lambda data: data) as port, loading(load_command, port, humble=True) as load:
        load.start_firehose(4096)
        with loading(load_command, port) as beside:
            beside.connect(1)
            beside.echo(100, 64)
        told = load.stop_firehose()
        assert told["bytes"] > 0
        load.connect(1)
        load.echo(1, 64)


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (lambda data: data[:-1] + b"\0", "other bytes came back than were sent"),
        (lambda data: data + data, "more bytes came back than were sent"),
        (lambda data: None, "the server closed a connection after 0 of"),
    ],
)
def test_whatever_is_wrong_with_a_reply_ends_the_measurement(load_command, answer, complaint):
    with answering(answer) as port, loading(load_command, port) as load:
        with pytest.raises(MeasurementError, match=complaint):
            load.connect(1)


def test_nobody_listening_is_said_in_one_line(load_command):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with loading(load_command, port) as load, pytest.raises(MeasurementError, match="refused"):
        load.connect(1)


# The processes.


def test_a_server_that_ends_before_it_listens_is_reported_with_its_last_word():
    command = [sys.executable, "-c", "import sys; sys.exit('no such luck')"]
    with pytest.raises(MeasurementError, match="broken ended before it listened; it said 'no such luck'"):
        with processes.running(command, "broken"):
            pass


def test_usage_counts_the_work_of_threads_that_have_ended():
    work = (
        "import sys, threading\n"
        "thread = threading.Thread(target=sum, args=[range(10**6)])\n"
        "thread.start(); thread.join()\n"
        "print('listening on x:1', file=sys.stderr); sys.stdin = None\n"
        "import signal; signal.pause()"
    )
    quiet = work.replace("10**6", "1")
    with processes.running([sys.executable, "-c", work], "busy") as busy:
        with processes.running([sys.executable, "-c", quiet], "quiet") as idle:
            assert busy.usage().cpu > idle.usage().cpu

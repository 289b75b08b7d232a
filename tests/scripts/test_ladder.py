"""The ladder's table: made from what the clients report, with stand-in clients; and what is said of the figures."""

import os
import re
import select
import signal
import subprocess
import sys

import pytest

from scripts import ladder
from tests import support

REPORT = {
    "connections": 3,
    "served": 2,
    "never_answered": 1,
    "messages_per_second": 1234.5,
    "latency_us": {"p99": 77.7},
}
HEADERS = ["step", "served", "threads", "peak MiB", "messages/s", "p99 ms"]
# It echoes one message, and reports the next of `reports` each time that it is run.
STAND_IN = """
import json, pathlib, socket, sys
host, port = (sys.argv[sys.argv.index(option) + 1] for option in ("--host", "--port"))
with socket.create_connection((host, int(port)), timeout=60) as client:
    client.sendall(b"hello")
    assert client.recv(5) == b"hello"
runs = pathlib.Path({runs!r})
with runs.open("a") as file:
    print(*sys.argv[1:], file=file)
reports = {reports!r}
print(json.dumps(reports[(len(runs.read_text().splitlines()) - 1) % len(reports)]))
print("not this line\\nthis line", file=sys.stderr)
sys.exit({status})
"""


@pytest.fixture
def climb(tmp_path, monkeypatch, capfd):
    """Climb with clients that echo one message and then report what the test says; return what was printed."""

    def climb(*options, reports=(REPORT,), status=0, steps=ladder.STEPS):
        runs = tmp_path / "runs"
        clients = tmp_path / "clients.py"
        clients.write_text(STAND_IN.format(runs=str(runs), reports=list(reports), status=status))
        monkeypatch.setattr(ladder, "CLIENTS", clients)
        monkeypatch.setattr(ladder, "STEPS", steps)
        monkeypatch.setattr(sys, "argv", ["ladder.py", *options])
        ladder.main()
        out, climb.told = capfd.readouterr()
        return out, runs.read_text().splitlines()

    return climb


@pytest.fixture(autouse=True)
def handlers_come_back():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def rows_of(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def one_step(name):
    return [step for step in ladder.STEPS if step.stem == name]


def test_there_is_a_row_for_each_step_with_what_the_clients_reported(climb):
    text, runs = climb("--connections", "3", "--messages", "5", "--rounds", "1")
    headers, _, *rows = rows_of(text)
    assert headers == HEADERS
    assert [row[0] for row in rows] == [step.stem for step in ladder.STEPS]
    assert all((row[1], *row[4:]) == ("2", "1,234", "0.1") for row in rows)
    assert all("--connections 3 --messages 5 --size 64 --timeout " in run and run.endswith(" --json") for run in runs)


def test_a_round_runs_each_step_once_and_the_table_has_the_medians(climb):
    steps = one_step("1_blocking") + one_step("3_selectors")
    speeds = [100, 1, 300, 5, 200, 3]  # of the two steps in turn
    reports = [REPORT | {"messages_per_second": speed, "latency_us": {"p99": speed * 1000}} for speed in speeds]
    text, runs = climb("--rounds", "3", "--connections", "3", reports=reports, steps=steps)
    assert len(runs) == 6
    assert [row[4:] for row in rows_of(text)[2:]] == [["200", "200.0"], ["3", "3.0"]]


def test_a_server_that_leaves_most_clients_waiting_has_no_speed_in_the_table(climb):
    text, _ = climb("--rounds", "1", "--connections", "5", steps=ladder.STEPS[:1])
    _, _, row = rows_of(text)
    assert (row[1], *row[4:]) == ("2", "", "")


def test_the_clients_of_the_blocking_step_do_not_wait_long_in_vain(climb):
    _, (blocking, threads) = climb("--rounds", "1", steps=ladder.STEPS[:2])
    assert " --timeout 1 " in blocking and " --timeout 30 " in threads


def test_every_line_fits_the_screen(climb):
    slowest = {"p99": ladder.REPLY_SECONDS * 1_000_000}  # a client waits no longer
    much = REPORT | {"served": 1000000, "messages_per_second": 1234567, "latency_us": slowest}
    text, _ = climb("--rounds", "1", "--connections", "1000000", reports=[much])
    assert "1,234,567" in text
    assert max(map(len, text.splitlines())) < 80


def test_a_log_gets_a_plain_line_for_each_round(climb):
    climb("--rounds", "2", steps=ladder.STEPS[:2])
    first, second = climb.told.splitlines()
    assert first == "round 1 of 2  1_blocking      0%"
    assert re.fullmatch(r"round 2 of 2  1_blocking     50%  about \d+ s left", second)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's memory and threads in /proc")
def test_two_columns_are_the_servers_own_memory_and_threads(climb):
    text, _ = climb("--rounds", "1", steps=one_step("1_blocking"))
    _, _, threads, memory_mib, *_ = rows_of(text)[2]
    assert threads == "1"
    assert 1 < float(memory_mib) < 100


def test_clients_that_report_failures_are_still_a_row(climb):
    unanswered = REPORT | {"served": 0, "latency_us": {"p99": None}}
    text, _ = climb("--rounds", "1", reports=[unanswered], status=1, steps=ladder.STEPS[:1])
    assert rows_of(text)[2][0] == "1_blocking"


def test_clients_that_cannot_run_end_the_climb_with_one_line(climb):
    with pytest.raises(SystemExit, match=r"^clients\.py ended with status 2: this line$"):
        climb(status=2, steps=ladder.STEPS[:1])


def test_a_step_that_cannot_start_ends_the_climb_with_its_own_word(climb, tmp_path):
    broken = tmp_path / "9_broken.py"
    broken.write_text("import sys; sys.exit('no such luck')")
    with pytest.raises(SystemExit, match="^9_broken ended before it listened; it said: 'no such luck'$"):
        climb(steps=[broken])


def test_a_step_that_never_listens_is_not_waited_for_without_end(climb, tmp_path, monkeypatch):
    monkeypatch.setattr(ladder, "LISTENING_SECONDS", 0.1)
    silent = tmp_path / "9_silent.py"
    silent.write_text("import signal; signal.pause()")
    with pytest.raises(SystemExit, match="^9_silent did not say within 0.1 s where it listens"):
        climb(steps=[silent])


@pytest.mark.parametrize("value", ["0", "-1", "ten", "1.5"])
def test_a_number_that_is_none_is_refused(climb, capfd, value):
    with pytest.raises(SystemExit) as ended:
        climb(f"--messages={value}")
    assert ended.value.code == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert f"{value!r} is not a whole number from 1 up" in line


# What is said of the figures.


def run(**figures):
    return ladder.Run(**{
        "served": 9, "unanswered": 0, "threads": 1, "memory_mib": 10.0, "messages_per_second": 500.0, "p99_ms": 5.0,
    } | figures)  # fmt: skip


MANY = {"threads": 10, "memory_mib": 20.0, "messages_per_second": 400.0, "p99_ms": 50.0}


def said(threads, one_thread):
    (*_, sentence) = ["", *ladder.lessons({"2_threads": threads, "3_selectors": one_thread}, 9)]
    return sentence


def test_what_threads_cost_is_said_with_the_medians():
    assert said([run(**MANY), run(**MANY | {"p99_ms": 70.0}), run(**MANY | {"p99_ms": 60.0})], [run()] * 3) == (
        "Beside 3_selectors, 2_threads had more threads (10 against 1), more memory (20.0 against 10.0 MiB), a longer"
        " p99 (60.0 against 5.0 ms), fewer messages/s (400 against 500)."
    )


@pytest.mark.parametrize("name, value, absent", [
    ("p99_ms", 4.0, "p99"), ("p99_ms", 5.0, "p99"), ("p99_ms", None, "p99"), ("memory_mib", None, "memory"),
    ("threads", 1, "more threads"), ("messages_per_second", 501.0, "messages/s"),
])  # fmt: skip
def test_what_was_not_so_in_two_rounds_of_five_is_not_said(name, value, absent):
    other = run(**MANY | {name: value})
    sentence = said([run(**MANY)] * 3 + [other] * 2, [run()] * 5)
    assert sentence.count(" against ") == 3
    assert absent not in sentence


def test_what_was_not_so_in_one_round_of_five_is_said_with_the_number_of_rounds():
    sentence = said([run(**MANY)] * 4 + [run(**MANY | {"p99_ms": 4.0})], [run()] * 5)
    assert "a longer p99 (50.0 against 5.0 ms; in 4 of 5 rounds)," in sentence
    assert sentence.count("rounds") == 1


def test_nothing_is_said_if_nothing_differed():
    assert said([run()] * 2, [run()] * 2) == ""


def test_the_blocking_server_is_said_to_answer_one_client_only_if_it_did():
    alone = run(served=1, unanswered=8)
    (sentence,) = ladder.lessons({"1_blocking": [alone] * 2}, 9)
    assert sentence.startswith("1_blocking answered 1 client. The other 8 were")
    for other in (run(served=0, unanswered=9), run(served=1, unanswered=7), run()):
        assert ladder.lessons({"1_blocking": [alone, other]}, 9) == []
    assert ladder.lessons({"1_blocking": [run(served=1)]}, 1) == []  # the one client there is


def test_a_client_that_was_not_served_in_one_round_is_not_hidden_by_the_median():
    (sentence,) = ladder.lessons({"4_loop": [run(), run(served=7), run(served=8)]}, 9)
    assert sentence == "4_loop did not serve every client in every round: 7 of them at worst."


def test_the_readme_has_the_table_of_this_script():
    page = ladder.README.read_text()
    block = re.search(r"^<!-- ladder -->\n(.*?)^<!-- /ladder -->$", page, re.DOTALL | re.MULTILINE)[1]
    headers, _, *rows = rows_of(block)
    assert headers == HEADERS
    assert [row[0] for row in rows] == [step.stem for step in ladder.STEPS]
    assert ladder.with_report(page, "\nTHE TABLE") == page.replace(
        block, "`make ladder` on one day (figures change: compare the rows).\n\nTHE TABLE\n"
    )


# Ending it.


@pytest.mark.parametrize("ending, status, how", [
    (signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "ended by SIGTERM"),
    (signal.SIGHUP, 129, "ended by SIGHUP"),
])  # fmt: skip
def test_a_signal_ends_all_that_it_started_with_one_line(tmp_path, ending, status, how):
    program = """
import pathlib, sys
from scripts import ladder, output
ladder.CLIENTS = pathlib.Path(sys.argv.pop())
sys.exit(output.run("ladder", ladder.main))
"""
    clients = tmp_path / "clients.py"
    started = tmp_path / "started"
    os.mkfifo(started)
    # It holds the FIFO and a connection open; the reader sees the end of the clients, and a step holds its port.
    clients.write_text(f"""
import socket, sys, time
port = int(sys.argv[sys.argv.index("--port") + 1])
with open({str(started)!r}, "w") as file, socket.create_connection(("127.0.0.1", port)):
    print(port, file=file, flush=True)
    time.sleep(600)
""")
    words = [sys.executable, "-c", program, str(clients)]
    fifo = os.open(started, os.O_RDONLY | os.O_NONBLOCK)
    environment = support.package_environment()
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=support.ROOT, env=environment) as process:
        try:
            said = b""
            while not said.endswith(b"\n"):
                assert select.select([fifo], [], [], support.DEADLINE_SECONDS)[0]
                said += os.read(fifo, 100)
            process.send_signal(ending)
            _, told = process.communicate(timeout=support.DEADLINE_SECONDS)
            assert process.returncode == status
            assert select.select([fifo], [], [], support.DEADLINE_SECONDS)[0] and os.read(fifo, 100) == b""
        finally:
            process.kill()
            os.close(fifo)
    _, line = told.splitlines()  # the first is the progress
    assert line == f"ladder: {how} after 0 of {5 * len(ladder.STEPS)} runs"
    support.wait_until(lambda: not listens(int(said)), "the server is gone")


def listens(port):
    try:
        support.connect(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True

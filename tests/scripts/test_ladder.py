"""The ladder's table: made from what the clients report, with stand-in clients."""

import json
import sys

import pytest

from scripts import ladder

REPORT = {
    "connections": 3,
    "served": 2,
    "never_answered": 1,
    "messages_per_second": 1234.5,
    "latency_us": {"p99": 77.7},
}
STAND_IN = """
import json, pathlib, socket, sys
host, port = (sys.argv[sys.argv.index(option) + 1] for option in ("--host", "--port"))
with socket.create_connection((host, int(port)), timeout=60) as client:
    client.sendall(b"hello")
    assert client.recv(5) == b"hello"
pathlib.Path({arguments!r}).write_text(" ".join(sys.argv[1:]))
print({report!r})
sys.exit({status})
"""


@pytest.fixture
def climb(tmp_path, monkeypatch, capfd):
    """Climb with clients that echo one message and then report what the test says; return what was printed."""

    def climb(*options, report=REPORT, status=0, steps=ladder.STEPS):
        arguments = tmp_path / "arguments"
        clients = tmp_path / "clients.py"
        clients.write_text(STAND_IN.format(arguments=str(arguments), report=json.dumps(report), status=status))
        monkeypatch.setattr(ladder, "CLIENTS", clients)
        monkeypatch.setattr(ladder, "STEPS", steps)
        monkeypatch.setattr(sys, "argv", ["ladder.py", *options])
        ladder.main()
        return capfd.readouterr().out, arguments.read_text()

    return climb


def test_there_is_a_row_for_each_step_with_what_the_clients_reported(climb):
    table, arguments = climb("--connections", "3", "--messages", "5")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert rows[0][:6] == ["step", "clients", "served", "left in accept queue", "messages/s", "p99 µs"]
    assert [row[0] for row in rows[2:]] == [step.stem for step in ladder.STEPS]
    assert all(row[1:6] == ["3", "2", "1", "1,234", "78"] for row in rows[2:])
    assert "--connections 3 --messages 5 --size 64 --timeout 2 --json" in arguments


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's memory and threads in /proc")
def test_the_last_columns_are_the_servers_own_memory_and_threads(climb):
    table, _ = climb(steps=[step for step in ladder.STEPS if step.stem == "1_blocking"])
    *_, memory_mib, threads = (cell.strip() for cell in table.splitlines()[2].strip("|").split("|"))
    assert 1 < float(memory_mib) < 100
    assert threads == "1"


def test_clients_that_report_failures_are_still_a_row(climb):
    unanswered = REPORT | {"served": 0, "latency_us": {"p99": None}}
    table, _ = climb(report=unanswered, status=1, steps=ladder.STEPS[:1])
    assert table.splitlines()[2].startswith("| 1_blocking")


def test_clients_that_cannot_run_end_the_climb_with_one_line(climb):
    with pytest.raises(SystemExit, match=r"^clients\.py ended with status 2$"):
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

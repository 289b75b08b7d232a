"""What a person reads after a run: what went wrong, one table, the verdict; and on a terminal, a bar before it."""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import termios
import threading
import time

import pytest

from tests.scripts.bad_servers import BAD_SERVERS, MESSAGES, BadServer, echo, receive
from tests.scripts.test_run_clients import DEADLINE_SECONDS, command, echo_port, run  # noqa: F401
from tests.service.terminal import Terminal

LABELS = ["connections", "messages", "latency µs", "errors"]


def parts(output):
    """The paragraphs of a report: each a list of lines."""
    return [part.splitlines() for part in output.rstrip("\n").split("\n\n")]


def cells(table):
    """The rows of the table: [label, number, words]."""
    width = len("connections")
    rows = [[line[:width].strip(), *re.split(r"  +", line[width:].strip())] for line in table]
    assert {row[0] for row in rows} <= {"", *LABELS}
    return rows


def test_one_table_shows_all_figures_in_eighty_columns_and_the_last_line_is_the_verdict(echo_port):  # noqa: F811
    result = run(f"--port={echo_port}", "--connections=5", "--messages=1000")
    assert (result.returncode, result.stderr) == (0, "")
    assert max(map(len, result.stdout.splitlines())) <= 80
    table, verdict = parts(result.stdout)
    rows = cells(table)
    assert [row[0] for row in rows] == ["connections", "", "", "messages", "", "latency µs", *[""] * 5, "errors"]
    assert [row[1] for row in rows[:4]] == ["5", "5", "5", "5,000"]
    assert rows[3][2].startswith("came back right, of 64 bytes each, in ")
    latencies = [int(row[1].replace(",", "")) for row in rows[5:11]]
    assert latencies == sorted(latencies) and latencies[0] > 0
    assert rows[11] == ["errors", "0"]
    assert verdict == ["every byte came back: 5 clients, 5,000 messages of 64 bytes"]


def test_where_nothing_listens_the_first_sentence_says_so_and_what_to_do():
    with socket.socket() as not_listening:
        not_listening.bind(("127.0.0.1", 0))
        port = not_listening.getsockname()[1]
        result = run(f"--port={port}", "--connections=3")
    first, table, verdict = parts(result.stdout)
    start = f"start the server with `make run-server PORT={port}` in another terminal"
    assert " ".join(first) == f"nothing listens on 127.0.0.1:{port}: {start}"
    assert any(start.partition("`")[2].partition("`")[0] in line for line in first)  # in one piece, to be copied
    rows = cells(table)
    assert [row[:2] for row in rows] == [
        ["connections", "3"], ["", "0"], ["", "0"], ["messages", "0"], ["errors", "3"]
    ]  # fmt: skip
    assert rows[-1][2] == "refused"
    assert verdict == ["NOT every byte came back: all 3 clients failed (refused)"]
    assert (result.returncode, result.stderr) == (1, "")


@pytest.mark.parametrize("name, first, kind", [
    ("a wrong byte", "all 2 clients got a wrong byte: ", "mismatched"),
    ("an end in mid-message", "the server broke all 2 connections off: ", "closed early"),
    ("a reset in mid-message", "the server broke all 2 connections off: ", "reset"),
    ("no answer", "all 2 clients were accepted by the kernel and never answered: ", "timed out"),
    ("the last byte lost", "all 2 clients waited 0.5 s for the next byte in vain: ", "timed out"),
])  # fmt: skip
def test_the_first_sentence_and_the_verdict_name_what_went_wrong(name, first, kind):
    behave, _ = BAD_SERVERS[name]
    timeout = "0.5" if kind == "timed out" else str(DEADLINE_SECONDS)
    with BadServer(behave) as server:
        result = run(f"--port={server.port}", "--connections=2", f"--messages={MESSAGES}", f"--timeout={timeout}")
    sentence, table, verdict = parts(result.stdout)
    assert " ".join(sentence).startswith(first)
    assert cells(table)[-1] == ["errors", "2", kind]
    assert (verdict, result.returncode) == ([f"NOT every byte came back: all 2 clients failed ({kind})"], 1)


def test_every_kind_of_error_has_a_row_and_the_verdict_counts_them():
    behaviours = [BAD_SERVERS[name][0] for name in ("a wrong byte", "an end in mid-message", "no answer")]

    def behave(connection, number, size):
        (*behaviours, echo)[min(number, 3)](connection, number, size)

    with BadServer(behave) as server:
        result = run(f"--port={server.port}", "--connections=5", f"--messages={MESSAGES}", "--timeout=0.5")
    *sentences, table, verdict = parts(result.stdout)
    assert [row[1:] for row in cells(table)[-3:]] == [["1", "closed early"], ["1", "timed out"], ["1", "mismatched"]]
    assert [" ".join(sentence).partition(":")[0] for sentence in sentences] == [
        "1 of 5 clients got a wrong byte", "the server broke 1 of 5 connections off",
        "1 of 5 clients was accepted by the kernel and never answered",
    ]  # fmt: skip
    assert verdict == [
        "NOT every byte came back: 3 of 5 clients failed (1 closed early, 1 timed out, 1",
        "mismatched)",
    ]


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
    sentence, table, verdict = parts(output)
    assert sentence[0].startswith("2 of 3 clients were accepted by the kernel and had no answer yet: they may wait")
    assert [row[1:] for row in cells(table)[:5]] == [
        ["3", "asked for"], ["3", "connected"], ["0", "complete: all that they sent came back"],
        ["2", "never answered: not one byte came back"], [str(MESSAGES), cells(table)[4][2]],
    ]  # fmt: skip
    assert verdict == ["stopped by Ctrl-C: all that came back until then was right"]
    assert errors == ""


def test_help_fits_on_a_screen():
    shown = run("--help").stdout.splitlines()
    assert len(shown) < 24 and max(map(len, shown)) <= 80


# The bar.


def test_a_terminal_gets_a_bar_that_is_gone_at_the_end(echo_port):  # noqa: F811
    master, slave = os.openpty()
    with open(master, "rb", buffering=0) as screen:
        try:
            bar_there = command(f"--port={echo_port}", "--messages=100", "--json")
            result = subprocess.run(bar_there, stdout=subprocess.PIPE, stderr=slave, timeout=DEADLINE_SECONDS)
        finally:
            os.close(slave)
        shown = b""
        with contextlib.suppress(OSError):  # EIO: the other end is closed everywhere, and all is read
            while chunk := screen.read(65536):
                shown += chunk
    assert json.loads(result.stdout)["complete"] == 100
    assert re.match(rb"\r\x1b\[Kconnecting \[[#.]+\] +\d+%  0 of 100 connections", shown)
    assert shown.endswith(b"\r\x1b[K")
    assert b"\n" not in shown


@pytest.mark.skipif(not pathlib.Path("/proc/self/fd").exists(), reason="only /proc says that the bar is over")
def test_after_a_terminal_was_stopped_the_report_begins_on_a_line_of_its_own():
    go_on = threading.Event()

    def behave(connection, number, size):
        message = receive(connection, size)
        assert go_on.wait(DEADLINE_SECONDS)
        connection.sendall(message)
        echo(connection, number, size)

    with BadServer(behave) as server:
        terminal = Terminal(command=command(f"--port={server.port}", "--connections=2", f"--messages={MESSAGES + 1}"))
        with contextlib.closing(terminal):
            terminal.wait_for("exchanging")
            descriptors = pathlib.Path(f"/proc/{terminal.process.pid}/fd")
            name = os.readlink(descriptors / "2")
            keys = os.open(name, os.O_RDWR | os.O_NOCTTY)
            termios.tcflow(keys, termios.TCOOFF)  # as Ctrl-S
            go_on.set()
            deadline = time.monotonic() + DEADLINE_SECONDS
            while users(descriptors, name) > 3:  # the fourth is the bar's
                assert time.monotonic() < deadline, "the bar never ended"
            termios.tcflow(keys, termios.TCOON)  # as Ctrl-Q
            os.close(keys)
            while terminal.read():
                pass
            assert terminal.process.wait(DEADLINE_SECONDS) == 0
            assert terminal.rows()[0].startswith("connections ")


def users(descriptors, name):
    """How many of the descriptors in this directory are `name`."""
    found = 0
    for descriptor in descriptors.iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
            found += os.readlink(descriptor) == name
    return found

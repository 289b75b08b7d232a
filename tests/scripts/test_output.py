"""What a script writes reaches its reader; where that is impossible, one line and a status say so."""

import fcntl
import os
import pathlib
import subprocess
import sys
import termios
import threading

import pytest

from scripts import output

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEADLINE_SECONDS = 120
ERASE = "\r\x1b[K"
BUFFERED = {**os.environ, "PYTHONUNBUFFERED": ""}  # so that output is written at the end
SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from scripts import output

def main():
    {main}

sys.exit(output.run("script", main))
"""


def script(main):
    return [sys.executable, "-c", SCRIPT.format(root=str(ROOT), main=main)]


def shell(redirection, main, **environment):
    """Run `main` with the redirection `redirection` of a shell."""
    command = ["bash", "-c", f'exec "$@" {redirection}', "bash", *script(main)]
    environment = {**BUFFERED, **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS, env=environment)


def outcome(result):
    return result.returncode, result.stdout, result.stderr


def test_what_is_shown_and_told_goes_where_it_belongs():
    main = "output.tell('on the way'); output.show('at the end'); return 7"
    assert outcome(shell("", main)) == (7, "at the end\n", "on the way\n")


@pytest.mark.parametrize("ending, status, told", [
    ("return None", 0, ""), ("raise SystemExit", 0, ""), ("raise SystemExit(5)", 5, ""),
    ("sys.exit('why')", 1, "why\n"), ("raise KeyboardInterrupt", 130, ""),
])  # fmt: skip
def test_however_it_ends_its_status_is_its_own(ending, status, told):
    assert outcome(shell("", f"print('x'); {ending}")) == (status, "x\n", told)


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_what_cannot_be_told_is_lost_and_does_no_harm(redirection):
    assert outcome(shell(redirection, "output.tell('lost'); output.show('x')")) == (0, "x\n", "")


def test_a_standard_output_that_is_closed_is_told_before_anything_is_done():
    status, _, told = outcome(shell(">&-", "output.tell('done')"))
    assert status == 2 and told.startswith("script: standard output is closed") and told.count("\n") == 1


@pytest.mark.parametrize("say", ["output.show('the figures')", "print('the figures')"])
def test_a_full_disk_is_told_and_what_was_to_be_shown_is_not_lost(say):
    status, _, told = outcome(shell(">/dev/full", say))
    assert status == 2 and told.startswith("script: cannot write to standard output (No space left on device)")
    assert told.count("\n") == 1 and ("the figures" in told) == ("show" in say)


@pytest.mark.parametrize("say", ["output.show('x' * 5)", "print('x' * 5)"])
def test_a_pipe_without_a_reader_is_one_line(say):
    reading, writing = os.pipe()
    os.close(reading)
    result = subprocess.run(script(say), stdout=writing, stderr=subprocess.PIPE, text=True, env=BUFFERED)
    os.close(writing)
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert result.stderr.startswith("script: cannot write to standard output (Broken pipe)")


def test_with_no_output_at_all_the_status_is_left():
    assert outcome(shell(">/dev/full 2>&-", "output.show('x')")) == (2, "", "")


def test_an_encoding_without_a_character_gets_another():
    assert outcome(shell("", "output.show('µs ×2 Ω'); output.tell('µ')", PYTHONIOENCODING="ascii")) == (
        0, "us x2 \\u03a9\n", "u\n"
    )  # fmt: skip


def test_a_pipe_that_does_not_block_gets_all_of_it():
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETFL, os.O_NONBLOCK)
    size = 1 << 20  # 16 times what a pipe holds
    received = []
    with subprocess.Popen(script(f"output.show('x' * {size})"), stdout=writing) as process:
        os.close(writing)
        with open(reading, "rb") as pipe:
            thread = threading.Thread(target=lambda: received.append(pipe.read()))
            thread.start()
            thread.join(DEADLINE_SECONDS)
        assert process.wait(DEADLINE_SECONDS) == 0
    assert received == [b"x" * size + b"\n"]


def test_no_socket_gets_the_number_of_a_standard_descriptor():
    main = "import socket; output.show(str(socket.socket().fileno() > 2))"
    assert shell("<&- 2>&-", main).stdout == "True\n"


@pytest.mark.parametrize("columns, rows", [
    (40, ["there are more words than fit: call", "`make a-server PORT=7` before, or wait"]),
    (30, ["there are more words than", "fit: call", "`make a-server PORT=7`", "before, or wait"]),
    (500, ["there are more words than fit: call `make a-server PORT=7` before, or wait"]),
])  # fmt: skip
def test_on_a_terminal_a_long_line_is_broken_between_words_and_a_command_is_not(columns, rows):
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, (24, columns))
    text = "there are more words than fit: call `make a-server PORT=7` before, or wait"
    main = f"output.tell({text!r}, before='xxx' + {ERASE!r})"
    subprocess.run(script(main), stderr=slave, timeout=DEADLINE_SECONDS, check=True)
    os.close(slave)
    with open(master, "rb", buffering=0) as screen:
        shown = screen.read(1000).decode()
    assert shown == "".join(f"{row}\r\n" for row in [f"xxx{ERASE}{rows[0]}", *rows[1:]])


def test_in_a_test_it_is_captured_like_anything_else(capsys):
    output.show("shown")
    output.tell("told")
    assert capsys.readouterr() == ("shown\n", "told\n")

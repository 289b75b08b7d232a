"""Several pytests side by side must report as much as one, and fail as surely."""

import contextlib
import os
import re
import select
import signal
import subprocess
import sys

import pytest

from tests import support

DEADLINE_SECONDS = 240
RUN = """
import sys
from scripts import output, run_tests
run_tests.ENDING_SECONDS, run_tests.SILENT_SECONDS = {ending_seconds}, {silent_seconds}
sys.exit(output.run("run_tests", lambda: run_tests.main(sys.argv[3:], [sys.argv[1:2], sys.argv[2:3]])))
"""
PASSES = "def test_it():\n    pass\n"
FAILS = "def test_it():\n    assert not 'this'\n"
ENDS_ITSELF = "import os, signal\ndef test_it():\n    {}\ndef test_after():\n    pass\n"
DURATION = r"(\d+ min )?\d+ s"
LAST_PART = r"(  in \S+test_(first|second)\.py)?"  # while one part runs and the other has ended
# A test that has started a server, which is a child of its own. pytest and the server hold the FIFO `started` open: so
# the reader of the FIFO sees the end of the last of them.
SERVES = """
import os, subprocess, sys, time
import pytest

@pytest.fixture
def server():
    {before}
    command = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
    server = subprocess.Popen(command, stdout=os.open({started!r}, os.O_WRONLY))
    yield
    if {tidy}:
        server.kill()
        server.wait()

def test_it(server):
    {meanwhile}
"""
SLEEPS = "time.sleep(600)"
HOLDS_OUT = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"


def command(tmp_path, first, second, *arguments, ending_seconds=1e6, silent_seconds=1e6):
    (tmp_path / "pytest.ini").touch()  # the names of tests begin here, wherever the checkout lies
    files = []
    for name, text in [("test_first.py", first), ("test_second.py", second)]:
        files.append(tmp_path / name)
        files[-1].write_text(text)
    program = RUN.format(ending_seconds=ending_seconds, silent_seconds=silent_seconds)
    return [sys.executable, "-c", program, *files, *arguments]


def run(tmp_path, first, second, *arguments, **settings):
    return subprocess.run(
        command(tmp_path, first, second, *arguments, **settings),
        cwd=support.ROOT, env=support.package_environment(), capture_output=True, text=True, timeout=DEADLINE_SECONDS,
    )  # fmt: skip


def total(result):
    """The last line, without the time."""
    *_, line = result.stdout.splitlines()
    found = re.fullmatch(rf"(.*) in {DURATION}", line)
    assert found, line
    return found[1]


def test_when_both_parts_pass_there_is_one_total_and_nothing_else(tmp_path):
    result = run(tmp_path, PASSES, PASSES)
    assert result.returncode == 0
    assert total(result) == "2 passed"
    assert result.stdout.count("\n") == 1


@pytest.mark.parametrize("parts", [(FAILS, PASSES), (PASSES, FAILS)])
def test_when_any_part_fails_so_does_the_whole_and_the_failure_is_seen(tmp_path, parts):
    result = run(tmp_path, *parts)
    failed = "test_first.py" if parts[0] == FAILS else "test_second.py"
    assert result.returncode == 1
    assert "assert not 'this'" in result.stdout
    assert total(result) == "FAILED: 1 failed, 1 passed"
    assert re.findall(r"^== \S*(test_\w+\.py) =*$", result.stdout, re.MULTILINE) == [failed]  # no other has a heading
    first, *_, listed, _ = result.stdout.splitlines()
    assert (first, listed) == (f"{failed}::test_it failed", f"FAILED {failed}::test_it")


def test_a_failure_before_and_after_a_test_is_an_error(tmp_path):
    fixtures = "import pytest\n@pytest.fixture\ndef {name}():\n    {body}\ndef test_it({name}):\n    pass\n"
    before = fixtures.format(name="before", body="raise ValueError('too early')")
    after = fixtures.format(name="after", body="yield; raise ValueError('too late')")
    result = run(tmp_path, before, after)
    assert result.returncode == 1
    assert total(result) == "FAILED: 2 errors, 1 passed"
    assert "too early" in result.stdout and "too late" in result.stdout
    assert {"ERROR test_first.py::test_it", "ERROR test_second.py::test_it"} <= set(result.stdout.splitlines())


def test_what_is_skipped_and_what_may_fail_is_listed_with_its_reason(tmp_path):
    skips = """
import pytest
@pytest.mark.parametrize("number", range(3))
def test_skipped(number):
    pytest.skip("no strace here")
@pytest.mark.xfail(reason="issue 7")
def test_expected_to_fail():
    assert False
"""
    result = run(tmp_path, skips, "import pytest\npytest.skip('not on this system', allow_module_level=True)\n")
    assert result.returncode == 5  # the second part found no test
    lines = result.stdout.splitlines()
    assert "SKIPPED [3] test_first.py::test_skipped: no strace here" in lines
    assert "XFAILED test_first.py::test_expected_to_fail: issue 7" in lines
    assert "SKIPPED test_second.py: not on this system" in lines
    assert total(result) == "FAILED: 4 skipped, 1 xfailed"


def test_a_part_without_tests_is_no_success_and_is_named(tmp_path):
    result = run(tmp_path, PASSES, "")
    assert result.returncode == 5
    assert f"FAILED {tmp_path / 'test_second.py'}: pytest found no tests" in result.stdout.splitlines()
    assert total(result) == "FAILED: 1 passed"


def test_a_part_that_cannot_be_imported_is_no_success_and_says_why(tmp_path):
    result = run(tmp_path, PASSES, "import no_such_module\n")
    assert result.returncode == 2
    assert "No module named 'no_such_module'" in result.stdout
    assert "ERROR test_second.py" in result.stdout.splitlines()
    assert total(result) == "FAILED: 1 error, 1 passed"


@pytest.mark.parametrize("end, status, how", [
    ("os.kill(os.getpid(), signal.SIGKILL)", 137, "was killed by SIGKILL, in test_second.py::test_it"),
    ("os._exit(0)", 3, "ended with status 0 before its last test was over, in test_second.py::test_it"),
    ("os._exit(7)", 7, "ended with status 7 before its last test was over, in test_second.py::test_it"),
    ("import pytest; pytest.exit('enough', returncode=0)", 3, "ended with status 0 before its last test was over"),
    ("raise KeyboardInterrupt", 2, "was interrupted"),
])  # fmt: skip
def test_a_part_that_ends_too_early_is_no_success_and_says_where(tmp_path, end, status, how):
    result = run(tmp_path, PASSES, ENDS_ITSELF.format(end))
    assert result.returncode == status
    assert f"pytest {how}" in result.stdout
    assert re.fullmatch(r"FAILED: [12] not run, 1 passed", total(result))


def test_a_test_that_hangs_is_ended_and_shows_where_all_threads_stood(tmp_path):
    hangs = """
import threading, time, pytest
@pytest.mark.timeout(1)
def test_it():
    threading.Thread(target=stand_here, daemon=True).start()
    time.sleep(600)  # hangs
def stand_here():
    time.sleep(600)
"""
    result = run(tmp_path, hangs, PASSES)
    assert result.returncode == 1
    assert "time.sleep(600)  # hangs" in result.stdout and "in stand_here" in result.stdout
    assert total(result) == "FAILED: 1 failed, 1 passed"


def test_a_log_gets_a_plain_line_for_each_tenth_of_the_tests(tmp_path):
    many = "import pytest\n@pytest.mark.parametrize('number', range(50))\ndef test_it(number):\n    pass\n"
    result = run(tmp_path, many, many)
    lines = result.stderr.splitlines()
    assert 1 <= len(lines) <= 10
    assert all(re.fullmatch(rf"\d+ of 100 tests  {DURATION}{LAST_PART}", line) for line in lines), lines
    assert lines[-1].startswith("100 of 100 tests")
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", result.stdout + result.stderr)


def test_a_log_gets_a_line_after_a_long_time_in_which_no_tenth_was_reached(tmp_path):
    lines = run(tmp_path, PASSES, PASSES, silent_seconds=0).stderr.splitlines()
    assert any(re.fullmatch(rf"collecting the tests  {DURATION}", line) for line in lines), lines


@pytest.mark.parametrize("columns", [300, 20])
def test_a_terminal_shows_one_line_that_is_erased_at_the_end(tmp_path, columns):
    ours, theirs = os.openpty()
    environment = {**support.package_environment(), "TERM": "xterm", "COLUMNS": str(columns)}
    with subprocess.Popen(
        command(tmp_path, FAILS, PASSES), cwd=support.ROOT, env=environment, stdout=subprocess.PIPE, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        while select.select([ours], [], [], support.DEADLINE_SECONDS)[0]:
            try:
                shown += os.read(ours, 1 << 16)
            except OSError:  # the terminal's other end is closed (Linux: EIO)
                break
        os.close(ours)
        result, _ = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 1
    drawn = shown.decode().split("\r\x1b[K")
    assert drawn[0] == drawn[-1] == ""
    line = rf"(collecting the tests|\d of 2 tests)(  1 failed)?  {DURATION}{LAST_PART}|"
    assert all(re.fullmatch(line, text) if columns == 300 else len(text) < columns for text in drawn), drawn
    assert b"\x1b" not in result


def test_arguments_go_to_one_pytest(tmp_path):
    result = run(tmp_path, PASSES, FAILS, str(tmp_path / "test_first.py"))
    assert result.returncode == 0
    assert result.stdout.count("1 passed") == 1


@contextlib.contextmanager
def running(tmp_path, meanwhile, before="", tidy=True, more="", ending_seconds=1e6):
    """Run two parts, each with a server; yield the runner and the FIFO once both servers are up."""
    started = tmp_path / "started"
    os.mkfifo(started)
    part = SERVES.format(started=str(started), before=before, tidy=tidy, meanwhile=meanwhile) + more
    fifo = os.open(started, os.O_RDONLY | os.O_NONBLOCK)
    pipe, environment = subprocess.PIPE, support.package_environment()
    words = command(tmp_path, part, part, ending_seconds=ending_seconds)
    with subprocess.Popen(words, cwd=support.ROOT, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            said = b""
            while said.count(b"\n") < 2:
                assert select.select([fifo], [], [], DEADLINE_SECONDS)[0], said
                with contextlib.suppress(BlockingIOError):
                    said += os.read(fifo, 100)
            yield process, fifo
        finally:
            process.terminate()
            os.close(fifo)


def assert_all_have_ended(fifo):
    assert select.select([fifo], [], [], DEADLINE_SECONDS)[0], "a pytest or a server is left"
    assert os.read(fifo, 100) == b""


@pytest.mark.parametrize("ending, status, tidy", [
    (signal.SIGINT, 130, True), (signal.SIGTERM, 143, False), (signal.SIGHUP, 129, True)
])  # fmt: skip
def test_a_signal_ends_all_pytests_and_what_they_started(tmp_path, ending, status, tidy):
    with running(tmp_path, SLEEPS, tidy=tidy) as (process, fifo):
        process.send_signal(ending)
        said = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == status
        assert_all_have_ended(fifo)
    assert said[0] == ""
    assert re.fullmatch(rf"{ending.name} ended the tests: 0 of 2 tests  {DURATION}\n", said[1])


@pytest.mark.parametrize("signals, ending_seconds", [(1, 0.5), (2, 1e6)])
def test_a_test_that_holds_out_is_killed_after_a_while_or_at_the_next_signal(tmp_path, signals, ending_seconds):
    with running(tmp_path, SLEEPS, before=HOLDS_OUT, ending_seconds=ending_seconds) as (process, fifo):
        for number in (signal.SIGTERM, signal.SIGINT)[:signals]:
            process.send_signal(number)
        process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode in (143, 130)  # of two pending signals the kernel delivers the lower number first
        assert_all_have_ended(fifo)


def test_pytests_whose_runner_is_killed_end_after_the_test_that_is_running(tmp_path):
    go, never = tmp_path / "go", tmp_path / "never"
    waits = f"while not os.path.exists({str(go)!r}): time.sleep(0.01)"
    after = f"def test_after():\n    open({str(never)!r}, 'w').close()\n"
    try:
        with running(tmp_path, waits, more=after) as (process, fifo):
            process.kill()
            process.communicate(timeout=DEADLINE_SECONDS)
            go.touch()
            assert_all_have_ended(fifo)
    finally:
        go.touch()
    assert not never.exists()

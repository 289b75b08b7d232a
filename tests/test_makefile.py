"""The first commands of a newcomer: `make` explains itself, says what is missing, and passes its options on.

No test here runs a server or makes an environment. PYTHON is a stand-in where it matters, and `make -n` shows the
commands that would run.
"""

import contextlib
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BENCH_TARGETS = ["bench", "bench-rivals", "bench-instructions", "bench-pictures", "bench-kv"]
TARGETS_THAT_NEED_PYTHON = [
    *BENCH_TARGETS, "run-server", "run-clients", "ladder", "test", "coverage", "sim", "rivals", "soak", "lint"
]
DEADLINE_SECONDS = 120


def make(*arguments, cwd=ROOT, program="make", **variables):
    # These tests may run under `make test ARGS=...`, whose variables would be inherited.
    inherited = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "PYTHON", "ARGS")
    environment = {key: value for key, value in os.environ.items() if key not in inherited} | variables
    return subprocess.run(
        [program, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=DEADLINE_SECONDS
    )


def command_of(target, *arguments, **variables):
    """Return the words of the last command that a target would run."""
    result = make("-n", target, f"PYTHON={sys.executable}", *arguments, **variables)
    assert result.returncode == 0, result.stderr
    *_, command = result.stdout.replace("\\\n", " ").splitlines()
    return shlex.split(command)


def option(command, name):
    return command[command.index(name) + 1]


def stand_in(path, script):
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_make_alone_explains_every_target_and_every_variable():
    makefile = (ROOT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    variables = re.findall(r"^([A-Z]+) +\??=", makefile, re.MULTILINE)
    assert {"run-server", "run-clients", "test"} <= set(targets)
    assert {"PYTHON", "HOST", "N"} <= set(variables)

    result = make("PYTHON=/nowhere/python")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == make("help").stdout
    assert max(map(len, result.stdout.splitlines())) < 80
    for target in targets:
        assert re.search(rf"^make {target}  +\S", result.stdout, re.MULTILINE), target
    for variable in variables:
        assert re.search(rf"^    (\S+ )?{variable}=\S*  +\S", result.stdout, re.MULTILINE), variable


@pytest.mark.parametrize("target", TARGETS_THAT_NEED_PYTHON)
@pytest.mark.parametrize("version", ["2.7.18", "3.8.18", "3.10.13"])
def test_a_python_that_is_too_old_gets_one_line_that_says_which_it_is(tmp_path, target, version):
    # What such a Python answers to the Makefile's question; it fails at everything else, as it would at our syntax.
    old = stand_in(tmp_path / "python", f'case "$*" in *version_info*) echo {version};; *) exit 1;; esac')
    result = make(target, f"PYTHON={old}")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert f"{target} needs Python 3.11 or later, but {old} is Python {version};" in result.stderr


@pytest.mark.parametrize("target", TARGETS_THAT_NEED_PYTHON)
def test_a_python_that_is_not_there_gets_one_line(target):
    result = make(target, "PYTHON=/nowhere/python")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert f"{target} needs Python 3.11 or later, but /nowhere/python does not run;" in result.stderr


def test_the_question_for_the_version_is_answered_by_this_python():
    question = re.search(r"^version_question = (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    answer = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True, check=True)
    assert answer.stdout == "new\n"


def test_run_server_needs_no_environment_and_serves_echo():
    result = make("-n", "run-server", f"PYTHON={sys.executable}", "ARGS=--max-connections 5 --workers '2'")
    words = shlex.split(result.stdout)
    assert words == [
        "exec", sys.executable, "-m", "reactor", "serve", "echo",
        "--bind", "127.0.0.1:65432", "--max-connections", "5", "--workers", "2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("localhost", "localhost:7"),
        ("::1", "[::1]:7"),
        ("[::1]", "[::1]:7"),
        ("", ":7"),
        ("a'b; false #$$HOME", "a'b; false #$HOME:7"),
    ],
)
def test_run_server_binds_to_host_and_port_whatever_is_in_them(host, address):
    assert option(command_of("run-server", f"HOST={host}", "PORT=7"), "--bind") == address


@pytest.mark.parametrize("how_long, options", [
    ([], []), (["MESSAGES=8"], ["--messages", "8"]), (["SECONDS=1'2"], ["--seconds", "1'2"]),
    (["MESSAGES=8", "SECONDS=12"], ["--seconds", "12", "--messages", "8"]),  # which the script refuses
])  # fmt: skip
def test_run_clients_passes_every_variable_to_the_load_generator(how_long, options):
    variables = ["N=7", "SIZE=9", "RATE=10", "HOST=[::1]", "PORT=11", *how_long, "ARGS=--json --timeout 3"]
    command = command_of("run-clients", *variables)
    assert command[:3] == ["exec", ".venv/bin/python", "scripts/run_clients.py"]
    assert {command[index]: command[index + 1] for index in range(3, 13, 2)} == {
        "--connections": "7", "--size": "9", "--rate": "10", "--host": "::1", "--port": "11",
    }  # fmt: skip
    assert command[13:] == [*options, "--json", "--timeout", "3"]


def test_test_passes_args_to_pytest():
    assert command_of("test", "ARGS=-k 'this or that' -x")[-4:] == ["scripts/run_tests.py", "-k", "this or that", "-x"]


def test_sim_goes_through_seeds_or_shows_one():
    assert command_of("sim")[-3:] == ["scripts/sim.py", "--seeds", "10000"]
    assert command_of("sim", "SEEDS=7", "ARGS=--first 3")[-5:] == ["scripts/sim.py", "--seeds", "7", "--first", "3"]
    assert command_of("sim", "SEED=5")[-3:] == ["scripts/sim.py", "--seed", "5"]


def test_the_bench_is_given_its_rounds_and_whatever_else_is_asked_for():
    command = command_of("bench-rivals", "ROUNDS=7", "ARGS=--rows 'line calls,echo'")
    assert command[2:] == ["scripts/bench.py", "rounds", "--rivals", "--rounds", "7", "--rows", "line calls,echo"]
    command = command_of("bench-instructions", "ARGS=--check 0.6")
    assert command[2:] == ["scripts/bench.py", "instructions", "--check", "0.6"]
    assert command_of("bench-pictures")[2:] == ["scripts/bench.py", "pictures"]


def test_a_host_or_port_in_the_environment_is_not_ours_to_use():
    command = command_of("run-server", HOST="example.invalid", PORT="1")
    assert option(command, "--bind") == "127.0.0.1:65432"


def test_a_failing_environment_stops_the_target_before_anything_runs(tmp_path):
    failing = 'case "$*" in *version_info*) echo new;; *environment.py*) echo no venv >&2; exit 1;; esac'
    result = make("test", f"PYTHON={stand_in(tmp_path / 'python', failing)}")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines()[0] == "no venv"


def test_what_make_starts_imports_the_package_from_the_tree(tmp_path):
    python = stand_in(tmp_path / "python", 'case "$*" in *version_info*) echo new;; *) echo "$PYTHONPATH";; esac')
    assert make("run-server", f"PYTHON={python}", PYTHONPATH="/elsewhere").stdout == f"{ROOT}:/elsewhere\n"


@pytest.fixture(params=["a:b", ":", "in a folder", "it's $HOME; \"x\" & (y) #1", "c:d e'$(f)"])
def checkout(request, tmp_path):
    """A checkout in a folder with this name."""
    root = tmp_path / request.param / "reactor"
    for part in ("reactor", "scripts"):
        shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("Makefile", "setup.cfg"):
        shutil.copy(ROOT / part, root)
    return root


def test_the_name_of_the_folder_that_it_lies_in_does_not_matter(checkout):
    elsewhere = {"PYTHONPATH": str(checkout.parent)}
    result = make("sim", "SEEDS=1", f"PYTHON={sys.executable}", cwd=checkout, **elsewhere)
    assert (result.returncode, result.stderr) == (0, "")
    result = make("run-server", "ARGS=--help", f"PYTHON={sys.executable}", cwd=checkout)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("name", ["my python", "it's \"python\" 3", "p;y&t(h)on #3"])
@pytest.mark.parametrize("target", TARGETS_THAT_NEED_PYTHON)
def test_a_python_with_any_name_is_one_program(tmp_path, target, name):
    folder = tmp_path / name
    folder.mkdir()
    note = 'echo "$0" >> "$(dirname "$0")/called"'
    python = stand_in(folder / name, f'case "$*" in *version_info*) echo new;; *) {note}; exit 9;; esac')
    result = make(target, f"PYTHON={python}")
    assert result.returncode == 2 and "not found" not in result.stderr
    assert (folder / "called").read_text() == f"{python}\n"


def test_a_python_may_come_with_options():
    result = make("run-server", f"PYTHON={sys.executable} -S -X utf8", "ARGS=--help")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("options", [[], ["-S"], ["-k"], ["-j4"], ["-s"], ["-B"]], ids=str)
def test_the_usual_options_of_make_change_nothing(options):
    result = make(*options, "run-server", f"PYTHON={sys.executable}", "ARGS=--help")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("bmake"), reason="there is no bmake here")
@pytest.mark.parametrize("arguments", [[], ["run-server"], ["-j4", "test"], ["-k", "sim"], ["-S", "lint"]], ids=str)
def test_bsd_make_is_told_that_gnu_make_is_needed(arguments):
    result = make(*arguments, program="bmake")
    assert result.returncode != 0
    assert result.stderr == "this Makefile needs GNU make: call gmake in place of make\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_server_and_make_waits_for_its_end(tmp_path, number):
    # A server that takes a moment to end, like one that finishes a reply.
    server = tmp_path / "server.py"
    server.write_text(
        "import pathlib, signal, time\n"
        "def end(*_):\n"
        "    time.sleep(0.2)\n"
        f"    pathlib.Path({str(tmp_path / 'ended')!r}).touch()\n"
        "    raise SystemExit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "signal.signal(signal.SIGINT, end)\n"
        "print('started', flush=True)\n"
        "while True: signal.pause()\n"
    )
    answer = 'case "$*" in *version_info*) echo new;; *) exec'
    python = stand_in(tmp_path / "python", f"{answer} {sys.executable} {server};; esac")
    command = ["make", "run-server", f"PYTHON={python}"]
    # In its own session, as on its own terminal: Ctrl-C goes to all its processes, SIGTERM to make alone.
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout.readline() == "started\n"
            if number == signal.SIGINT:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
            process.wait(DEADLINE_SECONDS)
            assert (tmp_path / "ended").exists()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

"""Test other servers against the same failures as ours, and make one matrix of the results.

Every framework says that it is robust. `tests/failures/` says, row by row, what that should mean. It talks to a
server only by TCP, signals and /proc, so the same tests can run against any server. This script runs them against one
server after the other, never two at once, because several rows measure processor time. `tests/failures/rivals.py`
says what is switched on in each server, and which questions do not apply to it.

A server often fails a test by never doing something. So every wait has a short deadline here, each test and each
server has one, and the process group of a server is ended with everything left in it. The results stay in
build/rivals.json from run to run: `--only` and `--rows` replace the old results of what they name, even if it did not
run again, and leave the others.

The cost: about two minutes for each server, up to half an hour in all.

Usage: make rivals [ARGS="--only trio gevent --rows A1 W1"]. `--readme` runs nothing, and writes the kept results into
tests/failures/README.md.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import signal
import subprocess
import sys
import threading
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts import output  # noqa: E402
from scripts.command_line import Parser  # noqa: E402
from scripts.comparison.matrix import TITLES, is_not_applicable, rendered, rows_of, with_matrix  # noqa: E402
from tests.failures.adapter import Adapter  # noqa: E402
from tests.failures.rivals import ADAPTERS  # noqa: E402

SAVED = ROOT / "build" / "rivals.json"
README = ROOT / "tests" / "failures" / "README.md"
COMMAND = "make rivals"

WAIT_SECONDS = 5  # the longest wait of a test; in `make test` it is 60
TEST_SECONDS = 90  # for a whole test
SERVER_SECONDS = 900  # for all tests of one server

LETTERS = {"passed": ".", "failed": "F", "skipped": "-"}
# A failing test may leave sockets and threads behind. The next test must not report them as its own failure.
LEFT_BEHIND = (
    "ResourceWarning",
    "pytest.PytestUnraisableExceptionWarning",
    "pytest.PytestUnhandledThreadExceptionWarning",
)


def main() -> None:
    arguments = parse_arguments()
    # A shell starts background jobs with Ctrl-C ignored, and the servers would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    results = load()
    if not arguments.readme:
        for name in arguments.only or ADAPTERS:
            ask(name, arguments.rows, results)
            save(results)
    if not results["servers"]:
        sys.exit(f"there are no results in {SAVED.relative_to(ROOT)} yet; run {COMMAND} first")
    if arguments.readme:
        README.write_text(with_matrix(README.read_text(), rendered(results)))
    else:
        output.show(rendered(results))


def parse_arguments() -> argparse.Namespace:
    parser = Parser(
        prog="rivals",
        description="Run tests/failures/ against every server, and make a matrix of it.",
    )
    parser.add_argument("--only", nargs="+", metavar="SERVER", choices=ADAPTERS, help=", ".join(ADAPTERS))
    parser.add_argument("--rows", nargs="+", metavar="ROW", type=row, help="of FAILURES, such as A1 (all)")
    parser.add_argument("--readme", action="store_true", help=f"write what is kept into {README.relative_to(ROOT)}")
    return parser.parse_args()


def row(text: str) -> str:
    if text.upper() not in TITLES:
        raise argparse.ArgumentTypeError(f"{text!r} is no row; the rows are {', '.join(TITLES)}")
    return text.upper()


def load() -> dict[str, Any]:
    """The results that earlier runs with this Python have kept."""
    fresh = {"command": COMMAND, "python": platform.python_version(), "system": platform.system(), "servers": {}}
    try:
        kept: dict[str, Any] = json.loads(SAVED.read_text())
    except (FileNotFoundError, ValueError):
        return fresh
    return kept if kept["python"] == fresh["python"] else fresh


def save(results: dict[str, Any]) -> None:
    results["servers"] = {name: results["servers"][name] for name in ADAPTERS if name in results["servers"]}
    SAVED.parent.mkdir(exist_ok=True)
    SAVED.write_text(json.dumps(results, indent=1))


def ask(name: str, rows: list[str] | None, results: dict[str, Any]) -> None:
    """Run the tests against one server, and put the outcomes into `results`."""
    adapter = ADAPTERS[name]
    try:
        version(adapter)
    except importlib.metadata.PackageNotFoundError:  # setup.cfg says for which Pythons it is
        print(f"{name} is not there for Python {platform.python_version()}, and left out", file=sys.stderr)
        return
    print(f"{name} {version(adapter)}: ", end="", file=sys.stderr, flush=True)
    outcomes = run(name, rows)
    known = results["servers"].get(name, {"outcomes": []})["outcomes"] if rows else []
    results["servers"][name] = {
        "version": version(adapter),
        "date": datetime.date.today().isoformat(),
        "switched_on": adapter.switched_on,
        "outcomes": [*other_than(known, outcomes, rows or []), *outcomes],
    }


def other_than(known: list[dict[str, Any]], outcomes: list[dict[str, Any]], rows: list[str]) -> list[dict[str, Any]]:
    """The part of `known` to keep: without what ran again, and without `rows`, whose tests may be gone or cut off."""
    again = {outcome["test"] for outcome in outcomes}
    return [one for one in known if one["test"] not in again and not set(rows_of(one["test"])) & set(rows)]


def version(adapter: Adapter) -> str:
    """The version of the server; ours and the ladder's steps have none: they are this tree."""
    told = getattr(adapter, "version", None)
    if told:
        return str(told())
    return f"Python {platform.python_version()}" if adapter.name == "asyncio" else "this tree"


def run(name: str, rows: list[str] | None) -> list[dict[str, Any]]:
    """The outcome of each test of `rows` against one server, in the order of the run."""
    reading, writing = os.pipe()
    environment = os.environ | {"REACTOR_OUTCOMES": str(writing), "REACTOR_TEST_DEADLINE_SECONDS": str(WAIT_SECONDS)}
    how: dict[str, Any] = {"pass_fds": [writing], "env": environment, "cwd": ROOT, "start_new_session": True}
    how |= {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command(name, rows), **how) as tests:
        os.close(writing)
        up = threading.Event()
        watch = threading.Timer(SERVER_SECONDS, cut_off, [tests.pid, up])
        watch.start()
        printed: list[str] = []
        reader = threading.Thread(target=lambda: printed.append(tests.stdout.read() if tests.stdout else ""))
        reader.start()
        try:
            with os.fdopen(reading) as lines:
                outcomes = [shown(json.loads(line)) for line in lines]
            tests.wait()
        finally:
            watch.cancel()
            end_all(tests.pid)
            reader.join()
    print(file=sys.stderr)
    if up.is_set():
        print(f"{name}: cut off, its {SERVER_SECONDS} s were up after {len(outcomes)} tests", file=sys.stderr)
    if not outcomes:
        sys.exit(f"no test was run against {name}; pytest said:\n{''.join(printed)}")
    return outcomes


def command(name: str, rows: list[str] | None) -> list[str]:
    words = [sys.executable, "-m", "pytest", *test_files(), "--server", name, "--timeout", str(TEST_SECONDS)]
    words += ["-p", "scripts.comparison.outcomes", "-p", "no:cacheprovider", "-q"]
    for category in LEFT_BEHIND:
        words += ["-W", f"ignore::{category}"]
    if rows:
        words += ["-k", " or ".join(f"_{row.lower()}_" for row in rows)]
    return words


def test_files() -> list[str]:
    """The files with tests of rows. Tests of the adapters are not rows: a rival may be unable to run a program."""
    paths = sorted((ROOT / "tests" / "failures").glob("test_*.py"))
    return [str(path) for path in paths if re.search(r"^def test_[a-z]\d+_", path.read_text(), re.MULTILINE)]


def shown(outcome: dict[str, Any]) -> dict[str, Any]:
    """Print that a test has run; return its outcome."""
    rows = "+".join(rows_of(outcome["test"]))
    letter = LETTERS[outcome["outcome"]] if outcome["outcome"] != "skipped" or is_not_applicable(outcome) else "?"
    print(f"{rows}{letter}", end=" ", file=sys.stderr, flush=True)
    return outcome


def cut_off(group: int, up: threading.Event) -> None:
    """End the tests of a server whose time is up."""
    up.set()
    end_all(group)


def end_all(group: int) -> None:
    """End the tests and every server that they have left."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


if __name__ == "__main__":
    sys.exit(output.run("rivals", main))

"""Which lines and branches of the package are run: by the tests, and by the simulation alone.

A line that nothing runs may be wrong, and nothing would notice. The two columns are two nets: the tests run servers
on the real kernel, the simulation runs the loop on a kernel that fails on demand. A line that only one of them runs
depends on that one alone. The table shows what is never run, and no more: a line that is run may still be wrong. How
many bugs would be noticed is the question of the mutants (`make sim ARGS=--mutants`).

Tests start servers, and these start children. So coverage begins in every Python process that is started under it, by
the file `a1_coverage.pth` of the package `coverage`. At the end the results of all processes are combined
(`[coverage:run]` in setup.cfg). A process that is killed reports nothing.

On Python 3.11 coverage does not see the threads that `_thread` begins. The lines that run on these threads, in
service/sink.py and service/stuck.py, are tested, though the table says that they are not.

The cost: two or three times that of `make test`, and a simulation several times slower.

Exit status: 0; 1 if a test or a law failed under coverage (the table does not show it); 2 for options that cannot be
used.

Usage: make coverage [SEEDS=10000] [ARGS="--only simulation"]
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts import output, run_tests  # noqa: E402
from scripts.command_line import Parser  # noqa: E402
from scripts.sim import positive  # noqa: E402

FOLDER = ROOT / "build" / "coverage"
SETTINGS = ROOT / "setup.cfg"
COVERAGE = [sys.executable, "-m", "coverage"]
RUN = [*COVERAGE, "run", "--rcfile", str(SETTINGS)]
TEST_SECONDS = 600  # for one test: under coverage it is several times slower
# It counts the instructions of a server, and coverage would add most of them.
COUNTS_INSTRUCTIONS = "tests/scripts/test_bench_servers.py::test_instructions_are_counted_by_the_difference_of_two_runs"
WIDTH = 80
TESTS, SIMULATION = "tests", "simulation"
HEADERS = {TESTS: "tests", SIMULATION: "sim"}  # short, so that a row fits the screen


@dataclass(frozen=True)
class Counts:
    """How many statements and branches there are, and how many were run."""

    statements: int = 0
    run_statements: int = 0
    branches: int = 0
    run_branches: int = 0

    def __add__(self, more: Counts) -> Counts:
        return Counts(
            self.statements + more.statements,
            self.run_statements + more.run_statements,
            self.branches + more.branches,
            self.run_branches + more.run_branches,
        )


@dataclass(frozen=True)
class Seen:
    """What was run in one file, and what was not: lines, and branches as pairs of lines (0: the function ends)."""

    counts: Counts
    lines: list[int]
    branches: list[tuple[int, int]]


def main() -> int:
    arguments = parse_arguments()
    measured, status = {}, 0
    for name in [arguments.only] if arguments.only else [TESTS, SIMULATION]:
        failed = measure(name, arguments.seeds)
        status = status or int(failed != 0)
        measured[name] = seen(report(name))
    output.show("in per cent of all lines, and of all branches:\n" + table(measured))
    for name in measured:
        if name == TESTS or arguments.only:
            output.show(f"\nnot run by the {name}:\n" + "\n".join(missing(measured[name])))
    return status


def parse_arguments() -> argparse.Namespace:
    parser = Parser(prog="coverage", description="What of the package is run by tests and by the simulation.")
    parser.add_argument("--seeds", type=positive, default=10_000, metavar="N", help="of the simulation (10000)")
    parser.add_argument("--only", choices=[TESTS, SIMULATION], help="one of the two (both)")
    return parser.parse_args()


def measure(name: str, seeds: int) -> int:
    """Run the tests or the simulation with coverage in all processes; return their status."""
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ["COVERAGE_FILE"] = str(folder / "data")
    output.tell(f"the {name}, with coverage")
    try:
        if name == TESTS:
            options = ["-o", f"timeout={TEST_SECONDS}", "--deselect", COUNTS_INSTRUCTIONS]
            return run_tests.main([], command=[*RUN, "-m", "pytest", *options])
        return subprocess.run([*RUN, "scripts/sim.py", "--seeds", str(seeds)], cwd=ROOT).returncode
    finally:
        subprocess.run([*COVERAGE, "combine", "--rcfile", str(SETTINGS), "-q"], cwd=ROOT, check=True)


def report(name: str) -> Mapping[str, Any]:
    """What coverage reports of each file, by its path."""
    told = FOLDER / f"{name}.json"
    command = [*COVERAGE, "json", "--rcfile", str(SETTINGS), "-q", "-o", str(told)]
    subprocess.run(command, cwd=ROOT, check=True)
    files: Mapping[str, Any] = json.loads(told.read_text())["files"]
    return files


def seen(files: Mapping[str, Any]) -> dict[str, Seen]:
    """The same as `Seen`. Files without a statement are left out."""
    found = {}
    for path, file in sorted(files.items()):
        summary = file["summary"]
        statements, branches = summary["num_statements"], summary["num_branches"]
        counts = Counts(statements, summary["covered_lines"], branches, summary["covered_branches"])
        if statements:
            lines = file["missing_lines"]
            unrun = [(begin, max(0, end)) for begin, end in file["missing_branches"] if begin not in lines]
            found[path] = Seen(counts, lines, unrun)
    return found


def table(measured: Mapping[str, Mapping[str, Seen]]) -> str:
    """A row for each file and one for all files: the number of lines and the shares that were run; the same for
    branches.

    The shares are in per cent, one for each measurement.
    """
    rows = []
    for path in next(iter(measured.values())):
        rows.append([path.removeprefix("reactor/"), *cells(files[path].counts for files in measured.values())])
    totals = (sum((file.counts for file in files.values()), Counts()) for files in measured.values())
    rows.append(["all", *cells(totals)])
    names = [HEADERS[name] for name in measured]
    headers = ["file", "lines", *names, "branch", *names]
    columns = ["left"] + ["right"] * (len(headers) - 1)
    return tabulate(rows, headers, tablefmt="simple", colalign=columns, disable_numparse=True)


def cells(counts: Iterable[Counts]) -> list[str]:
    """The number of lines, and the share of them that each measurement has run; the same for branches."""
    measurements = list(counts)
    first = measurements[0]
    lines = [share(each.run_statements, each.statements) for each in measurements]
    branches = [share(each.run_branches, each.branches) for each in measurements]
    return [str(first.statements), *lines, str(first.branches), *branches]


def share(part: int, whole: int) -> str:
    """A percentage, which is 100 only if nothing is missing."""
    return f"{int(1000 * part / whole) / 10:.1f}" if whole else "-"


def missing(files: Mapping[str, Seen]) -> list[str]:
    """For each file that is not fully run: the lines, and the branches as `from->to` (`->0`: the function ends)."""
    told = []
    for path, file in files.items():
        left = [str(line) for line in file.lines] + [f"{begin}->{end}" for begin, end in file.branches]
        if left:
            told += textwrap.wrap(f"{path}: {', '.join(left)}", WIDTH, subsequent_indent="    ")
    return told or ["nothing is left"]


if __name__ == "__main__":
    sys.exit(output.run("coverage", main))

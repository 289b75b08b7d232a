"""`reactor serve kv` beside Redis, under redis-benchmark: requests a second, and processor time a request.

A figure alone says what the machine was doing at that moment. So each test runs on both servers in turn, ours, Redis,
ours, Redis, on the same core, while redis-benchmark has another. What is shown is the ratio within each turn, and of
these the median. Redis keeps nothing on disk here, as ours never does.

Needs redis-server and redis-benchmark (Debian, Ubuntu: apt-get install redis-server redis-tools), and Linux.

Exit status: 0; 1 if there is nothing to measure or a tool fails; 2 for options that cannot be used; 130 after Ctrl-C.

Usage: make bench-kv [ROUNDS=5] [ARGS="--requests 50000 --pipeline 1,16 --tests set,get"]
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import math
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

try:
    from tabulate import tabulate

    from scripts import output
    from scripts.benchmarks import processes, rounds
    from scripts.benchmarks.processes import LOAD_CORE, SERVER_CORE, MeasurementError, ServerProcess
    from scripts.command_line import Parser
except ImportError as missing:
    sys.exit(f"bench_kv: {missing}; run it by `make bench-kv`, or with the Python of .venv")

TOOLS = ("redis-server", "redis-benchmark")
# Those that redis-benchmark 7 runs without being asked.
TESTS = """ping_inline ping_mbulk set get incr lpush rpush lpop rpop sadd hset spop zadd zpopmin lrange_100 lrange_300
lrange_500 lrange_600 mset""".split()
CLIENTS = 50
START_SECONDS = 30.0
RUN_SECONDS = 600.0
OURS, THEIRS = "reactor serve kv", "Redis"


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    if absent := [tool for tool in TOOLS if shutil.which(tool) is None]:
        sys.exit(f"bench_kv: {absent[0]} is not installed (Debian, Ubuntu: apt-get install redis-server redis-tools)")
    try:
        with ours_running() as ours, redis_running() as theirs:
            for pipeline in options.pipeline:
                rows = [measure(test, pipeline, options, ours, theirs) for test in options.tests]
                rounds.show_progress("")
                output.show(table(rows, pipeline, options))
    except MeasurementError as exc:
        sys.exit(f"bench_kv: {exc}")
    return 0


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="bench_kv", description="Our key-value server beside Redis.")
    parser.add_argument("--rounds", type=positive, default=5, metavar="N", help="how many rounds (%(default)s)")
    parser.add_argument("--requests", type=positive, default=20_000, metavar="N", help="in each run (%(default)s)")
    parser.add_argument("--pipeline", type=numbers, default=[1, 16], metavar="N,N",
                        help="how many requests a client sends at once (1,16)")  # fmt: skip
    parser.add_argument("--tests", type=tests, default=TESTS, metavar="A,B", help="only these; by default all")
    return parser.parse_args(arguments)


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)


def numbers(text: str) -> list[int]:
    return [positive(part) for part in text.split(",")]


def tests(text: str) -> list[str]:
    if unknown := [name for name in text.lower().split(",") if name not in TESTS]:
        raise argparse.ArgumentTypeError(f"there is no test {unknown[0]!r}; there are {', '.join(TESTS)}")
    return text.lower().split(",")


# The servers.


@contextlib.contextmanager
def ours_running() -> Iterator[ServerProcess]:
    command = [sys.executable, "-m", "reactor", "serve", "kv", "--bind", "127.0.0.1:0"]
    with processes.running(command, OURS) as server:
        yield server


@contextlib.contextmanager
def redis_running() -> Iterator[ServerProcess]:
    """A redis-server of our own, on a free port, which keeps nothing."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with tempfile.TemporaryDirectory(prefix="bench-kv-") as folder, subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        processes.pin(process.pid, SERVER_CORE)
        server = ServerProcess(process, THEIRS)
        server.port = port
        try:
            wait_until_it_answers(server)
            yield server
        finally:
            server.end()


def wait_until_it_answers(server: ServerProcess) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", server.port)):
            return
        if server.process.poll() is not None or time.monotonic() > deadline:
            raise MeasurementError("redis-server does not start")
        time.sleep(0.05)


# The figures.


def measure(
    test: str, pipeline: int, options: argparse.Namespace, ours: ServerProcess, theirs: ServerProcess
) -> dict[str, str]:
    """A row of the table: the medians of all rounds of one test."""
    rates: list[tuple[float, float]] = []
    costs: list[tuple[float, float]] = []
    for number in range(1, options.rounds + 1):
        rounds.show_progress(f"{test}, {pipeline} at once, round {number} of {options.rounds}")
        pair = [run_benchmark(server, test, pipeline, options.requests) for server in (ours, theirs)]
        rates.append((pair[0][0], pair[1][0]))
        costs.append((pair[0][1], pair[1][1]))
    return {
        "test": test.upper(),
        f"{OURS}, requests/s": f"{statistics.median(our for our, _ in rates):,.0f}",
        "Redis": f"{statistics.median(their for _, their in rates):,.0f}",
        "ratio": f"{statistics.median(our / their for our, their in rates):.2f}",
        # Before LRANGE, redis-benchmark makes the list, and that is in the same run.
        "CPU ratio": "" if "lrange" in test else f"{statistics.median(our / their for our, their in costs):.1f}",
    }


def run_benchmark(server: ServerProcess, test: str, pipeline: int, requests: int) -> tuple[float, float]:
    """Run one test; its requests a second, and the CPU seconds that the server took for it."""
    command = ["redis-benchmark", "-p", str(server.port), "-t", test, "-n", str(requests), "-c", str(CLIENTS),
               "-P", str(pipeline), "--csv"]  # fmt: skip
    if shutil.which("taskset"):
        command = ["taskset", "-c", str(LOAD_CORE), *command]
    before = server.usage(at_rest=True)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as exc:
        raise MeasurementError(f"redis-benchmark failed against {server.name}: {exc}") from None
    used = (server.usage(at_rest=True) - before).cpu
    row = list(csv.reader(done.stdout.splitlines()))[-1]  # LRANGE is preceded by the LPUSH that it needs
    try:
        rate = float(row[1])
    except (IndexError, ValueError):
        raise MeasurementError(f"redis-benchmark said {done.stdout.strip()!r}") from None
    if not 0 < rate < math.inf or used <= 0:  # it counts milliseconds
        raise MeasurementError(f"{requests} requests are over too soon to be measured: take more (--requests)")
    return rate, used


def table(rows: list[dict[str, str]], pipeline: int, options: argparse.Namespace) -> str:
    at_once = "one request at a time" if pipeline == 1 else f"{pipeline} requests at once"
    rounds_ = "1 round" if options.rounds == 1 else f"{options.rounds} rounds"
    head = f"{CLIENTS} clients, {at_once} from each, {options.requests:,} requests a run, {rounds_}"
    cells = tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True, colalign=["left"] + ["right"] * 4)
    return f"{head}:\n\n{cells}\n"


if __name__ == "__main__":
    sys.exit(output.run("bench_kv", main))

"""Climb the ladder: run every server of `scripts/ladder/` in turn, under the same clients, and show one table.

The docstring of each step claims that the step before could not do something. The table shows it: the blocking server
must leave all clients but one in the queue of unaccepted connections, the server with a thread for each client must
show its threads, and the loops must show one thread. So every step runs alone, under the same load, from the load
generator that works with any echo server (`scripts/run_clients.py`). The load generator runs in its own process: in
the server's process it would be measured, too.

What the server used is read from Linux's /proc while the server still runs: its peak of resident memory (VmHWM, which
the kernel keeps) and its threads (counted while the clients run, because the threads end with them). On other systems
these two columns are empty.

The figures are from one run on one machine. They rank the steps; they prove nothing finer.

Usage: make ladder [N=100] [MESSAGES=100]
"""

import argparse
import json
import os
import pathlib
import queue
import re
import subprocess
import sys
import threading
from typing import Any, TextIO

from tabulate import tabulate

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts import output  # noqa: E402
from scripts.command_line import Parser  # noqa: E402

STEPS = sorted((ROOT / "scripts" / "ladder").glob("[0-9]_*.py"))
CLIENTS = ROOT / "scripts" / "run_clients.py"

LISTENING_SECONDS = 10  # for a step to say where it listens; starting Python takes a tenth of one
REPLY_SECONDS = 2  # that a client waits for a reply; the clients of step 1 wait so long in vain
CLIENTS_SECONDS = 300  # for all clients of one step
SAMPLE_SECONDS = 0.05  # between two counts of the server's threads


def main() -> None:
    arguments = parse_arguments()
    rows = [climb(step, arguments.connections, arguments.messages) for step in STEPS]
    output.show(tabulate(rows, headers="keys", tablefmt="github", intfmt=",", floatfmt=",.1f"))


def parse_arguments() -> argparse.Namespace:
    parser = Parser(prog="ladder", description="Run each server of scripts/ladder/ under the same clients.")
    parser.add_argument("--connections", type=positive, default=100, metavar="N", help="clients at once (100)")
    parser.add_argument("--messages", type=positive, default=100, metavar="N", help="from each of them (100)")
    return parser.parse_args()


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)


def climb(step: pathlib.Path, connections: int, messages: int) -> dict[str, Any]:
    """Run one step's server, run the clients against it, end it; return its row of the table."""
    output.tell(f"{step.stem}: {connections} clients x {messages} messages")
    environment = os.environ | {"PYTHONPATH": "."}  # relative to ROOT: PYTHONPATH cannot hold a name that has a colon
    command = [sys.executable, str(step), "127.0.0.1", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as server:
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        reader = threading.Thread(target=read_lines, args=[server.stderr, lines])
        reader.start()
        try:
            port = listening_port(step, lines)
            report, threads = run_clients(port, connections, messages, server.pid, environment)
            memory_kib = from_proc(server.pid, "VmHWM")
        finally:
            server.kill()
            reader.join()
    p99_us = report["latency_us"]["p99"]
    return {
        "step": step.stem,
        "clients": report["connections"],
        "served": report["served"],
        "left in accept queue": report["never_answered"],
        "messages/s": round(report["messages_per_second"]),
        "p99 µs": p99_us and round(p99_us),
        "peak memory MiB": memory_kib / 1024 if memory_kib else None,
        "threads": threads,
    }


def read_lines(standard_error: TextIO, lines: queue.SimpleQueue[str]) -> None:
    """Read to the end, not only to the line that is wanted: a server stops when its log has filled the pipe."""
    for line in standard_error:
        lines.put(line)
    lines.put("")


def listening_port(step: pathlib.Path, lines: queue.SimpleQueue[str]) -> int:
    """Wait until the server says where it listens: "listening on 127.0.0.1:PORT"."""
    said = ""
    try:
        while line := lines.get(timeout=LISTENING_SECONDS):
            said = line.strip()
            if found := re.search(r"listening on \S*:(\d+)", line):
                return int(found[1])
    except queue.Empty:
        sys.exit(f"{step.stem} did not say within {LISTENING_SECONDS} s where it listens; it said: {said!r}")
    sys.exit(f"{step.stem} ended before it listened; it said: {said!r}")


def run_clients(
    port: int, connections: int, messages: int, server_pid: int, environment: dict[str, str]
) -> tuple[dict[str, Any], int | None]:
    """Run the load generator; return its report, and the highest number of threads that the server had meanwhile."""
    command = [sys.executable, str(CLIENTS), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--connections", str(connections), "--messages", str(messages), "--size", "64"]
    command += ["--timeout", str(REPLY_SECONDS), "--json"]
    threads = [from_proc(server_pid, "Threads")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as clients:
        for _ in range(int(CLIENTS_SECONDS / SAMPLE_SECONDS)):
            threads.append(from_proc(server_pid, "Threads"))
            try:
                said, _ = clients.communicate(timeout=SAMPLE_SECONDS)
                break
            except subprocess.TimeoutExpired:
                continue
        else:
            clients.kill()
            sys.exit(f"the clients were not done after {CLIENTS_SECONDS} s")
    # Status 1 is no failure here: it says that a client was not served, which is what step 1 shows.
    if clients.returncode not in (0, 1):
        sys.exit(f"{CLIENTS.name} ended with status {clients.returncode}")
    return json.loads(said), max((count for count in threads if count), default=None)


def from_proc(pid: int, field: str) -> int | None:
    """Read a number from /proc/PID/status (man 5 proc); None where the system has no such file."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return None
    found = re.search(rf"^{field}:\s+(\d+)", status, re.MULTILINE)
    return int(found[1]) if found else None


if __name__ == "__main__":
    sys.exit(output.run("ladder", main))

"""Climb the ladder: run every server of `scripts/ladder/` in turn, under the same clients, and show one table.

The docstring of each step claims that the step before could not do something. The table shows it: the blocking server
must answer one client alone, the server with a thread for each client must show its threads and their memory, and the
loops must show one thread. So every step runs alone, under the same load, from the load generator that works with any
echo server (`scripts/run_clients.py`). The load generator runs in its own process: in the server's process it would
be measured, too.

One run of one step says little, because other work on the machine slows down now this one, now that one. So there are
rounds: a round runs every step once, in turn, and the table shows the medians over the rounds. The sentences below the
table compare threads with one thread. They say only what was so in nearly every round, and in how many.

By default there are 500 clients. With 100, the threads cost so little that the table does not show it every time.

What the server used is read from Linux's /proc while the server still runs: its peak of resident memory (VmHWM, which
the kernel keeps) and its threads (counted while the clients run, because the threads end with them). On other systems
these two columns are empty.

Usage: make ladder [N=500] [MESSAGES=50] [ROUNDS=5] [ARGS=--readme]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import platform
import queue
import re
import signal
import statistics
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, TextIO

from tabulate import tabulate

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts import output  # noqa: E402
from scripts.command_line import Parser  # noqa: E402
from scripts.progress_line import ProgressLine, duration  # noqa: E402

STEPS = sorted((ROOT / "scripts" / "ladder").glob("[0-9]_*.py"))
BLOCKING, THREADS, ONE_THREAD = "1_blocking", "2_threads", "3_selectors"
CLIENTS = ROOT / "scripts" / "run_clients.py"
README = ROOT / "README.md"

LISTENING_SECONDS = 30  # for a step to say where it listens; starting Python takes a tenth of one
REPLY_SECONDS = 30  # that a client waits for a reply: on a busy machine the slowest of 500 threads needs some
IN_VAIN_SECONDS = 1  # the same for step 1, which answers one client at once, and the others never
CLIENTS_SECONDS = 300  # for all clients of one step
SAMPLE_SECONDS = 0.05  # between two counts of the server's threads
LEAST_SHARE = 0.8  # of the rounds: in fewer, a difference may be chance, and is not said
WIDTH = 79
README_WIDTH = 120


class Run(NamedTuple):
    """What one run of one step gave. None: the system does not tell, or nobody was answered."""

    served: int
    unanswered: int  # clients that were connected and got not one byte
    threads: int | None
    memory_mib: float | None
    messages_per_second: float
    p99_ms: float | None


Runs = Mapping[str, Sequence[Run]]  # of each step, by its name, in the order of the rounds


def main() -> None:
    arguments = parse_arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup has SIGHUP ignored
            signal.signal(number, end)
    with contextlib.closing(ProgressLine()) as line:
        progress = Progress(line, arguments.rounds)
        try:
            runs = climb(arguments, progress)
        except (KeyboardInterrupt, Ended) as exc:
            line.clear()
            how = str(exc) or "interrupted"
            output.tell(f"ladder: {how} after {progress.done} of {progress.total} runs")
            raise
    output.show(report(runs, arguments.connections, arguments.messages))
    if arguments.readme:
        text = report(runs, arguments.connections, arguments.messages, README_WIDTH)
        README.write_text(with_report(README.read_text(), text))


class Ended(SystemExit):
    """A signal asked to end. Its code is the exit status that shells report: 128 + the number of the signal."""

    def __str__(self) -> str:
        return f"ended by {signal.Signals(self.code - 128).name}"


def end(number: int, _: object) -> NoReturn:
    raise Ended(128 + number)


def parse_arguments() -> argparse.Namespace:
    parser = Parser(prog="ladder", description="Run each server of scripts/ladder/ under the same clients.")
    for name, default, meaning in (
        ("connections", 500, "clients at once"),
        ("messages", 50, "from each of them"),
        ("rounds", 5, "how often each server is run; the table has the medians"),
    ):
        parser.add_argument(f"--{name}", type=positive, default=default, metavar="N", help=f"{meaning} ({default})")
    parser.add_argument("--readme", action="store_true", help=f"write the table into {README.name}, too")
    return parser.parse_args()


def positive(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)


class Progress:
    """How far all the runs are, and how long they still take if the others take as long as those that are done."""

    def __init__(self, line: ProgressLine, rounds: int) -> None:
        self.done = 0
        self.total = rounds * len(STEPS)
        self._line = line
        self._rounds = rounds
        self._began_at = self._done_at = time.monotonic()
        self._step = ""

    def begin(self, step: str) -> None:
        """The next run begins: that of `step`. In a log, each round has a line."""
        self._step = step
        self._line.show(self._text(), due=self.done % len(STEPS) == 0)

    def tick(self) -> None:
        """Show how far it is now."""
        self._line.show(self._text())

    def end(self) -> None:
        """The run is over."""
        self.done += 1
        self._done_at = time.monotonic()

    def _text(self) -> str:
        text = f"round {self.done // len(STEPS) + 1} of {self._rounds}  {self._step:<12}  {self.done / self.total:4.0%}"
        if not self.done:
            return text
        seconds_each = (self._done_at - self._began_at) / self.done
        left = seconds_each * (self.total - self.done) - (time.monotonic() - self._done_at)
        return f"{text}  about {duration(max(1, left))} left"


# Running the steps.


def climb(arguments: argparse.Namespace, progress: Progress) -> Runs:
    """Run every step once in each round."""
    runs: dict[str, list[Run]] = {step.stem: [] for step in STEPS}
    for _ in range(arguments.rounds):
        for step in STEPS:
            progress.begin(step.stem)
            runs[step.stem].append(run_step(step, arguments.connections, arguments.messages, progress.tick))
            progress.end()
    return runs


def run_step(step: pathlib.Path, connections: int, messages: int, tick: Callable[[], None]) -> Run:
    """Run one step's server, run the clients against it, end it. `tick` is called now and then meanwhile."""
    environment = os.environ | {"PYTHONPATH": "."}  # relative to ROOT: PYTHONPATH cannot hold a name that has a colon
    command = [sys.executable, str(step), "127.0.0.1", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as server:
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        reader = threading.Thread(target=read_lines, args=[server.stderr, lines])
        reader.start()
        try:
            command = [sys.executable, str(CLIENTS), "--host", "127.0.0.1", "--port", str(listening_port(step, lines))]
            command += ["--connections", str(connections), "--messages", str(messages), "--size", "64"]
            command += ["--timeout", str(IN_VAIN_SECONDS if step.stem == BLOCKING else REPLY_SECONDS), "--json"]
            report, threads = run_clients(command, environment, server.pid, tick)
            memory_kib = from_proc(server.pid, "VmHWM")
        finally:
            server.kill()
            server.wait()  # `with` alone does not wait after Ctrl-C
            reader.join()
    p99_us = report["latency_us"]["p99"]
    return Run(
        served=report["served"],
        unanswered=report["never_answered"],
        threads=threads,
        memory_mib=memory_kib / 1024 if memory_kib else None,
        messages_per_second=report["messages_per_second"],
        p99_ms=p99_us / 1000 if p99_us is not None else None,
    )


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
    command: Sequence[str], environment: dict[str, str], server_pid: int, tick: Callable[[], None]
) -> tuple[dict[str, Any], int | None]:
    """Run the load generator; return its report, and the highest number of threads that the server had meanwhile."""
    threads = [from_proc(server_pid, "Threads")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment, cwd=ROOT) as clients:
        try:
            for _ in range(int(CLIENTS_SECONDS / SAMPLE_SECONDS)):
                tick()
                threads.append(from_proc(server_pid, "Threads"))
                with contextlib.suppress(subprocess.TimeoutExpired):
                    figures, said = clients.communicate(timeout=SAMPLE_SECONDS)
                    break
            else:
                sys.exit(f"the clients were not done after {CLIENTS_SECONDS} s")
        finally:
            clients.kill()
            clients.wait()  # as above
    # Status 1 is no failure here: it says that a client was not served, which is what step 1 shows.
    if clients.returncode not in (0, 1):
        reason = said.strip().rpartition("\n")[2]
        sys.exit(f"{CLIENTS.name} ended with status {clients.returncode}" + (f": {reason}" if reason else ""))
    return json.loads(figures), max((count for count in threads if count), default=None)


def from_proc(pid: int, field: str) -> int | None:
    """Read a number from /proc/PID/status (man 5 proc); None where the system has no such file."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return None
    found = re.search(rf"^{field}:\s+(\d+)", status, re.MULTILINE)
    return int(found[1]) if found else None


# What came of it.


def report(runs: Runs, connections: int, messages: int, width: int = WIDTH) -> str:
    """What was run, the table, and what the table shows."""
    rounds = len(next(iter(runs.values())))
    of_how_many = f"medians of {rounds} rounds" if rounds > 1 else "one round"
    title = (
        f"{connections:,} clients at once, {messages:,} messages from each, {of_how_many};"
        f" Python {platform.python_version()} on {os.cpu_count()} cores:"
    )
    paragraphs = [textwrap.fill(sentence, width) for sentence in [title, *lessons(runs, connections)]]
    return "\n\n".join([paragraphs[0], table(runs, connections), *paragraphs[1:]])


def table(runs: Runs, connections: int) -> str:
    """A row of medians for each step. A server that left most clients waiting has no speed to compare with others."""
    rows = []
    for step, each in runs.items():
        row = {
            "step": step,
            "served": median(run.served for run in each),
            "threads": median(run.threads for run in each),
            "peak MiB": median(run.memory_mib for run in each),
            "messages/s": round(median(run.messages_per_second for run in each)),
            "p99 ms": median(run.p99_ms for run in each),
        }
        waiting = row["served"] < connections / 2
        rows.append(row | {"messages/s": None, "p99 ms": None} if waiting else row)
    return tabulate(rows, headers="keys", tablefmt="github", intfmt=",", floatfmt=",.1f")


def median(values: Iterable[float | None]) -> float | None:
    """The median of the values that are known; None if none is. It is one of them, so that a count stays whole."""
    known = [value for value in values if value is not None]
    return statistics.median_low(known) if known else None


def lessons(runs: Runs, connections: int) -> list[str]:
    """What the runs show, in sentences: the blocking server first, then threads beside one thread."""
    sentences = []
    alone = runs.get(BLOCKING, [])
    if alone and all(run.served == 1 and run.unanswered == connections - 1 > 0 for run in alone):
        sentences.append(
            f"{BLOCKING} answered 1 client. The other {connections - 1:,} were connected too, and waited in the accept"
            " queue in vain. The speed of one client says nothing here, and is left out."
        )
    for step, each in runs.items():
        served = min(run.served for run in each)
        if step != BLOCKING and served < connections:
            sentences.append(f"{step} did not serve every client in every round: {served:,} of them at worst.")
    if THREADS in runs and ONE_THREAD in runs:
        sentences.append(comparison(runs[THREADS], runs[ONE_THREAD]))
    return [sentence for sentence in sentences if sentence]


def comparison(many: Sequence[Run], one: Sequence[Run]) -> str:
    """Threads beside one thread, in what differed the same way in nearly every round; nothing if nothing did."""
    said = []
    for name, difference, digits, unit, sign in (
        ("threads", "more threads", 0, "", 1),
        ("memory_mib", "more memory", 1, " MiB", 1),
        ("p99_ms", "a longer p99", 1, " ms", 1),
        ("messages_per_second", "fewer messages/s", 0, "", -1),
    ):
        pairs = [(getattr(mine, name), getattr(other, name)) for mine, other in zip(many, one, strict=True)]
        known = [pair for pair in pairs if None not in pair]
        so = sum((mine - other) * sign > 0 for mine, other in known)
        if so < LEAST_SHARE * len(pairs):
            continue
        mine, other = (median(values) for values in zip(*known, strict=True))
        if (mine - other) * sign > 0:
            rounds = "" if so == len(pairs) else f"; in {so} of {len(pairs)} rounds"
            said.append(f"{difference} ({mine:,.{digits}f} against {other:,.{digits}f}{unit}{rounds})")
    return f"Beside {ONE_THREAD}, {THREADS} had {', '.join(said)}." if said else ""


def with_report(page: str, text: str) -> str:
    """The text of README.md with `text` between the markers."""
    begin, end = "<!-- ladder -->", "<!-- /ladder -->"
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n`make ladder` on one day (figures change: compare the rows).\n{text}\n{end}{after}"


if __name__ == "__main__":
    sys.exit(output.run("ladder", main))

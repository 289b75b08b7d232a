"""Run the whole test suite, several parts at the same time, with one progress and one total.

Some tests compute, and others wait for another process because that is their subject (a server that must hold out for
three seconds, a client that reads after two). One after the other they take the time of both. Side by side on two
cores they take hardly longer than one. pytest runs one test at a time, and a plugin that changes this is one more
package to install. So this script runs several pytests.

The parts disturb each other, so no test may rely on an idle machine: no test asserts a time.

Each pytest tells its progress through a pipe (`progress_plugin.py`); what it prints goes to a file, and is shown when
the part is over. The pipes are read with `select`, and not with our reactor: the reactor is what is tested here, and a
broken one must turn a test red, not stop the script that says so.

Each pytest has a process group of its own. So Ctrl-C reaches this script alone. It asks each pytest once to end, which
gives the tests the time to end their servers, and later kills what is left of the group.

Exit status: the highest of the parts, as pytest defines it; for a part that a signal has ended, 128 + its number. With
arguments there is one pytest, which gets them: `python scripts/run_tests.py -k echo -x`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pathlib
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts import output  # noqa: E402
from scripts.progress_line import ProgressLine, duration  # noqa: E402

PYTEST = [sys.executable, "-m", "pytest"]
APART = ["tests/failures", "tests/scripts", "tests/proof"]  # each is a part, and all other tests are one more
PARTS = [["tests", *(f"--ignore={folder}" for folder in APART)], *([folder] for folder in APART)]

OPTIONS = [
    *("-p", "scripts.progress_plugin"),
    *("-p", "no:cacheprovider"),  # otherwise several pytests would write the same cache
    *("-qq", "-rw", "-o", "console_output_style=classic"),  # print failures and warnings, and neither dots nor totals
]
TICK_SECONDS = 0.1  # between two looks whether a pytest has ended
ENDING_SECONDS = 15.0  # from the request to end until a pytest is killed
SILENT_SECONDS = 120.0  # after so long, a log gets a line though nothing is new: it is seen that the tests still run
WIDTH = 79
INTERNAL_ERROR = 3
MEANINGS = {2: "was interrupted", 3: "had an internal error", 4: "did not understand its options", 5: "found no tests"}
BAD = ("failed", "error")
EXPLAINED = ("skipped", "xfailed")
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Report(NamedTuple):
    """What pytest says of one test. `outcome` is the word that pytest uses, `reason` why the test was skipped."""

    test: str
    outcome: str
    reason: str


def main(arguments: Sequence[str], parts: Sequence[Sequence[str]] = PARTS, command: Sequence[str] = PYTEST) -> int:
    """Run one pytest for each of `parts`, by `command`; return the worst status.

    With `arguments`, this process becomes one pytest, which gets them. KeyboardInterrupt after Ctrl-C and SystemExit
    after SIGTERM or SIGHUP, when all pytests have ended.
    """
    if arguments:
        os.execv(command[0], [*command, *arguments])
    with caught_signals() as caught, contextlib.ExitStack() as stack:
        line = stack.enter_context(contextlib.closing(ProgressLine()))
        running = [stack.enter_context(contextlib.closing(Part(selection, command))) for selection in parts]
        tally = Tally(running)
        watch(running, tally, line, caught)
    if caught:
        output.tell(f"{signal.Signals(caught[0]).name} ended the tests: {tally.progress()}")
        if caught[0] == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + caught[0])
    output.show(tally.total())
    return max(part.status() for part in running)


@contextlib.contextmanager
def caught_signals() -> Iterator[list[int]]:
    """The signals that asked to end since the block began, in order. They interrupt nothing: so no child is lost."""
    caught: list[int] = []
    before = {number: signal.getsignal(number) for number in ENDINGS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup has SIGHUP ignored
            signal.signal(number, lambda number, _: caught.append(number))
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def watch(parts: Sequence[Part], tally: Tally, line: ProgressLine, caught: Sequence[int]) -> None:
    """Read what the parts tell and show it, until all have ended. After a signal, end them."""
    running = list(parts)
    asked, deadline = False, math.inf
    while running:
        if caught and not asked:
            asked, deadline = True, time.monotonic() + ENDING_SECONDS
            for part in running:
                part.process.send_signal(signal.SIGINT)
        if len(caught) > 1 or time.monotonic() > deadline:
            for part in running:
                part.kill()
        select.select([part.events for part in running if part.open], [], [], TICK_SECONDS)
        for part in running[:]:
            ended = part.process.poll() is not None  # before `read`, which then reads all that it wrote before its end
            said = [f"{test} {outcome}" for test, outcome, _ in part.read() if outcome in BAD]
            if ended:
                running.remove(part)
                said += part.said()
                if caught:
                    part.kill()  # the servers of a test that could not end them
            if said and not caught:
                line.clear()
                output.show("\n".join(said))
        line.show("ending the tests" if caught else tally.progress(), due=not caught and tally.is_due())


class Part:
    """One pytest, which runs `selection`, and what it has told."""

    def __init__(self, selection: Sequence[str], command: Sequence[str]) -> None:
        self.name = selection[0]
        self.collected: int | None = None  # how many tests; None: not known yet
        self.finished = 0
        self.current = ""  # the test that is running
        self.reports: list[Report] = []
        self.ended = False  # whether pytest came to the end of its session
        self.open = True  # whether more can come through the pipe
        self._rest = b""
        self._printed = tempfile.TemporaryFile()
        self.events, theirs = os.pipe()
        os.set_blocking(self.events, False)
        color = ["--color=yes"] if sys.stdout is not None and sys.stdout.isatty() else []
        try:
            self.process = subprocess.Popen(
                [*command, *OPTIONS, *color, f"--progress-fd={theirs}", *selection],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=self._printed,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs],
                process_group=0,
            )
        finally:
            os.close(theirs)

    def read(self) -> list[Report]:
        """Take what has come through the pipe; return the reports in it."""
        known = len(self.reports)
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.events, 1 << 16):
                *lines, self._rest = (self._rest + data).split(b"\n")
                for text in lines:
                    self._take(*json.loads(text))
            self.open = False
        return self.reports[known:]

    def _take(self, event: str, *values: Any) -> None:
        match event:
            case "collected":
                (self.collected,) = values
            case "started":
                (self.current,) = values
            case "reported":
                self.reports.append(Report(*values))
            case "finished":
                self.finished += 1
                self.current = ""
            case "ended":
                self.ended = True

    def status(self) -> int:
        """The exit status of this part. 0 only if pytest ran all its tests and came to its end."""
        status = self.process.returncode
        if status < 0:
            return 128 - status
        complete = self.ended and self.finished == self.collected
        return status or (0 if complete else INTERNAL_ERROR)

    def crash(self) -> str:
        """What ended it, in words, if that was not its last test."""
        status = self.process.returncode
        if status < 0:
            how = f"was killed by {signal.Signals(-status).name}"
        elif not self.ended or (status == 0 and self.status()):
            how = f"ended with status {status} before its last test was over"
        elif status in MEANINGS:
            how = MEANINGS[status]
        else:
            return ""
        return f"pytest {how}, in {self.current}" if self.current else f"pytest {how}"

    def said(self) -> list[str]:
        """What pytest printed, under a heading; nothing if there is nothing to tell."""
        self._printed.seek(0)
        printed = self._printed.read().decode(errors="replace").strip()
        lines = [text for text in (self.crash(), printed) if text]
        return [f"== {self.name} ".ljust(WIDTH, "="), *lines] if lines else []

    def kill(self) -> None:
        """End pytest and what is left of its process group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM if only zombies are left
            os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Give back what it holds. If pytest still runs, because this script failed, end it."""
        if self.process.returncode is None:
            self.kill()
            self.process.wait()
        os.close(self.events)
        self._printed.close()


class Tally:
    """The figures of all parts together, as text."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._began_at = self._due_at = time.monotonic()  # `_due_at`: when the last plain line was due
        self._tenths = 0  # of the tests, at that time

    def progress(self) -> str:
        """How far, what failed, how long, and which parts still run if some have ended."""
        finished, collected, seconds = self._finished(), self._collected(), time.monotonic() - self._began_at
        how_far = f"{finished:,} of {collected:,} tests" if collected else "collecting the tests"
        running = [part.name for part in self._parts if part.process.returncode is None]
        waits_for = [f"in {', '.join(running)}"] if 0 < len(running) < len(self._parts) else []
        return "  ".join([how_far, *self._failed(), duration(seconds), *waits_for])

    def is_due(self) -> bool:
        """Whether a log needs another line: a tenth of the tests is over since the last one, or a long time."""
        collected, now = self._collected(), time.monotonic()
        tenths = 10 * self._finished() // collected if collected else 0
        if tenths <= self._tenths and now - self._due_at < SILENT_SECONDS:
            return False
        self._tenths, self._due_at = max(tenths, self._tenths), now
        return True

    def total(self) -> str:
        """What was skipped and why, what failed, and the counts."""
        reports = [report for part in self._parts for report in part.reports]
        lines = [
            f"{outcome.upper()} {f'[{count}] ' if count > 1 else ''}{test}: {reason}"
            for (outcome, test, reason), count in Counter(
                (outcome, test.partition("[")[0], reason) for test, outcome, reason in reports if outcome in EXPLAINED
            ).items()
        ]
        lines += [f"{outcome.upper()} {test}" for test, outcome, _ in reports if outcome in BAD]
        crashes = [f"FAILED {part.name}: {crash}" for part in self._parts if (crash := part.crash())]
        left = (self._collected() or 0) - self._finished()
        words = self._failed() + ([f"{left:,} not run"] if left else [])
        words += [f"{count:,} {outcome}" for outcome, count in self._counts().items() if outcome not in BAD]
        failed = "FAILED: " if any(part.status() for part in self._parts) else ""
        seconds = time.monotonic() - self._began_at
        return "\n".join([*lines, *crashes, f"{failed}{', '.join(words) or 'no test'} in {duration(seconds)}"])

    def _finished(self) -> int:
        return sum(part.finished for part in self._parts)

    def _collected(self) -> int | None:
        """How many tests there are; None until each part that still runs has found its own."""
        if any(part.collected is None and part.process.returncode is None for part in self._parts):
            return None
        return sum(part.collected or 0 for part in self._parts)

    def _failed(self) -> list[str]:
        failed, errors = (self._counts()[outcome] for outcome in BAD)
        words = [f"{failed:,} failed"] if failed else []
        return words + ([f"{errors:,} error{'s' if errors > 1 else ''}"] if errors else [])

    def _counts(self) -> Counter[str]:
        return Counter(outcome for part in self._parts for _, outcome, _ in part.reports)


if __name__ == "__main__":
    sys.exit(output.run("run_tests", lambda: main(sys.argv[1:])))

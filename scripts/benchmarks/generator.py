"""The load generator, started and told what to do: `load.c` if there is a C compiler, else `load.py`.

Each order is one line, each answer one line of JSON; see the top of `load.c`. The compiled program lies in a
temporary folder while the bench runs, and is deleted at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from .processes import LOAD_CORE, MeasurementError, pin

HERE = pathlib.Path(__file__).resolve().parent
EXIT_SECONDS = 10.0
ORDER_SECONDS = 120.0  # for an order that takes one or two: a server that starves its clients would never finish


class Tools:
    """The programs that are built here: a context, which deletes them at its end."""

    def __init__(self, compiler: str | None) -> None:
        self.compiler = compiler
        self._folder = tempfile.TemporaryDirectory(prefix="reactor-bench-")

    def path(self, name: str) -> pathlib.Path:
        """The path of file `name` in the temporary folder."""
        return pathlib.Path(self._folder.name) / name

    def built(self, source: pathlib.Path, *options: str, name: str = "") -> str | None:
        """The path of the program built from `source`, or None if there is no compiler."""
        if self.compiler is None:
            return None
        program = self.path(name or source.stem)
        if not program.exists():
            command = [self.compiler, "-O2", *options, "-o", str(program), str(source)]
            result = subprocess.run(command, capture_output=True, text=True)
            if result.returncode:
                raise MeasurementError(f"{source.name} does not compile: {result.stderr.strip().splitlines()[0]}")
        return str(program)

    def load_command(self) -> list[str]:
        """The command that starts the load, without the port."""
        compiled = self.built(HERE / "load.c")
        return [compiled] if compiled else [sys.executable, str(HERE / "load.py")]

    def __enter__(self) -> Tools:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def find_compiler() -> str | None:
    """`gcc`, or another C compiler; None if there is none."""
    return shutil.which("gcc") or shutil.which("cc")


class Load:
    """One running load program."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def connect(self, connections: int) -> None:
        """Have so many connections open, each accepted by the server (except perhaps the last few)."""
        self._order(f"connect {connections}")

    def echo(self, count: int, size: int, line: int = 0) -> dict[str, float]:
        """Send `count` messages of `size` bytes over all connections; return seconds, and latency percentiles in µs."""
        return self._order(f"echo {count} {size} {line}")

    def volley(self, size: int, line: int, between: Callable[[], object]) -> None:
        """Send a message of `size` bytes on each connection, call `between()`, then receive all of them back.

        With `line` > 0, a message is lines of `line` bytes each.
        """
        self._order(f"send {size} {line}")
        between()
        self._order("collect")

    def churn(self, count: int, size: int, at_once: int) -> dict[str, float]:
        """Connect, echo and close, `count` times; return the same figures."""
        return self._order(f"churn {count} {size} {at_once}")

    def start_firehose(self, size: int) -> None:
        """Write blocks of `size` bytes without end on one more connection; return when the first has come back."""
        self._order(f"firehose {size}")

    def stop_firehose(self) -> dict[str, float]:
        """Return how many seconds the firehose ran, and how many bytes came back."""
        return self._order("")

    def _order(self, line: str) -> dict[str, Any]:
        self._tell(line)
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], ORDER_SECONDS)[0]:
            self._process.kill()
            raise MeasurementError(f"it was not done with that within {ORDER_SECONDS:g} s")
        answer = self._process.stdout.readline()
        if not answer:
            raise MeasurementError("the load ended without a word")
        told: dict[str, Any] = json.loads(answer)
        if "error" in told:
            raise MeasurementError(f"the load says: {told['error']}")
        return told

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its last answer can still be read
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()


@contextlib.contextmanager
def loading(command: list[str], port: int, *, humble: bool = False) -> Iterator[Load]:
    """Run the load against `port`, on its own core, until the block ends.

    A `humble` load gets only the time that others leave on that core (SCHED_IDLE, sched(7)). That is for the
    firehose: it would otherwise delay the clients beside it, which is not the server's fault.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen([*command, str(port)], stdin=pipe, stdout=pipe, text=True) as process:
        pin(process.pid, LOAD_CORE)
        if humble:
            os.sched_setscheduler(process.pid, os.SCHED_IDLE, os.sched_param(0))
        try:
            yield Load(process)
        finally:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            try:
                process.wait(EXIT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()

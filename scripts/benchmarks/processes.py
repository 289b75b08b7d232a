"""A server in a process of its own, on another core than the load, and what the kernel says it used.

A server is asked nothing about itself: what it costs is what the kernel accounts to its process. Two ways to get
that wrong. Counting in clock ticks (10 ms): a window must then be long, or the figure is a rounding error. And
reading one thread: a server with a thread for each client does its work in the others, some of which have ended by
then. The process's own CPU clock (clock_getcpuclockid(3)) has neither fault: nanoseconds, for all threads, dead ones
too. It does not tell user time from the kernel's; for that share alone, the ticks of /proc/PID/stat are read.

Server and load run on different cores, and stay there: a server that shares its core with the load is measured with
the load's cache misses, and one that moves, with its own. On a machine with one core they must share it; the bench
says so.
"""

from __future__ import annotations

import ctypes
import dataclasses
import os
import pathlib
import queue
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

ROOT = pathlib.Path(__file__).resolve().parents[2]
LISTENING_SECONDS = 60.0  # until it has said where it listens: a start under valgrind takes ten
EXIT_SECONDS = 60.0
REST_SECONDS = 0.5  # for a server to have nothing left to do, once all replies are here
LOOK_SECONDS = 0.012  # between two looks at its clock: more than a clock tick
SPARE_DESCRIPTORS = 100  # of a process, beside its connections

_CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
SERVER_CORE, LOAD_CORE = _CORES[-1], _CORES[0]


class MeasurementError(Exception):
    """Why there is no figure, in one line."""


@dataclass(frozen=True)
class Usage:
    """What a process has used so far, in seconds."""

    cpu: float  # exact
    user: float  # in ticks, as is the next
    kernel: float
    waited: float  # ready to run, while its core was given to somebody else

    def __add__(self, more: Usage) -> Usage:
        return Usage(self.cpu + more.cpu, self.user + more.user, self.kernel + more.kernel, self.waited + more.waited)

    def __sub__(self, earlier: Usage) -> Usage:
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(earlier), strict=True)
        return Usage(*(now - then for now, then in pairs))


class ServerProcess:
    """A running server: where it listens, what it uses."""

    def __init__(self, process: subprocess.Popen[str], name: str) -> None:
        assert process.stderr is not None
        self.process = process
        self.pid = process.pid
        self.name = name
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()
        # Read to the end, past the line that counts: a server whose log fills its pipe stands still.
        self._reader = threading.Thread(target=self._read, args=[process.stderr])
        self._reader.start()
        self.port = 0

    def _read(self, stream: TextIO) -> None:
        for line in stream:
            self._said.put(line)
        self._said.put("")

    def wait_until_listening(self) -> None:
        """Wait for "listening on HOST:PORT"; MeasurementError if it never comes."""
        said, deadline = "", time.monotonic() + LISTENING_SECONDS
        try:
            while line := self._said.get(timeout=max(0.0, deadline - time.monotonic())):
                said = line.strip() or said
                if found := re.search(r"listening on \S*:(\d+)", line):
                    self.port = int(found[1])
                    return
        except queue.Empty:
            late = f"{self.name} does not listen after {LISTENING_SECONDS:g} s; it said {said!r}"
            raise MeasurementError(late) from None
        raise MeasurementError(f"{self.name} ended before it listened; it said {said!r}")

    def usage(self, *, at_rest: bool = False) -> Usage:
        """The CPU time that all its threads have used, dead ones too; `at_rest`: once it has come to rest.

        Of a process that is running just now the kernel tells what it had used at the last clock tick.
        """
        clock = _cpu_clock(self.pid)
        cpu = _at_rest(self.pid, clock) if at_rest else time.clock_gettime(clock)
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        tick = 1 / os.sysconf("SC_CLK_TCK")
        return Usage(cpu, int(fields[11]) * tick, int(fields[12]) * tick, _waited_seconds(self.pid))

    def resident_bytes(self) -> int:
        """Its resident memory. smaps_rollup counts pages; VmRSS of `status` lags behind by a few dozen."""
        text = pathlib.Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        found = re.search(r"^Rss:\s+(\d+) kB$", text, re.MULTILINE)
        assert found, text
        return int(found[1]) * 1024

    def stop(self) -> None:
        """Have it stand still, whatever it is doing, until `go_on`; returns when it does."""
        os.kill(self.pid, signal.SIGSTOP)
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            self.process.returncode = os.waitstatus_to_exitcode(status)
            raise MeasurementError(f"{self.name} has ended, with status {self.process.returncode}")

    def go_on(self) -> None:
        """Let it run again."""
        os.kill(self.pid, signal.SIGCONT)

    def end(self, patience_seconds: float = EXIT_SECONDS) -> None:
        """SIGTERM, then SIGKILL if that does not end it; returns when all that it said is here."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(patience_seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join()

    def said(self) -> str:
        """All it wrote to standard error after it listened; complete once it has ended."""
        lines = []
        while not self._said.empty():
            lines.append(self._said.get())
        return "".join(lines)


def _at_rest(pid: int, clock: int) -> float:
    """What the clock shows once it stands still and all threads sleep; or after a while, if they never do.

    A thread that waits for a core makes the clock stand still as well, though it has not done its work yet.
    """
    before, deadline = -1.0, time.monotonic() + REST_SECONDS
    while ((now := time.clock_gettime(clock)) != before or not _asleep(pid)) and time.monotonic() < deadline:
        before = now
        time.sleep(LOOK_SECONDS)
    return now


def _asleep(pid: int) -> bool:
    """Whether no thread of the process runs, or would if it had a core (proc(5))."""
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            if (task / "stat").read_text().rpartition(") ")[2][0] == "R":
                return False
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            pass
    return True


def _cpu_clock(pid: int) -> int:
    """The clock of process `pid`'s CPU time (clock_getcpuclockid(3)), which the `time` module does not offer."""
    clock = ctypes.c_int()
    error = ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock))
    if error:
        raise MeasurementError(f"no CPU clock of process {pid}: {os.strerror(error)}")
    return clock.value


def _waited_seconds(pid: int) -> float:
    """The second field of /proc/PID/schedstat: for the main thread, which is the one that counts in most servers."""
    try:
        return int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except FileNotFoundError:  # a kernel without CONFIG_SCHED_INFO
        return 0.0


@contextmanager
def running(command: Sequence[str], name: str, root: pathlib.Path = ROOT, **variables: str) -> Iterator[ServerProcess]:
    """Run a server on its core until the block ends, with the package of `root`, and `variables` set."""
    environment = {**os.environ, "PYTHONPATH": f".{os.pathsep}{ROOT}", **variables}
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(list(command), text=True, env=environment, cwd=root, **streams) as process:
        pin(process.pid, SERVER_CORE)
        server = ServerProcess(process, name)
        try:
            server.wait_until_listening()
            yield server
        finally:
            server.end()


def pin(pid: int, core: int) -> None:
    """Have a process run on `core` alone. What it starts from now on does too."""
    os.sched_setaffinity(pid, {core})


def allow_descriptors(connections: int) -> int:
    """Raise our limit of descriptors, which servers inherit; how many of `connections` can be had."""
    wanted = connections + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    infinite = resource.RLIM_INFINITY
    if soft != infinite and soft < wanted:
        soft = wanted if hard == infinite else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == infinite else min(connections, soft - SPARE_DESCRIPTORS)


def machine() -> dict[str, Any]:
    """What this is measured on, for the reader of the figures."""
    model = re.search(r"^model name\s*:\s*(.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "processor": model[1] if model else os.uname().machine,
        "cores": len(_CORES),
        "system": f"{os.uname().sysname} {os.uname().release}",
        "python": sys.version.split()[0],
    }

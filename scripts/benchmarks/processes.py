"""A server in its own process, on another core than the load, and what the kernel says it used.

The bench asks the server nothing: its cost is what the kernel charges to its process. There are two mistakes to
avoid. A count in clock ticks (10 ms) needs a long time, or the figure is a rounding error. And a count of one thread
misses the work of the others, some of which have ended by then. The CPU clock of the process (clock_getcpuclockid(3))
avoids both: it counts nanoseconds, of all threads, also of those that have ended. It does not separate user time from
kernel time; for that share alone, the bench reads the ticks of /proc/PID/stat.

Server and load run on different cores, and stay there. A server that shares its core with the load suffers from the
load's cache misses; one that moves suffers from its own. On a machine with one core they must share it, and the bench
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
LISTENING_SECONDS = 60.0  # for a server to say where it listens: a start under valgrind takes ten
EXIT_SECONDS = 60.0
REST_SECONDS = 0.5  # for a server to finish its work, after all replies have come
LOOK_SECONDS = 0.012  # between two reads of its clock: more than a clock tick
SPARE_DESCRIPTORS = 100  # for a process, besides its connections

_CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
SERVER_CORE, LOAD_CORE = _CORES[-1], _CORES[0]


class MeasurementError(Exception):
    """The reason why there is no figure, in one line."""


@dataclass(frozen=True)
class Usage:
    """What a process has used so far, in seconds."""

    cpu: float  # exact
    user: float  # in ticks, like `kernel`
    kernel: float
    waited: float  # ready to run, while another process had its core

    def __add__(self, more: Usage) -> Usage:
        return Usage(self.cpu + more.cpu, self.user + more.user, self.kernel + more.kernel, self.waited + more.waited)

    def __sub__(self, earlier: Usage) -> Usage:
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(earlier), strict=True)
        return Usage(*(now - then for now, then in pairs))


class ServerProcess:
    """A running server: where it listens, and what it uses."""

    def __init__(self, process: subprocess.Popen[str], name: str) -> None:
        assert process.stderr is not None
        self.process = process
        self.pid = process.pid
        self.name = name
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()
        # Read to the end, not only to the line that is wanted: a server stops when its log has filled the pipe.
        self._reader = threading.Thread(target=self._read, args=[process.stderr])
        self._reader.start()
        self.port = 0

    def _read(self, stream: TextIO) -> None:
        for line in stream:
            self._said.put(line)
        self._said.put("")

    def wait_until_listening(self) -> None:
        """Wait for "listening on HOST:PORT"; MeasurementError if it does not come."""
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
        """The CPU time of all its threads, also of those that have ended. With `at_rest`, wait until they sleep.

        For a process that is running just now, the kernel gives its time at the last clock tick.
        """
        clock = _cpu_clock(self.pid)
        cpu = _at_rest(self.pid, clock) if at_rest else time.clock_gettime(clock)
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        tick = 1 / os.sysconf("SC_CLK_TCK")
        return Usage(cpu, int(fields[11]) * tick, int(fields[12]) * tick, _waited_seconds(self.pid))

    def resident_bytes(self) -> int:
        """Its resident memory. smaps_rollup counts pages; VmRSS in `status` is inexact by a few dozen."""
        text = pathlib.Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        found = re.search(r"^Rss:\s+(\d+) kB$", text, re.MULTILINE)
        assert found, text
        return int(found[1]) * 1024

    def stop(self) -> None:
        """Stop it until `go_on`; return when it has stopped."""
        os.kill(self.pid, signal.SIGSTOP)
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            self.process.returncode = os.waitstatus_to_exitcode(status)
            raise MeasurementError(f"{self.name} has ended, with status {self.process.returncode}")

    def go_on(self) -> None:
        """Let it run again."""
        os.kill(self.pid, signal.SIGCONT)

    def end(self, patience_seconds: float = EXIT_SECONDS) -> None:
        """Send SIGTERM, then SIGKILL if that does not end it; return when all its output is here."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(patience_seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join()

    def said(self) -> str:
        """All that it wrote to standard error after it listened; complete once it has ended."""
        lines = []
        while not self._said.empty():
            lines.append(self._said.get())
        return "".join(lines)


def _at_rest(pid: int, clock: int) -> float:
    """The clock once it no longer moves and all threads sleep; after `REST_SECONDS` in any case.

    The clock alone does not tell: it also stops while a thread waits for a core and still has work to do.
    """
    before, deadline = -1.0, time.monotonic() + REST_SECONDS
    while ((now := time.clock_gettime(clock)) != before or not _asleep(pid)) and time.monotonic() < deadline:
        before = now
        time.sleep(LOOK_SECONDS)
    return now


def _asleep(pid: int) -> bool:
    """Whether no thread of the process is running or waits for a core (proc(5))."""
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            if (task / "stat").read_text().rpartition(") ")[2][0] == "R":
                return False
        except (FileNotFoundError, ProcessLookupError):  # the thread has ended meanwhile
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
    """The second field of /proc/PID/schedstat: of the main thread only, which does the work in most servers."""
    try:
        return int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except FileNotFoundError:  # a kernel without CONFIG_SCHED_INFO
        return 0.0


@contextmanager
def running(command: Sequence[str], name: str, root: pathlib.Path = ROOT, **variables: str) -> Iterator[ServerProcess]:
    """Run a server on its core until the block ends, with the package of `root` and with `variables` set."""
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
    """Have a process run on `core` alone, with all that it starts from now on."""
    os.sched_setaffinity(pid, {core})


def allow_descriptors(connections: int) -> int:
    """Raise our limit of descriptors, which servers inherit; return how many of `connections` are possible."""
    wanted = connections + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    infinite = resource.RLIM_INFINITY
    if soft != infinite and soft < wanted:
        soft = wanted if hard == infinite else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == infinite else min(connections, soft - SPARE_DESCRIPTORS)


def machine() -> dict[str, Any]:
    """The machine that the figures are from."""
    model = re.search(r"^model name\s*:\s*(.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "processor": model[1] if model else os.uname().machine,
        "cores": len(_CORES),
        "system": f"{os.uname().sysname} {os.uname().release}",
        "python": sys.version.split()[0],
    }

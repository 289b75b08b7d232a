"""What the tests of the whole server share: a real server process, clients with deadlines, and facts from /proc.

A test that talks to a process can fail in one more way: it can wait for ever. So every wait here has
`DEADLINE_SECONDS`, which is long, because the machine may be busy. No test asserts a time. Threads read the output of
a process as it comes, so the process never blocks on a full pipe, and a test can wait for a line.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import functools
import itertools
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
DEADLINE_SECONDS = float(os.environ.get("REACTOR_TEST_DEADLINE_SECONDS", "60"))
# A server with nothing to do may wake up now and then to look: ours, with its watchdog, does so ten times a second. A
# server that sleeps only for a millisecond at a time wakes up 150 times in `IDLE_SECONDS`.
IDLE_SECONDS, IDLE_LOOKS, IDLE_WAKE_UPS = 0.15, 5, 15
STATISTICS = r" INFO statistics (\{.*\})$"  # what answers SIGUSR1 in a JSON log, as `Lines` keeps it
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # for SO_LINGER: close sends a reset


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """Poll `condition` until it is true, and return its value. For what another process changes without an event."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {DEADLINE_SECONDS:g} s: {what}"
        time.sleep(0.005)
    return value


class Lines:
    """The lines of a stream, read by a thread as they come. A line of a JSON log is kept as `plain_rows`."""

    def __init__(self, stream: IO[str]) -> None:
        self._lines: list[str] = []
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=[stream], daemon=True)
        self._thread.start()

    def _read(self, stream: IO[str]) -> None:
        with contextlib.suppress(ValueError):  # a test that has read enough has closed it
            for line in stream:
                with self._changed:
                    self._lines += plain_rows(line)
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for(self, pattern: str, nth: int = 1) -> re.Match[str]:
        """The match of `pattern` in the `nth` line that has one, among the lines so far and those to come.

        AssertionError with all lines if there is none before the end of the stream, or within the deadline.
        """
        with self._changed:
            ended = self._changed.wait_for(lambda: self._search(pattern, nth) or self._ended, DEADLINE_SECONDS)
            match = self._search(pattern, nth)
            assert match, f"{pattern!r} {'never came' if ended else 'did not come in time'}; what came:\n{self.text}"
            return match

    def _search(self, pattern: str, nth: int) -> re.Match[str] | None:
        matches = (match for line in self._lines if (match := re.search(pattern, line)))
        return next(itertools.islice(matches, nth - 1, None), None)

    def count(self, pattern: str) -> int:
        """How many lines match `pattern` so far."""
        with self._changed:
            return sum(1 for line in self._lines if re.search(pattern, line))

    def join(self) -> None:
        """Wait for the end of the stream."""
        self._thread.join(DEADLINE_SECONDS)

    @property
    def text(self) -> str:
        """All lines so far, as they were written."""
        return "".join(self._lines)


def plain_rows(line: str) -> list[str]:
    """A line of a JSON log in rows as a plain log has them, with the items of its record as JSON; else `line` itself.

    So a test can search a log without asking for its format.
    """
    if not line.startswith('{"time": '):
        return [line]
    items = json.loads(line)
    time, level, pid, _ = (items.pop(name) for name in ("time", "level", "pid", "logger"))
    message, trace = items.pop("message"), items.pop("exception", "")
    head, *rows = f"{message}\n{trace}".strip("\n").split("\n")
    extra = f" {json.dumps(items)}" if items else ""
    return [f"{time} [{pid}] {level} {head}{extra}\n", *(f"    {row}\n" for row in rows)]


class ServerProcess:
    """A server in its own process: what it writes, where it listens, what it uses."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout and process.stderr
        self.process = process
        self.pid = process.pid
        self.stdout = Lines(process.stdout)
        self.stderr = Lines(process.stderr)
        self.addresses: list[str] = []

    def wait_until_listening(self) -> None:
        """Wait for the line that says where it listens."""
        self.addresses = self.stderr.wait_for(r"listening on (.+)$")[1].split(", ")

    @property
    def address(self) -> tuple[str, int]:
        """The first address, in the form for `socket.create_connection`."""
        return socket_address(self.addresses[0])

    def send_signal(self, number: int) -> None:
        """Send signal `number`."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Its exit status, after all its output has been read."""
        status = self.process.wait(DEADLINE_SECONDS)
        self.stderr.join()
        self.stdout.join()
        return status

    def terminate(self) -> int:
        """Send SIGTERM and return the exit status."""
        self.send_signal(signal.SIGTERM)
        return self.wait()

    def statistics(self) -> dict[str, Any]:
        """Its `Server.statistics()`, which it logs when it gets SIGUSR1. It must have `--log-format json`."""
        asked_before = self.stderr.count(STATISTICS)
        self.send_signal(signal.SIGUSR1)
        items = json.loads(self.stderr.wait_for(STATISTICS, asked_before + 1)[1])
        statistics: dict[str, Any] = items["statistics"]
        return statistics

    def descriptors(self) -> int:
        """How many file descriptors it has open (proc(5))."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def resident_bytes(self) -> int:
        """Its resident memory now, VmRSS (proc(5))."""
        return self._status_bytes("VmRSS")

    def peak_resident_bytes(self) -> int:
        """The most resident memory it ever had, VmHWM (proc(5))."""
        return self._status_bytes("VmHWM")

    def virtual_bytes(self) -> int:
        """The size of its address space, VmSize (proc(5))."""
        return self._status_bytes("VmSize")

    def _status_bytes(self, name: str) -> int:
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
        assert found, status
        return int(found[1]) * 1024

    def is_idle(self) -> bool:
        """Whether it sleeps: all of its threads, at each look, with few wake-ups between the looks.

        A loop that spins is found awake, or wakes up in each turn; this shows on a busy machine, too. A server that
        has something to do is not idle either, so wait until it is: `wait_until_idle`.
        """
        woken = self._wake_ups()
        for _ in range(IDLE_LOOKS):
            time.sleep(IDLE_SECONDS / IDLE_LOOKS)
            if not self._is_asleep():
                return False
        return self._wake_ups() - woken <= IDLE_WAKE_UPS

    def wait_until_idle(self, what: str) -> None:
        """Wait until it has done `what`, and everything else."""
        wait_until(self.is_idle, f"an idle server: {what}")

    def _is_asleep(self) -> bool:
        return all(stat.rpartition(") ")[2][0] in "SI" for stat in self._of_threads("stat"))

    def _wake_ups(self) -> int:
        """How often one of its threads got a processor: the context switches of proc(5)."""
        switches = (re.findall(r"ctxt_switches:\s+(\d+)", status) for status in self._of_threads("status"))
        return sum(int(count) for counts in switches for count in counts)

    def _of_threads(self, name: str) -> Iterator[str]:
        for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended meanwhile
                yield (task / name).read_text()

    def cpu_ticks(self) -> int:
        """The processor time it has used, in clock ticks: utime + stime of proc(5)."""
        fields = self._stat_fields()
        return int(fields[11]) + int(fields[12])

    def page_faults(self) -> int:
        """How often it touched a page of memory that it had not been given yet: minflt of proc(5)."""
        return int(self._stat_fields()[7])

    def _stat_fields(self) -> list[str]:
        return pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()


@contextlib.contextmanager
def running(command: Sequence[str | os.PathLike[str]], **options: Any) -> Iterator[ServerProcess]:
    """Run `command` until the block ends, and read its output line by line; `options` as for Popen.

    A Python warning is an error in that process, and appears in `stderr`.
    """
    options = {"stdin": subprocess.DEVNULL, "env": package_environment(), **options}
    pipe = subprocess.PIPE
    with subprocess.Popen(list(command), stdout=pipe, stderr=pipe, text=True, **options) as process:
        server = ServerProcess(process)
        try:
            yield server
        finally:
            if process.poll() is None:
                process.kill()
            server.wait()


@contextlib.contextmanager
def serving(*arguments: str, bind: str = "127.0.0.1:0", **options: Any) -> Iterator[ServerProcess]:
    """`python -m reactor serve ARGUMENTS --bind BIND`, once it listens; `arguments` begin with the program."""
    with running([sys.executable, "-m", "reactor", "serve", *arguments, "--bind", bind], **options) as server:
        server.wait_until_listening()
        yield server


def imported_without(modules: Sequence[str], *source: str) -> list[str]:
    """The lines that a program of this source prints when these modules cannot be imported."""
    missing = f"import sys; sys.modules.update(dict.fromkeys({list(modules)!r}))"  # None: no import (sys.modules)
    command = [sys.executable, "-c", "\n".join([missing, *source])]
    result = subprocess.run(
        command, env=package_environment(), capture_output=True, text=True, timeout=DEADLINE_SECONDS
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def run_reactor(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `python -m reactor ARGUMENTS` to its end, on a screen of 80 columns; `options` as for subprocess.run."""
    environment = {**package_environment(), "COLUMNS": "80"}
    options = {"env": environment, "capture_output": True, "text": True, "timeout": DEADLINE_SECONDS, **options}
    return subprocess.run([sys.executable, "-m", "reactor", *arguments], **options)


def package_environment() -> dict[str, str]:
    """An environment in which Python finds the package in this checkout, and makes every warning an error."""
    return {**os.environ, "PYTHONPATH": package_path(), "PYTHONWARNINGS": "error"}


@functools.cache
def package_path() -> str:
    """`ROOT` for PYTHONPATH; by another name if it has a colon, which separates entries there."""
    if os.pathsep not in str(ROOT):
        return str(ROOT)
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    link = pathlib.Path(folder.name, "checkout")
    link.symlink_to(ROOT)
    return str(link)


def buffering_environment() -> dict[str, str]:
    """`package_environment`, but Python buffers what is printed, as it does by default."""
    return {name: value for name, value in package_environment().items() if name != "PYTHONUNBUFFERED"}


def socket_address(text: str) -> tuple[str, int]:
    """`HOST:PORT` or `[V6]:PORT` in the form of the `socket` module."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def free_port() -> int:
    """A port where nothing listens, and that the kernel gives to no other program while this process lives.

    It stays bound here. A server that sets SO_REUSEADDR can listen there all the same (socket(7), ip(7)).
    """
    sock = socket.socket()
    atexit.register(sock.close)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    port: int = sock.getsockname()[1]
    return port


def connect(address: tuple[str, int]) -> socket.socket:
    """A blocking client; each of its calls has a deadline."""
    return socket.create_connection(address, timeout=DEADLINE_SECONDS)


def receive(client: socket.socket, size: int) -> bytes:
    """The next `size` bytes, or fewer if the stream ends before."""
    received = bytearray()
    while len(received) < size and (data := client.recv(min(1 << 16, size - len(received)))):
        received += data
    return bytes(received)


def receive_all(client: socket.socket) -> bytes:
    """Everything up to the end of the stream."""
    return receive(client, sys.maxsize)


def exchange(client: socket.socket, message: bytes) -> bytes:
    """Send `message` and return as many bytes as it has."""
    client.sendall(message)
    return receive(client, len(message))


def patterned(size: int, seed: int = 0) -> bytes:
    """`size` bytes in which a missing, doubled or misplaced piece shows; different for each `seed`."""
    first = seed << 32
    return array.array("Q", range(first, first + size // 8 + 1)).tobytes()[:size]


def reset(client: socket.socket) -> None:
    """Close `client` so that its peer sees a reset, not a FIN."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    client.close()

"""Errors that the kernel does not make on demand, put between a server and its kernel.

`strace` can make a system call fail without carrying it out, the second time or every time (strace(1), "Tampering").
It attaches to a running server and detaches again, so only the calls under test are changed. It cannot carry out a
part of a call: for results of one byte, a small library is loaded before libc.

Both need something that may be missing: strace and the permission to trace, or a C compiler. Without it the test is
skipped, with the reason.
"""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.support import DEADLINE_SECONDS, Lines, wait_until

ACCEPTS = "accept,accept4"
RECEIVES = "recvfrom,recvmsg"
SENDS = "sendto,sendmsg"
POLLS = "epoll_wait,epoll_pwait,epoll_pwait2,poll,ppoll,select,pselect6"

ONE_BYTE_LIBRARY = pathlib.Path(__file__).with_name("one_byte.c")


class Tracing:
    """A server under strace."""

    def __init__(self, output: pathlib.Path, pid: int) -> None:
        self._output = output
        self._pid = pid

    def lines(self) -> list[str]:
        """All that strace has written so far: the number of a thread, and what it did."""
        return self._output.read_text().splitlines()

    def calls(self) -> list[str]:
        """The traced system calls of the main thread so far: name, arguments and result, one line each."""
        own = [line.partition(" ") for line in self.lines()]
        lines = [text.strip() for thread, _, text in own if thread == str(self._pid)]
        return [line for line in lines if not line.startswith(("---", "+++", "strace:"))]

    def wait_for(self, error: str, count: int = 1) -> list[str]:
        """Wait until a call has failed with `error`, and return the `count` calls from that one on."""

        def found() -> list[str]:
            calls = self.calls()
            failed = next((number for number, call in enumerate(calls) if error in call), len(calls))
            return calls[failed:] if len(calls) - failed >= count else []

        calls: list[str] = wait_until(found, f"a call that fails with {error}, and those after it")
        return calls[:count]


def tracer() -> list[str]:
    """The command that runs strace; the test is skipped where there is none."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed, and nothing else makes the kernel fail on demand")
    return ["strace"]


@contextlib.contextmanager
def injected(pid: int, folder: pathlib.Path, *injections: str, trace: str) -> Iterator[Tracing]:
    """Inject `injections` ("accept4:error=ENFILE:when=1..3") into the system calls of `pid`, until the block ends."""
    output = folder / f"strace-{len(list(folder.iterdir()))}"
    command = [*tracer(), "-f", "-p", str(pid), "-o", str(output), "-e", f"trace={trace}", "-e", "signal=none"]
    for injection in injections:
        command += ["-e", f"inject={injection}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr
        said = Lines(strace.stderr)
        try:
            try:
                said.wait_for("attached")
            except AssertionError:
                pytest.skip(f"strace may not trace here: {said.text.strip()}")
            yield Tracing(output, pid)
        finally:
            strace.send_signal(signal.SIGINT)  # detaches from the server, which continues undisturbed
            try:
                strace.wait(DEADLINE_SECONDS)
            finally:
                strace.kill()
                said.join()  # before the stream that it reads is closed


def one_byte_library(folder: pathlib.Path) -> str:
    """The path of a library for LD_PRELOAD: on TCP sockets, calls that ONE_BYTE names (recv, send) move one byte."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler, and the kernel moves one byte only when there is no more")
    library = folder / "one_byte.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", str(library), str(ONE_BYTE_LIBRARY), "-ldl"]
    subprocess.run(command, check=True, timeout=DEADLINE_SECONDS)
    return str(library)

"""System calls per echo, by `strace -c -f` (strace(1)): counts, which noise does not change.

Starting Python makes thousands of calls, so one run says little. Two runs that differ only in the number of echoes
do: the difference of their calls, divided by the difference of their echoes, is the cost of one echo.

strace distorts threads: a server under it is so slow that its threads wait for the interpreter's lock. Each waiting
thread asks for it again every 5 ms, with a `futex` call. Such a count describes a much slower machine, and the report
says so.

With -D, strace runs in the background, and the server is our own child as in all other rows: the signals that end it
and the CPU that it is pinned to are for the server itself.
"""

from __future__ import annotations

import pathlib
import re
import shutil
import time
from collections.abc import Callable

from .contenders import Contender
from .generator import Load, Tools, loading
from .processes import MeasurementError, running

REPORT_SECONDS = 30.0  # for strace to write its table after the server has ended
# Libraries name the same thing differently: libuv reads and writes where sockets receive and send.
SAME = {
    "recvfrom": "recv", "recvmsg": "recv", "read": "recv",
    "sendto": "send", "sendmsg": "send", "write": "send", "writev": "send",
    "epoll_wait": "poll", "epoll_pwait": "poll", "epoll_pwait2": "poll",
}  # fmt: skip


def is_available() -> bool:
    """Whether strace is installed."""
    return shutil.which("strace") is not None


def per_message(
    contender: Contender, program: str, tools: Tools, counts: tuple[int, int], run: Callable[[Load, int], object]
) -> dict[str, float]:
    """Calls per message by name, from runs of `counts` messages; `run(load, count)` sends them."""
    few, many = (_counted(contender, program, tools, count, run) for count in counts)
    names = few.keys() | many.keys()
    return {name: (many.get(name, 0) - few.get(name, 0)) / (counts[1] - counts[0]) for name in sorted(names)}


def _counted(
    contender: Contender, program: str, tools: Tools, count: int, run: Callable[[Load, int], object]
) -> dict[str, int]:
    report = tools.path("strace.txt")
    report.unlink(missing_ok=True)
    command = ["strace", "-D", "-f", "-c", "-o", str(report), *contender.command(program)]
    with running(command, contender.name, contender.root) as server:
        with loading(tools.load_command(), server.port) as load:
            run(load, count)
            server.end()  # before the clients leave: how many disconnects it would still handle is a matter of luck
    return parse(_written(report))


def _written(report: pathlib.Path) -> str:
    """The table, once it is complete. strace ends after the server and is not our child, so we cannot wait for it."""
    deadline = time.monotonic() + REPORT_SECONDS
    while not report.exists() or not (text := report.read_text()).rstrip().endswith("total"):
        if time.monotonic() > deadline:
            raise MeasurementError(f"strace wrote no table within {REPORT_SECONDS:g} s")
        time.sleep(0.05)
    return text


def parse(table: str) -> dict[str, int]:
    """The calls of an `strace -c` table, with one name for each thing."""
    calls: dict[str, int] = {}
    # % time, seconds, usecs/call, calls, errors (blank when there were none), syscall
    for found in re.finditer(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)\s*$", table, re.MULTILINE):
        if found[2] != "total":
            name = SAME.get(found[2], found[2])
            calls[name] = calls.get(name, 0) + int(found[1])
    return calls

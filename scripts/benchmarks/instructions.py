"""User-space instructions per message, by valgrind: the figure to use while developing, because noise does not change
it.

Time on a shared machine varies by more than most optimisations gain. The number of instructions does not: the same
program with the same input executes the same number, whatever else runs. `valgrind --tool=callgrind` counts them.
Starting Python takes three hundred million, so one run says little. Two runs that differ only in the number of
messages give the cost of one. A message is an echo of 64 bytes, or a segment of 16 lines that are answered one by one.

Two things would still vary. The first is hashing, so its seed is fixed. The second is how many messages one poll
finds, which depends on what else runs. So the server is stopped while a message is sent on each connection, and
continues when all are there. Each turn of its loop then finds a message on every connection, as in a busy server.

This figure does not see the kernel's part. It also counts a cache miss as one instruction, like any other. So time
decides in the end (`make bench`), and this figure guides the way there.

The cost: code runs some fifty times slower under valgrind, so this takes a few seconds for each server.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass

from .contenders import BASE, Contender
from .generator import Load, Tools, loading
from .goals import OURS
from .processes import MeasurementError, ServerProcess, running
from .rows import LINE_BYTES, LINES, MESSAGE_BYTES

CONNECTIONS = 50


@dataclass(frozen=True)
class Work:
    """What is counted: a program, its messages, and how many of them the two runs have."""

    program: str
    size: int  # of a message, in bytes
    line: int  # bytes of each line of a message; 0: the message is no lines
    few: int  # after so many, all code is specialised and cached
    many: int


ECHO = Work("echo", MESSAGE_BYTES, 0, 4_000, 14_000)
SEGMENT = Work("lines", LINES * LINE_BYTES, LINE_BYTES, 1_000, 2_500)


def missing() -> str:
    """What is missing for a count, or ""."""
    return "" if shutil.which("valgrind") else "valgrind is not here (Debian, Ubuntu: apt-get install valgrind)"


def per_message(contender: Contender, tools: Tools, work: Work) -> float:
    """The instructions that one message of `work` costs `contender`, over all its threads."""
    few, many = (_executed(contender, tools, work, count) for count in (work.few, work.many))
    return (many - few) / (work.many - work.few)


def _executed(contender: Contender, tools: Tools, work: Work, messages: int) -> int:
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *contender.command(work.program)]
    with running(command, contender.name, contender.root, PYTHONHASHSEED="0") as server:
        with loading(tools.load_command(), server.port) as load:
            load.connect(CONNECTIONS)
            send_volleys(server, load, work, messages)
            server.end()  # while all are connected: how many disconnects it would still handle is a matter of luck
    return collected(server.said(), contender.name)


def send_volleys(server: ServerProcess, load: Load, work: Work, messages: int) -> None:
    """Send so many messages, one on every connection in each turn of the server's loop."""
    for _ in range(messages // CONNECTIONS):
        server.stop()
        load.volley(work.size, work.line, server.go_on)


def collected(said: str, name: str) -> int:
    """The total in callgrind's last lines: "==PID== Collected : 365902301"."""
    found = re.search(r"^==\d+== Collected : (\d+)$", said, re.MULTILINE)
    if not found:
        last = (said.strip().splitlines() or ["nothing"])[-1]
        raise MeasurementError(f"valgrind counted nothing for {name}; its last word: {last!r}")
    return int(found[1])


def relative(counts: dict[str, float]) -> float:
    """Our count relative to that of asyncio's Protocol."""
    return counts[OURS] / counts[BASE]

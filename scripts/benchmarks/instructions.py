"""User-space instructions per echo, by valgrind: the figure to develop by, for no noise can touch it.

Time on a shared machine drifts by more than most optimisations gain. The number of instructions does not: the same
program on the same input executes the same ones, whoever else is running. `valgrind --tool=callgrind` counts them.
A start of Python takes three hundred million, so one run says little; two that differ only in the number of echoes do.

Two things would still vary. Hashes, so their seed is fixed. And how many messages one look at the kernel finds, which
depends on who else is running: so the server is stopped while a message is sent on each connection, and let go when all
are there. Each turn of its loop then finds as many as there are connections, which is what a busy server finds too.

What it is blind to: the kernel's part, and that instructions are not equally dear: a cache miss counts as one. So time
has the last word (`make bench`), and this has all the words before.

The cost: code runs some fifty times slower under valgrind, so this takes a few seconds for each server.
"""

from __future__ import annotations

import re
import shutil

from .contenders import BASE, Contender
from .generator import Load, Tools, loading
from .goals import OURS
from .processes import MeasurementError, ServerProcess, running
from .rows import MESSAGE_BYTES

CONNECTIONS = 50
FEW, MANY = 4_000, 14_000  # echoes of the two runs; after the fewer, everything has been specialised and cached


def missing() -> str:
    """What is wanting for a count, or nothing."""
    return "" if shutil.which("valgrind") else "valgrind is not here (Debian, Ubuntu: apt-get install valgrind)"


def per_echo(contender: Contender, tools: Tools, counts: tuple[int, int] = (FEW, MANY)) -> float:
    """Instructions that one echo costs `contender`, over all its threads."""
    few, many = (_executed(contender, tools, count) for count in counts)
    return (many - few) / (counts[1] - counts[0])


def _executed(contender: Contender, tools: Tools, echoes: int) -> int:
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *contender.command("echo")]
    with running(command, contender.name, contender.root, PYTHONHASHSEED="0") as server:
        with loading(tools.load_command(), server.port) as load:
            load.connect(CONNECTIONS)
            send_volleys(server, load, echoes)
            server.end()  # while all are connected: what it would still do at their end is a matter of luck
    return collected(server.said(), contender.name)


def send_volleys(server: ServerProcess, load: Load, echoes: int) -> None:
    """So many echoes, all that the connections allow in each turn of the server's loop."""
    for _ in range(echoes // CONNECTIONS):
        server.stop()
        load.volley(MESSAGE_BYTES, server.go_on)


def collected(said: str, name: str) -> int:
    """The total of callgrind's last words: "==PID== Collected : 365902301"."""
    found = re.search(r"^==\d+== Collected : (\d+)$", said, re.MULTILINE)
    if not found:
        last = (said.strip().splitlines() or ["nothing"])[-1]
        raise MeasurementError(f"valgrind counted nothing for {name}; its last word: {last!r}")
    return int(found[1])


def relative(counts: dict[str, float]) -> float:
    """Ours relative to asyncio's Protocol."""
    return counts[OURS] / counts[BASE]

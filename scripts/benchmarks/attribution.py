"""Where an echo's instructions go, by Python function of our data path.

There were three ways to find out. The first measures the path in growing pieces (the poll alone, then with the
receive, then with the callback, ...). It needs a second copy of the path, cut into pieces, and that copy is out of
date after the first change of the original. The second runs Python's own profiler under valgrind. It counts the
profiler too, and slows some functions more than others. We use the third: a hook in C for each call of a Python
function (PEP 523), which makes callgrind write its counters and reset them. The program need not be changed, and
nothing is missed: the parts add up to the whole.

The hook has a price: with it, each call from Python to Python goes through C, which costs the same few hundred
instructions every time. The exact number follows from the whole, which is also counted without the hook
(`instructions`): the surplus of the parts, divided by the number of calls. It is subtracted for each call, so that
the table adds up to the undisturbed count. It is printed, too.

An instruction belongs to the innermost Python function, even if a C function executes it. For the C functions that
make system calls, their share is shown beside it. Freeing the local variables of a function counts for its caller,
because CPython frees them after the return.
"""

from __future__ import annotations

import pathlib
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field

from .contenders import BIND, SERVERS, Contender
from .generator import Tools, loading
from .instructions import CONNECTIONS, ECHO, send_volleys
from .processes import MeasurementError, running

MARKER = "Echo.data_received"  # called once for each echo
ECHOES = 150  # recorded; more would show the same
HERE = pathlib.Path(__file__).resolve().parent
# The C functions behind the methods that make system calls, by their names in CPython's sources.
SYSTEM = {
    "sock_recv": "recv", "sock_recv_into": "recv_into", "sock_send": "send", "sock_sendmsg": "sendmsg",
    "select_epoll_poll": "epoll.poll", "select_epoll_modify": "epoll.modify",
    "time_monotonic": "monotonic",
}  # fmt: skip


@dataclass
class Part:
    """What one Python function costs in one echo."""

    name: str
    calls: float = 0.0
    instructions: float = 0.0
    system: dict[str, float] = field(default_factory=dict)  # the part of the instructions in these C functions, by name


def parts(contender: Contender, python: str, tools: Tools, undisturbed: float) -> tuple[list[Part], float]:
    """The functions of `contender`, which must be ours, by cost; and what the hook added to each call."""
    record = _recorded(contender, python, tools)
    with record.open() as lines:
        found = attribute(lines, ECHOES)
    calls = sum(part.calls for part in found)
    overhead = (sum(part.instructions for part in found) - undisturbed) / calls
    for part in found:
        part.instructions -= overhead * part.calls
    return sorted(found, key=lambda part: -part.instructions), overhead


def missing(tools: Tools, python: str) -> str:
    """What is missing for a profile, or ""."""
    if tools.compiler is None:
        return "it needs a C compiler"
    absent = []
    for header in ("valgrind/callgrind.h", "Python.h"):
        command = [tools.compiler, "-E", "-x", "c", f"-I{_include(python)}", "-"]
        if subprocess.run(command, input=f"#include <{header}>\n", capture_output=True, text=True).returncode:
            absent.append(header)
    return f"it needs {' and '.join(absent)} (Debian, Ubuntu: valgrind, python3-dev)" if absent else ""


def _include(python: str) -> str:
    question = "import sysconfig; print(sysconfig.get_path('include'))"
    return subprocess.run([python, "-c", question], capture_output=True, text=True, check=True).stdout.strip()


def _recorded(contender: Contender, python: str, tools: Tools) -> pathlib.Path:
    folder, record = tools.path("attribution"), tools.path("attribution.callgrind")
    folder.mkdir(exist_ok=True)
    record.unlink(missing_ok=True)
    tools.built(HERE / "attribution.c", "-shared", "-fPIC", f"-I{_include(python)}", name="attribution/attribution.so")
    valgrind = ["valgrind", "--tool=callgrind", "--combine-dumps=yes", f"--callgrind-out-file={record}"]
    window = [str(folder), MARKER, str(ECHO.few), str(ECHOES)]
    server = [python, str(SERVERS / "attributed.py"), *window, "serve", "echo", *BIND]
    # Writing the record blocks the loop. The report of that would cost more than the echoes, so it is switched off.
    command = [*valgrind, *server, "--blocked-seconds", "inf"]
    with running(command, contender.name, contender.root, PYTHONHASHSEED="0") as process:
        with loading(tools.load_command(), process.port) as load:
            load.connect(CONNECTIONS)
            send_volleys(process, load, ECHO, ECHO.few + ECHOES + 2 * CONNECTIONS)
            process.end()
    return record


def attribute(lines: Iterator[str], echoes: int) -> list[Part]:
    """Parse a callgrind record whose parts were triggered by `attribution.c`; every number is for one echo."""
    found: dict[str, Part] = {}
    names: dict[str, str] = {}  # callgrind writes each name once, and later only its number
    part: Part | None = None
    called = ""  # the C function that the next line gives the inclusive cost of
    for line in lines:
        if line.startswith("desc: Trigger:"):
            trigger = re.match(r"desc: Trigger: Client Request: (.+)", line)
            name = trigger[1].strip() if trigger else ""
            part = found.setdefault(name.rstrip(">"), Part(name.rstrip(">"))) if name else None
            if part and not name.endswith(">"):
                part.calls += 1 / echoes
        elif line.startswith("summary:") and part:
            part.instructions += int(line.split()[1]) / echoes
        elif line.startswith(("fn=", "cfn=")):
            _, number, name = re.split(r"[()]", line, maxsplit=2)
            if name.strip():
                names[number] = name.strip()
            function = SYSTEM.get(names[number], "") if line.startswith("cfn=") else ""
        elif line.startswith("calls="):
            called = function
        elif called and part:
            part.system[called] = part.system.get(called, 0.0) + int(line.split()[-1]) / echoes
            called = ""
    if not found:
        raise MeasurementError(f"callgrind recorded no part of {echoes} echoes: is {MARKER} still called?")
    return list(found.values())

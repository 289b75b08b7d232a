"""What a server does before it answers: measured by its system calls, not by a clock.

Some rows ask whether one client must wait because of another. On a shared machine seconds cannot tell: a process that
is switched away loses some milliseconds, a hundred times the time of an answer. But a client waits for what the
server does first, and that can be counted: how many connections it accepts, how many bytes it reads.

So the server is stopped. While it stands still, the trouble and the question are put into the kernel, in that order.
Then strace attaches, and the server continues. Its system calls from there to the answer are what came between. They
are the same however busy the machine is. This works with any server, also with one that uses threads.
"""

from __future__ import annotations

import pathlib
import re
import signal
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from tests.failures.adapter import Server
from tests.failures.clients import frozen
from tests.failures.injection import ACCEPTS, RECEIVES, SENDS, injected

READS = f"read,readv,{RECEIVES}"
WRITES = f"write,writev,{SENDS}"
TRACED = f"{ACCEPTS},{READS},{WRITES}"


class Call(NamedTuple):
    """A system call that has returned."""

    name: str
    arguments: str  # as strace shows them; of data, the first 32 bytes
    result: int


def calls_from_standstill(
    server: Server, folder: pathlib.Path, trouble: Callable[[], object], until: Callable[[], object]
) -> list[Call]:
    """Stop `server`, make `trouble`, and let it continue; return its calls until `until` returns, or a few more.

    These are the calls of all its threads that accept, read and write.
    """
    with frozen(server):
        trouble()
        with injected(server.pid, folder, trace=TRACED) as tracing:
            server.send_signal(signal.SIGCONT)
            until()
    return list(parsed(tracing.lines()))


def parsed(lines: Iterable[str]) -> Iterator[Call]:
    """The calls in the order in which they returned, and then those that had not returned when strace detached.

    A call that another thread interrupts is shown in two lines.
    """
    begun: dict[str, str] = {}
    for line in lines:
        thread, _, text = line.partition(" ")
        text = text.strip()
        if resumed := re.match(r"<\.\.\. \w+ resumed>", text):
            text = begun.pop(thread, "") + text[resumed.end() :]
        if whole := re.match(r"(\w+)\((.*)\)\s+= (-?\d+)", text):
            yield Call(whole[1], whole[2], int(whole[3]))
        elif cut := re.match(r"(\w+\(.*)<(unfinished|detached) ", text):
            begun[thread] = cut[1]
    for text in begun.values():
        name, _, arguments = text.partition("(")
        yield Call(name, arguments, 0)


def before_answers(calls: Iterable[Call], answer: str, count: int = 1) -> Iterator[Call]:
    """The calls before the one that writes the last of `count` answers; each answer begins with `answer`."""
    for call in calls:
        if call.name in WRITES.split(",") and f'"{answer}' in call.arguments:
            count -= 1
            if not count:
                return
        yield call
    raise AssertionError("strace has not seen the answer leave")


def accepted(calls: Iterable[Call]) -> int:
    """How many connections were accepted."""
    return sum(call.name in ACCEPTS.split(",") and call.result >= 0 for call in calls)


def read_bytes(calls: Iterable[Call], begin: str) -> int:
    """How many bytes were read by calls whose data begins with `begin`."""
    return _bytes(calls, READS, begin)


def written_bytes(calls: Iterable[Call], begin: str) -> int:
    """How many bytes were written by calls whose data begins with `begin`."""
    return _bytes(calls, WRITES, begin)


def _bytes(calls: Iterable[Call], names: str, begin: str) -> int:
    of_these = (call for call in calls if call.name in names.split(",") and f'"{begin}' in call.arguments)
    return sum(max(0, call.result) for call in of_these)

"""The failures by their ids, and where each is handled in the code and tested.

An id in a comment is useful only if a reader can look it up in this tree. So `scripts/readme_tables.py` makes the
table in README.md beside this file, from the texts here and from the files that cite an id. A test checks that the
two agree.
"""

from __future__ import annotations

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
ID = re.compile(r"\b[ARWELCP][1-9]\d?\b")
NOT_IDS = {"C1": "tests/service/test_log.py"}  # a block of control characters has the same name

# By id: the trouble, and what must be seen.
FAILURES: dict[str, tuple[str, str]] = {
    "A1": ("the process is out of descriptors, and more clients come",
           "connected clients are served, the loop does not spin, the log gets at most a line a second; "
           "newcomers are accepted as soon as a descriptor is free"),
    "A2": ("`accept` fails because memory or buffers are missing", "the listener rests, and tries again later"),
    "A3": ("`accept` fails because one newcomer has gone", "the next one is accepted in the same iteration"),
    "A4": ("2,000 clients connect at once",
           "they are accepted in portions, and connected clients are served in between"),
    "A5": ("more clients than places, in all or from one peer",
           "they wait in the kernel's queue or are refused at once, as the program has chosen"),
    "A6": ("the server ends between a client's connect and its accept", "the client sees an end, and nothing leaks"),
    "A7": ("the path of a UNIX socket exists",
           "a path that a dead server left is replaced; the path of a living server is not touched, and one line"
           " says so; at the end only our own path is removed"),
    "A8": ("port 0 for IPv4 and IPv6 together", "both get the same port, and it is shown"),
    "A9": ("`epoll_ctl` fails for a listener",
           "at the start, an error of one line; later, the listener rests and is tried again"),
    "A10": ("a descriptor is given twice, or is one of the loop's own", "an error of one line, status 2"),
    "R1": ("a client writes without a pause", "one receive in an iteration: the other clients are served in between"),
    "R2": ("a megabyte of frames of one byte", "at most `frames_per_iteration` frames in an iteration"),
    "R3": ("a frame that trickles in, a byte now and then",
           "the deadline of the frame ends the connection, even if bytes keep coming"),
    "R4": ("a frame longer than the limit", "it is not kept; only this connection ends, and the client can see why"),
    "R5": ("a peer leaves while its input is not read", "it is noticed, without spinning"),
    "R6": ("EINTR, EAGAIN and single bytes out of any system call", "every byte right, and in order"),
    "R7": ("a callback takes longer than a deadline, and input lies in the kernel",
           "the input is read before a deadline ends any connection"),
    "R8": ("there is no memory to receive with", "only that connection ends"),
    "W1": ("a client asks for much, and never reads",
           "the program is asked to pause; if it goes on writing, the connection ends"),
    "W2": ("the same by `writelines`", "the same"),
    "W3": ("an empty piece is written, then the connection is closed", "the connection closes"),
    "W4": ("writes to a connection that has ended", "they are dropped and counted; no exception, one line"),
    "W5": ("many slow readers, each within its own mark", "all buffers together have a budget: the largest ends first"),
    "W6": ("for a long time the kernel takes no output", "the connection ends, reason `write_stalled`"),
    "W7": ("a callback writes to another connection, whose callback writes back",
           "all writes stay in order, without recursion"),
    "E1": ("the client ends its side, then reads a large reply", "every byte, then the end"),
    "E2": ("the same, and it reads late", "the same; the loop does not spin meanwhile"),
    "E3": ("the server answers and closes while the client still sends", "the client reads the whole reply"),
    "E4": ("the server closes, and the client never reads", "ended by a deadline, reason `close_timeout`"),
    "E5": ("a reset after the client's end", "the program is told at once"),
    "E6": ("a callback closes itself, another one, the listener or the loop",
           "each ends once, and no callback comes after its end"),
    "E7": ("in one batch, a connection closes another, and a newcomer gets the number of its descriptor",
           "the newcomer never sees an event of the old connection"),
    "E8": ("many short connections, closed twice and collected", "no byte ever gets to another connection"),
    "E9": ("a callback or the protocol's factory raises", "only that connection ends, with one line and the traceback"),
    "E10": ("connections come, or are opened, while a server drains", "the server ends at `drain_seconds`"),
    "E11": ("a drain, and a reply that takes long to read",
           "every byte arrives; lingering counts from our own FIN; a reply that is cut is counted, and its "
           "client sees a reset"),
    "E12": ("a drain, and a reply that is not made yet", "the drain waits for it, within `drain_seconds`"),
    "L1": ("Ctrl-C at any moment", "`run` leaves between two iterations, and can be run again; nothing leaks"),
    "L2": ("a flood of signals and wake-ups, then SIGTERM", "SIGTERM is seen; the pipe neither blocks nor grows"),
    "L3": ("a million timers, armed and called off", "memory stays flat, and no iteration takes long"),
    "L4": ("timers at odd times: NaN, infinity, the past, all the same", "NaN is refused; the others fire in order"),
    "L5": ("a fork inside a callback", "the parent goes on undisturbed; the child cannot use the loop"),
    "L6": ("a callback blocks the loop", "it is reported: which one, where, for how long"),
    "L7": ("SIGTERM while some clients are idle, some in mid-reply and one never reads",
           "idle ones end at once, replies are completed, and the server ends in time"),
    "L8": ("a second signal during the drain", "the server ends at once"),
    "C1": ("the first of several addresses does not answer",
           "the next one is tried after 250 ms; one deadline for all"),
    "C2": ("the queue of a UNIX socket is full", "the connect is tried again, within `connect_seconds`"),
    "C3": ("a fork while names are looked up", "the child can look names up"),
    "P1": ("the terminal goes away, is stopped, or does not block", "no client notices"),
    "P2": ("the process is stopped for long, and continues", "no connection is ended whose input lies in the kernel"),
    "P3": ("nothing reads the log; the disk is full", "the exit status stays the same"),
    "P4": ("no thread can be started", "an error of one line, or service without the thread; nothing leaks"),
    "P5": ("two loops with signals, closed in any order",
           "each gets its own signals; handlers and descriptor are given back"),
    "P6": ("a signal mask that was inherited", "the signals that we rely on are let through"),
    "P7": ("SIGHUP; a change of directory before the end", "a drain; the path of a UNIX socket is removed"),
    "P8": ("fewer descriptors than connections that the limits allow",
           "the soft limit is raised, or a line says what fits"),
    "P9": ("a callback that never returns, then two signals",
           "the second ends the process, and the log names the line"),
}  # fmt: skip


def citations(*folders: str) -> dict[str, list[str]]:
    """By id, the files below `folders` that cite it, as paths relative to the checkout."""
    found: dict[str, list[str]] = {}
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            if path == pathlib.Path(__file__).resolve():
                continue
            for cited in sorted(set(ID.findall(path.read_text()))):
                if NOT_IDS.get(cited) != name:
                    found.setdefault(cited, []).append(name)
    return found


def tests_named() -> dict[str, list[str]]:
    """By id, the tests of this folder that have it in their name."""
    found: dict[str, list[str]] = {}
    for path in sorted(pathlib.Path(__file__).parent.glob("test_*.py")):
        for name in re.findall(r"^def (test(?:_[a-z]\d+)+_\w+)", path.read_text(), re.MULTILINE):
            for cited in re.findall(r"_([a-z]\d+)(?=_)", re.sub(r"^(test(?:_[a-z]\d+)+_).*", r"\1", name)):
                found.setdefault(cited.upper(), []).append(name)
    return found


def failures() -> str:
    """The table: each id, its trouble, what must be seen, and where it is handled."""
    code, tests, named = citations("reactor"), citations("tests"), tests_named()
    rows = ["| id | trouble | what must be seen | in the code | tests |", "|---|---|---|---|---|"]
    for number, (trouble, right) in FAILURES.items():
        where = ", ".join(f"`{name.removeprefix('reactor/')}`" for name in code.get(number, []))
        shown = named.get(number) or [name.removeprefix("tests/") for name in tests.get(number, [])]
        rows.append(f"| {number} | {trouble} | {right} | {where} | {'<br>'.join(f'`{name}`' for name in shown)} |")
    return "\n".join(rows)

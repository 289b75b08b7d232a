"""What is measured: each row of the table is a function from one server to one figure.

A row gets a new server process and warms it up: an interpreter that specialises its code as it runs is slow at first,
and so are caches. Only then it measures what the server uses for a fixed number of messages. The figure is CPU time
per message, not messages per second: the second depends on the speed of the load, the first does not, and its inverse
is what one core can do.

Each of these functions is a generator that returns the figure. At each `yield` it is ready for its next turn, and the
other servers have theirs first (`rounds` says why). Counts and sizes, which do not vary with time, take a single
turn. So does the growth: its turns alternate between the processes of one server.

CPU time depends on the load in one way. A server that waits for its clients wakes up for a few messages; a busy one
takes fifty at once. So `busy`, the share of the time in which the server worked, stands beside each figure. Where it
is low, the load was the bottleneck, and the figure is too high.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from . import system_calls
from .contenders import Contender
from .generator import Load, Tools, loading
from .processes import MeasurementError, ServerProcess, Usage, allow_descriptors, running

KIB, MIB = 1 << 10, 1 << 20
TURNS = 30  # turns of a round; one takes some tens of milliseconds
WARM_UP_TURNS = 6
GROWTH_TURNS, GROWTH_WARM_UP_TURNS = 5, 2  # each of two messages a connection, or of 2,000 in all
FIREHOSE_TURNS = 6  # each quiet first, and then beside the firehose
LEAST_TICKS_SECONDS = 0.1  # of user and kernel time, for a usable ratio: they are counted in ticks of 10 ms
MESSAGE_BYTES = 64
FEW, MANY = 100, 9_000  # connections
STEPS = (10, FEW, 1_000, 3_000, MANY)  # numbers of connections at which the growth is measured, for the picture
GROWTH_MESSAGES = 2  # on each connection in each turn: for the first message, the caches are as others have left them
LINES, LINE_BYTES = 16, 16  # in a segment of the pipelined row
PING_PONG_CLIENTS = 50
FIREHOSE_BYTES = 64 * KIB
CHURNING_AT_ONCE = 10
SELDOM = 0.005  # calls per message; those that are rarer are not named
PERCENTILES = ("p50", "p90", "p99", "p99.9", "max")


Prepare = Callable[[Load], None]  # before the first message
Run = Callable[[Load, int], dict[str, float]]  # send so many messages to the server; return what the load reports


@dataclass
class Sample:
    """One figure, and what else was seen. Shares are from 0 to 1. With turns, the figure is their median."""

    value: float
    kernel_share: float | None = None  # of the CPU time
    busy: float | None = None
    waited: float | None = None
    details: dict[str, Any] = field(default_factory=dict)
    turns: list[float] = field(default_factory=list)


Measurement = Generator[None, None, Sample]


@dataclass(frozen=True)
class Setting:
    """What a row needs to measure one server."""

    contender: Contender
    tools: Tools
    scale: float = 1.0  # of all message counts: less is faster and rougher
    most_connections: int = MANY

    def count(self, messages: int) -> int:
        """`messages`, scaled."""
        return max(10, int(messages * self.scale))


@dataclass(frozen=True)
class Row:
    """A line of the table. `unit` is that of the figure; `rounds` is how often it is worth measuring at most."""

    key: str
    title: str
    unit: str
    measure: Callable[[Setting], Measurement]
    rounds: int = 1_000
    is_ratio: bool = False  # the row compares a server with itself, so the figure needs no other server


class Meter:
    """A server, a way to send messages to it, and what it uses for them, turn by turn."""

    def __init__(self, server: ServerProcess, run: Callable[[int], dict[str, float]], count: int) -> None:
        self._server = server
        self._run = run
        self._count = count  # of messages in each turn
        self._seconds = 0.0
        self._used = Usage(0.0, 0.0, 0.0, 0.0)
        self.turns: list[float] = []  # CPU microseconds per message

    def warm_up(self, turns: int) -> None:
        """Send the messages of so many turns, without measuring."""
        self._run(turns * self._count)
        self._server.usage(at_rest=True)

    def take_turn(self) -> None:
        """Measure the messages of one turn. What the server uses between its turns does not count."""
        before = self._server.usage()
        self._seconds += self._run(self._count)["seconds"]
        used = self._server.usage(at_rest=True) - before
        self._used += used
        self.turns.append(used.cpu / self._count * 1e6)

    def sample(self) -> Sample:
        """What was measured so far."""
        used = self._used
        ticks = used.user + used.kernel
        kernel_share = used.kernel / ticks if ticks >= LEAST_TICKS_SECONDS else None
        busy = min(1.0, (used.cpu + used.waited) / self._seconds)
        value = statistics.median(self.turns)
        return Sample(value, kernel_share, busy, used.waited / self._seconds, turns=self.turns)


def _cpu_per_message(setting: Setting, program: str, messages: int, prepare: Prepare, run: Run) -> Measurement:
    """The server's CPU microseconds per message, with so many messages a turn, in turns with the other servers."""
    contender, tools = setting.contender, setting.tools
    with running(contender.command(program), contender.name, contender.root) as server:
        with loading(tools.load_command(), server.port) as load:
            prepare(load)
            meter = Meter(server, functools.partial(run, load), setting.count(messages))
            meter.warm_up(WARM_UP_TURNS)
            for _ in range(TURNS):
                yield
                meter.take_turn()
            return meter.sample()


def _echo(setting: Setting, *, connections: int, messages: int, size: int) -> Measurement:
    return _cpu_per_message(
        setting, "echo", messages, lambda load: load.connect(connections), lambda load, count: load.echo(count, size)
    )


def _lines(setting: Setting) -> Measurement:
    return _cpu_per_message(setting, "lines", 400, lambda load: load.connect(FEW), _send_lines)


def _churn(setting: Setting) -> Measurement:
    return _cpu_per_message(
        setting,
        "echo",
        300,
        lambda load: None,
        lambda load, count: load.churn(count, MESSAGE_BYTES, CHURNING_AT_ONCE),
    )


def _send_lines(load: Load, count: int) -> dict[str, float]:
    return load.echo(count, LINES * LINE_BYTES, LINE_BYTES)


def _growth(setting: Setting) -> Measurement:
    """CPU per echo with the most connections, relative to that with 100; and with the numbers between.

    There is a process for each number of connections. They take turns, so what is compared lies within a second.
    """
    contender, tools = setting.contender, setting.tools
    steps = sorted({min(step, setting.most_connections) for step in STEPS})
    meters: dict[int, Meter] = {}
    yield
    with ExitStack() as stack:
        for connections in steps:
            server = stack.enter_context(running(contender.command("echo"), contender.name, contender.root))
            load = stack.enter_context(loading(tools.load_command(), server.port))
            load.connect(connections)
            count = max(setting.count(2_000), GROWTH_MESSAGES * connections)
            meter = meters[connections] = Meter(server, functools.partial(_send_echoes, load), count)
            meter.warm_up(GROWTH_WARM_UP_TURNS)
        for _ in range(GROWTH_TURNS):
            for meter in meters.values():
                meter.take_turn()
    samples = {connections: meter.sample() for connections, meter in meters.items()}
    base, last = samples[min(FEW, steps[-1])], samples[steps[-1]]
    busy, waited = min(base.busy or 0.0, last.busy or 0.0), max(base.waited or 0.0, last.waited or 0.0)
    microseconds = {str(connections): sample.value for connections, sample in samples.items()}
    details = {"connections": steps[-1], "microseconds": microseconds}
    growth = [after / before for after, before in zip(last.turns, base.turns, strict=True) if before > 0]
    if not growth:
        raise MeasurementError("the server was not seen to use any CPU time: take more messages")
    return Sample(statistics.median(growth), last.kernel_share, busy, waited, details)


def _memory(setting: Setting) -> Measurement:
    """Resident bytes for each additional connection, idle after one echo."""
    contender, tools = setting.contender, setting.tools
    yield
    first = min(FEW, setting.most_connections // 2)
    with running(contender.command("echo"), contender.name, contender.root) as server:
        with loading(tools.load_command(), server.port) as load:
            load.connect(first)
            load.echo(10 * first, MESSAGE_BYTES)
            before = server.resident_bytes()
            load.connect(setting.most_connections)
            load.echo(setting.most_connections, MESSAGE_BYTES)
            added = setting.most_connections - first
            return Sample((server.resident_bytes() - before) / added, details={"connections": setting.most_connections})


def _firehose(setting: Setting) -> Measurement:
    """The ping-pong clients' p99 beside a firehose, relative to quiet; and the throughput of the firehose.

    The second figure guards the first: a server that starves the firehose has the best latencies. All figures are
    medians over the turns.
    """
    contender, command = setting.contender, setting.tools.load_command()
    count = setting.count(2_000)
    quiet: list[dict[str, float]] = []
    beside: list[dict[str, float]] = []
    hosed: list[float] = []
    with running(contender.command("echo"), contender.name, contender.root) as server:
        with loading(command, server.port) as clients, loading(command, server.port, humble=True) as hose:
            clients.connect(PING_PONG_CLIENTS)
            clients.echo(count, MESSAGE_BYTES)
            for _ in range(FIREHOSE_TURNS):
                yield
                quiet.append(clients.echo(count, MESSAGE_BYTES))
                hose.start_firehose(FIREHOSE_BYTES)
                clients.echo(count // 5, MESSAGE_BYTES)
                beside.append(clients.echo(count, MESSAGE_BYTES))
                told = hose.stop_firehose()
                hosed.append(told["bytes"] / told["seconds"])
                server.usage(at_rest=True)  # the rest of its work must not fall into the next turn
    details = {
        "quiet": {name: statistics.median(turn[name] for turn in quiet) for name in PERCENTILES},
        "beside": {name: statistics.median(turn[name] for turn in beside) for name in PERCENTILES},
        "firehose_bytes_per_second": statistics.median(hosed),
    }
    ratios = [after["p99"] / before["p99"] for after, before in zip(beside, quiet, strict=True)]
    return Sample(statistics.median(ratios), details=details)


def _calls(setting: Setting, *, program: str, run: Run) -> Measurement:
    yield
    if not system_calls.is_available():
        raise MeasurementError("strace is not here")

    def at_many(load: Load, count: int) -> None:
        load.connect(FEW)
        run(load, count)

    few = setting.count(2_000)
    calls = system_calls.per_message(setting.contender, program, setting.tools, (few, 5 * few), at_many)
    often = {name: round(number, 4) for name, number in calls.items() if abs(number) >= SELDOM}
    return Sample(sum(calls.values()), details={"by_name": often})


def _send_echoes(load: Load, count: int) -> dict[str, float]:
    return load.echo(count, MESSAGE_BYTES)


ROWS = [
    Row("echo", f"CPU per echo, {FEW} connections, {MESSAGE_BYTES} bytes", "µs",
        functools.partial(_echo, connections=FEW, messages=2_000, size=MESSAGE_BYTES)),
    Row("calls", f"system calls per echo, {FEW} busy connections", "calls",
        functools.partial(_calls, program="echo", run=_send_echoes), rounds=1),
    Row("growth", f"growth of CPU per echo, {FEW} to {MANY:,} busy connections", "×", _growth, rounds=2,
        is_ratio=True),
    Row("memory", f"resident memory per idle connection after one echo, {MANY:,} connections", "bytes", _memory,
        rounds=2),
    Row("64KiB", "CPU per message of 64 KiB, 10 connections", "µs",
        functools.partial(_echo, connections=10, messages=300, size=64 * KIB)),
    Row("1MiB", "CPU per message of 1 MiB, 10 connections", "µs",
        functools.partial(_echo, connections=10, messages=20, size=MIB)),
    Row("lines", f"CPU per segment of {LINES} lines, line echo, {FEW} connections", "µs", _lines),
    Row("line calls", f"system calls per segment of {LINES} lines", "calls",
        functools.partial(_calls, program="lines", run=_send_lines), rounds=1),
    Row("churn", "CPU per connection: connect, one echo, close", "µs", _churn),
    Row("firehose", f"p99 of {PING_PONG_CLIENTS} ping-pong clients beside one firehose, relative to quiet", "×",
        _firehose, is_ratio=True),
]  # fmt: skip


def most_connections() -> int:
    """How many connections the descriptor limit allows, up to 9,000."""
    return allow_descriptors(MANY)

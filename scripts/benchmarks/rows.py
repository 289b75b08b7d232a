"""What is measured: each row of the table is a function from one server to one figure.

A row gets a server process that nobody has talked to yet, warms it up (an interpreter that specialises its code as
it runs is slow at first, and so are caches), and only then looks at what the server uses for a fixed number of
messages. CPU time per message, not messages per second: the second depends on the load's own speed, the first does
not, and its inverse is what one core can do.

It depends on the load in one way. A server that has to wait for its clients wakes up for a few messages where a busy
one takes fifty at once, so `busy`, the share of the time that it was working, stands beside each figure; where it
is low, the load was the bottleneck, and the figure is on the high side.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from . import system_calls
from .contenders import Contender
from .generator import Load, Tools, loading
from .processes import MeasurementError, ServerProcess, allow_descriptors, running

KIB, MIB = 1 << 10, 1 << 20
WARM_UP_SHARE = 0.2  # of the messages that are then measured
LEAST_WARM_UP = 200
LEAST_TICKS_SECONDS = 0.1  # of user and kernel time, for their ratio to mean anything: they come in ticks of 10 ms
MESSAGE_BYTES = 64
FEW, MANY = 100, 9_000  # connections
STEPS = (10, FEW, 1_000, 3_000, MANY)  # connections at which the growth is looked at, for the picture
LINES, LINE_BYTES = 16, 16  # a segment of the pipelined row
PING_PONG_CLIENTS = 50
FIREHOSE_BYTES = 64 * KIB
CHURNING_AT_ONCE = 10
SELDOM = 0.005  # calls per message that are not worth a name
PERCENTILES = ("p50", "p90", "p99", "p99.9", "max")


@dataclass
class Sample:
    """One figure, and what else was seen; shares are from 0 to 1."""

    value: float
    kernel_share: float | None = None  # of the CPU time
    busy: float | None = None
    waited: float | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """What a row needs to measure one server."""

    contender: Contender
    tools: Tools
    scale: float = 1.0  # of all message counts: less is quicker and rougher
    most_connections: int = MANY

    def count(self, messages: int) -> int:
        """So many messages, scaled."""
        return max(10, int(messages * self.scale))


@dataclass(frozen=True)
class Row:
    """A line of the table. `unit` is of the median; `rounds` bounds how often it is worth measuring."""

    key: str
    title: str
    unit: str
    measure: Callable[[Setting], Sample]
    rounds: int = 1_000
    is_ratio: bool = False  # compares a server with itself: its figure needs no other


def _cpu_per_message(
    server: ServerProcess, count: int, run: Callable[[int], dict[str, float]], warm_up: int = 0
) -> Sample:
    """Warm up, by `warm_up` messages at least; then the server's CPU microseconds for each of `count` of `run`'s."""
    run(max(warm_up, LEAST_WARM_UP, int(count * WARM_UP_SHARE)) if count > LEAST_WARM_UP else count)
    before = server.usage()
    told = run(count)
    used = server.usage() - before
    ticks, seconds = used.user + used.kernel, told["seconds"]
    kernel_share = used.kernel / ticks if ticks >= LEAST_TICKS_SECONDS else None
    busy = min(1.0, (used.cpu + used.waited) / seconds)
    return Sample(used.cpu / count * 1e6, kernel_share, busy, used.waited / seconds)


def _echo(setting: Setting, *, connections: int, messages: int, size: int) -> Sample:
    contender, tools = setting.contender, setting.tools
    with running(contender.command("echo"), contender.name, contender.root) as server:
        with loading(tools.load_command(), server.port) as load:
            load.connect(connections)
            return _cpu_per_message(server, setting.count(messages), lambda count: load.echo(count, size))


def _lines(setting: Setting) -> Sample:
    contender, tools = setting.contender, setting.tools
    with running(contender.command("lines"), contender.name, contender.root) as server:
        with loading(tools.load_command(), server.port) as load:
            load.connect(FEW)
            return _cpu_per_message(server, setting.count(10_000), lambda count: _send_lines(load, count))


def _send_lines(load: Load, count: int) -> dict[str, float]:
    return load.echo(count, LINES * LINE_BYTES, LINE_BYTES)


def _growth(setting: Setting) -> Sample:
    """CPU per echo at the most connections, relative to that at 100 of the same process; and all between."""
    contender, tools = setting.contender, setting.tools
    steps = sorted({min(step, setting.most_connections) for step in STEPS})
    samples: dict[int, Sample] = {}
    with running(contender.command("echo"), contender.name, contender.root) as server:
        with loading(tools.load_command(), server.port) as load:
            for connections in steps:
                load.connect(connections)
                count = max(setting.count(20_000), 2 * connections)
                samples[connections] = _cpu_per_message(
                    server, count, lambda number: load.echo(number, MESSAGE_BYTES), connections
                )
    base, last = samples[min(FEW, steps[-1])], samples[steps[-1]]
    busy, waited = min(base.busy or 0.0, last.busy or 0.0), max(base.waited or 0.0, last.waited or 0.0)
    microseconds = {str(connections): sample.value for connections, sample in samples.items()}
    details = {"connections": steps[-1], "microseconds": microseconds}
    return Sample(last.value / base.value, last.kernel_share, busy, waited, details)


def _memory(setting: Setting) -> Sample:
    """Resident bytes that each further connection adds, idle after one echo."""
    contender, tools = setting.contender, setting.tools
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


def _churn(setting: Setting) -> Sample:
    contender, tools = setting.contender, setting.tools
    with running(contender.command("echo"), contender.name, contender.root) as server:
        with loading(tools.load_command(), server.port) as load:
            return _cpu_per_message(
                server, setting.count(3_000), lambda count: load.churn(count, MESSAGE_BYTES, CHURNING_AT_ONCE)
            )


def _firehose(setting: Setting) -> Sample:
    """The ping-pong clients' p99 beside a firehose, relative to quiet; and what the firehose got meanwhile.

    The second keeps the first honest: a server that starves the firehose has the best of latencies.
    """
    contender, command = setting.contender, setting.tools.load_command()
    count = setting.count(20_000)
    with running(contender.command("echo"), contender.name, contender.root) as server:
        with loading(command, server.port) as clients, loading(command, server.port, humble=True) as hose:
            clients.connect(PING_PONG_CLIENTS)
            clients.echo(max(LEAST_WARM_UP, count // 5), MESSAGE_BYTES)
            quiet = clients.echo(count, MESSAGE_BYTES)
            hose.start_firehose(FIREHOSE_BYTES)
            clients.echo(max(LEAST_WARM_UP, count // 5), MESSAGE_BYTES)
            beside = clients.echo(count, MESSAGE_BYTES)
            told = hose.stop_firehose()
    details = {
        "quiet": {name: quiet[name] for name in PERCENTILES},
        "beside": {name: beside[name] for name in PERCENTILES},
        "firehose_bytes_per_second": told["bytes"] / told["seconds"],
    }
    return Sample(beside["p99"] / quiet["p99"], details=details)


def _calls(setting: Setting, *, program: str, run: Callable[[Load, int], object]) -> Sample:
    if not system_calls.is_available():
        raise MeasurementError("strace is not here")

    def at_many(load: Load, count: int) -> None:
        load.connect(FEW)
        run(load, count)

    few = setting.count(2_000)
    calls = system_calls.per_message(setting.contender, program, setting.tools, (few, 5 * few), at_many)
    often = {name: round(number, 4) for name, number in calls.items() if abs(number) >= SELDOM}
    return Sample(sum(calls.values()), details={"by_name": often})


def _send_echoes(load: Load, count: int) -> None:
    load.echo(count, MESSAGE_BYTES)


ROWS = [
    Row("echo", f"CPU per echo, {FEW} connections, {MESSAGE_BYTES} bytes", "µs",
        functools.partial(_echo, connections=FEW, messages=30_000, size=MESSAGE_BYTES)),
    Row("calls", f"system calls per echo, {FEW} busy connections", "calls",
        functools.partial(_calls, program="echo", run=_send_echoes), rounds=1),
    Row("growth", f"growth of CPU per echo, {FEW} to {MANY:,} busy connections", "×", _growth, rounds=2,
        is_ratio=True),
    Row("memory", f"resident memory per idle connection after one echo, {MANY:,} connections", "bytes", _memory,
        rounds=2),
    Row("64KiB", "CPU per message of 64 KiB, 10 connections", "µs",
        functools.partial(_echo, connections=10, messages=4_000, size=64 * KIB)),
    Row("1MiB", "CPU per message of 1 MiB, 10 connections", "µs",
        functools.partial(_echo, connections=10, messages=300, size=MIB)),
    Row("lines", f"CPU per segment of {LINES} lines, line echo, {FEW} connections", "µs", _lines),
    Row("line calls", f"system calls per segment of {LINES} lines", "calls",
        functools.partial(_calls, program="lines", run=_send_lines), rounds=1),
    Row("churn", "CPU per connection: connect, one echo, close", "µs", _churn),
    Row("firehose", f"p99 of {PING_PONG_CLIENTS} ping-pong clients beside one firehose, relative to quiet", "×",
        _firehose, is_ratio=True),
]  # fmt: skip


def most_connections() -> int:
    """How many connections the descriptor limit allows, 9,000 at most."""
    return allow_descriptors(MANY)

"""Leave a server running among honest and hostile clients, and check that afterwards it is what it was before.

A test takes a second, and in a second no leak is large enough to see: a few bytes kept of each connection, a
descriptor forgotten in one kind of ending, a loop that sometimes does not sleep. These kill a server after a week. So
here `python -m reactor serve echo` runs for minutes, under short limits and with many endings, in rounds of *load*:

  honest      clients that send on a schedule and check every byte (`scripts/run_clients.py`)
  hostile     slow readers, slowloris, clients that vanish in mid-message; and for a part of the time a firehose
  churn       clients that come and go in every possible way, and a burst of more than are admitted

and a *pause*, in which no client is connected. Under load much is excusable, in a pause nothing is. So it is judged
in the pauses:

  memory        VmRSS. The first round is warm-up. The median of the last third of the other pauses may be above
                that of the first third by 5 % or 1 MiB, whichever is more: a leak of some 20 bytes a connection shows
                in 10 minutes
  descriptors   as many in each pause as before the first client
  idle CPU      under 5 % of a core in each pause
  accounts      accepted == closed, by reason, + open, in each sample; none open in a pause; and as many accepted as
                the clients count, except those that were about to come again when a round ended

Also: never more than `max_connections`; each limit that had the time has acted; no honest client had an error; no
traceback is in the log; and SIGTERM, with idle clients connected, ends the server with status 0.

The cost: a quarter of a core, and a core and a half while the firehose runs. Linux alone, for /proc.

Exit status: 0 if all of that holds, 1 if not, with the same tables; 2 for options that cannot be used; 130 after
Ctrl-C, with the tables up to then.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

# Import the package, these scripts and the tests' helpers from this checkout.
ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts import output  # noqa: E402  # importable only from here on
from scripts.clients import descriptors  # noqa: E402
from scripts.clients.churn import Churn  # noqa: E402
from scripts.command_line import Parser  # noqa: E402
from scripts.soak_verdict import Findings, Pause, Sample, judge, render  # noqa: E402
from tests.support import ServerProcess, connect, exchange, receive_all, serving  # noqa: E402

CLIENTS = ROOT / "scripts" / "run_clients.py"
ROUND_SECONDS = 20.0
FEWEST_ROUNDS = 3  # one to warm up, and two to compare
SAMPLE_SECONDS = 3.0
PAUSE_SECONDS = 3.0
SHORTEST_PAUSE_SECONDS = 0.5  # that is 50 clock ticks; 5 % are two or three of them
SHORTEST_LOAD_SECONDS = 0.5
SETTLING_SECONDS = 20.0  # for the last connection to end: longer than any deadline below
ENDING_SECONDS = 2.0  # for a server to end after its output has ended
CLIENT_SECONDS = 20  # that an honest client waits for a byte: it may queue behind silent clients that take every place
CLIENTS_EXTRA_SECONDS = 60.0  # for the clients, longer than their schedule
MOST_MINUTES = 7 * 24 * 60

LIMITS: dict[str, float] = {
    "max_connections": 300,
    "max_connections_per_peer": 300,  # all clients have the same address
    "first_byte_seconds": 3,
    "idle_seconds": 4.5,  # below the 5 s between two bytes of a slowloris
    "write_stall_seconds": 3,
    "close_seconds": 3,
    "linger_seconds": 1,
    "output_hard_bytes": 4 << 20,
    "memory_bytes": 32 << 20,
}
# The reasons that must occur if the load of a round lasts longer than the limit by ACTING_EXTRA_SECONDS.
ACTING = {
    "first_byte_timeout": "first_byte_seconds",
    "idle_timeout": "idle_seconds",
    "write_stalled": "write_stall_seconds",
}
ACTING_EXTRA_SECONDS = 3.0

STEADY = {"connections": 60, "size": 256, "rate": 600, "slow-readers": 5, "slowloris": 10, "vanish": 10}
FLOOD = {"connections": 20, "size": 4096, "rate": 200, "firehose": 1}
FLOOD_SHARE = 0.2  # of the load's time: a firehose keeps a core and a half busy
CHURN_PER_SECOND = 100.0
BURST = 400
IDLE_CLIENTS = 20  # connected when SIGTERM comes


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the time is divided."""

    rounds: int
    load_seconds: float
    pause_seconds: float

    @classmethod
    def of(cls, minutes: float) -> Plan:
        """Rounds of about `ROUND_SECONDS`, but at least `FEWEST_ROUNDS`; in a short run the rounds are shorter."""
        rounds = max(FEWEST_ROUNDS, round(minutes * 60 / ROUND_SECONDS))
        each = minutes * 60 / rounds
        pause = min(PAUSE_SECONDS, max(SHORTEST_PAUSE_SECONDS, each / 5))
        return cls(rounds, max(SHORTEST_LOAD_SECONDS, each - pause), pause)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run with `arguments` (default: those of the process); return the exit status."""
    options = _parse(arguments)
    try:
        from tabulate import tabulate

        os.stat("/proc/self/status")
        if options.json:
            _check_writable(options.json)
        descriptors.make_room(2 * BURST)  # for this process and all that it starts, since they inherit it
    except (ImportError, OSError, ValueError) as exc:
        output.tell(f"soak: {_why_not(exc)}")
        return output.UNUSABLE
    findings = Findings(max_connections=int(LIMITS["max_connections"]))
    plan = Plan.of(options.minutes)
    interrupted = False
    try:
        soak(options.app, plan, findings)
    except AssertionError as exc:  # it never listened; its last line says why
        output.tell(f"soak: cannot serve {options.app}: {str(exc).strip().splitlines()[-1]}")
        return output.UNUSABLE
    except KeyboardInterrupt:
        interrupted = True
    checks = judge(findings)
    if options.json:
        figures = dataclasses.asdict(findings) | {"checks": [dataclasses.asdict(check) for check in checks]}
        try:
            options.json.write_text(json.dumps(figures, indent=1) + "\n")
        except OSError as exc:  # for example, the disk is full by now; the tables can still be shown
            output.tell(f"soak: cannot write {str(options.json)!r}: {exc.strerror}")
    output.show(render(findings, checks, tabulate))
    if interrupted:
        output.tell("soak: interrupted; these are the figures up to then")
        return output.INTERRUPTED
    return 0 if all(check.holds for check in checks) else 1


def _check_writable(path: pathlib.Path) -> None:
    """Raise OSError now and not after the run. The file stays as it is; a new one is empty."""
    try:
        path.open("a").close()
    except OSError as exc:
        raise OSError(f"cannot write {str(path)!r}: {exc.strerror}") from exc


def _why_not(exc: Exception) -> str:
    if isinstance(exc, ImportError):
        return "the tables need the package tabulate: use `make soak`, or `pip install tabulate`"
    if isinstance(exc, FileNotFoundError):
        return "memory and descriptors of a process are read from /proc, which this system does not have"
    return str(exc)


# The run.


def soak(app: str, plan: Plan, findings: Findings) -> None:
    """Run `app` through all rounds of `plan` and to its end, and write the observations into `findings`."""
    findings.reasons_expected = [
        reason for reason, limit in ACTING.items() if plan.load_seconds > LIMITS[limit] + ACTING_EXTRA_SECONDS
    ]
    began = time.monotonic()
    limits = [f"--{_option(name)}={value}" for name, value in LIMITS.items()]
    with serving(app, "--log-format=json", *limits, cwd=ROOT) as server:  # JSON has the statistics as they are
        try:
            _run_rounds(server, plan, findings)
            findings.exit_status = _end(server)
        except (AssertionError, OSError) as exc:  # it is gone, or does not answer
            findings.failure = _what_failed(server, exc)
        finally:
            findings.seconds = time.monotonic() - began
            findings.note_log(server.stderr.text)


def _what_failed(server: ServerProcess, exc: Exception) -> str:
    with contextlib.suppress(subprocess.TimeoutExpired):  # its output may end a moment before the process
        return f"the server ended with status {server.process.wait(ENDING_SECONDS)} in the middle"
    return f"the server is there, but {str(exc).partition(chr(10))[0] or type(exc).__name__}"


def _option(name: str) -> str:
    return name.replace("_", "-")


def _run_rounds(server: ServerProcess, plan: Plan, findings: Findings) -> None:
    findings.start = _sample(server)
    for number in range(1, plan.rounds + 1):
        _load(server, plan, findings)
        findings.pauses.append(_pause(server, plan.pause_seconds))
        _show_progress(number, plan, findings)


def _sample(server: ServerProcess) -> Sample:
    return Sample(server.statistics(), server.resident_bytes(), server.descriptors())


def _show_progress(number: int, plan: Plan, findings: Findings) -> None:
    pause = findings.pauses[-1]
    output.tell(
        f"round {number} of {plan.rounds}: {pause.statistics['accepted']:,} connections so far, then in the pause"
        f" {pause.resident_bytes / 2**20:.1f} MiB, {pause.descriptors} descriptors,"
        f" {pause.cpu_share:.1%} of a core; {sum(findings.honest_errors.values())} errors of honest clients"
    )


# Load.


def _load(server: ServerProcess, plan: Plan, findings: Findings) -> None:
    # After the burst, newcomers wait up to twice `first_byte_seconds` for a place. A short round has no time for that.
    burst = BURST if plan.load_seconds / 2 > 2 * LIMITS["first_byte_seconds"] else 0
    churn = Churn(server.address, per_second=CHURN_PER_SECOND, seconds=plan.load_seconds, burst=burst)
    flood_seconds = max(SHORTEST_LOAD_SECONDS, plan.load_seconds * FLOOD_SHARE)
    churn.start()
    try:
        with _clients(server, FLOOD, flood_seconds) as flood, _clients(server, STEADY, plan.load_seconds) as steady:
            for clients in (flood, steady):
                _count(_await(clients, server, plan, findings), findings)
    finally:
        churn.finish()
        findings.connected += churn.connected
        findings.honest_clients += churn.asked
        findings.note_errors(churn.errors)


@contextlib.contextmanager
def _clients(server: ServerProcess, load: dict[str, int], seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Clients that do `load` for so many seconds; killed if they still run when the block ends."""
    host, port = server.address
    messages = max(1, round(load["rate"] * seconds / load["connections"]))
    words = {"host": host, "port": port, "messages": messages, "timeout": CLIENT_SECONDS, **load}
    command = [sys.executable, str(CLIENTS), "--json", *(f"--{name}={value}" for name, value in words.items())]
    with contextlib.ExitStack() as stack:
        with _ctrl_c_waits():
            started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            clients = stack.enter_context(started)
            stack.callback(clients.wait)  # after Ctrl-C its own block would not wait
            stack.callback(clients.kill)
        yield clients


@contextlib.contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Delay Ctrl-C until the block ends: in the middle of a start it would leave a process that nothing ends."""
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


def _await(clients: subprocess.Popen[str], server: ServerProcess, plan: Plan, findings: Findings) -> dict[str, Any]:
    """Wait until `clients` are done, and sample the server meanwhile; return their report."""
    deadline = time.monotonic() + plan.load_seconds + CLIENTS_EXTRA_SECONDS
    while time.monotonic() < deadline:
        try:
            output, complaints = clients.communicate(timeout=min(SAMPLE_SECONDS, plan.load_seconds / 3))
        except subprocess.TimeoutExpired:
            findings.samples.append(_sample(server))
            continue
        if clients.returncode not in (0, 1):  # 1: a client was not complete, which the report says too
            raise OSError(f"the clients ended with status {clients.returncode}: {complaints.strip()[-200:]}")
        report: dict[str, Any] = json.loads(output)
        return report
    raise OSError(f"the clients were not done {CLIENTS_EXTRA_SECONDS:g} s after their time")


def _count(report: dict[str, Any], findings: Findings) -> None:
    hostile = report["hostile"]
    findings.connected += report["connected"] + sum(tally["connected"] for tally in hostile.values())
    findings.connected_at_most_more += STEADY["vanish"] if "vanish" in hostile else 0
    findings.honest_clients += report["connections"]
    findings.honest_messages += report["messages"]
    findings.note_errors(report["errors"])


# Pause.


def _pause(server: ServerProcess, seconds: float) -> Pause:
    """Wait until no client is connected, and sample the idle server."""
    deadline = time.monotonic() + SETTLING_SECONDS
    while server.statistics()["open"] and time.monotonic() < deadline:
        time.sleep(0.1)
    ticks, began = server.cpu_ticks(), time.monotonic()
    time.sleep(seconds)
    cpu_seconds = (server.cpu_ticks() - ticks) / os.sysconf("SC_CLK_TCK")
    cpu_share = cpu_seconds / (time.monotonic() - began)
    return Pause(**vars(_sample(server)), cpu_share=cpu_share)


def _end(server: ServerProcess) -> int:
    """Send SIGTERM while idle clients are connected; return the exit status, after each client has seen its end."""
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(connect(server.address)) for _ in range(IDLE_CLIENTS)]
        for client in idle:
            exchange(client, b"hello")
        server.send_signal(signal.SIGTERM)
        for client in idle:
            receive_all(client)
            client.close()
        return server.wait()


# The options.


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="soak",
        description="Leave an echo server running among honest and hostile clients, and see what becomes of it.",
    )
    parser.add_argument("--minutes", type=_minutes, default=10.0, metavar="N", help="how long, or a part of one (10)")
    parser.add_argument("--app", default="echo", help="as in `reactor serve APP`; anything that echoes (echo)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write all that was seen into FILE")
    return parser.parse_args(arguments)


def _minutes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= MOST_MINUTES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of minutes above 0, up to {MOST_MINUTES}")
    return value


if __name__ == "__main__":
    sys.exit(output.run("soak", main))

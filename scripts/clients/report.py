"""The results of a run: as numbers for a program, and as one page for a person.

Both say the same. The page is read from top to bottom: what went wrong, if anything did; the table; the verdict.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from scripts.output import fill

from .client import ERRORS, Outcome
from .hostile import Tally
from .swarm import Swarm
from .verdict import explanations, never_answered, verdict

QUANTILES = {"min": 0.0, "p50": 0.5, "p90": 0.9, "p99": 0.99, "p99_9": 0.999, "max": 1.0}
QUANTILE_WORDS = {
    "min": "the fastest answer",
    "p50": "p50: half of the answers took longer",
    "p90": "p90: one in 10 took longer",
    "p99": "p99: one in 100 took longer",
    "p99_9": "p99.9: one in 1,000 took longer",
    "max": "the slowest answer",
}
COLUMNS = 79


def summarize(swarm: Swarm) -> dict[str, Any]:
    """The figures of the run so far.

    `connected` counts the clients that the server's kernel accepted, `complete` those that got all their bytes back,
    `messages` and `bytes` what came back right. `seconds` go from the first message to the last right answer, so that
    a wait in vain at the end does not lower the rates. Latencies are in microseconds, None if there was no answer.
    `hostile` has a `Tally` for each kind of hostile client in the run. `served` is `complete` by its former name.
    """
    outcomes = swarm.outcome_counts()
    messages = len(swarm.latencies)
    size = sum(client.received for client in swarm.clients)
    seconds = swarm.latencies.latest_at - swarm.began_at if messages else 0.0
    latencies = swarm.latencies.quantiles(list(QUANTILES.values()))
    return {
        "connections": swarm.load.connections,
        "connected": len(swarm.clients),
        "complete": outcomes[Outcome.COMPLETE],
        "served": outcomes[Outcome.COMPLETE],
        "never_answered": sum(never_answered(client) for client in swarm.clients),
        "messages": messages,
        "bytes": size,
        "seconds": round(seconds, 6),
        "messages_per_second": round(messages / seconds, 1) if seconds else 0.0,
        "megabytes_per_second": round(size / seconds / 1e6, 3) if seconds else 0.0,
        "latency_us": {
            name: None if latency is None else round(latency * 1e6, 1)
            for name, latency in zip(QUANTILES, latencies, strict=True)
        },
        "errors": {error.value: outcomes[error] for error in ERRORS},
        "hostile": {kind: dataclasses.asdict(tally) for kind, tally in swarm.crowd.tallies.items()},
        "verdict": verdict(swarm),
    }


def render(swarm: Swarm, tabulate: Callable[..., str]) -> str:
    """The same for a person, in at most 80 columns: what went wrong, the table, the verdict."""
    rows = list(_rows(summarize(swarm), swarm.load.size))
    tables = [tabulate(rows, tablefmt="plain", colalign=("left", "right", "left"), disable_numparse=True)]
    if hostile := [_hostile_row(kind, tally) for kind, tally in swarm.crowd.tallies.items()]:
        tables.append(tabulate(hostile, headers="keys", intfmt=",", tablefmt="simple"))
    first = [fill(sentence, COLUMNS) for sentence in explanations(swarm)]
    return "\n\n".join([*first, *tables, fill(verdict(swarm), COLUMNS)])


def _rows(figures: dict[str, Any], size: int) -> Iterator[tuple[str, str, str]]:
    """The rows of the table: what, how many, of which kind. What did not happen has no row."""
    yield "connections", f"{figures['connections']:,}", "asked for"
    yield "", f"{figures['connected']:,}", "connected"
    yield "", f"{figures['complete']:,}", "complete: all that they sent came back"
    if figures["never_answered"]:
        yield "", f"{figures['never_answered']:,}", "never answered: not one byte came back"
    came = f"came back right, of {size:,} bytes each"
    if figures["messages"]:
        yield "messages", f"{figures['messages']:,}", f"{came}, in {_short(figures['seconds'])} seconds"
        megabytes = f"a second: {_short(figures['megabytes_per_second'])} MB a second"
        yield "", f"{figures['messages_per_second']:,.0f}", megabytes
    else:
        yield "messages", "0", came
    label = "latency µs"
    for name, microseconds in figures["latency_us"].items():
        if microseconds is not None:
            yield label, f"{microseconds:,.0f}", QUANTILE_WORDS[name]
            label = ""
    label = "errors"
    for name, count in figures["errors"].items():
        if count:
            yield label, f"{count:,}", name.replace("_", " ")
            label = ""
    if label:
        yield label, "0", ""


def _hostile_row(kind: str, tally: Tally) -> dict[str, Any]:
    return {
        "hostile": kind.replace("_", " "),
        "connected": tally.connected,
        "got EOF": tally.ended_by_eof,
        "reset": tally.ended_by_reset,
        "sent": _size(tally.bytes_sent),
        "received": _size(tally.bytes_received),
        "vanished": tally.vanished,
    }


def _short(number: float) -> str:
    """With three digits, or all those before the point."""
    return f"{number:,.0f}" if number >= 99.95 else f"{number:.3g}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 999.95:
            return f"{count:,.0f} B" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"

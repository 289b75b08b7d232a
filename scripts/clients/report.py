"""The results of a run: as numbers for a program, and as tables for a person.

Both say the same. The tables also explain figures that are easily misread, such as connections that the kernel
accepted and the server never saw.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Callable
from typing import Any

from .client import ERRORS, Client, Outcome
from .hostile import Tally
from .swarm import Swarm

QUANTILES = {"min": 0.0, "p50": 0.5, "p90": 0.9, "p99": 0.99, "p99_9": 0.999, "max": 1.0}
COLUMNS = 79


def summarize(swarm: Swarm) -> dict[str, Any]:
    """The figures of the run so far.

    `messages` and `bytes` count those that came back right. `seconds` go from the first message to the last right
    answer, so that a wait in vain at the end does not lower the rates. Latencies are in microseconds, None if there
    was no answer. `hostile` has a `Tally` for each kind of hostile client in the run.
    """
    outcomes = swarm.outcome_counts()
    messages = len(swarm.latencies)
    size = sum(client.received for client in swarm.clients)
    seconds = swarm.latencies.latest_at - swarm.began_at if messages else 0.0
    latencies = swarm.latencies.quantiles(list(QUANTILES.values()))
    return {
        "connections": swarm.load.connections,
        "connected": len(swarm.clients),
        "served": outcomes[Outcome.SERVED],
        "never_answered": sum(_never_answered(client) for client in swarm.clients),
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
    }


def render(swarm: Swarm, tabulate: Callable[..., str]) -> str:
    """The same as tables, in at most 80 columns, with explanations where they are needed."""
    figures = summarize(swarm)
    connections = {
        "connections": figures["connections"],
        "connected": figures["connected"],
        "served": figures["served"],
        "never answered": figures["never_answered"],
    }
    traffic = {
        "messages": figures["messages"],
        "bytes": figures["bytes"],
        "seconds": figures["seconds"],
        "messages/s": round(figures["messages_per_second"]),
        "MB/s": figures["megabytes_per_second"],
    }
    latencies = {"latency µs": ""} | {
        name.replace("_", "."): "-" if value is None else round(value)
        for name, value in figures["latency_us"].items()
    }
    errors = {"errors": sum(figures["errors"].values())} | {
        name.replace("_", " "): count for name, count in figures["errors"].items()
    }
    hostile = [_hostile_row(kind, tally) for kind, tally in swarm.crowd.tallies.items()]
    tables = [
        tabulate(rows, headers="keys", intfmt=",", floatfmt=",.3f", tablefmt="simple")
        for rows in ([connections], [traffic], [latencies], [errors], hostile)
        if rows
    ]
    meanings = [textwrap.fill(sentence, COLUMNS) for sentence in explanations(swarm)]
    return "\n\n".join(tables + meanings)


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


def explanations(swarm: Swarm) -> list[str]:
    """A sentence for each result that is easily misread."""
    said = [f"{_clients(count)} could not connect: {why}" for why, count in swarm.failures.most_common()]
    for (kind, why), count in swarm.crowd.failures.most_common():
        said.append(f"{_clients(count)} of {kind.replace('_', ' ')} could not connect: {why}")
    if undecided := swarm.outcomes[Outcome.TIMED_OUT]:
        said.append(
            f"{_clients(undecided)} got no answer to the connect: the server's accept queue is full, or"
            " something on the way drops what comes"
        )
    unanswered = [client for client in swarm.clients if _never_answered(client)]
    silent = sum(client.outcome in (None, Outcome.TIMED_OUT) for client in unanswered)
    served = swarm.outcome_counts()[Outcome.SERVED]
    if silent and served:
        said.append(
            f"{_clients(served)} {_were(served)} served; {silent:,} {_were(silent)} accepted by the kernel and"
            " never answered: they wait in the server's accept queue"
        )
    elif silent:
        said.append(
            f"{_clients(silent)} {_were(silent)} accepted by the kernel and never answered: they wait in the"
            " server's accept queue, or it takes them and does not echo"
        )
    return said


def _never_answered(client: Client) -> bool:
    """Whether it was connected and not one byte came back, right or wrong."""
    had_its_chance = client.outcome is not None or client.due > 0
    return had_its_chance and not client.received and client.outcome is not Outcome.MISMATCHED


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 999.95:
            return f"{count:,.0f} B" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"


def _clients(count: int) -> str:
    return "1 client" if count == 1 else f"{count:,} clients"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"

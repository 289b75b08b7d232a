"""What a soak saw, and whether it is good: the laws of `scripts/soak.py` as plain functions of numbers.

The judge is separate from the run, because it must be shown that it can say no. A soak of a good server always says
yes, so a mistake in a comparison would go unnoticed for years. Tests give this file made-up samples of a server that
leaks.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

MIB = 1 << 20
MEMORY_SHARE = 0.05  # memory may grow by this share: allocators keep some of what they had
MEMORY_BYTES = 1 * MIB  # or by so much, if that is more: 5 % of a process of 18 MiB is less
WARM_UP_ROUNDS = 1
IDLE_SHARE = 0.05
ROWS = 10  # of pauses that are shown, evenly spread


@dataclasses.dataclass
class Sample:
    """One look at the server."""

    statistics: dict[str, Any]  # `Server.statistics` of the server
    resident_bytes: int
    descriptors: int


@dataclasses.dataclass
class Pause(Sample):
    """A sample while no client is connected, and the share of a core that the server took meanwhile."""

    cpu_share: float


@dataclasses.dataclass
class Findings:
    """All that a soak saw."""

    max_connections: int
    start: Sample | None = None
    samples: list[Sample] = dataclasses.field(default_factory=list)
    pauses: list[Pause] = dataclasses.field(default_factory=list)
    reasons_expected: list[str] = dataclasses.field(default_factory=list)  # for closing, which must have occurred
    connected: int = 0  # connections that the clients count
    connected_at_most_more: int = 0  # those that were being made when their clients stopped counting
    honest_clients: int = 0
    honest_messages: int = 0
    honest_errors: dict[str, int] = dataclasses.field(default_factory=dict)  # how many of each kind
    warnings: int = 0  # lines of the log
    complaints: list[str] = dataclasses.field(default_factory=list)  # lines of the log that must not be there
    exit_status: int | None = None
    failure: str = ""  # why the run was not completed
    seconds: float = 0.0

    def note_errors(self, errors: dict[str, int]) -> None:
        """Add the errors of honest clients to the sum."""
        for kind, count in errors.items():
            if count:
                self.honest_errors[kind] = self.honest_errors.get(kind, 0) + count

    def note_log(self, log: str) -> None:
        """Search the whole log of the server."""
        lines = log.splitlines()
        self.warnings = sum(" WARNING " in line for line in lines)
        self.complaints = [line for line in lines if " ERROR " in line or line.startswith("Traceback ")]

    def all_samples(self) -> list[Sample]:
        """The samples under load, and those of the pauses."""
        return [*self.samples, *self.pauses]


@dataclasses.dataclass
class Check:
    """One law, whether it holds, and what was seen."""

    law: str
    holds: bool
    seen: str


def judge(findings: Findings) -> list[Check]:
    """Check the findings against every law. A law about something that was never seen does not hold."""
    laws = (
        _memory, _descriptors, _idle_cpu, _accounts, _admission, _limits_acted, _honest_clients, _log, _exit,
    )  # fmt: skip
    return [law(findings) for law in laws]


def _memory(findings: Findings) -> Check:
    law = f"memory in the pauses grows by at most {MEMORY_SHARE:.0%} or {MEMORY_BYTES // MIB} MiB"
    sizes = [pause.resident_bytes for pause in findings.pauses[WARM_UP_ROUNDS:]]
    if len(sizes) < 2:
        return Check(law, False, "too few pauses to compare")
    third = max(1, len(sizes) // 3)
    before, after = statistics.median(sizes[:third]), statistics.median(sizes[-third:])
    holds = after - before <= max(MEMORY_SHARE * before, MEMORY_BYTES)
    return Check(law, holds, f"{before / MIB:.2f} MiB, then {after / MIB:.2f} MiB: {(after - before) / MIB:+.2f} MiB")


def _descriptors(findings: Findings) -> Check:
    law = "in each pause as many descriptors as at the start"
    if findings.start is None or not findings.pauses:
        return Check(law, False, "never looked at")
    counts = sorted({pause.descriptors for pause in findings.pauses})
    seen = f"{findings.start.descriptors} at the start, then {', '.join(map(str, counts))}"
    return Check(law, counts == [findings.start.descriptors], seen)


def _idle_cpu(findings: Findings) -> Check:
    law = f"in each pause less than {IDLE_SHARE:.0%} of a core"
    if not findings.pauses:
        return Check(law, False, "never looked at")
    most = max(pause.cpu_share for pause in findings.pauses)
    return Check(law, most < IDLE_SHARE, f"{most:.1%} at most")


def _accounts(findings: Findings) -> Check:
    """Compare the server's own counts with each other and with the counts of the clients."""
    law = "every connection is accounted for, and none is open in a pause"
    if not findings.pauses:
        return Check(law, False, "never looked at")
    last = findings.pauses[-1].statistics
    told, most = findings.connected, findings.connected + findings.connected_at_most_more
    seen = f"{last['accepted']:,} accepted; the clients know of {told:,} to {most:,}"
    unbalanced = sum(not _is_balanced(sample.statistics) for sample in findings.all_samples())
    left_open = max(pause.statistics["open"] for pause in findings.pauses)
    if unbalanced:
        seen += f"; the sums differ in {unbalanced} samples"
    if left_open:
        seen += f"; {left_open} were open in a pause"
    return Check(law, not unbalanced and not left_open and told <= last["accepted"] <= most, seen)


def _is_balanced(counts: dict[str, Any]) -> bool:
    return bool(counts["accepted"] + counts["connected"] == sum(counts["closed"].values()) + counts["open"])


def _admission(findings: Findings) -> Check:
    law = f"never more than {findings.max_connections} connections at once"
    most = max((sample.statistics["open"] for sample in findings.all_samples()), default=None)
    return Check(law, most is not None and most <= findings.max_connections, f"{most} at most")


def _limits_acted(findings: Findings) -> Check:
    """A limit that never acted was not tested."""
    law = "every limit that had the time to act has acted"
    if not findings.pauses:
        return Check(law, False, "never looked at")
    closed = findings.pauses[-1].statistics["closed"]
    seen = ", ".join(f"{closed[reason]:,} {reason}" for reason in findings.reasons_expected)
    return Check(law, all(closed[reason] for reason in findings.reasons_expected), seen or "none had the time")


def _honest_clients(findings: Findings) -> Check:
    errors = ", ".join(f"{count:,} {kind}" for kind, count in findings.honest_errors.items())
    seen = f"{findings.honest_clients:,} clients, {findings.honest_messages:,} messages: {errors or 'none'}"
    return Check("no error of an honest client", findings.honest_clients > 0 and not errors, seen)


def _log(findings: Findings) -> Check:
    seen = f"{findings.warnings} warnings, {len(findings.complaints)} errors and tracebacks"
    if findings.complaints:
        seen += f", the first: {findings.complaints[0][:200]}"
    return Check("no traceback and no error in the log", not findings.complaints, seen)


def _exit(findings: Findings) -> Check:
    seen = findings.failure or f"status {findings.exit_status}"
    return Check("it ends at SIGTERM with status 0", findings.exit_status == 0 and not findings.failure, seen)


# For a person.


def render(findings: Findings, checks: Sequence[Check], tabulate: Callable[..., str]) -> str:
    """The course of the soak, how connections ended, the laws, and the verdict in one sentence."""
    course = [_row(number, pause) for number, pause in _spread(list(enumerate(findings.pauses, 1)))]
    laws = [{"law": check.law, "holds": "yes" if check.holds else "NO", "seen": check.seen} for check in checks]
    parts = [tabulate(course, headers="keys", tablefmt="github", intfmt=",", disable_numparse=True)] if course else []
    parts += [_ends(findings)] if findings.pauses else []
    parts += [_under_load(findings)] if findings.samples else []
    parts.append(tabulate(laws, headers="keys", tablefmt="github"))
    parts.append(verdict(findings, checks))
    return "\n\n".join(parts)


def _spread(rows: list[tuple[int, Pause]]) -> list[tuple[int, Pause]]:
    """At most `ROWS` of them, with the first and the last."""
    if len(rows) <= ROWS:
        return rows
    return [rows[index * (len(rows) - 1) // (ROWS - 1)] for index in range(ROWS)]


def _row(number: int, pause: Pause) -> dict[str, Any]:
    lag = pause.statistics["lag_seconds"]
    return {
        "pause": number,
        "accepted": f"{pause.statistics['accepted']:,}",
        "GB echoed": f"{pause.statistics['bytes_sent'] / 1e9:,.1f}",
        "memory MiB": f"{pause.resident_bytes / MIB:.2f}",
        "descriptors": pause.descriptors,
        "idle CPU": f"{pause.cpu_share:.1%}",
        "lag p99 ms": f"{lag['p99'] * 1000:,.1f}",
        "lag max ms": f"{lag['max'] * 1000:,.1f}",
    }


def _ends(findings: Findings) -> str:
    closed = Counter(findings.pauses[-1].statistics["closed"])
    return "Connections ended: " + ", ".join(f"{count:,} {reason}" for reason, count in closed.most_common() if count)


def _under_load(findings: Findings) -> str:
    memory = max(sample.resident_bytes for sample in findings.samples) / MIB
    most = max(sample.descriptors for sample in findings.samples)
    return f"Under load, in {len(findings.samples)} samples: at most {memory:.2f} MiB and {most} descriptors"


def verdict(findings: Findings, checks: Sequence[Check]) -> str:
    """"flat", or what was wrong."""
    broken = [check for check in checks if not check.holds]
    if not broken:
        return f"Verdict: flat, after {findings.seconds / 60:.1f} minutes."
    reasons = "; ".join(f"{check.law} ({check.seen})" for check in broken)
    return f"Verdict: NOT flat, after {findings.seconds / 60:.1f} minutes. Broken: {reasons}"

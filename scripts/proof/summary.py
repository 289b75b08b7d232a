"""Many seeds, and a summary of what happened in them.

Ten thousand scenarios without a failure prove only as much as happened in them. So we count the turns of the loop,
the connections and bytes, the faults of each kind, the reasons for which connections ended, and the steps of the
table of states, and list the steps that never happened. A digest of all outcomes shows whether two machines have seen
the same.
"""

from __future__ import annotations

import gc
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pprint import pformat

from reactor.simulation.peers import PeerPlan

from .laws import STEP_COUNT, STEPS
from .scenarios import Scenario, make
from .shrink import absent, shrink
from .world import Outcome, live, simulate

COLLECT_EVERY = 200  # scenarios between two garbage collections; a world is one large cycle


class Summary:
    """The totals of many outcomes."""

    def __init__(self) -> None:
        self.scenarios = self.iterations = self.connections = self.bytes_in = self.bytes_out = 0
        self.faults: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.steps: set[tuple[str, str]] = set()
        self.digest = 0

    def add(self, outcome: Outcome) -> None:
        """Add one outcome."""
        self.scenarios += 1
        self.iterations += outcome.iterations
        self.connections += outcome.connections
        self.bytes_in += outcome.bytes_in
        self.bytes_out += outcome.bytes_out
        self.faults.update(outcome.faults)
        self.reasons.update(outcome.reasons)
        self.steps |= outcome.steps
        self.digest = zlib.crc32(fingerprint(outcome), self.digest)

    def add_all(self, other: Summary) -> None:
        """Add the totals of another summary, but not its digest."""
        for name in ("scenarios", "iterations", "connections", "bytes_in", "bytes_out"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.faults.update(other.faults)
        self.reasons.update(other.reasons)
        self.steps |= other.steps

    def lines(self, seconds: float) -> Iterator[str]:
        """The lines to print; it took `seconds`."""
        yield f"scenarios    {self.scenarios:,}, {self.scenarios / max(seconds, 1e-9):,.0f} a second"
        yield f"iterations   {self.iterations:,} of the loop"
        yield f"connections  {self.connections:,}: " + _counts(self.reasons)
        yield f"bytes        {self.bytes_in:,} in, {self.bytes_out:,} out"
        yield "faults       " + _counts(self.faults)
        missing = [
            f"{a} -> {b}" for a, following in STEPS.items() for b in sorted(following) if (a, b) not in self.steps
        ]
        yield f"states       {len(self.steps)} of {STEP_COUNT} steps" + (
            f"; never: {', '.join(missing)}" if missing else ""
        )
        yield f"digest       {self.digest:08x}"


def fingerprint(outcome: Outcome) -> bytes:
    """The part of an outcome that must be the same on every machine."""
    return repr((*outcome[:6], sorted(outcome.faults.items()), sorted(outcome.reasons.items()))).encode()


def survey(
    seeds: Iterable[int], tell: Callable[[Summary], object] = lambda summary: None
) -> tuple[Summary, int | None]:
    """Run `seeds` up to the first that breaks a law: the totals, and that seed or None. `tell` gets totals so far."""
    summary = Summary()
    collecting = gc.isenabled()
    gc.disable()  # else it would search each world again and again while that is still in use
    try:
        for seed in seeds:
            outcome = simulate(seed)
            summary.add(outcome)
            if outcome.law:
                return summary, seed
            if summary.scenarios % COLLECT_EVERY == 0:
                gc.collect()
                tell(summary)
    finally:
        if collecting:
            gc.enable()
    return summary, None


def explain(scenario: Scenario) -> Iterator[str]:
    """Run a scenario again and give its trace. If it breaks a law, do the same for the smallest that does."""
    outcome = live(scenario, tracing=True)
    yield from _report(scenario, outcome)
    if outcome.hung:
        yield "It is not made smaller: each try would take as long again."
    elif outcome.law:
        small = shrink(scenario, lambda smaller: live(smaller).law == outcome.law)
        yield ""
        yield "The same law, broken by as little as possible:"
        yield from _report(small, live(small, tracing=True))


def explain_seed(seed: int) -> Iterator[str]:
    """The same for the scenario with this number."""
    yield from explain(make(seed))


def _report(scenario: Scenario, outcome: Outcome) -> Iterator[str]:
    kind = "epoll" if scenario.epoll else "selector"
    yield f"seed {scenario.seed}: {scenario.program}, size {scenario.size}, over {kind}"
    yield f"pieces  blocks of {scenario.block}, batches of {scenario.batch}"
    yield "doors   " + ", ".join(f"{family}{', inherited' if before else ''}" for family, before in scenario.doors)
    yield "limits  " + pformat(dict(scenario.limits), width=110, compact=True).replace("\n", "\n        ")
    faults = {
        name: value
        for name, value in scenario.faults._asdict().items()
        if value != scenario.faults._field_defaults[name]
    }
    log, close_at = scenario.log, scenario.close_at
    yield f"faults  {faults}" + (f"; the log {log}" if log else "") + (f"; closed at {close_at}" if close_at else "")
    for index, plan in enumerate(scenario.peers):
        if not absent(plan):
            yield from _peer(f"peer {index}", plan)
    for dial in scenario.upstreams:
        tries = ", ".join(f"{family} {answer} after {seconds}" for family, answer, seconds in dial.tries)
        named = f"; found after {dial.look_up}" if dial.look_up else ""
        yield f"upstream  {tries}{named}" + (f"; given up after {dial.cancel}" if dial.cancel else "") + ":"
        yield "        " + ", ".join(" ".join(map(str, step)) for step in dial.peer.steps)
    for neighbour in scenario.neighbours:
        kind = "epoll" if neighbour.epoll else "selector"
        over = f", closed at {neighbour.close_at}" if neighbour.close_at else ""
        yield f"another reactor  at {neighbour.start}, over {kind}{over}, and there:"
        for plan in neighbour.peers:
            yield from _peer("    peer", plan)
    if scenario.signals:
        yield "signals  at " + ", ".join(map(str, scenario.signals))
    if scenario.threads:
        yield "threads  " + ", ".join(f"{errand} at {when}" for when, errand in scenario.threads)
    yield from outcome.trace
    yield outcome.text or "every law held"


def _peer(name: str, plan: PeerPlan) -> Iterator[str]:
    paced = f"{plan.pace_bytes} each {plan.pace_seconds} s" if plan.pace_seconds else "all"
    where = f"from host {plan.host}, latency {plan.latency}, rooms {plan.rooms}"
    yield f"{name}  at {plan.start} {where}, reads {paced}:"
    yield "        " + ", ".join(" ".join(map(str, step)) for step in plan.steps)


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counter.items())) or "none"

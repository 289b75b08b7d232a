"""Many seeds, and what came of them, as people want to read it.

Ten thousand scenarios in which nothing was wrong are worth as much as what happened in them. So it is counted: the
turns of the loop, the connections and bytes, each kind of fault, each reason for which a connection ended, and each
step of the table of states that was taken, with those that never were. A digest of all outcomes tells at one
glance whether two machines have seen the same.
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

COLLECT_EVERY = 200  # scenarios between two collections of garbage: a world is one great cycle


class Summary:
    """The totals of many outcomes."""

    def __init__(self) -> None:
        self.scenarios = self.iterations = self.connections = self.bytes_in = self.bytes_out = 0
        self.faults: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.steps: set[tuple[str, str]] = set()
        self.digest = 0

    def add(self, outcome: Outcome) -> None:
        """One more."""
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
        """All those of another one, behind these."""
        for name in ("scenarios", "iterations", "connections", "bytes_in", "bytes_out"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.faults.update(other.faults)
        self.reasons.update(other.reasons)
        self.steps |= other.steps

    def lines(self, seconds: float) -> Iterator[str]:
        """To be printed; `seconds` is how long it took."""
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
    """What of an outcome must be the same wherever it is run."""
    return repr((*outcome[:6], sorted(outcome.faults.items()), sorted(outcome.reasons.items()))).encode()


def survey(
    seeds: Iterable[int], tell: Callable[[Summary], object] = lambda summary: None
) -> tuple[Summary, int | None]:
    """Go through `seeds`; the totals, and the first seed that breaks a law or None. `tell` is told now and then."""
    summary = Summary()
    collecting = gc.isenabled()
    gc.disable()  # else it would look through all of a world again and again while the world is still in use
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
    """A scenario lived through again, as a trace; and again as small as it can be made, if it breaks a law."""
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
    """The same for the scenario of that number."""
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

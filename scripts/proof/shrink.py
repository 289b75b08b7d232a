"""Makes a failing scenario small.

A random failure has many peers with many steps, and most of them have nothing to do with it. To understand it, we
leave out one thing at a time: a peer, a step, a limit, a fault, half of a number. If the same law is still broken, it
stays out, and the search starts again with the rest. It ends when nothing more can be left out.

Each program has its own random numbers, seeded by the number of its peer. A peer that is left out must not change the
numbers of the others. So it keeps its place, and never comes.

The cost: some hundred runs of a scenario that takes milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from reactor.simulation.peers import PeerPlan
from reactor.simulation.sockets import Faults

from .scenarios import Scenario
from .upstreams import DialPlan

Fails = Callable[[Scenario], bool]
MOST_RUNS = 2000


def shrink(scenario: Scenario, fails: Fails) -> Scenario:
    """The smallest scenario that we find by leaving out parts of `scenario`, and for which `fails` is still true."""
    runs = 0
    found = True
    while found:
        found = False
        for smaller in _smaller(scenario):
            runs += 1
            if runs > MOST_RUNS:
                return scenario
            if fails(smaller):
                scenario, found = smaller, True
                break
    return scenario


def absent(plan: PeerPlan) -> bool:
    """Whether this peer never comes."""
    return plan.start == math.inf


def size(scenario: Scenario) -> tuple[int, int]:
    """How many peers come, and how many steps they take in all."""
    coming = [plan for plan in scenario.peers if not absent(plan)]
    return len(coming), sum(len(plan.steps) for plan in coming)


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    """All scenarios with one thing less, the largest things first."""
    for index, plan in enumerate(scenario.peers):
        if not absent(plan):
            yield _with_peer(scenario, index, plan._replace(start=math.inf, steps=()))
    if scenario.faults != Faults():
        yield scenario._replace(faults=Faults())
    if scenario.neighbours:
        yield scenario._replace(neighbours=scenario.neighbours[:-1])
    for index in range(len(scenario.threads)):
        yield scenario._replace(threads=scenario.threads[:index] + scenario.threads[index + 1 :])
    if scenario.signals:
        yield scenario._replace(signals=scenario.signals[:-1])
    if scenario.log:
        yield scenario._replace(log="")
    if len(scenario.doors) > 1:
        yield scenario._replace(doors=scenario.doors[:1])
    if scenario.doors != (("inet", False),):
        yield scenario._replace(doors=(("inet", False),) * len(scenario.doors))
    if scenario.close_at:
        yield scenario._replace(close_at=0.0)
    for index, plan in enumerate(scenario.peers):
        for smaller in () if absent(plan) else _smaller_plans(plan):
            yield _with_peer(scenario, index, smaller)
    for index, dial in enumerate(scenario.upstreams):
        for smaller_dial in _smaller_dials(dial):
            upstreams = (*scenario.upstreams[:index], smaller_dial, *scenario.upstreams[index + 1 :])
            yield scenario._replace(upstreams=upstreams)
    for name, value in Faults()._asdict().items():
        if getattr(scenario.faults, name) != value:
            yield scenario._replace(faults=scenario.faults._replace(**{name: value}))
    for name, _ in scenario.limits:
        if not (name.startswith("output_") and not name.startswith("output_hard")):  # these two leave with the third
            gone = [name, "output_low_bytes", "output_high_bytes"] if name == "output_hard_bytes" else [name]
            yield scenario._replace(limits=tuple(pair for pair in scenario.limits if pair[0] not in gone))
    if scenario.batch != 1024:
        yield scenario._replace(batch=1024)
    if scenario.block != 65536:
        yield scenario._replace(block=65536)


def _with_peer(scenario: Scenario, index: int, plan: PeerPlan) -> Scenario:
    return scenario._replace(peers=(*scenario.peers[:index], plan, *scenario.peers[index + 1 :]))


def _smaller_dials(dial: DialPlan) -> Iterator[DialPlan]:
    if dial.look_up:
        yield dial._replace(look_up=0.0)
    if dial.cancel:
        yield dial._replace(cancel=0.0)
    for index in range(len(dial.tries) if len(dial.tries) > 1 else 0):
        yield dial._replace(tries=dial.tries[:index] + dial.tries[index + 1 :])
    for smaller in _smaller_plans(dial.peer):
        yield dial._replace(peer=smaller)


def _smaller_plans(plan: PeerPlan) -> Iterator[PeerPlan]:
    steps = plan.steps
    for index in range(len(steps)):
        yield plan._replace(steps=steps[:index] + steps[index + 1 :])
    if plan.pace_seconds:
        yield plan._replace(pace_bytes=1_000_000, pace_seconds=0.0)
    if plan.latency:
        yield plan._replace(latency=0.0)
    if plan.start:
        yield plan._replace(start=0.0)
    for index, step in enumerate(steps):
        if step[0] in ("send", "expect", "wait") and step[1] > 1:
            half = (step[0], int(step[1]) // 2 if step[0] != "wait" else int(step[1]))
            if half != step:
                yield plan._replace(steps=(*steps[:index], half, *steps[index + 1 :]))

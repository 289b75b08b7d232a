"""The goals of `reactor` as data, and the check whether a run meets them.

A goal compares our figure with that of another server in the same rounds, or with a number. If the other server was
not measured, the goal is neither met nor missed, and the table says what is missing.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from . import rounds
from .rounds import Results

OURS = "reactor"
OUR_STREAMS = "reactor streams"
EVERY_OTHER = "every other"
YARDSTICKS = ("floor", "limit")  # not servers to use, so "every other" does not include them


@dataclass(frozen=True)
class Goal:
    """Our figure in `row` is at most `most` times that of `reference`; without a reference, `most` in the row's unit.

    With a `call`, only that system call is counted. `ours` is which of our servers is meant.
    """

    row: str
    most: float
    reference: str = ""
    call: str = ""
    ours: str = OURS


GOALS = [
    Goal("echo", 1.05, "uvloop Protocol"),
    Goal("echo", 0.75, "asyncio Protocol"),
    Goal("echo", 0.50, "asyncio streams"),
    Goal("echo", 1.30, "limit (C, epoll)"),
    Goal("calls", 2.1),
    Goal("growth", 1.25),
    Goal("memory", 850),
    Goal("64KiB", 1.0, "uvloop Protocol"),
    Goal("1MiB", 1.0, "uvloop Protocol"),
    Goal("lines", 0.50, "asyncio streams"),
    Goal("line calls", 1.005, call="send"),
    Goal("churn", 1.0, "uvloop Protocol"),
    Goal("firehose", 3.0),
    Goal("firehose", 1.0, EVERY_OTHER),
    Goal("echo", 0.85, "uvloop streams", ours=OUR_STREAMS),
    Goal("memory", 1_900, ours=OUR_STREAMS),
    Goal("lines", 0.25, "uvloop streams", ours=OUR_STREAMS),
    Goal("churn", 1.0, "uvloop streams", ours=OUR_STREAMS),
]


def check(results: Results) -> Iterator[tuple[Goal, float | None, str]]:
    """Each goal with what was measured, and "met", "missed", or what is missing."""
    for goal in GOALS:
        if not rounds.samples(results, goal.row, goal.ours):
            yield goal, None, "not measured"
            continue
        measured = _measured(results, goal)
        if measured is None:
            yield goal, None, f"{goal.reference} not measured"
        else:
            yield goal, measured, "met" if measured <= goal.most else "missed"


def _measured(results: Results, goal: Goal) -> float | None:
    if goal.call:
        (sample,) = rounds.samples(results, goal.row, goal.ours).values()
        return float(sample["details"]["by_name"].get(goal.call, 0.0))
    if goal.reference == EVERY_OTHER:
        others = [name for name in results["contenders"] if name.split()[0] not in ("reactor", *YARDSTICKS)]
        waits = [wait for other in others if (wait := _wait(results, goal.row, other)) is not None]
        ours = _wait(results, goal.row, goal.ours)
        return ours / min(waits) if waits and ours is not None else None
    if goal.reference:
        figure = rounds.ratio(results, goal.row, goal.ours, goal.reference)
    else:
        figure = rounds.value(results, goal.row, goal.ours)
    return figure.median if figure else None


def _wait(results: Results, row: str, contender: str) -> float | None:
    """The median over the rounds of the p99 latency of its clients beside the firehose."""
    waits = [sample["details"]["beside"]["p99"] for sample in rounds.samples(results, row, contender).values()]
    return statistics.median(waits) if waits else None

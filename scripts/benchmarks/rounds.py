"""In which order it is measured, and how one figure is made of many.

A shared machine drifts: the clock goes down, a neighbour wakes up, and whoever was measured in those seconds loses.
No number of repetitions helps when all of A's come before all of B's. So the contenders take turns, A B C, A B C:
each row of a round puts them side by side within seconds, and what is compared is A with B *in the same round*. The
figure is the median of these ratios, which a few disturbed rounds cannot move, with the lowest and the highest
beside it: a difference smaller than that spread is none.

Each measurement is a fresh process: no server has another row's memory to carry or another row's caches to enjoy.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .contenders import BASE, Contender
from .generator import Tools
from .processes import MeasurementError
from .rows import Row, Setting

Results = dict[str, Any]  # plain data: what is saved as JSON


@dataclass(frozen=True)
class Figure:
    """The median of some numbers, and the lowest and highest of them."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(numbers: Iterable[float]) -> Figure | None:
        """None where there are no numbers."""
        numbers = list(numbers)
        return Figure(statistics.median(numbers), min(numbers), max(numbers)) if numbers else None


def measure(
    rows: Sequence[Row],
    contenders: Sequence[Contender],
    tools: Tools,
    rounds: int,
    scale: float,
    most_connections: int,
    progress: Callable[[str], None] = lambda line: None,
) -> Results:
    """All rounds of all rows for all contenders. What cannot be measured is kept with the reason."""
    results: Results = {
        "rounds": rounds,
        "scale": scale,
        "most_connections": most_connections,
        "contenders": [contender.name for contender in contenders],
        "rows": {row.key: {"title": row.title, "unit": row.unit, "is_ratio": row.is_ratio} for row in rows},
        "samples": {row.key: {contender.name: {} for contender in contenders} for row in rows},
        "failures": [],
    }
    for number in range(1, rounds + 1):
        for row in rows:
            if number <= row.rounds:
                for contender in contenders:
                    progress(f"round {number} of {rounds}, {row.key}: {contender.name}")
                    setting = Setting(contender, tools, scale, most_connections)
                    _measure_one(results, number, row, setting)
    return results


def _measure_one(results: Results, number: int, row: Row, setting: Setting) -> None:
    name = setting.contender.name
    try:
        sample = row.measure(setting)
    except (MeasurementError, OSError) as exc:
        results["failures"].append({"round": number, "row": row.key, "contender": name, "reason": str(exc)})
    else:
        results["samples"][row.key][name][str(number)] = dataclasses.asdict(sample)


def samples(results: Results, row: str, contender: str) -> dict[str, dict[str, Any]]:
    """The samples of one contender in one row, by round."""
    found: dict[str, dict[str, Any]] = results["samples"].get(row, {}).get(contender, {})
    return found


def value(results: Results, row: str, contender: str) -> Figure | None:
    """The figure itself, in the row's unit."""
    return Figure.of(sample["value"] for sample in samples(results, row, contender).values())


def ratio(results: Results, row: str, contender: str, base: str = BASE) -> Figure | None:
    """The figure relative to that of `base` in the same rounds."""
    own, others = samples(results, row, contender), samples(results, row, base)
    return Figure.of(own[number]["value"] / others[number]["value"] for number in own if number in others)


def median_of(results: Results, row: str, contender: str, name: str) -> float | None:
    """The median of what else was seen: `kernel_share`, `busy`, `waited`."""
    seen = [sample[name] for sample in samples(results, row, contender).values() if sample.get(name) is not None]
    return statistics.median(seen) if seen else None


def show_progress(line: str) -> None:
    """One line that changes on a terminal; nothing elsewhere."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{line}" if line else "\r\x1b[K")
        sys.stderr.flush()

"""In which order it is measured, and how one figure is made of many.

A shared machine drifts: the clock goes down, a neighbour wakes up, and whoever was measured in those seconds loses.
No number of repetitions helps when all of A's come before all of B's. So the contenders take turns, A B C, A B C, of
some tens of milliseconds each; what is compared is A with B *in the same turn*, and a round's ratio is the median of
its turns'. A neighbour that slows everything by half for a second then slows both alike. Each round begins with another
contender.

Each round has processes of its own: no server has another row's memory to carry or another row's caches to enjoy.
Where a process happens to lie in memory makes a difference of some percent too, and that no turn can take away, but
a next round can: what is shown is the median over the rounds, with the lowest and the highest beside it. A difference
smaller than that spread is none.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

from .contenders import BASE, Contender
from .generator import Tools
from .processes import MeasurementError
from .rows import Measurement, Row, Setting

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
                first = (number - 1) % len(contenders)
                order = [*contenders[first:], *contenders[:first]]
                with ExitStack() as stack:
                    settings = {each.name: Setting(each, tools, scale, most_connections) for each in order}
                    taking_part = {
                        name: stack.enter_context(closing(row.measure(setting))) for name, setting in settings.items()
                    }
                    while taking_part:
                        for name in list(taking_part):
                            progress(f"round {number} of {rounds}, {row.key}: {name}")
                            if _has_ended(results, number, row, name, taking_part[name]):
                                del taking_part[name]
    return results


def _has_ended(results: Results, number: int, row: Row, name: str, measurement: Measurement) -> bool:
    """Give `name` its turn; whether it was the last, of which the sample, or why there is none, is kept."""
    try:
        next(measurement)
    except StopIteration as end:
        results["samples"][row.key][name][str(number)] = dataclasses.asdict(end.value)
    except (MeasurementError, OSError) as exc:
        results["failures"].append({"round": number, "row": row.key, "contender": name, "reason": str(exc)})
    else:
        return False
    return True


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
    found = (_ratio_of(own[number], others[number]) for number in own if number in others)
    return Figure.of(ratio for ratio in found if ratio is not None)


def _ratio_of(own: dict[str, Any], other: dict[str, Any]) -> float | None:
    """The median over the turns that the two took one after the other; or of the figures, if there were none.

    None if the other was never seen to use any time: with few messages a turn is shorter than the kernel's accounts.
    """
    pairs = zip(own.get("turns") or [own["value"]], other.get("turns") or [other["value"]], strict=True)
    ratios = [mine / its for mine, its in pairs if its > 0]
    return statistics.median(ratios) if ratios else None


def median_of(results: Results, row: str, contender: str, name: str) -> float | None:
    """The median of what else was seen: `kernel_share`, `busy`, `waited`."""
    seen = [sample[name] for sample in samples(results, row, contender).values() if sample.get(name) is not None]
    return statistics.median(seen) if seen else None


def show_progress(line: str) -> None:
    """One line that changes on a terminal; nothing elsewhere."""
    if sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{line}" if line else "\r\x1b[K")
        sys.stderr.flush()

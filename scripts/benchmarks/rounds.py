"""In which order the servers are measured, and how many figures become one.

The speed of a shared machine changes: the clock slows down, a neighbour wakes up, and the server that is measured in
those seconds loses. Repetition does not help if all of A comes before all of B. So the servers take turns, A B C, A B
C, of some tens of milliseconds each. A is compared with B *in the same turn*, and the ratio of a round is the median
over its turns. A neighbour that slows everything by half for a second then slows both alike. Each round begins with
another server.

Each round has new processes, so no server carries the memory of another row or profits from its caches. The place of
a process in memory also makes a difference of some percent. Turns cannot remove that, but new rounds can: the report
shows the median over the rounds, with the lowest and the highest. A difference smaller than that spread is no
difference.
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

Results = dict[str, Any]  # plain data, saved as JSON


@dataclass(frozen=True)
class Figure:
    """The median of some numbers, with the lowest and the highest."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(numbers: Iterable[float]) -> Figure | None:
        """None if there are no numbers."""
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
    """Measure all rows for all servers, in `rounds` rounds. A failed measurement is kept with its reason."""
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
    """Give `name` its turn; return whether that was the last. Keep its sample, or the reason why there is none."""
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
    """The samples of one server in one row, by round."""
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
    """The median over the turns that the two took one after the other; without turns, the ratio of the figures.

    None if the other server seems to have used no time: a turn with few messages may be too short to be counted.
    """
    pairs = zip(own.get("turns") or [own["value"]], other.get("turns") or [other["value"]], strict=True)
    ratios = [mine / its for mine, its in pairs if its > 0]
    return statistics.median(ratios) if ratios else None


def median_of(results: Results, row: str, contender: str, name: str) -> float | None:
    """The median of another value of the samples: `kernel_share`, `busy`, `waited`."""
    seen = [sample[name] for sample in samples(results, row, contender).values() if sample.get(name) is not None]
    return statistics.median(seen) if seen else None


def show_progress(line: str) -> None:
    """Show one line that is overwritten, on a terminal; elsewhere show nothing."""
    if sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{line}" if line else "\r\x1b[K")
        sys.stderr.flush()

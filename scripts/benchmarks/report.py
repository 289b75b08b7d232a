"""From figures to tables for people, in Markdown.

First comes one table of everything, relative to asyncio's Protocol. Then each row with its absolute figures and
spreads, then the goals, and at last every reason to trust a figure less.
"""

from __future__ import annotations

from collections.abc import Iterator

from tabulate import tabulate

from . import goals, rounds
from .attribution import Part
from .contenders import BASE
from .rounds import Figure, Results

LEAST_BUSY = 0.8  # below it, the server waited for the load, more than at the two ends of a turn
MOST_WAITED = 0.05  # above it, other processes used the server's core
MOST_FUTEX = 1.0  # calls per message: above it, the report blames strace
LEAST_WORTH_A_LINE = 20  # instructions: functions with fewer are left out of the profile


def text(results: Results) -> str:
    """The whole report."""
    parts = [_head(results), _overview(results)]
    parts += [_row(results, key) for key in results["rows"]]
    parts += [_goals(results), _notes(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(results: Results) -> str:
    machine = {"processor": "?", "cores": "?", "system": "?", "python": "?", **results.get("machine", {})}
    versions = ", ".join(f"{name} {version}" for name, version in results.get("versions", {}).items())
    lines = [
        "{processor}, {cores} cores, {system}; Python {python}".format(**machine),
        f"interleaved rounds: {results['rounds']}; load in {results.get('load')}; `{results.get('command')}`",
    ]
    return "\n".join(lines + ([versions] if versions else []))


def _overview(results: Results) -> str:
    """All servers and rows, relative to asyncio's Protocol in the same rounds; ratios are shown as they are."""
    lines = []
    for name in results["contenders"]:
        cells = {"server": name}
        for key, row in results["rows"].items():
            figure = rounds.value(results, key, name) if row["is_ratio"] else rounds.ratio(results, key, name)
            cells[f"{key} ×" if row["is_ratio"] else key] = f"{figure.median:.2f}" if figure else "-"
        lines.append(cells)
    return f"Relative to {BASE}; columns marked × to the server itself:\n\n{table(lines)}"


def _row(results: Results, key: str) -> str:
    row = results["rows"][key]
    lines = []
    for name in results["contenders"]:
        figure = rounds.value(results, key, name)
        if figure is None:
            continue
        cells = {"server": name, row["unit"]: _number(figure.median), "spread": _spread(figure)}
        if not row["is_ratio"]:
            ratio = rounds.ratio(results, key, name)
            cells[f"× {BASE}"] = f"{ratio.median:.2f}" if ratio else "-"
            cells["its spread"] = _spread(ratio, 2) if ratio else "-"
        kernel = rounds.median_of(results, key, name, "kernel_share")
        busy = rounds.median_of(results, key, name, "busy")
        if busy is not None:
            cells["kernel"] = "-" if kernel is None else f"{kernel:.0%}"
            cells["busy"] = f"{busy:.0%}"
        lines.append(cells | _more(results, key, name))
    return f"{row['title']}:\n\n{table(lines)}" if lines else ""


def _more(results: Results, key: str, name: str) -> dict[str, str]:
    """The extra columns of some rows."""
    details = [sample["details"] for sample in rounds.samples(results, key, name).values()]
    if by_name := _calls_by_name(results, key, name):
        named = sorted(by_name.items(), key=lambda item: -item[1])
        return {"which": ", ".join(f"{number:.2f} {call}" for call, number in named[:6])}
    if details and "quiet" in details[0]:
        figures = [Figure.of(detail[when]["p99"] for detail in details) for when in ("quiet", "beside")]
        hose = Figure.of(detail["firehose_bytes_per_second"] / 1e6 for detail in details)
        quiet, beside = (_number(figure.median) for figure in figures if figure)
        return {"p99 quiet µs": quiet, "p99 beside µs": beside, "firehose MB/s": _number(hose.median) if hose else ""}
    return {}


def _goals(results: Results) -> str:
    lines = []
    for goal, measured, verdict in goals.check(results):
        row = results["rows"].get(goal.row)
        if row is None:
            continue
        of = f"× {goal.reference}" if goal.reference else row["unit"]
        lines.append({
            "server": goal.ours,
            "goal": f"{row['title']}{f', {goal.call}' if goal.call else ''}",
            "at most": f"{goal.most:g} {of}",
            "measured": "-" if measured is None else _number(measured),
            "": verdict,
        })  # fmt: skip
    return f"Goals:\n\n{table(lines)}" if lines else ""


def _notes(results: Results) -> str:
    return "\n".join(f"- {note}" for note in notes(results))


def notes(results: Results) -> Iterator[str]:
    """Every reason to trust a figure less."""
    if results.get("machine", {}).get("cores") == 1:
        yield "server and load shared the only core: figures are on the high side"
    if results["most_connections"] < 9_000:
        yield f"the descriptor limit allows {results['most_connections']:,} connections, not 9,000: raise `ulimit -Hn`"
    yield from results.get("notes", [])
    for key in results["rows"]:
        yield from _doubts(results, key)
    reasons: dict[tuple[str, str, str], int] = {}
    for failure in results["failures"]:
        which = (failure["row"], failure["contender"], failure["reason"])
        reasons[which] = reasons.get(which, 0) + 1
    for (row, name, reason), times in reasons.items():
        tried = times + len(rounds.samples(results, row, name))
        yield f"{row}: {name} failed in {times} of {tried} rounds: {reason}"


def _doubts(results: Results, key: str) -> Iterator[str]:
    def whose(name: str, wrong: float, below: bool) -> list[str]:
        seen = {who: rounds.median_of(results, key, who, name) for who in results["contenders"]}
        return [f"{who} {share:.0%}" for who, share in seen.items() if share is not None and (share < wrong) == below]

    if idle := whose("busy", LEAST_BUSY, True):
        yield f"{key}: the load was the bottleneck, so these figures are on the high side; busy: {', '.join(idle)}"
    locked = [who for who in results["contenders"] if _calls_by_name(results, key, who).get("futex", 0.0) > MOST_FUTEX]
    if locked:
        yield f"{key}: strace made threads queue for the interpreter's lock, hence the futex calls: {', '.join(locked)}"
    if waited := whose("waited", MOST_WAITED, False):
        yield f"{key}: others used the server's core for part of the time, distrust these: {', '.join(waited)}"


def profile(parts: list[Part], overhead: float) -> str:
    """The cost of our data path by function."""
    lines = []
    for part in parts:
        system = ", ".join(f"{count:,.0f} {name}" for name, count in part.system.items() if count >= LEAST_WORTH_A_LINE)
        if part.instructions >= LEAST_WORTH_A_LINE:
            numbers = {"calls / echo": f"{part.calls:.2f}", "instructions / echo": f"{part.instructions:,.0f}"}
            lines.append({"function": f"`{part.name}`", **numbers, "of these in": system})
    rest = sum(part.instructions for part in parts if part.instructions < LEAST_WORTH_A_LINE)
    lines.append({"function": "all others", "calls / echo": "", "instructions / echo": f"{rest:,.0f}"})
    total = sum(part.instructions for part in parts)
    lines.append({"function": "all", "calls / echo": "", "instructions / echo": f"{total:,.0f}"})
    taken_off = f"{overhead:,.0f} instructions taken off for each call, which the hook adds"
    return f"Ours by function ({taken_off}):\n\n{table(lines)}"


def _calls_by_name(results: Results, key: str, who: str) -> dict[str, float]:
    found = [sample["details"].get("by_name", {}) for sample in rounds.samples(results, key, who).values()]
    return found[0] if found else {}


def _spread(figure: Figure, digits: int | None = None) -> str:
    if figure.low == figure.high:
        return ""
    if digits is not None:
        return f"{figure.low:.{digits}f} - {figure.high:.{digits}f}"
    return f"{_number(figure.low)} - {_number(figure.high)}"


def _number(number: float) -> str:
    """A number with three significant digits and thousands separators."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def table(rows: list[dict[str, str]]) -> str:
    """Rows as a Markdown table; the columns are all their keys, in the order in which they first occur."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [[row.get(column, "") for column in columns] for row in rows]
    align = ["left", *["right"] * (len(columns) - 1)]
    return str(tabulate(cells, headers=columns, tablefmt="github", colalign=align, disable_numparse=True))

"""The statistics of a server as a table, which a person reads in a terminal of 80 columns.

Each figure stands under the name that it has in `Server.statistics()`. So whoever finds one in the table finds it in
the code, in `reactor/README.md` and in a JSON log, too. `FIGURES` is the one place that says what each of them means; a
test compares it with what `statistics()` returns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from .units import duration, size

# In all 78 columns: the indentation of a row in the log (4), the name of the group, two cells and the gap between them.
GROUP_COLUMNS = 13
CELL_COLUMNS = 29
GAP = "   "


class Figure(NamedTuple):
    """What one figure of the statistics means."""

    group: str  # the rows of the table in which it stands
    unit: str
    meaning: str


FIGURES = {
    "listening": Figure("listening", "addresses", "where the server listens"),
    "open": Figure("connections", "connections", "open now"),
    "accepted": Figure("connections", "connections", "that came to a listener and were accepted"),
    "connected": Figure("connections", "connections", "that the program opened itself (`connect`)"),
    "times_full": Figure("connections", "times", "that a listener found a newcomer and no place (`max_connections`)"),
    "full": Figure("connections", "yes or no", "a newcomer found no place, and no connection has ended since"),
    "closed": Figure("closed", "connections", "that have ended, by their `CloseReason`"),
    "bytes_received": Figure("traffic", "bytes", "received for the program"),
    "receives": Figure("traffic", "calls", "of `recv` that brought data"),
    "bytes_sent": Figure("traffic", "bytes", "that the kernel took"),
    "sends": Figure("traffic", "calls", "of `send` that took data"),
    "buffered_bytes": Figure("traffic", "bytes", "in the buffers of all connections now: `memory_bytes` limits it"),
    "iterations": Figure("loop", "iterations", "of the loop"),
    "lag_seconds": Figure(
        "loop", "seconds", "that an iteration took without its wait: half of them at most `p50`, 99 % `p99`, all `max`"
    ),
    "thread_calls": Figure("loop", "calls", "of `run_in_thread` that run or wait now"),
    "dropped_writes": Figure("troubles", "calls", "of `write` to a connection that was closed"),
    "accept_errors": Figure("troubles", "calls", "of `accept` that failed, though a connection waited"),
    "callback_errors": Figure(
        "troubles", "exceptions", "in timers, `call_soon`, `add_reader`, `add_writer` and `connection_lost`"
    ),
    "lost_log_lines": Figure("troubles", "lines", "that the whole process could not log"),
}


class Statistics(dict[str, Any]):
    """What `Server.statistics()` returns, for a log record: a mapping in JSON, and this table as its text."""

    def __str__(self) -> str:
        return "\n".join(_rows(self))


def _rows(statistics: Mapping[str, Any]) -> Iterator[str]:
    groups: dict[str, list[str]] = {}
    for name, figure in FIGURES.items():
        groups.setdefault(figure.group, []).extend(_cells(name, figure.unit, statistics[name]))
    for group, cells in groups.items():
        for number, row in enumerate(_packed(cells)):
            yield f"{'' if number else group:<{GROUP_COLUMNS}}{row}"


def _packed(cells: Iterable[str]) -> Iterator[str]:
    """Two cells in a row. A long one, such as the path of a UNIX socket, has a row for itself."""
    row = ""
    for cell in cells:
        if row and len(row + GAP + cell) > 2 * CELL_COLUMNS + len(GAP):
            yield row
            row = ""
        row = f"{row}{GAP}{cell}" if row else cell
    if row:
        yield row


def _cells(name: str, unit: str, value: Any) -> Iterator[str]:
    if name == "listening":
        yield from value  # an address is a cell by itself
    elif name == "closed":
        yield from (_cell(reason, f"{count:,}") for reason, count in value.items() if count)
    elif name == "lag_seconds":
        yield from (_cell(f"lag {share}", duration(seconds)) for share, seconds in value.items())
    elif isinstance(value, bool):
        yield _cell(name, "yes" if value else "no")
    else:
        yield _cell(name, size(value) if unit == "bytes" else f"{value:,}")


def _cell(name: str, value: str) -> str:
    return f"{name} {value:>{CELL_COLUMNS - len(name) - 1}}"

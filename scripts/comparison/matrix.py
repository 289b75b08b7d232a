"""The matrix of failures by servers, made from the outcome of each test.

A row of `tests/failures/table.py` often has several tests. A server fails a row if it fails any of them. It holds the
row if it passes all that apply to it. The observations are notes below the table, since a table of a dozen columns
has no room for them. They are the words of the test that failed: the first line of its message, cut to one line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

SEEN_CHARACTERS = 110
NOT_APPLICABLE = re.compile(r"not applicable to \w+: (.*)", re.DOTALL)
PLAIN_WORDS = [  # what exceptions say that were not written for readers; and no paths of the machine
    (re.compile(r"^subprocess\.TimeoutExpired: .* after ([\d.]+?)(\.0)? seconds.*"), r"it did not end within \1 s"),
    (re.compile(r"^'listening on \(\.\+\)\$' .*"), "it does not start"),
    (re.compile(r"; what came$"), ""),
    (re.compile(r" lines about it:.*"), " lines about it"),
    (re.compile(r": listening on .*"), ""),
    (re.compile(r"^TimeoutError: timed out$"), "no answer, and no end"),
    (re.compile(r"^ConnectionResetError: .*"), "reset by the server"),
    (re.compile(r"^BrokenPipeError: .*"), "ended by the server"),
    (re.compile(r"(/[\w.+-]+){2,}/"), ""),
]
ROW_ORDER = "ARWELSP"
TITLES = {
    "A1": "out of descriptors",
    "A2": "accept fails: no memory",
    "A3": "accept fails: one is gone",
    "A4": "accept storm",
    "A5": "more than there are places",
    "A6": "closed before the accept",
    "A7": "a UNIX path that exists",
    "A8": "port 0, both families",
    "A9": "`epoll_ctl` fails",
    "R1": "firehose",
    "R2": "flood of frames",
    "R3": "slowloris",
    "R4": "oversize frame",
    "R5": "gone while not read",
    "R6": "EINTR, EAGAIN, one byte",
    "R7": "a callback outlasts deadlines",
    "R8": "no memory to receive",
    "W1": "never reads",
    "W2": "the same, `writelines`",
    "W3": "empty writes",
    "W4": "writes after a reset",
    "W5": "memory in all",
    "W6": "no progress",
    "W7": "writes to each other",
    "E1": "half-close",
    "E2": "half-close, reads late",
    "E3": "early answer",
    "E4": "close, and never reads",
    "E5": "reset after the end",
    "E6": "ends from inside",
    "E7": "a number used again",
    "E8": "many short ones",
    "E9": "exceptions",
    "E10": "drained, and reconnects",
    "E11": "drained, and reads late",
    "E12": "drained, and not done",
    "L1": "Ctrl-C",
    "L2": "signals and wake-ups",
    "L3": "a million timers",
    "L4": "odd times",
    "L5": "fork",
    "L6": "a callback that blocks",
    "L7": "drain",
    "L8": "told to stop twice",
    "P1": "a terminal in trouble",
    "P2": "stopped and continued",
    "P3": "a log that nobody reads",
}

Outcome = Mapping[str, Any]  # a line of outcomes.py


def rows_of(test: str) -> list[str]:
    """The rows that a test is about: `test_w1_w2_one[w2]` is about W2, `test_w1_w2_one` about both."""
    name, _, parameters = test.partition("[")
    found = re.match(r"test((?:_[a-z]\d+)+)_", name)
    rows = found[1].strip("_").split("_") if found else []
    named = [row for row in rows if row in re.split(r"\W", parameters)]
    return [row.upper() for row in named or rows]


def by_row(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    """The outcomes of one server, by row."""
    rows: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        for row in rows_of(outcome["test"]):
            rows.setdefault(row, []).append(outcome)
    return rows


def verdict(outcomes: list[Outcome]) -> str:
    """What one cell of the table says."""
    asked = [outcome for outcome in outcomes if outcome["outcome"] != "skipped"]
    failed = [outcome for outcome in asked if outcome["outcome"] == "failed"]
    if failed:
        return "**fails**" if len(failed) == len(asked) else f"**fails** {len(failed)} of {len(asked)}"
    if asked:
        return "holds"
    return "n/a" if outcomes and all(map(is_not_applicable, outcomes)) else "not run"


def is_not_applicable(outcome: Outcome) -> bool:
    return NOT_APPLICABLE.match(outcome["said"]) is not None


def seen(outcome: Outcome) -> str:
    """What the test saw, in a few words, safe in a line of Markdown."""
    line = next(iter(outcome["said"].strip().splitlines()), "")
    line = re.sub(r"^(AssertionError|Failed): ", "", line).removesuffix(":")
    for pattern, words in PLAIN_WORDS:
        line = pattern.sub(words, line)
    if len(line) > SEEN_CHARACTERS:
        line = line[: SEEN_CHARACTERS - 1].rstrip() + "…"
    return f"`{line.replace('`', chr(39))}`"


def reason(outcome: Outcome) -> str:
    """Why the test did not apply."""
    found = NOT_APPLICABLE.match(outcome["said"])
    return found[1] if found else outcome["said"]


def order(row: str) -> tuple[int, int]:
    """The sort key of a row: the order of `tests/failures/table.py`."""
    return ROW_ORDER.find(row[0]), int(row[1:])


def table(servers: Mapping[str, list[Outcome]]) -> str:
    """Failure by server."""
    grouped = {name: by_row(outcomes) for name, outcomes in servers.items()}
    rows = sorted({row for rows in grouped.values() for row in rows}, key=order)
    lines = ["| | " + " | ".join(servers) + " |", "|---" * (len(servers) + 1) + "|"]
    for row in rows:
        cells = [verdict(grouped[name].get(row, [])) for name in servers]
        lines.append(f"| {row} {TITLES.get(row, '')} | ".replace("  ", " ") + " | ".join(cells) + " |")
    lines.append("| **fails** | " + " | ".join(str(failures(grouped[name])) for name in servers) + " |")
    return "\n".join(lines)


def failures(rows: Mapping[str, list[Outcome]]) -> str:
    """How many rows a server fails, of those that apply to it."""
    verdicts = [verdict(outcomes) for outcomes in rows.values()]
    asked = [word for word in verdicts if word not in ("n/a", "not run")]
    return f"{sum(word.startswith('**') for word in asked)} of {len(asked)}"


def notes(servers: Mapping[str, list[Outcome]]) -> str:
    """For each row: what was seen in the servers that fail it."""
    grouped = {name: by_row(outcomes) for name, outcomes in servers.items()}
    lines = []
    for row in sorted({row for rows in grouped.values() for row in rows}, key=order):
        cells = {name: rows.get(row, []) for name, rows in grouped.items()}
        if words := failures_seen(cells):
            lines.append(f"- **{row}.** " + "; ".join(words) + ".")
    return "\n".join(lines)


def failures_seen(cells: Mapping[str, list[Outcome]]) -> list[str]:
    """The observations of one row; servers with the same one are named together."""
    names: dict[str, list[str]] = {}
    for name, outcomes in cells.items():
        failed = [outcome for outcome in outcomes if outcome["outcome"] == "failed"]
        if failed:
            words = ", ".join(dict.fromkeys(map(seen, failed)))
            lacking = sorted({setting for outcome in failed for setting in outcome["left_out"]})
            if lacking:
                words += f" (no equal of {', '.join(lacking)})"
            names.setdefault(words, []).append(name)
    return [f"{', '.join(group)}: {words}" for words, group in names.items()]


def not_asked(servers: Mapping[str, list[Outcome]]) -> str:
    """Each reason why tests did not apply, for which servers, and in which rows."""
    rows_by_reason: dict[str, dict[str, list[str]]] = {}
    for name, outcomes in servers.items():
        for outcome in outcomes:
            if outcome["outcome"] == "skipped":
                rows_by_reason.setdefault(reason(outcome), {}).setdefault(name, []).extend(rows_of(outcome["test"]))
    return "\n".join(f"- {words}: {named_together(rows)}." for words, rows in rows_by_reason.items())


def named_together(rows_by_server: Mapping[str, list[str]]) -> str:
    """`trio, curio (W1, W2); gevent (W1)`."""
    servers_by_rows: dict[str, list[str]] = {}
    for name, rows in rows_by_server.items():
        servers_by_rows.setdefault(", ".join(sorted(set(rows), key=order)), []).append(name)
    return "; ".join(f"{', '.join(names)} ({rows})" for rows, names in servers_by_rows.items())


def legend(servers: Mapping[str, Mapping[str, str]]) -> str:
    """Each server with its version, the date of the test, and what is switched on in it."""
    lines = ["| server | version | asked on | switched on |", "|---|---|---|---|"]
    for name, about in servers.items():
        lines.append(f"| {name} | {about['version']} | {about['date']} | {about['switched_on']} |")
    return "\n".join(lines)


def rendered(results: Mapping[str, Any]) -> str:
    """All of it, as Markdown."""
    servers = {name: result["outcomes"] for name, result in results["servers"].items()}
    head = f"`{results['command']}` on Python {results['python']}, {results['system']}."
    seen_head = "What was seen where a row failed:"
    asked_head = "Why a row, or one of its tests, was not asked:"
    parts = [legend(results["servers"]), table(servers), seen_head, notes(servers), asked_head, not_asked(servers)]
    return "\n\n".join([head, *parts])


def with_matrix(readme: str, matrix: str) -> str:
    """The text `readme` with the matrix between its markers; ValueError if it has none."""
    pattern = re.compile(r"(<!-- rivals -->\n).*?(<!-- /rivals -->)", re.DOTALL)
    if not pattern.search(readme):
        raise ValueError("the page has no <!-- rivals --> ... <!-- /rivals --> to put the matrix between")
    return pattern.sub(lambda found: f"{found[1]}{matrix}\n{found[2]}", readme)

"""The matrix of failures by servers, made from what became of each test.

A row of FAILURES is often several tests. A server fails a row if it fails any of them; it holds if it passes all that
it could be asked. What was seen goes into notes below the table, since a table of a dozen columns has no room for it,
in the words of the test that failed: the first line of its message, cut to one line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

SEEN_CHARACTERS = 110
NOT_APPLICABLE = re.compile(r"not applicable to \w+: (.*)", re.DOTALL)
PLAIN_WORDS = [  # what exceptions say that were not made for a reader; and no paths of the machine that it ran on
    (re.compile(r"^subprocess\.TimeoutExpired: .* after ([\d.]+?)(\.0)? seconds.*"), r"it did not end within \1 s"),
    (re.compile(r"^'listening on \(\.\+\)\$' .*"), "it does not start"),
    (re.compile(r"; what came:.*"), ""),
    (re.compile(r"^TimeoutError: timed out$"), "no answer, and no end"),
    (re.compile(r"^ConnectionResetError: .*"), "reset by the server"),
    (re.compile(r"^BrokenPipeError: .*"), "ended by the server"),
    (re.compile(r"(/[\w.+-]+){2,}/"), ""),
]
ROW_ORDER = "ARWELS"

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
    """What the test saw, in a few words, safe in a line of markdown."""
    lines = re.sub(r"^(AssertionError|Failed): ", "", outcome["said"].strip()).splitlines()
    told = 2 if lines and lines[0].endswith(":") else 1  # "it floods the log:" wants to be followed by something
    line = " ".join(" ".join(lines[:told]).split())
    for pattern, words in PLAIN_WORDS:
        line = pattern.sub(words, line)
    if len(line) > SEEN_CHARACTERS:
        line = line[: SEEN_CHARACTERS - 1].rstrip() + "…"
    return f"`{line.replace('`', chr(39))}`"


def reason(outcome: Outcome) -> str:
    """Why it was not asked."""
    found = NOT_APPLICABLE.match(outcome["said"])
    return found[1] if found else outcome["said"]


def order(row: str) -> tuple[int, int]:
    """Rows in the order of FAILURES."""
    return ROW_ORDER.find(row[0]), int(row[1:])


def table(servers: Mapping[str, list[Outcome]]) -> str:
    """Failure by server."""
    grouped = {name: by_row(outcomes) for name, outcomes in servers.items()}
    rows = sorted({row for rows in grouped.values() for row in rows}, key=order)
    lines = ["| | " + " | ".join(servers) + " |", "|---" * (len(servers) + 1) + "|"]
    for row in rows:
        cells = [verdict(grouped[name].get(row, [])) for name in servers]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    lines.append("| **fails** | " + " | ".join(str(failures(grouped[name])) for name in servers) + " |")
    return "\n".join(lines)


def failures(rows: Mapping[str, list[Outcome]]) -> str:
    """How many rows a server fails, of those that it could be asked."""
    verdicts = [verdict(outcomes) for outcomes in rows.values()]
    asked = [word for word in verdicts if word not in ("n/a", "not run")]
    return f"{sum(word.startswith('**') for word in asked)} of {len(asked)}"


def notes(servers: Mapping[str, list[Outcome]]) -> str:
    """For each row: what was seen where it failed, and why it was not asked."""
    grouped = {name: by_row(outcomes) for name, outcomes in servers.items()}
    lines = []
    for row in sorted({row for rows in grouped.values() for row in rows}, key=order):
        cells = {name: rows.get(row, []) for name, rows in grouped.items()}
        words = [*failures_seen(cells), *reasons_given(cells)]
        if words:
            lines.append(f"- **{row}.** " + "; ".join(words) + ".")
    return "\n".join(lines)


def failures_seen(cells: Mapping[str, list[Outcome]]) -> list[str]:
    """Servers that saw the same are named together."""
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


def reasons_given(cells: Mapping[str, list[Outcome]]) -> list[str]:
    """Servers that were not asked for the same reason are named together; `in part` where other tests were."""
    names: dict[str, list[str]] = {}
    for name, outcomes in cells.items():
        skipped = [outcome for outcome in outcomes if outcome["outcome"] == "skipped"]
        for words in dict.fromkeys(map(reason, skipped)):
            part = "" if len(skipped) == len(outcomes) else " in part"
            names.setdefault(words, []).append(name + part)
    return [f"not asked: {', '.join(group)} ({words})" for words, group in names.items()]


def legend(servers: Mapping[str, Mapping[str, str]]) -> str:
    """Each server with its version, when it was asked, and what is switched on in it."""
    lines = ["| server | version | asked on | switched on |", "|---|---|---|---|"]
    for name, about in servers.items():
        lines.append(f"| {name} | {about['version']} | {about['date']} | {about['switched_on']} |")
    return "\n".join(lines)


def rendered(results: Mapping[str, Any]) -> str:
    """All of it, as markdown."""
    servers = {name: result["outcomes"] for name, result in results["servers"].items()}
    head = f"`{results['command']}` on Python {results['python']}, {results['system']}."
    return "\n\n".join([head, legend(results["servers"]), table(servers), notes(servers)])


def with_matrix(readme: str, matrix: str) -> str:
    """The text `readme` with the matrix between its markers; ValueError if it has none."""
    pattern = re.compile(r"(<!-- rivals -->\n).*?(<!-- /rivals -->)", re.DOTALL)
    if not pattern.search(readme):
        raise ValueError("README.md has no <!-- rivals --> ... <!-- /rivals --> to put the matrix between")
    return pattern.sub(lambda found: f"{found[1]}{matrix}\n{found[2]}", readme)

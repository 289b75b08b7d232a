"""The outcome of each test while the tests run: one JSON object a line, on an inherited descriptor.

The reports of pytest come when everything is over. But a comparison with servers that hang may be cut off in the
middle, and a person who waits half an hour for it wants to see progress. So this is a plugin: `pytest -p
scripts.comparison.outcomes`, with the number of the descriptor in REACTOR_OUTCOMES. Each line has `test` (its name
with parameters), `outcome` (passed, failed or skipped), `said` (the message of the failure, or the reason of the
skip) and `left_out`, the settings for which the server has no equivalent.
"""

import json
import os
from typing import Any

import pytest


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Report a test when it has run; its setup and its teardown only if they failed."""
    if report.when != "call" and report.passed:
        return
    line = json.dumps(record(report)) + "\n"
    os.write(int(os.environ["REACTOR_OUTCOMES"]), line.encode())


def record(report: pytest.TestReport) -> dict[str, Any]:
    """The report of one test as a dict, for one line."""
    left_out = {name for key, names in report.user_properties if key == "left_out" for name in names}  # type: ignore[attr-defined]
    return {
        "test": report.nodeid.rpartition("::")[2],
        "outcome": report.outcome,
        "said": said(report),
        "left_out": sorted(left_out),
        "seconds": round(report.duration, 1),
    }


def said(report: pytest.TestReport) -> str:
    """Why it failed or was skipped, in its own words."""
    if report.passed:
        return ""
    if isinstance(report.longrepr, tuple):  # file, line and reason of a skip
        return report.longrepr[2].removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    return crash.message if crash else str(report.longrepr)

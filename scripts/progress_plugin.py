"""A plugin for pytest that tells `run_tests.py` what happens, while it happens.

Several pytests run side by side, and a person wants one progress and one total. What pytest prints is made for
readers. So each pytest loads this plugin (`-p scripts.progress_plugin`) and gets a pipe (`--progress-fd=N`). The
plugin writes a line of JSON for each event into it, a list that begins with the event's name:

    collected COUNT                       so many tests will run
    started TEST                          this test is running now
    reported TEST OUTCOME REASON          the outcome as pytest names it: passed, failed, error, skipped, xfailed ...
    finished TEST
    ended                                 the session is over; if this line is missing, pytest was killed or crashed

The plugin also takes the dots away. What pytest then prints is what a person should read: failures, stacks, errors.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--progress-fd", type=int, required=True, help="the descriptor that gets the events")


def pytest_configure(config: pytest.Config) -> None:
    descriptor = config.getoption("--progress-fd")
    os.set_inheritable(descriptor, False)  # servers that a test starts have no use for it
    config.pluginmanager.register(Reporter(descriptor))


class Reporter:
    """Writes the events to `descriptor`. They are also complete if this process is killed: nothing is buffered."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._pid = os.getpid()
        self._is_read = True

    def _tell(self, *event: Any) -> None:
        if os.getpid() != self._pid or not self._is_read:  # another process: a child that a test forked
            return
        rest = json.dumps(event).encode() + b"\n"
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except BrokenPipeError:  # run_tests.py was killed, so nobody wants to know the rest
            self._is_read = False
            pytest.exit("nobody reads the progress any more", returncode=pytest.ExitCode.INTERRUPTED)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._tell("collected", len(session.items))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._tell("reported", report.nodeid, "error", "")
        elif report.skipped:
            self._tell("reported", report.nodeid, "skipped", _reason(report))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._tell("started", nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_report_teststatus(self, report: Any) -> Generator[None, Any, tuple[str, str, str]]:
        outcome, _, _ = yield
        return outcome, "", ""  # neither a letter nor a word for the terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        outcome = _outcome(report)
        if outcome:
            self._tell("reported", report.nodeid, outcome, _reason(report))

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._tell("finished", nodeid)

    def pytest_sessionfinish(self) -> None:
        self._tell("ended")


def _outcome(report: pytest.TestReport) -> str:
    """What the report says of its test, as pytest counts it; nothing for a set-up or tear-down that went well."""
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed" if report.when == "call" else ""
    if report.failed:
        return "failed" if report.when == "call" else "error"
    if report.skipped:
        return "skipped"
    return "passed" if report.when == "call" else ""


def _reason(report: Any) -> str:
    """Why it was skipped, or was expected to fail."""
    if hasattr(report, "wasxfail"):
        return str(report.wasxfail)
    if report.skipped and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return ""

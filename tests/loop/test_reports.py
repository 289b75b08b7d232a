"""A line for the log may be lost. It never raises, and never causes another line."""

import logging

import pytest

from reactor.loop.reports import lost, report
from reactor.service.lines import LineFormatter

logger = logging.getLogger("reactor.test_reports")


class Handler(logging.Handler):
    """Calls `emit` with each line."""

    def __init__(self, emit):
        super().__init__()
        self.emit = emit


@pytest.fixture
def handle():
    """Let one function handle the lines of `logger`, and no other handler."""
    added = []

    def add(emit):
        added.append(Handler(emit))
        logger.addHandler(added[-1])

    logger.propagate = False
    logger.setLevel(logging.INFO)
    yield add
    for handler in added:
        logger.removeHandler(handler)
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


def test_a_line_is_logged_with_its_traceback(handle):
    seen = []
    handle(seen.append)
    error = ValueError("no")
    report(logger, logging.INFO, "%s of %d", "one", 2, exc=error)
    assert [record.getMessage() for record in seen] == ["one of 2"] and seen[0].exc_info[1] is error


def test_a_line_below_the_level_costs_no_formatting(handle):
    handle(lambda record: pytest.fail("it was logged"))
    report(logger, logging.DEBUG, "%s")


def test_what_a_handler_raises_is_counted_and_goes_no_further(handle):
    def full(record):
        raise OSError("no space left on device")

    handle(full)
    before = lost()
    report(logger, logging.INFO, "a line")
    assert lost() == before + 1


def test_an_object_that_cannot_be_said_is_counted_and_goes_no_further(handle):
    class Mute:
        def __str__(self):
            raise AttributeError("name")

    handle(lambda record: record.getMessage())
    before = lost()
    report(logger, logging.INFO, "%s", Mute())
    assert lost() == before + 1


def test_a_report_out_of_a_report_is_dropped(handle):
    calls = []

    def again(record):
        calls.append(record)
        report(logger, logging.INFO, "once more")

    handle(again)
    before = lost()
    report(logger, logging.INFO, "a line")
    assert len(calls) == 1 and lost() == before + 1
    report(logger, logging.INFO, "another line")
    assert len(calls) == 2


def test_what_is_no_exception_leaves(handle):
    def leave(record):
        raise SystemExit

    handle(leave)
    with pytest.raises(SystemExit):
        report(logger, logging.INFO, "a line")


class OddlyFalse(Exception):
    """Counts as false."""

    def __len__(self):
        return 0


def test_an_exception_of_an_odd_truth_value_is_logged_with_its_traceback(handle):
    seen = []
    handle(seen.append)
    report(logger, logging.INFO, "a line", exc=OddlyFalse())
    assert "OddlyFalse" in LineFormatter().format(seen[0])


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interruption_in_the_middle_of_a_line_goes_on(handle, kind):
    def interrupted(record):
        raise kind

    handle(interrupted)
    with pytest.raises(kind):
        report(logger, logging.INFO, "a line")

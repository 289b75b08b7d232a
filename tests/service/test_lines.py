"""The form of a line, whatever is in its record: for a person, and as JSON for a program."""

import json
import logging
import os
import re

import pytest

from reactor.connections.states import CloseReason
from reactor.service.lines import LINE_CHARACTERS, JsonFormatter, LineFormatter, printable

# As `reactor.access` logs the end of a connection.
ACCESS = "connection %(connection)d from %(peer)s: %(reason)s after %(seconds).3f s"
CONNECTION = {"connection": 17, "peer": "127.0.0.1:51234", "seconds": 1.204, "reason": "peer_closed", "error": None}


def record(text, *args, exc=None):
    exc_info = None if exc is None else (type(exc), exc, exc.__traceback__)
    return logging.LogRecord("reactor.test", logging.INFO, "file.py", 7, text, args, exc_info)


def raised(exc):
    try:
        raise exc
    except type(exc) as caught:
        return caught


# For a person.


@pytest.fixture
def formatter():
    return LineFormatter("%(levelname)s %(message)s")


def test_a_line_has_its_time_its_process_and_its_level():
    line = LineFormatter().format(record("hello"))
    assert re.fullmatch(rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d,\d{{3}} \[{os.getpid()}\] INFO hello", line)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("a\rb", r"a\rb"),
        ("a\nb", r"a\nb"),
        ("\x00\x07\x7f", r"\x00\x07\x7f"),
        ("\x9b2J\x85", r"\x9b2J\x85"),  # CSI and NEL, as one character each
        ("\u202egnp.exe\u2028", r"\u202egnp.exe\u2028"),
        ("\ud800", r"\ud800"),
        ("ein Maß, µs, 日本", "ein Maß, µs, 日本"),
    ],
)
def test_what_is_not_for_the_eye_is_an_escape(formatter, text, shown):
    assert printable(text) == shown
    assert formatter.format(record("from %s", text)) == f"INFO from {shown}"


def test_a_traceback_keeps_its_rows_and_none_of_them_begins_like_a_line(formatter):
    exc = raised(ValueError("bad \x1b[2J\r\nINFO forged"))
    line, *rows = formatter.format(record("it failed: %s", exc, exc=exc)).split("\n")
    assert line == r"INFO it failed: bad \x1b[2J\r\nINFO forged"
    assert rows[0] == "    Traceback (most recent call last):"
    assert rows[-2:] == [r"    ValueError: bad \x1b[2J\r", "    INFO forged"]
    assert all(row.startswith("    ") for row in rows)


def test_a_format_that_has_rows_of_its_own_keeps_them(formatter):
    shown = formatter.format(record("%s blocks; it is at\n%s", "a\nb", "File\n\tcode\x1b\n"))
    assert shown == "INFO a\n    b blocks; it is at\n    File\n            code\\x1b"


def test_a_stack_is_shown_in_rows(formatter):
    asked = record("here")
    asked.stack_info = "Stack:\n  File"
    assert formatter.format(asked) == "INFO here\n    Stack:\n      File"


def test_without_an_exception_there_is_no_traceback(formatter):
    asked = record("here")
    asked.exc_info = (None, None, None)
    assert formatter.format(asked) == "INFO here"


def test_an_exception_that_cannot_say_whether_it_is_true_is_told_with_its_place():
    class Undecided(Exception):
        def __bool__(self):
            raise ValueError("on purpose")

    line = LineFormatter().format(record("it raised", exc=raised(Undecided())))
    assert re.search(r'\n {6}File ".*test_lines.py", line \d+, in raised\n.*\n    Undecided, whose text', line), line


# For a program.


def told(*args, **options):
    """The object that a JSON log has for this record, which is one line of ASCII without control characters."""
    line = JsonFormatter().format(record(*args, **options))
    assert re.fullmatch(r"[ -~]*", line) and len(line) <= LINE_CHARACTERS
    return json.loads(line, parse_constant=pytest.fail)  # NaN and Infinity are not JSON


def test_a_line_of_json_says_when_how_bad_by_which_process_and_what():
    asked = record("to %s", "all")
    asked.created = 1_795_000_000.1239
    assert json.loads(JsonFormatter().format(asked)) == {
        "time": "2026-11-18T11:06:40.123+00:00",
        "level": "INFO",
        "pid": os.getpid(),
        "logger": "reactor.test",
        "message": "to all",
    }


def test_the_items_of_a_mapping_are_keys_in_json_and_words_in_the_plain_line(formatter):
    words = "connection 17 from 127.0.0.1:51234: peer_closed after 1.204 s"
    assert formatter.format(record(ACCESS, CONNECTION)) == f"INFO {words}"
    said = told(ACCESS, CONNECTION)
    assert said["message"] == words
    assert {name: said[name] for name in CONNECTION} == CONNECTION


def test_what_a_record_says_of_itself_is_not_replaced_by_what_it_carries():
    said = told("%(level)s", {"level": 7, "message": "forged", "pid": 0, "more": 1})
    assert (said["level"], said["message"], said["pid"], said["more"]) == ("INFO", "7", os.getpid(), 1)


def test_rows_that_show_the_items_of_a_mapping_are_not_repeated_in_json(formatter):
    figures = {"figures": {"open": 3}}
    assert formatter.format(record("statistics\n%(figures)s", figures)) == "INFO statistics\n    {'open': 3}"
    said = told("statistics\n%(figures)s", figures)
    assert (said["message"], said["figures"]) == ("statistics", {"open": 3})


def test_rows_that_are_told_nowhere_else_are_in_the_message():
    assert told("%s blocks; it is at\n%s", "it", "File\n\tcode")["message"] == "it blocks; it is at\nFile\n\tcode"


@pytest.mark.parametrize(
    "text", ["\x1b[2J", "a\r\nb", "\x00\x07\x7f", "\x9b2J\x85", "\u2028", "Maß, 日本 \U0001f600", '"\\']
)
def test_whatever_a_peer_says_comes_back_from_json_as_it_was(text):
    said = told("%(peer)s", {"peer": text, text: [text]})
    assert said["message"] == said["peer"] == text
    assert said[text] == [text]


def test_what_json_has_no_form_for_is_text():
    reason, error = CloseReason.RESET, OSError("no")
    values = {"inf": float("inf"), "nan": float("nan"), "reason": reason, "error": error, "pair": (1, 2.5), 7: True}
    said = told("x", values)
    assert {name: said[name] for name in ("inf", "nan", "reason", "error", "pair", "7")} == {
        "inf": "inf", "nan": "nan", "reason": str(reason), "error": "no", "pair": [1, 2.5], "7": True
    }  # fmt: skip


def test_a_traceback_and_a_stack_are_text_in_json():
    exc = raised(ValueError("bad \x1b[2J"))
    said = told("it failed: %s", exc, exc=exc)
    assert said["message"] == "it failed: bad \x1b[2J"
    assert said["exception"].startswith("Traceback (most recent call last):\n  File ")
    assert said["exception"].endswith("\nValueError: bad \x1b[2J")
    asked = record("here")
    asked.stack_info = "Stack:\n  File"
    assert json.loads(JsonFormatter().format(asked))["stack"] == "Stack:\n  File"


def test_an_exception_whose_text_raises_is_told_in_json_with_its_place():
    class Mute(Exception):
        def __str__(self):
            raise LookupError("on purpose")

        def __bool__(self):
            raise LookupError("on purpose")

    said = told("it raised", exc=raised(Mute()))
    assert re.search(r'File ".*test_lines.py", line \d+, in raised\n', said["exception"])
    assert "Mute" in said["exception"].splitlines()[-1]


@pytest.mark.parametrize("piece", ["y", "\x00", "\U0001f600", '"'])
def test_a_long_line_of_json_is_cut_inside_its_texts(piece):
    long = piece * LINE_CHARACTERS
    said = told("%s", long, exc=raised(ValueError(long)))
    for text, begins in ((said["message"], piece), (said["exception"], "Traceback")):
        kept, missing = re.fullmatch(r"(.*) \(and ([\d,]+) characters more\)", text, re.DOTALL).groups()
        assert kept.startswith(begins) and kept.endswith(piece)
        assert len(json.dumps(kept)) > LINE_CHARACTERS // 4 - 20, "it is cut shorter than needed"
        assert len(kept) + int(missing.replace(",", "")) >= LINE_CHARACTERS


def test_a_long_item_is_cut_and_the_short_ones_beside_it_stay():
    """A peer chooses the text of an error. It must not hide which peer that was."""
    said = told("%(error)s", {"peer": "127.0.0.1:1", "bytes_in": 5, "error": "e" * LINE_CHARACTERS})
    assert (said["peer"], said["bytes_in"]) == ("127.0.0.1:1", 5) and "left_out" not in said
    assert said["error"].startswith("eee") and said["error"].endswith("characters more)")


def test_items_that_make_a_line_too_long_are_left_out_of_it():
    said = told("from %(peer)s", {"peer": "p" * LINE_CHARACTERS, "more": list(range(100_000))})
    assert said["message"].startswith("from ppp") and "more" not in said
    assert said["left_out"] == "2 fields, too long for a line"


def test_a_process_that_does_not_tell_its_number_logs_all_the_same(monkeypatch):
    monkeypatch.setattr(logging, "logProcesses", False)
    assert told("hello")["pid"] is None
    assert LineFormatter().format(record("hello")).endswith(" [None] INFO hello")

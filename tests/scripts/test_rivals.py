"""The matrix of failures by servers: from outcomes of tests to cells, notes and the README, without a server."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

from scripts import rivals
from scripts.comparison import matrix
from tests.support import DEADLINE_SECONDS, ROOT, wait_until

NOT_APPLICABLE = "not applicable to trio: its tasks sleep"


def outcome(test, what="passed", said="", left_out=()):
    return {"test": test, "outcome": what, "said": said, "left_out": list(left_out), "seconds": 0.1}


@pytest.mark.parametrize(
    ("test", "rows"),
    [
        ("test_a1_out_of_descriptors", ["A1"]),
        ("test_l8_a_second_signal[15]", ["L8"]),
        ("test_w1_w2_one_who_asks[w2]", ["W2"]),
        ("test_w1_w2_one_who_asks", ["W1", "W2"]),
        ("test_e3_an_early_answer[answer_early-no thanks\\n-100]", ["E3"]),
        ("test_every_program_is_tried_here", []),
    ],
)
def test_the_name_of_a_test_tells_its_rows(test, rows):
    assert matrix.rows_of(test) == rows


@pytest.mark.parametrize(
    ("outcomes", "cell"),
    [
        ([outcome("a"), outcome("b")], "holds"),
        ([outcome("a"), outcome("b", "failed")], "**fails** 1 of 2"),
        ([outcome("a", "failed"), outcome("b", "skipped", NOT_APPLICABLE)], "**fails**"),
        ([outcome("a"), outcome("b", "skipped", NOT_APPLICABLE)], "holds"),
        ([outcome("a", "skipped", NOT_APPLICABLE)], "n/a"),
        ([outcome("a", "skipped", "strace is not installed")], "not run"),
        ([], "not run"),
    ],
)
def test_a_cell_is_the_worst_of_its_tests_and_not_run_is_not_the_same_as_not_applicable(outcomes, cell):
    assert matrix.verdict(outcomes) == cell


def test_what_was_seen_is_the_first_line_of_the_message_and_fits_into_a_note():
    assert matrix.seen(outcome("a", said="AssertionError: it is spinning\nassert 2.9 < 0.15")) == "`it is spinning`"
    assert matrix.seen(outcome("a", said="it floods the log:\nsocket.accept() out\nmore")) == "`it floods the log`"
    assert matrix.seen(outcome("a", said="assert b'`' == b''")) == "`assert b''' == b''`"
    slow = "subprocess.TimeoutExpired: Command '['/usr/bin/python', 'x']' timed out after 8.0 seconds"
    assert matrix.seen(outcome("a", said=slow)) == "`it did not end within 8 s`"
    assert matrix.seen(outcome("a", said="'unix:/tmp/some/where/socket' is gone")) == "`'unix:socket' is gone`"
    assert len(matrix.seen(outcome("a", said="x" * 1000))) == matrix.SEEN_CHARACTERS + 2


SERVERS = {
    "reactor": [outcome("test_a1_x"), outcome("test_w1_y"), outcome("test_a10_z")],
    "trio": [outcome("test_a1_x", "failed", "it is spinning"), outcome("test_w1_y", "skipped", NOT_APPLICABLE)],
    "curio": [outcome("test_a1_x", "failed", "it is spinning"), outcome("test_w1_y", "failed", "gone", ["backlog"])],
}


def test_the_table_has_a_row_for_each_failure_in_order_and_a_column_for_each_server():
    assert matrix.table(SERVERS).splitlines() == [
        "| | reactor | trio | curio |",
        "|---|---|---|---|",
        "| A1 out of descriptors | holds | **fails** | **fails** |",
        "| A10 | holds | not run | not run |",
        "| W1 never reads | holds | n/a | **fails** |",
        "| **fails** | 0 of 3 | 1 of 1 | 2 of 2 |",
    ]


def test_the_notes_name_together_those_who_saw_the_same_and_say_what_they_lack():
    assert matrix.notes(SERVERS).splitlines() == [
        "- **A1.** trio, curio: `it is spinning`.",
        "- **W1.** curio: `gone` (no equal of backlog).",
    ]


def test_reasons_why_someone_was_not_asked_are_told_once_with_servers_and_rows():
    skipped = outcome("test_w2_z", "skipped", NOT_APPLICABLE)
    servers = SERVERS | {"gevent": [*SERVERS["trio"], skipped], "tornado": SERVERS["trio"]}
    assert matrix.not_asked(servers) == "- its tasks sleep: trio, tornado (W1); gevent (W1, W2)."


def test_every_row_has_a_title():
    tests = "".join(path.read_text() for path in (ROOT / "tests" / "failures").glob("test_*.py"))
    names = re.findall(r"^def (test_[a-z]\d+_\w+)", tests, re.MULTILINE)
    assert {row for name in names for row in matrix.rows_of(name)} == matrix.TITLES.keys()


def test_the_matrix_goes_between_its_markers_and_nowhere_else():
    readme = "before\n<!-- rivals -->\nold\n<!-- /rivals -->\nafter\n"
    assert matrix.with_matrix(readme, r"new \1") == "before\n<!-- rivals -->\nnew \\1\n<!-- /rivals -->\nafter\n"
    with pytest.raises(ValueError, match="no <!-- rivals -->"):
        matrix.with_matrix("nothing here", "new")


def test_the_readme_has_the_markers():
    matrix.with_matrix((ROOT / "tests" / "failures" / "README.md").read_text(), "new")


KEPT = [outcome("test_a1_x", "failed"), outcome("test_a1_cut_off"), outcome("test_a2_y"), outcome("test_e1_e2_z[e2]")]


@pytest.mark.parametrize(
    ("rows", "ran", "left"),
    [
        (["A1"], ["test_a1_x"], {"test_a2_y", "test_e1_e2_z[e2]"}),
        (["A2", "E2"], ["test_a2_y"], {"test_a1_x", "test_a1_cut_off"}),
        (["E1"], ["test_e1_e2_z[e1]"], {"test_a1_x", "test_a1_cut_off", "test_a2_y", "test_e1_e2_z[e2]"}),
        (["E1"], ["test_e1_e2_z[e2]"], {"test_a1_x", "test_a1_cut_off", "test_a2_y"}),
        (None, ["test_a2_y"], set()),
    ],
)
def test_a_run_replaces_all_that_was_kept_of_its_rows_and_leaves_the_rest(monkeypatch, rows, ran, left):
    results = {"servers": {"ladder1": {"outcomes": KEPT}}}
    anew = [outcome(test, said="anew") for test in ran]
    monkeypatch.setattr(rivals, "run", lambda name, rows: anew)
    rivals.ask("ladder1", rows, results)
    kept = results["servers"]["ladder1"]
    assert kept["outcomes"] == [one for one in KEPT if one["test"] in left] + anew
    assert kept["version"] == "this tree"


def test_the_outcomes_come_while_the_tests_run(capfd):
    """A real run, of one row that does not apply to the ladder and one that does."""
    outcomes = rivals.run("ladder3", ["A8"])
    assert [one["test"] for one in outcomes] == ["test_a8_port_0_with_both_families"]
    assert outcomes[0]["outcome"] == "skipped"
    told = capfd.readouterr().err
    assert "A8- " in told and "cut off" not in told


def test_a_run_that_takes_too_long_is_ended_with_all_that_it_started_and_says_so(monkeypatch, capfd):
    script = "import json, os, subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; "
    script += "time.sleep(600)']); os.write(int(os.environ['REACTOR_OUTCOMES']), json.dumps({'test': 'test_a1_x', "
    script += "'outcome': 'passed', 'said': '', 'left_out': [], 'child': child.pid}).encode() + b'\\n'); time.sleep(99)"
    monkeypatch.setattr(rivals, "command", lambda name, rows: [sys.executable, "-c", script])
    monkeypatch.setattr(rivals, "SERVER_SECONDS", 2)
    (told,) = rivals.run("ladder3", None)
    assert "\nladder3: cut off, its 2 s were up after 1 tests\n" in capfd.readouterr().err
    status = pathlib.Path(f"/proc/{told['child']}/stat")
    wait_until(lambda: not status.exists() or ") Z " in status.read_text(), "the end of what it had started")


def test_a_server_that_is_not_installed_is_left_out_with_a_word(monkeypatch, capfd):
    monkeypatch.setattr(rivals.ADAPTERS["curio"].__class__, "distribution", "no-such-distribution")
    results = {"servers": {}}
    rivals.ask("curio", None, results)
    assert results == {"servers": {}}
    assert "curio is not there for Python" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "apache"], "invalid choice: 'apache'"),
        (["--rows", "first"], "'first' is no row; the rows are A1, A2"),
        (["--rows", "a1", "Z9"], "'Z9' is no row"),
        (["--row", "A1"], "unrecognized arguments: --row A1"),
    ],
)
def test_a_mistake_gets_one_line_that_says_what_would_be_right(arguments, words):
    command = [sys.executable, str(ROOT / "scripts" / "rivals.py"), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith("rivals: ") and words in result.stderr


def test_results_of_another_python_are_not_mixed_with_these(monkeypatch, tmp_path):
    saved = tmp_path / "rivals.json"
    monkeypatch.setattr(rivals, "SAVED", saved)
    results = rivals.load()
    assert results["servers"] == {}
    results["servers"]["trio"] = {"outcomes": []}
    rivals.save(results)
    assert rivals.load()["servers"] == {"trio": {"outcomes": []}}
    saved.write_text(json.dumps(results | {"python": "2.7.18"}))
    assert rivals.load()["servers"] == {}

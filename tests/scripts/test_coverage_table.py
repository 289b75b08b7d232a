"""The coverage table: counts become shares, two measurements stand side by side, and missing lines are listed."""

import pytest

from scripts import coverage_table
from scripts.coverage_table import Counts, Seen, missing, seen, share, table
from tests import support


def file(statements, covered, branches, covered_branches, lines=(), unrun=()):
    return {
        "summary": {
            "num_statements": statements,
            "covered_lines": covered,
            "num_branches": branches,
            "covered_branches": covered_branches,
        },
        "missing_lines": list(lines),
        "missing_branches": [list(branch) for branch in unrun],
    }


FILES = {
    "reactor/core/b.py": file(10, 9, 4, 2, [7], [(7, 8), (3, 5), (9, -2)]),
    "reactor/core/a.py": file(2, 2, 0, 0),
    "reactor/core/__init__.py": file(0, 0, 0, 0),
}


def test_a_branch_of_a_line_that_is_not_run_is_not_told_again():
    found = seen(FILES)
    assert list(found) == ["reactor/core/a.py", "reactor/core/b.py"]
    assert found["reactor/core/b.py"] == Seen(Counts(10, 9, 4, 2), [7], [(3, 5), (9, 0)])
    assert missing(found) == ["reactor/core/b.py: 7, 3->5, 9->0"]
    assert missing({}) == ["nothing is left"]


def test_the_table_has_a_row_for_each_file_and_one_for_all():
    tests, simulation = seen(FILES), seen({**FILES, "reactor/core/b.py": file(10, 5, 4, 4)})
    lines = table({"tests": tests, "simulation": simulation}).split("\n")
    rows = [line.split() for line in lines]
    assert rows[0] == ["file", "lines", "tests", "sim", "branch", "tests", "sim"]
    assert rows[2:] == [
        ["core/a.py", "2", "100.0", "100.0", "0", "-", "-"],
        ["core/b.py", "10", "90.0", "50.0", "4", "50.0", "100.0"],
        ["all", "12", "91.6", "58.3", "4", "50.0", "100.0"],
    ]


def test_nothing_is_wider_than_the_screen():
    path = "reactor/connections/socket_options.py"  # the longest path
    files = seen({path: file(1000, 500, 100, 50, range(100, 600))})
    told = table({"tests": files, "simulation": files}).split("\n") + missing(files)
    assert max(map(len, told)) <= 80


def test_only_all_is_all():
    assert share(9999, 10_000) == "99.9"
    assert share(10_000, 10_000) == "100.0"


def test_it_measures_what_it_runs_in_every_process(tmp_path, monkeypatch, capfd):
    pytest.importorskip("coverage")
    monkeypatch.setattr(coverage_table, "FOLDER", tmp_path)
    monkeypatch.setattr("sys.argv", ["coverage", "--only", "simulation", "--seeds", "3"])
    monkeypatch.chdir(support.ROOT)
    monkeypatch.setenv("COVERAGE_FILE", "")
    monkeypatch.setenv("PYTHONPATH", str(support.ROOT))
    assert coverage_table.main() == 0
    told = capfd.readouterr().out
    assert "every law held" in told and "\nall " in told and "not run by the simulation:\nreactor/connections/" in told

"""`make sim`: the summary of many seeds, the story of one, and a status that tells."""

import pytest

from reactor.core.connection import Connection
from scripts import sim


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["sim.py", *arguments])
    status = sim.main()
    return status, capsys.readouterr().out


def test_many_seeds_end_with_a_summary(monkeypatch, capsys):
    status, text = run(monkeypatch, capsys, "--seeds", "60", "--first", "100")
    assert status == 0
    for word in (
        "scenarios    60",
        "iterations",
        "connections",
        "bytes",
        "faults",
        "states",
        "digest",
        "every law held",
    ):
        assert word in text


def test_one_seed_is_shown(monkeypatch, capsys):
    status, text = run(monkeypatch, capsys, "--seed", "3")
    assert status == 0
    assert text.startswith("seed 3: ") and "-- 1: dispatch" in text


def test_a_failure_names_the_seed_and_the_law_and_is_made_small(monkeypatch, capsys):
    monkeypatch.setattr(Connection, "check_high_mark", lambda connection: None)
    status, text = run(monkeypatch, capsys, "--seeds", "500")
    assert status == 1
    assert "law 4, the grammar" in text
    assert "broken by as little as possible" in text
    assert text.splitlines()[-1].startswith("show it again: make sim SEED=")


@pytest.mark.parametrize("arguments", [["--seeds", "many"], ["--seed", "-1"]])
def test_a_number_that_is_none_is_refused(monkeypatch, capsys, arguments):
    monkeypatch.setattr("sys.argv", ["sim.py", *arguments])
    with pytest.raises(SystemExit) as refused:
        sim.main()
    assert refused.value.code == 2
    assert "is not a whole number from 0 up" in capsys.readouterr().err

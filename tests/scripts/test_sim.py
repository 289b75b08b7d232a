"""`make sim`: the summary of many seeds, the trace of one, and the exit status."""

import signal

import pytest

from reactor.connections.acceptor import Acceptor
from reactor.connections.connection import Connection
from scripts import sim


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["sim.py", *arguments])
    status = sim.main()
    return status, capsys.readouterr().out


def test_many_seeds_end_with_a_summary(monkeypatch, capsys):
    status, text = run(monkeypatch, capsys, "--seeds", "60", "--first", "100")
    assert status == 0
    for word in (
        "scenarios    75",
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
    assert text.startswith("seed 3: ") and ": dispatch" in text


def test_a_failure_names_the_seed_and_the_law_and_is_made_small(monkeypatch, capsys):
    monkeypatch.setattr(Connection, "_check_high_mark", lambda connection: None)
    status, text = run(monkeypatch, capsys, "--seeds", "500")
    assert status == 1
    assert "law 4, the grammar" in text
    assert "broken by as little as possible" in text
    assert text.splitlines()[-1].startswith("show it again: make sim SEED=")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seeds", "many"], "'many' is not a whole number from 1 up"),
        (["--seeds", "0"], "'0' is not a whole number from 1 up"),
        (["--seed", "-1"], "'-1' is not a whole number from 0 up"),
        (["--first", "\N{SUPERSCRIPT TWO}"], "is not a whole number from 0 up"),
        (["--seed", "1" * 5000], "is not a whole number from 0 up"),
        (["--frogs"], "unrecognized arguments: --frogs"),
        (["--mut"], "unrecognized arguments: --mut"),
    ],
)
def test_a_mistake_is_answered_by_one_line(monkeypatch, capsys, arguments, words):
    monkeypatch.setattr("sys.argv", ["sim.py", *arguments])
    with pytest.raises(SystemExit) as refused:
        sim.main()
    said = capsys.readouterr().err
    assert refused.value.code == 2
    assert said.startswith("sim: ") and words in said and said.count("\n") == 1


def test_ctrl_c_in_the_middle_of_a_scenario_ends_it_with_one_line(monkeypatch, capsys):
    def interrupted(acceptor, listener, events):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Acceptor, "accept", interrupted)
    monkeypatch.setattr("sys.argv", ["sim.py", "--seeds", "50"])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert sim.main() == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr() == ("", "sim: interrupted\n")

"""The statistics for a person, and that each of them is documented."""

import re

import pytest

from reactor import Protocol, Reactor, Server
from reactor.service.statistics_table import FIGURES, Statistics

COLUMNS, ROWS = 75, 21  # of 80 by 24: the log indents each row by 4, and has a line above them and a prompt below


@pytest.fixture
def statistics():
    """Those of a server that has not done anything yet."""
    with Reactor() as reactor:
        return Server(Protocol, reactor=reactor).statistics()


def test_every_figure_of_the_statistics_is_documented(statistics):
    missing, gone = statistics.keys() - FIGURES.keys(), FIGURES.keys() - statistics.keys()
    where = "in FIGURES of reactor/service/statistics_table.py, then run scripts/readme_tables.py"
    assert not missing, f"describe {sorted(missing)} (group, unit, meaning) {where}"
    assert not gone, f"Server.statistics() has no {sorted(gone)}: remove it {where}"


def test_the_table_shows_every_figure_with_its_unit(statistics):
    statistics.update(
        listening=["0.0.0.0:80", "[::]:80"], open=12, accepted=1234, bytes_received=1_250_000_000, buffered_bytes=640,
        lag_seconds={"p50": 16e-6, "p99": 0.000_524_288, "max": 1.048576},
    )  # fmt: skip
    statistics["closed"].update(peer_closed=1200, reset=22)
    table = str(Statistics(statistics))
    words = " ".join(table.split())
    for shown in (
        "listening 0.0.0.0:80 [::]:80 connections open 12 accepted 1,234 ",
        " closed peer_closed 1,200 reset 22 traffic bytes_received 1.25 GB ",
        " buffered_bytes 640 B ",
        " lag p50 16 µs lag p99 524 µs lag max 1.05 s ",
        " lost_log_lines ",
    ):
        assert shown in f"{words} ", table
    for name in FIGURES:
        assert name.removesuffix("_seconds") in table


def test_of_the_reasons_only_those_that_came_are_shown(statistics):
    assert "peer_closed" not in str(Statistics(statistics))
    statistics["closed"]["peer_closed"] = 1
    assert "peer_closed" in str(Statistics(statistics)) and "reset" not in str(Statistics(statistics))


@pytest.mark.parametrize(("full", "shown"), [(False, "no"), (True, "yes")])
def test_yes_and_no_are_words(statistics, full, shown):
    assert re.search(rf" full +{shown}\b", str(Statistics({**statistics, "full": full})))


def test_the_table_of_a_busy_server_fits_a_screen(statistics):
    for name, value in statistics.items():
        if type(value) is int:
            statistics[name] = 9_876_543_210
    statistics["closed"] = dict.fromkeys(statistics["closed"], 9_999_999)
    statistics["lag_seconds"] = dict.fromkeys(statistics["lag_seconds"], 1073.741824)
    statistics["listening"] = ["0.0.0.0:65432", "[::]:65432", "unix:/run/reactor.sock"]
    rows = str(Statistics(statistics)).split("\n")
    assert len(rows) <= ROWS
    assert max(map(len, rows)) <= COLUMNS
    assert not [row for row in rows if re.search(r"[a-z_]\d", row.replace("lag p50", "").replace("lag p99", ""))]


def test_a_long_address_has_a_row_for_itself(statistics):
    path = "unix:/run/" + "x" * 40
    statistics["listening"] = ["127.0.0.1:80", path, "127.0.0.1:81", "127.0.0.1:82"]
    rows = str(Statistics(statistics)).split("\n")
    assert [row[13:] for row in rows[:3]] == ["127.0.0.1:80", path, "127.0.0.1:81   127.0.0.1:82"]

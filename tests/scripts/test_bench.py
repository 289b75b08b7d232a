"""The bench's arithmetic and its command line: outputs are parsed right, sums are right, doubts are shown."""

import io
import json
import shutil
import sys

import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("the bench reads Linux's /proc", allow_module_level=True)

from scripts import bench
from scripts.benchmarks import attribution, contenders, goals, instructions, report, rounds, rows, system_calls
from scripts.benchmarks.generator import Tools, find_compiler
from scripts.benchmarks.processes import MeasurementError
from scripts.benchmarks.rounds import Figure

SCALE = 0.001


@pytest.fixture(scope="module")
def tools():
    """The programs that can be built here, once for all tests."""
    with Tools(find_compiler()) as tools:
        yield tools


# The outputs of other programs.

STRACE = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ------------------
 51.10    0.012345           6      2010           sendto
 40.00    0.010000           4      2012         2 recvfrom
  8.00    0.002000          50        40           epoll_wait
  0.90    0.000200          10        20           epoll_pwait
  0.00    0.000000           0         1         1 access
------ ----------- ----------- --------- --------- ------------------
100.00    0.024545           5      4083         3 total
"""


def test_straces_table_is_read_with_and_without_errors_and_under_one_name_for_the_same_thing():
    assert system_calls.parse(STRACE) == {"send": 2010, "recv": 2012, "poll": 60, "access": 1}


def test_callgrinds_total_is_read_from_its_last_words():
    said = "==7== For interactive control\n==7== Events    : Ir\n==7== Collected : 365902301\n==7== \n"
    assert instructions.collected(said, "x") == 365_902_301
    with pytest.raises(MeasurementError, match="counted nothing for x; its last word: 'valgrind: cannot execute'"):
        instructions.collected("valgrind: cannot execute\n", "x")


# Two echoes: `outer` calls `inner`, which calls recv. From the second time on, a number stands for a name.
RECORD = """\
version: 1
desc: Trigger: Client Request: outer>
summary: 100
fn=(1) somewhere
50
desc: Trigger: Client Request: inner
summary: 300
fn=(2) _PyEval_EvalFrameDefault
cfn=(3) sock_recv
calls=1 0
0 120
+7 55
cfn=(4) PyLong_FromLong
calls=1 0
0 30
desc: Trigger: Client Request: outer
summary: 20
desc: Trigger: Client Request: outer>
summary: 100
desc: Trigger: Client Request: inner
summary: 340
fn=(2)
cfn=(3)
calls=1 0
0 160
desc: Trigger: Client Request: outer
summary: 20
desc: Trigger: Program termination
summary: 999999
"""


def test_instructions_go_to_the_innermost_function_and_are_counted_for_one_echo():
    inner, outer = sorted(attribution.attribute(io.StringIO(RECORD), 2), key=lambda part: part.name)
    assert (inner.name, inner.calls, inner.instructions, inner.system) == ("inner", 1, 320, {"recv": 140})
    assert (outer.name, outer.calls, outer.instructions, outer.system) == ("outer", 1, 120, {})


def test_a_record_without_parts_is_no_profile():
    with pytest.raises(MeasurementError, match="is Echo.data_received still called"):
        attribution.attribute(io.StringIO("desc: Trigger: Program termination\nsummary: 5\n"), 2)


# The arithmetic.


def results(**values):
    """Results of row `echo`: a list of values for each server, one for each round; None where it failed."""
    by_round = {
        name.replace("_", " "): {
            str(number): {"value": value, "kernel_share": 0.5, "busy": 0.95, "waited": 0.0, "details": {}}
            for number, value in enumerate(row, 1)
            if value is not None
        }
        for name, row in values.items()
    }
    return {
        "rounds": 3,
        "scale": 1.0,
        "most_connections": 9_000,
        "contenders": list(by_round),
        "rows": {"echo": {"title": "CPU per echo", "unit": "µs", "is_ratio": False}},
        "samples": {"echo": by_round},
        "failures": [],
    }


def test_a_figure_is_the_median_with_the_lowest_and_the_highest():
    assert Figure.of([3.0, 1.0, 2.0, 10.0, 2.5]) == Figure(2.5, 1.0, 10.0)
    assert Figure.of([]) is None


def test_a_ratio_compares_what_was_measured_in_the_same_round():
    # The machine was slower in each round: a comparison across rounds would make ours lose.
    drifting = results(reactor=[8.0, 16.0, 32.0], asyncio_Protocol=[10.0, 20.0, 40.0])
    assert rounds.ratio(drifting, "echo", "reactor") == Figure(0.8, 0.8, 0.8)


def test_a_round_that_one_of_the_two_lacks_is_left_out_of_the_ratio():
    gaps = results(reactor=[1.0, None, 9.0], asyncio_Protocol=[2.0, 2.0, None])
    assert rounds.ratio(gaps, "echo", "reactor") == Figure(0.5, 0.5, 0.5)
    assert rounds.ratio(results(reactor=[1.0], asyncio_Protocol=[None]), "echo", "reactor") is None


def verdicts(measured):
    return {goal.reference: verdict for goal, _, verdict in goals.check(measured) if goal.row == "echo"}


def test_goals_are_met_missed_or_wanting():
    found = verdicts(results(reactor=[7.0], asyncio_Protocol=[10.0], asyncio_streams=[10.0]))
    assert found["asyncio Protocol"] == "met"
    assert found["asyncio streams"] == "missed"
    assert found["uvloop Protocol"] == "uvloop Protocol not measured"
    assert set(verdicts(results(asyncio_Protocol=[10.0])).values()) == {"not measured"}


def test_better_than_every_other_means_the_best_of_them_and_no_yardstick():
    waits = {"reactor": 2.0, "asyncio_Protocol": 3.0, "threads": 4.0, "floor": 1.0, "limit": 1.0}
    measured = results(**{name: [wait] for name, wait in waits.items()})
    measured["samples"]["firehose"] = {
        name: {"1": {"value": 1.0, "details": {"beside": {"p99": sample["1"]["value"]}}}}
        for name, sample in measured["samples"]["echo"].items()
    }
    (found,) = ((value, verdict) for goal, value, verdict in goals.check(measured) if goal.reference == "every other")
    assert found == (pytest.approx(2 / 3), "met")


def test_what_turns_tell_of_the_same_moment_is_compared_turn_by_turn():
    measured = results(reactor=[9.0], asyncio_Protocol=[10.0])
    # A disturbance came in the second turn and went in the fourth, and the two medians are from different moments.
    measured["samples"]["echo"]["reactor"]["1"]["turns"] = [8.0, 8.0, 16.0, 16.0, 8.0]
    measured["samples"]["echo"]["asyncio Protocol"]["1"]["turns"] = [10.0, 20.0, 20.0, 20.0, 10.0]
    assert rounds.ratio(measured, "echo", "reactor") == Figure(0.8, 0.8, 0.8)


def test_a_turn_too_short_for_the_kernels_accounts_is_compared_with_nothing():
    measured = results(reactor=[9.0, 9.0], asyncio_Protocol=[10.0, 0.0])
    measured["samples"]["echo"]["reactor"]["1"]["turns"] = [8.0, 8.0, 9.0]
    measured["samples"]["echo"]["asyncio Protocol"]["1"]["turns"] = [0.0, 10.0, 0.0]
    assert rounds.ratio(measured, "echo", "reactor") == Figure(0.8, 0.8, 0.8)
    assert rounds.ratio(results(reactor=[9.0], asyncio_Protocol=[0.0]), "echo", "reactor") is None


def test_contenders_take_turns_and_all_of_a_row_comes_before_the_next(tools):
    order = []

    def measure(setting):
        try:
            for turn in "first", "second":
                yield
                order.append((setting.contender.name, turn))
                if len(order) == 7:
                    raise MeasurementError("out of luck")
            return rows.Sample(1.0)
        finally:
            order.append((setting.contender.name, "end"))

    row, once = rows.Row("a", "A", "µs", measure), rows.Row("b", "B", "µs", measure, rounds=1)
    pair = contenders.standard()[:2]
    found = rounds.measure([row, once], pair, tools, 2, 1.0, 10)
    ours, theirs = "reactor", "asyncio Protocol"
    whole = [(ours, "first"), (theirs, "first"), (ours, "second"), (ours, "end"), (theirs, "second"), (theirs, "end")]
    other = [(theirs, "first"), (ours, "first"), (theirs, "second"), (theirs, "end"), (ours, "second"), (ours, "end")]
    assert order == [*whole, (ours, "first"), (ours, "end"), *whole[1:2], *whole[4:], *other]
    assert found["failures"] == [{"round": 1, "row": "b", "contender": ours, "reason": "out of luck"}]
    assert found["samples"]["b"][ours] == {}
    assert list(found["samples"]["a"][theirs]) == ["1", "2"]


def test_whoever_interrupts_a_round_leaves_no_server_behind(tools):
    begun, ended = [], []

    def measure(setting):
        try:
            yield
            if setting.contender.name != "reactor":
                raise KeyboardInterrupt
            yield
        finally:
            ended.append(setting.contender.name)

    def begin(setting):
        begun.append(measure(setting))  # a reference remains
        return begun[-1]

    with pytest.raises(KeyboardInterrupt):
        rounds.measure([rows.Row("a", "A", "µs", begin)], contenders.standard()[:2], tools, 1, 1.0, 10)
    assert sorted(ended) == ["asyncio Protocol", "reactor"]


def test_the_report_shows_figures_and_every_doubt():
    measured = results(reactor=[7.0, 8.0, 9.0], asyncio_Protocol=[10.0, 10.0, 10.0], trio=[None, None, None])
    measured["failures"] = [{"round": 1, "row": "echo", "contender": "trio", "reason": "no reply"}] * 3
    measured["most_connections"] = 500
    for sample in measured["samples"]["echo"]["reactor"].values():
        sample["busy"], sample["waited"] = 0.5, 0.2
        sample["details"] = {"by_name": {"recv": 1.0, "futex": 187.0}}
    text = report.text(measured)
    (line,) = (line for line in text.splitlines() if line.startswith("| reactor") and "0.80" in line and "7" in line)
    assert [cell.strip() for cell in line.split("|")[1:-1]] == [
        "reactor", "8", "7 - 9", "0.80", "0.70 - 0.90", "50%", "50%", "187.00 futex, 1.00 recv",
    ]  # fmt: skip
    assert "echo: trio failed in 3 of 3 rounds: no reply" in text
    assert "echo: the load was the bottleneck, so these figures are on the high side; busy: reactor 50%" in text
    assert "echo: others used the server's core for part of the time, distrust these: reactor 20%" in text
    assert "echo: strace made threads queue for the interpreter's lock, hence the futex calls: reactor" in text
    assert "the descriptor limit allows 500 connections" in text


# The command line.


def test_a_run_saves_its_figures_and_prints_them(tmp_path, capsys):
    output = tmp_path / "build" / "bench.json"
    words = ["rounds", "--rounds", "1", "--scale", str(SCALE), "--rows", "echo", "--servers", "reactor,asyncio Prot"]
    assert bench.main([*words, "--output", str(output)]) == 0
    saved = json.loads(output.read_text())
    assert saved["contenders"] == ["reactor", "asyncio Protocol", "reactor streams"]
    assert saved["machine"]["python"] == sys.version.split()[0]
    printed = capsys.readouterr().out
    assert "CPU per echo, 100 connections, 64 bytes:" in printed
    assert f"saved in {output}" in printed


def test_a_rival_that_is_not_installed_is_left_out_and_named(monkeypatch, tools):
    monkeypatch.setattr(contenders, "version", lambda package, python="": None)
    options = bench._parse(["rounds", "--rivals", "--servers", "reactor,curio"])
    found, notes = bench._contenders(options, tools)
    assert [who.name for who in found] == ["reactor", "reactor streams"]
    assert notes == ["curio is not installed: left out"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["rounds", "--rows", "echo,ehco"], "no row is called 'ehco'; there are echo, calls"),
        (["rounds", "--rounds", "0"], "'0' is not a whole number from 1 up"),
        (["rounds", "--scale", "nan"], "'nan' is not a number above 0 and below 1000"),
        (["rounds", "--against", "/nowhere"], "/nowhere is no checkout: it has no reactor/__init__.py"),
        (["instructions", "--python", "/nowhere/python"], "/nowhere/python is no program that can be run"),
    ],
)
def test_an_option_that_cannot_be_used_gets_one_line(capsys, words, complaint):
    with pytest.raises(SystemExit) as ended:
        bench.main(words)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line and line.startswith("bench")


def test_a_server_that_is_not_known_gets_one_line():
    with pytest.raises(SystemExit, match="^bench: no server is called 'unicorn'; there are reactor, asyncio Protocol,"):
        bench.main(["rounds", "--servers", "unicorn"])


@pytest.fixture
def counted(monkeypatch):
    """Stand-ins for valgrind: ours takes 600 instructions, asyncio's Protocol 1,000."""
    monkeypatch.setattr(instructions, "missing", lambda: "")
    monkeypatch.setattr(
        instructions, "per_message", lambda who, tools, work: 600.0 if who.name == "reactor" else 1000.0
    )


@pytest.mark.parametrize(("ratio", "status", "verdict"), [("0.6", 0, "within"), ("0.59", 1, "above")])
def test_the_check_fails_when_ours_is_above_the_ratio(counted, capsys, ratio, status, verdict):
    assert bench.main(["instructions", "--check", ratio]) == status
    printed = capsys.readouterr().out
    assert printed.endswith(f"\n0.600 × asyncio Protocol, {verdict} the {float(ratio):g} allowed\n")
    assert "uvloop" not in printed


def test_without_a_check_segments_of_lines_are_counted_too(counted, capsys):
    assert bench.main(["instructions"]) == 0
    echo, segment = capsys.readouterr().out.split("\n\nUser-space instructions per segment of 16 lines of 16 bytes, ")
    assert "| reactor " in echo and "instructions / echo" in echo
    assert "| reactor " in segment and "instructions / segment" in segment


def test_another_checkout_is_counted_too(counted, capsys, tmp_path):
    (tmp_path / "reactor").mkdir()
    (tmp_path / "reactor" / "__init__.py").touch()
    assert bench.main(["instructions", "--check", "0.6", "--against", str(tmp_path)]) == 0
    assert f"| reactor in {tmp_path} " in capsys.readouterr().out


def test_without_valgrind_the_check_passes_and_says_why(monkeypatch, capsys):
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "valgrind" else which(name))
    assert bench.main(["instructions", "--check", "0.6"]) == 0
    assert capsys.readouterr().out.startswith("bench: instructions not counted: valgrind is not here")
    assert bench.main(["instructions"]) == 1


# The pictures.


def test_pictures_are_drawn_from_saved_figures_and_always_the_same(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    measured = results(reactor=[7.0, 8.0, 9.0], asyncio_Protocol=[10.0, 10.0, 10.0])
    percentiles = dict.fromkeys(rows.PERCENTILES, 100.0)
    for name in measured["contenders"]:
        samples = measured["samples"]["echo"][name]
        for sample in samples.values():
            sample["details"] = {"microseconds": {"10": 7.0, "100": 8.0}, "quiet": percentiles, "beside": percentiles}
    measured["samples"]["growth"] = measured["samples"]["firehose"] = measured["samples"]["echo"]
    saved = tmp_path / "bench.json"
    saved.write_text(json.dumps(measured))
    drawn = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        assert bench.main(["pictures", str(saved), "--folder", str(folder)]) == 0
        drawn.append({path.name: path.read_text() for path in folder.iterdir()})
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) == {"cpu_per_echo.svg", "connections.svg", "latency.svg"}
    assert all("reactor" in text for text in drawn[0].values())


def test_without_figures_one_line_says_what_makes_them(tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(SystemExit, match=r"^bench: no figures in .*none\.json.*`make bench`"):
        bench.main(["pictures", str(tmp_path / "none.json")])

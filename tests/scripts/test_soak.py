"""The soak says yes to a good server, and no to each fault that it must find."""

import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys

import pytest

from scripts import soak, soak_verdict
from scripts.soak_verdict import MIB, Findings, Pause, Sample
from tests import support

DEADLINE_SECONDS = 240
CLOSED = {"peer_closed": 0, "reset": 0, "idle_timeout": 0, "write_stalled": 0}


def told(accepted, still_open=0):
    """The statistics of a server that has had so many connections, of which so many are still open."""
    ended = accepted - still_open
    closed = CLOSED | {"peer_closed": ended // 2, "reset": ended - ended // 2 - 1, "idle_timeout": 1}
    lag = {"p50": 1e-4, "p99": 1e-3, "max": 1e-2}
    return {
        "accepted": accepted, "connected": 0, "open": still_open, "closed": closed, "bytes_sent": 10**9,
        "lag_seconds": lag,
    }  # fmt: skip


def good_findings(rounds=10):
    """What a soak sees of a good server."""
    pauses = [Pause(told(100 * number), 18 * MIB, 8, 0.001) for number in range(1, rounds + 1)]
    return Findings(
        max_connections=50,
        start=Sample(told(2), 16 * MIB, 8),
        samples=[Sample(told(100 * number - 50, still_open=50), 20 * MIB, 58) for number in range(1, rounds + 1)],
        pauses=pauses,
        reasons_expected=["idle_timeout"],
        connected=100 * rounds - 3,
        connected_at_most_more=10,
        honest_clients=500,
        honest_messages=5000,
        exit_status=0,
        seconds=600.0,
    )


def broken_laws(findings):
    return [check.law for check in soak_verdict.judge(findings) if not check.holds]


def plain_table(rows, **_):
    return "\n".join(str(row) for row in rows)


def set_pauses(findings, name, values):
    for pause, value in zip(findings.pauses, values, strict=True):
        setattr(pause, name, value)


def grow(findings, bytes_a_round):
    set_pauses(findings, "resident_bytes", [18 * MIB + number * bytes_a_round for number in range(10)])


def jump_in_the_last_pause(findings):
    findings.pauses[-1].descriptors += 1


def count_wrongly(findings):
    findings.samples[3].statistics["closed"]["reset"] -= 1


def leave_one_open(findings):
    findings.pauses[4].statistics = told(500, still_open=1)


FAULTS = {
    "a leak": (lambda findings: grow(findings, MIB // 4), "memory"),
    "a descriptor": (jump_in_the_last_pause, "descriptors"),
    "fewer descriptors": (lambda findings: set_pauses(findings, "descriptors", [7] * 10), "descriptors"),
    "spinning once": (lambda findings: set_pauses(findings, "cpu_share", [0.0] * 9 + [1.0]), "less than 5% of a core"),
    "a sum that is wrong": (count_wrongly, "accounted for"),
    "one that never ends": (leave_one_open, "accounted for"),
    "one that was never accepted": (lambda findings: setattr(findings, "connected", 1001), "accounted for"),
    "one that nobody made": (lambda findings: setattr(findings, "connected", 989), "accounted for"),
    "one too many at once": (lambda findings: setattr(findings, "max_connections", 49), "at once"),
    "a limit that never acts": (lambda findings: findings.reasons_expected.append("write_stalled"), "limit"),
    "an honest client's error": (lambda findings: findings.note_errors({"reset": 1}), "honest"),
    "no honest client": (lambda findings: setattr(findings, "honest_clients", 0), "honest"),
    "a traceback": (lambda findings: findings.note_log("Traceback (most recent call last):\n"), "traceback"),
    "an error": (lambda findings: findings.note_log("2026-01-01 00:00:00,000 ERROR no\n"), "error in the log"),
    "a bad end": (lambda findings: setattr(findings, "exit_status", 1), "SIGTERM"),
    "no end": (lambda findings: setattr(findings, "exit_status", None), "SIGTERM"),
    "a broken run": (lambda findings: setattr(findings, "failure", "it is gone"), "SIGTERM"),
}


# The verdict, on made-up samples.


def test_a_server_that_is_as_it_should_be_is_flat():
    findings = good_findings()
    assert broken_laws(findings) == []
    assert soak_verdict.verdict(findings, soak_verdict.judge(findings)) == "Verdict: flat, after 10.0 minutes."


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_breaks_the_law_that_is_there_for_it_and_no_other(fault):
    findings = good_findings()
    spoil, law = FAULTS[fault]
    spoil(findings)
    (broken,) = broken_laws(findings)
    assert law in broken
    checks = soak_verdict.judge(findings)
    assert soak_verdict.verdict(findings, checks).startswith(f"Verdict: NOT flat, after 10.0 minutes. Broken: {broken}")


def test_what_a_server_takes_while_it_warms_up_is_no_leak():
    findings = good_findings()
    findings.pauses[0].resident_bytes = 10 * MIB
    assert broken_laws(findings) == []


def test_one_pause_with_more_memory_is_no_leak():
    findings = good_findings()
    findings.pauses[-1].resident_bytes = 30 * MIB
    assert broken_laws(findings) == []


def test_memory_may_grow_by_a_share_or_by_a_number_of_bytes_whichever_is_more():
    findings = good_findings(rounds=3)
    for before, after, is_flat in ((18, 19, True), (18, 19.1, False), (100, 105, True), (100, 105.1, False)):
        findings.pauses[1].resident_bytes = int(before * MIB)
        findings.pauses[2].resident_bytes = int(after * MIB)
        assert (broken_laws(findings) == []) is is_flat


def test_what_was_never_looked_at_does_not_hold():
    nothing_seen = Findings(max_connections=50, exit_status=0)
    broken = broken_laws(nothing_seen)
    assert len(broken) == 7  # all but the log, which is empty, and the exit status
    assert "NOT flat" in soak_verdict.render(nothing_seen, soak_verdict.judge(nothing_seen), plain_table)


def test_of_many_pauses_ten_are_shown_with_the_first_and_the_last():
    findings = good_findings(rounds=30)
    shown = soak_verdict.render(findings, soak_verdict.judge(findings), plain_table)
    numbers = [int(number) for number in re.findall(r"'pause': (\d+)", shown)]
    assert (len(numbers), numbers[0], numbers[-1]) == (10, 1, 30)
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("minutes", [0.01, 0.1, 0.2, 1, 10, 600])
def test_however_short_a_soak_is_there_are_pauses_to_compare(minutes):
    plan = soak.Plan.of(minutes)
    assert plan.rounds >= 3
    assert plan.pause_seconds >= 0.5 and plan.load_seconds >= 0.5
    if minutes >= 0.1:
        assert plan.rounds * (plan.load_seconds + plan.pause_seconds) == pytest.approx(minutes * 60)


def test_in_ten_minutes_every_limit_has_the_time_to_act():
    plan = soak.Plan.of(10)
    assert all(plan.load_seconds > soak.LIMITS[limit] + soak.ACTING_EXTRA_SECONDS for limit in soak.ACTING.values())


# A real soak, as short as possible.


def run(*options):
    return subprocess.run(
        [sys.executable, soak.__file__, *options],
        cwd=support.ROOT,
        env=support.package_environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )


@pytest.fixture
def soak_of(tmp_path):
    """Run the shortest soak; return the ended process, and what it wrote as JSON."""

    def soak_of(app):
        result = run("--minutes=0.05", f"--app={app}", f"--json={tmp_path / 'soak.json'}")
        assert "Traceback" not in result.stderr
        return result, json.loads((tmp_path / "soak.json").read_text())

    return soak_of


def broken_laws_of(figures):
    return {check["law"] for check in figures["checks"] if not check["holds"]}


def test_a_short_soak_of_the_echo_server_breaks_no_law(soak_of):
    result, figures = soak_of("echo")
    # Rounds of half a second are all warm-up, so they cannot show whether memory is flat.
    assert {law for law in broken_laws_of(figures) if "memory" not in law} == set(), result.stdout
    assert result.returncode == (1 if broken_laws_of(figures) else 0)
    assert [line[:12] for line in result.stderr.splitlines()] == ["round 1 of 3", "round 2 of 3", "round 3 of 3"]
    assert figures["honest_messages"] > 0 and figures["connected"] > 0


def test_a_server_with_faults_that_no_client_notices_is_found_out(soak_of):
    result, figures = soak_of("tests.scripts.bad_programs:Harmful")
    broken = broken_laws_of(figures)
    assert result.returncode == 1 and "Verdict: NOT flat" in result.stdout
    for word in ("memory", "descriptors", "of a core", "traceback"):
        assert any(word in law for law in broken), (word, result.stdout)
    assert not any("honest" in law for law in broken), result.stdout


def test_a_server_that_dies_is_a_verdict_and_no_traceback(soak_of):
    result, figures = soak_of("tests.scripts.bad_programs:Mortal")
    assert result.returncode == 1 and "Verdict: NOT flat" in result.stdout
    assert figures["failure"] == "the server ended with status 3 in the middle"
    assert figures["exit_status"] is None


def test_a_program_that_cannot_be_served_is_one_line():
    result = run("--minutes=0.05", "--app=nonsense")
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "there is no program 'nonsense'" in result.stderr


@pytest.mark.parametrize(("path", "why"), [("no/such/folder/soak.json", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_written_is_told_before_the_run(path, why):
    result = run("--minutes=0.05", f"--json={path}")
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert f"soak: cannot write '{path}': {why}" in result.stderr


def test_ctrl_c_ends_it_with_the_figures_up_to_then():
    with support.running([sys.executable, soak.__file__, "--minutes=1"], cwd=support.ROOT) as process:
        clients = f"/proc/{process.pid}/task/{process.pid}/children"
        support.wait_until(lambda: len(pathlib.Path(clients).read_text().split()) == 3, "a round to begin")
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert "interrupted" in process.stderr.text and "Traceback" not in process.stderr.text
        assert "Verdict: NOT flat" in process.stdout.text


def test_ctrl_c_in_the_middle_of_a_start_waits_until_that_is_done():
    done = []
    with pytest.raises(KeyboardInterrupt), soak._ctrl_c_waits():
        os.kill(os.getpid(), signal.SIGINT)
        done.append("started")
    assert done == ["started"]


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "ten"])
def test_a_time_that_is_none_is_refused_with_one_line(value):
    result = run(f"--minutes={value}")
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert f"'{value}' is not a number of minutes above 0" in result.stderr


def test_make_soak_passes_the_minutes():
    arguments = ["make", "-n", "soak", f"PYTHON={sys.executable}", "MINUTES=0.5", "ARGS=--json FILE"]
    inherited = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "PYTHON", "ARGS")
    environment = {name: value for name, value in support.package_environment().items() if name not in inherited}
    result = subprocess.run(
        arguments, cwd=support.ROOT, env=environment, capture_output=True, text=True, timeout=DEADLINE_SECONDS
    )
    assert result.returncode == 0, result.stderr
    command = shlex.split(result.stdout.splitlines()[-1])
    assert command[-5:] == ["scripts/soak.py", "--minutes", "0.5", "--json", "FILE"]

"""The laws hold in thousands of scenarios. The simulation follows from its seed, is broad, and leaves no trace."""

import logging
import os
import subprocess
import sys

import pytest

from reactor.connections import buffers, dispatcher
from reactor.connections import connection as connection_module
from reactor.connections.connection import Connection
from reactor.connections.states import CloseReason
from reactor.simulation.sockets import Faults
from scripts.proof.laws import STEP_COUNT, STEPS
from scripts.proof.scenarios import ALL_PROGRAMS, COROUTINES_FROM, make, with_coroutines
from scripts.proof.summary import Summary, explain_seed, survey
from scripts.proof.world import simulate
from tests.support import package_path

CHUNK = 500
CHUNKS = 5  # `make sim` runs more of them
# The digest of the first 200 seeds, on every machine and version of Python. An intended change of the core, or of
# what is drawn, changes it: then write down the new one.
FIRST_SEEDS, THEIR_DIGEST = range(200), "f5e1ee57"
FIRST_COROUTINES, THEIR_OWN_DIGEST = range(COROUTINES_FROM, COROUTINES_FROM + 100), "73485c32"
totals = Summary()


@pytest.mark.parametrize("first", [*range(0, CHUNK * CHUNKS, CHUNK), COROUTINES_FROM])
def test_every_law_holds(first):
    summary, failed = survey(range(first, first + CHUNK))
    totals.add_all(summary)
    assert failed is None, "\n".join(explain_seed(failed))


def test_all_of_them_together_have_been_everywhere():
    if totals.scenarios < CHUNK * (CHUNKS + 1):
        pytest.skip("only when all of the scenarios above were run")
    assert {(before, after) for before, following in STEPS.items() for after in following} == totals.steps
    assert len(totals.steps) == STEP_COUNT
    assert set(totals.reasons) == {reason.value for reason in CloseReason}
    assert set(totals.faults) == {
        "EAGAIN", "EMFILE", "accept: newcomer", "accept: want", "epoll_ctl", "log dawdles", "log raises", "log writes",
        "setsockopt", "short recv", "short send",
        "foreign", "spurious", "stopped", "thread",
    }  # fmt: skip


def test_every_program_and_both_demultiplexers_are_drawn():
    scenarios = [make(seed) for seed in range(400)]
    assert {scenario.program for scenario in scenarios} == set(ALL_PROGRAMS)
    assert {scenario.epoll for scenario in scenarios} == {True, False}
    assert {step[0] for scenario in scenarios for plan in scenario.peers for step in plan.steps} >= {
        "send", "trickle", "wait", "expect", "stop", "read", "fin", "end", "close", "reset", "cut", "drop", "dead",
        "vanish",
    }  # fmt: skip
    for name in Faults._fields:
        assert len({getattr(scenario.faults, name) for scenario in scenarios}) > 1, name


def test_every_fourth_seed_has_one_with_coroutines_beside_it():
    numbers = [*with_coroutines(range(3, 9))]
    assert numbers == [3, 4, COROUTINES_FROM + 1, 5, 6, 7, 8, COROUTINES_FROM + 2]
    assert {make(seed).program for seed in numbers if seed >= COROUTINES_FROM} == {"Coroutines"}


def test_a_seed_is_the_same_scenario_in_any_process():
    program = (
        "from scripts.proof.summary import survey, explain_seed\n"
        "summary, _ = survey([*range(60), *range(1_000_000, 1_000_030)])\n"
        "print(summary.digest, *explain_seed(8), sep='\\n')"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": number, "PYTHONPATH": package_path()},
            capture_output=True, text=True, check=True, timeout=240,
        ).stdout
        for number in ("1", "2")
    ]  # fmt: skip
    assert runs[0] == runs[1]
    assert runs[0].startswith(f"{survey([*range(60), *range(1_000_000, 1_000_030)])[0].digest}\n")


def test_a_seed_is_the_same_scenario_on_every_machine_and_version_of_python():
    summary, _ = survey(FIRST_SEEDS)
    assert f"{summary.digest:08x}" == THEIR_DIGEST
    summary, _ = survey(FIRST_COROUTINES)
    assert f"{summary.digest:08x}" == THEIR_OWN_DIGEST


def test_looking_on_changes_nothing():
    silent, traced = simulate(21), simulate(21, tracing=True)
    assert traced.trace and not silent.trace
    assert silent._replace(trace=[]) == traced._replace(trace=[])


def test_a_trace_tells_what_happened():
    text = "\n".join(explain_seed(4))
    assert text.startswith("seed 4: ")
    assert "peer 0" in text and "dispatch" in text and "descriptor 1000 accept" in text
    assert text.endswith("every law held")


def surroundings():
    """What a scenario replaces while it runs."""
    logger = logging.getLogger("reactor")
    sizes = buffers.BLOCK_BYTES, buffers.LARGE_BYTES, connection_module.LARGE_BYTES
    return logger.propagate, logger.level, list(logger.handlers), len(os.listdir("/dev/fd")), sizes


def test_afterwards_all_is_as_it_was():
    before = surroundings()
    for seed in [*range(30), *range(COROUTINES_FROM, COROUTINES_FROM + 30)]:
        simulate(seed)
    assert dispatcher.Connection is Connection
    assert surroundings() == before

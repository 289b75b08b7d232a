"""We break the reactor on purpose, in one place at a time, and the simulation has to notice."""

import sys

import pytest

from scripts.proof.hunting import MOST_SEEDS, Mutant, hunt, mutated, seeds_for
from scripts.proof.mutants import MUTANTS

LEAST_MUTANTS = 25


@pytest.fixture(scope="module")
def found(pytestconfig):
    """The result for each mutant, printed as a table at the end."""
    results = []
    yield results
    reporter = pytestconfig.pluginmanager.getplugin("terminalreporter")
    if reporter is not None and results:
        reporter.write_line(f"\n{'law':>3} {'seeds':>6}  mutant")
        for caught in results:
            reporter.write_line(f"{caught.law or '-':>3} {caught.seeds:>6}  {caught.mutant.name}")


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_the_simulation_notices_that(mutant, found):
    caught = hunt(mutant, seeds_for(mutant))
    found.append(caught)
    assert caught.law, f"no law was broken in {MOST_SEEDS} scenarios"


def test_there_are_enough_of_them_and_no_two_are_the_same():
    assert len(MUTANTS) >= LEAST_MUTANTS
    assert len({mutant.name for mutant in MUTANTS}) == len(
        {(mutant.file, mutant.old, mutant.new) for mutant in MUTANTS}
    )
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_a_mutant_that_does_not_fit_its_file_is_refused():
    with pytest.raises(ValueError, match="its text is 0 times in connections/reactor.py, and must be there once"):
        mutated(Mutant("none", "connections/reactor.py", "no such text", ""))
    with pytest.raises(ValueError, match="must be there once"):
        hunt(Mutant("many", "connections/reactor.py", "self", ""), range(1))


def test_a_change_that_is_none_breaks_no_law_and_leaves_nothing_behind():
    modules = set(sys.modules)
    harmless = Mutant("a comment", "connections/reactor.py", "    # The iteration.\n", "    # One turn.\n")
    caught = hunt(harmless, range(40))
    assert (caught.law, caught.seeds) == (0, 40)
    assert set(sys.modules) == modules

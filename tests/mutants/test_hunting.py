"""The mutants that a test has to catch: each fits its file, its test exists, and some of them are tried here.

`make mutants` tries all of them, which takes minutes.
"""

import ast

import pytest

from scripts.proof import hunting
from scripts.proof.mutants import MUTANTS as SIMULATED
from tests.mutants import apps, core, coroutines, floors, kv, streams
from tests.mutants.hunting import ROOT, Broken, Mutant, check_sound, copy_checkout, is_caught, mutated

MUTANTS = [
    mutant for each in (core, coroutines, streams, floors, apps, kv) for mutant in each.MUTANTS
]
LEAST_MUTANTS = 40
TRIED_HERE = [
    "what comes to the top in the moment of a look is thrown away",
    "one link-local network is the same on every interface",
    "all addresses of one family come first",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy of the checkout."""
    folder = tmp_path_factory.mktemp("checkout")
    copy_checkout(folder)
    return folder


def test_each_fits_its_file_and_is_still_python():
    for mutant in MUTANTS:
        compile(mutated(mutant), mutant.file, "exec", dont_inherit=True)


def test_each_names_a_test_that_is_there():
    files = {mutant.test.partition("::")[0] for mutant in MUTANTS}
    there = {
        f"{file}::{node.name}"
        for file in files
        for node in ast.parse((ROOT / file).read_text()).body
        if isinstance(node, ast.FunctionDef)
    }
    assert {mutant.test for mutant in MUTANTS} - there == set()


def test_there_are_enough_of_them_and_no_two_are_the_same():
    assert len(MUTANTS) >= LEAST_MUTANTS
    every = [(mutant.name, mutated(mutant)) for mutant in MUTANTS]
    every += [(mutant.name, hunting.mutated(mutant)) for mutant in SIMULATED]
    assert len({name for name, _ in every}) == len({text for _, text in every}) == len(every)


@pytest.mark.parametrize("name", TRIED_HERE)
def test_its_test_turns_red_when(name, folder):
    (mutant,) = (mutant for mutant in MUTANTS if mutant.name == name)
    assert is_caught(mutant, folder)
    assert (folder / mutant.file).read_text() == (ROOT / mutant.file).read_text()


def test_a_test_that_is_red_anyway_is_an_error(tmp_path):
    (tmp_path / "test_red.py").write_text("def test_red():\n    assert False\n")
    with pytest.raises(Broken, match="red without any mutant"):
        check_sound([Mutant("none", "", "", "", "test_red.py::test_red")], tmp_path)


def test_a_change_that_is_none_is_not_caught(folder):
    mutant = Mutant("a comment", "reactor/loop/reports.py", "  # a handler's own mistake", "  # its own mistake",
                    "tests/loop/test_reports.py::test_a_report_out_of_a_report_is_dropped")  # fmt: skip
    assert not is_caught(mutant, folder)


def test_a_mutant_that_cannot_be_tried_is_an_error_and_not_caught(folder):
    with pytest.raises(ValueError, match="its text is 0 times in reactor/loop/reports.py, and must be there once"):
        mutated(Mutant("none", "reactor/loop/reports.py", "no such text", "", "tests/loop/test_reports.py"))
    mutant = Mutant("no test", "reactor/loop/reports.py", "_lost = 0\n", "", "tests/loop/test_reports.py::test_none")
    with pytest.raises(Broken, match="pytest cannot run tests/loop/test_reports.py::test_none"):
        is_caught(mutant, folder)

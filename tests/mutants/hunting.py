"""Deliberate bugs that a named test has to catch, and how one is tried.

The simulation is a model of the kernel, so it misses what the model leaves out: signals and forks, terminals,
threads, the paths of UNIX sockets, the command line. There the tests are the proof, and we ask the same question as
in the simulation (`scripts/proof/mutants.py`): if this were wrong, would a test fail?

A mutant is data: a file, a piece of its text that occurs exactly once, the text that replaces it, and the test that
must fail. Most mutants remove what a comment explains. If no test fails then, the comment explains nothing.

The checkout is not changed. Package, scripts and tests are copied once, to a temporary folder. There we write each
mutant, run its test in a new pytest, and put the file back. All files are compiled beforehand, and no later Python
writes compiled files: a mutant may have the same size and second as its file, and Python compares nothing else.

The cost: for each mutant half a second, in which pytest starts, and its test.
"""

from __future__ import annotations

import compileall
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
COPIED = ("reactor", "scripts", "tests")
TEST_SECONDS = 20  # for one test: a mutant may make a loop endless
MUTANT_SECONDS = 120  # for all the cases of one test, the start of pytest included
USAGE_ERROR = 4  # pytest's exit status when there is no such test, or nothing can be imported


class Mutant(NamedTuple):
    """One bug."""

    name: str
    file: str  # below the checkout
    old: str
    new: str
    test: str  # the test that catches it, as pytest names it: FILE::FUNCTION


class Broken(Exception):
    """A mutant cannot be tried, for example because pytest does not find its test."""


def mutated(mutant: Mutant) -> str:
    """The changed text of its file. ValueError unless the old text is there exactly once."""
    text = (ROOT / mutant.file).read_text()
    count = text.count(mutant.old)
    if count != 1:
        raise ValueError(f"mutant {mutant.name!r}: its text is {count} times in {mutant.file}, and must be there once")
    return text.replace(mutant.old, mutant.new)


def copy_checkout(folder: pathlib.Path) -> None:
    """Copy what the tests need to `folder`."""
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        compileall.compile_dir(folder / name, quiet=2)
    for file in ROOT.iterdir():
        if file.is_file():
            shutil.copy2(file, folder)


def check_sound(mutants: Sequence[Mutant], folder: pathlib.Path) -> None:
    """`Broken` unless all tests pass in the unchanged `folder`: a test that fails anyway proves nothing."""
    tests = list(dict.fromkeys(mutant.test for mutant in mutants))
    result = _run(tests, folder, MUTANT_SECONDS + len(tests))
    if result.returncode:
        raise Broken(f"the tests are red without any mutant:\n{result.stdout}")


def is_caught(mutant: Mutant, folder: pathlib.Path) -> bool:
    """Whether its test fails in `folder`, which `copy_checkout` has filled. `Broken` if the test cannot run."""
    changed = mutated(mutant)
    file = folder / mutant.file
    try:
        file.write_text(changed)
        result = _run([mutant.test], folder, MUTANT_SECONDS)
    except subprocess.TimeoutExpired:
        return True  # the test does not end any more, and that is noticed too
    finally:
        shutil.copy2(ROOT / mutant.file, file)
    if result.returncode == USAGE_ERROR:
        raise Broken(f"mutant {mutant.name!r}: pytest cannot run {mutant.test}")
    return result.returncode != 0


def _run(tests: Sequence[str], folder: pathlib.Path, seconds: float) -> subprocess.CompletedProcess[str]:
    options = ["-x", "-q", "-p", "no:cacheprovider", f"--timeout={TEST_SECONDS}", f"--rootdir={folder}"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=seconds,
    )

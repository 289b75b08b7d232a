"""Deliberate bugs that a named test has to catch, and how one is tried.

The simulation is a model of the kernel, so it cannot know what the model leaves out: signals and forks, terminals,
threads, the paths of UNIX sockets, the command line. There the tests are the proof, and the same question is put to
them as to the simulation (`scripts/proof/mutants.py`): if this were wrong, who would notice?

A mutant is data: a file, a piece of its text that occurs exactly once, what stands there instead, and the test that
turns red. Most of them take away what a comment explains: if nothing turns red, the comment explains nothing.

The checkout is not touched. Package, scripts and tests are copied to a temporary folder once; there each mutant is
written, its test is run by a pytest of its own, and the file is put back. The compiled files are made beforehand, and
no later Python writes any: a file and its mutant may agree in all that Python compares, its size and its second.

The cost: a start of pytest for each mutant, half a second, beside its test.
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
    test: str  # who catches it, as pytest names it: FILE::FUNCTION


class Broken(Exception):
    """A mutant that cannot be tried: pytest does not find its test, for instance."""


def mutated(mutant: Mutant) -> str:
    """The text of its file, changed. ValueError unless what is to be changed is there exactly once."""
    text = (ROOT / mutant.file).read_text()
    count = text.count(mutant.old)
    if count != 1:
        raise ValueError(f"mutant {mutant.name!r}: its text is {count} times in {mutant.file}, and must be there once")
    return text.replace(mutant.old, mutant.new)


def copy_checkout(folder: pathlib.Path) -> None:
    """Copy to `folder` what tests need."""
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        compileall.compile_dir(folder / name, quiet=2)
    for file in ROOT.iterdir():
        if file.is_file():
            shutil.copy2(file, folder)


def check_sound(mutants: Sequence[Mutant], folder: pathlib.Path) -> None:
    """`Broken` unless the tests of all are green in `folder` as it is: one that is red anyway proves nothing."""
    tests = list(dict.fromkeys(mutant.test for mutant in mutants))
    result = _run(tests, folder, MUTANT_SECONDS + len(tests))
    if result.returncode:
        raise Broken(f"the tests are red without any mutant:\n{result.stdout}")


def is_caught(mutant: Mutant, folder: pathlib.Path) -> bool:
    """Whether its test turns red, in `folder`, which `copy_checkout` has filled. `Broken` if that cannot be told."""
    changed = mutated(mutant)
    file = folder / mutant.file
    try:
        file.write_text(changed)
        result = _run([mutant.test], folder, MUTANT_SECONDS)
    except subprocess.TimeoutExpired:
        return True  # nothing in it comes to an end any more: whoever runs this test notices
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

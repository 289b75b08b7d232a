"""Deliberate bugs, and whether the simulation finds them.

A simulation that finds nothing may be looking at nothing. So the reactor is broken on purpose, in one place at a
time, in the ways that such servers are broken in earnest, and the seeds are gone through until a law is violated. A
mutant that is not found means that a law is missing, or that no scenario gets to the place.

A mutant is data: a file of the package, a piece of its text that occurs exactly once, and what stands there instead.
Nothing on disk is touched. The whole package is imported a second time under another name, with that one file's
text changed on the way. Its imports are relative, so the copy of the simulation that comes with it runs the copy of
the core, and the original never notices.
"""

from __future__ import annotations

import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import pathlib
import sys
from collections.abc import Sequence
from types import CodeType, ModuleType
from typing import NamedTuple

PACKAGE = pathlib.Path(__file__).resolve().parent.parent
MOST_SEEDS = 10_000  # that are tried for one mutant: as many as `make sim` goes through


class Mutant(NamedTuple):
    """One bug."""

    name: str
    file: str  # below the package
    old: str
    new: str


class Caught(NamedTuple):
    """What came of one."""

    mutant: Mutant
    law: int  # 0: it was not caught
    seeds: int  # how many were needed, the last of them included
    text: str


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a file of the package under another name; the mutated one from changed text."""

    mutant: Mutant | None = None

    def get_code(self, fullname: str) -> CodeType | None:
        mutant, path = self.mutant, pathlib.Path(self.path)
        if mutant is None or path != PACKAGE / mutant.file:
            return super().get_code(fullname)
        return compile(mutated(mutant), str(path), "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of the copy of the package called `name`."""

    def __init__(self, name: str, mutant: Mutant | None) -> None:
        self.name = name
        self.mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        first, *rest = fullname.split(".")
        if first != self.name:
            return None
        place = PACKAGE.joinpath(*rest)
        package = place.is_dir()
        file = place / "__init__.py" if package else place.with_suffix(".py")
        loader = _Loader(fullname, str(file))
        loader.mutant = self.mutant
        return importlib.util.spec_from_file_location(
            fullname, file, loader=loader, submodule_search_locations=[str(place)] if package else None
        )


def mutated(mutant: Mutant) -> str:
    """The text of its file, changed. ValueError unless what is to be changed is there exactly once."""
    text = (PACKAGE / mutant.file).read_text()
    count = text.count(mutant.old)
    if count != 1:
        raise ValueError(f"mutant {mutant.name!r}: its text is {count} times in {mutant.file}, and must be there once")
    return text.replace(mutant.old, mutant.new)


def hunt(mutant: Mutant, seeds: range) -> Caught:
    """Go through `seeds` until a law is broken. ValueError when the mutant does not fit its file any more."""
    mutated(mutant)
    collecting = gc.isenabled()
    gc.disable()  # see `summary.survey`
    name = f"{PACKAGE.name}_mutant"
    finder = _Finder(name, mutant)
    sys.meta_path.insert(0, finder)
    try:
        simulate = importlib.import_module(f"{name}.simulation.world").simulate
        for number, seed in enumerate(seeds, 1):
            outcome = simulate(seed)
            if outcome.law:
                return Caught(mutant, outcome.law, number, outcome.text)
        return Caught(mutant, 0, len(seeds), "every law held")
    finally:
        sys.meta_path.remove(finder)
        if collecting:
            gc.enable()
        for module in [module for module in sys.modules if module == name or module.startswith(name + ".")]:
            del sys.modules[module]

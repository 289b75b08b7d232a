"""Deliberate bugs, and whether the simulation finds them.

A simulation that finds nothing may be checking nothing. So we break the reactor on purpose, in one place at a time,
in ways in which real servers are broken, and run seeds until one of them breaks a law. If none does, a law is
missing, or no scenario gets to that place.

A mutant is data: a file of the package, a piece of its text that occurs exactly once, and the text that replaces it.
Nothing changes on disk. The package and this proof are imported a second time, with the changed text of that one
file. The modules of the first import are put aside meanwhile, and put back at the end.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.abc
import importlib.machinery
import pathlib
import sys
from collections.abc import Iterator, Sequence
from types import CodeType, ModuleType
from typing import NamedTuple

import reactor

from .scenarios import COROUTINES_FROM

PACKAGE = pathlib.Path(reactor.__file__).resolve().parent
IMPORTED_AGAIN = ("reactor", __package__)
MOST_SEEDS = 10_000  # tried for one mutant: as many as `make sim` runs


class Mutant(NamedTuple):
    """One bug."""

    name: str
    file: str  # below the package
    old: str
    new: str


class Caught(NamedTuple):
    """The result of one hunt."""

    mutant: Mutant
    law: int  # 0: it was not caught
    seeds: int  # how many were needed, with the last of them
    text: str


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads the file of a mutant from the changed text."""

    def __init__(self, fullname: str, path: str, mutant: Mutant) -> None:
        super().__init__(fullname, path)
        self.mutant = mutant

    def get_code(self, fullname: str) -> CodeType | None:
        return compile(mutated(self.mutant), self.path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of the package; that of the mutant is loaded from the changed text."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] != PACKAGE.name:
            return None
        where = [str(PACKAGE.parent)] if path is None else path
        spec = importlib.machinery.PathFinder.find_spec(fullname, where)
        file = PACKAGE / self.mutant.file
        if spec is not None and spec.origin is not None and pathlib.Path(spec.origin).resolve() == file:
            spec.loader = _Loader(fullname, spec.origin, self.mutant)
        return spec


@contextlib.contextmanager
def _imported_again(mutant: Mutant) -> Iterator[None]:
    """Imports in this block give a second copy of the package, which is broken, and of this proof."""
    parents = {name: sys.modules.get(name.rpartition(".")[0]) for name in IMPORTED_AGAIN}
    first = _take_modules()
    finder = _Finder(mutant)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        _take_modules()
        sys.modules.update(first)
        for name, parent in parents.items():
            if parent is not None:
                setattr(parent, name.rpartition(".")[2], first[name])


def _take_modules() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if any(f"{name}.".startswith(f"{top}.") for top in IMPORTED_AGAIN)]
    return {name: sys.modules.pop(name) for name in names}


def mutated(mutant: Mutant) -> str:
    """The changed text of its file. ValueError unless the old text is there exactly once."""
    text = (PACKAGE / mutant.file).read_text()
    count = text.count(mutant.old)
    if count != 1:
        raise ValueError(f"mutant {mutant.name!r}: its text is {count} times in {mutant.file}, and must be there once")
    return text.replace(mutant.old, mutant.new)


def seeds_for(mutant: Mutant) -> range:
    """The scenarios in which it is hunted: those with coroutines if it is a bug of these."""
    first = COROUTINES_FROM if mutant.file.startswith("coroutines/") else 0
    return range(first, first + MOST_SEEDS)


def hunt(mutant: Mutant, seeds: range) -> Caught:
    """Run `seeds` until a law is broken. ValueError if the mutant does not fit its file any more."""
    mutated(mutant)
    collecting = gc.isenabled()
    gc.disable()  # see `summary.survey`
    try:
        with _imported_again(mutant):
            simulate = importlib.import_module(f"{__package__}.world").simulate
            for number, seed in enumerate(seeds, 1):
                outcome = simulate(seed)
                if outcome.law:
                    return Caught(mutant, outcome.law, number, outcome.text)
        return Caught(mutant, 0, len(seeds), "every law held")
    finally:
        if collecting:
            gc.enable()

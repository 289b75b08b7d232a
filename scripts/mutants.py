"""Break the reactor on purpose, one bug at a time, and say what notices: the simulation, or a test by its name.

There are two tables. The simulation must find by itself the bugs in what it models (`scripts/proof/mutants.py`). All
other bugs (signals, forks, terminals, threads, the command line) are for a test to find, and the table says which one
(`tests/mutants/`). Nothing in the checkout is changed.

Exit status: 0 if everything was caught; 1 if not; 2 for options that cannot be used; 130 after Ctrl-C.

Usage: make mutants [ARGS="--only WORDS"]
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from scripts import output
from scripts.command_line import Parser
from scripts.proof.hunting import MOST_SEEDS, hunt
from scripts.proof.mutants import MUTANTS as SIMULATED
from tests.mutants import apps, core, coroutines, floors, kv, streams
from tests.mutants.hunting import check_sound, copy_checkout, is_caught

TESTED = [
    mutant for each in (core, coroutines, streams, floors, apps, kv) for mutant in each.MUTANTS
]


def main() -> int:
    arguments = parse_arguments()
    try:
        return show(arguments.only)
    except KeyboardInterrupt:
        output.tell("mutants: interrupted")
        return output.INTERRUPTED


def parse_arguments() -> argparse.Namespace:
    parser = Parser(prog="mutants", description="Break the reactor on purpose, and see who notices.")
    parser.add_argument("--only", default="", metavar="WORDS", help="those with WORDS in their name or their file")
    return parser.parse_args()


def show(only: str) -> int:
    """Show a line for each mutant with `only` in its name or file; return 1 if one was not caught, or there is none."""
    simulated = [mutant for mutant in SIMULATED if only in mutant.name or only in mutant.file]
    tested = [mutant for mutant in TESTED if only in mutant.name or only in mutant.file]
    caught = 0
    for mutant in simulated:
        found = hunt(mutant, range(MOST_SEEDS))
        caught += found.law > 0
        output.show(f"{mutant.name}: " + (f"law {found.law}, seed {found.seeds - 1}" if found.law else "NOT CAUGHT"))
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        folder = pathlib.Path(name)
        if tested:
            copy_checkout(folder)
            check_sound(tested, folder)
        for one in tested:
            red = is_caught(one, folder)
            caught += red
            output.show(f"{one.name}: {one.test}" + ("" if red else "  NOT CAUGHT"))
    every = len(simulated) + len(tested)
    output.show(f"{caught} of {every} caught")
    return int(caught < every or not every)


if __name__ == "__main__":
    sys.exit(output.run("mutants", main))

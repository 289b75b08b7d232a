"""Run the simulation: many seeds, one seed with its trace, or the mutants.

A seed is a whole scenario. "Is everything well?" runs many seeds, and with every fourth one more, whose programs are
coroutines. It ends with a summary, or with the first failure:
its seed, the law that it breaks, the last events before it, and the same failure made as small as possible. "What
happens in this one?" shows a single seed with its trace. "How much would it notice?" breaks the reactor on purpose,
one bug after the other, and says how soon each bug is found.

Nothing is downloaded, nothing listens, and nothing waits: any Python from 3.11 will do.
Exit status: 0 if every law held, or every mutant was found; 1 if not; 2 for options that cannot be used; 130 after
Ctrl-C.

Usage: make sim [SEEDS=10000], make sim SEED=1234, make sim ARGS=--mutants
"""

import argparse
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from scripts import output
from scripts.command_line import Parser
from scripts.proof.hunting import hunt, seeds_for
from scripts.proof.mutants import MUTANTS
from scripts.proof.scenarios import with_coroutines
from scripts.proof.summary import Summary, explain_seed, survey

PROGRESS_SECONDS = 2.0
MOST_DIGITS = 15  # in a number on the command line
INTERRUPTED = 130  # the shell's 128 + SIGINT


def main() -> int:
    arguments = parse_arguments()
    try:
        return run(arguments)
    except KeyboardInterrupt:
        output.tell("sim: interrupted")
        return INTERRUPTED


def run(arguments: argparse.Namespace) -> int:
    """Do what `arguments` ask for; return the exit status."""
    if arguments.mutants:
        return show_mutants()
    if arguments.seed is not None:
        return show_seed(arguments.seed)
    return show_survey(range(arguments.first, arguments.first + arguments.seeds))


def parse_arguments() -> argparse.Namespace:
    parser = Parser(prog="sim", description="Run the reactor on a simulated network.")
    parser.add_argument("--seeds", type=positive, default=10_000, metavar="N", help="go through N seeds (10000)")
    parser.add_argument("--first", type=natural, default=0, metavar="N", help="the first of them (0)")
    parser.add_argument("--seed", type=natural, metavar="N", help="show what happens in seed N, and nothing else")
    parser.add_argument("--mutants", action="store_true", help="break the reactor on purpose and see what notices")
    return parser.parse_args()


def natural(text: str) -> int:
    return whole_number(text, 0)


def positive(text: str) -> int:
    return whole_number(text, 1)


def whole_number(text: str, least: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS and int(text) >= least):
        bounds = f"from {least} up, of at most {MOST_DIGITS} digits"
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {bounds}")
    return int(text)


def show_survey(seeds: range) -> int:
    """Run `seeds`, a fourth more with coroutines, and show progress; end with the summary or the first failure."""
    numbers = [*with_coroutines(seeds)]
    began = time.process_time()
    told_at = [time.monotonic()]

    def tell(summary: Summary) -> None:
        if time.monotonic() - told_at[0] >= PROGRESS_SECONDS:
            told_at[0] = time.monotonic()
            output.tell(f"{summary.scenarios:,} of {len(numbers):,} scenarios")

    summary, failed = survey(numbers, tell)
    for line in summary.lines(time.process_time() - began):
        output.show(line)
    if failed is None:
        output.show("every law held")
        return 0
    output.show("")
    show_seed(failed)
    output.show(f"\nshow it again: make sim SEED={failed}")
    return 1


def show_seed(seed: int) -> int:
    """Show the trace of `seed`; return 1 if it breaks a law."""
    last = ""
    for line in explain_seed(seed):
        output.show(line)
        last = line
    return int(last != "every law held")


def show_mutants() -> int:
    """Show a line for each mutant; return 1 if one was not found."""
    missed = 0
    output.show(f"{'law':>3} {'seeds':>6}  mutant")
    for mutant in MUTANTS:
        caught = hunt(mutant, seeds_for(mutant))
        missed += not caught.law
        output.show(
            f"{caught.law or '-':>3} {caught.seeds:>6}  {mutant.name}" + ("" if caught.law else "  NOT CAUGHT"),
        )
    output.show(f"{len(MUTANTS) - missed} of {len(MUTANTS)} caught")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(output.run("sim", main))

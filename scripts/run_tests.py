"""Run the whole test suite, two halves of it at a time.

The suite is two kinds of tests that are slow in two ways: those that compute, and those that wait for another process
because that is what they are about (a server that must hold out for three seconds, a client that reads after two). One
after the other they take as long as both; side by side, on two cores, hardly longer than one of them. pytest runs one
test at a time, and what would let it run more is one more package for everyone to install. So there are two pytests.

Each half has the other for company, so no test may rely on an idle machine: none asserts a time.

With arguments there is one pytest, which gets them: `python scripts/run_tests.py -k echo -x`.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence

PYTEST = [sys.executable, "-m", "pytest"]
ALONE = ["tests/failures", "tests/simulation"]
HALVES = [["tests", *(f"--ignore={folder}" for folder in ALONE)], ALONE]


def main(arguments: Sequence[str], halves: Sequence[Sequence[str]] = HALVES) -> int:
    """Run one pytest with `arguments`, or one for each of `halves`; the status of the worst."""
    if arguments:
        return subprocess.run([*PYTEST, *arguments]).returncode
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that `finally` ends the others
    first, *others = halves
    cache = ["-p", "no:cacheprovider"]  # two pytests would write one cache
    with tempfile.TemporaryFile() as output:
        running = [subprocess.Popen([*PYTEST, *cache, *half], stdout=output) for half in others]
        try:
            statuses = [subprocess.run([*PYTEST, *cache, *first]).returncode]
            statuses += [process.wait() for process in running]
        finally:
            for process in running:  # Ctrl-C ends them too; whoever is left would be nobody's
                process.kill()
        output.seek(0)
        sys.stdout.write(output.read().decode(errors="replace"))
    return max(statuses, key=abs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Run the whole test suite, its parts at the same time.

The suite is two kinds of tests that are slow in two ways: those that compute, and those that wait for another process
because that is what they are about (a server that must hold out for three seconds, a client that reads after two). One
after the other they take as long as both; side by side, on two cores, hardly longer than one of them. pytest runs one
test at a time, and what would let it run more is one more package for everyone to install. So there are several.

Each part has the others for company, so no test may rely on an idle machine: none asserts a time.

With arguments there is one pytest, which gets them: `python scripts/run_tests.py -k echo -x`.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence

PYTEST = [sys.executable, "-m", "pytest"]
APART = ["tests/failures", "tests/scripts", "tests/proof"]  # a part each, and one for all the rest
PARTS = [["tests", *(f"--ignore={folder}" for folder in APART)], *([folder] for folder in APART)]


def main(
    arguments: Sequence[str], parts: Sequence[Sequence[str]] = PARTS, command: Sequence[str] = PYTEST
) -> int:
    """Run one pytest with `arguments`, or one for each of `parts`, by `command`; the status of the worst."""
    if arguments:
        return subprocess.run([*command, *arguments]).returncode
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that `finally` ends the others
    first, *others = parts
    cache = ["-p", "no:cacheprovider"]  # several pytests would write one cache
    with contextlib.ExitStack() as stack:
        outputs = [stack.enter_context(tempfile.TemporaryFile()) for _ in others]
        running = [
            subprocess.Popen([*command, *cache, *part], stdout=output)
            for part, output in zip(others, outputs, strict=True)
        ]
        try:
            statuses = [subprocess.run([*command, *cache, *first]).returncode]
            statuses += [process.wait() for process in running]
        finally:
            for process in running:  # Ctrl-C ends them too; whoever is left would be nobody's
                process.kill()
        for output in outputs:
            output.seek(0)
            sys.stdout.write(output.read().decode(errors="replace"))
    return max(statuses, key=abs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

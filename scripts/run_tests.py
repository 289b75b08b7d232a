"""Run the whole test suite, several parts at the same time.

Some tests compute, and others wait for another process because that is their subject (a server that must hold out for
three seconds, a client that reads after two). One after the other they take the time of both. Side by side on two
cores they take hardly longer than one. pytest runs one test at a time, and a plugin that changes this is one more
package to install. So this script runs several pytests.

The parts disturb each other, so no test may rely on an idle machine: no test asserts a time.

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
APART = ["tests/failures", "tests/scripts", "tests/proof"]  # each is a part, and all other tests are one more
PARTS = [["tests", *(f"--ignore={folder}" for folder in APART)], *([folder] for folder in APART)]


def main(
    arguments: Sequence[str], parts: Sequence[Sequence[str]] = PARTS, command: Sequence[str] = PYTEST
) -> int:
    """Run one pytest with `arguments`, or one for each of `parts`, by `command`; return the worst status."""
    if arguments:
        return subprocess.run([*command, *arguments]).returncode
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that `finally` ends the pytests
    first, *others = parts
    cache = ["-p", "no:cacheprovider"]  # otherwise several pytests would write the same cache
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
            for process in running:  # Ctrl-C ends them too; any that is left would have no parent
                process.kill()
        for output in outputs:
            output.seek(0)
            sys.stdout.write(output.read().decode(errors="replace"))
    return max(statuses, key=abs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

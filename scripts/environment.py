"""Make `.venv`, the environment of the tests and scripts, and keep it as setup.cfg wants it.

The package needs no other package; its tests, load generator and linters do. A newcomer should not have to read how
to set up an environment: `make test` does it. And when somebody pulls a change of setup.cfg, the environment should
follow.

So the Makefile runs this script before every target that needs `.venv`. The last thing that the script writes is a
stamp file in `.venv`, which says what is in there: the version of Python and the extras of setup.cfg that were
installed. If the stamp says what is wanted, there is nothing to do. If an extra is missing, it is added. If anything
else differs, or there is no stamp because the last attempt was interrupted, `.venv` is made anew. The stamp compares
contents, not times, so a fresh checkout does not start again.

The script reads the extras and gives them to pip. `pip install .[test]` would also put a copy of the package into
`.venv`; that copy would grow old, and the tests would test it instead of the checkout.

The cost: one more start of Python, about 40 ms, for each `make test`.

Usage, from the root of the repository: python scripts/environment.py EXTRA...
"""

import configparser
import contextlib
import fcntl
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator

ENVIRONMENT = pathlib.Path(".venv")
STAMP = ENVIRONMENT / "stamp.json"
PYTHON = ENVIRONMENT / "bin" / "python"
SETTINGS = pathlib.Path("setup.cfg")
VERSION = ".".join(map(str, sys.version_info[:3]))


def main(extras: list[str]) -> None:
    with SETTINGS.open() as settings:
        # Two terminals may run `make test` and `make run-clients`: the second waits for the first.
        fcntl.flock(settings, fcntl.LOCK_EX)
        offered = requirements_by_extra(settings.read())
        if unknown := [extra for extra in extras if extra not in offered]:
            sys.exit(f"{SETTINGS} has no extra {unknown[0]!r}; it has {', '.join(offered)}")
        installed = read_stamp(offered)
        missing = {extra: offered[extra] for extra in extras if extra not in installed}
        if not missing:
            return
        try:
            if not installed:
                make_environment()
            install(missing)
            STAMP.write_text(json.dumps({"python": VERSION, "extras": installed | missing}))
        finally:
            # Ctrl-C or a failure: an environment without a stamp is useless.
            if not STAMP.exists():
                shutil.rmtree(ENVIRONMENT, ignore_errors=True)


def requirements_by_extra(settings: str) -> dict[str, list[str]]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(settings)
    return {extra: lines.split("\n")[1:] for extra, lines in parser["options.extras_require"].items()}


def read_stamp(offered: dict[str, list[str]]) -> dict[str, list[str]]:
    """The extras that `.venv` holds, as setup.cfg names them now; none if `.venv` must be made anew."""
    try:
        stamp = json.loads(STAMP.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    installed: dict[str, list[str]] = stamp["extras"]
    # The Python that `.venv` was made from may have been removed since; the link then leads nowhere.
    usable = stamp["python"] == VERSION and os.access(PYTHON, os.X_OK)
    current = all(offered.get(extra) == wanted for extra, wanted in installed.items())
    return installed if usable and current else {}


def make_environment() -> None:
    # On Debian and Ubuntu, Python's venv module is there but cannot work without a second package.
    absent = [module for module in ("venv", "ensurepip") if not importlib.util.find_spec(module)]
    if absent:
        sys.exit(
            f"cannot make {ENVIRONMENT}: {sys.executable} has no {absent[0]} module; install it"
            f" (Debian, Ubuntu: apt-get install python{VERSION.rpartition('.')[0]}-venv) and run make again"
        )
    print(f"making {ENVIRONMENT} with Python {VERSION}", file=sys.stderr)
    # --clear removes file after file. Remove the stamp first: after an interruption it would say that all is there.
    STAMP.unlink(missing_ok=True)
    with another_name() as name:
        run([sys.executable, "-m", "venv", "--clear", name], f"cannot make {ENVIRONMENT}", "")


@contextlib.contextmanager
def another_name() -> Iterator[str]:
    """`.venv` by a name without a colon. venv refuses one, since PATH cannot hold it; we do not use PATH."""
    if os.pathsep not in os.getcwd():
        yield str(ENVIRONMENT)
        return
    with tempfile.TemporaryDirectory() as folder:
        link = pathlib.Path(folder, "checkout")
        link.symlink_to(os.getcwd())
        yield str(link / ENVIRONMENT)


def install(missing: dict[str, list[str]]) -> None:
    packages = [requirement for requirements in missing.values() for requirement in requirements]
    names = ", ".join(packages)
    print(f"installing {names}", file=sys.stderr)
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    remedy = "connect to a network, or set PIP_FIND_LINKS to a directory that has them, and run make again"
    run(command, f"cannot install {names}", f"; {remedy}")


def run(command: list[str], failure: str, remedy: str) -> None:
    """Run a command; if it fails, exit with one line: what failed, the command's last line, what to do."""
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if result.returncode:
        said = (result.stdout + result.stderr).strip().splitlines() or [f"status {result.returncode}"]
        sys.exit(f"{failure}: {said[-1]}{remedy}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)

"""A mistake on a command line, told in one line.

argparse prints its whole usage before it says what was wrong, so the one useful line is the last of ten. Here it is
the only line. It also says where the rest can be read. The exit status is 2, as usual for a mistake of usage.
"""

import argparse
from typing import Any, NoReturn

from scripts.output import show, tell


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that says little and accepts no abbreviated options.

    `prog` is needed: it begins each line, and it is a target of make.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, allow_abbrev=False, **options)

    def print_help(self, file: Any = None) -> None:
        """Show the help, with the errors of `show`."""
        show(self.format_help().rstrip("\n"))

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Write `message`, if it can be written, and exit with `status`."""
        if message:
            tell(message.rstrip("\n"))
        raise SystemExit(status)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, without the usage, and exit with status 2."""
        target = self.prog.translate({ord("_"): "-", ord(" "): "-"}).removesuffix("-rounds")  # the name in the Makefile
        self.exit(2, f"{self.prog}: {message} (see make {target} ARGS=--help)\n")

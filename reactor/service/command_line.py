"""`reactor serve APP`: a server from the shell, with errors that a person can act on.

Whatever is wrong with the command is said in one line that names it and says what would be right, before
anything is bound. A traceback here would be a bug of ours.

Exit status: 0 after a clean drain, 1 when the drain had to cut connections, 2 for a command that cannot be carried
out.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import logging
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ..core.limits import Limits
from ..core.protocol import Protocol
from ..net.addresses import parse
from .server import DEFAULT_BIND, Server
from .status import StatusLine, StatusLineHandler

APPS = "reactor.apps"
LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"

DESCRIPTION = """\
Serve a program over TCP from one event loop.

APP is a built-in program (chat, echo) or MODULE:NAME, a Protocol class or a
factory of them. ADDRESS is HOST:PORT, [IPV6]:PORT, :PORT (every interface),
unix:PATH or fd://N; port 0 takes a free one and says which."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command in `arguments` (default: those of the process); the exit status."""
    # Started with standard error closed, as by some supervisors: say it to nobody, and leave descriptor 2 to no socket.
    sys.stderr = sys.stderr or open(os.devnull, "w")
    options = _parse(arguments)
    handler = StatusLineHandler(sys.stderr) if sys.stderr.isatty() else logging.StreamHandler(sys.stderr)
    level = logging.DEBUG if options.verbose else logging.INFO
    logging.basicConfig(level=level, format=LOG_FORMAT, handlers=[handler])
    try:
        server = Server(load_program(options.app), options.bind, limits=_limits(options))
    except (OSError, ValueError, TypeError) as exc:
        return _refuse(exc)
    try:
        server.handle_signals()
        server.raise_descriptor_limit()
        server.listen()
    except OSError as exc:
        server.reactor.close()
        return _refuse(exc)
    status = StatusLine(server.reactor, sys.stderr) if sys.stderr.isatty() else None
    cut = server.run()
    if status is not None:
        status.clear()
    return 1 if cut else 0


def _refuse(exc: Exception) -> int:
    sys.stderr.write(f"reactor: {getattr(exc, 'strerror', None) or exc}\n")
    return 2


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Every option on a line of its own, so that all of them fit a screen."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, without the usage that argparse would print before it."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="reactor", description="An event-loop TCP server in pure Python.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    serve = commands.add_parser(
        "serve",
        help="serve a program",
        description=DESCRIPTION,
        usage="reactor serve APP [--bind ADDRESS]... [--LIMIT N]...",
        formatter_class=_Formatter,
    )
    serve.add_argument("app", metavar="APP", help=argparse.SUPPRESS)
    serve.add_argument(
        "--bind",
        action="append",
        type=_address,
        metavar="ADDRESS",
        help=f"where to listen, may be repeated ({DEFAULT_BIND})",
    )
    serve.add_argument("--verbose", action="store_true", help="log every connection's end")
    _add_limits(serve)
    return parser.parse_args(arguments)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("limits")
    for field in dataclasses.fields(Limits):
        default = f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
        group.add_argument(
            "--" + field.name.replace("_", "-"),
            type={"int": int, "float": float}.get(str(field.type), str),
            default=field.default,
            metavar="N" if field.type == "int" else "S" if field.type == "float" else "NAME",
            help=f"{field.metadata['meaning']} ({default})".replace("%", "%%"),
        )


def _limits(options: argparse.Namespace) -> Limits:
    return Limits(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Limits)})


def _address(text: str) -> str:
    try:
        parse(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None
    return text


def load_program(name: str) -> Callable[[], Protocol]:
    """The built-in program of that name, or the `NAME` of `MODULE:NAME`; ValueError if there is none.

    A built-in program is the `PROGRAM` of a module in `reactor.apps`. It is looked up by name, since the house
    allows no imports from the floor above. Modules are found as `python -m` finds them, in the current folder
    too.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon and name in _built_in_programs():
        module_name, attribute = f"{APPS}.{name}", "PROGRAM"
    elif not attribute or not module_name or module_name.startswith("."):
        known = ", ".join(_built_in_programs())
        raise ValueError(f"there is no program {name!r}: write {known} or MODULE:NAME")
    program = _attribute(_module(module_name), attribute, name)
    if not callable(program):
        raise ValueError(f"{name} is not a Protocol class or a factory of them, but {program!r}")
    return program  # type: ignore[no-any-return]  # what it returns, only calling it can show


def _built_in_programs() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(importlib.import_module(APPS).__path__))


def _module(name: str) -> Any:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        raise ValueError(f"there is no module {exc.name!r} here or among the installed ones") from None
    except Exception as exc:  # the program's own mistake, whichever; a ValueError of it must not look like ours
        last = traceback.extract_tb(exc.__traceback__)[-1]
        place = "" if isinstance(exc, SyntaxError) else f" at {last.filename}:{last.lineno}"  # its text has it
        what = " ".join(f"{type(exc).__name__}: {exc}".split())
        raise ValueError(f"importing {name} failed{place}: {what}") from None


def _attribute(module: Any, path: str, name: str) -> Any:
    for part in path.split("."):
        try:
            module = getattr(module, part)
        except AttributeError:
            raise ValueError(f"{name} does not exist: {module!r} has no {part!r}") from None
    return module

"""`reactor serve APP`: a server from the shell, with errors that a person can act on.

If something is wrong with the command, one line names it and says what would be right. That happens before the server
listens anywhere. A traceback here is a bug of ours, however the program's import fails.

Exit status: 0 after a clean drain; 1 if the drain cut connections; 2 for a command that cannot be carried out; 130 for
Ctrl-C before it serves; 128 plus the signal's number if a callback never returned (`stuck`). An unread log or a full
disk does not change the status. Two moments are not covered. After the drain, up to a second is left for the rest of
the log, and a signal then has its default effect. So has Ctrl-C before Python runs `reactor/__init__.py`.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import dataclasses
import difflib
import importlib
import logging
import os
import pkgutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from . import __version__
from .connections.limits import Limits
from .loop.reports import report
from .net.addresses import parse
from .service import server as server_module
from .service.lines import JsonFormatter, LineFormatter
from .service.log import LogHandler
from .service.server import DEFAULT_BIND, Server
from .service.status import StatusLine, StatusLineHandler, can_show

logger = logging.getLogger("reactor.service")

APPS = "reactor.apps"
PACKAGE = os.path.dirname(__file__) + os.sep
INTERRUPTED = 128 + signal.SIGINT  # the status that a shell reports

FORMATTERS = {"plain": LineFormatter, "json": JsonFormatter}

DESCRIPTION = """\
Serve a program over TCP from one event loop.

APP is a built-in program ({programs}) or MODULE:NAME: an
async def, a Protocol class or a factory of them. ADDRESS is HOST:PORT,
[IPV6]:PORT, :PORT (every interface), unix:PATH or fd://N; port 0 takes a free
one and says which."""

EPILOG = """\
Every limit is an option, too. `{command} limits` lists them all.
Exit status: 0, or 1 if a connection was cut; 2 if it cannot serve.

examples:
  {command} serve echo --bind :9000 --max-connections 500
  {command} serve shop:Shop --idle-seconds 30 --log-format json"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command in `arguments` (default: those of the process). Returns the exit status."""
    _open_standard_streams()
    atexit.register(_let_go_of_standard_streams)
    options = _parse(arguments)
    if options.command == "limits":
        try:
            print(_table_of_limits(), flush=True)
        except OSError as exc:  # a full disk, a pipe without a reader
            return _refuse(exc, "plain")
        return 0
    fd, encoding = _standard_error()
    for_a_person = options.log_format == "plain" and can_show(fd)
    handler = (StatusLineHandler if for_a_person else LogHandler)(fd, encoding)
    handler.setFormatter(FORMATTERS[options.log_format]())
    logging.basicConfig(level=logging.DEBUG if options.verbose else logging.INFO, handlers=[handler])
    if options.access_log:
        logging.getLogger("reactor.access").setLevel(logging.DEBUG)
    _log_what_python_reports()
    try:
        return _serve(options, handler)
    except KeyboardInterrupt:  # Ctrl-C before the server handles signals, while a slow program is imported
        return INTERRUPTED
    finally:
        handler.finish()


def _serve(options: argparse.Namespace, handler: LogHandler) -> int:
    try:
        program, fast_path = load_program(options.app, options), not options.plain_path
        server = Server(program, options.bind, limits=_limits(options), fast_path=fast_path)
    except (OSError, ValueError, TypeError) as exc:
        return _refuse(exc, options.log_format)
    try:
        server.handle_signals()
        server.raise_descriptor_limit()
        server.listen()
    except OSError as exc:
        server.reactor.close()
        return _refuse(exc, options.log_format)
    status = StatusLine(server.reactor, handler) if isinstance(handler, StatusLineHandler) else None
    try:
        return 1 if server.run() else 0
    finally:
        if status is not None:
            status.clear()


def _refuse(exc: Exception, log_format: str) -> int:
    text = getattr(exc, "strerror", None) or str(exc)
    if log_format == "json":
        _say(text, JsonFormatter())
    else:
        _say(f"reactor: {text}")
    return 2


def _say(text: str, formatter: logging.Formatter | None = None) -> None:
    """Write `text` to standard error as one line. Give up if that fails or takes more than a second."""
    handler = LogHandler(*_standard_error())
    handler.setFormatter(formatter or LineFormatter("%(message)s"))
    record = {"name": logger.name, "levelno": logging.ERROR, "levelname": "ERROR", "msg": " ".join(text.split())}
    handler.emit(logging.makeLogRecord(record))
    handler.finish()
    handler.close()


# The standard streams.


def _open_standard_streams() -> None:
    """Open descriptors 0, 1 and 2, and `sys.stderr`, where they are closed.

    Some supervisors start a server with them closed. Then the first sockets would get these numbers, and text for
    standard error would go to a client.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    sys.stderr = sys.stderr or open(os.devnull, "w")


def _standard_error() -> tuple[int, str]:
    """The descriptor of `sys.stderr` and its encoding."""
    try:
        return sys.stderr.fileno(), sys.stderr.encoding
    except (OSError, ValueError, AttributeError):  # a program has replaced or closed it
        return 2, "utf-8"


def _log_what_python_reports() -> None:
    """Log warnings, and exceptions of threads and of `__del__`. Python would write to `sys.stderr`, which may wait."""
    logging.captureWarnings(True)
    sys.unraisablehook = _log_unraisable
    threading.excepthook = _log_thread


def _log_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    text = unraisable.err_msg or "Exception ignored in"
    report(logger, logging.ERROR, "%s: %s", text, _told(repr, unraisable.object), exc=unraisable.exc_value)


def _log_thread(raised: threading.ExceptHookArgs) -> None:
    if raised.exc_type is not SystemExit:  # as `threading.excepthook` does
        name = raised.thread.name if raised.thread is not None else "unknown"
        report(logger, logging.ERROR, "a thread raised: %s", name, exc=raised.exc_value)


def _let_go_of_standard_streams() -> None:
    """Keep Python from ending with status 120.

    Python does that when it cannot flush a standard stream (`flush_std_files` in Python/pylifecycle.c). But lost output
    of the program does not mean that the server failed. Python ignores a stream that is None.
    """
    sys.unraisablehook = sys.__unraisablehook__  # the log ends soon after this
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except Exception:  # a full disk, a pipe without a reader, None, or the program's own object
            setattr(sys, name, None)


# Parsing the command.


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Puts every option on one line, so that all of them fit a screen."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=24)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print one line, without the usage that argparse would print before it."""
        _say(f"{self.prog}: {message} (see {_command()}{self.prog.removeprefix('reactor')} --help)")
        self.exit(2)

    def refuse_unknown(self, arguments: Sequence[str]) -> NoReturn:
        """Say that there is no option like the first of `arguments`, and which one may be meant."""
        option = arguments[0].partition("=")[0]
        close = difflib.get_close_matches(option, self._option_string_actions, 1)
        meant = "--bind HOST:PORT" if option in ("--host", "--port") else close[0] if close else ""
        self.error(f"there is no option {arguments[0]}" + (f"; is {meant} meant?" if meant else ""))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="reactor", description="An event-loop TCP server in pure Python.")
    parser.add_argument("--version", action="version", version=f"reactor {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    serve = _add_serve(commands)
    _add_options_of_program(serve, sys.argv[1:] if arguments is None else arguments)
    text = "list the limits, which are options of serve, with their defaults"
    limits = commands.add_parser("limits", help=text, description=f"{text[0].upper()}{text[1:]}.")
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        (serve if options.command == "serve" else limits).refuse_unknown(unknown)
    return options


def _command() -> str:
    """What the user has typed to start this: the installed command, or a module of this Python."""
    return "reactor" if os.path.basename(sys.argv[0]) == "reactor" else "python -m reactor"


def _add_serve(commands: Any) -> _Parser:
    serve = commands.add_parser(
        "serve",
        help="serve a program",
        description=DESCRIPTION.format(programs=", ".join(_built_in_programs())),
        epilog=EPILOG.format(command=_command()),
        usage="reactor serve APP [--bind ADDRESS]... [--LIMIT VALUE]... [OPTION]...",
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
    serve.add_argument(
        "--log-format",
        choices=FORMATTERS,
        default="plain",
        metavar="FORMAT",
        help="plain, or json: one JSON object a line (plain)",
    )
    serve.add_argument("--access-log", action="store_true", help="log each connection when it ends")
    serve.add_argument("--verbose", action="store_true", help="log more, and each connection when it ends")
    serve.add_argument("--plain-path", action="store_true", help="dispatch events by the plain path, not the fast one")
    for field in dataclasses.fields(Limits):
        serve.add_argument(
            _option_of(field),
            type={"int": _whole, "float": _seconds}.get(str(field.type), str),
            default=field.default,
            help=argparse.SUPPRESS,  # `reactor limits` lists them
        )
    return serve  # type: ignore[no-any-return]


def _add_options_of_program(serve: _Parser, arguments: Sequence[str]) -> None:
    """Add the options that the built-in program among `arguments` has for itself, such as `--to` of the proxy."""
    programs = _built_in_programs()
    name = next((argument for argument in arguments if argument in programs), None)
    if name is not None:
        with contextlib.suppress(ValueError):  # it cannot be imported: `load_program` will say so
            module = _module(f"{APPS}.{name}")
            if hasattr(module, "add_options"):
                module.add_options(serve.add_argument_group(f"options of {name}"))


def _whole(text: str) -> int:
    try:
        return int(text.replace(",", ""))  # `reactor limits` prints 10,000
    except ValueError:
        raise argparse.ArgumentTypeError(f"a whole number is needed, not {text!r}") from None


def _seconds(text: str) -> float:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        raise argparse.ArgumentTypeError(f"a number of seconds is needed, not {text!r}") from None


def _option_of(field: dataclasses.Field[Any]) -> str:
    return "--" + field.name.replace("_", "-")


def _table_of_limits() -> str:
    """Every limit in a row: the option, its default, its meaning."""
    rows = [("option of serve", "default", "meaning")]
    for field in dataclasses.fields(Limits):
        default = field.default if isinstance(field.default, str) else f"{field.default:,}".removesuffix(".0")
        rows.append((_option_of(field), default, field.metadata["meaning"]))
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join(f"{option:<{first}} {default:>{second}}  {meaning}" for option, default, meaning in rows)


def _limits(options: argparse.Namespace) -> Limits:
    return Limits(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Limits)})


def _address(text: str) -> str:
    try:
        parse(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None
    return text


def load_program(name: str, options: argparse.Namespace | None = None) -> Callable[..., Any]:
    """The built-in program called `name`, or the `NAME` of `MODULE:NAME`. ValueError if there is none.

    A built-in program is the `PROGRAM` of a module in `reactor.apps`, so a new file there is a new program. If it has
    options of its own, the module has two functions in place of that: `add_options(parser)`, and
    `make_program(options)`, which raises ValueError with one line if they are wrong. Modules are found as `python -m`
    finds them, also in the current folder.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon and name in _built_in_programs():
        module_name, attribute = f"{APPS}.{name}", "PROGRAM"
        if hasattr(module := _module(module_name), "make_program"):
            return module.make_program(options)  # type: ignore[no-any-return]
    elif not attribute or not module_name or module_name.startswith("."):
        known = ", ".join(_built_in_programs())
        raise ValueError(f"there is no program {name!r}: write {known} or MODULE:NAME")
    program = _attribute(_module(module_name), attribute, name)
    if not callable(program):
        raise ValueError(f"{name} is not an async def, a Protocol class or a factory, but {_told(repr, program)}")
    return program  # type: ignore[no-any-return]  # its return value is unknown until it is called


def _built_in_programs() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(importlib.import_module(APPS).__path__))


def _module(name: str) -> Any:
    try:
        folder = os.getcwd()
    except OSError:  # the folder was removed
        folder = ""
    if folder not in sys.path:
        sys.path.insert(0, folder)
    server_module.importing = name
    try:
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as exc:  # any mistake of the program; its ValueError must not look like ours
        if isinstance(exc, ModuleNotFoundError) and exc.name:
            raise ValueError(f"there is no module {exc.name!r} here or among the installed ones") from None
        raise ValueError(f"importing {name} failed{_whereabouts(exc)}") from None
    finally:
        server_module.importing = ""


def _attribute(module: Any, path: str, name: str) -> Any:
    for part in path.split("."):
        try:
            module = getattr(module, part)
        except AttributeError:
            raise ValueError(f"{name} does not exist: {_told(repr, module)} has no {part!r}") from None
        except KeyboardInterrupt:
            raise
        except BaseException as exc:  # the lookup may run code: a module's `__getattr__` (PEP 562), a property
            raise ValueError(f"looking up {name} failed{_whereabouts(exc)}") from None
    return module


def _whereabouts(exc: BaseException) -> str:
    """The program's line in which `exc` was raised, its type and its text."""
    frames = traceback.extract_tb(exc.__traceback__)
    last = next((frame for frame in reversed(frames) if not frame.filename.startswith(PACKAGE)), frames[-1])
    place = "" if isinstance(exc, SyntaxError) else f" at {last.filename}:{last.lineno}"  # its text names the place
    return f"{place}: {type(exc).__name__}: {_told(str, exc)}"


def _told(how: Callable[[Any], str], thing: Any) -> str:
    """`str` or `repr` of an object of the program, which may raise anything."""
    try:
        return how(thing)
    except KeyboardInterrupt:
        raise
    except BaseException as exc:
        return f"a {type(thing).__name__} whose {how.__name__} raises {type(exc).__name__}"

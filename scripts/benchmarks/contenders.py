"""Which servers are measured, and how each is started.

`reactor` is compared with three kinds of servers: those on what comes with Python (asyncio with callbacks and with
coroutines, a thread for each client), those on packages that replace it (the extra `rivals`), and two that have no
features at all: the least there can be in Python (`floor`), and in C (`limit`).

Each serves two programs. `echo` sends back what comes, as it comes. `lines` answers line by line, like a program with
its own protocol; there a server wins that sends many small answers at once, and one loses that sends each by itself.
Ours is started as its users start it, by `python -m reactor serve`, with limits, deadlines, counters and watchdog. It
comes twice: as a Protocol and, as "reactor streams", by coroutines.
"""

from __future__ import annotations

import importlib.metadata
import pathlib
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .generator import Tools

SERVERS = pathlib.Path(__file__).resolve().parent / "servers"
ROOT = SERVERS.parents[2]
BIND = ["--bind", "127.0.0.1:0"]
BASE = "asyncio Protocol"  # the unit of comparison


@dataclass(frozen=True)
class Contender:
    """One server: its name, how it is started for each program, and the package that it needs."""

    name: str
    echo: tuple[str, ...]
    lines: tuple[str, ...]
    package: str = ""
    root: pathlib.Path = ROOT  # where `reactor` is imported from

    def command(self, program: str) -> list[str]:
        """The command that serves `program`, "echo" or "lines"."""
        return list(self.echo if program == "echo" else self.lines)


def _script(name: str, file: str, *words: str, package: str = "") -> Contender:
    command = [sys.executable, str(SERVERS / file)]
    return Contender(name, (*command, "echo", *words), (*command, "lines", *words), package)


def _ours() -> Contender:
    return _served("reactor", "echo", "scripts.benchmarks.servers.reactor_lines:Lines")


def _our_streams() -> Contender:
    module = "scripts.benchmarks.servers.reactor_streams"
    return _served("reactor streams", f"{module}:echo", f"{module}:lines")


def _served(name: str, echo: str, lines: str) -> Contender:
    serve = (sys.executable, "-m", "reactor", "serve")
    return Contender(name, (*serve, echo, *BIND), (*serve, lines, *BIND))


def standard() -> list[Contender]:
    """Ours, and those that need nothing but Python."""
    return [
        _ours(),
        _script("asyncio Protocol", "asyncio_echo.py", "protocol", "asyncio"),
        _our_streams(),
        _script("asyncio streams", "asyncio_echo.py", "streams", "asyncio"),
        _script("threads", "threads_echo.py"),
        _script("floor (Python, bare epoll)", "floor.py"),
    ]


def limit(tools: Tools) -> list[Contender]:
    """The C server, or [] where there is no compiler."""
    program = tools.built(SERVERS / "epoll_echo.c")
    return [Contender("limit (C, epoll)", (program, "echo"), (program, "lines"))] if program else []


def rivals() -> list[Contender]:
    """The servers of the extra `rivals`; some may not be installed."""
    return [
        _script("uvloop Protocol", "asyncio_echo.py", "protocol", "uvloop", package="uvloop"),
        _script("uvloop streams", "asyncio_echo.py", "streams", "uvloop", package="uvloop"),
        _script("Twisted", "twisted_echo.py", package="twisted"),
        _script("Tornado", "tornado_echo.py", package="tornado"),
        _script("trio", "trio_echo.py", package="trio"),
        _script("curio", "curio_echo.py", package="curio"),
        _script("gevent", "gevent_echo.py", package="gevent"),
    ]


def other_ours(root: pathlib.Path) -> Contender:
    """Our server from another checkout: before and after a change, in the same rounds."""
    return replace(_ours(), name=f"reactor in {root}", root=root)


def with_python(contender: Contender, python: str) -> Contender:
    """The same server on another interpreter."""

    def swap(command: Sequence[str]) -> tuple[str, ...]:
        return tuple(python if word == sys.executable else word for word in command)

    return replace(contender, echo=swap(contender.echo), lines=swap(contender.lines))


def version(package: str, python: str = sys.executable) -> str | None:
    """The version of an installed package, or None; `python` may be another interpreter."""
    if python == sys.executable:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return None
    return _answer(python, f"import importlib.metadata as metadata; print(metadata.version({package!r}))")


def python_version(python: str) -> str | None:
    """The version of the interpreter `python`, or None if it is not one."""
    return _answer(python, "import platform; print(platform.python_version())")


def real_executable(python: str) -> str:
    """The interpreter itself, if `python` is a script that starts one: valgrind would count the shell.

    Links are not resolved: the Python of an environment is a link, and finds the environment by the link's place.
    """
    return _answer(python, "import sys; print(sys.executable)") or python


def _answer(python: str, question: str) -> str | None:
    answer = subprocess.run([python, "-c", question], capture_output=True, text=True)
    return answer.stdout.strip() if answer.returncode == 0 else None

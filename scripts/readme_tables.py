"""Write the tables of the READMEs that must agree with the code.

A table that is written by hand is right on the day it is written. This script makes these tables from the code and
writes them between pairs of markers, `<!-- NAME -->` and `<!-- /NAME -->`. A test fails if what is there differs from
what the code gives today.

  python scripts/readme_tables.py          write the tables into the pages below
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from reactor import (  # noqa: E402  # after `sys.path`
    Cancelled,
    CancelScope,
    CloseReason,
    Connection,
    Event,
    FramedProtocol,
    FrameTooLarge,
    IncompleteReadError,
    Limits,
    Listener,
    Lock,
    Protocol,
    Queue,
    QueueEmpty,
    QueueFull,
    Reactor,
    Semaphore,
    Server,
    Stream,
    TaskGroup,
    connect,
    move_on_after,
    open_stream,
    run,
    run_in_thread,
    shield,
    sleep,
    spawn,
    timeout,
)
from reactor.connections.states import NEXT, State  # noqa: E402
from reactor.net.splitters import DelimitedFrames, PrefixedFrames  # noqa: E402
from reactor.service.statistics_table import FIGURES  # noqa: E402
from tests.failures.table import failures  # noqa: E402
from tests.transcripts.harness import Difference  # noqa: E402
from tests.transcripts.scripts import DIFFERENCES, SCRIPTS  # noqa: E402
from tests.transcripts.stream_scripts import STREAM_DIFFERENCES, STREAM_SCRIPTS  # noqa: E402


def states() -> str:
    """Each state, what it means for each direction, and the steps out of it."""
    rows = ["| state | input | output | next state: when |", "|---|---|---|---|"]
    for state in State:
        steps = "<br>".join(f"`{after.name}`: {when}" for after, when in NEXT[state].items())
        rows.append(f"| `{state.name}` | {state.input_is} | {state.output_is} | {steps} |")
    return "\n".join(rows)


def limits() -> str:
    """Each limit, its default, what it bounds, and where the number comes from."""
    rows = ["| limit | default | what it bounds | precedent |", "|---|---|---|---|"]
    for field in dataclasses.fields(Limits):
        meaning, precedent = field.metadata["meaning"], field.metadata["precedent"]
        default = field.default if isinstance(field.default, str) else f"{field.default:,}"
        rows.append(f"| `{field.name}` | {default} | {meaning} | {precedent} |")
    return "\n".join(rows)


def statistics() -> str:
    """Every figure of `Server.statistics()`."""
    rows = ["| name | unit | meaning |", "|---|---|---|"]
    return "\n".join([*rows, *(f"| `{name}` | {each.unit} | {each.meaning} |" for name, each in FIGURES.items())])


def reasons() -> str:
    """Every `CloseReason`, with the comment that stands behind it; the ids of failures are left out."""
    rows = ["| `close_reason` | why the connection ended |", "|---|---|"]
    lines = re.findall(r'^    ([A-Z_]+) = "\w+"  # (.*?)(?: \(\w+\))?$', inspect.getsource(CloseReason), re.MULTILINE)
    assert [name for name, _ in lines] == [reason.name for reason in CloseReason]
    return "\n".join([*rows, *(f"| `{name}` | {meaning} |" for name, meaning in lines)])


def differences(found: dict[str, Difference], scripts: int) -> str:
    """Where a program sees something else than on asyncio, with the reason."""
    by_reason: dict[str, list[str]] = {}
    for name, difference in found.items():
        by_reason.setdefault(difference.reason, []).append(name)
    rows = [f"Of {scripts} scripts {scripts - len(found)} are the same to the letter.", ""]
    rows += ["| in the scripts | differs, because |", "|---|---|"]
    for reason, names in by_reason.items():
        those = "; ".join(names) if len(names) <= 3 else f"{names[0]}; and {len(names) - 1} more"
        rows.append(f"| {those} | {reason} |")
    return "\n".join(rows)


# What the floors of the package ask of one another.
INNER = ("abandon", "check_idle", "check_open", "give_up_input", "is_awaited", "is_doomed", "progress", "task_ended")
INNER += ("unshield", "untaken_wake_ups")
API: dict[str, type] = {
    "server": Server,
    "stream": Stream,
    "connection": Connection,
    "protocol": Protocol,
    "framed": FramedProtocol,
    "reactor": Reactor,
}


# For coroutines, in the order in which a newcomer needs them.
TASKS = (timeout, move_on_after, sleep, TaskGroup, run_in_thread, open_stream, Listener, run, spawn)
TASKS += (shield, CancelScope)
SHARED = (Event, Lock, Semaphore, Queue)
ERRORS = (Cancelled, IncompleteReadError, FrameTooLarge, QueueFull, QueueEmpty)


def api(of: type) -> str:
    """Every public name of the class `of`, with its arguments and the first sentence of its docstring."""
    rows = ["| name | what it does |", "|---|---|"]
    if of in (Server, Reactor):  # a program makes these by itself
        rows.append(_row(of.__name__, of))
    return "\n".join([*rows, *(_row(name, member) for name, member in _methods(of))])


def _methods(of: type) -> list[tuple[str, object]]:
    """The methods and properties of the class `of` that are for programs, by name."""
    found: list[tuple[str, object]] = []
    for name in dir(of):
        member = inspect.getattr_static(of, name)
        inherited = of is FramedProtocol and member is inspect.getattr_static(Protocol, name, None)
        for_programs = not (name.startswith("_") or name in INNER or inherited)
        if for_programs and (inspect.isfunction(member) or isinstance(member, property)) and member.__doc__:
            found.append((name, member))
    return found


def tasks() -> str:
    """What a coroutine calls, with the methods of what that returns."""
    rows = ["| name | what it does |", "|---|---|"]
    for each in TASKS:
        rows.append(_row(each.__name__, each))
        if each in (TaskGroup, CancelScope):
            rows += [_row(f"{each.__name__}.{name}", member) for name, member in _methods(each)]
    return "\n".join(rows)


def shared() -> str:
    """What tasks share, with the names of the methods."""
    rows = ["| name | what it is | methods |", "|---|---|---|"]
    for each in SHARED:
        methods = ", ".join(f"`{_awaited(member)}{name}{_arguments(member)}`" for name, member in _methods(each))
        rows.append(f"{_row(each.__name__, each)} {methods} |")
    return "\n".join(rows)


def errors() -> str:
    """The exceptions that coroutines meet."""
    rows = ["| exception | when it is raised |", "|---|---|"]
    return "\n".join([*rows, *(f"| `{each.__name__}` | {_first_sentence(each)} |" for each in ERRORS)])


def others() -> str:
    """The public names that are no class with methods for programs."""
    rows = ["| name | what it does |", "|---|---|"]
    return "\n".join([*rows, *(_row(each.__name__, each) for each in (connect, DelimitedFrames, PrefixedFrames))])


def _row(name: str, member: object) -> str:
    return f"| `{_awaited(member)}{name}{_arguments(member)}` | {_first_sentence(member)} |"


def _awaited(member: object) -> str:
    """"await " for what has to be awaited."""
    returns = str(getattr(member, "__annotations__", {}).get("return", ""))
    waits = inspect.iscoroutinefunction(member) or returns.startswith("Awaitable")
    return "await " if waits else ""


def _first_sentence(member: object) -> str:
    text = " ".join((inspect.getdoc(member) or "").split("\n\n")[0].split())
    return re.split(r"(?<=[.]) ", text)[0]


def _arguments(member: object) -> str:
    if isinstance(member, property):
        return ""
    if member is timeout:  # at run time it has those of `CancelScope`, which are not for it
        return "(seconds)"
    try:
        signature = inspect.signature(member)  # type: ignore[arg-type]
    except ValueError:  # a class without arguments of its own
        return "()"
    parameters = [each.replace(annotation=each.empty) for each in signature.parameters.values() if each.name != "self"]
    text = str(signature.replace(parameters=parameters, return_annotation=signature.empty))
    return re.sub(r"<built-in function monotonic>", "time.monotonic", re.sub(r"<class '([\w.]+)'>", r"\1", text))


PAGES = tuple(ROOT / folder / "README.md" for folder in (".", "reactor", "tests/transcripts", "tests/failures"))
TABLES = {"states": states, "limits": limits, "failures": failures, "others": others}
TABLES["differences"] = functools.partial(differences, DIFFERENCES, len(SCRIPTS))
TABLES["stream-differences"] = functools.partial(differences, STREAM_DIFFERENCES, len(STREAM_SCRIPTS))
TABLES |= {"tasks": tasks, "shared": shared, "errors": errors}
TABLES |= {"statistics": statistics, "reasons": reasons}
TABLES |= {name: functools.partial(api, of) for name, of in API.items()}


def with_tables(readme: str) -> str:
    """The text `readme` with every marked table made anew."""

    def fill(match: re.Match[str]) -> str:
        name = match[1]
        return f"<!-- {name} -->\n{TABLES[name]()}\n<!-- /{name} -->"

    return re.sub(rf"<!-- ({'|'.join(TABLES)}) -->\n.*?<!-- /\1 -->", fill, readme, flags=re.DOTALL)


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(with_tables(path.read_text()))

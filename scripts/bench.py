"""The bench from the shell: what an echo costs, ours beside others.

    bench.py rounds         interleaved rounds of all rows: CPU time, system calls, memory, latency   (make bench)
    bench.py instructions   user-space instructions per message, by valgrind               (make bench-instructions)
    bench.py pictures       saved figures of `rounds` as SVG                                 (make bench-pictures)

It needs Linux, because it reads from /proc what a server uses. If a C compiler, strace, valgrind or a rival is
missing, the bench leaves out what needs it, and says so. scripts/benchmarks/__init__.py lists the parts.

Exit status: 0; 1 if --check fails or nothing could be measured; 2 for options that cannot be used; 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

try:
    from scripts import output
    from scripts.benchmarks import (
        attribution,
        contenders,
        generator,
        goals,
        instructions,
        processes,
        report,
        rounds,
        rows,
    )
    from scripts.benchmarks.contenders import Contender
    from scripts.benchmarks.generator import Tools
    from scripts.command_line import Parser
except ImportError as missing:
    sys.exit(f"bench: {missing}; run it by `make bench`, or with the Python of .venv")

RESULTS = ROOT / "build" / "bench.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` name (default: those of the process); return the exit status."""
    options = _parse(arguments)
    if not sys.platform.startswith("linux"):
        sys.exit("bench: it needs Linux: it reads what servers use from /proc")
    try:
        with Tools(generator.find_compiler()) as tools:
            return int(options.run(options, tools))
    except processes.MeasurementError as exc:
        sys.exit(f"bench: {exc}")
    except KeyboardInterrupt:
        return output.INTERRUPTED


# The rounds.


def _rounds(options: argparse.Namespace, tools: Tools) -> int:
    found, notes = _contenders(options, tools)
    chosen = [row for row in rows.ROWS if not options.rows or row.key in options.rows]
    if tools.compiler is None:
        notes.append("no C compiler here: the load is in Python, which may be slower than the servers; no limit in C")
    results = rounds.measure(
        chosen, found, tools, options.rounds, options.scale, rows.most_connections(), rounds.show_progress
    )
    rounds.show_progress("")
    results |= {
        "machine": processes.machine(),
        "versions": {who.package: contenders.version(who.package) for who in found if who.package},
        "load": "Python" if tools.compiler is None else "C",
        "command": "bench.py " + shlex.join(sys.argv[1:]),
        "notes": notes,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n")
    output.show(report.text(results))
    output.show(f"saved in {options.output}")
    return 0 if any(by_round for row in results["samples"].values() for by_round in row.values()) else 1


def _contenders(options: argparse.Namespace, tools: Tools) -> tuple[list[Contender], list[str]]:
    """The servers to measure, and a line for each that is not installed."""
    found = contenders.standard() + contenders.limit(tools)
    if options.rivals:
        found += contenders.rivals()
    found += _others(options)
    if options.servers:
        if unknown := [part for part in options.servers if not any(part in who.name for who in found)]:
            sys.exit(f"bench: no server is called {unknown[0]!r}; there are {', '.join(who.name for who in found)}")
        found = [who for who in found if any(part in who.name for part in options.servers)]
    absent = [who for who in found if who.package and contenders.version(who.package) is None]
    return [who for who in found if who not in absent], [f"{who.name} is not installed: left out" for who in absent]


def _others(options: argparse.Namespace) -> list[Contender]:
    return [contenders.other_ours(root.resolve()) for root in options.against]


# The instructions.


def _instructions(options: argparse.Namespace, tools: Tools) -> int:
    if reason := instructions.missing():
        output.show(f"bench: instructions not counted: {reason}")
        return 0 if options.check else 1
    found = _counted_contenders(options, tools)
    counts = _count(found, tools, instructions.ECHO)
    setting = f"{instructions.CONNECTIONS} connections, Python {contenders.python_version(options.python)}"
    table = _table_of(counts, "echo")
    output.show(f"User-space instructions per echo of {rows.MESSAGE_BYTES} bytes, {setting}:\n\n{table}")
    if not options.check:
        table = _table_of(_count(found, tools, instructions.SEGMENT), "segment")
        what = f"segment of {rows.LINES} lines of {rows.LINE_BYTES} bytes"
        output.show(f"\nUser-space instructions per {what}, line echo, {setting}:\n\n{table}")
    if options.profile:
        output.show(f"\n{_profile(options, tools, counts)}")
    return _check(instructions.relative(counts), options.check) if options.check else 0


def _count(found: list[Contender], tools: Tools, work: instructions.Work) -> dict[str, float]:
    counts = {}
    for who in found:
        rounds.show_progress(f"{work.program} {who.name}")
        counts[who.name] = instructions.per_message(who, tools, work)
    rounds.show_progress("")
    return counts


def _table_of(counts: dict[str, float], message: str) -> str:
    rows_of_table = []
    for name, count in counts.items():
        relative = f"{count / counts[contenders.BASE]:.3f}"
        rows_of_table.append(
            {"server": name, f"instructions / {message}": f"{count:,.0f}", f"× {contenders.BASE}": relative}
        )
    return report.table(rows_of_table)


def _counted_contenders(options: argparse.Namespace, tools: Tools) -> list[Contender]:
    """Ours and asyncio's Protocol; without --check also streams, the floor, the limit, and uvloop if it is there."""
    names = [goals.OURS, contenders.BASE]
    found = contenders.standard() + contenders.rivals()
    if not options.check:
        names += [goals.OUR_STREAMS, "asyncio streams", "floor (Python, bare epoll)", "uvloop Protocol"]
        names += ["uvloop streams"]
        found += contenders.limit(tools)
        names += [who.name for who in found if who.name.startswith("limit")]
    absent = [who for who in found if who.package and contenders.version(who.package, options.python) is None]
    for who in absent:
        if who.name in names:
            output.show(f"{who.name} is not installed for {options.python}: left out\n")
    found = [who for who in found if who.name in names and who not in absent] + _others(options)
    return [contenders.with_python(who, options.python) for who in found]


def _profile(options: argparse.Namespace, tools: Tools, counts: dict[str, float]) -> str:
    if reason := attribution.missing(tools, options.python):
        return f"no profile: {reason}"
    ours = contenders.standard()[0]
    found, overhead = attribution.parts(ours, options.python, tools, counts[goals.OURS])
    return report.profile(found, overhead)


def _check(measured: float, most: float) -> int:
    verdict = "within" if measured <= most else "above"
    output.show(f"\n{measured:.3f} × {contenders.BASE}, {verdict} the {most:g} allowed")
    return 0 if measured <= most else 1


# The pictures.


def _pictures(options: argparse.Namespace, tools: Tools) -> int:
    try:
        from scripts.benchmarks import drawing
    except ImportError as exc:
        sys.exit(f"bench: {exc}; run it by `make bench-pictures`")
    try:
        results = json.loads(options.results.read_text())
    except (OSError, ValueError) as exc:
        sys.exit(f"bench: no figures in {options.results} ({exc}); `make bench` or `make bench-rivals` makes them")
    for path in drawing.draw(results, options.folder):
        output.show(str(path))
    return 0


# The command line.


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="bench", description="What an echo costs: ours beside others.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")  # each of them is a Parser, too

    command = _command(commands, "rounds", _rounds, "measure all rows in interleaved rounds")
    keys = ", ".join(row.key for row in rows.ROWS)
    command.add_argument("--rounds", type=_positive, default=5, metavar="N", help="how many rounds (%(default)s)")
    command.add_argument("--rivals", action="store_true", help="also those of the extra `rivals`")
    command.add_argument("--servers", type=_list, default=[], metavar="A,B", help="only those whose names contain one")
    command.add_argument("--rows", type=_row_keys, default=[], metavar="A,B", help=f"only these: {keys}")
    command.add_argument("--scale", type=_scale, default=1.0, metavar="X", help="times the number of messages (1)")
    command.add_argument("--output", type=pathlib.Path, default=RESULTS, metavar="FILE",
                         help="where to save (%(default)s)")  # fmt: skip

    command = _command(commands, "instructions", _instructions, "count user-space instructions per message")
    command.add_argument("--python", type=_program, default=sys.executable, help="the interpreter to count with")
    command.add_argument("--check", type=_scale, metavar="RATIO", help="fail if ours / asyncio's Protocol is above it")
    command.add_argument("--profile", action="store_true", help="also ours by function")

    for command in commands.choices.values():
        command.add_argument("--against", type=_checkout, default=[], action="append", metavar="DIRECTORY",
                             help="also ours as it lies in another checkout")  # fmt: skip

    command = _command(commands, "pictures", _pictures, "draw saved figures as SVG")
    folder = pathlib.Path(__file__).resolve().parent / "benchmarks" / "pictures"
    command.add_argument("results", type=pathlib.Path, nargs="?", default=RESULTS, metavar="FILE",
                         help="what `rounds` saved (%(default)s)")  # fmt: skip
    command.add_argument("--folder", type=pathlib.Path, default=folder, help="where to (%(default)s)")
    return parser.parse_args(arguments)


def _command(commands: Any, name: str, run: Callable[..., int], words: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=words, description=words)
    parser.set_defaults(run=run)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)


def _scale(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and below 1000")
    return number


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _row_keys(text: str) -> list[str]:
    known = [row.key for row in rows.ROWS]
    if unknown := [key for key in _list(text) if key not in known]:
        raise argparse.ArgumentTypeError(f"no row is called {unknown[0]!r}; there are {', '.join(known)}")
    return _list(text)


def _checkout(text: str) -> pathlib.Path:
    path = pathlib.Path(text)
    if not (path / "reactor" / "__init__.py").is_file():
        raise argparse.ArgumentTypeError(f"{text} is no checkout: it has no reactor/__init__.py")
    return path


def _program(text: str) -> str:
    found = shutil.which(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text} is no program that can be run")
    return contenders.real_executable(found)


if __name__ == "__main__":
    sys.exit(output.run("bench", main))

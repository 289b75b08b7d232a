"""Load an echo server with N clients at once, check every byte, and report.

A server that answers one client well proves little. Servers break under many clients at once, and the quiet failures
are the worst: a byte that goes to the wrong client, a reply without its end. So all N clients are connected at the
same time, no two messages are alike, and each byte that comes back is compared with the expected one. Everything
wrong, missing, superfluous or late is an error, and makes the exit status 1.

The script uses the reactor that it was made to test: N clients, one thread. It knows only the address of the server,
so it works with any server that echoes.

There are two ways to load. With --rate 0 each client sends its next message when the last one is back: that shows how
much the server can do. With --rate R the messages go out on a fixed schedule, whatever comes back: that shows how
long users wait at this load (`clients/schedule.py` says why the first way cannot show it).

The clients take CPU time too, about as much as the server. On a machine that is short of it, a rate is the rate of
both.

The harder question is how a server treats its honest clients while others misbehave. So there are misbehaving
clients, too (see `clients/hostile.py`). They are counted, and never judged.

Exit status: 0 if every byte of every message came back right; 1 if not, with the same report; 2 for options or a
standard output that cannot be used (see `output`); 130 after Ctrl-C, with the figures up to then.
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import sys
from collections.abc import Callable, Sequence

# Import the package and these scripts from this checkout, wherever the script is called from.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from reactor import Reactor
from reactor.net.addresses import Address, resolve
from scripts import output
from scripts.clients import descriptors, report
from scripts.clients.hostile import KINDS, Hostility
from scripts.clients.messages import HEADER, LARGEST_NUMBER
from scripts.clients.progress import Progress, is_watched
from scripts.clients.swarm import Load, Swarm, client_limits
from scripts.command_line import Parser

LARGEST_MESSAGE_BYTES = 1 << 30
LEAST_RATE, MOST_RATE = 0.0001, 1e7  # messages a second: one in nearly three hours is hardly a load
EPILOG = """\
Exit status: 0 if every byte of every message came back right, else 1;
2 for unusable options or output; 130 after Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run with `arguments` (default: those of the process); return the exit status."""
    options = _parse(arguments)
    try:
        endpoints = resolve(Address(host=options.host.strip("[]"), port=options.port))
        load = _load(options)
        descriptors.make_room(load.descriptors())
        show = _show_json if options.json else _table_printer()
    except (OSError, ValueError, ImportError) as exc:
        output.tell(f"run_clients: {getattr(exc, 'strerror', None) or exc}")
        return output.UNUSABLE
    with Reactor(limits=client_limits(load)) as reactor:
        swarm = Swarm(reactor, endpoints, load)
        interrupted = _run(swarm)
        show(swarm)
        figures = report.summarize(swarm)
    if interrupted:
        output.tell("run_clients: interrupted; these are the figures up to then")
        return output.INTERRUPTED
    return 0 if figures["served"] == load.connections else 1


def _load(options: argparse.Namespace) -> Load:
    counts = {kind: getattr(options, kind) for kind in KINDS}
    hostility = Hostility(**counts, seconds=options.hostile_seconds)
    return Load(options.connections, options.messages, options.size, options.rate, options.timeout, hostility)


def _run(swarm: Swarm) -> bool:
    """Run the swarm, with a progress bar on a terminal; return whether Ctrl-C interrupted it."""
    progress = Progress(swarm, sys.stderr) if is_watched(sys.stderr) else None
    try:
        swarm.run()
    except KeyboardInterrupt:
        return True
    finally:
        if progress is not None:
            progress.clear()
    return False


def _show_json(swarm: Swarm) -> None:
    output.show(json.dumps(report.summarize(swarm)))
    for sentence in report.explanations(swarm):
        output.tell(f"run_clients: {sentence}")


def _table_printer() -> Callable[[Swarm], None]:
    """Import tabulate before the run: if it is missing afterwards, the figures are lost."""
    try:
        from tabulate import tabulate
    except ImportError:
        raise ImportError(
            "the table needs the package tabulate: use `make run-clients`, which makes an environment"
            " that has it, or `pip install tabulate`, or --json, which does without"
        ) from None

    def show_table(swarm: Swarm) -> None:
        try:
            output.show(report.render(swarm, tabulate))
        except output.CannotShow as exc:
            raise output.CannotShow(exc, json.dumps(report.summarize(swarm))) from None  # the figures, in one line

    return show_table


# The options.


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="run_clients",
        description="Load an echo server with many clients at once and check every byte.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, kind, default, meaning in (
        ("host", str, "127.0.0.1", "where the server is: a name or an address"),
        ("port", _port, 65432, "its port"),
        ("connections", _count, 100, "clients at the same time"),
        ("messages", _count, 100, "messages from each client"),
        ("size", _size, 64, f"bytes of a message, at least {HEADER.size}"),
        ("rate", _rate, 0, "messages a second, of all clients; 0: each sends its next when the last is back"),
        ("timeout", _timeout, 30, "seconds to wait for a connection, and for the next byte"),
        ("slow-readers", _hostile_count, 0, "hostile clients beside them: send, and never read"),
        ("firehose", _hostile_count, 0, "send without end, and read"),
        ("slowloris", _hostile_count, 0, "send a byte every few seconds"),
        ("vanish", _hostile_count, 0, "leave in the middle of a message, and come again"),
        ("hostile-seconds", _timeout, 60, "when the hostile clients leave, if the others are not done before"),
    ):
        metavar, meaning = "HOST" if name == "host" else "N", f"{meaning} ({default})"
        parser.add_argument(f"--{name}", type=kind, default=default, metavar=metavar, help=meaning)
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    return parser.parse_args(arguments)


def _port(text: str) -> int:
    return _whole(text, 1, 65535)


def _count(text: str) -> int:
    return _whole(text, 1, LARGEST_NUMBER)


def _hostile_count(text: str) -> int:
    return _whole(text, 0, LARGEST_NUMBER)


def _size(text: str) -> int:
    return _whole(text, HEADER.size, LARGEST_MESSAGE_BYTES, "; a message begins with two numbers, of 4 bytes each")


def _rate(text: str) -> float:
    return _number(text, LEAST_RATE, MOST_RATE, "a rate: 0, or ", zero=True)


def _timeout(text: str) -> float:
    return _number(text, 0.001, 86400)


def _whole(text: str, low: int, high: int, reason: str = "") -> int:
    if not (text.isascii() and text.isdecimal() and low <= int(text) <= high):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}{reason}")
    return int(text)


def _number(text: str, low: float, high: float, what: str = "", zero: bool = False) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (low <= value <= high or (zero and value == 0)):
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}a number from {low:g} to {high:g}")
    return value


if __name__ == "__main__":
    sys.exit(output.run("run_clients", main))

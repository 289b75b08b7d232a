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

How long? Until a time has passed (--seconds: a client then waits for the answer that is under way, and sends no more),
or until each client has sent a number of messages (--messages). At a fixed rate, the time is turned into a number of
messages before the first is sent, at least one for each client, so that nothing that is late shortens the schedule.

The clients take CPU time too, about as much as the server. On a machine that is short of it, a rate is the rate of
both.

The harder question is how a server treats its honest clients while others misbehave. So there are misbehaving
clients, too (see `clients/hostile.py`). They are counted, and never judged.

The report begins with what went wrong and what to do, if anything did, and ends with the verdict in one line. Its
words: a client is *connected* when the server's kernel has accepted it, and *complete* when all that it sent came
back. (What the server itself has *accepted*, only the server can say.)

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
from reactor.net.addresses import Address, Endpoint, resolve
from scripts import output
from scripts.clients import descriptors, report
from scripts.clients.hostile import KINDS, Hostility
from scripts.clients.messages import HEADER, LARGEST_NUMBER
from scripts.clients.progress import Progress, fresh_line, is_watched
from scripts.clients.swarm import Load, Swarm, client_limits
from scripts.clients.verdict import DEFAULT_HOST, DEFAULT_PORT, explanations
from scripts.command_line import Parser

LARGEST_MESSAGE_BYTES = 1 << 30
DEFAULT_SECONDS = 5.0  # long enough to be seen on the server's terminal, too, which shows its figures once a second
LEAST_RATE, MOST_RATE = 0.0001, 1e7  # messages a second: one in nearly three hours is hardly a load
EPILOG = """\
Exit status: 0 if every byte of every message came back right, else 1;
2 for unusable options or output; 130 after Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run with `arguments` (default: those of the process); return the exit status."""
    options = _parse(arguments)
    try:
        endpoints = _endpoints(options)
        load = _load(options)
        descriptors.make_room(load.descriptors())
        show = _show_json if options.json else _table_printer()
    except (OSError, ValueError, ImportError) as exc:
        output.tell(f"run_clients: {getattr(exc, 'strerror', None) or exc}")
        return output.UNUSABLE
    with Reactor(limits=client_limits(load)) as reactor:
        swarm = Swarm(reactor, endpoints, load)
        _run(swarm)
        show(swarm)
    if swarm.interrupted:
        return output.INTERRUPTED
    return 0 if swarm.is_good() else 1


def _endpoints(options: argparse.Namespace) -> list[Endpoint]:
    try:
        return resolve(Address(host=options.host.strip("[]"), port=options.port))
    except OSError as exc:
        raise OSError(exc.errno, f"{exc.strerror}; say with HOST= or --host where the server is") from None


def _load(options: argparse.Namespace) -> Load:
    counts = {kind: getattr(options, kind) for kind in KINDS}
    hostility = Hostility(**counts, seconds=options.hostile_seconds)
    seconds = math.inf if options.messages else options.seconds or DEFAULT_SECONDS
    return Load(options.connections, options.messages, options.size, options.rate, options.timeout, hostility, seconds)


def _run(swarm: Swarm) -> None:
    """Run the swarm, with a progress bar on a terminal."""
    progress = Progress(swarm, sys.stderr) if is_watched(sys.stderr) else None
    try:
        swarm.run()
    finally:
        if progress is not None:
            progress.clear()


def _show_json(swarm: Swarm) -> None:
    output.show(fresh_line(sys.stdout) + json.dumps(report.summarize(swarm)))
    for sentence in explanations(swarm):
        output.tell(f"run_clients: {sentence}", before=fresh_line(sys.stderr))


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
            output.show(fresh_line(sys.stdout) + report.render(swarm, tabulate))
        except output.CannotShow as exc:
            raise output.CannotShow(exc, json.dumps(report.summarize(swarm))) from None  # the figures, in one line

    return show_table


# The options.


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="run_clients",
        usage="run_clients [options]",
        description="Load an echo server with many clients at once, and check every byte.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    how_long = parser.add_mutually_exclusive_group()
    for place, name, kind, default, meaning in (
        (parser, "host", str, DEFAULT_HOST, "where the server is: a name or an address"),
        (parser, "port", _port, DEFAULT_PORT, "its port"),
        (parser, "connections", _count, 100, "clients at the same time"),
        (how_long, "seconds", _seconds, None, f"how long each goes on sending messages ({DEFAULT_SECONDS:g})"),
        (how_long, "messages", _count, None, "or how many messages each sends"),
        (parser, "size", _size, 64, f"bytes of a message, at least {HEADER.size}"),
        (parser, "rate", _rate, 0, "messages a second, of all; 0: as fast as they can"),
        (parser, "timeout", _seconds, 30, "longest wait for a connection or a byte, in s"),
        (parser, "slow-readers", _hostile_count, 0, "hostile clients beside them: send, and never read"),
        (parser, "firehose", _hostile_count, 0, "send without end, and read"),
        (parser, "slowloris", _hostile_count, 0, "send a byte every few seconds"),
        (parser, "vanish", _hostile_count, 0, "leave in the middle of a message, and come again"),
        (parser, "hostile-seconds", _seconds, 60, "when the hostile clients leave at the latest"),
    ):
        metavar, meaning = "HOST" if name == "host" else "N", meaning if default is None else f"{meaning} ({default})"
        place.add_argument(f"--{name}", type=kind, default=default, metavar=metavar, help=meaning)
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


def _seconds(text: str) -> float:
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

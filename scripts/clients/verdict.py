"""What happened, in words: what went wrong and what to do about it, and at the end the verdict.

A table of figures does not say that the server was never started. So the report begins with a sentence for each thing
that went wrong: the most important first, and a few at most. Each of them is counted in the table, too. The report
ends with the verdict: it says to a person what the exit status says to a program.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from reactor.connections.sockaddr import describe

from .client import ERRORS, Client, Outcome
from .swarm import Swarm

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 65432  # where `make run-server` listens
MOST_SENTENCES = 3


def explanations(swarm: Swarm) -> list[str]:
    """What went wrong and what to do, in at most `MOST_SENTENCES` sentences; none if nothing did."""
    return [*_of_refusals(swarm), *_of_streams(swarm), *_of_waits(swarm), *_of_failures(swarm)][:MOST_SENTENCES]


def verdict(swarm: Swarm) -> str:
    """Whether every byte came back, or what did not, in one line."""
    counts, connections = swarm.outcome_counts(), swarm.load.connections
    failed = sum(counts[error] for error in ERRORS)
    kinds = {error.value.replace("_", " "): counts[error] for error in ERRORS if counts[error]}
    how = ", ".join(f"{count:,} {kind}" if len(kinds) > 1 else kind for kind, count in kinds.items())
    if swarm.interrupted and failed:
        return f"stopped by Ctrl-C: until then {_share(failed, connections)} failed ({how})"
    if swarm.interrupted:
        right = any(client.received for client in swarm.clients)
        return f"stopped by Ctrl-C: {'all that came back until then was right' if right else 'nothing was back yet'}"
    if not swarm.is_good():
        return f"NOT every byte came back: {_share(failed, connections)} failed ({how})"
    messages, size = len(swarm.latencies), swarm.load.size
    return f"every byte came back: {_count(connections, 'client')}, {_count(messages, 'message')} of {size:,} bytes"


def never_answered(client: Client) -> bool:
    """Whether it was connected and not one byte came back, right or wrong."""
    had_its_chance = client.outcome is not None or client.due > 0
    return had_its_chance and not client.received and client.outcome is not Outcome.MISMATCHED


# The sentences.


def _of_refusals(swarm: Swarm) -> Iterator[str]:
    """About clients that no program took. Other reasons why a connect failed are in `swarm.failures`."""
    refused = swarm.outcomes[Outcome.REFUSED] - swarm.failures.total()
    if refused and swarm.clients:
        yield f"{_share(refused, swarm.load.connections)} came when nothing listened any more: the server has ended"
    elif refused:
        yield f"nothing listens on {_address(swarm)}: {_how_to_start(swarm)}"


def _of_streams(swarm: Swarm) -> Iterator[str]:
    """About wrong bytes, and about connections that ended before all was back."""
    counts, connections = swarm.outcome_counts(), swarm.load.connections
    if wrong := counts[Outcome.MISMATCHED]:
        yield (
            f"{_share(wrong, connections)} got a wrong byte: the server changes, loses, doubles or mixes up bytes,"
            " or it is not an echo server"
        )
    if broken := counts[Outcome.RESET] + counts[Outcome.CLOSED_EARLY]:
        yield (
            f"the server broke {_share(broken, connections, 'connection')} off: it has ended or crashed, or one of its"
            " limits ended them; its terminal says which"
        )


def _of_waits(swarm: Swarm) -> Iterator[str]:
    """About answers that did not come."""
    connections, seconds = swarm.load.connections, swarm.load.timeout_seconds
    if undecided := swarm.outcomes[Outcome.TIMED_OUT]:
        yield (
            f"{_share(undecided, connections)} got no answer to the connect in {seconds:g} s: the server's accept queue"
            " is full (its --backlog or --max-connections is too low), or a firewall drops what comes"
        )
    late = [client for client in swarm.clients if client.outcome in (None, Outcome.TIMED_OUT)]
    silent = sum(never_answered(client) for client in late)
    if silent and swarm.interrupted:
        yield (
            f"{_share(silent, connections)} {_were(silent)} accepted by the kernel and had no answer yet: they may wait"
            " in the server's accept queue"
        )
    elif silent and swarm.outcome_counts()[Outcome.COMPLETE]:
        yield (
            f"{_share(silent, connections)} {_were(silent)} accepted by the kernel and never answered: they wait in"
            " the server's accept queue, because it serves no more at the same time"
        )
    elif silent:
        yield (
            f"{_share(silent, connections)} {_were(silent)} accepted by the kernel and never answered: they wait in"
            " the server's accept queue, or it hangs, or it does not echo"
        )
    if stuck := sum(client.outcome is Outcome.TIMED_OUT and not never_answered(client) for client in late):
        yield (
            f"{_share(stuck, connections)} waited {seconds:g} s for the next byte in vain: the server hangs, has more"
            " to do than it can, or has lost bytes"
        )


def _of_failures(swarm: Swarm) -> Iterator[str]:
    """About connects that failed for a reason of their own, such as no route."""
    for why, count in swarm.failures.most_common():
        yield f"{_share(count, swarm.load.connections)} could not connect to {_address(swarm)}: {why}"
    for (kind, why), count in swarm.crowd.failures.most_common():
        yield f"{_count(count, 'client')} of {kind.replace('_', ' ')} could not connect: {why}"


def _address(swarm: Swarm) -> str:
    return " or ".join(describe(endpoint.sockaddr) for endpoint in swarm.endpoints)


def _how_to_start(swarm: Swarm) -> str:
    hosts = [endpoint.sockaddr[0] for endpoint in swarm.endpoints]
    port = swarm.endpoints[0].sockaddr[1]
    if not all(ipaddress.ip_address(host.partition("%")[0]).is_loopback for host in hosts):
        return "start the server there, or say with HOST= and PORT= where it is"
    command = ["make run-server"]
    if DEFAULT_HOST not in hosts:
        command.append(f"HOST={hosts[0]}")
    if port != DEFAULT_PORT:
        command.append(f"PORT={port}")
    return f"start the server with `{' '.join(command)}` in another terminal"


def _share(count: int, total: int, noun: str = "client") -> str:
    if total == 1:
        return f"the only {noun}"
    return f"{'all' if count == total else f'{count:,} of'} {total:,} {noun}s"


def _count(count: int, noun: str) -> str:
    return f"1 {noun}" if count == 1 else f"{count:,} {noun}s"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"

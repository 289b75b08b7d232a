"""Every order in which a program can write, end its side, close and abort: scripts that nobody would write by hand.

Where endings go wrong in a transport is where two of these calls meet: a write after `write_eof`, `write_eof` after
`close`, `abort` between a write and its end. Three of four in every order, and two, are 36 scripts; what is to differ
from asyncio follows from the order, too.
"""

from __future__ import annotations

import itertools

from tests.transcripts.harness import Difference, Script

CALLS = {
    "write": ("write", b"hello"),
    "write_eof": ("write_eof",),
    "close": ("close",),
    "abort": ("abort",),
}
A_RESET_TELLS = (
    "The peer must not take what it has for the whole. asyncio closes the socket, and the stream ends as if all were"
    " well."
)
ORDERS = [order for length in (2, 3) for order in itertools.permutations(CALLS, length)]


def name_of(order: tuple[str, ...]) -> str:
    return ", then ".join(order)


def script_of(order: tuple[str, ...]) -> Script:
    steps = [CALLS[call] for call in order]
    return Script(name_of(order), {"data_received": steps}, [("send", b"?"), ("receive_end",)])


def sent_by_asyncio(order: tuple[str, ...]) -> bytes:
    """What has left before the end: asyncio sends inside `write`, which it takes until the first call that ends."""
    return b"hello" if order[0] == "write" else b""


def difference_of(order: tuple[str, ...]) -> Difference | None:
    if order in (("write_eof", "close", "write"), ("write_eof", "abort", "write")):
        aborted = "abort" in order
        return Difference(
            "What is written to a connection that has ended is dropped, whatever else was called before (W4). asyncio"
            " raises if that was `write_eof`.",
            ("server: write raised RuntimeError", *(["client: saw the end"] if aborted else [])),
            ("client: saw a reset",) if aborted else (),
        )
    if "abort" not in order:
        return None
    sent = sent_by_asyncio(order)
    if not sent:
        return Difference(A_RESET_TELLS, ("client: saw the end",), ("client: saw a reset",))
    return Difference(
        A_RESET_TELLS + " (What was written before has left already, for it sends inside `write`.)",
        (f"client: received {sent!r}", "client: saw the end"),
        ("client: received b''", "client: saw a reset"),
    )


SCRIPTS = [script_of(order) for order in ORDERS]
DIFFERENCES = {name_of(order): found for order in ORDERS if (found := difference_of(order))}

"""Every order in which a program can write, end its side, close and abort: too many scripts to write by hand.

Endings go wrong where two of these calls meet: a write after `write_eof`, `write_eof` after `close`, `abort` between
a write and its end. Two, three and all four in every order are 60 scripts. An end may also meet a connection that is
not reading: two of the four and a pause, and one end with a pause and its resumption, are 54 more. The intended
difference from asyncio follows from the order, too.
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
READING = {"pause_reading": ("pause_reading",), "resume_reading": ("resume_reading",)}
A_RESET_TELLS = (
    "A reset tells the peer that the data is incomplete. asyncio closes the socket, and the stream ends as if it were"
    " complete."
)
ENDS = ("close", "abort")
PAUSE, RESUME = "pause_reading", "resume_reading"
ORDERS = [
    *(order for length in (2, 3, 4) for order in itertools.permutations(CALLS, length)),
    *(order for two in itertools.combinations(CALLS, 2) for order in itertools.permutations((PAUSE, *two))),
    *(order for one in ("write_eof", *ENDS) for order in itertools.permutations((PAUSE, RESUME, one))),
]


def name_of(order: tuple[str, ...]) -> str:
    return ", then ".join(order)


def script_of(order: tuple[str, ...]) -> Script:
    steps = [(CALLS | READING)[call] for call in order]
    client = [("send", b"?"), ("receive_end",)]
    if PAUSE in order:
        client.append(("server", READING[RESUME]))  # otherwise asyncio would not see the client's end (R5)
    return Script(name_of(order), {"data_received": steps}, client)


def sent_by_asyncio(order: tuple[str, ...]) -> bytes:
    """What asyncio has sent before the end: it sends inside `write`, up to the first call that ends."""
    ends = [place for place, call in enumerate(order) if call not in ("write", *READING)]
    return b"hello" if "write" in order[: ends[0]] else b""


def is_written_after_both_ends(order: tuple[str, ...]) -> bool:
    """Whether `write` comes after `write_eof` and, between them, `close` or `abort` for the first time."""
    if not {"write", "write_eof"} <= set(order):
        return False
    ended = min(order.index(end) for end in ENDS if end in order) if set(ENDS) & set(order) else len(order)
    return order.index("write_eof") < ended < order.index("write")


def difference_of(order: tuple[str, ...]) -> Difference | None:
    if is_written_after_both_ends(order):
        aborted = "abort" in order
        return Difference(
            "A write to a connection that has ended is dropped, whatever was called before (W4). asyncio raises if"
            " `write_eof` was called before.",
            ("server: write raised RuntimeError", *(["client: saw the end"] if aborted else [])),
            ("client: saw a reset",) if aborted else (),
        )
    if "abort" not in order:
        return None
    sent = sent_by_asyncio(order)
    if not sent:
        return Difference(A_RESET_TELLS, ("client: saw the end",), ("client: saw a reset",))
    return Difference(
        A_RESET_TELLS + " (It has sent earlier writes already, because it sends inside `write`.)",
        (f"client: received {sent!r}", "client: saw the end"),
        ("client: received b''", "client: saw a reset"),
    )


SCRIPTS = [script_of(order) for order in ORDERS]
DIFFERENCES = {name_of(order): found for order in ORDERS if (found := difference_of(order))}

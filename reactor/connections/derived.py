"""What follows from the state of a connection: what the kernel should watch, and how long it may stay as it is.

Neither is ever set by hand. A program that pauses, a buffer that fills and a peer that leaves only change the state.
When the connection is settled, both are worked out from that anew, at one place (law 1). So no flag can be forgotten.

A peer costs us something for as long as it does nothing: a descriptor, an object, a place that somebody else could
have. So there is no state without a deadline, and which one holds is, like interest, derived from the state and
never armed by hand:

    not a byte has come yet             first_byte_seconds    since it was opened
    nothing to do                       idle_seconds          since the last byte of either direction
    a frame is incomplete               frame_seconds         since its first byte: a trickle does not help (R3)
    output waits                        write_stall_seconds   since the kernel last took some (W6)
    closing, or flushing                close_seconds         since `close` (E4)
    lingering                           linger_seconds        since our FIN, and since the peer took output before it

What falls due while the loop is held up, or the process is stopped, is put off once (`extended`).
"""

from __future__ import annotations

import math

from ..loop.poller import BROKEN, PEER_FIN, READABLE, WRITABLE
from .connection import Connection
from .limits import Limits
from .states import CLOSED, CLOSING, ENDED, FLUSHING, LINGERING, NEVER, CloseReason

TICK_SECONDS = 0.1  # deadlines are kept in steps of this (`deadlines`)
LEAST_SECONDS = 1e-6  # a time later than now: the next tick


def wanted_interest(connection: Connection) -> int:
    """What the kernel should watch for `connection`."""
    state = connection.state
    if state is ENDED or state is CLOSED:
        return 0
    if state.discards or (state.delivers and not connection._reading_paused):
        wanted = READABLE | BROKEN
    elif state.delivers:
        # Paused: data may wait, but a peer that leaves is news (R5). Told once, it is not asked for again.
        wanted = (PEER_FIN | BROKEN) & ~connection._reported
    else:
        wanted = BROKEN
    if connection._unsent or connection._output is not None:
        wanted |= WRITABLE | BROKEN
    return wanted


LIMIT_OF = {  # the limit behind each reason that a deadline gives
    CloseReason.FIRST_BYTE_TIMEOUT: "first_byte_seconds",
    CloseReason.IDLE_TIMEOUT: "idle_seconds",
    CloseReason.FRAME_TIMEOUT: "frame_seconds",
    CloseReason.WRITE_STALLED: "write_stall_seconds",
    CloseReason.CLOSE_TIMEOUT: "close_seconds",
    CloseReason.LINGER_TIMEOUT: "linger_seconds",
}


def next_deadline(connection: Connection) -> tuple[float, CloseReason]:
    """When `connection` is to be ended if nothing changes, in seconds of the clock, and the reason then."""
    limits, state = connection.limits, connection.state
    if state is ENDED:
        return math.inf, CloseReason.SHUTDOWN
    if state is LINGERING:
        return connection._state_since + limits.linger_seconds, CloseReason.LINGER_TIMEOUT
    if state is CLOSING or state is FLUSHING:
        return connection._state_since + limits.close_seconds, CloseReason.CLOSE_TIMEOUT
    heard, progress = connection._heard_at, connection._progress_at
    if heard == NEVER:
        when, reason = connection._state_since + limits.first_byte_seconds, CloseReason.FIRST_BYTE_TIMEOUT
    else:
        when, reason = max(heard, progress) + limits.idle_seconds, CloseReason.IDLE_TIMEOUT
    if connection._frame_since + limits.frame_seconds < when and connection._frame_since != NEVER:
        when, reason = connection._frame_since + limits.frame_seconds, CloseReason.FRAME_TIMEOUT
    # A chunk that was not yet offered to the kernel makes nobody wait; unless there was progress before, that is NEVER.
    if connection._has_output() and progress + limits.write_stall_seconds < when and progress != NEVER:
        when, reason = progress + limits.write_stall_seconds, CloseReason.WRITE_STALLED
    return when, reason


def extended(when: float, reason: CloseReason, limits: Limits, left_at: float, back_at: float) -> float:
    """The deadline `when` of a connection, if the loop was away from `left_at` to `back_at`.

    What fell due meanwhile has as much time again as the loop was away, up to its whole limit. The peer may have done
    all that was asked of it long ago, and it lies in the kernel; one `recv` or `send` does not show that (R7, P2).
    Until then no other deadline of this connection is judged.
    """
    if not left_at - TICK_SECONDS <= when <= back_at + TICK_SECONDS:  # it is looked at up to a tick behind `when`
        return when
    limit: float = getattr(limits, LIMIT_OF[reason])
    return max(when, back_at + min(back_at - left_at, limit))


def next_look(connection: Connection, when: float, now: float) -> float:
    """When to look at `connection` next: at its deadline `when`, or before, if input may bring a nearer one meanwhile.

    Input moves a deadline back, and then nobody need be told. But the first byte ends `first_byte_seconds`, and from
    it `idle_seconds` count, which may be the shorter. Not at `now` itself, even where they are 0: nothing can have
    come since, and the loop would turn for nothing.
    """
    if connection._heard_at != NEVER:
        return when
    return min(when, now + max(connection.limits.idle_seconds, LEAST_SECONDS))

"""What follows from the state of a connection: what the kernel watches for, and how long the state may last.

A server that switches interest on and off in many places forgets one of them at some time, and a client hangs. A
server that arms a timer by hand forgets to move it, and ends a busy client. Here neither is set by hand. A program that
pauses, a buffer that fills and a peer that leaves only change the state. When the connection is settled, interest and
deadline are worked out from the state again, in this file (law 1).

A peer that does nothing still costs a descriptor, an object and a place that another peer could have. So each state has
a deadline:

    no byte has gone either way yet     first_byte_seconds    since it was opened, or came into its state
    nothing to do                       idle_seconds          since the last byte of either direction
    a frame is incomplete               frame_seconds         since its first byte: a trickle does not help (R3)
    output waits                        write_stall_seconds   since the kernel last took some (W6)
    closing, or flushing                close_seconds         since it came into that state (E4)
    lingering                           linger_seconds        since our FIN; starts again while the peer takes output

A deadline that passes while the loop is held up, or the process is stopped, is put off once (`extended`).
"""

from __future__ import annotations

import math

from ..loop.poller import BROKEN, PEER_FIN, READABLE, WRITABLE
from .connection import Connection
from .limits import Limits
from .states import CLOSED, CLOSING, ENDED, FLUSHING, LINGERING, NEVER, CloseReason

TICK_SECONDS = 0.1  # deadlines are kept in steps of this (`deadlines`)
LEAST_SECONDS = 1e-6  # a little later than now: `arm` rounds it up to the next tick


def wanted_interest(connection: Connection) -> int:
    """The events that the kernel should watch for."""
    state = connection.state
    if state is ENDED or state is CLOSED:
        return 0
    if state.discards or (state.delivers and not connection._reading_paused):
        wanted = READABLE | BROKEN
    elif state.delivers:
        # Paused: data may wait, but a peer that leaves must be seen (R5). What was reported is not asked for again.
        wanted = (PEER_FIN | BROKEN) & ~connection._reported
    else:
        wanted = BROKEN
    if connection._unsent or connection._output is not None:
        wanted |= WRITABLE | BROKEN
    return wanted


LIMIT_OF = {  # by reason, the limit that its deadline comes from
    CloseReason.FIRST_BYTE_TIMEOUT: "first_byte_seconds",
    CloseReason.IDLE_TIMEOUT: "idle_seconds",
    CloseReason.FRAME_TIMEOUT: "frame_seconds",
    CloseReason.WRITE_STALLED: "write_stall_seconds",
    CloseReason.CLOSE_TIMEOUT: "close_seconds",
    CloseReason.LINGER_TIMEOUT: "linger_seconds",
}


def next_deadline(connection: Connection) -> tuple[float, CloseReason]:
    """When to end `connection` if nothing changes, in seconds of the clock, and for which reason."""
    limits, state = connection.limits, connection.state
    if state is ENDED:
        return math.inf, CloseReason.SHUTDOWN
    if state is LINGERING:
        return connection._state_since + limits.linger_seconds, CloseReason.LINGER_TIMEOUT
    if state is CLOSING or state is FLUSHING:
        return connection._state_since + limits.close_seconds, CloseReason.CLOSE_TIMEOUT
    heard, progress = connection._heard_at, connection._progress_at
    if heard == NEVER and progress == NEVER:
        when, reason = connection._state_since + limits.first_byte_seconds, CloseReason.FIRST_BYTE_TIMEOUT
    else:
        when, reason = max(heard, progress) + limits.idle_seconds, CloseReason.IDLE_TIMEOUT
    if connection._frame_since + limits.frame_seconds < when and connection._frame_since != NEVER:
        when, reason = connection._frame_since + limits.frame_seconds, CloseReason.FRAME_TIMEOUT
    # `progress` is NEVER until the kernel took some output, or output began to wait.
    if connection.has_output() and progress + limits.write_stall_seconds < when and progress != NEVER:
        when, reason = progress + limits.write_stall_seconds, CloseReason.WRITE_STALLED
    return when, reason


def extended(when: float, reason: CloseReason, limits: Limits, left_at: float, back_at: float) -> float:
    """The deadline `when` of a connection, moved if it passed while the loop was away, from `left_at` to `back_at`.

    It moves by as long as the loop was away, at most by its limit. The bytes that the peer owes may already be in the
    kernel, and one `recv` may not get all of them (R7, P2).
    """
    if not left_at - TICK_SECONDS <= when <= back_at + TICK_SECONDS:  # the look comes up to a tick after `when`
        return when
    limit: float = getattr(limits, LIMIT_OF[reason])
    return max(when, back_at + min(back_at - left_at, limit))


def next_look(connection: Connection, when: float, now: float) -> float:
    """When to look at `connection` next: at its deadline `when`, or earlier if a first byte may bring a nearer one.

    Mostly input moves a deadline back, and a look at the old one is early enough. But the first byte, of either
    direction, ends `first_byte_seconds` and begins `idle_seconds`, which may be shorter. Never at `now`: with deadlines
    of 0 such a look would repeat without a pause.
    """
    if connection._heard_at != NEVER:
        return when
    return min(when, now + max(connection.limits.idle_seconds, LEAST_SECONDS))

"""How long a connection may stay as it is.

A peer costs us something for as long as it does nothing: a descriptor, an object, a place that somebody else could
have. So there is no state without a deadline, and which one holds is, like interest, derived from the state and
never armed by hand:

    not a byte has come yet             first_byte_seconds    since it was opened
    nothing to do                       idle_seconds          since the last byte of either direction
    a frame is incomplete               frame_seconds         since its first byte: a trickle does not help (R3)
    output waits                        write_stall_seconds   since the kernel last took some (W6)
    closing, or flushing                close_seconds         since `close` (E4)
    lingering                           linger_seconds        since our FIN

One timer entry serves them all. It is armed for the earliest deadline, and looks again when it fires: what
happened meanwhile has only moved times (`heard_at`, `progress_at`), at the cost of one store. Nothing is cancelled
and armed again while data flows. Only a change that brings a deadline forward moves the entry.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .states import CLOSED, CLOSING, FLUSHING, LINGERING, CloseReason

if TYPE_CHECKING:
    from .connection import Connection

NEVER = -math.inf  # the time of what has not happened


def next_deadline(connection: Connection) -> tuple[float, CloseReason]:
    """When `connection` is to be ended if nothing changes, in seconds of the clock, and the reason then."""
    limits, state = connection.limits, connection.state
    if state is CLOSED:
        return math.inf, CloseReason.SHUTDOWN
    if state is LINGERING:
        return connection.since + limits.linger_seconds, CloseReason.LINGER_TIMEOUT
    if state is CLOSING or state is FLUSHING:
        return connection.since + limits.close_seconds, CloseReason.CLOSE_TIMEOUT
    heard, progress = connection.heard_at, connection.progress_at
    if heard == NEVER:
        when, reason = connection.since + limits.first_byte_seconds, CloseReason.FIRST_BYTE_TIMEOUT
    else:
        when, reason = max(heard, progress) + limits.idle_seconds, CloseReason.IDLE_TIMEOUT
    if connection.frame_since + limits.frame_seconds < when and connection.frame_since != NEVER:
        when, reason = connection.frame_since + limits.frame_seconds, CloseReason.FRAME_TIMEOUT
    if connection.has_output() and progress + limits.write_stall_seconds < when:
        when, reason = progress + limits.write_stall_seconds, CloseReason.WRITE_STALLED
    return when, reason

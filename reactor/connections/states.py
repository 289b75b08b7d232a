"""The life of a connection as a table, and the one function that moves a connection along it.

TCP has two directions, and each can end by itself. A peer that has sent its last byte (its FIN has arrived) may still
read the reply. Servers go wrong where the two ends meet: output is lost because the peer ended first, `connection_lost`
is called twice, a descriptor is used after it was closed. The usual cause is a state that is spread over flags
(`closing`, `eof_seen`, `lost`) which can contradict one another.

Rule 1: a connection is in exactly one of these states.
Rule 2: the state alone says what becomes of input and whether output is taken.
Rule 3: only `set_state` moves a connection, and only along `NEXT`. Any other step is a bug of this package, so it
        raises.
Rule 4: every end has one reason, from `CloseReason`.

"Half-closed" is said as in RFC 9113: local, we have ended our side; remote, the peer has ended its side.
"""

from __future__ import annotations

import enum
import math
from typing import Protocol

NEVER = -math.inf  # the time of what has not happened


class State(enum.Enum):
    """Where a connection is in its life, and what that means for the bytes of each direction.

    Input is delivered to the protocol, or read and discarded, or not read. Output is taken by `write`, or not taken.
    """

    NEW = ("new", "not read", "not taken")
    OPEN = ("open", "delivered", "taken")
    HALF_CLOSED_REMOTE = ("half-closed (remote)", "not read", "taken")
    HALF_CLOSED_LOCAL = ("half-closed (local)", "delivered", "not taken")
    CLOSING = ("closing", "discarded", "not taken")
    LINGERING = ("lingering", "discarded", "not taken")
    FLUSHING = ("flushing", "not read", "not taken")
    ENDED = ("ended", "not read", "not taken")
    CLOSED = ("closed", "not read", "not taken")

    def __init__(self, label: str, input_is: str, output_is: str) -> None:
        self.label = label
        self.input_is = input_is
        self.output_is = output_is
        # Plain attributes of the member: the data path reads them at every event, and nothing is cheaper in Python.
        self.delivers = input_is == "delivered"
        self.discards = input_is == "discarded"
        self.writes = output_is == "taken"

    __hash__ = object.__hash__  # members are unique; Enum's own hash is a Python call, a dozen in a life


NEW, OPEN = State.NEW, State.OPEN
HALF_CLOSED_REMOTE, HALF_CLOSED_LOCAL = State.HALF_CLOSED_REMOTE, State.HALF_CLOSED_LOCAL
CLOSING, LINGERING, FLUSHING = State.CLOSING, State.LINGERING, State.FLUSHING
ENDED, CLOSED = State.ENDED, State.CLOSED

NEXT: dict[State, dict[State, str]] = {
    NEW: {
        OPEN: "the protocol exists; `connection_made` is next",
        ENDED: "the factory of protocols raised",
    },
    OPEN: {
        HALF_CLOSED_REMOTE: "the peer's FIN was read",
        HALF_CLOSED_LOCAL: "`write_eof`",
        CLOSING: "`close`",
        ENDED: "`abort`, an error, a limit",
    },
    HALF_CLOSED_REMOTE: {
        FLUSHING: "`close`, `write_eof`, or `eof_received` returned false",
        ENDED: "`abort`, an error, a limit",
    },
    HALF_CLOSED_LOCAL: {
        FLUSHING: "the peer's FIN was read",
        CLOSING: "`close`",
        ENDED: "`abort`, an error, a limit",
    },
    CLOSING: {
        LINGERING: "all output is sent, and our FIN after it",
        FLUSHING: "the peer's FIN was read",
        ENDED: "`abort`, an error, a limit",
    },
    LINGERING: {
        ENDED: "the peer's FIN was read; or `abort`, an error, a limit",
    },
    FLUSHING: {
        ENDED: "all output is sent; or `abort`, an error, a limit",
    },
    ENDED: {
        CLOSED: "`connection_lost` was called and the socket closed",
    },
    CLOSED: {},
}


class HasState(Protocol):
    """A `Connection`. Its file imports this one, so its type is described here."""

    state: State
    _state_since: float  # NEVER until it is settled in its state


def set_state(connection: HasState, before: State, after: State) -> bool:
    """Move `connection` from `before` to `after`. Return whether its state was still `before`.

    A `__del__` or a signal handler may have ended it since the caller looked. Then nothing is changed here: that end
    has put it into the queue already. AssertionError if the table has no such step.
    """
    if after not in NEXT[before]:
        raise AssertionError(f"no step from {before.name} to {after.name}")
    if connection.state is not before:
        return False
    connection.state = after
    connection._state_since = NEVER
    return True


class CloseReason(enum.Enum):
    """Why a connection ended: in `close_reason` and in the log. `statistics()` counts each."""

    PEER_CLOSED = "peer_closed"  # the peer ended its side first, and everything was delivered
    CLOSED = "closed"  # the program called `close` first, and everything was delivered
    ABORTED = "aborted"  # the program called `abort`
    RESET = "reset"  # the peer or the network broke the connection off
    HANDLER_ERROR = "handler_error"  # a callback, or the factory of protocols, raised
    REFUSED = "refused"  # too many connections, in all or from its address
    FIRST_BYTE_TIMEOUT = "first_byte_timeout"  # no byte went either way
    IDLE_TIMEOUT = "idle_timeout"  # nothing went either way for too long
    FRAME_TIMEOUT = "frame_timeout"  # a frame was not whole in time (R3)
    FRAME_TOO_LARGE = "frame_too_large"  # a frame was longer than any may be (R4)
    SLOW_READER = "slow_reader"  # the program wrote while more than the hard mark waited (W1)
    MEMORY = "memory"  # it kept the most when all buffers together were too many (W5)
    WRITE_STALLED = "write_stalled"  # it took nothing of what waited for too long (W6)
    CLOSE_TIMEOUT = "close_timeout"  # after `close` it did not take the rest in time (E4)
    LINGER_TIMEOUT = "linger_timeout"  # all was sent, but the peer's FIN never came
    DRAIN_TIMEOUT = "drain_timeout"  # the server's drain deadline cut it
    SHUTDOWN = "shutdown"  # the reactor was closed

    __hash__ = object.__hash__  # as in `State`

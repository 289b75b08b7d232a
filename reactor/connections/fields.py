"""The fields of a connection: all that is known of it, one line each.

A server that keeps the state of a client in local variables of a function needs a thread for each client. Here the
state is an object, and one thread goes from object to object. An idle connection costs a few objects, and no thread.
"""

from __future__ import annotations

import math
import socket
from collections import deque
from typing import Any

from .buffers import OutputBuffer
from .limits import Limits
from .protocol import Protocol
from .states import NEVER, NEW, CloseReason, State

# `recv(n)` allocates n bytes before it knows how many come. Up to 512 the small-object allocator serves them, which is
# fast; asking for 64 KiB for each 64-byte message cost 6 % of an echo. So ask for little until it is filled once.
SMALL_RECEIVE_BYTES = 448


class ConnectionFields:
    """What `Connection` is made of. Times are in seconds of the loop's clock, sizes in bytes.

    A program may read the names without an underscore. The others belong to the files beside this one and to
    `net.framing`.
    """

    __slots__ = {
        "state": "where it is in its life; only `set_state` changes it",
        "limits": "its `Limits`",
        "reactor": "the `Reactor` that it lives on; a later file, so its type is not named here",
        "serial": "its number, which no other connection of this reactor ever has",
        "close_reason": "why it ended, once that is known",
        # The socket and the program.
        "_socket": "only the dispatcher reads and writes it, and only the reaper closes it",
        "_fd": "the socket's number while the dispatcher knows the connection by it; then -1",
        "_protocol": "its callbacks are called",
        "_peername": "the peer's address, as `accept` or `connect` gave it",
        "_admitted_from": "the host that it counts for; None if we opened the connection",
        "_error": "what `connection_lost` will be given",
        "_holds": "`hold` calls that have not been released",
        # Input.
        "_receive_bytes": "how much the next `recv` asks for",
        "_reading_paused": "the program wants no data now",
        "_given_up": "what a former protocol left: input, and whether the peer has ended (`set_protocol`); else None",
        "_kept_bytes": "input that is kept for an unfinished frame",
        "_frame_since": "when that frame began; NEVER without one",
        # Output.
        "_unsent": "written since the last send: one chunk as it is (bytes), or several small ones (a bytearray)",
        "_output": "an `OutputBuffer`, once there is more than that or the kernel was full; else None",
        "_high_bytes": "more output than this pauses the program's writing",
        "_low_bytes": "this much output or less resumes it",
        "_writing_paused": "the program is paused: `pause_writing` was called, and `resume_writing` not since",
        "_fin_sent": "our side of the socket is shut down",
        "_undelivered": "while it lingers: how much output its peer did not have at the last look",
        "_dropped_writes": "writes after `close` or the end",
        # What the kernel was asked, and has answered.
        "_interest": "the events that the kernel watches for",
        "_reported": "events that the kernel has reported and would report again at every poll (level triggering)",
        "_steady": "READABLE if it is simple now: open, reading, no `_output`, nothing changed; else 0",
        # When something happened, and when to look next.
        "_opened_at": "when it was accepted or connected",
        "_state_since": "when it came into its state; NEVER until it is settled",
        "_heard_at": "when input last came",
        "_progress_at": "when the kernel last took output, or output began to wait",
        "_next_look_at": "when to look at its deadline; infinity: not at all",
        # Settling.
        "_attention": "the dispatcher's queue of connections to settle",
        "_attended": "it is certain to be settled, so that a change need not ask for that",
        "_queued": "it is in that queue",
    }

    def __init__(
        self,
        sock: socket.socket,
        peername: Any,
        limits: Limits,
        reactor: Any,
        attention: deque[Any],
    ) -> None:
        self.state: State = NEW
        self.limits = limits
        self.reactor = reactor
        self.serial: int = reactor.counters.accepted + reactor.counters.connected  # it was just counted there
        self.close_reason: CloseReason | None = None
        self._socket = sock
        self._fd = sock.fileno()
        self._protocol: Protocol = None  # type: ignore[assignment]  # until the factory has made it
        self._peername = peername
        self._admitted_from: str | None = None
        self._error: Exception | None = None
        self._holds = 0
        self._receive_bytes = min(SMALL_RECEIVE_BYTES, limits.receive_bytes)
        self._reading_paused = False
        self._given_up: tuple[bytes, bool] | None = None
        self._kept_bytes = 0
        self._frame_since = NEVER
        self._unsent: bytes | bytearray = b""
        self._output: OutputBuffer | None = None
        self._high_bytes = limits.output_high_bytes
        self._low_bytes = limits.output_low_bytes
        self._writing_paused = False
        self._fin_sent = False
        self._undelivered: float = math.inf
        self._dropped_writes = 0
        self._interest = 0
        self._reported = 0
        self._steady = 0
        self._opened_at: float = reactor.timers.now
        self._state_since = NEVER
        self._heard_at = NEVER
        self._progress_at = NEVER
        self._next_look_at = math.inf
        self._attention = attention
        self._attended = False
        self._queued = False

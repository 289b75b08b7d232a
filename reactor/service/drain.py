"""The end of a server, as a drain: nobody comes in, what is under way is completed, and the end always comes.

A server that just stops cuts its replies off; a server that waits for everyone waits for ever for the one peer that
never reads. So nothing new is accepted, a connection that owes its peer nothing is closed at once, the others get
`drain_seconds` to finish, and then everything ends, whatever it is doing (L7, E10).

Who owes what is the question, and three are asked, since each of them knows only a part:

- the program: a connection may be *held* (`Connection.hold`) because its answer comes later, from a timer, a thread
  or another server. Nobody else can know that (E12).
- our own buffers: output may wait.
- the kernel: what it has taken from us may not have reached the peer, and input may lie there that nobody has seen.

A connection that is closed lingers, so that a peer that still speaks does not lose the end of our reply (E3). In a
drain it lingers for less time than in service: an idle client that never answers our FIN should not hold up the exit.
That time counts from our FIN, and the FIN leaves behind the last byte of output: as long as the kernel has something
to deliver, it has not begun (E11).

What is cut is counted, and the peer sees a reset: it must not take what it has for the whole.

The cost: a look at every connection that is left, 20 times a second, and one or two system calls for each.
"""

from __future__ import annotations

import math

from ..connections.connection import Connection
from ..connections.reactor import Reactor
from ..connections.socket_options import reset_on_close, undelivered_output, unread_bytes
from ..connections.states import ENDED, LINGERING, CloseReason

DRAIN_TICK_SECONDS = 0.05  # how often a drain looks whether it is done
# How long a peer may take to answer our FIN once it has everything: a client that reads does it in a round trip.
DRAIN_LINGER_SECONDS = 1.0


class Drain:
    """Ends all connections of `reactor` within `seconds` of `begin`, and then stops it."""

    def __init__(self, reactor: Reactor, seconds: float) -> None:
        self._reactor = reactor
        self._seconds = seconds
        self._began = math.inf  # in seconds of the reactor's clock; infinity: not yet
        self.cut = 0  # connections that were ended although they owed their peer something

    @property
    def begun(self) -> bool:
        """Whether `begin` was called."""
        return self._began < math.inf

    def begin(self) -> None:
        """Close what is idle, and wait for the rest. Again does nothing. On the reactor's thread."""
        if not self.begun:
            self._began = self._reactor.time()
            # A timer of its own: the deadline depends on nothing that is done or found out meanwhile.
            self._reactor.call_later(self._seconds, self._end)
            self._look()

    def finish(self) -> int:
        """The loop has ended, whatever ended it, and all that is left will be closed: how many were cut, in all."""
        for connection in self._reactor.dispatcher.connections():
            if connection.state is ENDED:
                continue
            # If input is unread, the close resets what the peer was still to have the time to read and to end.
            refuses = connection.state is LINGERING and bool(unread_bytes(connection._socket))
            if refuses or self._owes(connection):
                self._cut(connection)
        return self.cut

    def _look(self) -> None:
        if not self._reactor.counters.open:
            self._reactor.stop()
            return
        self._reactor.call_later(DRAIN_TICK_SECONDS, self._look)
        connections = self._reactor.dispatcher.connections()
        answering = any(connection._holds for connection in connections)
        for connection in connections:
            if connection.state is LINGERING:
                self._look_at_lingering(connection)
            elif answering and connection._admitted_from is None:
                pass  # we opened it, perhaps for the sake of the answer that is still to come
            elif not self._is_busy(connection):
                connection.close()

    def _look_at_lingering(self, connection: Connection) -> None:
        undelivered = undelivered_output(connection)
        if undelivered:
            connection._state_since = self._reactor.time()  # our FIN waits behind this, so its time has not begun
        elif undelivered is not None and self._reactor.timers.asked_at >= connection._state_since + DRAIN_LINGER_SECONDS:
            # By then the kernel was asked; if the loop was away, the peer's FIN may have come later than that (P2).
            connection._end(CloseReason.LINGER_TIMEOUT, None)
        # Where the kernel cannot tell, the peer may still be reading: it gets `linger_seconds`, as in service.

    def _end(self) -> None:
        """The deadline. Connections that are opened from now on end with the reactor."""
        for connection in self._reactor.dispatcher.connections():
            if connection.state is not ENDED and self._owes(connection):
                self._cut(connection)
                error = TimeoutError(f"not finished within the {self._seconds:g} seconds of a drain")
                connection._end(CloseReason.DRAIN_TIMEOUT, error)
            elif connection.state is LINGERING:
                connection._end(CloseReason.LINGER_TIMEOUT, None)
            else:
                connection._end(CloseReason.SHUTDOWN, None)
        self._reactor.stop()

    def _cut(self, connection: Connection) -> None:
        self.cut += 1
        reset_on_close(connection._socket)

    def _owes(self, connection: Connection) -> bool:
        """Whether the peer would miss something if the connection ended now."""
        return self._is_busy(connection) or bool(undelivered_output(connection))

    def _is_busy(self, connection: Connection) -> bool:
        """Whether there is something to do before the connection can be closed."""
        if connection._has_output():
            return True
        if connection.is_closing():  # nothing that comes is delivered, nothing that is written is taken
            return False
        return connection._holds > 0 or self._waits_for_its_turn(connection)

    def _waits_for_its_turn(self, connection: Connection) -> bool:
        """Whether it has input that came before the drain, for all we know, and that its program has not seen.

        After one turn it has: a client that never stops sending is not waited for.
        """
        return connection.is_reading() and connection._heard_at < self._began and bool(unread_bytes(connection._socket))

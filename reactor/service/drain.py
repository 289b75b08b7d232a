"""How a server ends: it accepts no new connection, completes what is under way, and ends at a deadline.

A server that stops at once cuts its replies off. A server that waits for every peer waits for ever, because one peer
may never read. So the drain accepts nothing new and closes at once each connection that owes its peer nothing. The
others get `drain_seconds` to finish. Then everything ends, whatever it is doing (L7, E10).

Does a connection owe something? Three parties each know a part of the answer:

- The program. It may *hold* a connection (`Connection.hold`) because its answer comes later, from a timer, a thread or
  another server. Only the program can know that (E12). A protocol may also have a method `owes_answer`, which says so:
  a coroutine that serves a connection owes one while no task waits in a read of it. While a call of `run_in_thread` is
  not answered, no connection is closed for being idle: it may be the one that waits for the answer. This is so for
  calls from before the drain, and for those that input from before the drain brings. Later ones, such as those of a
  timer, hold nothing.
- Our own buffers. Output may wait there.
- The kernel. It may have output that the peer has not received, or input that the program has not seen.

A closed connection lingers, so that a peer that still sends does not lose the end of our reply (E3). In a drain it
lingers for less time than in service: an idle client that never answers our FIN must not delay the exit. That time
begins with our FIN. The FIN leaves after the last byte of output, so while the kernel still has output to deliver,
the time has not begun (E11).

A connection that still owes something at the deadline is cut. It is counted, and its peer gets a reset, so that the
peer does not take a part of the reply for the whole.

The cost: 20 times a second, a look at every connection that is left, with one or two system calls for each.
"""

from __future__ import annotations

import math

from ..connections.connection import Connection
from ..connections.reactor import Reactor
from ..connections.socket_options import reset_on_close, undelivered_output, unread_bytes
from ..connections.states import ENDED, LINGERING, CloseReason
from ..coroutines.roots import outliving, tell_draining
from ..loop.timers import Handle

DRAIN_TICK_SECONDS = 0.05  # how often a drain checks whether it is done
# How long a peer that has everything may take to answer our FIN. A client that reads needs one round trip.
DRAIN_LINGER_SECONDS = 1.0


class Drain:
    """Ends all connections of `reactor` within `seconds` of `begin`, and then stops it."""

    def __init__(self, reactor: Reactor, seconds: float) -> None:
        self._reactor = reactor
        self._seconds = seconds
        self._began = math.inf  # in seconds of the reactor's clock; infinity before `begin`
        self._calls: set[Handle] = set()  # those of `run_in_thread` that the drain waits for
        self._more_calls = True  # input from before the drain may still bring some
        self.cut = 0  # connections that were ended while they owed their peer something

    @property
    def begun(self) -> bool:
        """Whether `begin` was called."""
        return self._began < math.inf

    def begin(self) -> None:
        """Close what is idle, and wait for the rest. A second call does nothing. Call it on the reactor's thread."""
        if not self.begun:
            self._began = self._reactor.time()
            # The deadline has its own timer, so nothing during the drain can move it.
            self._reactor.call_later(self._seconds, self._end)
            if tell_draining(self._reactor):
                self._reactor.call_soon(self._look)  # after the tasks that were told: they may write a last word
            else:
                self._look()

    def finish(self) -> int:
        """The loop has ended, and all that is left will be closed. Returns how many connections were cut in all.

        A call of `run_in_thread` that was not answered counts as one: somebody waits for it.
        """
        self.cut += len(self._unanswered([]) if self.begun else self._reactor.threads.unanswered)
        for connection in self._reactor.dispatcher.connections():
            if connection.state is ENDED:
                continue
            # With input unread, our close sends a reset, and the peer loses the time to read our reply and to end.
            refuses = connection.state is LINGERING and bool(unread_bytes(connection._socket))
            if refuses or self._owes(connection):
                self._cut(connection)
        return self.cut

    def _look(self) -> None:
        following = self._reactor.call_later(DRAIN_TICK_SECONDS, self._look)
        connections = self._reactor.dispatcher.connections()
        calling = bool(self._unanswered(connections))
        outlive = bool(outliving(self._reactor))  # their clean-up may need a connection that we opened
        if not self._reactor.counters.open and not calling and not outlive:
            following.cancel()
            self._reactor.stop()
            return
        answering = calling or outlive or any(_is_held(connection) for connection in connections)
        for connection in connections:
            if connection.state is LINGERING:
                self._look_at_lingering(connection)
            elif answering and connection._admitted_from is None:
                pass  # we opened it, and a held connection may need its answer
            elif not calling and not self._is_busy(connection):
                connection.close()

    def _unanswered(self, connections: list[Connection]) -> set[Handle]:
        """The calls of `run_in_thread` to wait for. A new one counts if it may come from input before the drain."""
        unanswered: set[Handle] = set(self._reactor.threads.unanswered)
        if self._more_calls:
            self._calls |= unanswered
            self._more_calls = any(self._waits_for_its_turn(connection) for connection in connections)
        return self._calls & unanswered

    def _look_at_lingering(self, connection: Connection) -> None:
        undelivered = undelivered_output(connection)
        until = connection._state_since + DRAIN_LINGER_SECONDS
        if undelivered:
            connection._state_since = self._reactor.time()  # our FIN waits behind this output
        elif undelivered is not None and self._reactor.timers.asked_at >= until:
            # `asked_at` and not now: if the process was stopped, the peer's FIN may wait in the kernel (P2).
            connection._end(CloseReason.LINGER_TIMEOUT, None)
        # Where the kernel cannot say, the peer may still be reading. It gets `linger_seconds`, as in service.

    def _end(self) -> None:
        """The deadline: end all connections. One that is opened later ends with the reactor."""
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
        """Whether the peer would lose something if the connection ended now."""
        return self._is_busy(connection) or bool(undelivered_output(connection))

    def _is_busy(self, connection: Connection) -> bool:
        """Whether something must be done before the connection can be closed."""
        if connection.has_output():
            return True
        if connection.is_closing():  # input is discarded and writes are ignored
            return False
        return _is_held(connection) or self._waits_for_its_turn(connection)

    def _waits_for_its_turn(self, connection: Connection) -> bool:
        """Whether it may have input from before the drain that its program has not seen.

        After one receive it counts as seen: the drain does not wait for a client that never stops sending.
        """
        return connection.is_reading() and connection._heard_at < self._began and bool(unread_bytes(connection._socket))


def _is_held(connection: Connection) -> bool:
    """Whether the program has said that an answer will come later."""
    owes_answer = getattr(connection._protocol, "owes_answer", None)
    return connection._holds > 0 or (owes_answer is not None and bool(owes_answer()))

"""The account of the system calls, and how it is balanced at the end.

While a scenario runs, each call of the reactor on a socket is reported here. What is wrong with a single call is found
at once: a `recv` without an event, or with an event for another socket; more calls than the budget of a phase allows;
a descriptor closed while a stale event can still reach its successor.

At the end, every promise must be kept. That is checked from outside: what peers were sent and what they saw, what
the log says, which descriptors are open, and whether the reactor's own counters agree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reactor.simulation.network import Endpoint
from reactor.simulation.peers import Peer
from reactor.simulation.sockets import FakeSocket, Watcher

from .laws import CLEAN, OVER, check_received, require
from .witness import Witness

if TYPE_CHECKING:
    from .world import World

MOVES = {"recv", "peek", "send", "shutdown"}  # calls that move bytes or the end of a stream
SPENT = 1 << 40  # added to the bytes of a phase when the first budget is used up


class Books(Watcher):
    """The account of one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._sent: dict[int, int] = {}  # bytes in this phase, by descriptor
        self._written: dict[int, bool] = {}  # by descriptor: foreign code has written during a `send`
        self._accepts: dict[int, int] = {}  # in this phase, by descriptor
        self._closed_in_batch = -1  # a descriptor that this batch has an event for
        self._never_told = 0  # bytes sent by calls that did not return

    def phase_begins(self) -> None:
        """Each budget starts again."""
        if self._sent:
            self._sent = {}
        if self._accepts:
            self._accepts = {}
        self._closed_in_batch = -1

    # One call.

    def calls(self, sock: FakeSocket, what: str) -> None:
        """A system call begins. Check that it is allowed now, on this socket."""
        world = self.world
        world.network.stir()
        require(sock.number >= 0, 7, "{} is called on a socket that was closed", what)
        if what != "close":
            self.batch_goes_on()
        witness = sock.endpoint.owner if isinstance(sock.endpoint, Endpoint) else None
        if isinstance(witness, Witness) and what in MOVES:
            require(witness.state not in OVER, 3, "{} is called for {}, which has ended", what, witness.connection)
        if what in ("recv", "peek"):
            self._check_receive(sock, what)
        elif what == "send":
            require(not sock.endpoint.fin_queued, 3, "{} sends behind its own end", witness and witness.connection)
            if isinstance(witness, Witness):
                witness.fresh = 0
            over, sent = divmod(self._sent.get(sock.number, 0), SPENT)
            budget = world.limits.send_bytes
            require(not over or sent < budget, 8, "descriptor {} is sent more, and {} bytes and as many again are gone",
                    sock.number, budget)  # fmt: skip
            if sent >= budget:  # one more budget, for what a partial send may have left
                self._sent[sock.number] = SPENT
        elif what == "accept":
            require(world.doors.is_open(sock.endpoint), 3, "accept is called for a listener that was stopped")
            accepts = self._accepts[sock.number] = self._accepts.get(sock.number, 0) + 1
            budget = world.limits.accepts_per_iteration
            require(accepts <= budget, 8, "accept is called {} times in a turn, and {} are allowed", accepts, budget)
        elif what == "close":
            world.network.happened += 1
            if isinstance(witness, Witness):
                self._check_close(sock, witness)
            elif isinstance(sock.endpoint, Endpoint) and sock.endpoint.owner is None and sock.dial is None:
                world.turns.check_refused(sock.endpoint)
            elif world.phase == "dispatch" and world.waiter.batch.get(sock.number, (None,))[0] is sock:
                self._closed_in_batch = sock.number
        elif what == "error" and world.phase == "dispatch":
            self._check_owner(sock, what)
        if world.network.note is not None:
            world.network.note(f"descriptor {sock.number}", what)

    def batch_goes_on(self) -> None:
        """Law 7: the batch is still being handled, so no descriptor of it may be closed."""
        require(self._closed_in_batch < 0, 7, "descriptor {} was closed in the batch that told of it",
                self._closed_in_batch)  # fmt: skip

    def _check_receive(self, sock: FakeSocket, what: str) -> None:
        world = self.world
        require(world.phase == "dispatch", 8, "{} is called in the phase {}", what, world.phase)
        entry = self._check_owner(sock, what)
        require(entry[2] == 0, 8, "descriptor {} is read more than once for one event", sock.number)
        entry[2] += 1

    def _check_owner(self, sock: FakeSocket, what: str) -> Any:
        """Law 7: an event has named this descriptor, and the socket is still the same."""
        entry: Any = self.world.waiter.batch.get(sock.number)
        require(entry is not None, 7, "{} is called for descriptor {}, of which no event told", what, sock.number)
        require(entry[0] is sock, 7, "an event for the former owner of descriptor {} has reached the new one",
                sock.number)  # fmt: skip
        return entry

    def _check_close(self, sock: FakeSocket, witness: Witness) -> None:
        """Laws 5 and 7: no stale event can come any more, and the peer sees how the connection ended."""
        phase, connection, endpoint = self.world.phase, witness.connection, witness.endpoint
        require(phase in ("reap", "close"), 7, "descriptor {} is closed in the phase {}, where events "
                "may still be dispatched", sock.number, phase)  # fmt: skip
        reason = connection.close_reason.value if connection.close_reason is not None else ""
        if reason in ("aborted", "handler_error") or witness.waiting() or witness.cut:
            reset = endpoint.linger_zero or endpoint.dead
            require(reset, 5, "{} ends for {}, and not with a reset", connection, reason)
        elif reason in CLEAN:
            require(not endpoint.linger_zero, 5, "{} ends for {} with a reset", connection, reason)

    def received(self, sock: FakeSocket, data: bytes, peek: bool) -> None:
        """`recv` has returned `data`."""
        world, witness = self.world, sock.endpoint.owner
        if world.network.note is not None:
            world.network.note(f"descriptor {sock.number}", "peeks at" if peek else "receives", len(data))
        if peek and data:
            return
        if data or not (isinstance(witness, Witness) and witness.end_read):
            world.network.happened += 1  # reading the end again is not progress
        require(len(data) <= world.limits.receive_bytes, 8, "{} bytes are read at once", len(data))
        if isinstance(witness, Witness):
            witness.was_read(data)

    def sent(self, sock: FakeSocket, offered: int, count: int) -> None:
        """`send` has taken `count` of the `offered` bytes."""
        world, witness = self.world, sock.endpoint.owner
        if world.network.note is not None:
            world.network.note(f"descriptor {sock.number}", "has sent", count, "of", offered)
        world.network.happened += count > 0
        if self._written.pop(sock.number, False):
            self._sent.pop(sock.number, None)
        else:
            self._sent[sock.number] = self._sent.get(sock.number, 0) + count
        if isinstance(witness, Witness):
            witness.was_sent(count)

    def wrote_meanwhile(self, sock: FakeSocket) -> None:
        """Foreign code has written during a `send`. That output is new, and has its own budget."""
        self._written[sock.number] = True

    def never_told(self, count: int) -> None:
        """`send` has taken `count` bytes but did not return, so the core cannot count them."""
        self._never_told += count

    def refused(self, sock: FakeSocket) -> None:
        """A call got EAGAIN without need."""
        if isinstance(sock.endpoint, Endpoint) and isinstance(sock.endpoint.owner, Witness):
            sock.endpoint.owner.refused_in = self.world.iteration

    def failed(self, sock: FakeSocket, error: int) -> None:
        """A call has failed with an error that ends the connection."""
        self.world.network.happened += 1
        if self.world.network.note is not None:
            self.world.network.note(f"descriptor {sock.number}", "fails with error", error)
        for dial in self.world.upstreams.dials:
            dial.broke_off(sock)
        if isinstance(sock.endpoint, Endpoint) and isinstance(sock.endpoint.owner, Witness):
            sock.endpoint.owner.errors.append(error)

    def peer_reads(self, peer: Peer, data: bytes) -> None:
        """A peer has read `data`, or the end if it is empty."""
        witness = peer.endpoint.peer.owner
        if self.world.network.note is not None:
            self.world.network.note(f"peer {peer.index}", "has read", len(data) or "the end")
        check_received(witness if isinstance(witness, Witness) else None, peer.received, data)

    # The end.

    def balance(self) -> None:
        """The reactor is closed: everything was done, or there is a reason why not."""
        world = self.world
        world.tasks.check_over()
        require(not world.live, 3, "{} connections were not told of their end", len(world.live))
        left = world.table.own()
        require(not left, 7, "descriptors are left open: {}", sorted(left))
        world.log.check()
        self._check_counters()
        self._let_peers_finish()
        world.upstreams.check_places()
        for neighbour in world.neighbours:
            neighbour.check()
        for peer in world.peers:
            self._check_served(peer)

    def _check_counters(self) -> None:
        world, counters = self.world, self.world.reactor.counters
        require(counters.open == 0, 10, "{} connections were opened and not counted as closed", counters.open)
        delivered = sum(max(witness.delivered, witness.known) for witness in world.witnesses)
        taken = sum(witness.endpoint.taken for witness in world.witnesses if witness.life != "new")
        require(
            counters.bytes_received == delivered,
            5,
            "{} bytes were delivered, and {} counted",
            delivered,
            counters.bytes_received,
        )
        taken -= self._never_told
        require(counters.bytes_sent == taken, 5, "{} bytes were sent, and {} counted", taken, counters.bytes_sent)
        require(counters.dropped_writes == world.dropped, 5, "{} writes were dropped, and {} counted", world.dropped,
                counters.dropped_writes)  # fmt: skip
        errors, mishaps = counters.callback_errors, world.loop_mishaps
        require(errors == mishaps, 9, "{} calls raised, and {} are counted", mishaps, errors)
        require(
            counters.buffered_bytes == 0,
            6,
            "{} bytes are counted as buffered when all is over",
            counters.buffered_bytes,
        )

    def _let_peers_finish(self) -> None:
        """Let everything arrive that is still on its way."""
        network = self.world.network
        while (following := network.next_time()) < float("inf"):
            network.now = max(network.now, following)
            network.run_due()

    def _check_served(self, peer: Peer) -> None:
        """Law 5: a polite peer gets all that was written, and then the end."""
        witness = peer.endpoint.peer.owner
        if not isinstance(witness, Witness) or not peer.plan.polite or peer.gave_up:
            return
        reason = witness.connection.close_reason
        if reason is not None and reason.value in CLEAN:
            require(peer.at_end and peer.received == len(witness.accepted), 5,
                    "a polite peer has read {} bytes of {} and then {}, though its connection ended for {} (E3)",
                    peer.received, len(witness.accepted), "the end" if peer.at_end else f"error {peer.broken}",
                    reason.value)  # fmt: skip

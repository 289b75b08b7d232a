"""The observer between the reactor and a program. It remembers what both of them did.

The laws compare what a program asked for with what was done, by system calls and callbacks. A `Witness` is the
protocol that the reactor sees. It checks the grammar, counts, and passes each callback on to the program. What the
program asks of the connection is seen by a `WatchedConnection` (`watched`).

A connection that is handed over to another program gets a new witness, which takes over all facts of the old one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reactor.connections.connection import Connection
from reactor.connections.protocol import Protocol
from reactor.coroutines.stream import Stream
from reactor.simulation.network import Endpoint

from .frames import Frames
from .laws import DELIVERING, NEVER, OVER, WRITING, check_lost, require
from .reads import Reads

if TYPE_CHECKING:
    from .programs import Program
    from .watched import WatchedConnection
    from .world import World


class Witness(Protocol):
    """The protocol between the reactor and the program of one connection."""

    __slots__ = (
        "world", "program", "connection", "endpoint", "accepted", "delivered", "life", "paused", "state", "since",
        "heard_at", "progress_at", "stalled", "asked_close", "asked_abort", "asked_eof", "finished", "raised",
        "end_read", "errors", "deadlines_before", "waits_since", "high", "low", "reading_paused", "reading_since",
        "between", "in_send", "fresh", "interrupted_in", "read_at", "refused_in", "frames", "end_due", "wrote_in",
        "ended_in", "asked_in", "late", "alone", "known",
        "cut", "held", "released_at",
    )  # fmt: skip

    connection: WatchedConnection
    endpoint: Endpoint

    def __init__(self, world: World, program: Program) -> None:
        self.world = world
        self.program = program
        self.accepted = bytearray()  # what the program wrote and the connection accepted
        self.delivered = 0  # how many bytes the program was given
        self.cut = False  # it ended while it owed its peer something
        self.held = 0  # how many holds the program has
        self.released_at = NEVER  # when the program last released a hold
        self.known = 0  # how many bytes the former program was given
        self.life = "new"  # later "made", "eof" and "lost"
        self.paused = False
        self.state = "NEW"  # its name
        self.since = world.loop_time  # when it entered this state
        self.late = 0.0  # how much later, at most, the loop noticed that
        self.heard_at = NEVER
        self.progress_at = NEVER
        self.waits_since = NEVER  # when output was last written while none waited
        self.stalled = False  # the last send left some output
        self.alone = False  # one write waits, and the kernel was not offered it yet
        self.asked_close = self.asked_abort = self.asked_eof = False
        self.finished = False  # closed for a reason with an error
        self.raised = False
        self.end_read = False  # the peer's FIN was read
        self.errors: list[int] = []  # the errors of its system calls
        self.deadlines_before: dict[str, float] = {}
        self.high, self.low = world.limits.output_high_bytes, world.limits.output_low_bytes
        self.reading_paused = False  # by the program
        self.reading_since = -1.0  # since which iteration it reads
        self.frames: Frames | Reads | None = None  # if the program takes its input in frames
        self.end_due = False  # the end was read, and the program must hear of it
        self.between = self.in_send = False  # foreign code runs inside a call on its socket; that is `send`
        self.fresh = 0  # how many bytes were written during the last `send`, which did not offer them
        self.interrupted_in = 0  # the last phase in which foreign code paused reading inside a call
        self.read_at = NEVER  # when something was last read, even if it was discarded
        self.refused_in = 0  # the last iteration with EAGAIN for a ready socket
        self.wrote_in = self.ended_in = self.asked_in = 0  # phases: output began to wait; the end; a pause for memory

    @property
    def number(self) -> int:
        """The number of its peer, which seeds the program's random numbers."""
        return 40_000 + int(self.endpoint.peer.owner.index)

    def successor(self, program: Program) -> Witness:
        """The witness for `program`, to which the connection is handed over."""
        new = Witness(self.world, program)
        for name in Witness.__slots__:
            if name != "program" and hasattr(self, name):
                setattr(new, name, getattr(self, name))
        return new

    def takes_over(self) -> None:
        """The new program gets all input after the last frame, and again the end; and its writing is not paused.

        From now on, this witness gets all facts about the connection.
        """
        world, former = self.world, self.endpoint.owner
        world.live[world.live.index(former)] = self.endpoint.owner = self
        world.witnesses[world.witnesses.index(former)] = self
        former.life = "gone"
        self.held, self.paused = former.held, False
        self.reading_paused, self.reading_since = self.connection._reading_paused, world.iteration
        if self.frames is not None:
            again = self.frames.tells_end_again()
            self.known, self.delivered, self.frames = self.delivered, self.frames.given_up_from(), None
            if self.life == "eof" and again:
                self.life, self.end_due = "made", False  # it hears of the end before the loop sleeps

    def give_up_input(self) -> tuple[bytes, bool]:
        """What the program gives up; nothing if it has no such method."""
        give_up_input = getattr(self.program, "give_up_input", None)
        return give_up_input() if give_up_input is not None else (b"", False)

    def owes_answer(self) -> bool:
        """As the program says; a program without such a method does not."""
        owes_answer = getattr(self.program, "owes_answer", None)
        return owes_answer is not None and bool(owes_answer())

    def is_at_work(self) -> bool:
        """Whether an answer is still to come: the program holds the connection, or its handler is at work."""
        return self.held > 0 or (self.frames is not None and self.frames.owes_answer())

    def waiting(self) -> int:
        """How many written bytes the kernel has not taken."""
        return len(self.accepted) - self.endpoint.taken

    def kept(self) -> tuple[int, int]:
        """The least and the most bytes that its buffers hold.

        If output was written in this phase, the kernel may not have been offered it yet, and it does not count then.
        If the connection ended in this phase, its buffers may still be there, and count then.
        """
        frames = max(0, self.known - self.delivered) + (self.frames.kept() if self.frames is not None else 0)
        phase = self.world.phase_number
        if self.state in OVER:
            return 0, self.waiting() + frames if self.ended_in == phase else 0
        waiting = self.waiting()
        surely = 0 if self.wrote_in == phase or waiting <= self.fresh else waiting
        return frames + surely, frames + waiting + (self.frames.batch if self.frames is not None else 0)

    def check_paused(self) -> None:
        """Law 4: a connection with more waiting output than the high mark was asked to pause.

        A single write does not count before the kernel was offered it.
        """
        waiting = self.waiting()
        if self.state in WRITING and waiting > max(self.high, self.fresh) and not self.alone and not self.in_send:
            require(self.paused, 4, "{} bytes of {} wait, the high mark is {}, and it was not paused",
                    waiting, self.connection, self.high)  # fmt: skip

    # The callbacks.

    def connection_made(self, connection: Connection) -> None:
        require(self.life == "new", 3, "connection_made came again, in {}", connection)
        self.life = "made"
        self.connection = connection  # type: ignore[assignment]  # the dispatcher makes no other
        self.endpoint = connection._socket.endpoint  # type: ignore[attr-defined]
        self.endpoint.owner = self
        self.since = self.world.loop_time
        told = self.endpoint.no_delay or "setsockopt" in self.world.table.injected
        require(told, 8, "small replies of {} are held back for the sake of larger ones", connection)
        self.world.live.append(self)
        ours, theirs = self.endpoint.address, self.endpoint.peer.address
        require(ours != theirs, 10, "{} is connected to itself", connection)
        program: object = self.program
        if isinstance(program, Stream):
            self.frames = self.world.reads[program] = Reads(self)
        self._call("connection_made", connection)

    def data_received(self, data: bytes) -> None:
        require(self.life == "made", 4, "data_received came in the life {!r}", self.life)
        require(not self.asked_close and not self.asked_abort, 4, "{} was given data after close", self.connection)
        paused = self.reading_paused and self.interrupted_in != self.world.phase_number
        require(not paused, 4, "{} was given data though it had paused", self.connection)
        require(data, 4, "{} was given no data", self.connection)
        sent = self.endpoint.peer.owner.sent
        require(sent.startswith(data, self.delivered), 5, "{} was given {!r} at {}, where the peer sent {!r}",
                self.connection, data[:40], self.delivered,
                bytes(sent[self.delivered : self.delivered + 40]))  # fmt: skip
        self.delivered += len(data)
        if self.frames is not None:
            self.frames.arrived()
        self._call("data_received", data)
        if self.frames is not None:
            self.frames.was_told()

    def eof_received(self) -> bool | None:
        require(self.life == "made", 4, "eof_received came in the life {!r}", self.life)
        sent = len(self.endpoint.peer.owner.sent)
        ended = self.end_read and self.endpoint.fin_received
        require(ended, 4, "{} was told an end that was not there", self.connection)
        require(
            self.delivered == sent, 5, "{} was told the end after {} bytes of {}", self.connection, self.delivered, sent
        )
        self.life = "eof"
        keep: bool | None = self._call("eof_received")
        if not keep:
            self.asked_close = True  # the core closes for it
        return keep

    def pause_writing(self) -> None:
        require(self.life in ("made", "eof") and not self.paused, 4, "pause_writing in the life {!r}, paused: {}",
                self.life, self.paused)  # fmt: skip
        require(self.state in WRITING, 4, "{} was paused where nothing can be written", self.connection)
        if (self.waiting() <= self.high or self.alone) and not self.in_send:
            require(self.world.memory.is_short(), 4, "{} was paused with {} bytes waiting and a high mark of {}",
                    self.connection, self.waiting(), self.high)  # fmt: skip
            self.asked_in = self.world.phase_number
        self.paused = True
        self._call("pause_writing")

    def resume_writing(self) -> None:
        require(self.life in ("made", "eof") and self.paused, 4, "resume_writing in the life {!r}, paused: {}",
                self.life, self.paused)  # fmt: skip
        require(self.waiting() <= self.low, 4, "{} was resumed with {} bytes waiting, low mark {}",
                self.connection, self.waiting(), self.low)  # fmt: skip
        self.paused = False
        self._call("resume_writing")

    def connection_lost(self, exc: Exception | None) -> None:
        require(self.life in ("made", "eof"), 3, "connection_lost came in the life {!r}", self.life)
        check_lost(self, exc)
        require(self.world.phase in ("reap", "close"), 3, "connection_lost came in the phase {}", self.world.phase)
        self.life = "lost"
        self.world.live.remove(self)
        self._call("connection_lost", exc)

    def _call(self, callback: str, *arguments: Any) -> Any:
        world, mishaps = self.world, self.world.mishaps
        world.turns.callback_begins(callback, self)
        try:
            return getattr(self.program, callback)(*arguments)
        except Exception as exc:
            require(world.mishaps > mishaps, 9, "{} was given an exception that it did not expect: {!r}", callback, exc)
            world.loop_mishaps += callback == "connection_lost"  # other callbacks end the connection
            raise
        finally:
            world.turns.callback_ends(callback)

    def wants_frames(self, prefixed: bool) -> Frames:
        """The program takes its input in frames: after a length if `prefixed`, else up to a line feed."""
        self.frames = frames = Frames(self, prefixed)
        return frames

    # The system calls.

    def was_sent(self, count: int) -> None:
        """The kernel took `count` bytes; 0 for EAGAIN."""
        if count or not self.stalled:
            self.progress_at = self.world.loop_time
        self.stalled = self.waiting() > 0
        self.alone = False

    def was_read(self, data: bytes) -> None:
        """`recv` returned `data`, which is empty at the end."""
        self.read_at = self.world.loop_time
        if not data:
            self.end_read = True
            self.end_due = self.end_due or self.state in DELIVERING
            self.heard_at = self.world.loop_time
        elif self.state in DELIVERING:
            self.heard_at = self.world.loop_time

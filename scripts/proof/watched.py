"""The connection that a program sees: the real one, which also records what the program asks of it.

Its `state` is a property, so each step is checked at the moment at which it is taken, and no step can be missed. The
core is not changed for this: only the dispatcher's name for the class of connections is replaced.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from reactor.connections.connection import Connection
from reactor.connections.fields import ConnectionFields
from reactor.connections.states import State

from .laws import OVER, STEPS, WRITING, check_end, deadlines, require
from .witness import Witness

if TYPE_CHECKING:
    from .world import World

_state_slot: Any = ConnectionFields.__dict__["state"]


class WatchedConnection(Connection):
    """A connection whose every step is witnessed."""

    __slots__ = ("born",)

    def _set_state(self, state: State) -> None:
        if not hasattr(self, "born"):
            self.born = True
        else:
            self._step(_state_slot.__get__(self), state)
        _state_slot.__set__(self, state)

    state = property(_state_slot.__get__, _set_state)

    def _step(self, before: State, after: State) -> None:
        world: World = self.reactor.world
        world.network.happened += 1
        world.network.stir()
        if world.network.note is not None:
            world.network.note(f"descriptor {self._fd}", "becomes", after.label)
        step = old, new = before.name, after.name
        require(new in STEPS[old], 2, "{} steps from {} to {}", self, old, new)
        world.steps.add(step)
        witness = self._protocol
        if isinstance(witness, Witness):
            if new == "ENDED":
                witness.end_due = witness.end_due and not witness.between  # no program hears of the end any more
                witness.deadlines_before = deadlines(witness)
                check_end(witness, world.waiter.asked_at)
                witness.ended_in = world.phase_number
            witness.since, witness.state = world.loop_time, new
            world.moved.append(witness)

    # The calls of a program.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Count what is accepted."""
        witness = self._protocol
        if not isinstance(witness, Witness) or witness.state not in WRITING:
            self.reactor.world.dropped += 1
            try:
                super().write(data)
            except RuntimeError:  # after `write_eof`: refused, not dropped
                self.reactor.world.dropped -= 1
                raise
            return
        require(not witness.asked_close and not witness.asked_eof, 3, "{} takes output after its end", self)
        if witness.in_send:
            self._write_between(witness, data)
            return
        hard = witness.world.limits.output_hard_bytes
        if not data:
            super().write(data)
            require(self.state.name != "ENDED", 6, "{} is ended by a write of nothing", self)
            return
        if witness.waiting() > hard and not witness.alone:
            super().write(data)
            require(self.state.name == "ENDED", 6, "{} keeps {} bytes and more, and {} are allowed", self,
                    witness.waiting(), hard)  # fmt: skip
            return
        witness.alone = not witness.waiting()
        if witness.alone:
            witness.waits_since = self.reactor.world.loop_time
            witness.wrote_in = witness.world.phase_number
        witness.accepted += data
        if self.reactor.world.network.note is not None:
            self.reactor.world.network.note(f"descriptor {self._fd}", "writes", len(data))
        super().write(data)
        witness.check_paused()

    def _write_between(self, witness: Witness, data: bytes | bytearray | memoryview) -> None:
        """A write during a `send`: the bytes of that `send` still count as waiting, so the marks are checked later."""
        was_alone, witness.alone = witness.alone, False
        witness.wrote_in = witness.world.phase_number
        if not witness.waiting():
            witness.waits_since = witness.world.loop_time
        begin = len(witness.accepted)
        witness.accepted += data
        witness.fresh += len(data)
        witness.world.books.wrote_meanwhile(self._socket)  # type: ignore[arg-type]
        super().write(data)
        if self.state.name == "ENDED":  # at the hard mark, and without this data
            del witness.accepted[begin:]
            witness.fresh = 0
            witness.alone = was_alone

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Work out the marks by the documented rule, before the core does."""
        witness = self._protocol
        if not isinstance(witness, Witness):  # the connection was lost
            super().set_write_buffer_limits(high, low)
            return
        default = witness.world.limits.output_high_bytes if low is None else low * 4
        witness.high = default if high is None else high
        witness.low = witness.high // 4 if low is None else low
        marks = witness.low, witness.high
        super().set_write_buffer_limits(high, low)
        if marks == (witness.low, witness.high):  # else the pause that this has caused has set other marks
            require(self.get_write_buffer_limits() == marks, 4, "{} has the marks {}, and was given {}", self,
                    self.get_write_buffer_limits(), marks)  # fmt: skip
        witness.check_paused()

    def set_protocol(self, program: Any) -> None:
        """Hand over to another program, which gets its own witness."""
        witness = self._protocol
        if not isinstance(witness, Witness):  # the connection was lost
            super().set_protocol(program)
            return
        successor = witness.successor(program)
        super().set_protocol(successor)
        successor.takes_over()

    def pause_reading(self) -> None:
        """Record it."""
        self._note(reading_paused=True, reading_since=math.inf)
        if isinstance(self._protocol, Witness) and self._protocol.between:
            self._protocol.interrupted_in = self._protocol.world.phase_number
        super().pause_reading()

    def resume_reading(self) -> None:
        """Record it."""
        self._note(reading_paused=False, reading_since=self.reactor.world.iteration)
        super().resume_reading()

    def hold(self) -> None:
        """Record it."""
        if isinstance(self._protocol, Witness):
            self._protocol.held += 1
        super().hold()

    def release(self) -> None:
        """Record it."""
        if isinstance(self._protocol, Witness):
            self._protocol.held -= self._protocol.held > 0
            self._protocol.released_at = self._protocol.world.network.now
        super().release()

    def write_eof(self) -> None:
        """Record it."""
        self._note(asked_eof=True)
        super().write_eof()
        require(not self.state.writes, 2, "{} would take output after write_eof", self)

    def close(self) -> None:
        """Record it."""
        if isinstance(self._protocol, Witness):
            self._protocol.world.serving.closes(self._protocol)
        self._note(asked_close=True)
        super().close()
        require(self.is_closing(), 2, "{} is not closing after close", self)

    def abort(self) -> None:
        """Record it."""
        self._note(asked_abort=True)
        super().abort()
        require(self.state.name in OVER, 2, "{} has not ended after abort", self)

    def _finish(self, reason: Any, error: Exception | None) -> None:
        """Record it if it has an error."""
        if error is not None:
            self._note(asked_close=True, finished=True)
        super()._finish(reason, error)

    def _note(self, **facts: float) -> None:
        witness = self._protocol
        if isinstance(witness, Witness):
            for name, value in facts.items():
                setattr(witness, name, value)
            ends = witness.asked_close or witness.asked_abort or witness.asked_eof
            if ends and (witness.between or witness.known):
                witness.end_due = False  # an end that was just read is not reported any more

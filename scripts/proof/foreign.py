"""Code of the program that runs between two instructions of the core.

The collector may call a `__del__` at any allocation, and Python may run a signal handler between two bytecodes. Either
may write to a connection, end it, or arm a timer. The connection may even be the one whose `send` is under way. The
dangerous moments are those in which the core is half done with something, and these are around the system calls. So
here the system calls call back.

The actions are those of `Chaos`, without those that do not fit here (`NOT_HERE`).
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from .chaos import ACTIONS, Chaos

if TYPE_CHECKING:
    from reactor.simulation.sockets import FakeSocket

    from .witness import Witness
    from .world import World

NOT_HERE = (Chaos.dawdle, Chaos.leave, Chaos.stop, Chaos.write_eof)  # the last: its program would not know
ACTS = tuple(action for action in ACTIONS if action not in NOT_HERE)


class Foreign(Chaos):
    """Does anything at all inside a system call."""

    __slots__ = ("_inside",)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.draw = random.Random(world.scenario.seed + 3).random
        self.calm = 0.8
        self._inside = False

    def strike(self, sock: FakeSocket | None, sending: bool) -> None:
        """A call on `sock` is under way, or (None) one on no socket. `sending`: it is a `send`."""
        world = self.world
        if self._inside or not world.live or world.phase == "close":
            return
        ours = [witness for witness in world.live if sock is not None and witness.endpoint is sock.endpoint]
        self._inside = True
        for witness in ours:
            witness.between, witness.in_send = True, sending
        try:
            self._do(ours[0] if ours and self.draw() < 0.7 else world.live[self.pick(0, len(world.live) - 1)])
        except BaseException:  # SystemExit: the core does not know the result of its call, so it ends this connection
            for witness in ours:
                witness.raised = True
            raise
        finally:
            self._inside = False
            for witness in ours:
                witness.between = witness.in_send = False

    def write_line(self, text: str) -> None:
        """The log's handler sends a line over some connection."""
        if not self._inside:
            self._inside = True
            try:
                self.world.live[self.pick(0, len(self.world.live) - 1)].connection.write(text.encode()[: self.size])
            except RuntimeError:  # after `write_eof`: a mistake of the handler
                pass
            finally:
                self._inside = False

    def _act(self) -> None:
        """What a timer or a queued call does later."""
        if self.world.live and self.world.phase != "close":
            self._do(self.world.live[self.pick(0, len(self.world.live) - 1)])

    def _do(self, witness: Witness) -> None:
        self.connection, self.witness = witness.connection, witness
        action = ACTS[self.pick(0, len(ACTS) - 1)]
        if witness.frames is not None and action in (Chaos.pause, Chaos.resume):
            return  # a program with frames pauses its frames, not the connection
        if self.world.network.note is not None:
            self.world.network.note("meanwhile", action.__name__, f"descriptor {witness.connection._fd}")
        action(self, witness.connection)

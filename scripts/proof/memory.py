"""What all buffers together hold, added up from outside.

The core counts its buffers as they grow and shrink, and ends connections by that count. Here the same sum comes from
what programs wrote, what the kernel took, and what was delivered and is not a frame yet. The result is two numbers,
the least and the most: within one phase, nothing outside shows what the kernel was offered already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .laws import WRITING, require

if TYPE_CHECKING:
    from .witness import Witness
    from .world import World


class Memory:
    """The account of the buffers of one world."""

    __slots__ = ("_world", "_most", "_was_over", "_may_be_over")

    def __init__(self, world: World) -> None:
        self._world = world
        self._most = world.limits.memory_bytes
        self._was_over = self._may_be_over = False  # after the last flush

    def flushed(self) -> None:
        """Law 6: the count is right, and is not over the limit twice in a row."""
        least, most = self._kept()
        counted, allowed = self._world.reactor.counters.buffered_bytes, self._most
        require(least <= counted <= most, 6, "{} to {} bytes are kept in buffers and {} counted", least, most, counted)
        require(not (least > allowed and self._was_over), 6, "{} bytes are kept, twice in a row, and {} may be", least,
                allowed)  # fmt: skip
        self._was_over, self._may_be_over = least > allowed, most > allowed

    def loop_sleeps(self) -> None:
        """Law 6: before the loop sleeps, it has made room."""
        least = self._kept()[0]
        require(least <= self._most, 6, "the loop sleeps on {} bytes in buffers, and {} may be", least, self._most)

    def _kept(self) -> tuple[int, int]:
        least = most = 0
        for witness in self._world.live:
            surely, perhaps = witness.kept()
            least, most = least + surely, most + perhaps
        return least, most

    def is_short(self) -> bool:
        """Whether all buffers together may be over the limit."""
        return self._kept()[1] > self._most

    def keeps_most(self, witness: Witness) -> bool:
        """Whether it is possible that no other connection keeps more."""
        return witness.kept()[1] >= max(other.kept()[0] for other in self._world.live)

    def all_were_asked(self) -> bool:
        """Whether each connection with waiting output was asked to pause before this phase, or memory stayed short."""
        phase = self._world.phase_number
        return self._may_be_over or all(
            witness.paused and witness.asked_in < phase
            for witness in self._world.live
            if witness.state in WRITING and witness.wrote_in != phase and witness.waiting()
        )

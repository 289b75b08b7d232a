"""The log of one world: its errors are counted, and its handler may misbehave.

A handler is code of the program. It may raise because a disk is full, take its time, or send each line over a
connection. Whatever it does, the reactor goes on as without it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from reactor.loop import reports

from .laws import require
from .programs import Mishap

if TYPE_CHECKING:
    from .world import World

HABITS = ("", "raises", "dawdles", "writes")
DAWDLE_SECONDS = 0.05


class Log(logging.Handler):
    """The handler that the reactor logs to. It takes all levels if it misbehaves, else errors only."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.DEBUG if world.scenario.log else logging.ERROR)
        self._world = world
        self._lost_before = reports.lost()
        self._errors = 0  # lines

    def emit(self, record: logging.LogRecord) -> None:
        """Check the line, and then misbehave as the scenario says. Lines of other loops are ignored."""
        if self._world.elsewhere:
            return
        if record.levelno >= logging.ERROR:
            self._errors += 1
            exc = record.exc_info[1] if record.exc_info else None
            expected = isinstance(exc, Mishap) or exc in self._world.tasks.raised
            shown = exc is not None and expected and exc.__traceback__
            require(shown, 9, "an error is logged without its traceback: {!r}", record.getMessage())
        world, habit = self._world, self._world.scenario.log
        if habit:
            world.table.count(f"log {habit}")
        if habit == "raises":
            raise OSError(errno.ENOSPC, "the disk is full")
        if habit == "dawdles":
            world.dawdle(DAWDLE_SECONDS)
        elif habit == "writes" and world.live:
            world.foreign.write_line(record.getMessage())

    def check(self) -> None:
        """Law 9: each mistake of a program was logged once, or counted as lost while another line was written."""
        mishaps, logged, lost = self._world.mishaps, self._errors, 0
        if self._world.scenario.log == "writes":
            lost = reports.lost() - self._lost_before
        right = logged <= mishaps <= logged + lost
        require(right, 9, "programs raised {} times, and {} errors were logged", mishaps, logged)


@contextlib.contextmanager
def own_log(log: Log) -> Iterator[None]:
    """In this block, the reactor logs to `log` and nowhere else."""
    logger = logging.getLogger("reactor")
    before = logger.propagate, logger.level
    logger.addHandler(log)
    logger.propagate = False
    logger.setLevel(log.level)
    try:
        yield
    finally:
        logger.removeHandler(log)
        logger.propagate = before[0]
        logger.setLevel(before[1])

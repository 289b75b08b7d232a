"""Where a loop is in its life: what it can be asked to do, and when it must go on, stop or close.

`run` and `run_once` are called from outside the loop, `stop` and `close` also from its callbacks. Four flags (running,
stopping, closing, closed) would make sixteen combinations, and most of them make no sense. So there is one state, a
table of its steps, and one method that makes a step: `Loop._move`. Only `Loop.abandon`, in a fork's child, does not
use it.
"""

from __future__ import annotations

import enum


class LoopState(enum.Enum):
    """Where a loop is in its life."""

    IDLE = "not running"
    STOPPED = "not running, and told to stop: the next run is of one iteration"
    RUNNING = "in `run` or `run_once`"
    STOPPING = "in `run` or `run_once`, and told to stop: this iteration is the last"
    CLOSING = "in `run` or `run_once`, and told to close: this iteration is the last"
    CLOSED = "all is given back"


IDLE, STOPPED, RUNNING, STOPPING, CLOSING, CLOSED = LoopState

NEXT: dict[LoopState, dict[LoopState, str]] = {
    IDLE: {
        RUNNING: "`run` or `run_once`",
        STOPPED: "`stop`",
        CLOSED: "`close`",
    },
    STOPPED: {
        STOPPING: "`run` or `run_once`",
        CLOSED: "`close`",
    },
    RUNNING: {
        STOPPING: "`stop`",
        CLOSING: "`close` in a callback",
        IDLE: "`run_once` is over; or an exception has left `run`",
        CLOSED: "the process was forked, and this is the copy in the child",
    },
    STOPPING: {
        CLOSING: "`close` in a callback",
        IDLE: "`run` is over",
        STOPPED: "`run_once` is over: the stop is meant for a `run`",
        CLOSED: "the process was forked, and this is the copy in the child",
    },
    CLOSING: {
        CLOSED: "the iteration is done; or the process was forked",
    },
    CLOSED: {},
}
RUNS = (RUNNING, STOPPING, CLOSING)
LAST = (STOPPING, CLOSING)  # no iteration follows this one

"""An event-loop TCP server in pure Python, from `selectors` up.

The README has the tour. In short: write a `Protocol` or an `async def`, give it to a `Server`, call `run`.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  # before code that an older Python cannot parse
    _message = "reactor needs Python 3.11 or newer; this is Python " + sys.version.split()[0]
    if sys.argv[0] == "-m":
        sys.stderr.write(_message + "\n")
        sys.exit(2)
    raise ImportError(_message)

try:
    from .connections.connection import Connection
    from .connections.limits import Limits
    from .connections.protocol import Protocol
    from .connections.reactor import Reactor
    from .connections.states import CloseReason, State
    from .coroutines.endings import IncompleteReadError
    from .coroutines.groups import TaskGroup
    from .coroutines.opening import Listener, open_stream
    from .coroutines.program import run, spawn
    from .coroutines.scopes import (
        Cancelled,
        CancelScope,
        move_on_after,
        shield,
        timeout,
    )
    from .coroutines.stream import Stream
    from .coroutines.threads import run_in_thread
    from .coroutines.waiting import (
        Event,
        Lock,
        Queue,
        QueueEmpty,
        QueueFull,
        Semaphore,
        sleep,
    )
    from .net.connector import connect
    from .net.framing import FramedProtocol
    from .net.splitters import FrameTooLarge
    from .service.server import Server
except KeyboardInterrupt:
    if sys.argv[:1] == ["-m"]:  # Ctrl-C under `python -m reactor`, before `__main__` has begun
        sys.exit(130)
    raise

__version__ = "0.1.0"
__all__ = [
    "CancelScope",
    "Cancelled",
    "CloseReason",
    "Connection",
    "Event",
    "FrameTooLarge",
    "FramedProtocol",
    "IncompleteReadError",
    "Limits",
    "Listener",
    "Lock",
    "Protocol",
    "Queue",
    "QueueEmpty",
    "QueueFull",
    "Reactor",
    "Semaphore",
    "Server",
    "State",
    "Stream",
    "TaskGroup",
    "connect",
    "move_on_after",
    "open_stream",
    "run",
    "run_in_thread",
    "shield",
    "sleep",
    "spawn",
    "timeout",
]

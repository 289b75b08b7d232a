"""An event-loop TCP server in pure Python, from `selectors` up.

The README has the tour. In short: write a `Protocol`, give it to a `Server`, call `run`.
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
    from .net.connector import connect
    from .net.framing import FramedProtocol
    from .service.server import Server
except KeyboardInterrupt:
    if sys.argv[:1] == ["-m"]:  # Ctrl-C under `python -m reactor`, before `__main__` has begun
        sys.exit(130)
    raise

__version__ = "0.1.0"
__all__ = [
    "CloseReason",
    "Connection",
    "FramedProtocol",
    "Limits",
    "Protocol",
    "Reactor",
    "Server",
    "State",
    "connect",
]

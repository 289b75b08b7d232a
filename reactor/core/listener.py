"""A listening socket's state: who comes in by it, how many at a time, and whether it is resting.

The kernel completes handshakes by itself and queues the connections that nobody has accepted yet. That queue is
finite (the backlog), and what does not fit meets a handshake that is dropped and tried again a second later.
So a server takes connections in batches, but not in batches without end: a storm of newcomers must not
keep those inside waiting (A4).

When the process is out of descriptors or memory, `accept` fails and the listening socket stays readable:
level-triggered, the loop would spin at full speed over the same error. So the listener rests: it is not
watched until a descriptor comes free or a short time has passed (A1, A2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .poller import READABLE

if TYPE_CHECKING:
    import socket

    from .limits import Limits
    from .protocol import Protocol


class Listener:
    """The state of one listening socket. The `Dispatcher` makes its system calls."""

    __slots__ = ("socket", "fd", "factory", "limits", "interest", "resting", "closed", "inherited")

    def __init__(
        self, sock: socket.socket, factory: Callable[[], Protocol], limits: Limits, inherited: bool = False
    ) -> None:
        self.socket = sock
        self.fd = sock.fileno()
        self.factory = factory  # makes one protocol for each connection
        self.limits = limits
        self.interest = 0  # what the kernel was last asked to watch
        self.resting = False  # no descriptor or memory is left: not watched for a while
        self.closed = False
        self.inherited = inherited  # it listened before it came to us: who waited then has other options

    @property
    def address(self) -> Any:
        """The address that it listens on, as the `socket` module has it; port 0 has become the real port."""
        return self.socket.getsockname()

    def wanted_interest(self) -> int:
        """What the kernel should watch: a function of this state and nothing else (law 1)."""
        return 0 if self.resting or self.closed else READABLE

    def __repr__(self) -> str:
        return f"<Listener {self.fd} {'closed' if self.closed else self.address}>"

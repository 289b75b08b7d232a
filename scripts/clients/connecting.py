"""Connect thousands of clients without overloading the server.

The kernel of a server finishes handshakes by itself, and keeps the connections in a queue until the program accepts
them. When the queue is full, it drops what comes, and the client's kernel tries again after 1, 3 and 7 seconds. Ten
thousand connects at once overflow any queue, and the run would measure the kernel's retries.

So only a batch is in flight, and each connect that succeeds or fails lets the next one start.

That alone would be slow where nothing answers the connects (a firewall, or a server whose queue stays full): each
batch would wait for its deadline. In that case there is nothing to overload. So when no connect was answered for a
moment, another batch may start, and all deadlines run at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from reactor import Protocol, Reactor, connect
from reactor.net.addresses import Endpoint

BATCH = 256  # connects in flight: twice the usual backlog of small servers (128), a sixteenth of Linux's limit
STALLED_SECONDS = 0.25  # longer than any round trip that is worth a load test


class Connecting:
    """Makes one connection for each of `factories`, which make its protocol; then calls `on_done`.

    If a connection cannot be made, it calls `on_failure` with the OSError.
    """

    def __init__(
        self,
        reactor: Reactor,
        endpoints: list[Endpoint],
        factories: Iterable[Callable[[], Protocol]],
        on_failure: Callable[[OSError], object],
        on_done: Callable[[], object],
    ) -> None:
        self._reactor = reactor
        self._endpoints = endpoints
        self._factories = iter(factories)
        self._on_failure = on_failure
        self._on_done = on_done
        self._allowed = BATCH
        self._begun = self._answered = self._answered_before = 0
        self._exhausted = self._turn_pending = False

    def start(self) -> None:
        """Start the first batch."""
        self._go_on()
        self._reactor.call_later(STALLED_SECONDS, self._check_progress)

    def _go_on(self) -> None:
        self._turn_pending = False
        while not self._exhausted and self._begun - self._answered < self._allowed:
            factory = next(self._factories, None)
            if factory is None:
                self._exhausted = True
            else:
                self._begun += 1
                self._connect(factory)
        if self._exhausted and self._answered == self._begun:
            self._on_done()

    def _connect(self, factory: Callable[[], Protocol]) -> None:
        def made() -> Protocol:
            self._count_answer()
            return factory()

        connect(self._reactor, made, self._endpoints, self._failed)

    def _failed(self, exc: OSError) -> None:
        self._on_failure(exc)
        self._count_answer()

    def _count_answer(self) -> None:
        self._answered += 1
        if not self._turn_pending:
            # Later, because this protocol has not been told yet that it is connected.
            self._turn_pending = True
            self._reactor.call_soon(self._go_on)

    def _check_progress(self) -> None:
        if self._exhausted:
            return
        if self._answered == self._answered_before:
            self._allowed += BATCH
            self._go_on()
        self._answered_before = self._answered
        self._reactor.call_later(STALLED_SECONDS, self._check_progress)

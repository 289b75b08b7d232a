"""When to send, at a fixed rate.

The usual way to measure latency is the closed loop: send, wait for the answer, send again. It misses something. When
the server stops for a second, each client waits with one message, and so records one bad latency. Real users would
have sent thousands of messages in that second, which would have waited too, but these clients did not send them. The
test adapts to the server that it tests; Gil Tene named this *coordinated omission* ("How NOT to Measure Latency",
2013). Percentiles of such a run can be too good by orders of magnitude.

So here the time of every message is fixed before the first is sent, whatever comes back: message j of the run is
scheduled for j/rate seconds after the start, and the connections take turns. If a connection still waits for earlier
answers, the message is sent behind them. A latency counts from the *scheduled* time: if this program is late, or the
server is so slow that the kernel takes no more, that is part of the wait.

Timers of the reactor are exact to a millisecond, the unit of epoll_wait(2), and an answer takes much less. A signal
of setitimer(2) ends a wait to within a tenth of that, and costs nothing while it is not due. The reactor handles
signals as ordinary calls. So the alarm clock is a signal where the system has one, and a timer elsewhere.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence

from reactor import Reactor

from .client import Client

BURST = 256  # messages sent before answers are read: more would delay answers that have arrived
SHORTEST_SLEEP_SECONDS = 0.0001  # so that a high rate sends small groups and does not wake up for each message


class Schedule:
    """Makes a message due on one of `clients`, in turn, every 1/`rate` seconds, `messages` times for each.

    The reactor must run on the main thread, which is where signals are.
    """

    def __init__(self, reactor: Reactor, clients: Sequence[Client], rate: float, messages: int) -> None:
        self._clients = clients
        self._rate = rate
        self._total = len(clients) * messages
        self._sent = 0
        self._reactor = reactor
        self._alarm = Alarm(reactor, self._send_due)
        self._start_at = reactor.time()

    def start(self) -> None:
        """Start now, with the first message."""
        self._start_at = now = self._reactor.time()
        for turn, client in enumerate(self._clients):
            client.begin(now, self._start_at + turn / self._rate)
        self._send_due()

    def stop(self) -> None:
        """Make nothing due any more."""
        self._total = self._sent
        self._alarm.close()

    def _send_due(self) -> None:
        now, clients = self._reactor.time(), self._clients
        due = min(self._total, int((now - self._start_at) * self._rate) + 1)
        upto = min(due, self._sent + BURST)
        for index in range(self._sent, upto):
            clients[index % len(clients)].send_next(now)
        self._sent = upto
        if upto < self._total:
            self._alarm.ring_at(self._start_at + upto / self._rate)


class Alarm:
    """Calls `callback` once for each `ring_at`, as soon after that time as the system can."""

    def __init__(self, reactor: Reactor, callback: Callable[[], object]) -> None:
        self._reactor = reactor
        self._callback = callback
        self._by_signal = hasattr(signal, "setitimer")
        if self._by_signal:
            reactor.add_signal_handler(signal.SIGALRM, callback)

    def ring_at(self, when: float) -> None:
        """Call back at `when`, in seconds of the reactor; shortly if that has passed."""
        delay = max(when - self._reactor.time(), SHORTEST_SLEEP_SECONDS)
        if self._by_signal:
            signal.setitimer(signal.ITIMER_REAL, delay)
        else:
            self._reactor.call_later(delay, self._callback)

    def close(self) -> None:
        """Release the signal."""
        if self._by_signal:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._reactor.remove_signal_handler(signal.SIGALRM)

"""The other side: clients, and servers that are dialled. Each is a list of steps.

A peer's behaviour is data: `("send", 100)`, `("wait", 0.5)`, `("reset",)`. A seed can choose such data. A failing test
can print it, and shorten it to the steps that cause the failure.

    send N            send N bytes, as room appears          trickle N GAP    send N single bytes, GAP seconds apart
    wait S            do nothing for S seconds               expect N         wait until N bytes were received in all
    stop              read no more, so that the window shuts read             read again
    fin               shut its side down                     end              wait until the other side has ended
    close             close, even with input unread          reset            close so that a reset is sent
    cut               the network resets both sides          vanish           send, read and answer nothing more
    dead ERRNO        the server's kernel gives up on it     drop             the server's side alone is reset

A UNIX socket has no network: there `cut`, `dead` and `drop` are a `close`.

A script that leaves the connection open continues with `fin`, `end`, `close`: the polite end.

Each peer sends a slice of one long pattern, from a place of its own. So a byte that is lost, doubled or delivered to
the wrong connection shows. What a peer receives is compared at once with what the server's program wrote.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from .network import Endpoint, Network
from .unix_endpoints import UnixEndpoint

Step = tuple[Any, ...]

PATIENCE_SECONDS = 100.0  # then `expect` and `end` stop waiting; the server's deadlines are shorter
_draw = random.Random(1).random
# Letters, with some line feeds for programs that read lines.
PATTERN = bytes(97 + int(_draw() * 26) if _draw() > 0.12 else 10 for _ in range(20011))
POLITE_END: tuple[Step, ...] = (("fin",), ("end",), ("close",))
RUDE = frozenset({"close", "reset", "cut", "vanish", "dead", "drop"})


class PeerPlan(NamedTuple):
    """What one peer does."""

    start: float  # when it connects, in seconds from the beginning
    host: int  # the number of its host address
    latency: float  # the longest delay in each direction, in seconds
    rooms: tuple[int, int, int, int]  # the send and receive buffers of the peer, then of the server, in bytes
    pace_bytes: int  # how much it reads at once
    pace_seconds: float  # how long it rests after that; with 0 it reads all that is there
    steps: tuple[Step, ...]
    door: int = 0  # which listening socket it connects to

    @property
    def polite(self) -> bool:
        """Whether it reads all the time, ends its side, and waits for the other end."""
        return not any(step[0] in RUDE or step[0] == "stop" for step in self.steps)


class Peer:
    """A peer that carries out `plan`."""

    def __init__(
        self,
        network: Network,
        index: int,
        plan: PeerPlan,
        check: Callable[[Peer, bytes], None],
        make_endpoint: Callable[..., Endpoint] = Endpoint,
    ) -> None:
        self.network = network
        self.index = index
        self.plan = plan
        self._check = check  # called with what was received, and with b"" at the end
        self.endpoint = make_endpoint(network, f"peer {index}", plan.rooms[0], plan.rooms[1], plan.latency)
        self.endpoint.owner = self
        self._begin = index * 997 + network.seed * 31  # where its slice of the pattern begins
        self.sent = bytearray()  # what its kernel has taken
        self.received = 0
        self.at_end = False  # the server's FIN was read
        self.broken = 0  # the error number that a call returned; 0 for none
        self.gave_up = False  # it closed before it saw the end
        self.done = False
        self.connected = False
        self._steps: Iterator[Step] = iter(plan.steps + POLITE_END)
        self._to_send = 0
        self._gap = 0.0
        self._waiting_for: Callable[[], bool] | None = None
        self._reading = True
        self._resting = False
        self._turn = 0  # the number of its step, so that the timeout of an earlier step is ignored

    def started(self, error: int) -> None:
        """The handshake is over. `error` is its error number, or 0."""
        if error:
            self.broken, self.done = error, True
            return
        self.connected = True
        self.endpoint.changed = self._changed
        self._advance()

    def _changed(self) -> None:
        if self.done:
            return
        if self._reading and not self._resting:
            self._read()
        if self._to_send:
            self._send()
        if self._waiting_for is not None and (self._waiting_for() or self.broken):
            self._go_on(self._turn)

    def _read(self) -> None:
        while not (self.at_end or self.broken):
            try:
                data = self.endpoint.receive(self.plan.pace_bytes)
            except BlockingIOError:
                return
            except OSError as exc:
                self.broken = exc.errno or -1
                return
            self._check(self, data)
            self.received += len(data)
            self.at_end = not data
            if self.plan.pace_seconds and data:
                self._resting = True
                self.network.later(self.plan.pace_seconds, self._rested)
                return

    def _rested(self) -> None:
        self._resting = False
        self._changed()

    def _go_on(self, turn: int) -> None:
        if turn == self._turn and not self.done:
            self._waiting_for = None
            self._advance()

    def _advance(self) -> None:
        """Do steps until one has to wait."""
        while not self.done and self._waiting_for is None and not self._to_send:
            step = next(self._steps, ("close",))
            self._turn += 1
            if self.network.note is not None:
                self.network.note(f"peer {self.index}", "does", *step)
            STEPS[step[0]](self, *step[1:])

    def _wait_until(self, condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
        if not condition() and not self.broken:
            self._waiting_for = condition
            self.network.later(seconds, self._go_on, self._turn)

    # The steps.

    def _send(self, size: int = 0, gap: float = 0.0) -> None:
        if size and not self.endpoint.fin_queued:  # after its own end it sends nothing
            self._to_send, self._gap = size, gap
        while self._to_send and not self.broken:
            begin = (self._begin + len(self.sent)) % len(PATTERN)
            data = PATTERN[begin : begin + (1 if self._gap else self._to_send)]
            try:
                count = self.endpoint.send(data)
            except BlockingIOError:
                return
            except OSError as exc:
                self.broken = exc.errno or -1
                break
            self.sent += data[:count]
            self._to_send -= count
            if self._gap and self._to_send:
                self._steps = itertools.chain([("trickle", self._to_send, self._gap)], self._steps)
                self._to_send = 0
                self._wait(self._gap)
                return
        self._to_send = 0
        if not size and self._waiting_for is None:
            self._advance()

    def _trickle(self, size: int, gap: float) -> None:
        self._send(size, gap)

    def _wait(self, seconds: float) -> None:
        self._waiting_for = _never
        self.network.later(seconds, self._go_on, self._turn)

    def _expect(self, size: int) -> None:
        self._wait_until(lambda: self.received >= size or self.at_end)

    def _end(self) -> None:
        self._wait_until(lambda: self.at_end)

    def _stop(self) -> None:
        self._reading = False

    def _read_again(self) -> None:
        self._reading = True
        self._read()

    def _fin(self) -> None:
        with contextlib.suppress(OSError):  # both directions have ended already
            self.endpoint.shut_down()

    def _close(self) -> None:
        self.done = True
        self.gave_up = not self.at_end and not self.broken
        self.endpoint.close()

    def _reset(self) -> None:
        self.endpoint.linger_zero = True
        self._close()

    def _cut(self) -> None:
        self.done = True
        self._drop()
        self._reset()

    def _drop(self) -> None:
        self._break(errno.ECONNRESET)

    def _dead(self, error: int) -> None:
        self.done = True
        self.endpoint.changed = None
        self._break(error)

    def _break(self, error: int) -> None:
        if isinstance(self.endpoint, UnixEndpoint):
            self._close()
        else:
            self.endpoint.peer.reset_arrives(error)

    def _vanish(self) -> None:
        self.done = True
        self.endpoint.changed = None


def _never() -> bool:
    return False


STEPS: dict[str, Callable[..., None]] = {
    "send": Peer._send, "trickle": Peer._trickle, "wait": Peer._wait, "expect": Peer._expect, "end": Peer._end,
    "stop": Peer._stop, "read": Peer._read_again, "fin": Peer._fin, "close": Peer._close, "reset": Peer._reset,
    "cut": Peer._cut, "drop": Peer._drop, "dead": Peer._dead, "vanish": Peer._vanish,
}  # fmt: skip

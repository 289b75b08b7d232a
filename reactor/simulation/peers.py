"""The other side: clients, and servers that are dialled, each of them a list of steps.

A peer is what happens to a server, so it is written down as data: `("send", 100)`, `("wait", 0.5)`, `("reset",)`.
Data can be drawn by a seed, printed when something fails, and cut down to what is needed to make it fail.

    send N            send N bytes, as room appears          trickle N GAP    the same one by one, GAP seconds between
    wait S            do nothing for S seconds               expect N         go on when N bytes were received in all
    stop              read no more, so that the window shuts read             read again
    fin               shut its side down                     end              go on when the other side has ended
    close             close, read or not                     reset            close so that a reset is sent
    cut               the network breaks the connection off  vanish           never to be heard of again
    dead ERRNO        the server's kernel gives up on it     drop             the server's side alone is reset

Over a UNIX socket there is no network: `cut`, `dead` and `drop` are a `close` there.

A script that ends without one of the last ones ends with `fin`, `end`, `close`: the polite way.

What a peer sends is a slice of one long pattern, beginning at a place of its own: a byte that is lost, doubled or
delivered to the wrong connection shows. What it receives is compared at once with what the server's program wrote.
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

PATIENCE_SECONDS = 100.0  # after which `expect` and `end` go on: deadlines of the server are shorter
_draw = random.Random(1).random
# Letters, and a line feed now and then for those who speak in lines.
PATTERN = bytes(97 + int(_draw() * 26) if _draw() > 0.12 else 10 for _ in range(20011))
POLITE_END: tuple[Step, ...] = (("fin",), ("end",), ("close",))
RUDE = frozenset({"close", "reset", "cut", "vanish", "dead", "drop"})


class PeerPlan(NamedTuple):
    """Everything about one peer."""

    start: float  # when it connects, in seconds from the beginning
    host: int  # which address it comes from
    latency: float  # of either direction, in seconds at most
    rooms: tuple[int, int, int, int]  # its send and receive buffer, then the server's, in bytes
    pace_bytes: int  # how much it reads at once
    pace_seconds: float  # and how long it rests then; 0: it reads whatever is there
    steps: tuple[Step, ...]
    door: int = 0  # at which it knocks

    @property
    def polite(self) -> bool:
        """Whether it says goodbye and waits for the answer, reading all the time."""
        return not any(step[0] in RUDE or step[0] == "stop" for step in self.steps)


class Peer:
    """One that acts out its plan."""

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
        self._check = check  # told what was received; of nothing, at the end
        self.endpoint = make_endpoint(network, f"peer {index}", plan.rooms[0], plan.rooms[1], plan.latency)
        self.endpoint.owner = self
        self._begin = index * 997 + network.seed * 31  # where in the pattern it begins
        self.sent = bytearray()  # what its kernel has taken
        self.received = 0
        self.at_end = False  # the server's FIN was read
        self.broken = 0  # the error number that it was told
        self.gave_up = False  # it closed before it had seen the end
        self.done = False
        self.connected = False
        self._steps: Iterator[Step] = iter(plan.steps + POLITE_END)
        self._to_send = 0
        self._gap = 0.0
        self._waiting_for: Callable[[], bool] | None = None
        self._reading = True
        self._resting = False
        self._turn = 0  # which step it is at, so that a patience that has ended late is ignored

    def started(self, error: int) -> None:
        """The handshake is over, with this error number or 0."""
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
        """Take steps until one of them has to wait."""
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
        if size and not self.endpoint.fin_queued:  # behind its own end it has nothing to say
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
        with contextlib.suppress(OSError):  # it is over in both directions already
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

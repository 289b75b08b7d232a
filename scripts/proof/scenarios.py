"""A scenario is everything outside the reactor, drawn from one number.

The number decides which peers connect and when, what each peer does, how fast and how large everything is, which
program serves, under which limits, over which demultiplexer, and how often the kernel makes trouble. A scenario is
data, plain tuples and numbers, so that it can be printed, compared and made smaller.

Values are drawn near edges, not near what is usual: buffers of a few bytes, marks of 0, deadlines as long as the
waits, two descriptors. Most scenarios have a few such edges. None has all of them, for then hardly any connection
would get far enough. All sizes of a scenario follow one scale. So the bytes that are written are about as many as
those that fit, and no scenario takes a thousand turns where ten show as much. Many small scenarios find more bugs.

The scenarios from COROUTINES_FROM on have the worlds of the first ones, and other programs: handlers that are
coroutines. Their numbers lie so far apart that a new kind of program changes no scenario that is known.

Only `random.Random(seed).random()` is used: Python promises the same values for the same seed.
"""

from __future__ import annotations

import errno
import math
import random
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from reactor.simulation.peers import PeerPlan, Step
from reactor.simulation.sockets import Faults

from .chaos import Chaos
from .coroutines import Coroutines
from .logs import HABITS
from .neighbours import NeighbourPlan
from .programs import PROGRAMS
from .restless import Fickle, Sluggish, Stopper
from .threads import ERRANDS
from .upstreams import ANSWERS, DialPlan

ALL_PROGRAMS: dict[str, Any] = {program.__name__: program for program in (*PROGRAMS, Stopper, Fickle, Sluggish, Chaos)}
SERVED = ALL_PROGRAMS | {"Coroutines": Coroutines}
COROUTINES_FROM = 1_000_000  # scenarios from this number on serve programs that are coroutines
# What is drawn. Programs with more that can go wrong, or with their own law, come more often.
DRAWN_PROGRAMS = (*ALL_PROGRAMS, "Lines", "Lines", "Lines", "Pauser", "Doorkeeper", "Source", "Timed")
# The longest frame for `Lines`: after a length, which in the bytes of peers is 10 or 97 to 122; and as a line.
FRAME_BYTES = ((9, 98, 101, 104, 107, 110, 113, 116, 119), (3, 5, 9, 20))
SCALES = (4, 4, 20, 20, 100, 100, 600)
FAMILIES = ("inet", "inet", "inet6")
DEADLINES = (0.5, 1.0, 1.0, 2.0, 5.0)  # some limits; at the edge, a peer does nothing until just before


class Scenario(NamedTuple):
    """The data of one world."""

    seed: int
    program: str
    size: int  # about how much the program writes at once, in bytes
    block: int  # the size of a block of the output buffer, in bytes
    epoll: bool  # over epoll, or over a selector, which can watch for less
    batch: int  # how many events epoll returns at once
    limits: tuple[tuple[str, Any], ...]  # those that differ from the defaults
    doors: tuple[tuple[str, bool], ...]  # the family of each listening socket, and whether it is inherited
    peers: tuple[PeerPlan, ...]
    upstreams: tuple[DialPlan, ...]  # the servers that are dialled
    threads: tuple[tuple[float, str], ...]  # when other threads call the loop, and for what
    signals: tuple[float, ...]  # when SIGTERM comes; empty: a bare reactor without a server
    log: str  # how the log's handler misbehaves; empty: it only counts errors
    faults: Faults
    neighbours: tuple[NeighbourPlan, ...]  # other reactors in this process
    close_at: float  # when the reactor is closed, in seconds from the start; 0: when nothing will happen any more


def with_coroutines(seeds: Iterable[int]) -> Iterator[int]:
    """`seeds`, and behind each fourth of them one with coroutines."""
    for seed in seeds:
        yield seed
        if seed % 4 == 0 and seed < COROUTINES_FROM:
            yield COROUTINES_FROM + seed // 4


class Draw:
    """Random values from one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed).random
        self.large = self.chance(0.005)  # more than a block of the output buffer: slow, so rare
        self.together = self.chance(0.25)  # all peers at the same moment, so that their events are in one batch
        self.slow = 0.2  # how probable it is that a peer reads slowly
        self.scale = 70_000 if self.large else self.one_of(SCALES)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.random() < probability

    def number(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + int(self.random() * (high - low + 1))

    def one_of(self, choices: tuple[Any, ...]) -> Any:
        """One of `choices`."""
        return choices[int(self.random() * len(choices))]

    def size(self) -> int:
        """How many bytes are sent at once."""
        return int(self.one_of((1, 2, self.scale // 4, self.scale, self.scale * 2)))

    def room(self, least: float = 0.25) -> int:
        """How many bytes something holds."""
        return 1 + int(self.scale * self.one_of((least, 1, 3, 20)))

    def seconds(self, longest: float) -> float:
        """A time of up to `longest`, in whole milliseconds, which are easy to read in a trace."""
        return int(self.random() * longest * 1000) / 1000


def make(seed: int) -> Scenario:
    """The scenario with this number."""
    return _of_callbacks(seed) if seed < COROUTINES_FROM else _of_coroutines(seed)


def _of_coroutines(seed: int) -> Scenario:
    """The same world as for callbacks, with a program of coroutines, and limits for what it reads."""
    scenario, draw = _of_callbacks(seed), Draw(seed + 7)
    limits = dict(scenario.limits) | {"frame_bytes": draw.one_of((9, 20, 60, 65536))}
    upstreams = tuple(_upstream(draw)._replace(cancel=0.0) for _ in range(draw.one_of((0, 0, 1, 2))))
    return scenario._replace(program="Coroutines", limits=tuple(limits.items()), upstreams=upstreams)


def _of_callbacks(seed: int) -> Scenario:
    draw = Draw(seed)
    program = "Chaos" if draw.chance(0.3) else draw.one_of(DRAWN_PROGRAMS)
    crowded = program == "Sluggish"
    if crowded:
        draw.together = True
    elif program == "Doorkeeper":
        draw.together = draw.chance(0.7)  # else no newcomer is at the door when it closes
    signals: tuple[float, ...] = ()
    if draw.chance(0.15):
        signals = (draw.seconds(3.0),) if draw.chance(0.7) else (draw.seconds(2.0), draw.seconds(4.0))
        draw.slow, program = 0.6, draw.one_of((program, "BigReplier", "Source", "EarlyCloser", "LateReplier", "Lines"))
    crowd = draw.together and draw.chance(0.6 if crowded else 0.1)
    peers = tuple(_peer(draw) for _ in range(draw.number(7, 10) if crowd else draw.one_of((1, 1, 2, 2, 3, 4))))
    families = ("unix",) if draw.chance(0.1) else (*FAMILIES, "unix") if draw.chance(0.2) else FAMILIES
    doors = tuple((draw.one_of(families), draw.chance(0.2)) for _ in range(draw.one_of((1, 1, 1, 2, 3))))
    if len(doors) > 1:
        peers = tuple(peer._replace(door=draw.number(0, len(doors) - 1)) for peer in peers)
    limits = _limits(draw, program)
    if crowded:  # all send their first byte at about the last moment
        waits = [min(limits["first_byte_seconds"], 5.0) - draw.seconds(0.4) for _ in peers]
        peers = tuple(
            peer._replace(steps=(("wait", max(0.0, wait)), ("send", 1), *peer.steps))
            for peer, wait in zip(peers, waits, strict=True)
        )
    upstreams: tuple[DialPlan, ...] = ()
    if program in ("Relay", "Doorkeeper"):
        upstreams = tuple(_upstream(draw) for _ in peers)
    if signals:
        limits |= {"drain_seconds": draw.one_of((0.0, 0.3, 1.0, 3.0, 10.0)), "blocked_seconds": math.inf}
        limits |= {"linger_seconds": draw.one_of((0.2, 5.0, 5.0)), "close_seconds": 10.0}
    block, epoll = draw.one_of((65536, 2 + draw.scale // 2)), draw.chance(0.6)
    return Scenario(
        seed=seed,
        program=program,
        size=draw.scale,
        block=block,
        epoll=epoll,
        batch=draw.one_of((1, 2, 3)) if epoll and draw.chance(0.8 if crowded else 0.25) else 1024,
        limits=tuple(limits.items()),
        doors=doors,
        peers=peers,
        upstreams=upstreams,
        threads=tuple((draw.seconds(4.0), draw.one_of(ERRANDS)) for _ in range(draw.one_of((0, 0, 0, 1, 4)))),
        signals=signals,
        log=draw.one_of(HABITS) if draw.chance(0.15) else "",
        faults=_faults(draw),
        close_at=draw.seconds(4.0) if draw.chance(0.15) else 0.0,
        neighbours=tuple(_neighbour(draw) for _ in range(draw.one_of((1, 2)))) if draw.chance(0.08) else (),
    )


def _limits(draw: Draw, program: str) -> dict[str, Any]:
    limits: dict[str, Any] = {
        "first_byte_seconds": draw.one_of((1.0, 5.0, 20.0)),
        "idle_seconds": draw.one_of((1.0, 5.0, 20.0)),
        "frame_seconds": draw.one_of((0.5, 0.5, 5.0)),
        "write_stall_seconds": draw.one_of((0.5, 2.0, 10.0)),
        "close_seconds": draw.one_of((0.5, 2.0, 10.0)),
        "linger_seconds": draw.one_of((0.2, 1.0, 5.0)),
        "connect_seconds": draw.one_of((0.5, 3.0)),
    }
    while draw.chance(0.12):
        limits[draw.one_of(tuple(limits))] = draw.one_of((0.0, math.inf))
    if draw.chance(0.85):
        low = draw.one_of((0, 1, draw.scale // 2, draw.scale))
        high = low + draw.one_of((0, 1, draw.scale // 4, draw.scale))
        hard = high + draw.one_of((0, 2, draw.scale * 3))
        limits.update(output_low_bytes=low, output_high_bytes=high, output_hard_bytes=max(1, hard))
    if draw.chance(0.5):
        limits["receive_bytes"] = draw.room(0.25)
    if draw.chance(0.5):
        limits["send_bytes"] = draw.room(0.25)
    if draw.chance(0.6 if draw.together else 0.2):
        limits["accepts_per_iteration"] = draw.number(1, 3)
    if draw.chance(0.3):
        limits["memory_bytes"] = draw.room(0.5)
    if draw.chance(0.9 if program == "Lines" else 0.2):
        limits["frame_bytes"] = draw.one_of(FRAME_BYTES[draw.seed % 2])
        limits["frames_per_iteration"] = draw.number(1, 4)
    return limits | _places(draw)


def _places(draw: Draw) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    if draw.chance(0.15):
        limits["max_connections"] = draw.number(1, 3)
        limits["when_full"] = draw.one_of(("queue", "refuse"))
    if draw.chance(0.1):
        limits["max_connections_per_peer"] = draw.number(1, 2)
    if draw.chance(0.1):
        limits["backlog"] = draw.number(1, 2)
    return limits


def _faults(draw: Draw) -> Faults:
    if draw.chance(0.3):
        return Faults()
    return Faults(
        again=draw.one_of((0.0, 0.1, 0.4)),
        short_receive=draw.one_of((0.0, 0.1, 0.5)),
        short_send=draw.one_of((0.0, 0.1, 0.5)),
        spurious=draw.one_of((0.0, 0.0, 0.05)),
        newcomer=draw.one_of((0.0, 0.0, 0.2)),
        want=draw.one_of((0.0, 0.0, 0.2)),
        option=draw.one_of((0.0, 0.0, 0.3)),
        descriptors=draw.one_of((2, 4)) if draw.chance(0.1) else 1000,
        foreign=draw.one_of((0.0, 0.0, 0.0, 0.0, 0.05, 0.2)),
        stopped=draw.one_of((0.0, 0.0, 0.0, 0.05, 0.3)),
        control=draw.one_of((0.0, 0.0, 0.0, 0.02, 0.2)),
    )


def _peer(draw: Draw) -> PeerPlan:
    slow = draw.chance(draw.slow)
    return PeerPlan(
        start=0.0 if draw.together else draw.seconds(0.5),
        host=draw.number(1, 3),
        latency=0.0 if draw.together else draw.one_of((0.0, 0.001, 0.05, 0.3)),
        rooms=(draw.room(), draw.room(), draw.room(), draw.room()),
        pace_bytes=1 + draw.scale // 2 if slow else 1_000_000,
        pace_seconds=draw.one_of((0.01, 0.2)) if slow else 0.0,
        steps=tuple(_step(draw) for _ in range(draw.number(0, 5))),
    )


def _neighbour(draw: Draw) -> NeighbourPlan:
    close_at = draw.seconds(4.0) if draw.chance(0.3) else 0.0
    peers = tuple(_peer(draw) for _ in range(draw.number(1, 3)))
    return NeighbourPlan(draw.seconds(0.5), close_at, draw.chance(0.5), peers)


def _upstream(draw: Draw) -> DialPlan:
    tries = tuple(
        (draw.one_of(FAMILIES), draw.one_of(ANSWERS), 0.0 if draw.together else draw.one_of((0.001, 0.2, 0.4)))
        for _ in range(draw.one_of((1, 1, 2, 5)))
    )
    look_up = draw.one_of((0.001, 0.3, 2.0, -0.1)) if draw.chance(0.3) else 0.0
    if draw.chance(0.15):
        tries, look_up = (("unix", draw.one_of(ANSWERS), draw.one_of((0.0, 0.0, 0.3, 1.0))),), 0.0
    return DialPlan(tries, look_up, draw.seconds(1.0) if draw.chance(0.1) else 0.0, _peer(draw))


def _step(draw: Draw) -> Step:
    kind = draw.random()
    if kind < 0.47:
        return ("send", max(1, draw.size()))
    if kind < 0.59:
        return ("wait", draw.seconds(3.0) if draw.chance(0.6) else draw.one_of(DEADLINES) - draw.seconds(0.1))
    if kind < 0.67:
        return ("expect", draw.size())
    if kind < 0.74:
        return ("trickle", draw.number(2, 6), draw.one_of((0.01, 0.3, 1.0)))
    if kind < 0.78:
        return ("stop",)
    if kind < 0.81:
        return ("read",)
    if kind < 0.86:
        return ("fin",)
    return _rude_step(draw)


def _rude_step(draw: Draw) -> Step:
    if draw.chance(0.08):
        return ("dead", draw.one_of((errno.ETIMEDOUT, errno.EHOSTUNREACH)))
    return (draw.one_of(("close", "close", "reset", "reset", "cut", "vanish", "drop", "end")),)

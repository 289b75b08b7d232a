"""A scenario is everything that is not the reactor, drawn from one number.

The number decides who connects and when, what each peer does, how fast and how large everything is, which program
serves, under which limits, over which demultiplexer, and how often the kernel is difficult. The outcome is data, plain
tuples and numbers, so that it can be printed, compared and made smaller.

What is drawn is not what is likely but what is near an edge: buffers of a few bytes, marks of 0, deadlines of the same
size as the waits, three descriptors. Most scenarios have a few such edges; none has all, for then nothing would get
far enough to go wrong in the middle. All sizes of a scenario go by one scale, so that what is written and what fits are
near each other, and so that no scenario takes a thousand turns where ten show as much: many small ones find more.

Only `random.Random(seed).random()` is used, whose values Python promises to keep for a seed.
"""

from __future__ import annotations

import errno
import math
import random
from typing import Any, NamedTuple

from reactor.simulation.peers import PeerPlan, Step
from reactor.simulation.sockets import Faults

from .chaos import Chaos
from .logs import HABITS
from .neighbours import NeighbourPlan
from .programs import PROGRAMS
from .restless import Fickle, Sluggish, Stopper
from .threads import ERRANDS
from .upstreams import ANSWERS, DialPlan

ALL_PROGRAMS: dict[str, Any] = {program.__name__: program for program in (*PROGRAMS, Stopper, Fickle, Sluggish, Chaos)}
# What is drawn, with those more often that have more to go wrong or a law of their own.
DRAWN_PROGRAMS = (*ALL_PROGRAMS, "Lines", "Lines", "Lines", "Pauser", "Doorkeeper", "Source", "Timed")
# The longest frame, for `Lines`: behind lengths, which in what peers send are 10 or 97 to 122; and of lines.
FRAME_BYTES = ((9, 98, 101, 104, 107, 110, 113, 116, 119), (3, 5, 9, 20))
SCALES = (4, 4, 20, 20, 100, 100, 600)
FAMILIES = ("inet", "inet", "inet6")
DEADLINES = (0.5, 1.0, 1.0, 2.0, 5.0)  # of those that are drawn; a peer that does nothing until just before is the edge


class Scenario(NamedTuple):
    """One world to be served."""

    seed: int
    program: str
    size: int  # how much the program writes at once, in bytes, more or less
    block: int  # how much of the output goes into one piece, in bytes
    epoll: bool  # over epoll, or over a selector that can ask less
    batch: int  # how many events epoll tells of at once
    limits: tuple[tuple[str, Any], ...]  # those that are not the defaults
    doors: tuple[tuple[str, bool], ...]  # the family of each listening socket, and whether it listened before
    peers: tuple[PeerPlan, ...]
    upstreams: tuple[DialPlan, ...]  # who is dialled
    threads: tuple[tuple[float, str], ...]  # when others call the loop, and for what
    signals: tuple[float, ...]  # when it is told to stop; nothing: it is no server, but a bare reactor
    log: str  # what its handler does with every line; nothing: it keeps the errors
    faults: Faults
    neighbours: tuple[NeighbourPlan, ...]  # other reactors in this process
    close_at: float  # when the reactor is closed, in seconds from the beginning; 0: when nothing happens any more


class Draw:
    """Values out of one source of chance."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed).random
        self.large = self.chance(0.005)  # more than a block of the output buffer: slow, so seldom
        self.together = self.chance(0.25)  # all peers at the same moment, so that their events are in one batch
        self.slow = 0.2  # how probable it is that a peer reads slowly
        self.scale = 70_000 if self.large else self.one_of(SCALES)

    def chance(self, probability: float) -> bool:
        """True with that probability."""
        return self.random() < probability

    def number(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + int(self.random() * (high - low + 1))

    def one_of(self, choices: tuple[Any, ...]) -> Any:
        """One of them."""
        return choices[int(self.random() * len(choices))]

    def size(self) -> int:
        """How many bytes are sent at once."""
        return int(self.one_of((1, 2, self.scale // 4, self.scale, self.scale * 2)))

    def room(self, least: float = 0.25) -> int:
        """How many bytes something holds."""
        return 1 + int(self.scale * self.one_of((least, 1, 3, 20)))

    def seconds(self, longest: float) -> float:
        """A time of up to `longest`, in whole milliseconds: it can be read in a trace."""
        return int(self.random() * longest * 1000) / 1000


def make(seed: int) -> Scenario:
    """The scenario of that number."""
    draw = Draw(seed)
    program = "Chaos" if draw.chance(0.3) else draw.one_of(DRAWN_PROGRAMS)
    crowded = program == "Sluggish"
    if crowded:
        draw.together = True
    elif program == "Doorkeeper":
        draw.together = draw.chance(0.7)  # else nobody is at the door when it is shut
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
    if crowded:  # all of them say their first word at about the last moment
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

"""How long someone waits for a server, told apart from how long everyone waits for a processor.

Some rows compare a latency under load with the same latency in quiet. On a shared machine of few processors that
comparison drowns: whoever is switched away from misses some milliseconds, a hundred times what an answer takes. The
kernel knows of each thread how long it stood ready and was not run (the second number of /proc/PID/schedstat, see
Documentation/scheduler/sched-stats). So here time is told by a clock that stands still while the client or the
server waits for a processor. What is left is the work done between question and answer; and that is the server's.

What noise remains (shared caches, the hypervisor) can only add. So of several rounds the least is the nearest to
the truth, in quiet and under load, and a comparison that fails is tried again with more rounds before it counts.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence

from tests.support import DEADLINE_SECONDS

FIRST_ROUNDS, MOST_ROUNDS = 2, 12
SCHEDSTAT = "/proc/{}/schedstat"


class UndisturbedClock:
    """Seconds in which neither this thread nor the main thread of process `pid` waited for a processor."""

    def __init__(self, pid: int) -> None:
        self._files = []
        for name in ("thread-self", str(pid)):
            with contextlib.suppress(OSError):  # a kernel without it: then the disturbance stays in
                self._files.append(os.open(SCHEDSTAT.format(name), os.O_RDONLY))

    def __call__(self) -> float:
        waited = sum(int(os.pread(file, 100, 0).split()[1]) for file in self._files)
        return time.perf_counter() - waited / 1e9

    def close(self) -> None:
        for file in self._files:
            os.close(file)


@contextlib.contextmanager
def undisturbed_clock(pid: int) -> Iterator[UndisturbedClock]:
    """The clock, until the block ends."""
    clock = UndisturbedClock(pid)
    try:
        yield clock
    finally:
        clock.close()


def percentile_99(values: Sequence[float]) -> float:
    """What 99 of 100 stay at or below."""
    return sorted(values)[len(values) * 99 // 100]


def stays_within(factor: float, measure: Callable[[], tuple[Sequence[float], Sequence[float]]]) -> None:
    """`measure` returns latencies in quiet and under load. The p99 of these is at most `factor` times that of those."""
    quiet, loaded = [], []
    for round_number in range(1, MOST_ROUNDS + 1):
        for latencies, p99s in zip(measure(), (quiet, loaded), strict=True):
            p99s.append(percentile_99(latencies))
        if round_number >= FIRST_ROUNDS and min(loaded) <= factor * min(quiet):
            return
    best = f"p99 {min(loaded) * 1e6:.0f} us under load, {min(quiet) * 1e6:.0f} us in quiet; {factor:g} times is allowed"
    rounds = ", ".join(f"{load * 1e6:.0f} ({calm * 1e6:.0f})" for calm, load in zip(quiet, loaded, strict=True))
    raise AssertionError(f"{best}\nload (quiet) of each round: {rounds}")


def round_trip(clock: Callable[[], float], client: socket.socket, message: bytes) -> float:
    """How long the answer to `message`, of one byte, takes."""
    begin = clock()
    client.sendall(message)
    assert client.recv(1), "the server has ended the connection"
    return clock() - begin


def round_trips_together(clock: Callable[[], float], clients: Sequence[socket.socket], message: bytes) -> list[float]:
    """How long each of `clients` waits for its answer, of one byte, when all ask at the same moment."""
    poll = select.poll()
    asked = {}
    for client in clients:
        poll.register(client, select.POLLIN)
        asked[client.fileno()] = (client, clock())
        client.sendall(message)
    latencies = []
    while asked:
        ready = poll.poll(DEADLINE_SECONDS * 1000)
        assert ready, f"{len(asked)} of {len(clients)} clients got no answer"
        now = clock()
        for number, _ in ready:
            client, begin = asked.pop(number)
            assert client.recv(1), "the server has ended the connection"
            latencies.append(now - begin)
            poll.unregister(number)
    return latencies


def allow_descriptors(count: int) -> bool:
    """Have this process, and those that it starts from now on, open `count` descriptors; whether they may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count <= hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    return count <= hard

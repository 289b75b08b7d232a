"""What the tests of single parts share: stand-ins for the parts below, and a loop that is turned by hand.

A kernel makes some errors once in a year, but a test needs them now. So a `StubSocket` answers what the test says, a
`StubPoller` only notes what it should watch, and a `FakeClock` stands still until a test moves it. Where the kernel
itself is tested, the sockets are real and `turn_until` turns the loop; it has a deadline, and asserts nothing about
time.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from reactor import CloseReason, Connection, Limits, Protocol, Reactor, State
from reactor.connections import fast_path
from reactor.connections.acceptor import Acceptor
from reactor.connections.counters import Counters
from reactor.connections.dispatcher import Dispatcher
from reactor.connections.states import NEXT, set_state
from reactor.loop.poller import READABLE, SelectorPoller
from reactor.loop.timers import Timers

DEADLINE_SECONDS = 60.0
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # for SO_LINGER: close sends a reset


def os_error(number: int) -> OSError:
    """The exception for the error number `number`."""
    return OSError(number, os.strerror(number))


def break_down(*_arguments: Any) -> None:
    """A callback that raises."""
    raise LookupError("on purpose")


def leave(*_arguments: Any) -> None:
    """A callback that ends the program."""
    raise SystemExit


class FakeClock:
    """A clock that shows `now`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Recorder(Protocol):
    """A protocol that notes its callbacks in `calls`, and then reacts as the test says.

    `Recorder(data_received=lambda recorder, data: ...)`: the callback returns or raises what the function does.
    """

    def __init__(self, **reactions: Callable[..., Any]) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.reactions = reactions
        self.connection: Connection = None

    def _note(self, name: str, *arguments: Any) -> Any:
        self.calls.append((name, *arguments))
        reaction = self.reactions.get(name)
        return reaction(self, *arguments) if reaction else None

    def connection_made(self, connection: Connection) -> None:
        self.connection = connection
        self._note("connection_made")

    def data_received(self, data: bytes) -> None:
        self._note("data_received", data)

    def eof_received(self) -> bool | None:
        return self._note("eof_received")

    def connection_lost(self, exc: Exception | None) -> None:
        self._note("connection_lost", exc)

    def pause_writing(self) -> None:
        self._note("pause_writing")

    def resume_writing(self) -> None:
        self._note("resume_writing")

    @property
    def names(self) -> list[str]:
        """The callbacks that came, in order; several `data_received` in a row count as one."""
        names: list[str] = []
        for name, *_ in self.calls:
            if not (name == "data_received" and names and names[-1] == name):
                names.append(name)
        return names

    @property
    def received(self) -> bytes:
        """All data so far."""
        return b"".join(call[1] for call in self.calls if call[0] == "data_received")

    @property
    def lost(self) -> bool:
        """Whether the last callback has come."""
        return bool(self.calls) and self.calls[-1][0] == "connection_lost"


class StubSocket:
    """Answers `recv`, `send` and `accept` from the lists that it was given; an exception in a list is raised.

    A number in `sends` is how much one `send` takes; when they run out, everything is taken. `accepts` has sockets,
    or pairs of a socket and its peer's address. When `receives` or `accepts` run out, there is nothing (EAGAIN).
    """

    family = socket.AF_UNIX
    _numbers = iter(range(10_000, 1_000_000))

    def __init__(self, *, receives: Any = (), sends: Any = (), accepts: Any = ()) -> None:
        self.receives, self.sends, self.accepts = deque(receives), deque(sends), deque(accepts)
        self.error = 0  # what SO_ERROR will say
        self.recorder: Any = None  # the protocol of its connection: see `told`
        self.sent: list[bytes] = []  # what each `send` took
        self.options: list[tuple[int, int, Any]] = []
        self.shut: list[int] = []
        self.closed = False
        self.backlog = 0
        self._number = next(self._numbers)

    @property
    def resets(self) -> bool:
        """Whether its close would send a reset."""
        return (socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE) in self.options

    def fileno(self) -> int:
        return -1 if self.closed else self._number

    def setblocking(self, flag: bool) -> None:
        assert flag is False, "the loop must never block in one socket"

    def getsockname(self) -> str:
        return "stub"

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        self.options.append((level, option, value))

    def getsockopt(self, level: int, option: int) -> int:
        assert level == socket.SOL_SOCKET and option in (socket.SO_ERROR, socket.SO_ACCEPTCONN)
        return self.error if option == socket.SO_ERROR else 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        answer = self._answer(self.receives, BlockingIOError())
        assert isinstance(answer, bytes)
        if flags & socket.MSG_PEEK or len(answer) > size:
            self.receives.appendleft(answer if flags & socket.MSG_PEEK else answer[size:])
        return answer[:size]

    def send(self, data: Any) -> int:
        count = min(len(data), self._answer(self.sends, len(data)))
        self.sent.append(bytes(data[:count]))
        return count

    def accept(self) -> tuple[Any, Any]:
        answer = self._answer(self.accepts, BlockingIOError())
        return answer if isinstance(answer, tuple) else (answer, "peer")

    def listen(self, backlog: int) -> None:
        self.backlog = backlog

    def shutdown(self, how: int) -> None:
        self.shut.append(how)

    def close(self) -> None:
        self.closed = True

    @staticmethod
    def _answer(answers: deque[Any], otherwise: Any) -> Any:
        answer = answers.popleft() if answers else otherwise
        if isinstance(answer, BaseException):
            raise type(answer)(*answer.args)  # a new one, because a traceback would keep alive what was passed
        return answer


class StubPoller(SelectorPoller):
    """Watches nothing, and notes in `watched` what it was asked to watch."""

    __slots__ = ("watched", "changes")

    def __init__(self) -> None:
        super().__init__(None)
        self.watched: dict[int, int] = {}
        self.changes = 0

    def _watch(self, fd: int, before: int, after: int) -> None:
        assert self.watched.get(fd, 0) == before, "the caller is wrong about what was asked before"
        self.watched[fd] = after
        self.changes += 1


class StubReactor:
    """What a dispatcher needs, over a `StubPoller` and a `FakeClock`, without a kernel."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.poller = StubPoller()
        self.timers = Timers(FakeClock())
        self.counters = Counters()
        self.dispatcher = Dispatcher(self, self.counters, self.limits)
        self.acceptor = Acceptor(self.dispatcher)
        self.acceptor.ready = 1_000_000  # every connection of the batch has a turn: only the budget counts

    thread_id = None  # no thread runs it

    def check_thread(self) -> None:
        """Every test is on the right thread."""

    def pass_time(self, seconds: float) -> None:
        """Let time pass and run the timers that are due then."""
        self.timers.clock.now += seconds
        self.timers.now = self.timers.asked_at = self.timers.clock()
        self.timers.run_due()

    def happens(self, connection: Connection, events: int) -> None:
        """Dispatch a batch of one event at `connection`."""
        fast_path.dispatch(self.dispatcher, [(connection._fd, events)])

    def finish(self) -> None:
        """End an iteration: flush and reap."""
        self.dispatcher.flush()
        if self.dispatcher.reaper.reap():
            self.acceptor.wake_resting()


def make_connection(state: State = State.OPEN, limits: Limits | None = None, **reactions: Any) -> Connection:
    """A connection with a `Recorder` and no network, led to `state` by the steps of the table."""
    reactor = StubReactor(limits)
    connection = Connection(StubSocket(), "peer", reactor.limits, reactor, deque())
    connection._protocol = Recorder(**reactions)
    connection._protocol.connection = connection
    for step in way_to(state):
        set_state(connection, connection.state, step)
    return connection


def way_to(state: State) -> list[State]:
    """A shortest way from NEW to `state` by the steps of the table."""
    ways: dict[State, list[State]] = {State.NEW: []}
    for reached in (queue := [State.NEW]):
        for step in NEXT[reached]:
            if step not in ways:
                ways[step] = [*ways[reached], step]
                queue.append(step)
    return ways[state]


def adopt(
    reactor: Reactor | StubReactor, sock: Any, protocol: Protocol, limits: Limits | None = None
) -> Connection:
    """Make a connection of `sock`, as a connector would."""
    reactor.counters.connected += 1
    if isinstance(sock, StubSocket):
        sock.recorder = protocol
    return reactor.dispatcher.adopt(sock, "peer", lambda: protocol, limits or reactor.limits)


def write(*chunks: bytes) -> Callable[..., Any]:
    """A reaction: write `chunks` with one call."""
    return lambda recorder, *_: recorder.connection.writelines(chunks)


def call(name: str) -> Callable[..., Any]:
    """A reaction: call this method of the connection."""
    return lambda recorder, *_: getattr(recorder.connection, name)()


def stubbed(
    stub: StubReactor, *, receives: Any = (), sends: Any = (), limits: Limits | None = None, **reactions: Any
) -> Connection:
    """A connection over a stub socket; its protocol knows it."""
    sock = StubSocket(receives=receives, sends=sends)
    return adopt(stub, sock, Recorder(**reactions), limits)


def told(connection: Connection) -> Recorder:
    """The protocol of a stubbed connection, even after the connection has dropped it."""
    return connection._socket.recorder


def readable(stub: StubReactor, connection: Connection) -> None:
    """Act as the loop: one event, then the end of the iteration."""
    stub.happens(connection, READABLE)
    stub.finish()


def ended(connection: Connection) -> CloseReason | None:
    """The reason of an end, after a check that it is complete: the socket closed, `connection_lost` called once."""
    assert connection.state is State.CLOSED
    assert connection._socket.closed
    assert connection._protocol is None or connection._protocol.names.count("connection_lost") == 1
    return connection.close_reason


def paused(stub: StubReactor, *receives: Any, **reactions: Any) -> Connection:
    """A connection over a stub socket that has paused reading."""
    connection = stubbed(stub, receives=receives, **reactions)
    connection.pause_reading()
    stub.dispatcher.flush()
    return connection


def pass_time(reactor: Reactor, seconds: float) -> None:
    """Move the clock by `seconds`, as if the loop had waited for events meanwhile, and was not held up."""
    reactor.timers.clock.now += seconds
    reactor.waiting = True


def turns(reactor: Reactor, count: int) -> None:
    """Turn the loop `count` times, without waiting."""
    for _ in range(count):
        reactor.run_once(0)


def turn_until(reactor: Reactor, condition: Callable[[], Any], what: str) -> None:
    """Turn the loop until `condition` is true."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_SECONDS:g} s: {what}"
        reactor.run_once(0.05)


def turn_until_idle(reactor: Reactor) -> None:
    """Turn the loop until nothing is left to do. All that was sent over a socket pair has been handled then.

    Over TCP, bytes may still be under way, even on one machine: a busy kernel delivers them milliseconds later.
    """
    quiet = 0
    for _ in range(10_000):
        events = len(reactor.poller.poll(0))
        owed = reactor.dispatcher.attention or reactor.dispatcher.reaper.doomed
        quiet = 0 if events or owed else quiet + 1
        if quiet == 3:
            return
        reactor.run_once(0)
    raise AssertionError("the loop spins: there is always something to do")


def receive_all(reactor: Reactor, sock: socket.socket) -> bytes:
    """Read to the end of the stream while the loop turns."""
    sock.setblocking(False)
    received = bytearray()

    def at_end() -> bool:
        try:
            while data := sock.recv(1 << 20):
                received.extend(data)
        except BlockingIOError:
            return False
        return True

    turn_until(reactor, at_end, "the end of the stream")
    return bytes(received)


def send_all(reactor: Reactor, sock: socket.socket, data: bytes) -> None:
    """Send all of `data` while the loop turns."""
    sock.setblocking(False)
    left = memoryview(data)

    def sent() -> bool:
        nonlocal left
        try:
            left = left[sock.send(left) :]
        except BlockingIOError:
            pass
        return not left

    turn_until(reactor, sent, "all is sent")


def patterned(size: int) -> bytes:
    """`size` bytes in which a missing or misplaced piece shows."""
    return b"".join(number.to_bytes(4, "big") for number in range(size // 4))


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection on the loopback interface."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname(), timeout=DEADLINE_SECONDS)
        theirs, _ = listening.accept()
    theirs.settimeout(DEADLINE_SECONDS)
    return ours, theirs


def reset(sock: socket.socket) -> None:
    """Close `sock` so that its peer sees a reset, not a FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    sock.close()

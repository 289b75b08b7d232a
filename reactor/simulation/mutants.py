"""Deliberate bugs, and whether the simulation finds them.

A simulation that finds nothing may be looking at nothing. So the reactor is broken on purpose, in one place at a
time, in the ways that such servers are broken in earnest, and the seeds are gone through until a law is violated. A
mutant that is not found means that a law is missing, or that no scenario gets to the place.

A mutant is data: a file of the package, a piece of its text that occurs exactly once, and what stands there instead.
Nothing on disk is touched. The whole package is imported a second time under another name, with that one file's
text changed on the way. Its imports are relative, so the copy of the simulation that comes with it runs the copy of
the core, and the original never notices.
"""

from __future__ import annotations

import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import pathlib
import sys
from collections.abc import Sequence
from types import CodeType, ModuleType
from typing import NamedTuple

PACKAGE = pathlib.Path(__file__).resolve().parent.parent


class Mutant(NamedTuple):
    """One bug."""

    name: str
    file: str  # below the package
    old: str
    new: str


class Caught(NamedTuple):
    """What came of one."""

    mutant: Mutant
    law: int  # 0: it was not caught
    seeds: int  # how many were needed, the last of them included
    text: str


MUTANTS = (
    # Writing.
    Mutant("the rest after a partial send is dropped", "core/connection.py",
           "        elif count < len(data):\n            self._start_backlog(data, count)\n",
           ""),
    Mutant("a partial send is sent again from its beginning", "core/buffers.py",
           "block, sent = self._taken, self._sent + count",
           "block, sent = self._taken, self._sent + count * (self._sent + count == len(self._taken))"),
    Mutant("small pieces are put together in the wrong order", "core/buffers.py",
           "            last += data\n",
           "            last[:0] = data\n"),
    Mutant("the high mark is off by one", "core/connection.py",
           "len(self.backlog) > self.high_bytes and",
           "len(self.backlog) > self.high_bytes + 1 and"),
    Mutant("the pause comes at the high mark, not above it", "core/connection.py",
           "len(self.backlog) > self.high_bytes and",
           "len(self.backlog) >= self.high_bytes and"),
    Mutant("what the kernel leaves is not compared with the high mark", "core/dispatcher.py",
           "                connection.check_high_mark()",
           "                pass"),
    Mutant("a first write is judged before the kernel was offered it", "core/connection.py",
           "            self.unsent = data\n            if not self.attended:\n"
           "                self.ask_for_attention()\n\n",
           "            self.unsent = data\n            self.touch()\n            if len(data) > self.high_bytes:\n"
           "                self.pause()\n\n"),
    Mutant("the low mark is off by one", "core/dispatcher.py",
           "connection.get_write_buffer_size() <= connection.low_bytes:",
           "connection.get_write_buffer_size() < connection.low_bytes:"),
    Mutant("the high mark begins as the hard one", "core/connection.py",
           "self.high_bytes = limits.output_high_bytes",
           "self.high_bytes = limits.output_hard_bytes"),
    Mutant("the low mark that was not given is the high one", "core/connection.py",
           "            low = high // 4",
           "            low = high"),
    Mutant("the high mark that was not given is the low one", "core/connection.py",
           "if low is None else 4 * low",
           "if low is None else low"),
    Mutant("a new high mark is not compared with what waits", "core/connection.py",
           "        self.touch()\n        self.check_high_mark()",
           "        self.touch()"),
    Mutant("the pause is told again while it lasts", "core/connection.py",
           "        if not self.writing_paused:\n            self.writing_paused = True",
           "        if True:\n            self.writing_paused = True"),
    Mutant("resume_writing is called after connection_lost", "core/dispatcher.py",
           "        if connection.state is CLOSED or connection.state is LOST:\n            return  # whatever",
           "        if connection.state is CLOSED:\n            return  # whatever"),
    Mutant("the hard mark is not looked at", "core/connection.py",
           "        elif len(self.backlog) > self.limits.output_hard_bytes:",
           "        elif False:"),
    Mutant("what the kernel was not offered counts for the hard mark", "core/connection.py",
           '            self._start_backlog(b"", 0)\n        elif',
           '            self._start_backlog(b"", 0)\n        if'),
    Mutant("an empty write finds that too much waits", "core/connection.py",
           "            if data:\n                self._append(data)",
           "            self._append(data)"),
    Mutant("the budget of a send is not looked at", "core/dispatcher.py",
           "            budget -= count\n",
           ""),
    Mutant("what resume_writing wrote is sent at once, for ever", "core/dispatcher.py",
           "            connection.ask_for_attention()\n            return\n        if connection.fd < 0:",
           "            self.settle(connection)\n            return\n        if connection.fd < 0:"),
    Mutant("WRITE stays on when all is sent", "core/connection.py",
           "        if self.unsent or self.backlog is not None:\n            wanted |= WRITABLE",
           "        if self.interest & WRITABLE or self.unsent or self.backlog is not None:\n"
           "            wanted |= WRITABLE"),
    Mutant("WRITE is not asked for", "core/connection.py",
           "            wanted |= WRITABLE | BROKEN",
           "            wanted |= BROKEN"),
    Mutant("a write to another connection is not flushed", "core/connection.py",
           "            self.queued = True\n            self.attention.append(self)",
           "            self.queued = True"),
    # Reading.
    Mutant("pause_reading pauses nothing", "core/connection.py",
           "            self.reading_paused = True\n            self.known",
           "            self.known"),
    Mutant("READ is not switched off when reading is paused", "core/connection.py",
           "(state.delivers and not self.reading_paused):",
           "state.delivers:"),
    Mutant("READ is not switched on when reading is resumed", "core/connection.py",
           "        self.reading_paused = False\n        self.touch()",
           "        self.reading_paused = False"),
    Mutant("data is delivered though it was paused in this batch", "core/dispatcher.py",
           "connection.state.discards or (connection.is_reading() and",
           "connection.state.discards or (connection.state.delivers and"),
    Mutant("EAGAIN from recv is taken for a reset", "core/dispatcher.py",
           "        if isinstance(exc, BlockingIOError):\n            return\n",
           ""),
    Mutant("a reset is not noticed while reading is paused", "core/dispatcher.py",
           "        if error:\n            connection.end(CloseReason.RESET, OSError(error",
           "        if not error < 200:\n            connection.end(CloseReason.RESET, OSError(error"),
    Mutant("a known hang-up is asked for again and again", "core/connection.py",
           "(PEER_FIN | BROKEN) & ~self.known",
           "PEER_FIN | BROKEN"),
    Mutant("an end that was not seen counts as seen", "core/dispatcher.py",
           "            return  # not seen yet",
           "            pass  # not seen yet"),
    Mutant("EOF is lost when data came before it", "core/dispatcher.py",
           "        if not data:\n            self._receive_eof(connection)\n",
           "        if not data:\n"
           "            if connection.heard_at == NEVER:\n"
           "                self._receive_eof(connection)\n"),
    Mutant("eof_received is never called", "core/dispatcher.py",
           "keep_open = bool(connection.protocol.eof_received())",
           "keep_open = False"),
    Mutant("input is read after close and delivered", "core/states.py",
           'CLOSING = ("closing", "discarded",',
           'CLOSING = ("closing", "delivered",'),
    # Ending.
    Mutant("the FIN is answered before output is flushed", "core/dispatcher.py",
           "            elif connection.state is FLUSHING:\n                connection.end",
           "        if True:\n            if connection.state is FLUSHING:\n                connection.end"),
    Mutant("our FIN overtakes what is written", "core/dispatcher.py",
           "        if not connection.has_output():\n            if connection.state is HALF_CLOSED_LOCAL",
           "        if connection.state is HALF_CLOSED_LOCAL:\n"
           "            self._send_fin(connection)\n"
           "        if not connection.has_output():\n"
           "            if connection.state is HALF_CLOSED_LOCAL"),
    Mutant("write_eof sends no FIN", "core/dispatcher.py",
           "if connection.state is HALF_CLOSED_LOCAL or connection.state is CLOSING:",
           "if connection.state is CLOSING:"),
    Mutant("an abort with nothing unsent ends with a FIN", "core/dispatcher.py",
           "connection.has_output() or connection.close_reason in (CloseReason.ABORTED, CloseReason.HANDLER_ERROR)",
           "connection.has_output()"),
    Mutant("a close after the peer's end counts as ours", "core/connection.py",
           "            set_state(self, state, FLUSHING)\n",
           "            self.close_reason = reason\n            set_state(self, state, FLUSHING)\n"),
    Mutant("close does not linger", "core/dispatcher.py",
           "                set_state(connection, CLOSING, LINGERING)\n",
           "                connection.end(connection.close_reason or CloseReason.CLOSED, connection.error)\n"),
    Mutant("connection_lost is called twice", "core/dispatcher.py",
           "                    connection.protocol.connection_lost(connection.error)\n            except",
           "                    connection.protocol.connection_lost(connection.error)\n"
           "                    connection.protocol.connection_lost(connection.error)\n"
           "            except"),
    Mutant("connection_lost is called by abort itself", "core/connection.py",
           "        self.end(CloseReason.ABORTED, None)\n",
           "        self.end(CloseReason.ABORTED, None)\n        self.protocol.connection_lost(None)\n"),
    Mutant("the error is not told", "core/connection.py",
           "        self.error = error\n        self.holds = 0\n        set_state(self, state, CLOSED)\n",
           "        self.holds = 0\n        set_state(self, state, CLOSED)\n"),
    Mutant("the last reason overwrites the first", "core/connection.py",
           "        if state is CLOSED or state is LOST:\n            return\n",
           "        if state is CLOSED or state is LOST:\n"
           "            self.close_reason = reason\n"
           "            return\n"),
    Mutant("a connection that was cut off ends with a FIN", "core/dispatcher.py",
           "        if connection.has_output() or connection.close_reason in",
           "        if connection.close_reason in"),
    Mutant("sockets are closed where they break", "core/dispatcher.py",
           "        connection.drop_buffers()\n        self.doomed",
           "        connection.socket.close()\n        connection.drop_buffers()\n        self.doomed"),
    Mutant("sockets are never closed", "core/dispatcher.py",
           "            connection.socket.close()\n        if connection.error is None",
           "            pass\n        if connection.error is None"),
    Mutant("only one connection is reaped in a turn, and forgotten ones stay", "core/dispatcher.py",
           "        count = len(self.doomed)\n",
           "        count = min(1, len(self.doomed))\n"
           "        while len(self.doomed) > 1:\n"
           "            self.doomed.pop()\n"),
    Mutant("a place is not given back", "core/dispatcher.py",
           "            self.admission.leave(connection.admitted_from)\n",
           "            pass\n"),
    # Events.
    Mutant("a stale event is not guarded against", "core/poller.py",
           "        if fd in self.handlers:\n            handler",
           "        if fd not in self.handlers:\n"
           "            raise AssertionError(fd)\n"
           "        else:\n"
           "            handler"),
    Mutant("what has ended stays on the kernel's list", "core/dispatcher.py",
           "            self.poller.modify(connection.fd, connection.interest, 0)\n",
           "            pass\n"),
    Mutant("the interest is not brought into line", "core/dispatcher.py",
           "                self.poller.modify(connection.fd, connection.interest, wanted)\n",
           "                pass\n"),
    Mutant("SystemExit in resume_writing leaves a connection to itself", "core/dispatcher.py",
           "                connection.ask_for_attention()\n                raise",
           "                raise"),
    Mutant("a listener is closed in the middle of a batch", "core/poller.py",
           "        if self.in_batch:\n",
           "        if False:\n"),
    Mutant("an exception is logged without its traceback", "core/connection.py",
           "callback, self, exc=exc)",
           "callback, self)"),
    Mutant("the exception of a callback ends nothing", "core/connection.py",
           "        self.end(CloseReason.HANDLER_ERROR, exc)\n",
           "        pass\n"),
    # Accepting.
    Mutant("one newcomer who has left stops the batch and the listener", "core/acceptor.py",
           "exc.errno in ACCEPT_SKIP_ERRNOS:\n                    continue",
           "exc.errno in ACCEPT_SKIP_ERRNOS:\n                    raise"),
    Mutant("a listener without descriptors does not rest", "core/acceptor.py",
           "        listener.resting = True\n",
           "        listener.resting = False\n"),
    Mutant("a listener rests for ever", "core/acceptor.py",
           "            self._waking = self._timers.call_at(self._timers.now + REST_SECONDS, self._rested)\n",
           "            pass\n"),
    Mutant("one more than may be is let in", "core/admission.py",
           "self.inside >= limits.max_connections",
           "self.inside > limits.max_connections"),
    Mutant("one more than may be is let in from one address", "core/admission.py",
           "from_host >= limits.max_connections_per_peer",
           "from_host > limits.max_connections_per_peer"),
    Mutant("an IPv6 peer is counted by its whole address", "core/admission.py",
           "rest = 128 - ipv6_prefix_bits",
           "rest = 0"),
    Mutant("the accept budget is not looked at", "core/acceptor.py",
           "range(limits.accepts_per_iteration)",
           "range(1000)"),
    # Frames.
    Mutant("the budget of frames is not looked at", "net/framing.py",
           "range(connection.limits.frames_per_iteration)",
           "range(10**9)"),
    Mutant("a frame's time goes on while its peer is not read", "net/framing.py",
           "                connection.keep_input(self._frames.waiting(), NEVER)  # it",
           "                pass  # it"),
    Mutant("a frame that trickles in begins anew with each byte", "net/framing.py",
           "        elif any_taken:",
           "        elif True:"),
    Mutant("a line of one byte too many is taken", "net/framing.py",
           "if end - self._start > self._most:",
           "if end - self._start > self._most + 1:"),
    Mutant("a length of one too many is taken", "net/framing.py",
           "if length > self._most:",
           "if length > self._most + 1:"),
    Mutant("frames behind the budget are kept back", "net/framing.py",
           "        if self._more is None and self._wanted():",
           "        if False:"),
    Mutant("what is kept of a frame that is too long is not counted", "net/framing.py",
           "        self.connection.keep_input(self._frames.waiting(), NEVER)  # until",
           "        pass  # until"),
    # Time.
    Mutant("timers fire early", "core/timers.py",
           "self._heap[0][0] <= self.asked_at and",
           "self._heap[0][0] <= self.asked_at + 0.01 and"),
    Mutant("a timer that was called off fires", "core/timers.py",
           "        timers, self.timers = self.timers, None\n        self._callback, self._args = None, ()",
           "        timers = None"),
    Mutant("the wait ignores the timers", "core/loop.py",
           "min(timeout, timers.next_when() - self._asked_at, LONGEST",
           "min(timeout, LONGEST"),
    Mutant("the loop sleeps on queued calls", "core/loop.py",
           "        if self._ready or dispatcher.attention",
           "        if dispatcher.attention"),
    Mutant("call_soon runs what is queued meanwhile", "core/loop.py",
           "        for _ in range(len(self._ready)):",
           "        while self._ready:"),
    Mutant("the idle deadline counts from the opening", "core/deadlines.py",
           "max(heard, progress) + limits.idle_seconds",
           "connection.since + limits.idle_seconds"),
    Mutant("a stalled write has no deadline", "core/deadlines.py",
           "    if connection.has_output() and progress",
           "    if False and progress"),
    Mutant("a deadline that comes nearer is not seen", "core/deadlines.py",
           "(armed is not None and armed.when <= when):",
           "armed is not None:"),
    Mutant("of the connections of one tick only the first is looked at", "core/deadlines.py",
           "            self._look(connection)\n",
           "            self._look(connection)\n            break\n"),
    Mutant("a deadline is judged before what was just asked for is settled", "core/dispatcher.py",
           "        if connection.attended:\n            # A timer of this",
           "        if False:\n            # A timer of this"),
    Mutant("timers run by the clock and not by what the kernel was asked", "core/loop.py",
           "            self.timers.asked_at = self._asked_at\n            return",
           "            self.timers.asked_at = self.timers.now\n            return"),
    # Memory.
    Mutant("what was dropped stays counted", "core/connection.py",
           "        self.reactor.counters.buffered_bytes -= size\n",
           ""),
    Mutant("the smallest is ended when memory is short", "core/memory.py",
           "key=Connection.buffered_bytes, reverse=True",
           "key=Connection.buffered_bytes, reverse=False"),
    Mutant("the largest is ended before anyone was asked to pause", "core/memory.py",
           "            if any_asked:\n",
           "            if False:\n"),
    Mutant("all buffers together have no limit", "core/dispatcher.py",
           "        self.memory.enforce(self.connections, self.settle)\n",
           ""),
)  # fmt: skip


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a file of the package under another name; the mutated one from changed text."""

    mutant: Mutant | None = None

    def get_code(self, fullname: str) -> CodeType | None:
        mutant, path = self.mutant, pathlib.Path(self.path)
        if mutant is None or path != PACKAGE / mutant.file:
            return super().get_code(fullname)
        return compile(mutated(mutant), str(path), "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of the copy of the package called `name`."""

    def __init__(self, name: str, mutant: Mutant | None) -> None:
        self.name = name
        self.mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        first, *rest = fullname.split(".")
        if first != self.name:
            return None
        place = PACKAGE.joinpath(*rest)
        package = place.is_dir()
        file = place / "__init__.py" if package else place.with_suffix(".py")
        loader = _Loader(fullname, str(file))
        loader.mutant = self.mutant
        return importlib.util.spec_from_file_location(
            fullname, file, loader=loader, submodule_search_locations=[str(place)] if package else None
        )


def mutated(mutant: Mutant) -> str:
    """The text of its file, changed. ValueError unless what is to be changed is there exactly once."""
    text = (PACKAGE / mutant.file).read_text()
    count = text.count(mutant.old)
    if count != 1:
        raise ValueError(f"mutant {mutant.name!r}: its text is {count} times in {mutant.file}, and must be there once")
    return text.replace(mutant.old, mutant.new)


def hunt(mutant: Mutant, seeds: range) -> Caught:
    """Go through `seeds` until a law is broken. ValueError when the mutant does not fit its file any more."""
    mutated(mutant)
    collecting = gc.isenabled()
    gc.disable()  # see `summary.survey`
    name = f"{PACKAGE.name}_mutant"
    finder = _Finder(name, mutant)
    sys.meta_path.insert(0, finder)
    try:
        simulate = importlib.import_module(f"{name}.simulation.world").simulate
        for number, seed in enumerate(seeds, 1):
            outcome = simulate(seed)
            if outcome.law:
                return Caught(mutant, outcome.law, number, outcome.text)
        return Caught(mutant, 0, len(seeds), "every law held")
    finally:
        sys.meta_path.remove(finder)
        if collecting:
            gc.enable()
        for module in [module for module in sys.modules if module == name or module.startswith(name + ".")]:
            del sys.modules[module]

"""Other servers, to be tested in the same way as ours.

A comparison is fair only if each server runs as its own documentation recommends, with everything that it documents
against the trouble switched on. One rule holds for all: if the documentation tells a program to add something itself,
such as a deadline around a wait or a bound for a line, we add it, if it takes no more than about ten lines. So each
class says which of our settings the server has (the script in `programs/` shows how), what else is switched on, what
is written by hand, and which programs it cannot run, with the reason. Everything that is not in one of these lists is
run and shown.

There are three kinds of reasons for `NotApplicable`. The server's form has no place for the question (a handler that
runs from top to bottom has no callbacks). The trouble cannot occur (a send that waits for the peer keeps nothing). Or
the answer belongs to another server (Tornado's timers are asyncio's).
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
from typing import Any

from tests.failures.adapter import ADAPTERS as FIRST
from tests.failures.adapter import (
    LIMIT_NAMES,
    PROGRAMS_FOLDER,
    PROTOCOLS_HAVE,
    PROTOCOLS_SWITCH_ON,
    Adapter,
    LadderAdapter,
    NotApplicable,
    class_name,
)
from tests.support import ROOT

NO_CALLBACKS = "a handler has no callbacks that could call each other"
WAITS = "its send waits for the peer: a program cannot write regardless"
RAISES = "it tells of an end by an exception: there is no write that could be dropped"
ON_ASYNCIO = "its loop is asyncio's: see there"

# A handler can put a deadline around everything that it waits for.
HANDLERS_BOUND = frozenset({"backlog", "frame_bytes", "frame_seconds", "close_seconds", "write_stall_seconds"})
HANDLERS_LACK = {
    "chat": NO_CALLBACKS,
    "tandem": NO_CALLBACKS,
    "deeds": NO_CALLBACKS,
    "timer_order": "its tasks sleep: nothing is called at a time",
    "later": "a handler waits for its answer: nothing comes when it is over",
    "feeds": "a handler is for a connection that comes",
}
SENDS_THAT_WAIT = {"flood": WAITS, "flood_lines": WAITS, "sized": WAITS, "write_after_end": RAISES}
LOOP_OF_ASYNCIO = dict.fromkeys(("wake", "timers", "timer_order", "interrupts", "fork"), ON_ASYNCIO)
ONE_FAMILY = "it listens at one address at a time"


class RivalAdapter(Adapter):
    """A server that runs a script in `programs/`."""

    distribution = ""  # the package to install; "": it comes with Python
    has: frozenset[str] = frozenset()  # the settings that it has
    lacks: dict[str, str] = {}  # the programs that it cannot run, and why
    both_families = True
    class_names = False  # its programs are protocols

    @property
    def runs_without(self) -> frozenset[str]:  # type: ignore[override]
        return LIMIT_NAMES - self.has

    def version(self) -> str:
        """The version of the server, or of the Python that it comes with."""
        if self.distribution:
            return importlib.metadata.version(self.distribution)
        return f"Python {platform.python_version()}"

    def command(self, program: str, bind: str, settings: dict[str, Any]) -> list[str]:
        if program in self.lacks:
            raise NotApplicable(self.lacks[program])
        if bind.startswith(":") and not self.both_families:
            raise NotApplicable(ONE_FAMILY)
        script = PROGRAMS_FOLDER / self.script(program)
        name = class_name(program) if self.class_names else program
        return [sys.executable, str(script), name, bind, json.dumps(settings)]

    def script(self, program: str) -> str:
        """The file in `programs/`."""
        return f"{self.name}_server.py"


class StreamsAdapter(RivalAdapter):
    name = "streams"
    has = HANDLERS_BOUND | {"blocked_seconds"}
    switched_on = (
        "`limit` of `start_server`, `drain`, `wait_closed`; debug mode for slow callbacks; by hand: `wait_for` around a"
        " line and a send, and `abort` when it is over"
    )
    lacks = HANDLERS_LACK | LOOP_OF_ASYNCIO


class UvloopAdapter(RivalAdapter):
    name = "uvloop"
    distribution = "uvloop"
    has = PROTOCOLS_HAVE
    switched_on = PROTOCOLS_SWITCH_ON
    class_names = True
    never_meets = dict.fromkeys(("EAGAIN", "EINTR"), "it receives by read(2), as it reads everything else")

    def script(self, program: str) -> str:
        return "uvloop_interrupts.py" if program == "interrupts" else "uvloop_server.py"


class TwistedAdapter(RivalAdapter):
    name = "twisted"
    distribution = "twisted"
    has = frozenset(
        {"backlog", "frame_bytes", "frame_seconds", "write_stall_seconds", "close_seconds"}
        | {"max_connections", "when_full"}
    )
    switched_on = (
        "`IHalfCloseableProtocol`, push producers, `LineReceiver.MAX_LENGTH`, `LimitTotalConnectionsFactory`, `wantPID`"
        " for UNIX sockets; by hand: `TimeoutMixin` armed for a line, a pause in writing and a close, with"
        " `abortConnection`"
    )
    lacks = {
        "interrupts": "its reactor cannot be run again",
        "feeds": "its clients are factories of another kind, which no program here has",
        "timer_order": "`callLater` takes delays, not times: there are no equal ones",
    }
    both_families = False

    def start(self, program: str, bind: str = "127.0.0.1:0", **settings: Any) -> Any:
        if settings.get("when_full") == "queue":
            raise NotApplicable("it has one policy: to refuse")
        return super().start(program, bind, **settings)


class TornadoAdapter(RivalAdapter):
    name = "tornado"
    distribution = "tornado"
    has = HANDLERS_BOUND | {"blocked_seconds"}
    switched_on = (
        "`max_buffer_size`, `max_write_buffer_size`, `max_bytes`, `set_close_callback`; asyncio's debug mode; by hand:"
        " `with_timeout` around a line and a send"
    )
    lacks = HANDLERS_LACK | LOOP_OF_ASYNCIO | {"write_after_end": RAISES, "flood_lines": "it has no `writelines`"}


class TrioAdapter(RivalAdapter):
    name = "trio"
    unix_sockets = False
    distribution = "trio"
    has = HANDLERS_BOUND
    switched_on = "by hand: `fail_after` around a line and a send, a line's limit, `except Exception` in each handler"
    lacks = HANDLERS_LACK | SENDS_THAT_WAIT | {"interrupts": "`trio.run` ends for good when Ctrl-C leaves it"}


class CurioAdapter(RivalAdapter):
    name = "curio"
    distribution = "curio"
    has = HANDLERS_BOUND
    switched_on = "by hand: `timeout_after` around a line and a send, a line's limit"
    lacks = (
        HANDLERS_LACK
        | SENDS_THAT_WAIT
        | {
            "interrupts": "`curio.run` ends for good when Ctrl-C leaves it",
            "wake": "its kernel takes no calls from threads: there are queues and events for that",
            "fork": "its kernel takes no calls",
        }
    )
    both_families = False


class GeventAdapter(RivalAdapter):
    name = "gevent"
    distribution = "gevent"
    has = HANDLERS_BOUND | {"max_connections", "when_full", "blocked_seconds", "drain_seconds"}
    switched_on = (
        "`Pool`, `readline(limit)`, `stop(timeout)`, the monitoring thread; by hand: `gevent.Timeout` around a line and"
        " a send, the signals' own way to end when told twice"
    )
    lacks = HANDLERS_LACK | SENDS_THAT_WAIT | {"interrupts": "its hub belongs to the thread, and is not run by a call"}
    both_families = False

    def start(self, program: str, bind: str = "127.0.0.1:0", **settings: Any) -> Any:
        if settings.get("when_full") == "refuse":
            raise NotApplicable("it has one policy: to let newcomers wait")
        return super().start(program, bind, **settings)


BLOCKING = "its sockets block"
ON_THREADS = "its connections are on threads of their own, and the test sees the calls of the first"
NO_LOOP = "it has no loop: a thread for each connection"


class SocketserverAdapter(RivalAdapter):
    name = "socketserver"
    never_meets = {"EAGAIN": BLOCKING, "EINTR": ON_THREADS}
    has = HANDLERS_BOUND
    switched_on = (
        "`request_queue_size`, `readline(limit)`, `daemon_threads`; by hand: a `threading.Timer` around a line and a"
        " send, which shuts the socket down"
    )
    lacks = (
        HANDLERS_LACK
        | SENDS_THAT_WAIT
        | dict.fromkeys(("wake", "timers", "timer_order", "fork", "interrupts"), NO_LOOP)
    )
    both_families = False


LADDER_BACKLOG = 1024


class LadderStep(LadderAdapter):
    """A step of the ladder."""

    step = ""

    def start(self, program: str, bind: str = "127.0.0.1:0", **settings: Any) -> Any:
        if settings.get("backlog", 0) > LADDER_BACKLOG:
            raise NotApplicable(f"its backlog is {LADDER_BACKLOG}")
        return super().start(program, bind, **settings)

    def command(self, program: str, bind: str, settings: dict[str, Any]) -> list[str]:
        *python, _script, host, port = super().command(program, bind, settings)
        return [*python, str(ROOT / "scripts" / "ladder" / self.step), host, port]


class BlockingStep(LadderStep):
    """It listens when it says so: there is no selector to wait for."""

    def settle(self, server: Any) -> None:
        pass


class FirstStep(BlockingStep):
    name = "ladder1"
    never_meets = {"EAGAIN": BLOCKING, "EINTR": "it waits for one client, and polls nothing"}
    step = "1_blocking.py"


class SecondStep(BlockingStep):
    name = "ladder2"
    never_meets = {"EAGAIN": BLOCKING, "EINTR": ON_THREADS}
    step = "2_threads.py"


class ThirdStep(LadderStep):
    name = "ladder3"
    step = "3_selectors.py"


RIVALS = (
    *(StreamsAdapter(), UvloopAdapter(), TwistedAdapter(), TornadoAdapter(), TrioAdapter(), CurioAdapter()),
    *(GeventAdapter(), SocketserverAdapter(), FirstStep(), SecondStep(), ThirdStep()),
)
ORDER = (
    *("reactor", "coroutines", "asyncio", "streams", "uvloop", "twisted", "tornado", "trio", "curio", "gevent"),
    *("socketserver", "ladder1", "ladder2", "ladder3"),
)
EVERYONE = FIRST | {rival.name: rival for rival in RIVALS}
ADAPTERS = {name: EVERYONE[name] for name in ORDER}

"""What stands between the failure tests and a server: how to start server X with program P under settings S.

The rows of `table.py` apply to any server. Whether a server survives a slow reader can be asked of any server, and
the answers can be compared only if the question is the same. So the tests use TCP, /proc and signals, and everything
that differs from server to server is here: the command that starts it.

  server    one of `ADAPTERS`, chosen by `pytest tests/failures --server NAME`
  program   what it does on the wire: a key of `PROGRAMS`, whose text is the contract
  settings  the bounds to run it under, by the names of our `Limits`

A server may lack a setting, in one of two ways. If the setting only makes a deadline or a bound smaller, so that a
test need not wait for the default, the server runs without it (`runs_without`). It then has no such bound, and the
test shows the consequence. If the whole scenario is impossible (no such program, no UNIX sockets), the adapter raises
`NotApplicable`, and the test is skipped with its reason.

After each test a server must be as before: idle, with the same number of descriptors, every connection accounted for.
`check_at_rest` checks that; it checks the reasons where a server tells them (`statistics`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from reactor import Limits
from tests.support import ROOT, ServerProcess, package_path, wait_until

PROGRAMS_FOLDER = pathlib.Path(__file__).with_name("programs")
LIMIT_NAMES = frozenset(field.name for field in dataclasses.fields(Limits))

PROGRAMS = {
    "echo": "Sends back whatever comes. While its writing is paused, it does not read.",
    "dots": "A dot for every newline that comes; all else is thrown away.",
    "lines": "Each line back, newline and all. To one longer than `frame_bytes` 'too long' and a newline; then closes.",
    "chat": "'hello' and a newline to whoever comes; then each line to everyone else, as it is.",
    "reply_10mb": "`REPLY`, 10 MiB, for each newline that comes.",
    "reply_at_end": "`REPLY` when the client has ended its side; then closes.",
    "reply_and_close": "`REPLY` at the first byte; then closes at once.",
    "answer_early": "'no thanks' and a newline at the first byte; then closes, whatever else is being sent.",
    "flood": "From the first byte on 64 KiB in each turn of the loop, up to 1 GiB; heeds no pause.",
    "flood_lines": "The same by `writelines`.",
    "polite_flood": "From the first byte on 64 KiB chunks, up to 1 GiB, but none while its writing is paused.",
    "write_nothing": "At the first byte writes empty chunks, by `write` and `writelines`; then closes.",
    "write_after_end": "'k' keeps the connection, answers 'k'; 'w' on another writes 10,000 times to the one that was"
    " kept, and answers 'w', or with the name of an exception that came back, and a newline.",
    "sized": "For each line, which is a number, so many bytes of `REPLY`, repeated from its start at each MiB; heeds no"
    " pause.",
    "tandem": "Two connections, of which each callback writes blocks into the other one and then into its own, while"
    " they are not paused: 200 blocks of 64 KiB of their number each way, from the first byte on. 'd' is answered with"
    " the depth to which these callbacks were nested, and a newline.",
    "polite_reply": "`REPLY` from the first byte on, in pieces of 64 KiB, none while its writing is paused; then"
    " closes. It goes on when the client has ended its side.",
    "never_done": "Says 'program: eof' when the client has ended its side, and answers nothing, ever; 'program: lost'"
    " when the connection is.",
    "deeds": "Its number and a newline to whoever comes. A line 'CALLBACK DEED TARGET' has the next such callback of"
    " this connection (of the next connection for connection_made) do DEED, close or abort, to 'self', a number,"
    " 'listener' or 'loop', and then write, pause, resume and close all the same. 'reply' is answered by `REPLY`, any"
    " other line by itself. Every callback is a line 'program: callback NUMBER NAME' on standard error.",
    "tags": "Answers 16 bytes with themselves and closes; and does so again, and again, after the end.",
    "raise": "Each letter raises ByRequest in a callback: 'd' data_received, 'e' eof_received, 'l' connection_lost,"
    " 'p' pause_writing, 'r' resume_writing of this connection; 'm' connection_made, 'f' the factory, of the next."
    " Before it raises it answers with the letter; all else is sent back.",
    "block": "'b' says so and blocks for a second, by `sleep_for_a_second`; as everything, it is sent back.",
    "fork": "'f' forks. The child tries to use the loop, the parent answers with what the child met ('raised NAME' or"
    " 'nothing') and a newline; the child stays, without a word, until 'x' comes, which is answered by 'x'. 'c' closes."
    " All else is sent back.",
    "pause": "'p' is answered by 'p', and nothing more is read from that connection until 'r' comes on another, which"
    " is answered by 'r'. Whatever comes apart from these is sent back.",
    "wake": "At each byte eight threads have the loop make 10,000 calls. For 'w' each of them waits until a call was"
    " made before it asks for the next. When all were made, the byte is sent back.",
    "timers": "At each byte arms and cancels 20,000 timers. Answers with the number of functions that its thread has"
    " called since the last such answer, Python's and built-in ones, and a newline. It counts from the first 'c' on,"
    " and answers 0 before.",
    "timer_order": "At the first byte a line of JSON: what came of timers at NaN, infinity, in the past, and at"
    " equal times.",
    "later": "At each byte an answer begins to be made, 'later' and a newline: it comes half a second later, from a"
    " thread for 't', never for 'n', else from a timer. To a server that can be told that it is at work it says so.",
    "feeds": "Each line is an address, where it keeps a connection of its own: says 'subscribe' there, and opens it"
    " again whenever it is lost.",
    "interrupts": "No server: runs its loop again whenever Ctrl-C has left it, 'running N' on stdout each time; with an"
    " echo server on it, whose address comes as from the others.",
}


class NotApplicable(Exception):
    """This test does not apply to this server; the message says why."""


class Server(ServerProcess):
    """A server under test."""

    has_statistics = False

    def note_start(self) -> None:
        """Note the descriptors of the server that now listens: it must return to these."""
        self.descriptors_at_start = self.descriptors()

    def statistics(self) -> dict[str, Any] | None:
        """The server's own statistics, if it has any."""
        return super().statistics() if self.has_statistics else None

    def expect_closed(self, **reasons: int) -> None:
        """Wait until it has counted so many ends for these reasons; return at once if it does not count."""

        def counted() -> bool:
            statistics = self.statistics()
            return statistics is None or all(statistics["closed"][name] == count for name, count in reasons.items())

        try:
            wait_until(counted, "these ends")
        except AssertionError:
            raise AssertionError(f"expected {reasons}, but {self.statistics()}") from None

    def threads(self) -> int:
        """How many threads it has."""
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def check_at_rest(self) -> None:
        """Check, after all clients have gone, that it is as at its start, and that it counted every end once."""
        start = self.descriptors_at_start
        try:
            wait_until(lambda: self.descriptors() == start, "the descriptors of its start")
        except AssertionError:
            raise AssertionError(f"it had {start} descriptors, and has {self.open_files()}") from None
        statistics = self.statistics()
        if statistics is not None:
            assert statistics["open"] == 0, statistics
            assert statistics["accepted"] + statistics["connected"] == sum(statistics["closed"].values()), statistics
        self.wait_until_idle("all clients are gone")

    def open_files(self) -> list[str]:
        """The names of its open descriptors, for the message of a failure."""
        folder = f"/proc/{self.pid}/fd"
        names = []
        for number in os.listdir(folder):
            with contextlib.suppress(OSError):  # closed meanwhile
                names.append(os.readlink(f"{folder}/{number}"))
        return sorted(names)


class Adapter:
    """One kind of server. Subclasses say what it can do."""

    name = ""
    has_statistics = False
    runs_without: frozenset[str] = frozenset()  # settings that it does not have, and runs without
    unix_sockets = True
    longest_backlog = 65535  # the longest queue of connections that it can have
    never_meets: dict[str, str] = {}  # errors that cannot be injected into its system calls, and why
    unread_end = ""  # why a program is not told of a peer's end while it does not read
    switched_on = ""  # other documented remedies against these troubles, with which it runs

    def command(self, program: str, bind: str, settings: dict[str, Any]) -> list[str]:
        """The command that runs it; NotApplicable if there is none."""
        raise NotImplementedError

    def settle(self, server: Server) -> None:
        """Wait until it can serve, if it says too early that it listens."""

    @contextlib.contextmanager
    def start(
        self,
        program: str,
        bind: str = "127.0.0.1:0",
        *,
        before: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        listens: bool = True,
        rests: bool = True,
        **settings: Any,
    ) -> Iterator[Server]:
        """Run it with `program` until the block ends, and then check that it is at rest, if it still runs.

        `before` goes in front of its command. `listens` is False if the server is expected not to listen, `rests` if
        it cannot be at rest when the block ends.
        """
        assert program in PROGRAMS, program
        assert settings.keys() <= LIMIT_NAMES, settings
        if bind.startswith("unix:") and not self.unix_sockets:
            raise NotApplicable("it has no UNIX sockets")
        settings = {name: value for name, value in settings.items() if name not in self.runs_without}
        command = [*before, *self.command(program, bind, settings)]
        with _process(command, environment or {}) as server:
            server.has_statistics = self.has_statistics and program != "interrupts"
            if listens:
                server.wait_until_listening()
                self.settle(server)
                server.note_start()
            yield server
            if listens and rests and server.process.poll() is None:
                server.check_at_rest()


@contextlib.contextmanager
def _process(command: list[str], environment: dict[str, str]) -> Iterator[Server]:
    environment = {**os.environ, "PYTHONPATH": package_path(), **environment}
    pipe = subprocess.PIPE
    how: dict[str, Any] = {"stdin": subprocess.DEVNULL, "env": environment, "cwd": ROOT}
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, **how) as process:
        server = Server(process)
        try:
            yield server
        finally:
            if process.poll() is None:
                process.kill()
            server.wait()


def class_name(program: str) -> str:
    """The class of a program: for `answer_early` it is `AnswerEarly`."""
    return "".join(word.capitalize() for word in program.split("_"))


class ReactorAdapter(Adapter):
    """Ours, started by its command line."""

    name = "reactor"
    has_statistics = True
    switched_on = "`Limits`: as the row sets them, else their defaults; `FramedProtocol`; nothing by hand"
    served = "reactor_programs"  # the module of its programs

    def name_of(self, program: str) -> str:
        """The name of a program in that module."""
        return class_name(program)

    def command(self, program: str, bind: str, settings: dict[str, Any]) -> list[str]:
        if program == "interrupts":
            return [sys.executable, str(PROGRAMS_FOLDER / "reactor_interrupts.py"), bind]
        options = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        served = f"tests.failures.programs.{self.served}:{self.name_of(program)}"
        command = [sys.executable, "-m", "reactor", "serve", served, "--bind", bind]
        return [*command, "--log-format", "json", *options]  # for its statistics


class CoroutinesAdapter(ReactorAdapter):
    """Ours, with programs that are coroutines."""

    name = "coroutines"
    switched_on = "`Limits`: as the row sets them, else their defaults; nothing by hand"
    served = "reactor_coroutines"
    unread_end = "a peer that has ended its side may still read: a handler is told of that by its next read"
    lacks = {
        "deeds": "a handler has no callbacks that could call each other",
        "tandem": "a handler has no callbacks that could call each other",
        "timer_order": "its loop is the reactor's: see there",
        "interrupts": "its loop is the reactor's: see there",
    }

    def command(self, program: str, bind: str, settings: dict[str, Any]) -> list[str]:
        if program in self.lacks:
            raise NotApplicable(self.lacks[program])
        return super().command(program, bind, settings)

    def name_of(self, program: str) -> str:
        """A program has the name of its handler."""
        return "raise_by_request" if program == "raise" else program


# What asyncio's protocols have, and what `programs/by_hand.py` writes for them. uvloop's protocols have the same.
PROTOCOLS_HAVE = frozenset(
    {"backlog", "output_low_bytes", "output_high_bytes", "blocked_seconds"}
    | {"frame_bytes", "frame_seconds", "write_stall_seconds", "close_seconds"}
)
PROTOCOLS_SWITCH_ON = (
    "`set_write_buffer_limits`; debug mode for slow callbacks; by hand: a line's limit, and `call_later` with `abort`"
    " for a line, a pause in writing and a close"
)


class AsyncioAdapter(Adapter):
    """The standard library's, with a Protocol. A program can choose the backlog, the marks of the output, and how
    long a callback may block; `by_hand.py` adds the rest."""

    name = "asyncio"
    switched_on = PROTOCOLS_SWITCH_ON
    runs_without = LIMIT_NAMES - PROTOCOLS_HAVE

    def command(self, program: str, bind: str, settings: dict[str, Any]) -> list[str]:
        script = "asyncio_interrupts.py" if program == "interrupts" else "asyncio_server.py"
        return [sys.executable, str(PROGRAMS_FOLDER / script), class_name(program), bind, json.dumps(settings)]


class LadderAdapter(Adapter):
    """Step 3 of the ladder: what one writes after reading a tutorial. It echoes, and has no limits."""

    name = "ladder3"
    switched_on = "nothing, and nothing by hand"
    runs_without = LIMIT_NAMES
    unix_sockets = False
    longest_backlog = 1024

    def command(self, program: str, bind: str, settings: dict[str, Any]) -> list[str]:
        host, _, port = bind.rpartition(":")
        if program != "echo":
            raise NotApplicable("the ladder's steps are echo servers")
        if host != "127.0.0.1":
            raise NotApplicable("the ladder's steps listen at one IPv4 address")
        return [sys.executable, str(ROOT / "scripts" / "ladder" / "3_selectors.py"), host, port]

    def settle(self, server: Server) -> None:
        wait_until(lambda: any("eventpoll" in name for name in server.open_files()), "its selector")


FIRST = (ReactorAdapter(), CoroutinesAdapter(), AsyncioAdapter(), LadderAdapter())
ADAPTERS = {adapter.name: adapter for adapter in FIRST}

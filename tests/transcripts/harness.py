"""One script, two loops, one transcript each: is the life of a protocol the same on asyncio and here?

PEP 3156 says what a protocol may expect, and asyncio is how people understand it. So the strongest test is to run one
protocol class, unchanged, through the same events on both loops, and to compare what it saw. The class is `Scripted`;
its behaviour and the client's are data (`scripts.py`). This file runs them:

  script   what the protocol does in each callback, and what its blocking client does meanwhile
  host     a loop on its own thread that serves one protocol: asyncio's, or ours
  lines    what both sides saw, made comparable: adjacent chunks of data are joined, because it means nothing where
           TCP cuts the stream

The two sides run at the same time, so their lines are kept apart. Where order matters, a script must make it: the
client waits for a callback (`await`), or has something done on the loop's thread (`server`).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from reactor import Server
from tests.support import DEADLINE_SECONDS, receive, reset, socket_address

Step = tuple[Any, ...]
SMALL_BYTES = 65536  # for the kernel's buffers, so that a megabyte is more than they hold on any machine


@dataclasses.dataclass(frozen=True)
class Script:
    """What the protocol does in each callback, and what the client does; the steps, with arguments, are below."""

    name: str
    server: dict[str, list[Step]]
    client: list[Step]


@dataclasses.dataclass(frozen=True)
class Difference:
    """An intended difference: the lines that only one of the two has, and the reason.

    `asyncio` is None if the script would never end there, so that it is played here alone. With `sometimes`, only
    some versions of asyncio differ; with `since`, those from that Python on.
    """

    reason: str
    asyncio: tuple[str, ...] | None
    reactor: tuple[str, ...]
    sometimes: bool = False
    since: tuple[int, int] = (3, 0)


class Transcript:
    """What happened to the protocol, in order, and a way to wait for it."""

    def __init__(self) -> None:
        self._entries: list[tuple[str, Any]] = []
        self._changed = threading.Condition()

    def add(self, name: str, detail: Any = None) -> None:
        """Note that callback `name` was called, or another event to compare; join data with the data before it."""
        with self._changed:
            if name == "data_received" and self._entries and self._entries[-1][0] == name:
                detail = self._entries.pop()[1] + detail
            self._entries.append((name, detail))
            self._changed.notify_all()

    def wait_for(self, name: str, detail: Any = None) -> None:
        """Wait until there is such an entry. For data, wait until at least `detail` bytes have been received in all."""

        def come() -> bool:
            if name == "data_received" and detail is not None:
                return sum(len(data) for entry, data in self._entries if entry == name) >= detail
            return any(entry == name and detail in (None, noted) for entry, noted in self._entries)

        with self._changed:
            assert self._changed.wait_for(come, DEADLINE_SECONDS), f"{name} {detail} did not come after {self.lines()}"

    def lines(self) -> list[str]:
        """All entries as text."""
        return [name if detail is None else f"{name} {shown(detail)}" for name, detail in self._entries]

    def names(self) -> list[str]:
        """The names of all entries."""
        return [name for name, _ in self._entries]


def shown(detail: Any) -> str:
    """`detail` itself, or if it is long, its length and a checksum."""
    if isinstance(detail, bytes) and len(detail) > 40:
        return f"{len(detail)} bytes with CRC {zlib.crc32(detail):08x}"
    return str(detail)


class Scripted:
    """A protocol that does what its script says, and notes what it sees. It uses nothing of its loop but `call_soon`.

    Its steps: write DATA, write_each CHUNKS (a write for each), writelines CHUNKS, write_and_spoil DATA (as a
    bytearray that is overwritten after the call), echo, write_eof, close, abort, pause_reading, resume_reading, marks
    HIGH LOW, small_buffer (in the kernel, for output), soon STEP... (in a callback of the loop), hand_over (to a
    second protocol, "heir"), ask METHOD (is_closing, ...), ask_extra NAME, fail TEXT, and return VALUE. If the
    transport raises, the exception is noted.
    """

    def __init__(self, script: Script, transcript: Transcript, call_soon: Callable[..., Any], role: str = "") -> None:
        self.script = script
        self.transcript = transcript
        self.call_soon = call_soon
        self.role = role

    def connection_made(self, transport: Any) -> Any:
        self.transport = transport
        return self._live("connection_made")

    def data_received(self, data: bytes) -> Any:
        self.data = data
        return self._live("data_received", data)

    def eof_received(self) -> Any:
        return self._live("eof_received")

    def pause_writing(self) -> Any:
        return self._live("pause_writing")

    def resume_writing(self) -> Any:
        return self._live("resume_writing")

    def connection_lost(self, exc: Exception | None) -> Any:
        # On either loop, the errno of a broken connection depends on the call that meets it first.
        name = "OSError" if isinstance(exc, OSError) else type(exc).__name__
        return self._live("connection_lost", name)

    def _live(self, callback: str, detail: Any = None) -> Any:
        self.transcript.add(self.role + callback, detail)
        return self.perform(self.script.server.get(self.role + callback, []))

    def perform(self, steps: list[Step]) -> Any:
        """Do the steps one after the other, up to a `return`; return the value of that."""
        for name, *arguments in steps:
            if name == "return":
                return arguments[0]
            if name == "fail":
                raise ValueError(*arguments)
            try:
                self._do(name, *arguments)
            except Exception as exc:
                self.transcript.add(f"{name} raised", type(exc).__name__)
        return None

    def _do(self, name: str, *arguments: Any) -> None:
        own = getattr(self, f"_do_{name}", None)
        (own or getattr(self.transport, name))(*arguments)

    def _do_echo(self) -> None:
        self.transport.write(self.data)

    def _do_write_each(self, chunks: list[Any]) -> None:
        for chunk in chunks:
            self.transport.write(chunk)

    def _do_writelines(self, chunks: list[Any]) -> None:
        self.transport.writelines(chunk for chunk in chunks)

    def _do_write_and_spoil(self, data: bytes) -> None:
        spoiled = bytearray(data)
        self.transport.write(spoiled)
        spoiled[:] = b"!" * len(spoiled)

    def _do_marks(self, high: int | None, low: int | None = None) -> None:
        self.transport.set_write_buffer_limits(high=high, low=low)

    def _do_small_buffer(self) -> None:
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BYTES)

    def _do_soon(self, *steps: Step) -> None:
        self.call_soon(self.perform, list(steps))

    def _do_hand_over(self) -> None:
        heir = Scripted(self.script, self.transcript, self.call_soon, "heir ")
        heir.transport = self.transport
        self.transport.set_protocol(heir)

    def _do_ask(self, method: str) -> None:
        self.transcript.add(f"{method}:", str(getattr(self.transport, method)()))

    def _do_ask_extra(self, name: str) -> None:
        self.transcript.add(f"{name}:", str(self.transport.get_extra_info(name, "none")))


class Client:
    """The blocking client. Its steps: send DATA, receive COUNT, receive_end, exchange DATA (sent on a thread, while
    as much is received), shutdown, close, reset, await CALLBACK [DETAIL], server STEP...
    """

    def __init__(self, address: tuple[str, int], transcript: Transcript, on_server: Callable[..., None]) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(DEADLINE_SECONDS)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BYTES)
        self.was_reset = False  # already in `connect`: a server may be so quick, and the kernel tells it only once
        try:
            self.socket.connect(address)
        except ConnectionResetError:
            self.was_reset = True
        self.transcript = transcript
        self.on_server = on_server
        self.received = bytearray()
        self.end: str | None = None

    def perform(self, steps: list[Step]) -> None:
        for name, *arguments in steps:
            getattr(self, f"do_{name}")(*arguments)

    def do_send(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # the peer has ended it; `receive_end` will tell
            self.socket.sendall(data)

    def do_receive(self, count: int) -> None:
        self.received += receive(self.socket, count)

    def do_receive_end(self) -> None:
        try:
            while data := self.socket.recv(1 << 16):
                self.received += data
            self.end = "a reset" if self.was_reset else "the end"
        except ConnectionResetError:
            self.end = "a reset"

    def do_exchange(self, data: bytes) -> None:
        sender = threading.Thread(target=self.do_send, args=[data])
        sender.start()
        self.do_receive(len(data))
        sender.join()

    def do_shutdown(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def do_close(self) -> None:
        self.socket.close()

    def do_reset(self) -> None:
        reset(self.socket)

    def do_await(self, callback: str, detail: Any = None) -> None:
        self.transcript.wait_for(callback, detail)

    def do_server(self, *steps: Step) -> None:
        self.on_server(list(steps))

    def lines(self) -> list[str]:
        received = f"received {shown(bytes(self.received))}"
        return [received] if self.end is None else [received, f"saw {self.end}"]


class Stage:
    """What a host gives a script: the protocol's transcript, the reported errors, access to the loop."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.transcript = Transcript()
        self.reported: list[str] = []  # exceptions that the loop reported
        self.address: tuple[str, int] = ("", 0)
        self.call_soon: Callable[..., Any]
        self.call_soon_threadsafe: Callable[..., Any]
        self.protocol: Scripted

    def factory(self) -> Scripted:
        self.protocol = Scripted(self.script, self.transcript, self.call_soon)
        return self.protocol

    def on_server(self, steps: list[Step]) -> None:
        """Have the protocol do `steps` on its own thread; return when they are done."""
        self.transcript.wait_for("connection_made")
        self.on_loop(lambda: self.protocol.perform(steps))

    def on_loop(self, call: Callable[[], Any]) -> None:
        """Have the loop call `call`, and wait until it has."""
        done = threading.Event()

        def calling() -> None:
            try:
                call()
            finally:
                done.set()

        self.call_soon_threadsafe(calling)
        assert done.wait(DEADLINE_SECONDS), "the loop is stuck"


@contextlib.contextmanager
def on_asyncio(script: Script) -> Iterator[Stage]:
    """Serve on a new event loop of asyncio."""
    stage = Stage(script)
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, context: stage.reported.append(type(context.get("exception")).__name__))
    stage.call_soon, stage.call_soon_threadsafe = loop.call_soon, loop.call_soon_threadsafe
    server = loop.run_until_complete(loop.create_server(stage.factory, "127.0.0.1", 0))
    stage.address = server.sockets[0].getsockname()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield stage
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.call_soon, loop.stop)
        thread.join()
        loop.close()


class Reports(logging.Handler):
    """Notes the exceptions that are logged as errors."""

    def __init__(self, reported: list[str]) -> None:
        super().__init__(logging.ERROR)
        self.reported = reported

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[0]:
            self.reported.append(record.exc_info[0].__name__)


@contextlib.contextmanager
def on_reactor(script: Script) -> Iterator[Stage]:
    """Serve on a reactor of ours."""
    stage = Stage(script)
    handler = Reports(stage.reported)
    logging.getLogger("reactor").addHandler(handler)
    try:
        with Server(stage.factory, bind="127.0.0.1:0") as server:
            stage.call_soon, stage.call_soon_threadsafe = server.reactor.call_soon, server.reactor.call_soon_threadsafe
            stage.address = socket_address(server.addresses[0])
            yield stage
    finally:
        logging.getLogger("reactor").removeHandler(handler)


def play(script: Script, host: Callable[[Script], Any]) -> tuple[list[str], Transcript]:
    """Play `script` on `host` to the end; return the lines to compare, and the protocol's transcript."""
    with host(script) as stage:
        client = Client(stage.address, stage.transcript, stage.on_server)
        try:
            client.perform(script.client)
        finally:
            client.socket.close()
        stage.transcript.wait_for("connection_lost" if "hand_over" not in str(script) else "heir connection_lost")
        stage.on_loop(lambda: None)  # anything that comes after the end has come now
    lines = [f"server: {line}" for line in stage.transcript.lines()]
    lines += [f"client: {line}" for line in client.lines()]
    lines += [f"reported: {name}" for name in stage.reported]
    return lines, stage.transcript

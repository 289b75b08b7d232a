"""The load for machines without a C compiler: the same commands as `load.c`, in Python.

A message costs it as much as it costs a bare Python server, so the server may have to wait for the load. The bench
sees that in the server's idle time, and says so beside the figure. Errors are checked as strictly as in `load.c`. The
top of `load.c` explains the commands, and why there is such a program.

Usage: python load.py PORT
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

PATIENCE_SECONDS = 30.0
SHIFTS = 251  # as in load.c
CONNECTS_PER_CHECK = 32
RECEIVE_BYTES = 1 << 18

ORDERS = open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)  # unbuffered, because `firehose` polls it

Report = dict[str, Any]


class Wrong(Exception):
    """An error that makes all figures worthless; it is told in the answer."""


class Client:
    """One connection and the message that is on its way."""

    __slots__ = ("socket", "message", "sent", "received", "begun", "watched")

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.message = memoryview(b"\n")
        self.sent = self.received = 0
        self.begun = 0.0
        self.watched = select.EPOLLIN

    def receive(self) -> bool:
        """Receive what has come and compare it; return whether the whole message is back."""
        try:
            data = self.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return False
        if not data:
            raise Wrong(f"the server closed a connection after {self.received} of {len(self.message)} bytes")
        if self.received + len(data) > self.sent:
            raise Wrong("more bytes came back than were sent")
        if data != self.message[self.received : self.received + len(data)]:
            raise Wrong("other bytes came back than were sent")
        self.received += len(data)
        return self.received == len(self.message)


class Load:
    """All connections, and the commands."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._epoll = select.epoll()
        self._clients: dict[int, Client] = {}

    def connect(self, wanted: int) -> Report:
        """Have `wanted` connections open; check regularly that a new one is served (see load.c)."""
        while len(self._clients) < wanted:
            client = self._open(self._clients)
            if len(self._clients) % CONNECTS_PER_CHECK == 0 or len(self._clients) == wanted:
                self._begin(client)
                while not client.receive():
                    self._ready()
        return {"connections": len(self._clients)}

    def echo(self, count: int, size: int, line: int) -> Report:
        """Send `count` messages in all; on each connection the next one follows when the last is back."""
        self._give_messages(size, line)
        waiting = iter(list(self._clients.values()))
        return self._run(self._clients, count, lambda: next(waiting, None), lambda client: client)

    def send(self, size: int, line: int) -> Report:
        """Send a message on each connection: the first half of a volley."""
        self._give_messages(size, line)
        for client in self._clients.values():
            self._begin(client)
        return {"sent": len(self._clients)}

    def collect(self) -> Report:
        """Wait until all of them are back: the second half."""
        done = 0
        while done < len(self._clients):
            for fd, events in self._ready():
                client = self._clients[fd]
                if client.watched & select.EPOLLOUT:
                    self._send(client)
                done += events != select.EPOLLOUT and client.receive()
        return {"received": done}

    def _give_messages(self, size: int, line: int) -> None:
        pattern = _pattern(size, line)
        for number, client in enumerate(self._clients.values()):
            shift = 0 if line else number % SHIFTS
            client.message = pattern[shift : shift + size]

    def churn(self, count: int, size: int, at_once: int) -> Report:
        """Connect, echo once and close, `count` times, with `at_once` connections at the same time."""
        message = _pattern(size, 0)[:size]
        guests: dict[int, Client] = {}

        def open_guest() -> Client:
            guest = self._open(guests)
            guest.message = message
            return guest

        def replace(guest: Client) -> Client:
            del guests[guest.socket.fileno()]
            guest.socket.close()
            return open_guest()

        report = self._run(guests, count, lambda: open_guest() if len(guests) < at_once else None, replace)
        for guest in guests.values():
            guest.socket.close()
        return report

    def firehose(self, size: int) -> Report:
        """Write without end on one connection and read back, until there is a line on standard input."""
        block, received, sent, start = _pattern(size, 0)[:size], 0, 0, time.monotonic()
        hose = Client(self._address)
        told: Report = {}
        while not told or received < sent:  # to close with unread bytes would reset the connection
            orders: list[Any] = [] if told else [ORDERS]
            writing: list[Any] = orders and [hose.socket]
            readable, writable, _ = select.select([*orders, hose.socket], writing, [], PATIENCE_SECONDS)
            if not readable and not writable:
                raise Wrong(f"the firehose stood still for {PATIENCE_SECONDS:g} s")
            if ORDERS in readable:
                told = {"seconds": time.monotonic() - start, "bytes": received}
            elif writable:
                sent += hose.socket.send(block[sent % size :])
            if hose.socket in readable:
                at = received % size
                data = hose.socket.recv(size - at)
                if not data or data != block[at : at + len(data)]:
                    raise Wrong("other bytes came back than were sent" if data else "the firehose was cut off")
                if not received:
                    print(json.dumps({"flowing": True}), flush=True)
                received += len(data)
        hose.socket.close()
        return told

    def _run(
        self,
        clients: dict[int, Client],
        count: int,
        first: Callable[[], Client | None],
        after: Callable[[Client], Client],
    ) -> Report:
        """Begin with each client of `first` until it gives none; continue with `after` each client that is done."""
        latencies: list[float] = []
        begun, start = 0, time.perf_counter()
        while begun < count and (client := first()):
            self._begin(client)
            begun += 1
        while len(latencies) < count:
            for fd, events in self._ready():
                client = clients[fd]
                if client.watched & select.EPOLLOUT:
                    self._send(client)
                if events == select.EPOLLOUT or not client.receive():
                    continue
                latencies.append(time.perf_counter() - client.begun)
                if begun < count:
                    begun += 1
                    self._begin(after(client))
        return _report(time.perf_counter() - start, latencies)

    def _open(self, clients: dict[int, Client]) -> Client:
        client = Client(self._address)
        clients[client.socket.fileno()] = client
        self._epoll.register(client.socket, client.watched)
        return client

    def _begin(self, client: Client) -> None:
        client.sent = client.received = 0
        client.begun = time.perf_counter()
        self._send(client)

    def _send(self, client: Client) -> None:
        try:
            client.sent += client.socket.send(client.message[client.sent :] if client.sent else client.message)
        except BlockingIOError:
            pass
        wanted = select.EPOLLIN | (select.EPOLLOUT if client.sent < len(client.message) else 0)
        if wanted != client.watched:
            client.watched = wanted
            self._epoll.modify(client.socket, wanted)

    def _ready(self) -> list[tuple[int, int]]:
        events = self._epoll.poll(PATIENCE_SECONDS)
        if not events:
            raise Wrong(f"no reply within {PATIENCE_SECONDS:g} s")
        return events


def _pattern(size: int, line: int) -> memoryview:
    """What is sent, long enough for every shift of it. With lines there are no shifts: they would move the newlines."""
    letters = bytes(ord("a") + i % 26 for i in range(26 * SHIFTS))
    text = bytearray((letters * (size // len(letters) + 2))[: size + SHIFTS])
    if line:
        text[line - 1 :: line] = b"\n" * len(text[line - 1 :: line])
    return memoryview(bytes(text))


def _report(seconds: float, latencies: list[float]) -> Report:
    latencies.sort()
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
    micros = {name: latencies[int((len(latencies) - 1) * share)] * 1e6 for name, share in shares.items()}
    return {"seconds": seconds, **micros}


def main() -> None:
    load = Load(("127.0.0.1", int(sys.argv[1])))
    commands = {name: getattr(load, name) for name in ("connect", "echo", "send", "collect", "churn", "firehose")}
    while line := ORDERS.readline():
        if not line.strip():
            continue  # the line that has stopped a firehose
        try:
            command, *numbers = line.decode().split()
            answer = commands[command](*map(int, numbers))
        except (Wrong, OSError) as exc:
            print(json.dumps({"error": str(exc)}), flush=True)
            sys.exit(1)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

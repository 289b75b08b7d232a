"""Clients that come and go, one after the other.

Most leaks of a server happen at the end of a connection: one kind of ending forgets to close a descriptor, one kind
of failure leaves an entry in a table. A few clients that stay do not show that. Many clients that leave, in different
ways, do. So these come in turn, some hundred a second, and end in every way that TCP has:

  by turns         ask and close; ask, half-close and read to the end; ask and reset; close without a word
  now and then     say nothing, and stay until the server ends the connection
  once             a burst of silent clients, more than the server admits, so that newcomers have to queue

The server owes the first two every byte of their answer, so a wrong answer is an error. A silent client whose
connection is still open after `SILENCE_SECONDS` is an error, too. The others are only counted.

They are plain blocking sockets on one thread: a test of the reactor should not depend on the reactor. The cost: a
client that waits holds up the others, so the churn slows down when the server is full.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
import time
from collections import Counter, deque

CALL_SECONDS = 20.0  # for the answer to one call; the other clients get as much
SILENCE_SECONDS = 15.0  # by then, a server that has a deadline for the first byte has ended the connection
SILENT_EVERY = 25  # one client in so many says nothing
PAYLOAD_BYTES = 1024
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # for SO_LINGER: close sends a reset


class Churn:
    """Visits `address` about `per_second` times a second from `start` to `finish`; after half of `seconds` comes the
    burst.

    The counts may be read after `finish` has returned.
    """

    def __init__(self, address: tuple[str, int], *, per_second: float, seconds: float, burst: int) -> None:
        self.connected = 0
        self.asked = 0  # clients to which the server owes an answer
        self.errors: Counter[str] = Counter()
        self._address = address
        self._interval_seconds = 1 / per_second
        self._burst_after_seconds = seconds / 2
        self._burst = burst
        self._silent: deque[tuple[float, socket.socket]] = deque()  # each with its time of arrival, oldest first
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="churn", daemon=True)

    def start(self) -> None:
        """Start the visits, on their own thread."""
        self._thread.start()

    def finish(self) -> None:
        """Stop the visits; when this returns, no client is connected."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        visits = (self._ask_and_close, self._ask_and_half_close, self._ask_and_reset, self._leave_at_once)
        began = time.monotonic()
        for number, visit in enumerate(itertools.cycle(visits)):
            if self._over.wait(self._interval_seconds):
                break
            if self._burst and time.monotonic() >= began + self._burst_after_seconds:
                self._come_in_silence(self._burst)
                self._burst = 0
            self._attempt(visit)
            if number % SILENT_EVERY == 0:
                self._come_in_silence(1)
            self._look_after_the_silent()
        for _, client in self._silent:
            client.close()

    def _attempt(self, visit: object) -> None:
        try:
            with socket.create_connection(self._address, timeout=CALL_SECONDS) as client:
                self.connected += 1
                visit(client)  # type: ignore[operator]
        except OSError as exc:
            self.errors[f"churn: {exc.strerror or exc}"] += 1

    # The ways to come and go.

    def _ask_and_close(self, client: socket.socket) -> None:
        self._expect(client, self._ask(client))

    def _ask_and_half_close(self, client: socket.socket) -> None:
        payload = self._ask(client)
        client.shutdown(socket.SHUT_WR)
        self._expect(client, payload)
        if client.recv(1):
            self.errors["churn: a byte after the answer"] += 1

    def _ask_and_reset(self, client: socket.socket) -> None:
        client.sendall(self._payload())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)

    def _leave_at_once(self, client: socket.socket) -> None:
        pass

    def _payload(self) -> bytes:
        return self.connected.to_bytes(8, "big") * (PAYLOAD_BYTES // 8)  # no two are alike

    def _ask(self, client: socket.socket) -> bytes:
        self.asked += 1
        payload = self._payload()
        client.sendall(payload)
        return payload

    def _expect(self, client: socket.socket, payload: bytes) -> None:
        received = bytearray()
        while len(received) < len(payload):
            data = client.recv(len(payload) - len(received))
            if not data:
                self.errors["churn: an end before the whole answer"] += 1
                return
            received += data
        if received != payload:
            self.errors["churn: a wrong answer"] += 1

    # Those that say nothing.

    def _come_in_silence(self, count: int) -> None:
        try:
            for _ in range(count):
                client = socket.create_connection(self._address, timeout=CALL_SECONDS)
                self.connected += 1
                client.setblocking(False)
                self._silent.append((time.monotonic(), client))
        except OSError as exc:
            self.errors[f"churn: {exc.strerror or exc}"] += 1

    def _look_after_the_silent(self) -> None:
        """Check that the server has ended the silent clients that came long enough ago."""
        while self._silent and self._silent[0][0] < time.monotonic() - SILENCE_SECONDS:
            _, client = self._silent.popleft()
            with client, contextlib.suppress(ConnectionError):
                try:
                    client.recv(1)
                except BlockingIOError:
                    self.errors["churn: a silent client was not ended"] += 1

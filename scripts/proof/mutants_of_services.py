"""Deliberate bugs in what is built on the loop: frames, connections that we open, a drain."""

from __future__ import annotations

from .hunting import Mutant

MUTANTS = (
    # Frames.
    Mutant("the budget of frames is not looked at", "net/framing.py",
           "range(connection.limits.frames_per_iteration)",
           "range(10**9)"),
    Mutant("a frame's time goes on while its peer is not read", "net/framing.py",
           "                connection._keep_input(self.__frames.waiting(), NEVER)  # the peer",
           "                pass  # the peer"),
    Mutant("a frame that trickles in begins anew with each byte", "net/framing.py",
           "        elif any_taken:",
           "        elif True:"),
    Mutant("a line of one byte too many is taken", "net/splitters.py",
           "if end - self._start > self._most:",
           "if end - self._start > self._most + 1:"),
    Mutant("a length of one too many is taken", "net/splitters.py",
           "if length > self._most:",
           "if length > self._most + 1:"),
    Mutant("frames behind the budget are kept back", "net/framing.py",
           "        if self.__more is None and self.__wanted():",
           "        if False:"),
    Mutant("what is kept of a frame that is too long is not counted", "net/framing.py",
           "        self.connection._keep_input(self.__frames.waiting(), NEVER)  # counted",
           "        pass  # counted"),
    # Connections that we open.
    Mutant("the families do not take turns", "net/connector.py",
           "zip_longest(*families.values())",
           "zip_longest(*reversed(families.values()))"),
    Mutant("the next address waits for the one before", "net/connector.py",
           "            self._next = self._reactor.call_later(NEXT_ATTEMPT_SECONDS, self._try_next)",
           "            pass"),
    Mutant("each address has a deadline of its own", "net/connector.py",
           "        attempt = Attempt(self._reactor,",
           "        self._deadline.cancel()\n"
           "        self._deadline = self._reactor.call_later(self._limits.connect_seconds, self._time_out)\n"
           "        attempt = Attempt(self._reactor,"),
    Mutant("attempts that lost the race stay open", "net/connector.py",
           "            while self.attempts:\n"
           "                self.attempts.pop().give_up()",
           "            self.attempts.clear()"),
    Mutant("a failure is told inside the call", "net/connector.py",
           "self._reactor.call_soon(self._on_failure, exc)",
           "self._on_failure(exc)"),
    Mutant("a connection to itself counts", "net/connector.py",
           "        if error == 0 and _connected_to_itself(sock):",
           "        if False:"),
    Mutant("an attempt is closed in the batch that told of it", "net/connector.py",
           "            self._reactor.poller.discard(sock, sock.fileno(), WRITABLE)",
           "            self._reactor.poller.unregister(sock.fileno(), WRITABLE)\n"
           "            sock.close()"),
    Mutant("a connector that is done keeps its deadline", "net/connector.py",
           "            self._deadline.cancel()\n"
           "            self._deadline = None",
           "            self._deadline = None"),
    Mutant("a failure is told after it was called off", "net/connector.py",
           "        self._call_off_next()\n"
           "        if self._deadline is not None:",
           "        if self._deadline is not None:"),
    Mutant("what we dial holds small messages back", "net/connector.py",
           "        send_at_once(sock)\n",
           "        pass\n"),
    Mutant("no thread for a look-up, and the place is gone", "net/lookups.py",
           "        places.release()\n"
           "        failed(",
           "        failed("),
    Mutant("the answer of a look-up does not wake the loop", "net/lookups.py",
           "        reactor.call_soon_threadsafe(*answer)",
           "        reactor.call_soon(*answer)"),
    Mutant("a hand-over leaves reading paused", "net/framing.py",
           "        if state.held:\n"
           "            self.connection.resume_reading()",
           "        if False:\n"
           "            self.connection.resume_reading()"),
    # Draining.
    Mutant("a drain has no end", "service/drain.py",
           "            self._reactor.call_later(self._seconds, self._end)\n",
           ""),
    Mutant("a drain closes busy connections", "service/drain.py",
           "        return _is_held(connection) or",
           "        return"),
    Mutant("a drain closes connections with unread input", "service/drain.py",
           "        return connection.is_reading() and connection._heard_at < self._began and",
           "        return False and"),
    Mutant("a connection that is cut is not counted", "service/drain.py",
           "        self.cut += 1\n",
           ""),
    Mutant("the peer of a cut connection sees a clean end", "service/drain.py",
           "        reset_on_close(connection._socket)\n",
           ""),
    Mutant("a drain looks round once", "service/drain.py",
           "self._reactor.call_later(DRAIN_TICK_SECONDS, self._look)\n",
           "self._reactor.call_later(DRAIN_TICK_SECONDS, int)\n"),
    Mutant("a drain does not end with the last connection", "service/drain.py",
           "            self._reactor.stop()\n"
           "            return\n",
           "            return\n"),
    Mutant("a drain has a peer answer a FIN that it has not got", "service/drain.py",
           "        if undelivered:\n"
           "            connection._state_since",
           "        if False:\n"
           "            connection._state_since"),
    Mutant("newcomers come in during a drain", "service/server.py",
           "        self._stop_listening()\n"
           "        self._drain.begin()",
           "        self._drain.begin()"),
)  # fmt: skip

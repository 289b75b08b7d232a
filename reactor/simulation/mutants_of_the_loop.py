"""Deliberate bugs in the loop: whom it tells of what, who comes in, what comes due, and what is kept in memory.
"""

from __future__ import annotations

from .hunting import Mutant

MUTANTS = (
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
    # Stopping and waking.
    Mutant("the loop sleeps after stop", "core/loop.py",
           " or self._stopping or self._signals",
           " or self._signals"),
    Mutant("the loop sleeps on those that wait to be reaped", "core/loop.py",
           " or dispatcher.doomed or",
           " or"),
    Mutant("close in a callback does not stop the loop", "core/loop.py",
           "            self._closing = True\n"
           "            self.stop()\n"
           "            return",
           "            self._closing = True\n"
           "            return"),
    Mutant("a call from a thread wakes nobody", "core/loop.py",
           "        self._foreign.append(handle)\n"
           "        self._waker.wake()",
           "        self._foreign.append(handle)"),
    Mutant("a wake-up stays pending for ever", "core/wakeup.py",
           "        self._pending = False\n"
           "\n"
           "    def close",
           "        pass\n"
           "\n"
           "    def close"),
    Mutant("the pipe is not emptied", "core/wakeup.py",
           "            while len(self.socket.recv(4096)) == 4096:\n"
           "                pass\n",
           "            pass\n"),
    Mutant("one end of the pipe stays open", "core/wakeup.py",
           "            self._sender.close()\n",
           "            pass\n"),
    # Timers.
    Mutant("SystemExit out of one timer loses the others", "core/timers.py",
           "                    heapq.heappush(self._heap, entry)\n"
           "\n",
           "                    pass\n"
           "\n"),
    Mutant("a rebuilt heap is no heap", "core/timers.py",
           "        heapq.heapify(self._heap)\n",
           "        self._heap.reverse()\n"),
    Mutant("the dead stay counted in a rebuilt heap", "core/timers.py",
           "        self._cancelled -= dead\n",
           ""),
    Mutant("a timer's mistake is forgotten when the next one leaves", "core/loop.py",
           "        finally:  # SystemExit out of one call does not take the errors of others along\n",
           "        finally:\n"
           "            pass\n"
           "        if True:\n"),
    Mutant("a tick that nobody waits for keeps its timer", "core/deadlines.py",
           "                tick.timer.cancel()\n"
           "                del",
           "                del"),
    Mutant("the next look is due at once", "core/deadlines.py",
           "max(connection.limits.idle_seconds, LEAST_SECONDS)",
           "connection.limits.idle_seconds"),
    Mutant("after a full batch all is taken for told", "core/loop.py",
           "        if count < EVENTS_PER_POLL:",
           "        if True:"),
    # Listeners.
    Mutant("a listener goes on accepting after it was stopped", "core/acceptor.py",
           "            if listener.closed or not turns:",
           "            if not turns:"),
    Mutant("listeners that rest are woken until none rests", "core/acceptor.py",
           "        resting, self._resting = self._resting, []\n"
           "        for listener in resting:\n",
           "        while self._resting:\n"
           "            listener = self._resting.pop()\n"),
    Mutant("of the listeners that rest only one is woken", "core/acceptor.py",
           "        for listener in resting:\n",
           "        for listener in resting[:1]:\n"),
    Mutant("what an inherited listener accepts holds small replies back", "core/acceptor.py",
           "            if listener.inherited:\n",
           "            if False:\n"),
    Mutant("a host that has left stays in the count", "core/admission.py",
           "        self.by_host[host] -= 1\n",
           "        self.by_host[host] -= self.by_host[host] == 1\n"),
    # The log.
    Mutant("a handler of the log that raises does harm", "core/reports.py",
           "    except Exception:  # a handler's",
           "    except ConnectionError:  # a handler's"),
    Mutant("one line is the last that is logged", "core/reports.py",
           "    finally:\n"
           "        _writing.now = False",
           "    finally:\n"
           "        pass"),
)  # fmt: skip

"""Deliberate bugs in the coroutines: tasks and scopes, what they wait for, and the streams that they read."""

from __future__ import annotations

from .hunting import Mutant

MUTANTS = (
    # Scopes.
    Mutant("a shield shields nothing", "coroutines/scopes.py",
           "while not (scope.cancel_called or scope.shield or scope._parent is None):",
           "while not (scope.cancel_called or scope._parent is None):"),
    Mutant("a scope catches what a scope around it has cancelled", "coroutines/scopes.py",
           "exc is not None and (self.shield or not task.doomed):",
           "exc is not None:"),
    Mutant("a deadline that is nearer than the first one is not seen", "coroutines/scopes.py",
           "            if deadline < task.next_look:",
           "            if task.next_look == INFINITY:"),
    Mutant("a scope that was cancelled before it is entered lets waits begin", "coroutines/scopes.py",
           "        task.scope = self\n        if self.shield or self.cancel_called:",
           "        task.scope = self\n        if self.shield:"),
    Mutant("behind a shield, the scopes around it are forgotten", "coroutines/scopes.py",
           "        if self.shield or self.cancel_called:\n            task.doomed = task.scope.is_doomed()\n",
           "        if self.cancel_called:\n            task.doomed = task.scope.is_doomed()\n"),
    # Tasks.
    Mutant("cancelling is an event", "coroutines/task.py",
           "            self.throw(Cancelled())",
           "            self.doomed = False\n            self.throw(Cancelled())"),
    Mutant("a deadline is judged by the clock and not by what came", "coroutines/task.py",
           "self.reactor.timers.asked_at, math.inf, self.scope",
           "self.reactor.timers.clock(), math.inf, self.scope"),
    Mutant("of the deadlines that remain only the outermost is looked at", "coroutines/task.py",
           "                nearest = min(nearest, scope.deadline)",
           "                nearest = scope.deadline"),
    Mutant("the children of a cancelled task are not told", "coroutines/task.py",
           "                    tasks += group.tasks\n",
           "                    pass\n"),
    Mutant("a task that has ended keeps its timer", "coroutines/task.py",
           "        if self._timer is not None:\n            self._timer.cancel()\n        assert",
           "        assert"),
    Mutant("a task that was woken is left when the reactor closes", "coroutines/task.py",
           "                task.soon(task._wake_up.run)\n",
           "                pass\n"),
    Mutant("a task that was cancelled a moment ago is left when the reactor closes", "coroutines/task.py",
           "            task.soon(task._break_off)\n"
           "\n",
           "            if not task.doomed:\n"
           "                task.soon(task._break_off)\n"
           "\n"),
    Mutant("a shield holds when the reactor closes", "coroutines/task.py",
           "            scope.unshield()\n",
           ""),
    Mutant("a task that has ended is broken off", "coroutines/task.py",
           "        if self.doomed and not self.has_ended():\n            self.throw",
           "        if self.doomed:\n            self.throw"),
    # Groups.
    Mutant("a group that is broken off does not wait for its tasks", "coroutines/groups.py",
           "        if self.tasks:\n            with",
           "        if self.tasks and exc is None:\n            with"),
    Mutant("the first error of a group cancels nothing", "coroutines/groups.py",
           "                self._errors.append(error)\n"
           "            self.scope.cancel()\n"
           "        if not",
           "                self._errors.append(error)\n"
           "        if not"),
    Mutant("a group tells the last of its errors alone", "coroutines/groups.py",
           "                self._errors.append(error)\n",
           "                self._errors = [error]\n"),
    Mutant("the end of a group is no wait", "coroutines/groups.py",
           "        if kind is None and host.doomed:\n",
           "        if False:\n"),
    Mutant("the end of a group can be broken off", "coroutines/groups.py",
           "        super().__init__(shield=True)",
           "        super().__init__()"),
    # Waiting.
    Mutant("what a cancelled task was woken for is lost", "coroutines/waiting.py",
           "                (pass_on or self.wake)()\n",
           ""),
    Mutant("a wait that was broken off is woken once more", "coroutines/waiting.py",
           "                place.call.cancel()\n",
           ""),
    Mutant("a sleep that was broken off ends another wait", "coroutines/waiting.py",
           "        await pause()\n    finally:\n        call.cancel()",
           "        await pause()\n    finally:\n        pass"),
    Mutant("a place that was promised is given to another task too", "coroutines/waiting.py",
           "        return self._free <= self._promised",
           "        return self._free <= 0"),
    Mutant("a thing that was promised is given to another task too", "coroutines/waiting.py",
           "        return len(self._things) <= self._promised",
           "        return not self._things"),
    Mutant("a queue holds one thing too many", "coroutines/waiting.py",
           "len(self._things) + self._reserved >= self.maxsize",
           "len(self._things) + self._reserved > self.maxsize"),
    Mutant("a task whose waits are all over at once takes no break", "coroutines/waiting.py",
           "    if task.steps < STEPS_PER_TURN:",
           "    if True:"),
    # What is kept.
    Mutant("what was taken comes again with what is added", "coroutines/kept.py",
           "bytearray(memoryview(self._data)[self._start :])",
           "bytearray(self._data)"),
    Mutant("the search begins too far on when the rest was moved", "coroutines/kept.py",
           "        self._searched = max(0, self._searched - self._start)\n",
           ""),
    Mutant("a delimiter that comes in two pieces is missed", "coroutines/kept.py",
           "len(self._data) - len(delimiter) + 1)",
           "len(self._data))"),
    Mutant("the search for one delimiter goes on where that for another has stopped", "coroutines/kept.py",
           "        if delimiter != self._delimiter:\n",
           "        if False:\n"),
    Mutant("a line of a batch may be longer than the limit", "coroutines/kept.py",
           "        if len(data) > longest:\n",
           "        if False:\n"),
    # Streams.
    Mutant("a read that was broken off stays the reader", "coroutines/stream.py",
           "            return (yield)\n        finally:\n            self._reader = None\n",
           "            data = yield\n        except Exception:\n            self._reader = None\n            raise\n"
           "        self._reader = None\n        return data\n"),
    Mutant("an end that no read waits for is not kept", "coroutines/stream.py",
           "        self._kept = self._kept or Kept()\n"
           "        self._tell_reader_of_end()\n"
           "        return True\n",
           "        self._tell_reader_of_end()\n"
           "        return True\n"),
    Mutant("a second reader takes what is kept", "coroutines/stream.py",
           "        if step():\n"
           "            await sleep(0)\n"
           "        if self._reader is not None:\n"
           "            self._refuse()\n"
           "        if self._kept is not None:\n"
           "            self._note_taken()",
           "        if step():\n"
           "            await sleep(0)\n"
           "        if self._kept is not None:\n"
           "            self._note_taken()"),
    Mutant("what is kept is not counted", "coroutines/stream.py",
           "            self._kept.spent = connection.reactor.timers.now - connection._frame_since\n"
           "        self._account(NEVER)\n",
           "            self._kept.spent = connection.reactor.timers.now - connection._frame_since\n"),
    Mutant("each byte of a line gives the peer its time again", "coroutines/stream.py",
           "connection.reactor.timers.now - kept.spent if since == NEVER else since",
           "connection.reactor.timers.now"),
    Mutant("a peer has no deadline for the rest of a line", "coroutines/stream.py",
           "connection.reactor.timers.now - kept.spent if since == NEVER else since",
           "NEVER"),
    Mutant("what nobody reads is kept without a limit", "coroutines/stream.py",
           "            connection.pause_reading()\n",
           "            pass\n"),
    Mutant("a read of a line leaves reading paused", "coroutines/stream.py",
           "        self._read_on()\n"
           "        self._reader, data = task, b\"\"\n",
           "        self._reader, data = task, b\"\"\n"),
    Mutant("a write is over when the connection is not paused for a moment", "coroutines/stream.py",
           "        while self._held or self.connection.is_closing():\n",
           "        if self._held or self.connection.is_closing():\n"),
    Mutant("a write waits on when the connection is lost", "coroutines/stream.py",
           "        self._held = True\n        if self._writers is not None:\n            self._writers.wake_all()\n",
           "        self._held = True\n"),
    Mutant("a line as long as the limit is refused", "coroutines/stream.py",
           "                    if count > most + len(delimiter):\n",
           "                    if count >= most + len(delimiter):\n"),
    Mutant("a read in a cancelled scope tells an end", "coroutines/stream.py",
           "        if task.doomed or self._reader is not None:\n"
           "            self._refuse()\n"
           "        if self._lost is not None or",
           "        if self._reader is not None:\n"
           "            self._refuse()\n"
           "        if self._lost is not None or"),
    Mutant("a stream that is handed over leaves reading paused", "coroutines/stream.py",
           "        self._read_on()\n"
           "        self._lose(HANDED_OVER)\n",
           "        self._lose(HANDED_OVER)\n"),
    Mutant("a stream hands over its input after a close", "coroutines/stream.py",
           "            self._take_rest()\n"
           "            self._lose(CLOSED_BY_US)\n",
           "            self._lose(CLOSED_BY_US)\n"),
    Mutant("a read behind the last line of a batch tells an end", "coroutines/stream.py",
           "        self._note_taken()  # `lines`",
           "        pass  # `lines`"),
    Mutant("lines that are waited for again give the peer its time again", "coroutines/stream.py",
           "connection.reactor.timers.now - kept.spent if",
           "connection.reactor.timers.now if"),
    # Handlers.
    Mutant("a lost connection does not cancel its handler", "coroutines/handlers.py",
           "            task.cancel()\n",
           "            pass\n"),
    Mutant("a drain does not wait for a handler at work", "coroutines/handlers.py",
           "        return self.task is not None and self._reader is None",
           "        return False"),
    Mutant("a drain waits for a handler that waits for input", "coroutines/handlers.py",
           "        return self.task is not None and self._reader is None",
           "        return self.task is not None"),
    Mutant("a drain does not wait for a handler without a connection", "coroutines/handlers.py",
           "            roots_of(reactor).outliving[task] = None\n",
           "            pass\n"),
    Mutant("a handler that has handed its connection over is left", "coroutines/handlers.py",
           "            roots_of(self.connection.reactor).outliving[self.task] = None\n",
           "            pass\n"),
    Mutant("a connection goes on without its handler", "coroutines/handlers.py",
           "        if error is None or (is_all(error, (IncompleteReadError,)) and not connection.state.delivers):\n"
           "            connection.close()\n",
           "        if error is None or (is_all(error, (IncompleteReadError,)) and not connection.state.delivers):\n"
           "            pass\n"),
    Mutant("the error of a handler ends its connection without a word", "coroutines/handlers.py",
           "            connection._fail(\"the handler\", error)\n",
           "            connection.abort()\n"),
    # Connections that a task opens.
    Mutant("a connection that is made when its task is cancelled is left open", "coroutines/opening.py",
           "        for stream in streams:\n            stream.abort()\n",
           ""),
    Mutant("a connection that nobody wants any more is still tried", "coroutines/opening.py",
           "        connector.cancel()\n",
           ""),
    # Tasks that belong to no group.
    Mutant("tasks of nobody are left when the reactor closes", "coroutines/roots.py",
           "(*self.tasks, *self.outliving)",
           "self.outliving"),
    Mutant("the error of a task of nobody is not counted", "coroutines/roots.py",
           "            self.reactor.counters.callback_errors += 1\n",
           ""),
)  # fmt: skip

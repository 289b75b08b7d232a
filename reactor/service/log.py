"""Log lines that never harm the server which writes them.

A log is written to whatever standard error is, and that can fail in more ways than a file can. A terminal is stopped
with Ctrl-S, or goes away with its window. A pipe fills when its reader is slow, and breaks when its reader dies. A
disk is full. `logging.StreamHandler` waits in the first case, and in the others leaves what it could not write in
the buffer of `sys.stderr`, where it fails again when Python exits and turns the exit status 0 into 120.

So here a line goes from the formatter to the descriptor by one `write` that never waits, and by no buffer of
Python's. What the kernel does not take at once is kept, up to `BACKLOG_BYTES`, and a thread that lives only as long as
something is kept waits for the descriptor. What cannot be written, or kept, is dropped and counted; a line in its
place says how many were lost there (P1, P3).

How not to wait? O_NONBLOCK belongs to the open file description, which we share with the shell and with everyone
else who writes there (open(2)): to set it would break them. To open a terminal or a pipe anew, by its name in /proc,
gives a description of our own. A socket (systemd's journal) cannot be opened; there MSG_DONTWAIT says it for one call.
A file never makes a writer wait for a reader, and opening it anew would lose the offset: it is written as it is. Where
none of these is possible (no /proc; a terminal that belongs to another user), all lines go by way of the thread.

The text in a line may be a peer's. What is not printable is written as an escape like \\x1b, and the rows of a
traceback are indented: each row that begins in the first column is the beginning of a line of ours.

A program of your own that sets up no logging has none of this. Python then writes warnings and errors to `sys.stderr`
(logging.lastResort), and waits there for a pipe that nobody reads. `LogHandler` has the line that mends it.

The cost: one line more or less is lost when the process is killed, and `finish` has to be called at the end. A disk
that hangs, hangs us. A program that opens another file as descriptor 2 later does not move the log there.
"""

from __future__ import annotations

import _thread
import logging
import os
import select
import signal
import socket
import stat
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from ..loop import reports

BACKLOG_BYTES = 1 << 20  # 16 times a pipe's buffer (pipe(7)): a burst is kept, a reader who never comes back is not
LINE_CHARACTERS = 1 << 15  # a longer line is cut: the text of an exception can be all that a peer has sent
FINISH_SECONDS = 1.0  # at the end, for what is still kept
RETRY_SECONDS = 0.05  # where the kernel says that there is room, and then takes nothing
LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"
PTMX = (5, 2)  # /dev/ptmx: to open it again makes another terminal (Documentation/admin-guide/devices.txt)

Write = Callable[[bytes], int]


def printable(text: str) -> str:
    """`text` with an escape like \\x1b, \\n or \\u202e in place of each character that is not for the eye."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class LineFormatter(logging.Formatter):
    """One line for a record, and indented rows for what is long: a traceback, a stack.

    A message is one line, whatever is in it, unless its author wrote a newline into the format itself, as the
    watchdog does before a stack.
    """

    def __init__(self, fmt: str = LOG_FORMAT) -> None:
        super().__init__(fmt)

    def _trace(self, exc_info: Any) -> str:
        try:
            return self.formatException(exc_info)
        except Exception:  # its truth value or its text is the program's own code, and raises
            rows = traceback.format_tb(exc_info[2])
            return "".join([*rows, f"{exc_info[0].__name__}, of which no more can be told"])

    def format(self, record: logging.LogRecord) -> str:
        """The line, without a newline at its end. Raises what an object in the message raises."""
        record.message = record.getMessage()
        if self.usesTime():
            record.asctime = self.formatTime(record, self.datefmt)
        line = self.formatMessage(record)
        head, rest = line, ""
        if isinstance(record.msg, str) and "\n" in record.msg:
            head, _, rest = line.partition("\n")
        exc_info = record.exc_info  # of an exception, whose truth value may be odd
        trace = self._trace(exc_info) if exc_info and exc_info[1] is not None else record.exc_text
        long = "\n".join(filter(None, (rest, trace, record.stack_info)))
        return "\n".join([printable(head), *(f"    {printable(row.expandtabs())}" for row in long.split("\n") if row)])


class LogHandler(logging.Handler):
    """Logs to descriptor `fd`, for a server of your own: `logging.basicConfig(handlers=[LogHandler()])`.

    Never waits, and raises nothing but KeyboardInterrupt.
    `encoding`: of the text; a character that it does not have is written as an escape.
    What was lost is in `loop.reports.lost()`.
    """

    before = ""  # what goes before each line

    def __init__(self, fd: int = 2, encoding: str = "utf-8") -> None:
        super().__init__()
        assert self.lock is not None
        self.formatter: LineFormatter = LineFormatter()
        self.encoding = encoding
        self.sink = Sink(fd, self.lock, self._say_lost)  # with the lock that logging makes anew after a fork

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record. One that cannot be told (an object whose `__str__` raises) is told of."""
        try:
            try:
                text = self.format(record)
            except KeyboardInterrupt:  # it may be a real Ctrl-C
                raise
            except BaseException as exc:
                text = self._line("a line of the log cannot be told: %s in %r", type(exc).__name__, record.msg)
            self.sink.write(self._encoded(text))
        except Exception:  # no memory, for instance
            reports.count_lost()

    def finish(self, seconds: float = FINISH_SECONDS) -> None:
        """Wait for what was not written yet, at most for `seconds`. To be called when no more is logged."""
        self.sink.finish(seconds)

    def close(self) -> None:
        """Give back the descriptor, if it is our own. What is logged after that is lost. `logging` does it at exit."""
        self.sink.close()
        super().close()

    def _line(self, text: str, *args: object) -> str:
        record = logging.LogRecord("reactor.service", logging.WARNING, __file__, 0, text, args, None)
        return self.formatter.format(record)

    def _say_lost(self, count: int) -> bytes:
        return self._encoded(self._line("%d lines of the log were lost here", count))

    def _encoded(self, text: str) -> bytes:
        if len(text) > LINE_CHARACTERS:
            text = f"{text[:LINE_CHARACTERS]} (and {len(text) - LINE_CHARACTERS:,} characters more)"
        return f"{self.before}{text}\n".encode(self.encoding, "backslashreplace")


class _Waiting(NamedTuple):
    """Bytes that the kernel did not take yet."""

    data: bytes
    untold: int  # how many lines are lost unknown to the reader, when these bytes are
    counted: int  # how many of them were not counted before


class Sink:
    """Writes whole lines to descriptor `fd`, in order, without ever waiting or raising.

    `lock` is a reentrant lock, held while anything here changes; `say_lost` makes the line that says how many lines
    were lost. All methods may be called from any thread, and in a signal handler.
    """

    def __init__(self, fd: int, lock: AbstractContextManager[Any], say_lost: Callable[[int], bytes]) -> None:
        self.fd = fd
        self._lock = lock
        self._say_lost = say_lost
        self._way = _way_to(fd)
        self._waiting: deque[_Waiting] = deque()
        self._size = 0  # bytes in `_waiting`
        self._begun = False  # part of the first one is written: the rest must come before anything else
        self._untold = 0  # lines lost since the last line that said so
        self._sending = False  # somebody on this thread is writing: a signal handler may come in between
        self._waiter: _thread.LockType | None = None  # held by the thread that waits for the descriptor, if one must
        self._process = os.getpid()
        self._closed = False

    def write(self, line: bytes) -> None:
        """Write `line`, now or as soon as it can be; or count it as lost."""
        with self._lock:
            self._look_for_fork()
            # Once full, it loses lines until it is half empty: not every second line is to be about lost ones.
            bound = BACKLOG_BYTES // 2 if self._untold else BACKLOG_BYTES
            if self._closed or self._size + len(line) > bound:
                self._lose(_Waiting(line, 1, 1))
                return
            if self._untold:
                self._keep(_Waiting(self._say_lost(self._untold), self._untold, 0))
                self._untold = 0
            self._keep(_Waiting(line, 1, 1))
            self._send()

    def show(self, text: bytes) -> None:
        """Write `text` if that can be done now, and else do without: the next one will say it better."""
        with self._lock:
            self._look_for_fork()
            if self._waiting or self._closed:
                return
            self._keep(_Waiting(text, 0, 0))
            self._send(now_or_never=self._way.never_waits)

    def finish(self, seconds: float) -> None:
        """Wait until nothing waits, at most for `seconds`. Not to be called while the lock is held."""
        with self._lock:
            self._look_for_fork()
            self._send()
            waiter = self._waiter
        if waiter is not None and waiter.acquire(timeout=seconds):
            waiter.release()

    def close(self) -> None:
        """Write nothing from now on, and give back what was opened."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._begun = False  # not even the rest of a line: the number may be somebody else's from now on
                self._drop_all()
                self._way.close()

    # What follows is called with the lock held.

    def _look_for_fork(self) -> None:
        """A child has no copy of the thread; and what waits, its parent will write."""
        if self._process != os.getpid():
            self._process, self._waiter = os.getpid(), None
            self._waiting.clear()
            self._size, self._begun, self._sending, self._untold = 0, False, False, 0

    def _keep(self, waiting: _Waiting) -> None:
        self._waiting.append(waiting)
        self._size += len(waiting.data)

    def _send(self, now_or_never: bool = False) -> None:
        """Write what waits, and leave what the kernel does not take to the thread; or drop it, if it is not begun."""
        if self._sending or self._waiter is not None or not self._waiting:
            return
        self._sending = True
        try:
            if self._way.never_waits and self._send_some():
                pass
            elif now_or_never and not self._begun:
                self._drop_all()
            else:
                self._start_thread()
        finally:
            self._sending = False

    def _send_some(self) -> bool:
        """Write until nothing waits; False if the kernel takes no more for now."""
        while self._waiting:
            try:
                sent = self._way.write(self._waiting[0].data)
            except BlockingIOError:
                return False
            except OSError:  # the terminal is gone, the disk is full: the next line tries again
                self._drop_all()
                return True
            self._advance(sent)
        return True

    def _advance(self, sent: int) -> None:
        first = self._waiting[0]
        self._size -= sent
        self._begun = sent < len(first.data)
        if self._begun:
            self._waiting[0] = first._replace(data=first.data[sent:])
        else:
            self._waiting.popleft()

    def _drop_all(self) -> None:
        """Lose what waits; but not the rest of a line that is half written."""
        while len(self._waiting) > self._begun:
            last = self._waiting.pop()
            self._size -= len(last.data)
            self._lose(last)

    def _lose(self, waiting: _Waiting) -> None:
        self._untold += waiting.untold
        reports.count_lost(waiting.counted)

    def _start_thread(self) -> None:
        # Not threading.Thread: a signal handler or a __del__ may log while a lock of that module is held.
        self._waiter = _thread.allocate_lock()
        self._waiter.acquire()
        try:
            _thread.start_new_thread(self._wait, (self._waiter,))
        except RuntimeError:  # no thread can be had (P4): the next line tries again
            self._waiter = None

    # And this on the thread.

    def _wait(self, waiter: _thread.LockType) -> None:
        try:
            self._write_waiting()
        except Exception:  # no memory: the next line tries again
            self._waiter = None
        finally:
            waiter.release()

    def _write_waiting(self) -> None:
        """Wait for the descriptor and write, until nothing waits or all is lost."""
        room = select.poll()
        room.register(self._way.fd, select.POLLOUT)
        while True:
            with self._lock:
                before = self._size
                if (self._way.never_waits and self._send_some()) or not self._waiting:
                    self._waiter = None
                    return
                data = self._waiting[0].data
                stuck = self._size == before
            if self._way.never_waits:
                room.poll()
            else:
                stuck = not self._write_and_wait(data)
            if stuck:
                time.sleep(RETRY_SECONDS)

    def _write_and_wait(self, data: bytes) -> bool:
        """One `write` that may wait for ever, and so is made without the lock. False if there was no room after all."""
        try:
            sent = self._way.write(data)
        except BlockingIOError:  # somebody else has set O_NONBLOCK
            return False
        except OSError:
            with self._lock:
                self._drop_all()
            return True
        with self._lock:
            if self._waiting:  # not closed meanwhile
                self._advance(sent)
        return True


class _Way(NamedTuple):
    """How to write to a descriptor."""

    fd: int
    write: Write
    never_waits: bool
    close: Callable[[], object] = bool  # which does nothing


def _way_to(fd: int) -> _Way:
    """The way that never waits, if there is one."""
    terminal = os.isatty(fd)
    try:
        mode = os.fstat(fd).st_mode
    except OSError:  # it is closed: that is an error of each write
        mode = 0
    try:
        if stat.S_ISSOCK(mode):
            sock = socket.socket(fileno=os.dup(fd))
            return _Way(sock.fileno(), lambda data: sock.send(data, socket.MSG_DONTWAIT), True, sock.close)
        if terminal or stat.S_ISFIFO(mode):
            own = os.open(_name_of(fd), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            return _Way(own, _writer(own, terminal), True, lambda: os.close(own))
    except OSError:
        return _Way(fd, _writer(fd, terminal), False)
    return _Way(fd, _writer(fd, terminal), True)


def _name_of(fd: int) -> str:
    """A name to open `fd` by, for a description of our own. OSError if it has none.

    Not /dev/fd: on other systems than Linux, opening that is `dup`.
    """
    status = os.fstat(fd)
    if stat.S_ISCHR(status.st_mode) and (os.major(status.st_rdev), os.minor(status.st_rdev)) == PTMX:
        raise OSError("the other end of a terminal")
    name = f"/proc/self/fd/{fd}"
    return name if os.path.exists(name) else os.ttyname(fd)


def _writer(fd: int, terminal: bool) -> Write:
    """`write` to `fd`, without being stopped.

    A job in the background that writes to its terminal is stopped by SIGTTOU, where `stty tostop` is set: a wait like
    any other. While the signal is blocked it is not sent, and the write is made (POSIX, XBD 11.1.4).
    """
    if not terminal:
        return lambda data: os.write(fd, data)

    def write(data: bytes) -> int:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
        try:
            return os.write(fd, data)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    return write

"""Whole lines to a descriptor, by writes that never wait.

Standard error can fail in more ways than a file. Ctrl-S stops a terminal, and a terminal goes away with its window. A
pipe fills when its reader is slow, and breaks when its reader dies. A disk can be full. A server that waits for its
log serves nobody.

So a line goes to the descriptor by one `write` that never waits. What the kernel does not take at once is kept, up to
`BACKLOG_BYTES`, and a thread waits for the descriptor. The thread lives only while something is kept. A line that can
be neither written nor kept is dropped and counted. A notice in its place says how many lines were lost there (P1, P3).

How can a write not wait? The flag O_NONBLOCK belongs to the open file description. We share that with the shell and
other programs (open(2)), and setting the flag would break them. But a terminal or a pipe can be opened again by its
name in /proc, which gives us a description of our own. A socket (systemd's journal) cannot be opened, but MSG_DONTWAIT
does the same for one call. A file needs neither: a write to it waits for no reader. (Opening it again would lose the
offset.) Where none of these is possible (no /proc, or a terminal that belongs to another user), the thread writes all
lines.

The cost: a killed process may lose a line, and `finish` must be called at the end. A disk that hangs also hangs the
server. If a program later opens another file as descriptor 2, the log does not move there.
"""

from __future__ import annotations

import _thread
import os
import select
import signal
import socket
import stat
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from ..loop import reports

BACKLOG_BYTES = 1 << 20  # 16 times a pipe's buffer (pipe(7)): room for a burst, a bound if the reader never returns
RETRY_SECONDS = 0.05  # the pause after the kernel has said that there is room and then taken nothing
PTMX = (5, 2)  # /dev/ptmx: opening it again makes another terminal (Documentation/admin-guide/devices.txt)

Write = Callable[[bytes], int]


class _Waiting(NamedTuple):
    """Bytes that the kernel did not take yet."""

    data: bytes
    untold: int  # if these bytes are lost, how many lines the next notice must add
    counted: int  # how many of those `reports.lost` has not counted yet


class Sink:
    """Writes whole lines to descriptor `fd`, in order. Writing never waits.

    `lock` is a reentrant lock, which is held while anything here changes. `say_lost` makes the notice of lost lines.
    All methods may be called from any thread, and in a signal handler.
    """

    def __init__(self, fd: int, lock: AbstractContextManager[Any], say_lost: Callable[[int], bytes]) -> None:
        self.fd = fd
        self._lock = lock
        self._say_lost = say_lost
        self._way = _way_to(fd)
        self._waiting: deque[_Waiting] = deque()
        self._size = 0  # bytes in `_waiting`
        self._begun = False  # the first entry is partly written: its rest must come before anything else
        self._untold = 0  # lines lost since the last notice
        self._sending = False  # a write is under way; a signal handler may interrupt it and log
        self._waiter: _thread.LockType | None = None  # held by the waiting thread; None when there is no such thread
        self._process = os.getpid()
        self._closed = False

    def write(self, line: bytes) -> None:
        """Write `line` now or later, or count it as lost."""
        with self._lock:
            self._look_for_fork()
            # Once full, lose lines until it is half empty. Otherwise every second line would be a notice.
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
        """Write `text` now or not at all: the next status line will replace it."""
        with self._lock:
            self._look_for_fork()
            if self._waiting or self._closed:
                return
            self._keep(_Waiting(text, 0, 0))
            self._send(now_or_never=self._way.never_waits)

    def finish(self, seconds: float) -> None:
        """Wait at most `seconds` until all is written. Do not call it while you hold the lock."""
        with self._lock:
            self._look_for_fork()
            self._send()
            waiter = self._waiter
        if waiter is not None and waiter.acquire(timeout=seconds):
            waiter.release()

    def close(self) -> None:
        """Write nothing more, and close what was opened."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._begun = False  # not even the rest of a line: another file may get this descriptor
                self._drop_all()
                self._way.close()

    # The methods below are called with the lock held.

    def _look_for_fork(self) -> None:
        """After a fork: the child has no thread, and its parent writes what waits."""
        if self._process != os.getpid():
            self._process, self._waiter = os.getpid(), None
            self._waiting.clear()
            self._size, self._begun, self._sending, self._untold = 0, False, False, 0

    def _keep(self, waiting: _Waiting) -> None:
        self._waiting.append(waiting)
        self._size += len(waiting.data)

    def _send(self, now_or_never: bool = False) -> None:
        """Write what waits. Leave the rest to the thread; with `now_or_never`, drop it unless it is half written."""
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
        """Write until nothing waits. False if the kernel takes no more now."""
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
        """Drop what waits, but not the rest of a line that is half written."""
        while len(self._waiting) > self._begun:
            last = self._waiting.pop()
            self._size -= len(last.data)
            self._lose(last)

    def _lose(self, waiting: _Waiting) -> None:
        self._untold += waiting.untold
        reports.count_lost(waiting.counted)

    def _start_thread(self) -> None:
        # Not threading.Thread: a signal handler or a __del__ may log while a lock of `threading` is held.
        self._waiter = _thread.allocate_lock()
        self._waiter.acquire()
        try:
            _thread.start_new_thread(self._wait, (self._waiter,))
        except RuntimeError:  # no thread can be started (P4): the next line tries again
            self._waiter = None

    # The methods below run on the thread, without the lock.

    def _wait(self, waiter: _thread.LockType) -> None:
        try:
            self._write_waiting()
        except Exception:  # no memory: the next line tries again
            self._waiter = None
        finally:
            waiter.release()

    def _write_waiting(self) -> None:
        """Wait for the descriptor and write, until nothing is kept."""
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
        """Write once, without the lock, since this may wait for ever. False if there was no room after all."""
        try:
            sent = self._way.write(data)
        except BlockingIOError:  # another program has set O_NONBLOCK
            return False
        except OSError:
            with self._lock:
                self._drop_all()
            return True
        with self._lock:
            if self._waiting:  # the sink was not closed meanwhile
                self._advance(sent)
        return True


class _Way(NamedTuple):
    """How to write to a descriptor."""

    fd: int
    write: Write
    never_waits: bool
    close: Callable[[], object] = bool  # `bool()` does nothing


def _way_to(fd: int) -> _Way:
    """A way that never waits, if there is one."""
    terminal = os.isatty(fd)
    try:
        mode = os.fstat(fd).st_mode
    except OSError:  # it is closed, so each write will fail
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
    """A name by which `fd` can be opened again. OSError if it has none.

    Not /dev/fd: on systems other than Linux, opening that is `dup`, which shares the description.
    """
    status = os.fstat(fd)
    if stat.S_ISCHR(status.st_mode) and (os.major(status.st_rdev), os.minor(status.st_rdev)) == PTMX:
        raise OSError("the other end of a terminal")
    name = f"/proc/self/fd/{fd}"
    return name if os.path.exists(name) else os.ttyname(fd)


def _writer(fd: int, terminal: bool) -> Write:
    """A function that writes to `fd` and is never stopped by the terminal.

    With `stty tostop`, a background job that writes to its terminal gets SIGTTOU and stops. While the signal is
    blocked, it is not sent and the write succeeds (POSIX, XBD 11.1.4).
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

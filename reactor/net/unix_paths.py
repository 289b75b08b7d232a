"""A UNIX socket's path: we take it when it is free or its server is dead, and never from a live server (A7).

The path of a socket outlives its server, and `bind` refuses a path that exists. So a killed server can start again
only if it removes the path. But is the path stale? Only `connect` can tell: it fails with ECONNREFUSED when no server
listens. Between that answer and the `unlink`, another server may take the path. It would lose the path, and go on
listening where no client can reach it. A server between its `bind` and its `listen` looks dead, and can lose its path
in the same way.

So all steps, from the question to `listen`, are done under a lock (flock(2)) on the folder. A lock on a folder leaves
no file behind, and needs no name that might be too long. The kernel frees it when its holder dies. Sometimes there is
no lock: the folder cannot be read, or its file system has none. Then a server may take a new path, but replaces none.

Programs that do not take the lock are not protected: they lose a path that they bind between our question and our
`unlink`. The cost of the lock: a start waits for another start in the same folder.

A name that begins with `@` is abstract (unix(7), Linux): the kernel keeps it, there is no file, and it is free as
soon as its socket is closed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

LOCK_SECONDS = 2.0  # our servers hold the lock for a millisecond; a longer hold is for some other purpose
LOCK_PAUSE_SECONDS = 0.002


class OwnPath(NamedTuple):
    """A path that we made, and how to recognise it."""

    path: str  # absolute, so that a change of directory does not matter (P7)
    device: int
    inode: int

    def remove(self) -> None:
        """Remove the path, if it is still ours. Call this before the socket is closed.

        While the socket is open, no other file can get its inode number. Later, another server's path might.
        """
        with contextlib.suppress(OSError):
            found = os.lstat(self.path)
            if (found.st_dev, found.st_ino) == (self.device, self.inode):
                os.unlink(self.path)


def own_path(path: str) -> OwnPath | None:
    """`path`, which was just bound, as an `OwnPath`. None if it is abstract, or has been removed already."""
    if is_abstract(path):
        return None
    try:
        found = os.lstat(path)
        absolute = path if os.path.isabs(path) else os.path.join(os.getcwd(), path)  # cwd may be gone
        return OwnPath(absolute, found.st_dev, found.st_ino)
    except OSError:
        return None


def is_abstract(path: str) -> bool:
    """Whether `path` is a name that the kernel keeps, and not a file."""
    return path.startswith("@") and sys.platform == "linux"


def unix_sockaddr(path: str) -> str:
    """`path` as the `socket` module takes it."""
    return "\0" + path[1:] if is_abstract(path) else path


def bind_unix(path: str, socket_factory: Callable[..., socket.socket]) -> socket.socket:
    """A socket that listens at `path`. OSError (EADDRINUSE) when a live server has it, or it is not a socket.

    It listens already, because a socket that is bound but does not listen looks like one whose server is dead.
    """
    sock = socket_factory(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if is_abstract(path):
            sock.bind(unix_sockaddr(path))
            sock.listen()
        else:
            _take(path, sock)
    except BaseException:  # nothing may stay behind, and the caller gets the exception
        sock.close()
        raise
    return sock


def _take(path: str, sock: socket.socket) -> None:
    with _folder_locked(path) as locked:
        if locked and _is_stale(path):
            os.unlink(path)
        try:
            sock.bind(path)
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE and not _is_socket(path):
                raise OSError(exc.errno, "the path exists and is not a socket: remove it, or choose another") from None
            if exc.errno == errno.EADDRINUSE and not locked:
                why = "the path exists, and whether its server lives cannot be found out in this folder"
                raise OSError(exc.errno, why) from None
            raise
        try:
            sock.listen()
        except BaseException:
            os.unlink(path)
            raise


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _is_stale(path: str) -> bool:
    """Whether `path` is a socket on which no server listens any more."""
    if not _is_socket(path):
        return False  # a file of another kind is never ours to remove: the bind will fail, and say so
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a live server with a full backlog must not hold us up: EAGAIN means it lives
        return probe.connect_ex(path) == errno.ECONNREFUSED


@contextlib.contextmanager
def _folder_locked(path: str) -> Iterator[bool]:
    """Hold the lock of the folder in which `path` lies. False if that folder cannot be locked.

    OSError (EBUSY) if another program does not release it.
    """
    import fcntl  # not there on Windows, where Python has no UNIX sockets either

    folder = -1
    # If the folder cannot be opened, it does not exist (`bind` will report that), or we may not read it.
    with contextlib.suppress(OSError):
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield folder >= 0 and _lock(fcntl.flock, fcntl.LOCK_EX | fcntl.LOCK_NB, folder)
    finally:
        if folder >= 0:
            with contextlib.suppress(OSError):
                # Closing is not enough: a child that another thread has forked meanwhile shares the lock.
                fcntl.flock(folder, fcntl.LOCK_UN)
            os.close(folder)


def _lock(flock: Callable[[int, int], None], operation: int, folder: int) -> bool:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            flock(folder, operation)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise OSError(errno.EBUSY, "another program keeps its folder locked") from None
        except OSError:
            return False  # some file systems, NFS among them, lock no folders
        time.sleep(LOCK_PAUSE_SECONDS)

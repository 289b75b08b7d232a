"""What a script has to say, said wherever it can be said.

A run takes minutes, and its figures are printed at its end: then it is too late to find out that they cannot be. A
script is started by cron and by supervisors, with standard error or standard output closed, which Python makes None;
with an encoding that has no µ; into a pipe whose reader has gone, onto a disk that is full. A `print` answers with a
traceback in the middle of a report; or at the exit, when Python writes what is left in its buffers, with the status
120 in place of the script's own.

So scripts say things through here. `tell` is for what is said on the way: what cannot be told is lost, and does no
harm. `show` is for what the script was run for: if it cannot be shown, that is an error with a status of its own, and
standard error gets it all the same. And `run` is how a script begins and ends.

Both write to the descriptor, by no buffer of Python's, and wait for a slow reader even where somebody has made the
descriptor non-blocking. The cost: without a reader's end or a full disk, a slow one is waited for without a deadline,
as everywhere in a pipeline.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
from collections.abc import Callable
from typing import TextIO

UNUSABLE = 2  # the status of a script that was told what it cannot do, or has nowhere to say what came of it
INTERRUPTED = 130  # what shells report of a program that ended by SIGINT: 128 + 2
PLAIN = str.maketrans({"µ": "u", "×": "x"})  # for an encoding that lacks them


class CannotShow(OSError):
    """Standard output does not take what the script has to say; `text` is that, and `strerror` says why."""

    def __init__(self, exc: OSError, text: str) -> None:
        super().__init__(exc.errno, exc.strerror or str(exc))
        self.text = text


def tell(text: str) -> None:
    """Write the line `text` to standard error, or do without."""
    with contextlib.suppress(OSError):
        _write(sys.stderr, f"{text}\n")


def show(text: str) -> None:
    """Write the lines `text` to standard output. CannotShow when that cannot be done."""
    try:
        _write(sys.stdout, f"{text}\n")
    except OSError as exc:
        raise CannotShow(exc, text) from None


def run(name: str, main: Callable[[], int | None]) -> int:
    """Call `main` as the script `name`; the exit status.

    When standard output is closed, that is told before anything is done. When it turns out to be unusable, what was
    to be shown goes to standard error.
    """
    _occupy_standard_descriptors()
    if sys.stdout is None:
        tell(f"{name}: standard output is closed, so there is nowhere to show what comes of it; redirect it to a file")
        return UNUSABLE
    try:
        status = _status_of(main)
        _flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except CannotShow as exc:
        _discard(sys.stdout)
        rest = f"; what was to be written there: {exc.text}" if exc.text else ""
        tell(f"{name}: cannot write to standard output ({exc.strerror}){rest}")
        return UNUSABLE
    return status


def _status_of(main: Callable[[], int | None]) -> int:
    try:
        return main() or 0
    except SystemExit as exc:
        if isinstance(exc.code, str):
            tell(exc.code)
        return exc.code if isinstance(exc.code, int) else int(exc.code is not None)


def _flush() -> None:
    """Write what was printed without us: after this, Python has nothing left to write at the exit."""
    try:
        sys.stdout.flush()
    except OSError as exc:
        raise CannotShow(exc, "") from None


def _occupy_standard_descriptors() -> None:
    """Have /dev/null where a standard descriptor is closed: else a socket gets its number."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    encoding = stream.encoding or "utf-8"
    try:
        data = text.encode(encoding)
    except UnicodeEncodeError:
        data = text.translate(PLAIN).encode(encoding, "backslashreplace")
    try:
        stream.flush()
        fd = stream.fileno()
    except ValueError as exc:
        if not isinstance(exc, OSError):  # it was closed
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None
        stream.write(data.decode(encoding))  # UnsupportedOperation: no file, but what a test has put in its place
        return
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            select.select([], [fd], [])


def _discard(stream: TextIO) -> None:
    """Have what is left in the buffer of `stream` go nowhere at the exit (library reference, "Note on SIGPIPE")."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)

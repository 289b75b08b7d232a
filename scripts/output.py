"""Write what a script has to say, wherever it can be written.

A run takes minutes and prints its figures at the end. That is too late to find out that they cannot be printed. cron
or a supervisor may start a script with standard output or standard error closed, which Python makes None; the
encoding may have no µ; the reader of a pipe may be gone; the disk may be full. `print` then raises in the middle of a
report. Or Python fails at the exit, when it writes what is left in its buffers, and the exit status is 120 and not
the script's own.

So all output of scripts goes through this file. `tell` is for messages on the way: a message that cannot be written
is lost, and that does no harm. `show` is for the results: if it fails, that is an error with its own status, and the
results go to standard error. `run` begins and ends a script.

`tell` and `show` write to the descriptor without Python's buffers. They wait for a slow reader, even if the
descriptor is non-blocking. The cost: they wait without a deadline, as every program in a pipeline does.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import sys
import textwrap
from collections.abc import Callable
from typing import TextIO

UNUSABLE = 2  # the status of a script that got unusable options, or has nowhere to show its results
INTERRUPTED = 130  # what shells report for a program that SIGINT has ended: 128 + 2
MOST_COLUMNS = 80  # of a line for a person
NO_BREAK = "\N{NO-BREAK SPACE}"
PLAIN = str.maketrans({"µ": "u", "×": "x"})  # for an encoding that does not have them


class CannotShow(OSError):
    """Standard output did not take `text`; `strerror` says why."""

    def __init__(self, exc: OSError, text: str) -> None:
        super().__init__(exc.errno, exc.strerror or str(exc))
        self.text = text


def fill(text: str, columns: int) -> str:
    """`text` in lines of at most `columns`; a command in backquotes is not broken, so that it can be copied."""
    whole = re.sub("`[^`]*`", lambda command: command[0].replace(" ", NO_BREAK), text)
    lines = textwrap.wrap(whole, columns, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace(NO_BREAK, " ")


def tell(text: str, before: str = "") -> None:
    """Write the line `text` to standard error, if that is possible. On a terminal it is broken between words.

    `before` is what moves the cursor to where it begins.
    """
    with contextlib.suppress(OSError, ValueError):  # ValueError: it was closed
        if sys.stderr is not None and sys.stderr.isatty():
            columns = os.get_terminal_size(sys.stderr.fileno()).columns or MOST_COLUMNS
            text = fill(text, min(columns, MOST_COLUMNS) - 1)
        _write(sys.stderr, f"{before}{text}\n")


def show(text: str) -> None:
    """Write the lines `text` to standard output. CannotShow if that is not possible."""
    try:
        _write(sys.stdout, f"{text}\n")
    except OSError as exc:
        raise CannotShow(exc, text) from None


def run(name: str, main: Callable[[], int | None]) -> int:
    """Call `main` as the script `name`; return the exit status.

    If standard output is closed, say so before anything is done. If it turns out to be unusable, write the results to
    standard error.
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
    """Write what was printed by others: afterwards Python has nothing left to write at the exit."""
    try:
        sys.stdout.flush()
    except OSError as exc:
        raise CannotShow(exc, "") from None


def _occupy_standard_descriptors() -> None:
    """Open /dev/null where a standard descriptor is closed: otherwise a socket would get its number."""
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
        if not isinstance(exc, OSError):  # the stream is closed
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None
        stream.write(data.decode(encoding))  # UnsupportedOperation: a test has put something here that is not a file
        return
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            select.select([], [fd], [])


def _discard(stream: TextIO) -> None:
    """Discard what is left in the buffer of `stream` at the exit (library reference, "Note on SIGPIPE")."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)

"""A server on a pseudo-terminal, and what a person sees there."""

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time

from tests.support import DEADLINE_SECONDS, ROOT

SERVE = [sys.executable, "-m", "reactor", "serve", "echo", "--bind", "127.0.0.1:0", "--verbose"]

LOCAL_FLAGS = 3  # their index in the list that tcgetattr returns

# A small shell with job control. It leads the session of this terminal, and starts the server as a background job. For
# each "f" that it reads it does what `fg` does, and for each "b" what `bg` does.
SHELL = """
import fcntl, os, signal, subprocess, sys, termios
fcntl.ioctl(2, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # as a shell: it may move jobs to the front while it is behind
def as_a_job():
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
server = subprocess.Popen(sys.argv[2:], process_group=0, preexec_fn=as_a_job)
while word := os.read(int(sys.argv[1]), 1):
    os.tcsetpgrp(2, server.pid if word == b"f" else os.getpgrp())
    server.send_signal(signal.SIGCONT)
server.kill()
"""


class Terminal:
    """The screen of a server on a pseudo-terminal that is `columns` wide; `term` is the value of TERM."""

    def __init__(self, columns=80, term="xterm", command=SERVE, tostop=False, **options):
        self.fd, child = pty.openpty()
        termios.tcsetwinsize(child, (24, columns))
        if tostop:  # as `stty tostop` (termios(3))
            attributes = termios.tcgetattr(child)
            attributes[LOCAL_FLAGS] |= termios.TOSTOP
            termios.tcsetattr(child, termios.TCSANOW, attributes)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": term}
        streams = {"stdin": child, "stdout": child, "stderr": child}
        self.process = subprocess.Popen(command, env=environment, **streams, **options)
        os.close(child)
        self.output = ""

    def read(self):
        """Read what comes next. False at the end."""
        assert select.select([self.fd], [], [], DEADLINE_SECONDS)[0], f"no more came than {self.output!r}"
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # EIO: its last user has closed it
            return False
        self.output += data.decode()
        return bool(data)

    def wait_for(self, pattern, start=0):
        """Wait for `pattern` after the first `start` characters of the output. Returns the match."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (match := re.search(pattern, self.output[start:])):
            assert time.monotonic() < deadline and self.read(), f"{pattern!r} did not come, but {self.output!r}"
        return match

    def wait_for_address(self):
        """The address where the server listens."""
        return "127.0.0.1", int(self.wait_for(r"listening on 127\.0\.0\.1:(\d+)\r\n")[1])

    def type(self, keys):
        """Press these keys."""
        os.write(self.fd, keys)

    def finish(self):
        """End the server as Ctrl-C does, and read the rest. Returns its exit status."""
        self.process.send_signal(signal.SIGINT)
        while self.read():
            pass
        return self.process.wait(DEADLINE_SECONDS)

    def rows(self):
        """The rows on the screen at the end, without the cursor's row if that is empty."""
        rows, column = [""], 0
        for piece in re.findall(r"\x1b\[K|\r|\n|[^\x1b\r\n]+", self.output):
            if piece == "\x1b[K":
                rows[-1] = rows[-1][:column]
            elif piece == "\r":
                column = 0
            elif piece == "\n":
                rows.append("")
            else:
                rows[-1] = rows[-1][:column] + piece + rows[-1][column + len(piece) :]
                column += len(piece)
        assert re.sub(r"\x1b\[K", "", self.output).count("\x1b") == 0, "an escape sequence this screen does not know"
        return rows if rows[-1] else rows[:-1]

    def close(self):
        """Close the window. Kill the server if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE_SECONDS)
        with contextlib.suppress(OSError):  # a test may have closed it
            os.close(self.fd)


class Job(Terminal):
    """A terminal with a shell, where the server is a background job and `stty tostop` is set."""

    def __init__(self):
        words, self._words = os.pipe()
        command = [sys.executable, "-c", SHELL, str(words), *SERVE]
        super().__init__(command=command, tostop=True, pass_fds=[words], start_new_session=True)
        os.close(words)

    def to_front(self):
        """Do what `fg` does."""
        os.write(self._words, b"f")

    def to_back(self):
        """Do what `bg` does."""
        os.write(self._words, b"b")

    def close(self):
        os.close(self._words)
        self.process.wait(DEADLINE_SECONDS)
        super().close()

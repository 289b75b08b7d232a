"""The status line: its text from the counters, and how it shares a terminal with the log."""

import io
import math
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time

import pytest

from reactor import Limits, Reactor
from reactor.service.status import StatusLine
from tests.support import DEADLINE_SECONDS, ROOT, connect, exchange, serving


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def reactor(clock):
    with Reactor(clock=clock, limits=Limits(blocked_seconds=math.inf)) as reactor:
        yield reactor


def test_the_text_tells_connections_and_rates(reactor, clock):
    line = StatusLine(reactor, io.StringIO())
    counters = reactor.counters
    counters.accepted, counters.receives, counters.bytes_received = 1234, 5000, 25_600_000
    clock.now += 2.0
    assert line.text() == "1,234 connections   2,500 messages/s   12.8 MB/s   1,234 accepted"


def test_the_rates_are_those_since_the_text_before(reactor, clock):
    line = StatusLine(reactor, io.StringIO())
    reactor.counters.receives = 1000
    clock.now += 1.0
    line.text()
    reactor.counters.receives += 7
    clock.now += 1.0
    assert "   7 messages/s   " in line.text()


def test_no_time_between_two_texts_is_no_error(reactor):
    assert StatusLine(reactor, io.StringIO()).text() == "0 connections   0 messages/s   0.0 MB/s   0 accepted"


def test_it_is_rewritten_in_place_once_a_second(reactor, clock):
    stream = io.StringIO()
    StatusLine(reactor, stream)
    for now in (1000.0, 1000.9, 1001.0, 1001.5, 1002.0):
        clock.now = now
        reactor.run_once(0)  # which reads the clock last of all
        reactor.run_once(0)
    line = "\r\x1b[K0 connections   0 messages/s   0.0 MB/s   0 accepted"
    assert stream.getvalue() == 2 * line


def test_clear_takes_it_off_the_screen(reactor):
    stream = io.StringIO()
    StatusLine(reactor, stream).clear()
    assert stream.getvalue() == "\r\x1b[K"


# On a terminal.


class Terminal:
    """The screen of a server that runs on a pseudo-terminal, `columns` wide."""

    def __init__(self, columns=80):
        self._fd, child = pty.openpty()
        termios.tcsetwinsize(child, (24, columns))
        command = [sys.executable, "-m", "reactor", "serve", "echo", "--bind", "127.0.0.1:0", "--verbose"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(command, stdin=child, stdout=child, stderr=child, env=environment)
        os.close(child)
        self.output = ""

    def read(self):
        """Take in what comes next; False at the end."""
        assert select.select([self._fd], [], [], DEADLINE_SECONDS)[0], f"no more came than {self.output!r}"
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # EIO: its last user has closed it
            return False
        self.output += data.decode()
        return bool(data)

    def wait_for(self, pattern):
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (match := re.search(pattern, self.output)):
            assert time.monotonic() < deadline and self.read(), f"{pattern!r} did not come, but {self.output!r}"
        return match

    def finish(self):
        """End the server as Ctrl-C would, and take in the rest."""
        self.process.send_signal(signal.SIGINT)
        while self.read():
            pass
        return self.process.wait(DEADLINE_SECONDS)

    def rows(self):
        """What the eye sees at the end, without the row of the cursor where it is empty."""
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
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE_SECONDS)
        os.close(self._fd)


STATUS = r"\d[\d,]* connections   \d[\d,]* messages/s   \d[\d,.]* MB/s   \d[\d,]* accepted"


@pytest.fixture
def terminal():
    terminal = Terminal()
    yield terminal
    terminal.close()


def test_on_a_terminal_a_status_line_shows_the_connections(terminal):
    port = int(terminal.wait_for(r"listening on 127\.0\.0\.1:(\d+)")[1])
    with connect(("127.0.0.1", port)) as client:
        assert exchange(client, b"hello") == b"hello"
        terminal.wait_for(r"\r\x1b\[K1 connections   \d+ messages/s   0\.0 MB/s   1 accepted")


def test_log_lines_and_the_status_line_do_not_mix(terminal):
    port = int(terminal.wait_for(r"listening on 127\.0\.0\.1:(\d+)")[1])
    client = connect(("127.0.0.1", port))
    terminal.wait_for("1 connections .* 1 accepted")
    client.close()
    terminal.wait_for("peer_closed[^\r]*\r\n")
    assert terminal.finish() == 0
    rows = terminal.rows()
    assert rows and not [row for row in rows if not re.match(r"\d{4}-\d\d-\d\d \S+ (INFO|DEBUG) ", row)]
    assert not [row for row in rows if re.search(STATUS, row)]


def test_it_is_cut_to_the_width_of_a_narrow_terminal():
    # A longer one would go on in the next row, and only that row would be erased.
    terminal = Terminal(columns=30)
    try:
        terminal.wait_for(r"\r\x1b\[K0 connections   0 messages/")
        terminal.wait_for(r"messages/.*\r\x1b\[K0 connections")
        assert max(map(len, re.findall(r"\d+ connections[^\r]*", terminal.output))) < 30
    finally:
        terminal.close()


def test_away_from_a_terminal_there_is_no_status_line():
    with serving("echo") as server:
        with connect(server.address) as client:
            assert exchange(client, b"hello") == b"hello"
            server.send_signal(signal.SIGTERM)
        assert server.wait() == 0
        assert "\x1b" not in server.stderr.text + server.stdout.text

"""The status line: its text from the counters, and how it shares a terminal with the log."""

import logging
import math
import os
import pathlib
import pty
import re
import select
import signal
import termios

import pytest

from reactor import CloseReason, Limits, Reactor
from reactor.service.lines import LineFormatter
from reactor.service.status import StatusLine, StatusLineHandler
from tests.rig import FakeClock as Clock
from tests.service.terminal import Job, Terminal
from tests.support import connect, exchange, serving, wait_until


class Screen:
    """Replaces a handler, and keeps what is shown."""

    def __init__(self):
        self.shown = []

    def show(self, text):
        self.shown.append(text)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def reactor(clock):
    with Reactor(clock=clock, limits=Limits(blocked_seconds=math.inf)) as reactor:
        yield reactor


def test_the_text_tells_connections_and_rates(reactor, clock):
    line = StatusLine(reactor, Screen())
    counters = reactor.counters
    counters.accepted, counters.receives, counters.bytes_received = 1234, 5000, 25_600_000
    clock.now += 2.0
    assert line.text() == "1,234 connections  2,500 messages/s  12.8 MB/s  1,234 accepted"


def test_it_says_when_all_places_are_taken_and_fits_a_screen_with_large_numbers(reactor, clock):
    line = StatusLine(reactor, Screen())
    counters = reactor.counters
    counters.accepted, counters.receives, counters.bytes_received = 1_234_567, 7_654_321, 123_456_789_012
    counters.full = True
    clock.now += 1.0
    text = line.text()
    assert text == "1,234,567 connections FULL  7,654,321 messages/s  123 GB/s  1,234,567 accepted"
    assert len(text) < 80  # the last column stays free


def test_it_says_once_that_newcomers_were_refused_though_there_are_places(reactor, clock):
    line = StatusLine(reactor, Screen())
    reactor.counters.accepted, reactor.counters.closed[CloseReason.REFUSED] = 3, 2
    for said in (" REFUSES", ""):
        clock.now += 1.0
        assert line.text() == f"1 connection{said}  0 messages/s  0 B/s  3 accepted"


def test_the_rates_are_those_since_the_text_before(reactor, clock):
    line = StatusLine(reactor, Screen())
    reactor.counters.receives = 1000
    clock.now += 1.0
    line.text()
    reactor.counters.receives += 7
    clock.now += 1.0
    assert "  7 messages/s  " in line.text()


def test_no_time_between_two_texts_is_no_error(reactor):
    assert StatusLine(reactor, Screen()).text() == "0 connections  0 messages/s  0 B/s  0 accepted"


def test_it_is_shown_once_a_second(reactor, clock):
    screen = Screen()
    StatusLine(reactor, screen)
    for now in (1000.0, 1000.9, 1001.0, 1001.5, 1002.0):
        clock.now = now
        reactor.run_once(0)  # the loop reads the clock at the end of a turn
        reactor.run_once(0)
    assert screen.shown == 2 * ["0 connections  0 messages/s  0 B/s  0 accepted"]


@pytest.fixture
def terminal_of():
    """Makes (handler, read) for a terminal of `columns`; `read()` returns the new output."""
    opened = []

    def make(columns):
        screen, ours = pty.openpty()
        termios.tcsetwinsize(ours, (24, columns))
        handler = StatusLineHandler(ours)
        opened.append((handler, screen, ours))
        return handler, lambda: os.read(screen, 4096).decode()

    yield make
    for handler, *ends in opened:
        handler.close()
        for fd in ends:
            os.close(fd)


@pytest.mark.parametrize(("columns", "shown"), [(80, "some text"), (6, "some "), (1, ""), (0, "some text")])
def test_it_takes_the_place_of_the_one_before_and_is_cut_to_the_width(terminal_of, columns, shown):
    handler, came = terminal_of(columns)
    handler.show("some text")
    assert came() == f"\r\x1b[K{shown}"


@pytest.mark.parametrize(("in_front", "shown"), [("the server", "status"), ("somebody else", "log")])
def test_it_is_shown_only_in_front(terminal_of, monkeypatch, in_front, shown):
    handler, came = terminal_of(80)
    handler.setFormatter(LineFormatter("%(message)s"))
    monkeypatch.setattr(os, "tcgetpgrp", lambda fd: os.getpgrp() + (in_front == "somebody else"))
    handler.show("status")
    handler.handle(logging.makeLogRecord({"msg": "log"}))
    assert came().startswith(f"\r\x1b[K{shown}")


def test_clear_takes_it_off_the_screen(reactor, terminal_of):
    handler, came = terminal_of(80)
    StatusLine(reactor, handler).clear()
    assert came() == "\r\x1b[K"


# On a terminal.


STATUS = r"\d[\d,]* connections?  \d[\d,]* messages/s  \d[\d.]* \w?B/s  \d[\d,]* accepted"


@pytest.fixture
def terminal():
    terminal = Terminal()
    yield terminal
    terminal.close()


def test_on_a_terminal_a_status_line_shows_the_connections(terminal):
    with connect(terminal.wait_for_address()) as client:
        assert exchange(client, b"hello") == b"hello"
        terminal.wait_for(r"\r\x1b\[K1 connection  \d+ messages/s  \d+ B/s  1 accepted")


def test_log_lines_and_the_status_line_do_not_mix(terminal):
    client = connect(terminal.wait_for_address())
    terminal.wait_for("1 connection .* 1 accepted")
    client.close()
    terminal.wait_for("peer_closed[^\r]*\r\n")
    assert terminal.finish() == 0
    rows = terminal.rows()
    assert rows and not [row for row in rows if not re.match(r"\d{4}-\d\d-\d\d \S+ \[\d+\] (INFO|DEBUG) ", row)]
    assert not [row for row in rows if re.search(STATUS, row)]


def test_after_ctrl_s_and_ctrl_q_no_line_is_glued_to_another(terminal):
    address = terminal.wait_for_address()
    terminal.wait_for("0 connections .* 0 accepted")
    terminal.type(b"\x13")
    with open(f"/proc/{terminal.process.pid}/fd/2", "wb", opener=without_control) as screen:
        wait_until(lambda: not select.select([], [screen], [], 0)[1], "Ctrl-S")
    for _ in range(3):
        connect(address).close()
    with connect(address) as client:
        assert exchange(client, b"hello") == b"hello"  # it has logged the ends before
        terminal.type(b"\x11")
        terminal.wait_for(r"(?:peer_closed[^\r]*\r\n.*){3}1 connection .* 4 accepted")
    assert terminal.finish() == 0
    rows = terminal.rows()
    assert not [row for row in rows if not re.match(r"\d{4}-\d\d-\d\d \S+ \[\d+\] (INFO|DEBUG) ", row)]
    assert not [row for row in rows if re.search(STATUS, row)]


def without_control(path, flags):
    """Open a terminal that does not become ours, and do not wait for it."""
    return os.open(path, flags | os.O_NOCTTY | os.O_NONBLOCK)


def test_it_is_cut_to_the_width_of_a_narrow_terminal():
    # A longer line would continue in the next row, and only that row would be erased.
    terminal = Terminal(columns=30)
    try:
        terminal.wait_for(r"\r\x1b\[K0 connections  0 messages/")
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


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_that_knows_no_escape_codes_gets_none(term):
    terminal = Terminal(term=term)
    try:
        client = connect(terminal.wait_for_address())
        client.close()
        terminal.wait_for("peer_closed[^\r]*\r\n")
        assert terminal.finish() == 0
        assert "\x1b" not in terminal.output
        assert not re.search(STATUS, terminal.output)
    finally:
        terminal.close()


# As a job of a shell.


@pytest.fixture
def job():
    job = Job()
    yield job
    job.close()


def state_of_the_server(job):
    """The state of its process (proc(5)): T while it is stopped."""
    children = pathlib.Path(f"/proc/{job.process.pid}/task/{job.process.pid}/children").read_text().split()
    return pathlib.Path(f"/proc/{children[0]}/stat").read_text().rpartition(")")[2].split()[0]


def test_in_the_background_it_logs_and_is_not_stopped_and_shows_no_status_line(job):
    with connect(job.wait_for_address()) as client:  # SIGTTOU would have stopped it before this line
        assert exchange(client, b"hello") == b"hello"
        for _ in range(2):  # two ticks of the status line
            seen = len(job.output)
            job.to_front()
            job.wait_for(STATUS, seen)
            job.to_back()
            connect(client.getpeername()).close()
            job.wait_for("peer_closed[^\r]*\r\n", seen)
            assert state_of_the_server(job) != "T"
            assert exchange(client, b"again") == b"again"


def test_ctrl_z_stops_it_and_fg_lets_it_go_on(job):
    with connect(job.wait_for_address()) as client:
        job.to_front()
        job.wait_for(STATUS)
        job.type(b"\x1a")
        wait_until(lambda: state_of_the_server(job) == "T", "Ctrl-Z")
        seen = len(job.output)
        job.to_front()
        assert exchange(client, b"hello") == b"hello"
        job.wait_for(STATUS, seen)

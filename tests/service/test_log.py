"""Log lines on every kind of descriptor that can refuse them.

The writer must never wait. If it did, a test would hang, and pytest would show where.
"""

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import pty
import select
import signal
import socket
import threading
import warnings

import pytest

from reactor.loop import reports
from reactor.service import sink
from reactor.service.lines import LINE_CHARACTERS, JsonFormatter, LineFormatter
from reactor.service.log import LogHandler
from reactor.service.sink import BACKLOG_BYTES
from tests.support import DEADLINE_SECONDS, wait_until

LINE = "line {} " + "x" * 100
MORE_THAN_THE_KERNEL_TAKES = 2000  # lines like this: a pipe takes 64 KiB, a terminal less


def record(text, *args):
    return logging.LogRecord("reactor.test", logging.INFO, "file.py", 7, text, args, None)


class Mute:
    """An object that has no text: its `str` and `repr` raise."""

    def __str__(self):
        raise LookupError("on purpose")

    __repr__ = __str__


# On a pipe that is read.


@pytest.fixture
def pipe(descriptors_come_back):
    """(read end, write end). The test may close either."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        with contextlib.suppress(OSError):
            os.close(fd)


@pytest.fixture
def open_handler(descriptors_come_back):
    """Makes handlers whose lines are the message alone, and closes them."""
    made = []

    def make(fd, **options):
        handler = LogHandler(fd, **options)
        handler.setFormatter(LineFormatter("%(message)s"))
        made.append(handler)
        return handler

    yield make
    for handler in made:
        handler.close()


@pytest.fixture
def lost():
    """How many lines were lost since the test began."""
    before = reports.lost()
    return lambda: reports.lost() - before


class Reader:
    """Reads from `fd` on a thread, until its last writer has closed it."""

    def __init__(self, fd):
        self.data = bytearray()
        self._fd = fd
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        with contextlib.suppress(OSError):  # EIO: the terminal's other end is closed
            while data := os.read(self._fd, 65536):
                self.data += data

    def lines(self):
        return self.data.decode().replace("\r\n", "\n").splitlines()

    def join(self):
        self._thread.join(DEADLINE_SECONDS)
        assert not self._thread.is_alive(), "somebody can still write there"


def flood(handler, count, first=0):
    for number in range(first, first + count):
        handler.handle(record(LINE.format(number)))


def numbers(lines):
    return [int(line.split()[1]) for line in lines]


def test_a_line_is_there_when_the_call_returns(pipe, open_handler):
    handler = open_handler(pipe[1])
    handler.handle(record("hello %s", "world"))
    assert os.read(pipe[0], 4096) == b"hello world\n"


def test_a_character_that_the_encoding_does_not_have_is_an_escape(pipe, open_handler):
    open_handler(pipe[1], encoding="ascii").handle(record("7 µs"))
    assert os.read(pipe[0], 4096) == b"7 \\xb5s\n"


def test_an_object_that_cannot_be_told_costs_no_line(pipe, open_handler, lost):
    open_handler(pipe[1]).handle(record("from %s", Mute()))
    assert os.read(pipe[0], 4096) == b"a log line cannot be formatted: LookupError in 'from %s'\n"
    assert lost() == 0


@pytest.mark.parametrize("kind", [asyncio.CancelledError, SystemExit])
def test_an_object_whose_text_asks_for_an_end_is_no_way_out(pipe, open_handler, lost, kind):
    class Leaving(Exception):
        def __str__(self):
            raise kind

    open_handler(pipe[1]).handle(record("from %s", Leaving()))
    assert os.read(pipe[0], 4096).decode() == f"a log line cannot be formatted: {kind.__name__} in 'from %s'\n"


def test_not_even_its_format_can_be_told(pipe, open_handler, lost):
    open_handler(pipe[1]).handle(record(Mute()))
    assert lost() == 1


def test_a_line_without_end_is_cut(pipe, open_handler):
    reader, handler = Reader(pipe[0]), open_handler(pipe[1])
    handler.handle(record("%s", "y" * (LINE_CHARACTERS + 1234)))
    finish(handler, pipe[1])
    reader.join()
    assert reader.lines() == ["y" * LINE_CHARACTERS + " (and 1,234 characters more)"]


def test_it_gives_back_what_it_opened_and_logs_no_more(pipe, open_handler, lost):
    before = len(os.listdir("/dev/fd"))
    handler = open_handler(pipe[1])
    handler.close()
    assert len(os.listdir("/dev/fd")) == before
    handler.handle(record("too late"))
    handler.sink.show(b"too late")
    os.close(pipe[1])
    assert os.read(pipe[0], 4096) == b""
    assert lost() == 1


# The reader is slow, or does not read at all.


def pipe_ends():
    return os.pipe()


def terminal_ends():
    return pty.openpty()


def socket_ends():
    return tuple(sock.detach() for sock in socket.socketpair())


KINDS = {"pipe": pipe_ends, "terminal": terminal_ends, "socket": socket_ends}


@pytest.fixture(params=KINDS)
def ends(request, descriptors_come_back):
    """(read end, standard error), of each kind that can be full."""
    ends = KINDS[request.param]()
    yield ends
    for fd in ends:
        with contextlib.suppress(OSError):
            os.close(fd)


@pytest.fixture
def not_reopened(monkeypatch):
    """No descriptor can be opened again: there is no /proc, or the terminal belongs to another user."""

    def refuse(fd):
        raise PermissionError(13, "on purpose")

    monkeypatch.setattr(sink, "_name_of", refuse)


def finish(handler, fd):
    """Write what waits, then close the last writer, so that the reader sees the end."""
    handler.finish(DEADLINE_SECONDS)
    handler.close()
    os.close(fd)


def test_lines_that_nobody_reads_yet_wait_in_order(ends, open_handler, lost):
    handler = open_handler(ends[1])
    flood(handler, MORE_THAN_THE_KERNEL_TAKES)
    reader = Reader(ends[0])
    finish(handler, ends[1])
    reader.join()
    assert numbers(reader.lines()) == list(range(MORE_THAN_THE_KERNEL_TAKES))
    assert lost() == 0


def test_the_same_where_it_can_only_be_written_by_a_thread(ends, not_reopened, open_handler, lost):
    test_lines_that_nobody_reads_yet_wait_in_order(ends, open_handler, lost)


def test_the_flags_that_others_share_are_left_alone(ends, open_handler):
    before = fcntl.fcntl(ends[1], fcntl.F_GETFL)
    flood(open_handler(ends[1]), MORE_THAN_THE_KERNEL_TAKES)
    assert fcntl.fcntl(ends[1], fcntl.F_GETFL) == before


def test_it_can_wait_where_somebody_else_set_the_flag_that_forbids_to(ends, open_handler, lost):
    os.set_blocking(ends[1], False)
    test_lines_that_nobody_reads_yet_wait_in_order(ends, open_handler, lost)


def test_that_too_where_it_can_only_be_written_by_a_thread(ends, not_reopened, open_handler, lost):
    os.set_blocking(ends[1], False)
    test_lines_that_nobody_reads_yet_wait_in_order(ends, open_handler, lost)


def test_the_other_end_of_a_terminal_is_not_opened_again(open_handler):
    window, ours = pty.openpty()  # opening `window` again would make another terminal
    handler = open_handler(window)
    handler.handle(record("typed"))
    handler.finish(DEADLINE_SECONDS)
    assert os.read(ours, 4096) == b"typed\n"
    os.close(window)
    os.close(ours)


def test_without_proc_a_terminal_is_opened_by_its_name(monkeypatch):
    window, ours = pty.openpty()
    monkeypatch.setattr(os.path, "exists", lambda name: False)
    assert sink._name_of(ours) == os.ttyname(ours)
    os.close(window)
    os.close(ours)


def test_lines_wait_until_ctrl_q_when_ctrl_s_was_pressed(open_handler, lost):
    window, ours = pty.openpty()
    handler = open_handler(ours)
    os.write(window, b"\x13")
    wait_until(lambda: not select.select([], [ours], [], 0)[1], "Ctrl-S")
    flood(handler, 10)
    assert handler.sink._waiting
    os.write(window, b"\x11")
    reader = Reader(window)
    finish(handler, ours)
    reader.join()
    os.close(window)
    assert numbers(reader.lines()) == list(range(10))
    assert lost() == 0


def test_what_waits_is_bounded_and_what_is_lost_is_told_in_its_place(ends, open_handler, lost):
    handler = open_handler(ends[1])
    many = 2 * BACKLOG_BYTES // len(LINE)
    flood(handler, many)
    dropped = lost()
    assert many // 4 < dropped < many
    assert handler.sink._size <= BACKLOG_BYTES
    reader = Reader(ends[0])
    handler.finish(DEADLINE_SECONDS)
    flood(handler, 1, first=many)
    finish(handler, ends[1])
    reader.join()
    *lines, notice, last = reader.lines()
    assert numbers(lines) == list(range(many - dropped))
    assert notice == f"{dropped:,} lines of the log lost here"
    assert numbers([last]) == [many]
    assert lost() == dropped


def test_a_line_that_does_not_fit_beside_another_is_not_followed_by_shorter_ones(pipe, open_handler, lost):
    handler = open_handler(pipe[1])
    flood(handler, 2 * BACKLOG_BYTES // len(LINE))
    before = lost()
    handler.handle(record("short"))  # it would fit, but then each line would need a notice of lost lines
    assert lost() == before + 1


def test_a_thread_waits_only_as_long_as_something_does(ends, open_handler):
    handler = open_handler(ends[1])
    flood(handler, MORE_THAN_THE_KERNEL_TAKES)
    assert handler.sink._waiter.locked()
    reader = Reader(ends[0])
    handler.finish(DEADLINE_SECONDS)
    assert handler.sink._waiter is None
    finish(handler, ends[1])
    reader.join()


def test_without_a_thread_the_next_line_tries_again(ends, open_handler, monkeypatch):
    def no_thread(*arguments):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(sink._thread, "start_new_thread", no_thread)
    handler = open_handler(ends[1])
    flood(handler, MORE_THAN_THE_KERNEL_TAKES)
    monkeypatch.undo()
    reader = Reader(ends[0])
    flood(handler, 1, first=MORE_THAN_THE_KERNEL_TAKES)
    finish(handler, ends[1])
    reader.join()
    assert numbers(reader.lines()) == list(range(MORE_THAN_THE_KERNEL_TAKES + 1))


def test_a_thread_that_runs_out_of_memory_leaves_what_waits_to_the_next_line(pipe, open_handler, scripted):
    handler, way = scripted(BlockingIOError(), MemoryError())
    way.fd = pipe[1]
    handler.handle(record("one"))
    handler.finish(DEADLINE_SECONDS)  # it waits for the thread, or writes if that has ended
    assert handler.sink._waiter is None
    handler.handle(record("two"))
    assert way.written == b"one\ntwo\n"


def test_the_end_waits_for_nobody_for_ever(ends, open_handler):
    handler = open_handler(ends[1])
    flood(handler, MORE_THAN_THE_KERNEL_TAKES)
    handler.finish(0.01)
    assert handler.sink._waiting


def test_room_that_is_none_is_not_asked_for_without_a_pause(pipe, open_handler, monkeypatch):
    # As on a terminal with room for one more byte: a newline takes two.
    pauses, writers = [], set()  # by thread: a thread of another test may still pause once
    monkeypatch.setattr(sink.time, "sleep", lambda _seconds: pauses.append(threading.get_ident()))
    handler = open_handler(pipe[1])
    way, answers = handler.sink._way, [BlockingIOError() for _ in range(4)]

    def write(data):
        writers.add(threading.get_ident())
        if answers:
            raise answers.pop()
        return way.write(data)

    handler.sink._way = way._replace(write=write)
    handler.handle(record("hello"))
    assert os.read(pipe[0], 4096) == b"hello\n"  # wait here: `finish` would write once more itself, without a pause
    assert sum(pause in writers for pause in pauses) == 3  # none after the first attempt, which the caller made
    handler.finish(DEADLINE_SECONDS)


def test_of_what_is_closed_not_even_the_rest_of_a_line_is_written(scripted, lost):
    handler, way = scripted(2, FULL)
    handler.handle(record("hello"))
    handler.close()
    handler.finish(DEADLINE_SECONDS)
    assert way.written == b"he"
    assert lost() == 1


def test_what_is_closed_while_it_waits_is_lost(ends, open_handler, lost):
    handler = open_handler(ends[1])
    flood(handler, MORE_THAN_THE_KERNEL_TAKES)
    handler.close()
    assert 0 < lost() < MORE_THAN_THE_KERNEL_TAKES
    os.close(ends[1])
    reader = Reader(ends[0])
    handler.finish(DEADLINE_SECONDS)
    assert handler.sink._waiter is None
    reader.join()


def test_a_child_leaves_to_its_parent_what_waits_there(pipe, open_handler):
    handler = open_handler(pipe[1])
    flood(handler, MORE_THAN_THE_KERNEL_TAKES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads, which is what this test is about
        child = os.fork()
    if not child:
        try:
            signal.alarm(int(2 * DEADLINE_SECONDS))
            flood(handler, 1, first=MORE_THAN_THE_KERNEL_TAKES)
            handler.finish(DEADLINE_SECONDS)
        finally:
            os._exit(0)
    reader = Reader(pipe[0])
    os.waitpid(child, 0)
    finish(handler, pipe[1])
    reader.join()
    assert sorted(numbers(reader.lines())) == list(range(MORE_THAN_THE_KERNEL_TAKES + 1))


def test_a_status_line_waits_for_nothing(ends, open_handler, lost):
    handler = open_handler(ends[1])
    fill(handler)
    handler.sink.show(b"status")
    assert not handler.sink._waiting and handler.sink._waiter is None
    assert lost() == 0


def fill(handler):
    """Fill the descriptor of `handler` until the kernel takes no more."""
    with contextlib.suppress(BlockingIOError):
        while handler.sink._way.write(b"z"):
            pass


def test_a_status_line_behind_lines_that_wait_is_not_written(pipe, open_handler):
    handler = open_handler(pipe[1])
    flood(handler, MORE_THAN_THE_KERNEL_TAKES)
    handler.sink.show(b"status")
    reader = Reader(pipe[0])
    finish(handler, pipe[1])
    reader.join()
    assert numbers(reader.lines()) == list(range(MORE_THAN_THE_KERNEL_TAKES))


# The reader has gone, or there is no room.


@pytest.mark.parametrize("how", ["", "by a thread"])
def test_without_a_reader_lines_are_counted(ends, open_handler, lost, how, request):
    if how:
        request.getfixturevalue("not_reopened")
    handler = open_handler(ends[1])
    flood(handler, 1)
    handler.finish(DEADLINE_SECONDS)
    os.close(ends[0])
    flood(handler, 3)
    handler.sink.show(b"status")
    handler.finish(DEADLINE_SECONDS)
    flood(handler, 2)
    handler.finish(DEADLINE_SECONDS)
    assert lost() == 5


def test_a_reader_that_leaves_what_waits_unread(ends, open_handler, lost):
    handler = open_handler(ends[1])
    flood(handler, MORE_THAN_THE_KERNEL_TAKES)
    os.close(ends[0])
    handler.finish(DEADLINE_SECONDS)
    assert handler.sink._waiter is None
    assert 0 < lost() < MORE_THAN_THE_KERNEL_TAKES


def test_a_full_disk_is_counted(open_handler, lost):
    with open("/dev/full", "w") as full:
        flood(open_handler(full.fileno()), 3)
    assert lost() == 3


def test_a_descriptor_that_is_closed_is_counted(open_handler, lost):
    flood(open_handler(987), 3)
    assert lost() == 3


def test_a_file_is_written_where_it_ends(tmp_path, open_handler):
    with open(tmp_path / "log", "w") as file:
        file.write("before\n")
        file.flush()
        flood(open_handler(file.fileno()), 1)
        file.write("after\n")
    assert (tmp_path / "log").read_text() == f"before\n{LINE.format(0)}\nafter\n"


class Scripted:
    """Each call uses the next answer: a number of bytes to take, an error to raise, or a call. Then it takes all."""

    fd = -1
    never_waits = True

    def __init__(self, *answers):
        self.answers = list(answers)
        self.written = bytearray()

    def write(self, data):
        answer = self.answers.pop(0) if self.answers else len(data)
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            answer()
            answer = len(data)
        self.written += data[:answer]
        return min(answer, len(data))

    def close(self):
        pass


@pytest.fixture
def scripted(open_handler):
    """Makes (handler, its `Scripted` descriptor)."""

    def make(*answers):
        handler = open_handler(2)
        handler.sink._way.close()
        handler.sink._way = Scripted(*answers)
        return handler, handler.sink._way

    return make


FULL = OSError(28, "No space left on device")


def test_when_there_is_room_again_it_is_told_what_was_lost(scripted, lost):
    handler, way = scripted(FULL, FULL)
    for text in ("one", "two", "three", "four"):
        handler.handle(record(text))
    assert way.written == b"2 lines of the log lost here\nthree\nfour\n"
    assert lost() == 2


def test_the_rest_of_a_half_written_line_comes_first(scripted, lost):
    handler, way = scripted(2, FULL, FULL)
    for text in ("hello", "two", "three"):
        handler.handle(record(text))
    assert way.written == b"hello\n1 line of the log lost here\nthree\n"
    assert lost() == 1


def test_in_a_json_log_that_too_is_an_object_in_a_line(scripted):
    handler, way = scripted(FULL)
    handler.setFormatter(JsonFormatter())
    for text in ("one", "two", Mute()):
        handler.handle(record("%s", text))
    told = [json.loads(line)["message"] for line in way.written.decode().splitlines()]
    assert told == ["1 line of the log lost here", "two", "a log line cannot be formatted: LookupError in '%s'"]


def test_a_line_that_leaves_in_pieces_is_whole(scripted):
    handler, way = scripted(1, 1, 1)
    handler.handle(record("hello"))
    assert way.written == b"hello\n"


def test_a_status_line_that_is_half_written_is_finished_first(scripted):
    handler, way = scripted(2, FULL)
    handler.sink.show(b"\r\x1b[Kstatus")
    handler.sink.show(b"\r\x1b[Kanother")
    handler.handle(record("hello"))
    assert way.written == b"\r\x1b[Kstatushello\n"


def test_what_a_signal_handler_logs_in_the_middle_of_a_line_comes_after_it(scripted):
    handler, way = scripted(1, lambda: handler.handle(record("signal")))
    handler.handle(record("hello"))
    assert way.written.startswith(b"h") and way.written.endswith(b"signal\n")


def test_no_memory_is_a_line_lost(scripted, lost):
    handler, way = scripted(MemoryError(), 1)
    handler.handle(record("one"))
    assert lost() == 1


# For a program that runs its own server.


def test_it_is_a_handler_like_others(pipe, open_handler):
    handler = open_handler(pipe[1])
    logger = logging.getLogger("reactor.test of log")
    logger.addHandler(handler)
    try:
        reports.report(logger, logging.WARNING, "to %s", "all")
    finally:
        logger.removeHandler(handler)
    assert os.read(pipe[0], 4096) == b"to all\n"

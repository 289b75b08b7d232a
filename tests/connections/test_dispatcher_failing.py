"""A failure of one connection (no memory, a log line, its program) ends this connection and no other."""

import errno
import logging

import pytest

from reactor import CloseReason, State
from reactor.connections import fast_path
from reactor.loop.poller import READABLE
from tests.rig import StubSocket, adopt, ended, os_error, readable, stubbed, told, write


@pytest.fixture
def debug_log():
    """Log everything, as with `--verbose`."""
    logger = logging.getLogger("reactor")
    before = logger.level
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.setLevel(before)


def test_no_memory_for_a_receive_ends_that_connection(stub):
    poor, other = stubbed(stub, receives=[MemoryError()]), stubbed(stub, receives=[b"x"])
    fast_path.dispatch(stub.dispatcher, [(poor._fd, READABLE), (other._fd, READABLE)])
    stub.finish()
    assert ended(poor) is CloseReason.MEMORY
    assert isinstance(told(poor).calls[-1][1], MemoryError)
    assert told(other).received == b"x" and other.state is State.OPEN


def test_no_memory_for_a_receive_on_the_long_way_ends_that_connection(stub):
    connection = stubbed(stub, receives=[b"x", MemoryError()])
    connection.write_eof()
    stub.finish()
    readable(stub, connection)
    readable(stub, connection)
    assert ended(connection) is CloseReason.MEMORY


@pytest.mark.parametrize("late", [False, True], ids=["in its callback", "from outside"])
def test_no_memory_for_a_send_ends_that_connection_with_a_reset(stub, late):
    connection = stubbed(stub, receives=[b"x"], sends=[MemoryError()], data_received=write(*[b"reply"][late:]))
    if late:
        connection.write(b"reply")
        stub.finish()
    else:
        readable(stub, connection)
    assert ended(connection) is CloseReason.MEMORY
    assert connection._socket.resets, "its peer must not take what it has for the whole"


def test_no_memory_for_a_newcomer_costs_no_place(stub, monkeypatch, caplog):
    no_memory = lambda *_: (_ for _ in ()).throw(MemoryError("none"))  # noqa: E731
    monkeypatch.setattr("reactor.connections.dispatcher.Connection", no_memory)
    sock, made = StubSocket(), []
    stub.counters.accepted += 1
    stub.dispatcher.admission.enter("host", stub.limits)
    assert stub.dispatcher.adopt(sock, "peer", lambda: made.append(1), stub.limits, "host") is None
    assert sock.closed and not made
    assert stub.dispatcher.admission.inside == 0 and stub.counters.open == 0
    assert "cannot serve peer" in caplog.text


def test_no_memory_for_a_connection_that_we_made_closes_it_and_takes_nobodys_place(stub, monkeypatch):
    def fail(*_):
        raise MemoryError("none")

    monkeypatch.setattr("reactor.connections.dispatcher.Connection", fail)
    sock = StubSocket()
    stub.dispatcher.admission.enter("host", stub.limits)
    stub.counters.connected += 1
    assert stub.dispatcher.adopt(sock, "peer", object, stub.limits) is None
    assert sock.closed and stub.counters.closed[CloseReason.MEMORY] == 1 and stub.counters.open == 0
    assert stub.dispatcher.admission.inside == 1


def test_an_accept_without_memory_rests(stub):
    listener = stub.acceptor.listen(StubSocket(accepts=[MemoryError()]), object, stub.limits)
    stub.acceptor.accept(listener, READABLE)
    assert listener.resting


@pytest.mark.parametrize("where", ["recv", "send"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_a_signal_handler_raises_in_a_system_call_leaves_with_the_connection_ended(stub, where, error):
    answers = {"receives": [error() if where == "recv" else b"x"], "sends": [error()] if where == "send" else []}
    connection = stubbed(stub, data_received=write(b"reply"), **answers)
    with pytest.raises(error):
        stub.happens(connection, READABLE)
    stub.finish()
    assert ended(connection) is CloseReason.HANDLER_ERROR
    assert isinstance(told(connection).calls[-1][1], ConnectionAbortedError)  # no clean end
    assert connection._socket.resets


@pytest.mark.parametrize("where", ["recv", "send"])
def test_an_exception_of_a_signal_handler_in_a_system_call_ends_that_connection_alone(stub, where, caplog):
    answers = {"receives": [KeyError("k") if where == "recv" else b"x"], "sends": [KeyError("k")] * (where == "send")}
    connection = stubbed(stub, data_received=write(b"reply"), **answers)
    readable(stub, connection)
    assert ended(connection) is CloseReason.HANDLER_ERROR
    assert "a signal handler raised" in caplog.text


class NoTruth:
    def __bool__(self):
        raise ValueError("the truth value is ambiguous")


def test_an_answer_of_eof_received_without_a_truth_value_ends_that_connection(stub, caplog):
    connection = stubbed(stub, receives=[b""], eof_received=lambda recorder: NoTruth())
    readable(stub, connection)
    assert ended(connection) is CloseReason.HANDLER_ERROR
    assert "eof_received raised" in caplog.text and stub.counters.closed[CloseReason.HANDLER_ERROR] == 1


class Mute(Exception):
    def __str__(self):
        raise AttributeError("name")


def raise_mute(*_):
    raise Mute


def test_a_connection_that_the_kernel_refuses_to_watch_ends_and_no_other(stub, monkeypatch):
    refused, other = stubbed(stub), stubbed(stub)
    watch = stub.poller._watch

    def refuse(_, fd, before, after):
        if fd == refused._fd and after:
            raise os_error(errno.ENOSPC)
        watch(fd, before, after)

    monkeypatch.setattr(type(stub.poller), "_watch", refuse)
    for connection in (refused, other):
        connection.pause_reading()
    stub.finish()
    stub.finish()  # the first turn ends it, and the second closes it
    assert ended(refused) is CloseReason.RESET and told(refused).calls[-1][1].errno == errno.ENOSPC
    assert other.state is State.OPEN and other._fd in stub.poller.watched


@pytest.mark.parametrize("callback", ["data_received", "connection_lost"])
def test_an_error_that_cannot_be_said_is_told_once_and_spares_the_others(stub, debug_log, callback):
    silent = stubbed(stub, receives=[b"x"], **{callback: raise_mute})
    other = stubbed(stub)
    readable(stub, silent)
    for connection in (silent, other):
        connection.abort()
    stub.finish()
    assert ended(silent) and ended(other)
    assert not stub.dispatcher.reaper.doomed


def test_a_log_handler_that_raises_ends_nothing_else(stub, debug_log):
    class Full(logging.Handler):
        def emit(self, record):
            raise OSError(errno.ENOSPC, "no space left")

    handler = Full()
    debug_log.addHandler(handler)
    try:
        connection = stubbed(stub, receives=[b"x"], data_received=raise_mute)
        other = stubbed(stub)
        readable(stub, connection)
    finally:
        debug_log.removeHandler(handler)
    assert ended(connection) is CloseReason.HANDLER_ERROR and other.state is State.OPEN


def test_a_log_handler_that_writes_to_the_connection_that_failed_comes_to_an_end(stub, debug_log):
    class Console(logging.Handler):
        def __init__(self, connection):
            super().__init__()
            self.connection, self.records = connection, 0

        def emit(self, record):
            self.records += 1
            self.connection.write(b"a line\n")

    connection = stubbed(stub, receives=[b"x"], data_received=raise_mute)
    handler = Console(connection)
    debug_log.addHandler(handler)
    try:
        readable(stub, connection)
        connection.write(b"too late")
        connection.write(b"too late")
    finally:
        debug_log.removeHandler(handler)
    assert ended(connection) is CloseReason.HANDLER_ERROR
    assert handler.records <= 3
    assert stub.counters.dropped_writes == connection._dropped_writes >= 3


def test_a_socket_that_cannot_be_closed_is_told_and_forgotten(stub):
    connection = stubbed(stub)

    def close():
        StubSocket.close(connection._socket)
        raise os_error(errno.EIO)

    connection._socket.close = close
    connection.abort()
    stub.finish()
    assert ended(connection) is CloseReason.ABORTED
    assert not stub.dispatcher.reaper.doomed and stub.counters.open == 0


def test_a_protocol_without_a_method_ends_its_own_connection(stub):
    class Half:
        def connection_made(self, connection):
            self.connection = connection

    sock = StubSocket(receives=[b"x"])
    connection = adopt(stub, sock, Half())
    readable(stub, connection)
    assert connection.state is State.CLOSED and connection.close_reason is CloseReason.HANDLER_ERROR

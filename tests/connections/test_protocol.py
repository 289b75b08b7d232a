"""The callback grammar: `Protocol` itself, and the callbacks that it gets in the life of a connection."""

import functools
import inspect
import socket

import pytest

from reactor import CloseReason, FramedProtocol, Protocol
from reactor.connections.protocol import mistake_in
from tests.rig import Recorder, StubReactor, StubSocket, adopt, turn_until

CALLBACKS = ["connection_made", "data_received", "eof_received", "connection_lost", "pause_writing", "resume_writing"]


def test_every_callback_of_pep_3156_is_there_and_does_nothing():
    public = [name for name, _ in inspect.getmembers(Protocol, inspect.isfunction) if not name.startswith("_")]
    assert sorted(public) == sorted(CALLBACKS)
    protocol = Protocol()
    for name in CALLBACKS:
        callback = getattr(protocol, name)
        arguments = [None] * len(inspect.signature(callback).parameters)
        assert callback(*arguments) is None


def test_a_subclass_with_slots_has_no_dict():
    class Small(Protocol):
        __slots__ = ("connection",)

    with pytest.raises(AttributeError):
        Small().another = 1


def test_any_object_with_the_methods_will_do(reactor, pair):
    class Duck:
        def __init__(self):
            self.calls = []

        def __getattr__(self, name):
            assert name in CALLBACKS
            return lambda *arguments: self.calls.append(name)

    ours, theirs = pair
    duck = Duck()
    adopt(reactor, ours, duck)
    theirs.sendall(b"x")
    theirs.close()
    turn_until(reactor, lambda: "connection_lost" in duck.calls, "the end")
    assert duck.calls == ["connection_made", "data_received", "eof_received", "connection_lost"]


def test_a_life_goes_by_the_grammar(reactor, pair):
    ours, theirs = pair
    protocol = Recorder()
    adopt(reactor, ours, protocol)
    assert protocol.names == ["connection_made"]
    theirs.sendall(b"some")
    turn_until(reactor, lambda: protocol.received == b"some", "data")
    theirs.sendall(b" more")
    theirs.shutdown(socket.SHUT_WR)
    turn_until(reactor, lambda: protocol.lost, "the end")
    assert protocol.names == ["connection_made", "data_received", "eof_received", "connection_lost"]
    assert protocol.received == b"some more"
    assert protocol.calls[-1] == ("connection_lost", None)


def test_nothing_is_called_after_connection_lost(reactor, pair):
    ours, theirs = pair

    def touch_everything(recorder, _exc):
        connection = recorder.connection
        connection.write(b"late")
        connection.resume_reading()
        connection.pause_reading()
        connection.set_write_buffer_limits(high=0)
        connection.write_eof()
        connection.close()
        connection.abort()

    protocol = Recorder(connection_lost=touch_everything)
    connection = adopt(reactor, ours, protocol)
    theirs.sendall(b"unread")
    connection.abort()
    turn_until(reactor, lambda: protocol.lost, "the end")
    touch_everything(protocol, None)
    for _ in range(3):
        reactor.run_once(0)
    assert protocol.names == ["connection_made", "connection_lost"]


def test_pause_and_resume_alternate_even_when_every_resume_writes_too_much():
    reactor = StubReactor()
    rounds = iter(range(5))

    def write_again(recorder):
        if next(rounds, None) is not None:
            recorder.connection.writelines([b"x" * 50_000] * 2)

    protocol = Recorder(resume_writing=write_again)
    connection = adopt(reactor, StubSocket(), protocol)
    connection.write(b"x" * 100_000)
    connection.write(b"x" * 100_000)
    while reactor.dispatcher.attention:
        reactor.finish()
    assert protocol.names == ["connection_made"] + ["pause_writing", "resume_writing"] * 6


class Awaits(Protocol):
    async def data_received(self, data):
        raise AssertionError("nothing awaits it")


class Deaf:
    def connection_made(self, connection):
        raise AssertionError("it is not a whole program")


class AwaitsFrames(FramedProtocol):
    async def frame_received(self, frame):
        raise AssertionError("nothing awaits it")


class Helps(Protocol):
    async def help(self):
        """A coroutine of its own, which it runs in a way of its own."""


async def coroutine():
    raise AssertionError("nothing awaits it")


@pytest.mark.parametrize(
    "program", [Protocol, Recorder, Helps, Recorder(), lambda: None, print, functools.partial(Recorder)]
)
def test_a_program_without_a_mistake(program):
    assert mistake_in(program) is None


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (int, "has none of the callbacks of a Protocol (connection_made, data_received, "),
        (coroutine, "is a coroutine function: give it to Server(...), or write a Protocol class"),
        (functools.partial(coroutine), "is a coroutine function: give it to Server(...), or write a Protocol class"),
        (Awaits, "has an `async def data_received`: a callback is a plain `def`"),
        (AwaitsFrames, "has an `async def frame_received`: a callback is a plain `def`"),
        (Awaits(), "has an `async def data_received`: a callback is a plain `def`"),
        (Deaf(), "has no method data_received: derive its class from Protocol"),
        (None, "has no method connection_made: derive its class from Protocol"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(program, said):
    assert mistake_in(program).startswith(said)


@pytest.mark.parametrize("make", [Awaits, Deaf, lambda: None, lambda: "text"])
def test_a_protocol_with_a_mistake_ends_its_connection_with_one_line_and_no_callback(make, caplog):
    stub = StubReactor()
    adopt(stub, StubSocket(), Recorder())
    for _ in range(2):  # each time, also after a good one
        caplog.clear()
        sock, name = StubSocket(), type(make()).__name__
        stub.counters.connected += 1
        connection = stub.dispatcher.adopt(sock, "peer", make, stub.limits)
        stub.finish()
        (record,) = caplog.records
        assert record.levelname == "ERROR" and not record.exc_info
        assert record.getMessage().startswith(f"cannot serve {connection}: the factory made {name}, which has ")
        assert connection.close_reason is CloseReason.HANDLER_ERROR and sock.closed and sock.resets

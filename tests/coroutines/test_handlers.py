"""A connection and its handler: how the one ends with the other, and what may be a handler at all."""

import functools
import gc
import logging
import re
import socket

import pytest

from reactor import (
    Cancelled,
    FrameTooLarge,
    IncompleteReadError,
    Protocol,
    Server,
    Stream,
    TaskGroup,
    shield,
    sleep,
    timeout,
)
from reactor.coroutines.handlers import ServedStream
from reactor.coroutines.roots import outliving, roots_of
from reactor.coroutines.task import Task
from tests import rig

MUCH = rig.patterned(3_000_000)


def errors_in(caplog):
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


def end_of(sock):
    """What a peer sees: "fin" or "reset", after all data."""
    try:
        while sock.recv(1 << 20):
            pass
    except ConnectionResetError:
        return "reset"
    return "fin"


# How a handler ends, and its connection with it.


def test_all_that_a_handler_has_written_arrives_when_it_returns(serving):
    async def handler(stream):
        stream.write(MUCH)

    _, peer = serving.connect(handler, rig.tcp_pair)
    assert rig.receive_all(serving.reactor, peer) == MUCH
    peer.close()
    rig.turn_until(serving.reactor, lambda: not serving.reactor.counters.open, "the end")
    assert serving.closed() == {"closed": 1}


def test_a_handler_that_returns_after_the_peers_end_has_the_reason_of_the_peer(serving):
    async def handler(stream):
        while data := await stream.read():
            await stream.write(data)

    _, peer = serving.connect(handler)
    serving.hear(peer, b"x")
    serving.end(peer)
    assert serving.closed() == {"peer_closed": 1}


@pytest.mark.parametrize("grouped", [False, True])
def test_a_handler_that_raises_ends_its_connection_alone_with_one_entry_in_the_log(serving, caplog, grouped):
    async def fails(stream):
        if await stream.read() == b"fail":
            raise ZeroDivisionError("on purpose")
        await stream.write(b"fine")
        await stream.read()

    async def handler(stream):
        if not grouped:
            await fails(stream)
        async with TaskGroup() as group:
            group.start_soon(fails, stream)

    _, peer = serving.connect(handler, rig.tcp_pair)
    _, other = serving.connect(handler, rig.tcp_pair)
    peer.sendall(b"fail")
    rig.turn_until(serving.reactor, lambda: serving.reactor.counters.open == 1, "its end")
    [record] = errors_in(caplog)
    assert "the handler raised in <Connection" in record.getMessage() and "ZeroDivisionError" in caplog.text
    assert end_of(peer) == "reset"
    assert serving.closed() == {"handler_error": 1}
    other.sendall(b"go on")
    assert rig.receive_all.__name__ and serving.turn() is None
    rig.turn_until(serving.reactor, lambda: serving.reactor.counters.sends, "the answer")
    assert other.recv(10) == b"fine"


@pytest.mark.parametrize("program_error", [SystemExit, KeyboardInterrupt])
def test_system_exit_in_a_handler_leaves_the_loop_which_can_be_run_again(serving, program_error):
    async def handler(stream):
        if await stream.read() == b"exit":
            raise program_error
        await stream.write(b"fine")
        await stream.read()

    stream, peer = serving.connect(handler, rig.tcp_pair)
    _, other = serving.connect(handler)
    peer.sendall(b"exit")
    with pytest.raises(program_error):
        rig.turn_until(serving.reactor, lambda: False, "it is raised")
    serving.hear(other, b"go on")
    assert other.recv(10) == b"fine"
    assert end_of(peer) == "reset" and stream.task is None
    assert serving.closed() == {"aborted": 1}


def test_a_handler_that_is_cancelled_from_outside_ends_with_a_reset(serving, caplog):
    stream, peer = serving.connect(lambda stream: sleep(100), rig.tcp_pair)
    stream.task.cancel()
    serving.turn()
    assert end_of(peer) == "reset"
    assert serving.closed() == {"aborted": 1} and errors_in(caplog) == []


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize(("call", "sent", "error", "reason"), [
    (lambda stream: stream.read_until(), b"x" * 101, FrameTooLarge, "frame_too_large"),
    (lambda stream: stream.read_exactly(101), b"x", FrameTooLarge, "frame_too_large"),
    (lambda stream: stream.read_exactly(10), b"x", IncompleteReadError, "peer_closed"),
])  # fmt: skip
def test_what_the_peer_did_wrong_is_no_entry_in_the_log(serving, caplog, grouped, call, sent, error, reason):
    async def reads(stream):
        await stream.write(b"hello")
        try:
            await call(stream)
        except Exception as exc:
            errors.append(type(exc))
            raise

    async def handler(stream):
        if not grouped:
            await reads(stream)
        async with TaskGroup() as group:
            group.start_soon(reads, stream)
            group.start_soon(sleep, 100)

    errors = []
    _, peer = serving.connect(handler, frame_bytes=100)
    serving.hear(peer, sent)
    serving.end(peer)
    assert errors == [error] and errors_in(caplog) == []
    assert rig.receive_all(serving.reactor, peer) == b"hello"
    expected = "peer_closed" if sent == b"x" and reason == "peer_closed" else reason
    assert serving.closed() == {expected: 1}


def test_an_end_in_the_middle_of_another_stream_does_not_look_like_the_end_of_the_reply(serving, caplog):
    async def upstream(stream):
        await stream.write(b"half a rep")

    async def handler(stream):
        await stream.write(b"half a rep")
        raise IncompleteReadError("the upstream has ended")

    _, peer = serving.connect(handler, rig.tcp_pair)
    rig.turn_until(serving.reactor, lambda: not serving.reactor.counters.open, "the end")
    assert end_of(peer) == "reset" and len(errors_in(caplog)) == 1


def test_an_error_of_another_connection_is_the_programs_to_handle(serving, caplog):
    async def handler(stream):
        raise ConnectionResetError("of a connection to another server")

    serving.connect(handler)
    assert serving.closed() == {"handler_error": 1}
    assert len(errors_in(caplog)) == 1


def test_a_mistake_in_the_clean_up_after_a_loss_is_logged(serving, caplog):
    async def handler(stream):
        try:
            await stream.read()
        finally:
            raise LookupError("on purpose")

    _, peer = serving.connect(handler, rig.tcp_pair)
    serving.reset(peer)
    rig.turn_until(serving.reactor, lambda: errors_in(caplog), "the log")
    assert serving.closed() == {"reset": 1} and len(errors_in(caplog)) == 1
    assert "LookupError: on purpose" in caplog.text


# A connection ends, and its handler with it.


@pytest.mark.parametrize("inner", [lambda stream: sleep(100), lambda stream: stream.read()])
def test_a_handler_whose_peer_breaks_off_is_ended_and_its_clean_up_runs(serving, inner):
    async def handler(stream):
        try:
            await inner(stream)
        except BaseException as exc:
            ended.append(type(exc))
            with shield(5):
                await sleep(1)
            ended.append(stream.connection.close_reason.value)
            raise

    ended = []
    stream, peer = serving.connect(handler, rig.tcp_pair)
    serving.turn()
    rig.reset(peer)
    rig.turn_until(serving.reactor, lambda: ended, "the end")
    assert ended == [Cancelled if "sleep" in repr(inner.__code__.co_names) else ConnectionResetError]
    assert outliving(serving.reactor) == 1 and stream.task is not None
    serving.pass_time(1)
    assert ended[1:] == ["reset"]
    assert outliving(serving.reactor) == 0 and stream.task is None


def test_the_end_of_the_reactor_ends_handlers_that_outlive_their_connection_too(serving):
    async def handler(stream):
        try:
            await stream.read()
        finally:
            try:
                with shield():
                    await sleep(1000)
            finally:
                ended.append("ended")

    ended = []
    _, peer = serving.connect(handler)
    serving.turn()
    peer.close()
    serving.turn()
    serving.connect(handler)
    serving.turn()
    serving.reactor.close()
    assert ended == ["ended"] * 2


def test_a_handler_that_has_handed_its_connection_over_goes_on_and_is_known(serving):
    async def handler(stream):
        stream.connection.set_protocol(Protocol())
        await sleep(1)
        ended.append("ended")

    ended = []
    stream, peer = serving.connect(handler)
    serving.turn()
    assert outliving(serving.reactor) == 1 and stream.task in roots_of(serving.reactor).outliving
    serving.pass_time(1)
    assert ended == ["ended"] and outliving(serving.reactor) == 0
    assert serving.closed() == {}, "the connection is not its own any more"
    peer.close()


# Nothing is left.


async def returns(stream):
    await stream.read()


async def raises(stream):
    await stream.read()
    raise LookupError("on purpose")


async def is_cancelled(stream):
    await stream.read()
    await sleep(1000)


async def times_out(stream):
    await stream.read()
    with timeout(1):
        await stream.read()


async def has_children(stream):
    async with TaskGroup() as group:
        group.start_soon(returns, stream)
        group.start_soon(sleep, 1000)
        await sleep(1000)


async def has_failing_children(stream):
    async with TaskGroup() as group:
        group.start_soon(raises, stream)
        group.start_soon(sleep, 1000)


async def meets_a_long_line(stream):
    await stream.read_until()


async def lets_its_peer_end(stream):
    await stream.read_exactly(500)


@pytest.mark.parametrize("handler", [
    returns, raises, is_cancelled, times_out, has_children, has_failing_children, meets_a_long_line, lets_its_peer_end,
])  # fmt: skip
def test_nothing_is_left_alive_and_the_garbage_collector_is_not_needed(serving, monkeypatch, handler):
    # A record of the log has the traceback, and with it all frames; pytest keeps the records.
    monkeypatch.setattr(logging.getLogger("reactor.connections"), "disabled", True)

    def serve_some():
        for _ in range(20):
            _, peer = serving.connect(handler, frame_bytes=1000)
            serving.hear(peer, b"x" * (2000 if handler is meets_a_long_line else 100))
            serving.sockets.pop().close()
            serving.turn()
            serving.pass_time(1)

    def alive():
        return [each for each in gc.get_objects() if isinstance(each, (Stream, Task, TaskGroup, timeout, Cancelled))]

    serve_some()
    gc.collect()
    gc.disable()
    try:
        before = len(alive())
        serve_some()
        assert len(alive()) == before, alive()
    finally:
        gc.enable()
    assert serving.reactor.counters.open == 0
    assert outliving(serving.reactor) == 0


# What may be a handler.


async def echo(stream):
    async for line in stream.lines():
        await stream.write(line + b"\n")


async def with_a_prefix(prefix, stream):
    async for line in stream.lines():
        await stream.write(prefix + line + b"\n")


class Program:
    prefix = b"of an object: "

    async def serve(self, stream):
        await with_a_prefix(self.prefix, stream)

    @staticmethod
    async def static(stream):
        await with_a_prefix(b"static: ", stream)

    async def __call__(self, stream, more=b""):
        await with_a_prefix(b"called: ", stream)


@pytest.mark.parametrize(("program", "answer"), [
    (echo, b""),
    (functools.partial(with_a_prefix, b"partial: "), b"partial: "),
    (Program().serve, b"of an object: "),
    (Program.static, b"static: "),
    (Program(), b"called: "),
])  # fmt: skip
def test_whatever_makes_a_coroutine_of_a_stream_can_be_served(program, answer):
    with Server(program, bind="127.0.0.1:0") as server:
        host, port = server.addresses[0].split(":")
        with socket.create_connection((host, int(port)), timeout=rig.DEADLINE_SECONDS) as client:
            client.sendall(b"line\n")
            assert client.recv(100) == answer + b"line\n"


async def none():
    pass


async def two(stream, more):
    pass


async def named(*, stream):
    pass


async def generator(stream):
    yield stream


def plain(stream):
    return echo(stream)


class Method:
    async def serve(self):
        pass


@pytest.mark.parametrize(("program", "said"), [
    (none, "none must take one argument, the stream of its connection: none(stream)"),
    (two, "two must take one argument, the stream of its connection: two(stream)"),
    (named, "named must take one argument, the stream of its connection: named(stream)"),
    (Method().serve, "Method.serve must take one argument, the stream of its connection: Method.serve(stream)"),
    (Program().static.__func__ if hasattr(Program().static, "__func__") else functools.partial(two, 1, 2), "must take"),
    (generator, "generator is an async generator, because it has a `yield`: a handler must not have one"),
    (plain, "plain takes an argument: write `async def plain(stream)`; a factory of protocols takes none"),
    (lambda stream: echo(stream), "takes an argument: write `async def "),
])  # fmt: skip
def test_what_cannot_be_a_handler_is_refused_at_the_start_in_one_line(program, said):
    with pytest.raises(TypeError, match=re.escape(said)) as caught:
        Server(program)
    assert "\n" not in str(caught.value)


def test_a_coroutine_in_place_of_its_function_is_refused_and_warns_of_nothing():
    with pytest.raises(TypeError, match=r"^give the function echo, not the coroutine echo\(\.\.\.\): each connection"):
        Server(echo(None))
    gc.collect()


def test_factories_of_protocols_are_served_as_before():
    class Some(Protocol):
        def __init__(self, way="default"):
            pass

    for program in (Some, lambda: Some(), functools.partial(Some, "other"), lambda way=1: Some(way)):
        Server(program).reactor.close()


def test_a_handler_that_makes_no_coroutine_after_all_ends_its_connection(serving, caplog):
    class Sly(ServedStream):
        pass

    serving.connect(lambda stream: 5, stream=Sly)
    assert serving.closed() == {"handler_error": 1}
    assert "must be an `async def`: it returned int, not a coroutine" in caplog.text

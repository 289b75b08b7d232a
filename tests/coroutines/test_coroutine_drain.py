"""A drain and handlers: it waits for those at work, tells those that wait to be told, and ends all at its deadline."""

import re
import signal
import socket

import pytest

from reactor import Reactor, Server, TaskGroup, move_on_after, open_stream, run_in_thread, shield, sleep
from reactor.loop.states import LAST, STOPPED
from reactor.service.drain import DRAIN_TICK_SECONDS, Drain
from tests import rig, support
from tests.coroutines.conftest import Serving

DRAIN_SECONDS = 30.0


class Draining(Serving):
    """Handlers, and a drain of their reactor."""

    def __init__(self, reactor):
        super().__init__(reactor)
        self.drain = Drain(reactor, DRAIN_SECONDS)

    def connect(self, handler, pair=rig.tcp_pair, **options):
        stream, peer = super().connect(handler, pair, **options)
        self.reactor.dispatcher.admission.enter("peer", self.reactor.limits)
        stream.connection._admitted_from = "peer"  # as if a listener had accepted it
        self.turn()
        return stream, peer

    def begin(self):
        """As a server does it."""
        self.reactor.call_soon(self.drain.begin)
        self.turn()

    def tick(self):
        """Let the drain look once more."""
        self.pass_time(2 * DRAIN_TICK_SECONDS)

    @property
    def stopped(self):
        """Whether the drain has stopped the loop."""
        return self.reactor.state in LAST or self.reactor.state is STOPPED

    def expect_end(self, cut=0):
        """It ends, as soon as the peers have answered."""
        for sock in self.sockets:
            sock.close()
        for _ in range(100):
            if self.stopped:
                break
            self.tick()
        assert self.stopped
        assert self.drain.finish() == cut


@pytest.fixture
def draining(timed):
    draining = Draining(timed)
    yield draining
    for sock in draining.sockets:
        sock.close()


async def reads(stream):
    while await stream.read():
        pass


async def answers_later(stream):
    while question := await stream.read():
        await sleep(5)
        await stream.write(b"answer to " + question)


async def waits_to_be_told(stream):
    await stream.draining.wait()
    await stream.write(b"last words")


@pytest.mark.parametrize("sent", [b"", b"half a line"])
def test_a_handler_that_waits_in_a_read_is_not_waited_for(draining, sent):
    async def reads_lines(stream):
        async for _ in stream.lines():
            pass

    _, peer = draining.connect(reads_lines)
    if sent:
        draining.hear(peer, sent)
    draining.begin()
    assert rig.receive_all(draining.reactor, peer) == b""
    draining.expect_end()


def test_a_handler_at_work_is_waited_for_and_its_answer_arrives(draining):
    _, peer = draining.connect(answers_later)
    draining.hear(peer, b"question")
    draining.begin()
    draining.pass_time(4)
    assert not draining.stopped
    draining.pass_time(2)
    assert peer.recv(100) == b"answer to question"
    draining.tick()
    assert rig.receive_all(draining.reactor, peer) == b""
    draining.expect_end()


def test_a_handler_that_waits_for_the_drain_is_woken_and_its_last_words_arrive(draining):
    _, peer = draining.connect(waits_to_be_told)
    draining.begin()
    assert rig.receive_all(draining.reactor, peer) == b"last words"
    draining.expect_end()


def test_last_words_of_a_child_arrive_while_its_parent_reads(draining):
    async def handler(stream):
        async with TaskGroup() as group:
            group.start_soon(waits_to_be_told, stream)
            await reads(stream)

    _, peer = draining.connect(handler)
    draining.begin()
    draining.tick()
    assert rig.receive_all(draining.reactor, peer) == b"last words"
    draining.expect_end()


def test_draining_is_set_from_then_on(draining):
    seen = []

    async def handler(stream):
        seen.append(stream.draining.is_set())
        await sleep(5)
        seen.append(stream.draining.is_set())

    draining.connect(handler)
    draining.begin()
    draining.pass_time(5)
    assert seen == [False, True]


def test_a_handler_that_outlives_its_connection_is_waited_for(draining):
    async def handler(stream):
        try:
            await stream.read()
        finally:
            with shield():
                await sleep(5)
                cleaned_up.append(stream)

    cleaned_up = []
    _, peer = draining.connect(handler)
    rig.reset(peer)
    rig.turn_until(draining.reactor, lambda: not draining.reactor.counters.open, "its end")
    draining.begin()
    draining.pass_time(4)
    assert not draining.stopped
    draining.pass_time(2)
    draining.tick()
    assert cleaned_up and draining.stopped
    assert draining.drain.finish() == 0


def test_a_clean_up_may_use_a_connection_that_it_has_opened(draining):
    async def handler(stream):
        async with await open_stream(server_address) as upstream:
            try:
                await stream.read()
            finally:
                with shield():
                    await sleep(5)
                    await upstream.write(b"undo")
                    await sleep(1)  # until it was read: the error ends this connection by a reset

    with socket.create_server(("127.0.0.1", 0)) as server:
        server_address = f"127.0.0.1:{server.getsockname()[1]}"
        _, peer = draining.connect(handler)
        upstream, _ = server.accept()
        upstream.settimeout(rig.DEADLINE_SECONDS)
        draining.sockets.append(upstream)
        rig.turn_until(draining.reactor, lambda: draining.reactor.counters.open == 2, "the connection to the server")
        draining.turn()
        rig.reset(peer)
        rig.turn_until(draining.reactor, lambda: draining.reactor.counters.open == 1, "its end")
        draining.begin()
        draining.tick()
        draining.pass_time(5)
        assert upstream.recv(4) == b"undo"
        draining.pass_time(1)
        draining.expect_end()


@pytest.mark.parametrize("shielded", [True, False])
def test_the_deadline_ends_everything_and_counts_those_at_work(draining, shielded):
    async def handler(stream):
        try:
            await sleep(1000)
        finally:
            if shielded:
                with shield():
                    await sleep(1000)

    ended = []
    _, at_work = draining.connect(handler)
    _, idle = draining.connect(reads)
    draining.begin()
    draining.pass_time(DRAIN_SECONDS)
    assert draining.stopped and draining.drain.finish() == 1
    draining.reactor.close()
    ended += [reason.value for reason, count in draining.reactor.counters.closed.items() if count]
    assert "drain_timeout" in ended
    with pytest.raises(ConnectionResetError):
        at_work.recv(1)
    assert idle.recv(1) == b""


def test_a_handler_at_work_whose_peer_leaves_is_no_cut(draining):
    _, peer = draining.connect(lambda stream: sleep(1000))
    draining.begin()
    rig.reset(peer)
    rig.turn_until(draining.reactor, lambda: not draining.reactor.counters.open, "its end")
    draining.tick()
    assert draining.stopped and draining.drain.finish() == 0


def test_a_second_signal_counts_the_handlers_at_work(draining):
    draining.connect(lambda stream: sleep(1000))
    draining.connect(reads)
    assert draining.drain.finish() == 1


# The whole server.


PROGRAM = '''
from reactor import run_in_thread, sleep

async def serve(stream):
    await stream.write(b"hello\\n")
    async for line in stream.lines():
        if line == b"work":
            await stream.draining.wait()
            await stream.write(b"done\\n")
        elif line == b"raise":
            raise LookupError("on purpose")
        elif line == b"for ever":
            await sleep(1000)

class Object:
    async def __call__(self, stream):
        await serve(stream)

instance = Object()

async def generator(stream):
    yield

async def none():
    pass

def plain(stream):
    return serve(stream)

made = serve(None)
made.close()
'''


@pytest.fixture
def module(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    environment = support.package_environment()
    return {"cwd": tmp_path, "env": {**environment, "PYTHONPATH": f"{tmp_path}:{environment['PYTHONPATH']}"}}


@pytest.mark.parametrize("name", ["serve", "instance"])
def test_a_coroutine_is_served_from_the_shell_and_drained(module, name):
    with support.serving(f"program:{name}", **module) as server, support.connect(server.address) as client:
        assert support.receive(client, 6) == b"hello\n"
        client.sendall(b"work\n")
        support.wait_until(lambda: places(server).count("program.py:8) > wait"), "the handler at work")
        assert re.search(r"handler of <Connection 1 open peer=127\.0\.0\.1:\d+>: .*serve \(program", server.stderr.text)
        server.send_signal(signal.SIGTERM)
        assert support.receive_all(client) == b"done\n"
        client.close()
        assert server.wait() == 0
        assert "Traceback" not in server.stderr.text


def places(server):
    """Its log, with the tree of its tasks as it is now."""
    before = server.stderr.count(r"handler of")
    server.send_signal(signal.SIGUSR1)
    server.stderr.wait_for(r"handler of", before + 1)
    return server.stderr.text


def test_a_handler_that_goes_on_for_ever_is_cut_and_the_exit_status_says_so(module):
    with support.serving("program:serve", "--drain-seconds", "0.1", **module) as server:
        with support.connect(server.address) as client:
            assert support.receive(client, 6) == b"hello\n"
            client.sendall(b"for ever\n")
            support.wait_until(lambda: places(server).count("program.py:13) > sleep"), "the handler at work")
            assert server.terminate() == 1
            assert "1 cut" in server.stderr.text and "Traceback" not in server.stderr.text


@pytest.mark.parametrize(("name", "said"), [
    ("generator", "generator is an async generator"),
    ("none", "none must take one argument"),
    ("plain", "plain takes an argument: write `async def plain"),
    ("made", "but <coroutine object serve"),
    ("missing", "missing"),
])  # fmt: skip
def test_a_mistake_is_one_line(module, name, said):
    done = support.run_reactor("serve", f"program:{name}", **module)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert re.search(re.escape(said), line)


def test_a_server_on_a_thread_drains_its_handlers():
    async def handler(stream):
        await stream.draining.wait()
        with move_on_after(5):
            await run_in_thread(lambda: None)
        await stream.write(b"bye")

    with Server(handler, bind="127.0.0.1:0") as server:
        client = support.connect(support.socket_address(server.addresses[0]))
        support.wait_until(lambda: server.statistics()["open"], "the connection")
    with client:
        assert support.receive_all(client) == b"bye"


def test_a_reactor_without_tasks_is_drained_as_before():
    with Reactor() as reactor:
        Drain(reactor, 1).begin()
        reactor.run()

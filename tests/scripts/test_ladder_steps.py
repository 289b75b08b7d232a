"""Each step of the ladder is a real echo server, and each fails where its docstring says so."""

import contextlib
import importlib.util
import pathlib
import re
import select
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import types
from collections.abc import Iterator

import pytest

LADDER = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "ladder"
BLOCKING, SELECTORS, GENERATORS = LADDER / "1_blocking.py", LADDER / "3_selectors.py", LADDER / "6_generators.py"
STEPS = [pytest.param(path, id=path.stem) for path in sorted(LADDER.glob("[0-9]_*.py"))]
CONCURRENT_STEPS = STEPS[1:]
# The other steps leave signals and addresses to the package, which has its own tests.
STEPS_BY_HAND = [*STEPS[:4], STEPS[5]]
DEADLINE_SECONDS = 60


@contextlib.contextmanager
def serving(step: pathlib.Path) -> Iterator[tuple[subprocess.Popen[str], tuple[str, int]]]:
    """Run a step on a free port until the block ends; yield its process and its address."""
    command = [sys.executable, str(step), "127.0.0.1", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert select.select([process.stderr], [], [], DEADLINE_SECONDS)[0], "it says nothing"
            line = process.stderr.readline()
            found = re.fullmatch(rf"{step.stem}: listening on 127\.0\.0\.1:(\d+)\n", line)
            assert found, line
            yield process, ("127.0.0.1", int(found[1]))
        finally:
            process.kill()


def loaded(step: pathlib.Path) -> types.ModuleType:
    """The step as a module, for a test that calls its functions."""
    specification = importlib.util.spec_from_file_location(f"step_{step.stem}", step)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def connect(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, timeout=DEADLINE_SECONDS)


def receive(client: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size and (data := client.recv(min(65536, size - len(received)))):
        received += data
    return bytes(received)


def round_trip(client: socket.socket, message: bytes) -> bytes:
    client.sendall(message)
    return receive(client, len(message))


def patterned(size: int) -> bytes:
    """Bytes in which a missing, doubled or misplaced piece shows."""
    return b"".join(struct.pack("!I", number) for number in range(size // 4))


@pytest.mark.parametrize("step", STEPS)
def test_every_byte_comes_back_in_order_and_then_the_end(step):
    message = patterned(4 * 1024 * 1024)
    with serving(step) as (_, address), connect(address) as client:

        def send():
            client.sendall(message)
            client.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        received = receive(client, len(message) + 1)
        sender.join()
    assert received == message


@pytest.mark.parametrize("step", STEPS)
def test_a_client_that_resets_its_connection_does_not_disturb_the_next(step):
    with serving(step) as (_, address):
        rude = connect(address)
        assert round_trip(rude, b"hello") == b"hello"
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close sends RST
        rude.close()
        with connect(address) as client:
            assert round_trip(client, b"still there?") == b"still there?"


@pytest.mark.parametrize("step", STEPS_BY_HAND)
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_without_a_traceback(step, ending):
    with serving(step) as (process, address), connect(address) as client:
        assert round_trip(client, b"hello") == b"hello"
        process.send_signal(ending)
        assert process.wait(DEADLINE_SECONDS) == -ending
        assert process.stderr.read() == ""


@pytest.mark.parametrize("step", STEPS_BY_HAND)
def test_a_port_in_use_is_one_clear_line(step):
    with serving(step) as (_, (host, port)):
        second = [sys.executable, str(step), host, str(port)]
        result = subprocess.run(second, capture_output=True, text=True, timeout=DEADLINE_SECONDS)
    assert result.returncode == 1
    assert result.stderr.startswith(f"cannot listen on {host}:{port}: ")
    assert result.stderr.count("\n") == 1


def test_blocking_leaves_the_second_client_unanswered_until_the_first_is_gone():
    with serving(BLOCKING) as (_, address), connect(address) as first:
        assert round_trip(first, b"first") == b"first"
        with connect(address) as second:
            second.sendall(b"second")
            # A server that could serve both would have answered the second long before the last of these.
            for _ in range(100):
                assert round_trip(first, b"first again") == b"first again"
            assert select.select([second], [], [], 0)[0] == []
            first.close()
            assert receive(second, 6) == b"second"


@pytest.mark.parametrize("step", CONCURRENT_STEPS)
def test_the_steps_after_it_answer_all_while_all_are_connected(step):
    with serving(step) as (_, address), contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(address)) for _ in range(20)]
        for turn in range(3):
            for number, client in enumerate(clients):
                message = b"%d of client %d" % (turn, number)
                assert round_trip(client, message) == message


@pytest.mark.parametrize("step", CONCURRENT_STEPS)
def test_the_steps_after_it_answer_others_beside_a_client_that_does_not_read(step):
    with serving(step) as (_, address), connect(address) as slow, connect(address) as other:
        slow.setblocking(False)
        sent = refused = 0
        # Some steps take all, others stop when the kernel's buffers are full. Either way the other has its turns.
        while sent < 16 * 1024 * 1024 and refused < 20:
            try:
                sent += slow.send(bytes(65536))
                refused = 0
            except BlockingIOError:
                refused += 1
            assert round_trip(other, b"and I?") == b"and I?"


def test_selectors_keeps_all_that_a_slow_reader_leaves_unread():
    # Far more than the kernel's buffers hold. All of it is sent before a byte is read, so the server has it.
    message = patterned(32 * 1024 * 1024)
    with serving(SELECTORS) as (_, address), connect(address) as client:
        client.sendall(message)
        client.shutdown(socket.SHUT_WR)
        assert receive(client, len(message) + 1) == message


class WatchedSelector(selectors.DefaultSelector):
    """Notes, each time the loop goes to sleep, each socket whose interest in WRITE does not fit its output."""

    misfits: list[selectors.SelectorKey] = []
    wrote: bool = False

    def select(self, timeout=None):
        for key in self.get_map().values():
            if key.data is not None:  # the listener has none
                WatchedSelector.wrote |= bool(key.data)
                if bool(key.data) != bool(key.events & selectors.EVENT_WRITE):
                    self.misfits.append(key)
        return super().select(timeout)


def test_selectors_asks_for_write_just_while_there_are_bytes_to_send():
    step = loaded(SELECTORS)
    step.DefaultSelector = WatchedSelector
    # The listener and its thread outlive the test: `serve` has no end.
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=step.serve, args=[listener], daemon=True).start()

    message = patterned(32 * 1024 * 1024)  # far more than the kernel's buffers can grow to, so some of it has to wait
    with connect(listener.getsockname()) as client:
        client.sendall(message)
        assert receive(client, len(message)) == message
        assert round_trip(client, b"and once more") == b"and once more"
    with connect(listener.getsockname()) as client:
        assert round_trip(client, b"the loop is past its last sleep") == b"the loop is past its last sleep"
    assert WatchedSelector.wrote
    assert WatchedSelector.misfits == []


@pytest.fixture
def generators() -> Iterator[types.ModuleType]:
    """Step 6, for a test that resumes the tasks itself."""
    step = loaded(GENERATORS)
    with step.selector:
        yield step


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection. No call of theirs waits."""
    with contextlib.ExitStack() as stack:
        ours, theirs = (stack.enter_context(end) for end in socket.socketpair())
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


def test_what_generators_waits_for_comes_out_of_the_outermost_send(generators, pair):
    ours, theirs = pair
    task = generators.echo(ours)
    assert task.send(None) == (ours, selectors.EVENT_READ)
    theirs.send(b"hello")
    assert task.send(None) == (ours, selectors.EVENT_READ)
    assert theirs.recv(100) == b"hello"
    theirs.close()
    with pytest.raises(StopIteration):
        task.send(None)
    assert ours.fileno() == -1


def test_generators_waits_again_if_it_was_resumed_and_there_was_nothing(generators, pair):
    ours, theirs = pair
    task = generators.echo(ours)
    for _ in range(3):
        assert task.send(None) == (ours, selectors.EVENT_READ)
    theirs.send(b"hello")
    assert task.send(None) == (ours, selectors.EVENT_READ)
    assert theirs.recv(100) == b"hello"
    task.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        task = generators.serve(listener)
        for _ in range(3):
            assert task.send(None) == (listener, selectors.EVENT_READ)
        task.close()


def test_generators_reads_nothing_more_from_a_client_that_does_not_read(generators, pair):
    ours, theirs = pair
    message = patterned(4 * 1024 * 1024)  # far more than the kernel keeps for a pair
    task = generators.echo(ours)
    waits, sent = task.send(None), 0
    while waits == (ours, selectors.EVENT_READ) and sent < len(message):
        sent += theirs.send(message[sent : sent + 65536])
        waits = task.send(None)
    assert 0 < sent < len(message)
    for _ in range(3):
        assert waits == (ours, selectors.EVENT_WRITE)
        waits = task.send(None)  # there is no room yet

    received = bytearray()
    while len(received) < sent:
        received += theirs.recv(65536)
        if waits == (ours, selectors.EVENT_WRITE):
            waits = task.send(None)
    assert received == message[:sent]
    assert waits == (ours, selectors.EVENT_READ)
    task.close()


def test_generators_gives_all_a_turn_after_one_recv_even_if_more_bytes_are_here(generators, pair):
    ours, theirs = pair
    received = []

    async def read():
        while True:
            received.append(await generators.recv(ours, 1))

    task = read()
    task.send(None)
    theirs.send(b"123")
    for count in (1, 2, 3, 3):
        assert task.send(None) == (ours, selectors.EVENT_READ)
        assert len(received) == count
    task.close()


def test_generators_ends_for_all_when_one_task_raises(generators, pair):
    ours, theirs = pair

    async def broken(connection):
        await generators.recv(connection, 100)
        raise LookupError("a bug of the program")

    generators.resume(broken(ours))
    theirs.send(b"hello")
    with pytest.raises(LookupError, match="a bug of the program"):
        generators.run()


@pytest.mark.parametrize("step", STEPS)
def test_a_step_is_short_and_opens_with_what_it_is_for(step):
    source = step.read_text()
    assert len(source.splitlines()) < 120
    assert source.startswith('"""Step ')

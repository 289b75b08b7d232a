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
from collections.abc import Iterator

import pytest

LADDER = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "ladder"
BLOCKING, SELECTORS = LADDER / "1_blocking.py", LADDER / "3_selectors.py"
STEPS = [pytest.param(path, id=path.stem) for path in sorted(LADDER.glob("[0-9]_*.py"))]
CONCURRENT_STEPS = STEPS[1:]
STEPS_BY_HAND = STEPS[:4]  # the last step leaves signals and addresses to the package, which has its own tests
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
    specification = importlib.util.spec_from_file_location("selectors_step", SELECTORS)
    step = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(step)
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


@pytest.mark.parametrize("step", STEPS)
def test_a_step_is_short_and_opens_with_what_it_is_for(step):
    source = step.read_text()
    assert len(source.splitlines()) < 85
    assert source.startswith('"""Step ')

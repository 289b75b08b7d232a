"""The second signal ends a server whose callback never returns, and the log names the line (P9). SIGHUP drains (P7)."""

import contextlib
import math
import os
import signal
import socket
import subprocess
import sys

import pytest

from reactor import Protocol, Reactor, Server
from reactor.service.stuck import WayOut
from tests.support import (
    DEADLINE_SECONDS,
    buffering_environment,
    connect,
    receive,
    run_reactor,
    running,
    serving,
    wait_until,
)

STUCK = """
import os, sys, time
from reactor import Protocol

class Stuck(Protocol):
    def connection_made(self, connection):
        self.connection = connection

    def data_received(self, data):
        print("stuck", flush=True)
        {how}
"""
WAYS = {
    "an endless loop": "while True: pass",
    "a sleep": "time.sleep(3600)",
    "a blocking read": "os.read(os.pipe()[0], 1)",
    "a loop that lets nothing out": "\n".join([
        "while True:",
        "            try:",
        "                time.sleep(3600)",
        "            except BaseException:",
        "                pass",
    ]),
}  # fmt: skip
NO_THREADS = """
import _thread, threading
def refuse(*arguments):
    raise RuntimeError("can't start new thread")
_thread.start_new_thread = threading._start_new_thread = refuse
"""


# Of two signals that wait for Python's handler, Python makes one, or takes them in the order of their numbers. So a
# test waits until the first was handled. `os.write`, because the handler may interrupt a `print`.
TELLS_OF_SIGNALS = """
import os
from reactor.service.stuck import WayOut
arrived = WayOut.arrived
def tell(way_out, number, frame):
    arrived(way_out, number, frame)
    os.write(1, b"handled\\n")
WayOut.arrived = tell
"""


@pytest.fixture
def program(tmp_path):
    """Write a program that is stuck in the way `how`. Returns its folder."""

    def write(how, before=""):
        (tmp_path / "stuck.py").write_text(before + STUCK.format(how=how))
        return tmp_path

    return write


def stuck(server):
    """Start the callback that is stuck. Returns the client."""
    client = connect(server.address)
    client.send(b"x")
    server.stdout.wait_for("stuck")
    return client


@pytest.mark.parametrize("signals", [
    (signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT),
    (signal.SIGHUP, signal.SIGTERM),
], ids=lambda signals: " ".join(number.name for number in signals))  # fmt: skip
@pytest.mark.parametrize("how", WAYS.values(), ids=WAYS)
def test_the_second_signal_ends_it_and_the_log_names_the_line(program, how, signals):
    path = program(how, TELLS_OF_SIGNALS)
    with serving("stuck:Stuck", bind=f"unix:{path}/socket", cwd=path) as server:
        with connect_unix(f"{path}/socket") as client:
            client.send(b"x")
            server.stdout.wait_for("stuck")
            server.send_signal(signals[0])
            server.stdout.wait_for("handled")
            server.send_signal(signals[1])
            assert server.wait() == 128 + signals[1]
    server.stderr.wait_for(f"{signals[1].name} again, and Stuck.data_received .*stuck.py:\\d+\\) does not return")
    assert not os.path.exists(f"{path}/socket"), "its path is left behind"


@contextlib.contextmanager
def in_system(program, *options):
    """A server whose callback is in system(3), which waits for its child again, so that no Python handler runs.

    The child ends with its standard input. That is always closed, because the child holds the server's output open.
    """
    with serving("stuck:Stuck", *options, cwd=program("os.system('read line')"), stdin=subprocess.PIPE) as server:
        with contextlib.closing(server.process.stdin), stuck(server):
            yield server


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGHUP])
def test_code_in_c_that_goes_on_waiting_when_a_signal_comes_is_left_too(program, first):
    with in_system(program) as server:
        server.send_signal(first)
        wait_until(lambda: not pending(server.pid), "the first one has arrived")
        server.send_signal(signal.SIGTERM)
        assert server.process.wait(DEADLINE_SECONDS) == 128 + signal.SIGTERM  # its output is still held open
    server.stderr.wait_for("SIGTERM again, and Stuck.data_received .*stuck.py:\\d+\\) does not return")


def test_code_in_c_is_left_though_callbacks_may_block_for_an_hour(program):
    with in_system(program, "--blocked-seconds", "3600") as server:
        for _ in range(2):
            server.send_signal(signal.SIGTERM)
            wait_until(lambda: not pending(server.pid), "it has arrived")
        assert server.process.wait(DEADLINE_SECONDS) == 128 + signal.SIGTERM  # its output is still held open


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_is_the_programs_own_is_no_way_out(number):
    way_out = WayOut(lambda: pytest.fail("it ends the process"))
    way_out.numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP} - {number}
    for _ in range(2):
        way_out.look(bytes([number, number]))
        assert way_out._since == math.inf, "it counts, so that it would end the process in a moment"


def test_the_server_asks_for_a_way_out_by_the_signals_that_it_handles_itself():
    with Reactor() as reactor:
        reactor.add_signal_handler(signal.SIGTERM, print)
        server = Server(Protocol, bind="127.0.0.1:0", reactor=reactor)
        server.handle_signals()
        server.handle_signals()
        assert signal.SIGINT in server._way_out.numbers and signal.SIGTERM not in server._way_out.numbers


def test_a_second_hang_up_ends_nothing(program):
    path = program("sys.stdin.readline()")
    with serving("stuck:Stuck", cwd=path, stdin=subprocess.PIPE) as server:
        with stuck(server):
            for number in (signal.SIGHUP, signal.SIGHUP):
                server.send_signal(number)
                wait_until(lambda: not pending(server.pid), "it has arrived")
            server.process.stdin.write("go on\n")
            server.process.stdin.flush()
        assert server.wait() == 0
    assert "again" not in server.stderr.text


def connect_unix(path):
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    return client


def pending(pid):
    """Whether a signal waits to be handled. A second one of the same kind would then be lost."""
    with open(f"/proc/{pid}/status") as status:
        masks = dict(line.split(":\t") for line in status.read().splitlines() if line.startswith(("SigPnd", "ShdPnd")))
    return any(int(mask, 16) for mask in masks.values())


@pytest.mark.parametrize("options", [[], ["--blocked-seconds", "inf"]], ids=["watched", "without a watchdog"])
def test_it_ends_too_when_the_loop_has_heard_the_first_signal_and_then_is_stuck(program, options):
    first = "self.connection.write(bytes(1 << 25))"  # more than the kernel takes, so the drain waits
    path = program(f"time.sleep(3600) if self.connection.get_write_buffer_size() else {first}")
    with serving("stuck:Stuck", *options, cwd=path) as server:
        with stuck(server) as client:
            receive(client, 1)
            server.send_signal(signal.SIGTERM)
            server.stderr.wait_for("draining")
            client.send(b"x")
            server.stdout.wait_for("stuck", 2)
            server.send_signal(signal.SIGTERM)
            assert server.wait() == 128 + signal.SIGTERM
    server.stderr.wait_for("SIGTERM again, and Stuck.data_received")


SAYS_WHEN_A_SIGNAL_WAS_HANDLED = """
        while not self.connection.reactor._signals._arrived: pass
        print("handled", flush=True)
        while True: pass
"""


def test_without_threads_it_ends_at_once(program):
    """The line is told at once, so the first handler must have returned."""
    with serving("stuck:Stuck", cwd=program(SAYS_WHEN_A_SIGNAL_WAS_HANDLED, NO_THREADS)) as server:
        with stuck(server):
            server.send_signal(signal.SIGTERM)
            server.stdout.wait_for("handled")
            server.send_signal(signal.SIGTERM)
            assert server.wait() == 128 + signal.SIGTERM
    server.stderr.wait_for("SIGTERM again, and Stuck.data_received")


def test_one_signal_waits_for_a_callback_that_does_return(program):
    path = program("sys.stdin.readline()")
    with serving("stuck:Stuck", cwd=path, stdin=subprocess.PIPE) as server:
        with stuck(server):
            server.send_signal(signal.SIGTERM)
            wait_until(lambda: not pending(server.pid), "it has arrived")
            server.process.stdin.write("go on\n")
            server.process.stdin.flush()
            assert server.wait() == 0


def test_a_loop_that_hears_of_the_second_signal_ends_by_itself(program):
    with serving("stuck:Stuck", cwd=program("self.connection.write(bytes(1 << 25))")) as server:
        with stuck(server) as client:
            receive(client, 1)
            server.send_signal(signal.SIGTERM)
            server.stderr.wait_for("draining")
            server.send_signal(signal.SIGTERM)
            assert server.wait() == 1, "its one connection was cut"
    assert "does not return" not in server.stderr.text


def test_the_hang_up_of_its_terminal_is_a_drain(tmp_path):
    with serving("echo", bind=f"unix:{tmp_path}/socket") as server:
        server.send_signal(signal.SIGHUP)
        assert server.wait() == 0
    server.stderr.wait_for("SIGHUP: draining")
    assert not (tmp_path / "socket").exists()


def test_a_hang_up_that_is_to_be_ignored_is(tmp_path):
    with serving("echo", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) as server:
        server.send_signal(signal.SIGHUP)
        with connect(server.address) as client:
            client.send(b"x")
            assert receive(client, 1) == b"x"
        assert server.terminate() == 0
    assert "SIGHUP" not in server.stderr.text


def test_ctrl_c_while_a_program_is_imported_is_quiet(tmp_path):
    (tmp_path / "slow.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(3600)\n")
    command = [sys.executable, "-m", "reactor", "serve", "slow:Program", "--bind", "127.0.0.1:0"]
    with running(command, cwd=tmp_path, env=buffering_environment()) as server:
        server.stdout.wait_for("importing")
        server.send_signal(signal.SIGINT)
        assert server.wait() == 130
    assert server.stderr.text == ""


def test_a_program_that_asks_for_an_interrupt_at_import_is_quiet_too(tmp_path):
    (tmp_path / "rude.py").write_text("raise KeyboardInterrupt\n")
    assert run_reactor("serve", "rude:Program", cwd=tmp_path).returncode == 130

"""The loop (L1 to L8 in table.py): signals, threads, timers, forks and callbacks that trouble the loop itself."""

import contextlib
import json
import random
import re
import signal
import subprocess
import threading
import time

import pytest

from tests.failures.clients import process_state
from tests.failures.programs.loop_protocols import TIMERS, WAKES
from tests.failures.programs.protocols import REPLY
from tests.support import connect, exchange, receive, receive_all, reset, wait_until

# Ctrl-C at any moment: KeyboardInterrupt must leave the loop between two steps, not in the middle of one (L1).

L1_INTERRUPTS, L1_LONGEST_PAUSE_SECONDS = 1000, 0.001
L1_SEED = 1


def test_l1_keyboard_interrupt_at_random_moments(serve):
    dice, over = random.Random(L1_SEED), threading.Event()
    with serve("interrupts") as server, connect(server.address) as client:
        broken = []
        busy = threading.Thread(target=keep_busy, args=[client, over, broken])
        busy.start()
        try:
            for number in range(1, L1_INTERRUPTS + 1):
                server.stdout.wait_for(f"^running {number}$")
                time.sleep(dice.uniform(0, L1_LONGEST_PAUSE_SECONDS))
                assert not broken, f"after {number - 1} interrupts: {broken}\n{server.stderr.text}"
                server.send_signal(signal.SIGINT)
            server.stdout.wait_for(f"^running {L1_INTERRUPTS + 1}$")
        finally:
            over.set()
            busy.join()
        assert not broken, broken
        assert exchange(client, b"still here") == b"still here"
        with connect(server.address) as newcomer:
            assert exchange(newcomer, b"new") == b"new"


def keep_busy(client, over, broken):
    """Exchange messages until `over` is set, and note an answer that differs."""
    number = 0
    try:
        while not over.is_set():
            number += 1
            message = b"message %d " % number * 20
            answer = exchange(client, message)
            if answer != message:
                broken.append((message, answer))
                return
    except OSError as exc:
        broken.append(exc)


# Signals and other threads wake the loop more often than it wakes up (L2).

L2_SIGNALS, L2_ROUNDS = 10_000, 3
L2_GROWTH_BYTES = 8 << 20


def test_l2_signals_and_threads_wake_the_loop_without_end(serve):
    with serve("wake") as server, connect(server.address) as client:
        assert exchange(client, b"w") == b"w"
        before = server.resident_bytes()
        signals = threading.Thread(target=flood_with_signals, args=[server])
        signals.start()
        for ask in (b"w", b"n") * L2_ROUNDS:  # each answer says that none of so many calls was lost
            assert exchange(client, ask) == ask, f"not all of {WAKES} calls were made"
        signals.join()
        assert exchange(client, b"w") == b"w"
        grown = server.resident_bytes() - before
        assert grown < L2_GROWTH_BYTES, f"its memory grew by {grown >> 20} MiB"
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0, server.stderr.text[-2000:]


def test_l2_sigterm_behind_signals_that_fill_the_wake_up_pipe(serve):
    with serve("block") as server, connect(server.address) as client:
        assert exchange(client, b"x") == b"x"
        client.sendall(b"b")
        server.stderr.wait_for("program: blocks")
        wait_until(lambda: process_state(server) == "S", "the sleep")  # from now on nothing empties the pipe
        flood_with_signals(server)
        server.send_signal(signal.SIGTERM)
        assert receive_all(client) == b"b", "the answer is lost"
        assert server.wait() == 0, server.stderr.text[-2000:]


def flood_with_signals(server):
    for _ in range(L2_SIGNALS):
        server.send_signal(signal.SIGUSR1)


# Most timers are cancelled. A heap that keeps them grows; a search for each of them stops the loop (L3).

L3_REQUESTS = 1_000_000 // TIMERS
L3_WARM_UP, L3_COUNTED = 5, 10  # the first and the last requests; counting calls makes them slow
L3_GROWTH_BYTES = 8 << 20  # 100,000 timers: the loop need not clean up all at once
L3_PAUSE = 5.0  # a visible pause: one request costs so many times the median


def test_l3_a_million_timers_armed_and_cancelled(serve):
    with serve("timers") as server, connect(server.address) as client, client.makefile("rb") as file:

        def calls_for(request):
            client.sendall(request)
            return int(file.readline())  # function calls: as many on any machine, busy or not

        for _ in range(L3_WARM_UP):
            calls_for(b"t")
        before = server.peak_resident_bytes()
        for _ in range(L3_REQUESTS - L3_WARM_UP - L3_COUNTED):
            calls_for(b"t")
        grown = server.peak_resident_bytes() - before
        assert grown < L3_GROWTH_BYTES, f"its memory grew by {grown >> 20} MiB"
        calls = sorted(calls_for(b"c") for _ in range(L3_COUNTED))
        longest = calls[-1] / calls[len(calls) // 2]
        assert longest < L3_PAUSE, f"{TIMERS} timers once cost {longest:.1f} times what they mostly cost"


# Times that have no order, or the same one (L4).


def test_l4_times_that_are_no_number_endless_past_or_equal(serve):
    with serve("timer_order") as server, connect(server.address) as client, client.makefile("rb") as file:
        client.sendall(b"t")
        report = json.loads(file.readline())
    assert report["nan"] == "ValueError", f"a timer at NaN: {report['nan']}"
    assert not report["early"], f"called before their time: {len(report['early'])}"
    mixed = [f"mixed {kind}" for kind in range(3) for number in range(20) if number % 3 == kind]
    expected = ["negative", "past", *mixed, *[f"tie {number}" for number in range(20)]]
    assert report["called"] == expected, f"out of order: {', '.join(report['called'][:5])} were called first"


# A callback forks. The child has copies of everything, but the kernel's objects behind them belong to the parent (L5).


def test_l5_fork_in_a_callback(serve):
    with serve("fork") as server, connect(server.address) as client, connect(server.address) as other:
        assert exchange(other, b"o") == b"o"
        with client.makefile("rb") as answers, connect(server.address) as closing:
            client.sendall(b"f")
            assert answers.readline().startswith(b"raised "), "the child may use its parent's loop"
            closing.sendall(b"c")
            assert receive_all(closing) == b"", "the parent has closed, and the child keeps it open"
        for message in (b"a", b"b"):
            assert exchange(client, message) == message
            assert exchange(other, message) == message
        with connect(server.address) as newcomer:
            assert exchange(newcomer, b"n") == b"n"
        server.wait_until_idle("the child's copies keep no one busy")
        assert exchange(client, b"x") == b"x"


# A callback blocks, all connections wait, and nothing says which callback it is (L6).


# The protocol's callback, or a handler and its caller.
CALLBACKS_THAT_BLOCK = r"Block\.data_received|in block\b|\.connected\(\)|handle_stream\(\)"


def test_l6_a_callback_that_blocks_is_reported(serve):
    with serve("block", blocked_seconds=0.2) as server, connect(server.address) as client:
        assert exchange(client, b"xyz") == b"xyz"
        quiet = server.stderr.text
        assert exchange(client, b"b") == b"b"
        wait_until(lambda: longest_time(server.stderr.text[len(quiet) :]) >= 0.9, "how long it was")
        report = server.stderr.text[len(quiet) :]
        assert re.search(CALLBACKS_THAT_BLOCK, report), f"which callback it was is not told:\n{report}"
        assert re.search(r"File .*, in sleep_for_a_second\n", report), f"where it was is not told:\n{report}"
        assert "sleep_for_a_second" not in quiet


def longest_time(text):
    """The longest of the times, in seconds, that a text names."""
    return max(map(float, re.findall(r"(\d+\.\d+) ?s(?:ec|\b)", text)), default=0.0)


# Told to stop, while everything is going on (L7).

L7_DRAIN_SECONDS = 0.5


def test_l7_drain_at_sigterm(serve):
    """The server is in no hurry: when all clients have their answers, the one that never reads leaves."""
    with serve("reply_10mb", drain_seconds=3600) as server:
        idle, reader, never_reads = (connect(server.address) for _ in range(3))
        with idle, reader:
            for client in (reader, never_reads):
                client.sendall(b"\n")
                assert receive(client, 1) == REPLY[:1]
            server.send_signal(signal.SIGTERM)
            assert idle.recv(1) == b""  # while the reply is still on its way: nothing reads it yet
            assert_whole(receive_all(reader))
        reset(never_reads)
        server.wait()


def test_l7_a_drain_ends_at_its_deadline_and_its_status_tells_that_somebody_was_cut(serve):
    with serve("reply_10mb", drain_seconds=L7_DRAIN_SECONDS) as server, connect(server.address) as never_reads:
        never_reads.sendall(b"\n")
        assert receive(never_reads, 1) == REPLY[:1]
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 1, f"one connection had to be cut:\n{server.stderr.text}"


def test_l7_a_drain_that_cuts_nobody_ends_with_status_0(serve):
    with serve("reply_10mb") as server, connect(server.address) as idle, connect(server.address) as reader:
        reader.sendall(b"\n")
        assert receive(reader, 1) == REPLY[:1]
        server.send_signal(signal.SIGTERM)
        assert idle.recv(1) == b""
        assert_whole(receive_all(reader))
        assert server.wait() == 0, server.stderr.text


def assert_whole(rest):
    """Check that it is all of the reply but the first byte."""
    assert len(rest) == len(REPLY) - 1, f"the reply was cut after {len(rest) + 1} of its {len(REPLY)} bytes"
    assert rest == REPLY[1:]


# A second signal: its sender does not want to wait (L8).


L8_WATCH_SECONDS = 0.5


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT])
def test_l8_a_second_signal_ends_the_drain_at_once(serve, adapter, again):
    with serve("reply_10mb", drain_seconds=3600) as server, connect(server.address) as never_reads:
        never_reads.sendall(b"\n")
        assert receive(never_reads, 1) == REPLY[:1]
        server.send_signal(signal.SIGTERM)
        wait_until(lambda: is_refused(server.address), "the drain to begin")
        if ends_by_itself(server):
            assert "drain_seconds" in adapter.runs_without, "it does not wait for the reply to be read"
            pytest.skip(f"not applicable to {adapter.name}: it ends at the first signal, and drains nothing (L7)")
        server.send_signal(again)
        status = server.wait()
        assert status in (1, -again), f"its status says {status}, as if nobody had been cut:\n{server.stderr.text}"


def ends_by_itself(server):
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.process.wait(L8_WATCH_SECONDS)
    return server.process.poll() is not None


def is_refused(address):
    try:
        connect(address).close()
    except ConnectionError:
        return True
    return False

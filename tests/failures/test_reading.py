"""Reading (R1 to R8 in table.py): what peers do to a server that reads from them."""

import contextlib
import random
import resource
import select
import socket
import subprocess
import sys
import threading
import time

import pytest

from tests.failures.clients import allow_descriptors, frozen, heard_just_now, is_cut_off, those_without, within_turns
from tests.failures.injection import POLLS, RECEIVES, SENDS, injected, one_byte_library
from tests.failures.standstill import before_answers, calls_from_standstill, read_bytes, written_bytes
from tests.support import (
    DEADLINE_SECONDS,
    ROOT,
    Lines,
    connect,
    exchange,
    patterned,
    receive,
    receive_all,
    reset,
    wait_until,
)

# A client writes without end, beside others that want answers (R1).

R1_CLIENTS, R1_QUESTIONS, R1_FLOODS = 50, 40, 3
R1_READ_BYTES = 1 << 19  # of the firehose before all are answered: two turns of a server that reads 256 KiB at a time


def test_r1_firehose(serve, tmp_path):
    with serve("dots") as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(server.address)) for _ in range(R1_CLIENTS)]
        turn_firehose = stack.enter_context(firehose(server.address))

        def ask():
            for client in clients:
                client.sendall(b"\n")

        def answers():
            for number, client in enumerate(clients):
                assert client.recv(1) == b".", f"{R1_CLIENTS - number} of {R1_CLIENTS} clients got no answer"

        for _ in range(R1_FLOODS):
            turn_firehose("flowing")
            for _ in range(R1_QUESTIONS):  # until it flows at full speed, and every client is answered meanwhile
                ask()
                answers()
            calls = calls_from_standstill(server, tmp_path, ask, answers)
            turn_firehose("stopped")
            flood = read_bytes(before_answers(calls, ".", R1_CLIENTS), "xxx")
            assert flood <= R1_READ_BYTES, f"{flood >> 10} KiB of a firehose were read before {R1_CLIENTS} answers"


@contextlib.contextmanager
def firehose(address):
    """A process that writes to `address` without end; yield what turns it on and off."""
    command = [sys.executable, str(ROOT / "tests" / "failures" / "firehose.py"), *map(str, address)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        said = Lines(process.stdout)

        def turn(word):
            count = said.count(word)
            process.stdin.write("\n")
            process.stdin.flush()
            said.wait_for(word, count + 1)

        try:
            yield turn
        finally:
            process.kill()
            said.join()


# A segment with thousands of frames: a server that handles all at once makes the others wait (R2).

R2_FRAMES = 500_000  # of one byte and a newline: 1 MB
R2_FRAMES_FIRST = 2500  # at most, before another connection's turn
R2_QUESTIONS, R2_PIECE_BYTES = 5, 1 << 16  # with each question a piece of the flood; the rest at the end


def test_r2_frame_flood(serve, tmp_path):
    with serve("lines") as server, connect(server.address) as flooder, connect(server.address) as other:
        assert exchange(other, b"x\n") == b"x\n"
        flood = b"f\n" * R2_FRAMES
        pieces, rest = flood[: R2_QUESTIONS * R2_PIECE_BYTES], flood[R2_QUESTIONS * R2_PIECE_BYTES :]
        answers = []

        def read():
            with contextlib.suppress(OSError):  # without an answer the connection is closed by then
                answers.append(receive(flooder, len(flood)))

        reader = threading.Thread(target=read)
        reader.start()

        def answer():
            assert receive(other, 2) == b"x\n"

        for begin in range(0, len(pieces), R2_PIECE_BYTES):

            def flood_and_ask(piece=pieces[begin : begin + R2_PIECE_BYTES]):
                flooder.sendall(piece)
                other.sendall(b"x\n")

            calls = calls_from_standstill(server, tmp_path, flood_and_ask, answer)
            first = written_bytes(before_answers(calls, r"x\n"), r"f\n") // len(b"f\n")
            assert first <= R2_FRAMES_FIRST, f"{first} frames were handled before somebody else's turn"
        flooder.sendall(rest)
        reader.join()
        assert answers == [flood]


# Slowloris: frames that are never finished, though a byte comes now and then (R3).

R3_CLIENTS = 200
R3_FRAME_SECONDS, R3_TRICKLE_SECONDS = 1.0, 0.2  # shorter than in the field, in proportion


def test_r3_slowloris(serve):
    with serve("lines", frame_seconds=R3_FRAME_SECONDS) as server, connect(server.address) as honest:
        with contextlib.ExitStack() as stack:
            trickling = {stack.enter_context(connect(server.address)) for _ in range(R3_CLIENTS)}
            deadline = time.monotonic() + DEADLINE_SECONDS
            while trickling:
                assert time.monotonic() < deadline, f"{len(trickling)} clients still trickle"
                for client in list(trickling):
                    if not is_open_after_a_byte(client):
                        trickling.remove(client)
                assert exchange(honest, b"I say all that I begin\n") == b"I say all that I begin\n"
                time.sleep(R3_TRICKLE_SECONDS)
        server.expect_closed(frame_timeout=R3_CLIENTS)


def is_open_after_a_byte(client):
    """Send a byte of a line, and see whether the server has ended the connection."""
    try:
        client.sendall(b"x")
        return not (select_readable(client) and client.recv(1) == b"")
    except (ConnectionResetError, BrokenPipeError):
        return False


def select_readable(client):
    poll = select.poll()
    poll.register(client, select.POLLIN)
    return bool(poll.poll(0))


# A frame that never ends: a server that waits for its end keeps all of it (R4).

R4_FRAME_BYTES = 8 << 20
R4_SLACK_BYTES = 1 << 20  # what a process needs besides its frames (as in W1): 8 KiB should not decide
R4_SENT_BYTES = R4_FRAME_BYTES + 2  # at the limit + 1, a server that counts the terminator (Tornado) still waits for it


def test_r4_oversize_frame(serve):
    with serve("lines", frame_bytes=R4_FRAME_BYTES) as server:
        with connect(server.address) as other, connect(server.address) as client:
            assert exchange(other, b"x\n") == b"x\n"
            before = server.resident_bytes()
            client.sendall(b"x" * R4_SENT_BYTES)
            assert (told := receive_all(client)) == b"too long\n", f"the client is told {told!r}, and not why"
            grown = server.peak_resident_bytes() - before
            assert grown < 2 * R4_FRAME_BYTES + R4_SLACK_BYTES, f"its memory grew by {grown >> 20} MiB for one frame"
            assert exchange(other, b"x\n") == b"x\n"
        server.expect_closed(frame_too_large=1)


def test_r4_the_longest_frame_that_is_allowed(serve):
    with serve("lines", frame_bytes=R4_FRAME_BYTES) as server, connect(server.address) as client:
        line = patterned(R4_FRAME_BYTES).replace(b"\n", b" ") + b"\n"
        writer = threading.Thread(target=client.sendall, args=[line])
        writer.start()
        assert receive(client, len(line)) == line
        writer.join()


# A peer leaves while the server does not read from it (R5).

R5_CLIENTS, R5_TURNS = 9, 20  # turns of 10 ms: it is enough to look ten times a second


@pytest.mark.parametrize("leave", ["fin", "rst", "rst with data unread"])
def test_r5_a_peer_leaves_while_reading_is_paused(serve, adapter, leave):
    if leave == "fin" and adapter.unread_end:
        pytest.skip(f"not applicable to {adapter.name}: {adapter.unread_end}")
    with serve("pause") as server, connect(server.address) as other:
        for _ in range(R5_CLIENTS):
            client = paused_client(server)
            if leave == "rst with data unread":
                client.sendall(b"unread")
            before = server.descriptors()
            client.close() if leave == "fin" else reset(client)
            noticed = within_turns(R5_TURNS, other, lambda: server.descriptors() < before)  # noqa: B023  # called here
            assert noticed, f"not noticed in {R5_TURNS} turns"
        server.expect_closed(**{"peer_closed" if leave == "fin" else "reset": R5_CLIENTS})


def test_r5_a_peer_leaves_with_data_unread_and_it_is_delivered_before_the_end(serve):
    with serve("pause") as server, connect(server.address) as other:
        with paused_client(server) as client:
            client.sendall(b"last words")
            client.shutdown(socket.SHUT_WR)
            assert exchange(other, b"x") == b"x"
            server.wait_until_idle("an end that cannot be told is nothing to do")
            assert exchange(other, b"r") == b"r"
            assert receive_all(client) == b"last words"


def paused_client(server):
    """A client that the server has stopped reading from."""
    client = connect(server.address)
    assert exchange(client, b"p") == b"p"
    return client


# Calls are interrupted, would block after all, or move a single byte (R6).

R6_PIECES, R6_BYTES = 100, 200_000
R6_SEED = 6


def pieces_of(data):
    """`data` in pieces of random sizes, the same each time."""
    dice, begin = random.Random(R6_SEED), 0
    while begin < len(data):
        size = dice.randrange(1, 2 * len(data) // R6_PIECES)
        yield data[begin : begin + size]
        begin += size


def echo_in_pieces(client, data):
    """Send `data` in pieces, each after the one before has come back; then all at once. Return what comes back."""
    answers = [exchange(client, piece) for piece in pieces_of(data)]
    writer = threading.Thread(target=client.sendall, args=[data])
    writer.start()
    received = receive(client, len(data))
    writer.join()
    return b"".join(answers) + received


@pytest.mark.parametrize("error", ["EINTR", "EAGAIN"])
# Now and then, and nine times in a row. It must be over when strace detaches, which may leave a call unanswered.
@pytest.mark.parametrize("when", ["2..80+3", "1..9"])
def test_r6_system_calls_fail_for_now(serve, adapter, tmp_path, error, when):
    if error in adapter.never_meets:
        pytest.skip(f"not applicable to {adapter.name}: {adapter.never_meets[error]}")
    calls = [RECEIVES, SENDS]
    if error == "EINTR":  # epoll_wait(2) has no EAGAIN
        calls.append(POLLS)
    data = patterned(R6_BYTES)
    with serve("echo") as server, connect(server.address) as client:
        injections = [f"{names}:error={error}:when={when}" for names in calls]
        with injected(server.pid, tmp_path, *injections, trace=",".join(calls)) as tracing:
            assert echo_in_pieces(client, data) == data + data
        met = sum(error in call for call in tracing.calls())
        assert met >= 9 * len(calls), f"it makes too few of these calls to meet the error: {met} times"


@pytest.mark.parametrize("calls", ["recv", "send", "recv send"])
def test_r6_system_calls_move_one_byte(serve, tmp_path, calls):
    data = patterned(R6_BYTES // 100)
    with serve("echo", environment={"LD_PRELOAD": one_byte_library(tmp_path), "ONE_BYTE": calls}) as server:
        with connect(server.address) as client:
            assert echo_in_pieces(client, data) == data + data
        if (told := server.statistics()) is not None:
            for call in calls.split():
                times, count = {"recv": ("receives", "bytes_received"), "send": ("sends", "bytes_sent")}[call]
                assert told[times] == told[count] == 2 * len(data), "the library is not in between"


# A callback blocks for longer than a deadline; what the others sent meanwhile lies in the kernel (R7).

R7_CLIENTS, R7_IDLE_SECONDS = 1500, 3.0  # more clients than one poll reports
R7_BLOCKED = b"b" * 4  # a second for each byte


def test_r7_a_callback_that_outlasts_a_deadline_ends_nobody_who_has_sent_something(serve):
    if not allow_descriptors(2 * R7_CLIENTS):
        pytest.skip(f"this process may not have {R7_CLIENTS} clients")
    with serve("block", idle_seconds=R7_IDLE_SECONDS) as server, connect(server.address) as blocker:
        with heard_just_now(R7_CLIENTS, server) as clients:
            blocker.sendall(R7_BLOCKED)
            server.stderr.wait_for("program: blocks")
            for client in clients:
                client.sendall(b"y")
            ended = those_without(b"y", clients)
            assert not ended, f"{len(ended)} of {R7_CLIENTS} clients were ended, though they had not been silent"
            assert receive(blocker, len(R7_BLOCKED)) == R7_BLOCKED


# There is no memory to receive what one connection sends (R8).

R8_RECEIVE_BYTES = 200_000_000
R8_SPARE_BYTES = 16 << 20
R8_FILLS = 8  # a server asks for more each time its buffer was filled


def test_r8_who_cannot_be_received_from_for_want_of_memory_is_ended_alone(serve, adapter):
    with serve("dots", receive_bytes=R8_RECEIVE_BYTES) as server, connect(server.address) as other:
        assert exchange(other, b"\n") == b"."
        _, hard = resource.prlimit(server.pid, resource.RLIMIT_AS)
        resource.prlimit(server.pid, resource.RLIMIT_AS, (server.virtual_bytes() + R8_SPARE_BYTES, hard))
        with connect(server.address) as flooder:
            for _ in range(R8_FILLS):
                with frozen(server):
                    fill(flooder)
                assert exchange(other, b"\n") == b".", "who is inside is not served any more"
                server.wait_until_idle("all is read")
            if not adapter.has_statistics and not is_cut_off(flooder):
                pytest.skip(f"not applicable to {adapter.name}: it never asks for so much at once")
            wait_until(lambda: is_cut_off(flooder), "the end of who cannot be received from")
        assert exchange(other, b"\n") == b"."
        with connect(server.address) as newcomer:
            assert exchange(newcomer, b"\n") == b"."


def fill(client):
    """Send as much as the kernels take while the server is stopped; ignore an end that comes meanwhile."""
    client.setblocking(False)
    with contextlib.suppress(BlockingIOError, ConnectionResetError, BrokenPipeError):
        while True:
            client.send(bytes(1 << 20))
    client.settimeout(DEADLINE_SECONDS)

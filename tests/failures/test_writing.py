"""W1 to W7: peers that do not read, and programs that still write."""

import contextlib
import socket
import threading

import pytest

from tests.failures.clients import deaf, frozen, is_cut_off, is_ended
from tests.failures.programs.end_protocols import PIECE, Tandem
from tests.failures.programs.protocols import CHUNK, MIB, REPLY
from tests.support import connect, receive, receive_all, reset, wait_until

HARD_MIB = 32  # `output_hard_bytes`, the most that one connection may keep, without the last write
SLACK_MIB = 16  # what the process needs besides its buffers: the chunk that is written, the allocator's reserve


def wait_within_memory(server, mebibytes, condition, what):
    """Wait for `condition` while the server's memory grows by at most so much."""
    start = server.resident_bytes()

    def holds():
        grown = (server.peak_resident_bytes() - start) / MIB
        assert grown <= mebibytes, f"its memory grew by {grown:.0f} MiB"
        return condition()

    wait_until(holds, what)


def assert_serves(server, request, reply):
    """Another client, which does read, gets its reply."""
    with connect(server.address) as other:
        other.sendall(request)
        assert receive(other, len(reply)) == reply


@pytest.mark.parametrize("program", ["flood", "flood_lines"], ids=["w1", "w2"])
def test_w1_w2_one_who_asks_for_a_gibibyte_and_reads_nothing_is_ended_at_the_hard_mark(serve, program):
    """Trouble: the server keeps what a peer does not read. By `write` (W1) and by `writelines` (W2)."""
    with serve(program) as server:
        with deaf(server.address) as slow:
            slow.sendall(b"x")
            slow.recv(1, socket.MSG_PEEK)
            ended = f"the end of one who does not read; {HARD_MIB} MiB were to be enough"
            wait_within_memory(server, HARD_MIB + SLACK_MIB, lambda: is_ended(slow, server), ended)
            assert_serves(server, b"x", CHUNK + CHUNK)
        server.stderr.wait_for("program: pause_writing")
        server.expect_closed(slow_reader=1)


def test_w1_one_who_reads_nothing_costs_no_more_than_the_high_mark_where_the_pause_is_heeded(serve):
    """Trouble: as before, but the program stops when it is asked to pause. Then no connection is ended."""
    with serve("polite_flood") as server:
        with deaf(server.address) as slow:
            slow.sendall(b"x")
            paused = lambda: "program: pause_writing" in server.stderr.text  # noqa: E731
            wait_within_memory(server, SLACK_MIB, paused, "the pause of a program that writes too much")
            wait_within_memory(server, SLACK_MIB, server.is_idle, "the quiet of a program that waits")
            assert_serves(server, b"x", CHUNK + CHUNK)
            assert receive(slow, 100 * len(CHUNK)) == 100 * CHUNK  # it continues where it paused
        server.expect_closed(slow_reader=0)


def test_w3_an_empty_chunk_does_not_keep_a_connection_from_closing(serve):
    """Trouble: a buffer with an empty chunk is not empty, and is never sent."""
    with serve("write_nothing") as server:
        for _ in range(3):
            with connect(server.address) as client:
                client.sendall(b"x")
                assert receive_all(client) == b""
        server.expect_closed(closed=3)


@pytest.mark.parametrize("noticed", [True, False], ids=["noticed", "unnoticed"])
def test_w4_ten_thousand_writes_after_a_reset_are_dropped_without_a_word(serve, noticed):
    """Trouble: a peer has left, whether the server knows it or not, and the program still writes to it."""
    with serve("write_after_end") as server, connect(server.address) as writer:
        kept = connect(server.address)
        kept.sendall(b"k")
        assert receive(kept, 1) == b"k"
        lines = server.stderr.text.count("\n")
        if noticed:
            descriptors = server.descriptors()
            reset(kept)
            wait_until(lambda: server.descriptors() < descriptors, "the reset to be noticed")
            writer.sendall(b"w")
        else:
            server.wait_until_idle("both are known")
            with frozen(server):
                writer.sendall(b"w")
                reset(kept)
        assert_no_exception(writer)
        writer.sendall(b"w")  # and once more, when it must have been noticed
        assert_no_exception(writer)
        said = server.stderr.text.count("\n") - lines
        assert said <= 1, f"it writes {said} lines about it: {server.stderr.text[:1000]}"
        statistics = server.statistics()
        if statistics is not None:
            assert statistics["closed"]["reset"] == 1
            assert statistics["dropped_writes"] == (20_000 if noticed else 10_000)
        writer.close()


def assert_no_exception(writer):
    """The program answers that it has written, or with the name of the exception."""
    answer = writer.recv(100).decode()
    assert answer == "w", f"the program met {answer.strip()}"


BUDGET_MIB = 18


def ask(client, mebibytes):
    client.sendall(b"%d\n" % (mebibytes * MIB))


def assert_whole(client, mebibytes):
    """Check that it gets all that it asked for."""
    assert receive(client, mebibytes * MIB) == REPLY[:MIB] * mebibytes


def test_w5_many_slow_readers_each_under_its_own_mark_do_not_exceed_the_budget_of_all(serve):
    """Trouble: twenty peers ask for 6 MiB each; the kernels take some 2 of it. None is near its own hard mark."""
    with serve("sized", memory_bytes=BUDGET_MIB * MIB) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(deaf(server.address)) for _ in range(20)]
        asked = iter(clients)

        def all_asked():
            client = next(asked, None)
            if client is not None:
                ask(client, 6)
                client.recv(1, socket.MSG_PEEK)  # it is being served
            return client is None

        wait_within_memory(server, BUDGET_MIB + 6 + SLACK_MIB, all_asked, "the service of all")
        most = BUDGET_MIB // 3
        wait_until(lambda: sum(map(is_cut_off, clients)) >= len(clients) - most, f"the end of all but {most}")
        remaining = [client for client in clients if not is_cut_off(client)]
        assert remaining, "everyone was ended, and most of them for nothing"
        for client in remaining:
            assert_whole(client, 6)
        stack.close()
        server.expect_closed(memory=len(clients) - len(remaining))


def test_w5_the_largest_are_ended_first_and_no_more_of_them_than_it_takes(serve):
    """Trouble: which is to end? All ask at once, for 54 MiB together; the kernels take up to 2 for each."""
    with serve("sized", memory_bytes=BUDGET_MIB * MIB) as server, contextlib.ExitStack() as stack:
        clients = {size: stack.enter_context(deaf(server.address)) for size in (4, 14, 6, 12, 8, 10)}
        with frozen(server):
            for size, client in clients.items():
                ask(client, size)
        wait_until(lambda: all(is_cut_off(clients[size]) for size in (10, 12, 14)), "the end of the largest three")
        for size in (4, 6, 8):
            assert_whole(clients[size], size)
        stack.close()
        server.expect_closed(memory=3)


def test_w5_the_budget_holds_without_another_event(serve):
    """Trouble: a write exceeds the budget, the kernel takes none of it, and then no event comes any more."""
    with serve("sized", memory_bytes=BUDGET_MIB * MIB) as server:
        with deaf(server.address) as small, deaf(server.address) as large:
            for client in (small, large):
                ask(client, 6)
                client.recv(1, socket.MSG_PEEK)
            server.wait_until_idle("the kernels are full")
            ask(large, 12)
            wait_until(lambda: is_cut_off(large), "the end of the largest")
            assert_whole(small, 6)
        server.expect_closed(memory=1)


def test_w6_one_who_takes_nothing_for_too_long_is_ended(serve):
    """Trouble: a peer that stops reading is not idle, not over its mark, and would keep its output for ever."""
    with serve("polite_flood", write_stall_seconds=0.5) as server:
        with deaf(server.address) as slow:
            slow.sendall(b"x")
            slow.recv(1, socket.MSG_PEEK)
            wait_until(lambda: is_ended(slow, server), "the end of one who takes nothing")
        server.expect_closed(write_stalled=1)


def test_w7_callbacks_that_write_to_each_others_connections_keep_the_order_and_do_not_nest(serve):
    """Trouble: A's callback writes to B, whose callback runs inside that write and writes back to A, and so on."""
    with serve("tandem") as server, connect(server.address) as one, connect(server.address) as other:
        received = {}

        def read(client):
            received[client] = receive(client, Tandem.BLOCKS * PIECE)

        readers = [threading.Thread(target=read, args=[client]) for client in (one, other)]
        wait_until(lambda: server.descriptors() >= server.descriptors_at_start + 2, "both to be in")
        one.sendall(b"x")
        other.recv(1, socket.MSG_PEEK)  # by now each has paused the other, many times
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        expected = b"".join(b"%08d" % number * (PIECE // 8) for number in range(Tandem.BLOCKS))
        assert received[one] == received[other] == expected
        one.sendall(b"d")
        depth = int(one.makefile().readline())
        assert depth <= 4, f"callbacks were nested {depth} deep"
        one.close()
        other.close()

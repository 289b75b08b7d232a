"""E1 to E9: ends that cross, ends at the wrong moment, and ends from inside a callback."""

import contextlib
import itertools
import os
import random
import re
import socket
import threading
import time

import pytest

from tests.failures.clients import deaf, frozen, is_ended, refuses
from tests.failures.programs.protocols import REPLY
from tests.support import (
    DEADLINE_SECONDS,
    IDLE_SECONDS,
    RESET_ON_CLOSE,
    connect,
    exchange,
    receive,
    receive_all,
    reset,
    wait_until,
)

# Half-close.

AFTER_ALL_IS_SAID = {"reply_at_end": b"question", "reply_10mb": b"question\n", "polite_reply": b"question"}


E2_LOOKS = round(2.0 / (len(AFTER_ALL_IS_SAID) * IDLE_SECONDS)) + 1  # two seconds in all


def ask_and_end(server, program):
    client = connect(server.address)
    client.sendall(AFTER_ALL_IS_SAID[program])
    client.shutdown(socket.SHUT_WR)
    return client


def test_e1_who_has_said_all_still_gets_ten_mebibytes_and_an_end(serve):
    """Trouble: the client's FIN arrives before the reply is made, before it is sent, or in the middle of it."""
    for program in AFTER_ALL_IS_SAID:
        with serve(program) as server:
            with ask_and_end(server, program) as client:
                assert receive_all(client) == REPLY, f"{program}: the reply is not whole"
            server.expect_closed(peer_closed=1)


def test_e2_who_takes_two_seconds_to_begin_reading_gets_it_too_and_nobody_spins(serve):
    """Trouble: an end of file stays readable for ever, and wakes a loop that waits for something else."""
    with contextlib.ExitStack() as stack:
        servers = {program: stack.enter_context(serve(program)) for program in AFTER_ALL_IS_SAID}
        clients = {program: ask_and_end(server, program) for program, server in servers.items()}
        for client in clients.values():
            client.recv(1, socket.MSG_PEEK)  # the reply is on its way
        for _ in range(E2_LOOKS):
            for program, server in servers.items():
                server.wait_until_idle(f"with {program} the buffers are full")
        for program, client in clients.items():
            with client:
                assert receive_all(client) == REPLY, f"{program}: the reply is not whole"


def send_in_pieces(client, size):
    """Send as a program does that reads from a file: an early reset shows as an error here."""
    piece = bytes(16 * 1024)
    for _ in range(size // len(piece)):
        client.sendall(piece)


@pytest.mark.parametrize(
    "program, reply, times", [("answer_early", b"no thanks\n", 100), ("reply_and_close", REPLY, 5)]
)
def test_e3_an_early_answer_is_read_by_one_who_is_still_sending(serve, program, reply, times):
    """Trouble: to close with unread input resets the connection, and a reset discards an answer that is not read."""
    with serve(program) as server:
        for _ in range(times):
            with connect(server.address) as client:
                client.sendall(b"x")
                client.recv(1, socket.MSG_PEEK)  # the server has answered, and would like to close
                send_in_pieces(client, 1024 * 1024)
                client.shutdown(socket.SHUT_WR)
                assert_whole(receive_all(client), reply)
        server.expect_closed(closed=times)


def assert_whole(read, reply):
    assert len(read) == len(reply), f"{len(read)} of the reply's {len(reply)} bytes are read"
    assert read == reply, "the reply is not what was sent"


def test_e3_lingering_ends_too(serve):
    """Trouble: the remedy waits for the peer's end, and the peer never ends, or never stops sending."""
    with serve("answer_early", linger_seconds=0.5) as server:
        with connect(server.address) as silent, connect(server.address) as talker:
            for client in (silent, talker):
                client.sendall(b"x")
                assert receive_all(client) == b"no thanks\n"
            with pytest.raises(OSError):
                deadline = time.monotonic() + DEADLINE_SECONDS
                while time.monotonic() < deadline:
                    talker.sendall(b"and another thing")
            server.expect_closed(linger_timeout=2)


def test_e4_a_peer_that_never_reads_does_not_keep_a_closed_connection(serve):
    """Trouble: after close the rest of the output must be sent, but the peer takes none of it."""
    with serve("reply_and_close", close_seconds=0.5) as server:
        with deaf(server.address) as client:
            client.sendall(b"x")
            client.recv(1, socket.MSG_PEEK)
            wait_until(lambda: is_ended(client, server), "the end of one who does not read")
        server.expect_closed(close_timeout=1)


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_e5_a_reset_after_the_end_is_told_while_a_reply_is_made(serve, family, tmp_path):
    """Trouble: the peer's end was read and nothing is to be sent yet, so nothing watches the socket any more."""
    bind = "127.0.0.1:0" if family == "tcp" else f"unix:{tmp_path}/socket"
    with serve("never_done", bind) as server:
        client = socket.socket(socket.AF_INET if family == "tcp" else socket.AF_UNIX)
        with client:
            client.connect(server.address if family == "tcp" else bind[5:])
            client.shutdown(socket.SHUT_WR)
            server.stderr.wait_for("program: eof")
            server.wait_until_idle("a half-closed connection is nothing to do")
            assert "program: lost" not in server.stderr.text, "it takes the client's end for the end of everything"
            reset(client)  # a UNIX socket has no reset; its peer sees the end of both directions
        server.stderr.wait_for("program: lost")
        server.expect_closed(reset=1)


# Ends from inside.

CALLBACKS = ["connection_made", "data_received", "eof_received", "connection_lost", "pause_writing", "resume_writing"]


class Caller:
    """A client of `deeds`, which the server knows by `number`."""

    def __init__(self, server):
        self.server = server
        self.socket = connect(server.address)
        self.file = self.socket.makefile("rb")
        self.number = int(self.file.readline())

    def say(self, line):
        self.socket.sendall(line.encode() + b"\n")

    def ask(self, line):
        """Send the line and wait for the answer, so that the server has read it."""
        self.say(line)
        assert self.file.readline() == line.encode() + b"\n"

    def order(self, callback, deed, target):
        """Order a deed. The server has read the order afterwards, and carries it out in that callback."""
        self.say(f"{callback} {deed} {target}")
        if callback != "data_received":
            self.ask("heard?")

    def provoke(self, callback):
        """Make the server call that callback. The client may meet an end, at any point."""
        with contextlib.suppress(OSError):
            if callback == "eof_received":
                self.socket.shutdown(socket.SHUT_WR)
            elif callback in ("pause_writing", "resume_writing", "connection_lost"):
                self.say("reply")
                self.server.stderr.wait_for(f"program: callback {self.number} pause_writing")
                if callback == "resume_writing":
                    receive(self.socket, len(REPLY))
                elif callback == "connection_lost":
                    self.hang_up()

    def hang_up(self):
        self.file.close()
        self.socket.close()


def lives(server):
    """By connection number, the callbacks that it got, in order."""
    told = {}
    for number, name in re.findall(r"program: callback (\d+) (\w+)", server.stderr.text):
        told.setdefault(int(number), []).append(name)
    return told


def assert_grammatical(server, numbers):
    """Check that each began once and ended once, with nothing after its end."""
    letters = dict(zip(CALLBACKS, "MDELPR", strict=True))
    wait_until(lambda: all("connection_lost" in lives(server).get(number, ()) for number in numbers), "every end")
    server.wait_until_idle("nothing more is to come")
    for number, names in lives(server).items():
        life = "".join(letters[name] for name in names)
        assert re.fullmatch("M[DPR]*E?[PR]*L", life), f"connection {number} was told {names}"
        assert re.fullmatch("(PR)*P?", re.sub("[^PR]", "", life)), f"connection {number} was told {names}"


def test_e6_connections_ended_from_inside_any_callback_end_once_and_are_told_nothing_after(serve):
    """Trouble: a callback ends its own connection, or another one, while the loop is still using it."""
    with serve("deeds") as server:
        for callback, deed, target in itertools.product(CALLBACKS, ["close", "abort"], ["self", "peer"]):
            bystander, peer, caller = Caller(server), Caller(server), Caller(server)
            where = "self" if target == "self" else peer.number
            caller.order(callback, deed, where)
            if callback == "connection_made":
                caller.hang_up()
                with connect(server.address) as newcomer, contextlib.suppress(OSError):
                    receive_all(newcomer) if target == "self" else newcomer.recv(1)
            caller.provoke(callback)
            server.stderr.wait_for(rf"program: deed \d+ {callback} {deed} {where}\n")
            bystander.ask("there?")
            for client in (bystander, peer, caller):
                client.hang_up()
        assert_grammatical(server, lives(server))
        assert "Traceback" not in server.stderr.text, "it logs a traceback"


@pytest.mark.parametrize("callback", CALLBACKS)
def test_e6_the_listener_can_be_closed_from_inside_any_callback(serve, callback):
    """Trouble: the listening socket is closed, perhaps in the batch in which it has newcomers."""
    with serve("deeds", rests=False) as server:
        inside, caller = Caller(server), Caller(server)
        caller.order(callback, "close", "listener")
        if callback == "connection_made":
            Caller(server).hang_up()
        caller.provoke(callback)
        server.stderr.wait_for(rf"program: deed \d+ {callback} close listener")
        wait_until(lambda: refuses(server), "the end of the listening socket")
        inside.ask("there?")
        for client in (inside, caller):
            client.hang_up()
        assert_grammatical(server, lives(server))
        assert "Traceback" not in server.stderr.text, "it logs a traceback"


@pytest.mark.parametrize("callback", CALLBACKS)
def test_e6_the_loop_can_be_closed_from_inside_any_callback(serve, callback):
    """Trouble: everything ends in the middle of a callback, and every connection must still be told."""
    with serve("deeds") as server:
        inside, caller = Caller(server), Caller(server)
        caller.order(callback, "close", "loop")
        if callback == "connection_made":
            with contextlib.suppress(ConnectionResetError):
                connect(server.address).close()
        caller.provoke(callback)
        server.stderr.wait_for(rf"program: deed \d+ {callback} close loop")
        assert server.wait() in (0, 1)
        assert_ended(inside)
        for client in (inside, caller):
            client.hang_up()
        for number, names in lives(server).items():
            ended_once = names.count("connection_lost") == 1 and names[-1] == "connection_lost"
            assert ended_once, f"connection {number} was told {names}"
        assert "Traceback" not in server.stderr.text, "it logs a traceback"


def assert_ended(client):
    with contextlib.suppress(ConnectionResetError):
        assert client.file.read() == b""


def test_e7_an_event_of_one_who_was_ended_never_reaches_whoever_got_its_number(serve):
    """Trouble: in one batch, a connection ends another, a newcomer gets its number, and then comes the old event."""
    with serve("deeds") as server:
        for old_event in ["data", "reset"] * 10:
            first, second = Caller(server), Caller(server)
            first.ask("ready?")
            with frozen(server):  # the events come in the order in which they happen here
                first.say(f"data_received abort {second.number}")
                newcomer = connect(server.address)
                if old_event == "reset":
                    second.file.close()
                    reset(second.socket)
                else:
                    second.say("old")
            file = newcomer.makefile("rb")
            assert file.readline() == b"%d\n" % (second.number + 1)
            newcomer.sendall(b"new\n")
            assert file.readline() == b"new\n"
            file.close()
            newcomer.close()
            first.hang_up()
            second.hang_up()
        assert_grammatical(server, lives(server))
        server.expect_closed(aborted=20)


# Many ends.

# A descriptor number that is given back goes to the next connection, so each connection is a chance for the mistake.
# 5,000 of them, five times the interrupts of L1, take 4 s of `make test`. This makes 100,000 of them, in half a
# minute: REACTOR_E8_CONNECTIONS=100000 make test ARGS="tests/failures -k e8_".
SHORT_CONNECTIONS = int(os.environ.get("REACTOR_E8_CONNECTIONS", "5000"))
E8_THREADS = 4


def live_shortly(address, tag, end, source):
    """One connection: it must get its own tag and nothing else, if it stays long enough."""
    with socket.create_connection(address, DEADLINE_SECONDS, source_address=(source, 0)) as client:
        client.sendall(tag[:7])
        if end == "early":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            return
        client.sendall(tag[7:])
        if end == "normal":
            assert receive_all(client) == tag
        elif end == "half":
            client.shutdown(socket.SHUT_WR)
            assert receive_all(client) == tag
        elif end == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)


@pytest.mark.timeout(60 + SHORT_CONNECTIONS / 200)
def test_e8_no_byte_of_a_short_connection_reaches_another_one(serve):
    """Trouble: a socket is closed twice, closed late, or written to when its number belongs to another."""
    failures = []

    def live_many(thread):
        numbers = random.Random(thread)
        try:
            for number in range(SHORT_CONNECTIONS // E8_THREADS):
                end = numbers.choices(["normal", "half", "reset", "early", "vanish"], [6, 2, 1, 1, 1])[0]
                source = f"127.0.0.{2 + number % 8}"  # to have more ports than one address has
                live_shortly(server.address, b"%03d/%012d" % (thread, number), end, source)
                if failures:
                    return
        except Exception as exc:
            failures.append(f"thread {thread}, connection {number}, {end}: {exc!r}")

    with serve("tags") as server:
        threads = [threading.Thread(target=live_many, args=[thread]) for thread in range(E8_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures
        assert "an ended connection is open again" not in server.stderr.text
        if server.statistics() is not None:
            all_of_them = SHORT_CONNECTIONS // E8_THREADS * E8_THREADS
            # The last one may still wait in the kernel's queue: its client has left without a word.
            wait_until(lambda: server.statistics()["accepted"] >= all_of_them, "the last one is accepted")
            assert server.statistics()["accepted"] == all_of_them


RAISES = {
    "d": "data_received",
    "e": "eof_received",
    "l": "connection_lost",
    "p": "pause_writing",
    "r": "resume_writing",
    "m": "connection_made",
    "f": "the factory",
}


def provoke(server, client, letter):
    """Bring the server to the callback that raises; return whether this ends the connection."""
    client.sendall(letter.encode())
    if letter not in "dp":  # otherwise the end may overtake the answer
        assert client.recv(1) == letter.encode()
    try:
        with contextlib.suppress(ConnectionResetError):
            if letter in "mf":  # the next connection is the one that ends, perhaps already during connect
                client = connect(server.address)
            with client:
                if letter == "e":
                    client.shutdown(socket.SHUT_WR)
                if letter != "l":
                    receive_all(client)
    except TimeoutError:
        return False
    return True


def test_e9_an_exception_in_any_callback_ends_its_connection_and_no_other(serve):
    """Trouble: a bug in the program, which one connection meets."""
    with serve("raise") as server:
        with connect(server.address) as bystander:
            for number, letter in enumerate(RAISES, 1):
                with connect(server.address) as client:
                    assert provoke(server, client, letter), f"it lives on after an exception in {RAISES[letter]}"
                server.stderr.wait_for(rf"ByRequest: {letter}$")
                assert exchange(bystander, b"?") == b"?"
                with connect(server.address) as newcomer:
                    assert exchange(newcomer, b"?") == b"?"
                tracebacks, named = server.stderr.text.count("Traceback"), server.stderr.text.count("ByRequest: ")
                seen = f"{tracebacks} tracebacks and {named} lines that name it for {number} exceptions"
                assert tracebacks == named == number, f"{seen}, after {RAISES[letter]}"
        server.expect_closed(handler_error=len(RAISES) - 1)  # connection_lost comes when the reason is set

"""The adapters themselves: each program does on the wire what its contract says, without any trouble.

A failing test of a row should mean that the server has failed, not that its program was a different one.
"""

import importlib.metadata
import json
import socket
import sys

import pytest

from tests.failures.adapter import PROGRAMS
from tests.failures.programs.protocols import CHUNK, REPLY
from tests.failures.rivals import ADAPTERS
from tests.support import connect, exchange, receive, receive_all, wait_until

UNTIL_END = {  # the client sends the first and ends its side; it must get exactly the second
    "echo": (b"hello", b"hello"),
    "dots": (b"a\nb\nc", b".."),
    "lines": (b"a\nb\nc", b"a\nb\n"),
    "reply_10mb": (b"\n", REPLY),
    "reply_at_end": (b"", REPLY),
    "reply_and_close": (b"x", REPLY),
    "answer_early": (b"x", b"no thanks\n"),
    "write_nothing": (b"x", b""),
    "sized": (b"3\n10\n1048577\n", REPLY[:3] + REPLY[:10] + REPLY[: 1 << 20] + REPLY[:1]),
    "polite_reply": (b"x", REPLY),
    "deeds": (b"anyone?\n", b"1\nanyone?\n"),
    "tags": (b"sixteen byte tag", b"sixteen byte tag"),
}
EXCHANGES = {  # the client sends the first and stays; it must get the second
    "block": (b"a", b"a"),
    "later": (b"tx", b"later\nlater\n"),
    "chat": (b"a\n", b"hello\n"),
    "flood": (b"x", CHUNK + CHUNK),
    "flood_lines": (b"x", CHUNK + CHUNK),
    "polite_flood": (b"x", CHUNK + CHUNK),
    "fork": (b"ax", b"ax"),
    "pause": (b"ar", b"ar"),
    "raise": (b"ab", b"ab"),
    "wake": (b"a", b"a"),
    "write_after_end": (b"kw", b"k" + b"anyone there?\n" * 10_000 + b"w"),
}


def test_every_program_is_tried_here():
    others = {"timers", "timer_order", "interrupts", "tandem", "never_done", "feeds"}
    assert PROGRAMS.keys() == UNTIL_END.keys() | EXCHANGES.keys() | others


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_server_that_is_installed_serves(name):
    adapter = ADAPTERS[name]
    try:
        getattr(adapter, "version", str)()
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{name} is not installed")
    with adapter.start("echo") as server, connect(server.address) as client:
        assert exchange(client, b"x") == b"x"


@pytest.mark.parametrize("program", UNTIL_END)
def test_a_program_answers_and_ends_as_its_contract_says(serve, program):
    message, answer = UNTIL_END[program]
    with serve(program, rests=False) as server, connect(server.address) as client:
        client.sendall(message)
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == answer


@pytest.mark.parametrize("program", EXCHANGES)
def test_a_program_answers_as_its_contract_says(serve, program):
    message, answer = EXCHANGES[program]
    with serve(program, rests=False) as server, connect(server.address) as client:
        client.sendall(message)
        assert receive(client, len(answer)) == answer


def test_timers_are_armed_and_told_of(serve):
    with serve("timers", rests=False) as server, connect(server.address) as client, client.makefile("rb") as file:
        client.sendall(b"tc")
        assert int(file.readline()) == 0
        assert int(file.readline()) > 0


def test_the_order_of_timers_is_told_as_json(serve):
    with serve("timer_order", rests=False) as server, connect(server.address) as client, client.makefile("rb") as file:
        client.sendall(b"t")
        assert json.loads(file.readline()).keys() == {"nan", "called", "early"}


def test_the_script_of_interrupts_serves_and_says_that_it_runs(serve):
    with serve("interrupts", rests=False) as server, connect(server.address) as client:
        server.stdout.wait_for("running 1$")
        assert exchange(client, b"hello") == b"hello"


def test_a_setting_that_a_server_lacks_is_left_out(adapter):
    settings = dict.fromkeys(adapter.runs_without, 1)
    with adapter.start("echo", rests=False, **settings) as server:
        assert server.process.args[0] == sys.executable


def test_never_done_says_when_the_client_has_ended(serve):
    with serve("never_done", rests=False) as server, connect(server.address) as client:
        client.shutdown(socket.SHUT_WR)
        server.stderr.wait_for("program: eof")


def test_each_of_a_tandem_is_sent_numbered_blocks(serve):
    with serve("tandem", rests=False) as server, connect(server.address) as one, connect(server.address) as other:
        wait_until(lambda: server.descriptors() >= server.descriptors_at_start + 2, "both to be in")
        one.sendall(b"x")
        assert receive(other, 8) == b"%08d" % 0
        other.sendall(b"d")

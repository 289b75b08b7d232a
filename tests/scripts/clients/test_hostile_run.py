"""A run with hostile clients, as a person starts it: they are reported, and the verdict is on the honest ones."""

import dataclasses
import json
import re
import shlex
import socket
import struct
import threading

import pytest

from reactor import Limits
from scripts import run_clients
from scripts.clients.hostile import KINDS
from tests.scripts.bad_servers import MESSAGES, BadServer, echo, receive
from tests.support import DEADLINE_SECONDS, ROOT, serving

TALLY = ["connected", "failed", "ended_by_eof", "ended_by_reset", "bytes_sent", "bytes_received", "vanished"]


@pytest.fixture
def figures_of(capsys):
    """Run the clients with --json; return their exit status and what they found."""

    def figures_of(port, *options):
        status = run_clients.main([f"--port={port}", "--json", *options])
        return status, json.loads(capsys.readouterr().out)

    return figures_of


def test_each_kind_of_hostile_clients_is_reported_and_the_honest_ones_are_complete(figures_of):
    counts = {"slow_readers": 2, "firehose": 1, "slowloris": 3, "vanish": 4}
    options = [f"--{kind.replace('_', '-')}={count}" for kind, count in counts.items()]
    with serving("echo") as server:
        status, figures = figures_of(server.address[1], "--connections=20", "--messages=100", *options)
    assert (status, figures["complete"], sum(figures["errors"].values())) == (0, 20, 0)
    assert figures["bytes"] == 20 * 100 * 64
    assert list(figures["hostile"]) == list(counts)
    for kind, tally in figures["hostile"].items():
        assert list(tally) == TALLY
        assert tally["bytes_sent"] > 0
        assert (tally["failed"], tally["ended_by_eof"], tally["ended_by_reset"]) == (0, 0, 0)
        there = tally["connected"] - tally["vanished"]
        assert there == counts[kind] or (kind == "vanish" and there < counts[kind])  # one may be coming again
    assert figures["hostile"]["slow_readers"]["bytes_received"] == 0


def test_hostile_clients_are_there_first_and_the_status_is_that_of_the_honest_ones(figures_of):
    with serving("echo", "--max-connections=3", "--when-full=refuse") as server:
        status, figures = figures_of(server.address[1], "--connections=2", "--slowloris=3")
    errors = figures["errors"]  # a refusal is a close: a client that had not sent yet sees an end, another one a reset
    assert (status, figures["complete"], errors["reset"] + errors["closed_early"]) == (1, 0, 2)
    tally = figures["hostile"]["slowloris"]
    assert (tally["connected"], tally["failed"], tally["ended_by_eof"], tally["ended_by_reset"]) == (3, 0, 0, 0)


def test_hostile_clients_that_are_ended_make_no_run_fail(figures_of):
    ended = threading.Semaphore(0)

    def behave(connection, number, size):
        if number in (0, 1):
            receive(connection, 1)
            if number:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
            ended.release()
            raise ConnectionAbortedError
        for _ in range(2):
            assert ended.acquire(timeout=DEADLINE_SECONDS)
        echo(connection, number, size)

    with BadServer(behave) as server:
        status, figures = figures_of(server.port, "--connections=1", f"--messages={MESSAGES}", "--slowloris=2")
    tally = figures["hostile"]["slowloris"]
    assert (status, figures["complete"], tally["ended_by_eof"], tally["ended_by_reset"]) == (0, 1, 1, 1)


def test_the_table_has_a_row_for_each_kind_of_hostile_clients_in_eighty_columns(capsys):
    counts = ["--slow-readers=1", "--firehose=1", "--slowloris=1", "--vanish=1"]
    with serving("echo") as server:
        status = run_clients.main([f"--port={server.address[1]}", "--connections=5", "--messages=10", *counts])
    said = capsys.readouterr()
    assert (status, said.err) == (0, "")
    lines = said.out.splitlines()
    assert max(map(len, lines)) <= 80
    header, _, *rows = [re.split(r"  +", line.strip()) for line in said.out.split("\n\n")[1].splitlines()]
    assert header == ["hostile", "connected", "got EOF", "reset", "sent", "received", "vanished"]
    assert [row[0] for row in rows] == ["slow readers", "firehose", "slowloris", "vanish"]
    assert rows[2] == ["slowloris", "1", "0", "0", "1 B", rows[2][5], "0"]


def test_the_ways_to_break_it_that_the_readme_shows_are_options(figures_of):
    page = (ROOT / "scripts" / "clients" / "README.md").read_text()
    section = page.partition("## Try to break it")[2].partition("\n## ")[0]
    commands = [shlex.split(line, comments=True) for line in section.splitlines() if line.startswith("make run-")]
    [server] = [words[2:] for words in commands if words[1] == "run-server"]
    clients = [words[2:] for words in commands if words[1] == "run-clients"]
    limits = [word[2:].replace("-", "_") for word in " ".join(server).split() if word.startswith("--")]
    assert limits and set(limits) <= {field.name for field in dataclasses.fields(Limits)}
    kinds = []
    with socket.socket() as not_listening:
        not_listening.bind(("127.0.0.1", 0))
        for words in clients:
            options = dict(word.split("=", 1) for word in words).get("ARGS", "").split()
            status, figures = figures_of(not_listening.getsockname()[1], "--connections=1", *options)
            assert status == 1  # nobody is there; 2 would be for the options
            kinds += figures["hostile"]
    assert kinds == list(KINDS)

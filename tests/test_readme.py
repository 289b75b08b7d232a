"""The README is the first program that a newcomer runs: its code is run here, and its tables are compared.

The same holds for the README of each folder, as far as it has commands, tables and links.

Python blocks are run as they are (on a free port). The commands of console blocks are run; if a command would be this
test suite, or take minutes, make must at least know it. A table about the code must be equal to what the code gives.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import re
import subprocess
import sys

import pytest

import reactor
from reactor import Server
from reactor.apps.echo import Echo
from reactor.connections import protocol
from scripts import readme_tables
from tests import page_programs, support

README = (support.ROOT / "README.md").read_text()
FOLDERS = ("reactor", "scripts", "tests")
PAGES = [support.ROOT / "README.md", *(path for name in FOLDERS for path in (support.ROOT / name).rglob("README.md"))]
MOST_LINES = 400
PYTHON_BLOCKS = [block for page in PAGES for block in page_programs.blocks(page)]
# What a client sends to the server of a block, and what it gets back, by the name of its program. What the recipes must
# do beyond this: `test_recipes.py`.
EXCHANGES = {
    "Echo": (b"hello", b"hello"),
    "echo": (b"hello", b"hello"),
    "register": (b"ann\nparis\n", b"your name?\nyour town?\nwelcome, ann of paris\n"),
    "ticker": (b"", b"tick\n"),
    "polite": (b"hello\n", b"you said hello\n"),
    "notebook": (b"milk\n", b"note 1\n"),
    "proxy": (b"hello", b"hello"),  # the upstream is an echo
    "Calculator": (b"1+2\n", b"3\n"),
    "Hasher": (b"hello\n", hashlib.sha256(b"hello").hexdigest().encode() + b"\n"),
    "Subscriber": (b"sub birds\npub birds a wren\n", b"birds a wren\n"),
    "Hello": (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"HTTP/1.1 200 OK\r\n"),
}
# What a program that ends prints, in any order, by a word of its own.
PRINTED = {
    "Hello(Protocol)": ["the server said b'hello'", "5 bytes received"],
    "TaskGroup": ["the server said b'hello'", "the server said b'world'"],
}
COMMANDS = [
    line.removeprefix("$ ").split("   #")[0].strip()
    for page in PAGES
    for block in re.findall(r"^```console\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
    if line.startswith("$ ")
]
SERVE_FOR_EVER = [block for block in PYTHON_BLOCKS if page_programs.serves_for_ever(block)]


def make(*arguments: str, **options: object) -> list[str]:
    return ["make", f"PYTHON={sys.executable}", *arguments]


def environment() -> dict[str, str]:
    """The environment without what a surrounding `make test ARGS=...` passes on."""
    inherited = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "PYTHON", "ARGS")
    return {name: value for name, value in support.package_environment().items() if name not in inherited}


@pytest.mark.parametrize("block", SERVE_FOR_EVER, ids=page_programs.name)
def test_a_server_in_the_readme_serves(block: str, tmp_path: pathlib.Path) -> None:
    question, answer = EXCHANGES[page_programs.name(block)]
    with Server(Echo, bind="127.0.0.1:0") as upstream:
        with page_programs.serving(block, tmp_path, upstream.addresses[0]) as server:
            with support.connect(server.address) as client:
                client.sendall(question)
                assert support.receive(client, len(answer)) == answer
            assert server.terminate() == 0


@pytest.mark.parametrize("block", [block for block in PYTHON_BLOCKS if block not in SERVE_FOR_EVER])
def test_a_program_in_the_readme_runs_to_its_end(block: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", block],
        env=support.package_environment(),
        capture_output=True,
        text=True,
        timeout=support.DEADLINE_SECONDS,
    )
    assert (result.returncode, result.stderr) == (0, "")
    (printed,) = (lines for word, lines in PRINTED.items() if word in block)
    assert sorted(result.stdout.splitlines()) == sorted(printed)


@pytest.mark.parametrize("command", sorted({command for command in COMMANDS if command.startswith("make ")}))
def test_make_knows_every_command_of_the_readme(command: str) -> None:
    words = command.split()[1:]
    result = subprocess.run(
        make("-n", *words), cwd=support.ROOT, env=environment(), capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr


def test_the_two_commands_of_the_readme_work_together() -> None:
    server_command, clients_command = COMMANDS[:2]
    assert server_command == "make run-server" and clients_command == "make run-clients N=100"
    port = f"PORT={support.free_port()}"
    with support.running(make("run-server", port), cwd=support.ROOT, env=environment()) as server:
        server.wait_until_listening()
        clients = subprocess.run(
            make("run-clients", "N=100", port),
            cwd=support.ROOT,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=240,
        )
        os.kill(child_of(server.pid), 15)
        assert server.wait() == 0
    assert clients.returncode == 0, clients.stdout + clients.stderr


def child_of(pid: int) -> int:
    """The server, the only child of make: a signal to make itself would hide the server's exit status."""
    return int(pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


@pytest.mark.parametrize("page", readme_tables.PAGES, ids=lambda page: page.parent.name)
def test_its_tables_say_what_the_code_says(page: pathlib.Path) -> None:
    text = page.read_text()
    assert readme_tables.with_tables(text) == text, "make them anew: python scripts/readme_tables.py"


def test_every_name_that_the_package_exports_is_on_the_page_of_the_api() -> None:
    page = (support.ROOT / "reactor" / "README.md").read_text()
    assert [name for name in reactor.__all__ if not re.search(rf"`(await )?{name}\b", page)] == []


def test_it_is_read_to_its_end() -> None:
    assert len(README.splitlines()) <= MOST_LINES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_every_link_of_a_page_leads_somewhere(page: pathlib.Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        there = page.parent / name if name else page
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text(), re.MULTILINE)
            assert anchor in {heading.lower().replace(" ", "-") for heading in headings}, target


def test_every_page_is_named_in_the_readme() -> None:
    named = {(support.ROOT / target).resolve() for target in re.findall(r"\]\(([^)\s#]+)\)", README)}
    assert {page for page in PAGES if page.parent != support.ROOT} <= named


def test_its_grammar_is_that_of_the_protocol() -> None:
    grammar = re.findall(r"^ +((?:life|writing) +=.*)$", protocol.__doc__ or "", re.MULTILINE)
    assert len(grammar) == 2
    assert re.findall(r"^ +((?:life|writing) +=.*)$", README, re.MULTILINE) == grammar


def test_every_invariant_names_tests_that_exist() -> None:
    invariants = README[README.index("<!-- invariants -->") : README.index("<!-- /invariants -->")]
    entries = re.split(r"^\d+\. ", invariants, flags=re.MULTILINE)[1:]
    files = list((support.ROOT / "tests").rglob("test_*.py"))
    tests = {name for path in files for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)}
    assert len(entries) >= 10
    for entry in entries:
        named = re.findall(r"`(test_\w+)`", entry)
        assert named and set(named) <= tests, f"{set(named) - tests} in {entry}"


def test_every_file_that_the_tour_names_is_there() -> None:
    named = re.findall(r"`((?:loop|connections|net|service|apps)/\w+\.py)`", README)
    missing = [name for name in named if not (support.ROOT / "reactor" / name).exists()]
    assert named and not missing


def test_the_tour_leaves_no_file_out() -> None:
    floors = ("loop", "connections", "net", "service", "apps")
    files = {
        f"{floor}/{path.name}"
        for floor in floors
        for path in (support.ROOT / "reactor" / floor).glob("*.py")
        if path.name != "__init__.py"
    }
    tour = README[README.index("## A tour") : README.index("## States")]
    assert files <= set(re.findall(r"`((?:loop|connections|net|service|apps)/\w+\.py)`", tour))

"""What the command line says to mistakes: one line that names the mistake, before anything is served."""

import colorsys
import concurrent.futures
import importlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import types

import pytest

from reactor import command_line
from reactor.command_line import load_program
from tests.support import (
    DEADLINE_SECONDS,
    buffering_environment,
    exchange,
    free_port,
    package_environment,
    run_reactor,
    serving,
)


def assert_refused(result, *words):
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1 and result.stderr.endswith("\n"), result.stderr
    assert result.stderr.startswith("reactor")
    for word in words:
        assert word in result.stderr


MINE = """
from reactor import Protocol

NUMBER = 7

def program():
    raise AssertionError("nobody connects")

async def awaits():
    pass

class Awaits(Protocol):
    async def data_received(self, data):
        pass

class Nothing:
    pass
"""
MISTAKES = {
    "no command": ([], ["COMMAND"]),
    "unknown command": (["sevre"], ["sevre", "serve"]),
    "no program": (["serve"], ["APP"]),
    "unknown option": (["serve", "echo", "--bnid", "x"], ["is --bind meant?", "python -m reactor serve --help)"]),
    "an option of other servers": (["serve", "echo", "--port", "80"], ["no option --port; is --bind HOST:PORT meant?"]),
    "an option of nothing": (["limits", "--xyz"], ["there is no option --xyz (see python -m reactor limits --help)"]),
    "option without its value": (["serve", "echo", "--bind"], ["--bind"]),
    "unknown program": (["serve", "ehco"], ["'ehco'", "echo", "MODULE:NAME"]),
    "no module before the colon": (["serve", ":Echo"], ["':Echo'", "MODULE:NAME"]),
    "no name after the colon": (["serve", "reactor.apps.echo:"], ["'reactor.apps.echo:'", "MODULE:NAME"]),
    "missing module": (["serve", "no_such_module:Echo"], ["'no_such_module'"]),
    "missing submodule": (["serve", "reactor.no_such:Echo"], ["'reactor.no_such'"]),
    "missing attribute": (["serve", "reactor.apps.echo:Ehco"], ["'Ehco'", "reactor.apps.echo"]),
    "not callable": (["serve", "mine:NUMBER"], ["mine:NUMBER", "7"]),
    "a coroutine without a stream": (["serve", "mine:awaits"], ["awaits must take one argument", "awaits(stream)"]),
    "callbacks that are coroutines": (["serve", "mine:Awaits"], ["Awaits", "async def data_received", "plain `def`"]),
    "a class without callbacks": (["serve", "mine:Nothing"], ["Nothing has none of the callbacks", "data_received"]),
    "relative module": (["serve", ".mine:program"], ["'.mine:program'"]),
    "port out of range": (["serve", "echo", "--bind", "127.0.0.1:65536"], ["'127.0.0.1:65536'", "65535"]),
    "negative port": (["serve", "echo", "--bind", "127.0.0.1:-1"], ["'127.0.0.1:-1'"]),
    "port that is no number": (["serve", "echo", "--bind", "127.0.0.1:http"], ["'127.0.0.1:http'", "127.0.0.1:PORT"]),
    "no port": (["serve", "echo", "--bind", "127.0.0.1"], ["'127.0.0.1'", "127.0.0.1:PORT"]),
    "port alone": (["serve", "echo", "--bind", "8000"], ["'8000'", "127.0.0.1:8000", ":8000"]),
    "URL": (["serve", "echo", "--bind", "http://127.0.0.1:8000"], ["'http://127.0.0.1:8000'", "write 127.0.0.1:8000"]),
    "IPv6 address without brackets": (["serve", "echo", "--bind", "::1:80"], ["'::1:80'", "[::1]:80"]),
    "unix without a path": (["serve", "echo", "--bind", "unix:"], ["unix:PATH"]),
    "descriptor that is no number": (["serve", "echo", "--bind", "fd://three"], ["fd://N"]),
    "address not ours": (["serve", "echo", "--bind", "192.0.2.1:0"], ["192.0.2.1:0", "not an address of this machine"]),
    "unknown host": (["serve", "echo", "--bind", "no-such-host.invalid:0"], ["no-such-host.invalid"]),
    "host that cannot be a name": (["serve", "echo", "--bind", "a..b:0"], ["'a..b'"]),
    "folder that does not exist": (["serve", "echo", "--bind", "unix:/no/such/folder/s"], ["/no/such/folder/s"]),
    "path that is too long": (["serve", "echo", "--bind", "unix:/tmp/" + "x" * 200], ["xxx", "too long"]),
    "descriptor that is not open": (["serve", "echo", "--bind", "fd://987"], ["fd://987"]),
    "descriptor that is no socket": (["serve", "echo", "--bind", "fd://2"], ["fd://2"]),
    "unknown form of the log": (["serve", "echo", "--log-format", "xml"], ["--log-format", "'xml'", "plain", "json"]),
    "limit that is no number": (["serve", "echo", "--backlog", "many"], ["--backlog", "many"]),
    "limit out of range": (["serve", "echo", "--backlog", "0"], ["backlog", "from 1 to 65535"]),
    "limit that is not whole": (["serve", "echo", "--backlog", "1.5"], ["--backlog", "1.5"]),
    "a mistake of several lines": (["serve", "eh\nco"], [r"'eh\nco'"]),
    "an option of several lines": (["serve", "echo", "--bnid\n=x"], ["--bnid"]),
    "limit that is NaN": (["serve", "echo", "--drain-seconds", "nan"], ["drain_seconds", "nan"]),
    "a proxy to nowhere": (["serve", "proxy"], ["proxy needs --to ADDRESS"]),
    "a proxy to no address": (["serve", "proxy", "--to", "8000"], ["argument --to: '8000'", "127.0.0.1:8000"]),
    "a proxy to a descriptor": (["serve", "proxy", "--to", "fd://3"], ["--to: fd://3 is a socket to listen on"]),
    "an option of another program": (["serve", "echo", "--to", ":80"], ["there is no option --to"]),
    "limits that contradict": (
        ["serve", "echo", "--output-low-bytes", "9", "--output-high-bytes", "8"],
        ["output_low_bytes <= output_high_bytes", "9, 8"],
    ),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The results of all mistakes, some run side by side: most of the time goes into starting Python."""
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "mine.py").write_text(MINE)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {name: pool.submit(run_reactor, *arguments, cwd=folder) for name, (arguments, _) in MISTAKES.items()}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_clear_line_and_status_2(results, name):
    assert_refused(results[name].result(), *MISTAKES[name][1])


def test_a_port_in_use_is_one_clear_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert_refused(run_reactor("serve", "echo", "--bind", address), address, "in use")


def test_where_the_log_is_json_a_mistake_is_too():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for mistake, word in ((["nosuch:Program"], "'nosuch'"), (["echo", "--bind", address], address)):
            result = run_reactor("serve", *mistake, "--log-format", "json")
            assert result.returncode == 2 and result.stderr.count("\n") == 1
            said = json.loads(result.stderr)
            assert said["level"] == "ERROR" and word in said["message"]


def test_an_address_given_twice_is_one_clear_line():
    address = f"127.0.0.1:{free_port()}"
    assert_refused(run_reactor("serve", "echo", "--bind", address, "--bind", address), address, "in use")


def test_a_descriptor_given_twice_is_one_clear_line():
    with socket.create_server(("127.0.0.1", 0)) as given:
        twice = ["--bind", f"fd://{given.fileno()}"] * 2
        result = run_reactor("serve", "echo", *twice, pass_fds=[given.fileno()])
        assert_refused(result, f"fd://{given.fileno()}", "in use already")


@pytest.mark.parametrize("fd", range(10))
def test_a_descriptor_that_was_not_handed_in_is_one_clear_line(fd):
    # Some of these descriptors are the loop's own, and one is the listening socket.
    assert_refused(run_reactor("serve", "echo", "--bind", "127.0.0.1:0", "--bind", f"fd://{fd}"), f"fd://{fd}")


def test_a_unix_socket_of_a_live_server_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "socket"
    with serving("echo", bind=f"unix:{path}"):
        assert_refused(run_reactor("serve", "echo", "--bind", f"unix:{path}"), str(path), "in use")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(DEADLINE_SECONDS)
            client.connect(str(path))
            assert exchange(client, b"hello") == b"hello"


def test_a_unix_socket_made_for_nothing_is_removed_again(tmp_path):
    path = tmp_path / "socket"
    assert_refused(run_reactor("serve", "echo", "--bind", f"unix:{path}", "--bind", "192.0.2.1:0"), "192.0.2.1:0")
    assert not path.exists()


def test_a_file_in_the_place_of_a_unix_socket_is_left_alone(tmp_path):
    path = tmp_path / "precious"
    path.write_text("precious")
    assert_refused(run_reactor("serve", "echo", "--bind", f"unix:{path}"), str(path), "is not a socket")
    assert path.read_text() == "precious"


def without_the_right_to_low_ports():
    """Take CAP_NET_BIND_SERVICE away from root (capabilities(7), prctl(2)); other users do not have it."""
    if os.geteuid() == 0:
        import ctypes

        PR_CAPBSET_DROP, CAP_NET_BIND_SERVICE = 24, 10
        if ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_NET_BIND_SERVICE, 0, 0, 0):
            raise OSError("prctl")


def low_ports_are_privileged():
    first_free = pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    return first_free.exists() and int(first_free.read_text()) > 1


@pytest.mark.skipif(not low_ports_are_privileged(), reason="here everybody may listen on port 1")
def test_a_port_that_only_root_may_have_is_one_clear_line():
    try:
        result = run_reactor("serve", "echo", "--bind", "127.0.0.1:1", preexec_fn=without_the_right_to_low_ports)
    except subprocess.SubprocessError:
        pytest.skip("this is root, and its right to low ports cannot be taken away")
    assert_refused(result, "127.0.0.1:1", "permission denied")


BROKEN_PROGRAMS = {
    "a missing import": ("import no_such_helper", ["'no_such_helper'"]),
    "a syntax error": ("def (", ["importing mine failed: SyntaxError", "line 1"]),
    "an exception": ("x = 1\nint('seven')", ["mine.py:2", "ValueError", "'seven'"]),
    "a message of several lines": ("raise OSError('one\\ntwo')", ["mine.py:1", "OSError: one two"]),
    "a message that drives a terminal": ("raise OSError('\\x1b[2J')", ["mine.py:1", r"OSError: \x1b[2J"]),
    "an error without a text": (
        "class Mute(Exception):\n    __str__ = lambda self: 1/0\nraise Mute",
        ["mine.py:3", "Mute", "str raises ZeroDivisionError"],
    ),
    "an error whose text leaves": (
        "class Mute(Exception):\n    def __str__(self): raise SystemExit(3)\nraise Mute",
        ["mine.py:3", "Mute", "str raises SystemExit"],
    ),
    "a cancelled import": ("import asyncio\nraise asyncio.CancelledError('so')", ["mine.py:2", "CancelledError: so"]),
    "a server that is started": (
        "from reactor import Protocol, Server\nServer(Protocol, bind='127.0.0.1:0').run()",
        ["mine.py:2", "mine starts a server while it is imported", "__main__"],
    ),
    "a program that leaves": ("import sys\nsys.exit('set NAME first')", ["mine.py:2", "SystemExit: set NAME first"]),
    "a program that leaves content": ("import sys\nsys.exit(0)", ["mine.py:2", "SystemExit: 0"]),
    "a group of errors": ("raise ExceptionGroup('both', [OSError('a')])", ["mine.py:1", "ExceptionGroup: both"]),
    "a missing module without a name": ("raise ModuleNotFoundError('the extra')", ["mine.py:1", "the extra"]),
    "a lazy module that cannot": (
        "def __getattr__(name):\n    if name == 'Program': raise ImportError('no zork')\n    raise AttributeError",
        ["looking up mine:Program failed at", "mine.py:2", "ImportError: no zork"],
    ),
    "a lazy module that leaves": (
        "def __getattr__(name):\n    if name == 'Program': raise SystemExit\n    raise AttributeError",
        ["looking up mine:Program failed at", "mine.py:2", "SystemExit"],
    ),
    "a thing that cannot be told": (
        "class Mute:\n    def __repr__(self): raise OSError\nProgram = Mute()",
        ["mine:Program", "a Mute", "repr raises OSError"],
    ),
    "a module that cannot be told": (
        "class Mute:\n    def __repr__(self): raise OSError\nimport sys\nsys.modules['mine'] = Mute()",
        ["mine:Program does not exist", "a Mute", "'Program'"],
    ),
    "a program that closes what we speak by": ("import sys\nsys.stderr.close()\n1/0", ["ZeroDivisionError"]),
    "a program that puts nothing there": ("import sys\nsys.stderr = None\n1/0", ["ZeroDivisionError"]),
}


@pytest.mark.parametrize(("source", "words"), BROKEN_PROGRAMS.values(), ids=BROKEN_PROGRAMS)
def test_a_program_that_cannot_be_imported_is_one_line_that_says_where(source, words, tmp_path):
    (tmp_path / "mine.py").write_text(source)
    assert_refused(run_reactor("serve", "mine:Program", cwd=tmp_path), *words)


def test_a_program_whose_folder_was_removed_is_still_found_elsewhere(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    command = ["sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", sys.executable, "-m", "reactor", "serve", "nosuch:Program"]
    result = subprocess.run(
        command, cwd=gone, env=package_environment(), capture_output=True, text=True, timeout=DEADLINE_SECONDS
    )
    assert_refused(result, "'nosuch'")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A new current folder from which modules can be imported; they are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    importlib.invalidate_caches()
    return tmp_path


def test_a_program_is_found_in_the_current_folder(folder):
    (folder / "mine.py").write_text("Program = dict\n")
    assert load_program("mine:Program") is dict
    assert sys.path[0] == str(folder)
    load_program("mine:Program")
    assert sys.path.count(str(folder)) == 1


def test_where_the_current_folder_was_removed_programs_are_found_elsewhere(folder, monkeypatch):
    def removed():
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(command_line, "os", types.SimpleNamespace(getcwd=removed))
    assert load_program("colorsys:rgb_to_hls") is colorsys.rgb_to_hls
    with pytest.raises(ValueError, match="there is no module 'nosuch'"):
        load_program("nosuch:Program")


INTERRUPTED = {
    "imported": "raise KeyboardInterrupt",
    "looked up": "def __getattr__(name): raise KeyboardInterrupt",
    "told": "class Mute:\n    def __repr__(self): raise KeyboardInterrupt\nProgram = Mute()",
    "told, as an error": "class Mute(Exception):\n    def __str__(self): raise KeyboardInterrupt\nraise Mute",
}


@pytest.mark.parametrize("source", INTERRUPTED.values(), ids=INTERRUPTED)
def test_ctrl_c_while_a_program_is_loaded_is_no_mistake_of_the_program(source, folder):
    (folder / "mine.py").write_text(source)
    with pytest.raises(KeyboardInterrupt):
        load_program("mine:Program")


def test_a_mistake_that_cannot_be_told_is_a_mistake():
    with open("/dev/full", "w") as full:
        streams = {"capture_output": False, "stdout": full, "stderr": full, "env": buffering_environment()}
        for arguments in (["serve", "ehco"], ["serve", "--bnid"], ["serve", "echo", "--bind", "192.0.2.1:0"]):
            assert run_reactor(*arguments, **streams).returncode == 2


@pytest.mark.parametrize("command, status, words", [
    (["-m", "reactor", "serve", "echo"], 130, ""),
    (["-c", "import reactor"], -signal.SIGINT, "KeyboardInterrupt"),
], ids=["from the shell", "by a program"])  # fmt: skip
def test_ctrl_c_while_the_package_is_imported_is_a_traceback_in_a_program_alone(tmp_path, command, status, words):
    # Python imports `sitecustomize` before anything else.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'reactor.connections.limits':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    # `make coverage` would import the package earlier, when Python starts.
    environment = {name: value for name, value in package_environment().items() if not name.startswith("COVERAGE_")}
    environment["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{environment['PYTHONPATH']}"
    result = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, timeout=DEADLINE_SECONDS
    )
    assert result.returncode == status
    assert words in result.stderr and (words or not result.stderr)

"""`python -m reactor serve`, as a process of its own: what it serves, how it ends, and what it says to mistakes."""

import contextlib
import dataclasses
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys

import pytest

from reactor import Limits
from reactor.service import command_line
from tests.support import (
    DEADLINE_SECONDS,
    ROOT,
    connect,
    exchange,
    receive,
    receive_all,
    reset,
    running,
    serving,
    socket_address,
)

REACTOR = [sys.executable, "-m", "reactor"]
# Answers the first byte with far more than the kernel takes: a connection in the middle of a reply.
BIG_REPLY = """
from reactor import Protocol

class BigReply(Protocol):
    def connection_made(self, connection):
        self.connection = connection

    def data_received(self, data):
        self.connection.write(bytes(16 * 1024 * 1024))

class Outer:
    Inner = BigReply

NUMBER = 7
"""
BIG_REPLY_BYTES = 16 * 1024 * 1024


def run(*arguments, **options):
    """Run the command to its end."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "COLUMNS": "80"}
    options = {"env": environment, "capture_output": True, "text": True, "timeout": DEADLINE_SECONDS, **options}
    return subprocess.run([*REACTOR, *arguments], **options)


def free_port():
    """A port that nobody has, unless somebody takes it this very moment."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


def has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")


@pytest.fixture
def folder(tmp_path):
    """A folder with a program of one's own in it."""
    (tmp_path / "mine.py").write_text(BIG_REPLY)
    return tmp_path


# What it serves, and where.


def test_it_says_where_it_listens_and_echoes_there():
    with serving("echo") as server:
        assert re.fullmatch(r"127\.0\.0\.1:[1-9]\d*", server.addresses[0])
        with connect(server.address) as client:
            assert exchange(client, b"hello") == b"hello"


def test_the_line_that_says_where_is_a_log_line_on_standard_error():
    with serving("echo") as server:
        server.terminate()
        assert re.match(r"\d{4}-\d\d-\d\d \S+ INFO listening on 127\.0\.0\.1:\d+\n", server.stderr.text)
        assert server.stdout.text == ""


def test_bind_may_be_repeated(tmp_path):
    path = tmp_path / "socket"
    with serving("echo", "--bind", "127.0.0.1:0", "--bind", f"unix:{path}") as server:
        tcp, unix, last = server.addresses
        assert unix == f"unix:{path}"
        for address in (tcp, last):
            with connect(socket_address(address)) as client:
                assert exchange(client, b"hello") == b"hello"
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(DEADLINE_SECONDS)
            client.connect(str(path))
            assert exchange(client, b"hello") == b"hello"
        server.terminate()
    assert not path.exists()


def test_a_unix_socket_that_a_killed_server_left_behind_is_replaced(tmp_path):
    path = tmp_path / "socket"
    with serving("echo", bind=f"unix:{path}") as server:
        server.send_signal(signal.SIGKILL)
        server.wait()
    assert path.exists()
    with serving("echo", bind=f"unix:{path}"), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE_SECONDS)
        client.connect(str(path))
        assert exchange(client, b"hello") == b"hello"


def test_a_socket_handed_in_as_a_descriptor_is_served():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd, address = listener.fileno(), listener.getsockname()
        with serving("echo", bind=f"fd://{fd}", pass_fds=[fd]) as server:
            assert server.address == address
            with connect(address) as client:
                assert exchange(client, b"hello") == b"hello"


@needs_ipv6
def test_an_ipv6_address_goes_in_brackets():
    with serving("echo", bind="[::1]:0") as server:
        assert re.fullmatch(r"\[::1\]:[1-9]\d*", server.addresses[0])
        with connect(server.address) as client:
            assert exchange(client, b"hello") == b"hello"


@needs_ipv6
def test_a_bare_port_is_every_interface_in_both_families_on_one_port():
    with serving("echo", bind=":0") as server:
        ports = {socket_address(address)[1] for address in server.addresses}
        assert len(server.addresses) == 2
        assert len(ports) == 1
        for host in ("127.0.0.1", "::1"):
            with connect((host, *ports)) as client:
                assert exchange(client, b"hello") == b"hello"


def test_a_program_is_found_in_the_current_folder(folder):
    with serving("mine:BigReply", cwd=folder) as server, connect(server.address) as client:
        client.sendall(b"?")
        assert receive(client, 5) == bytes(5)


def test_the_installed_command_too_finds_a_program_in_the_current_folder(folder):
    # `python -m` puts the current folder on the path by itself; an installed script does not.
    script = "import sys; sys.path.pop(0); from reactor.service.command_line import main; main()"
    command = [sys.executable, "-c", script, "serve", "mine:BigReply", "--bind", "127.0.0.1:0"]
    with running(command, cwd=folder) as server:
        server.wait_until_listening()
        with connect(server.address) as client:
            client.sendall(b"?")
            assert receive(client, 5) == bytes(5)


def test_the_name_of_a_program_may_have_dots(folder):
    with serving("mine:Outer.Inner", cwd=folder) as server, connect(server.address) as client:
        client.sendall(b"?")
        assert receive(client, 5) == bytes(5)


def test_verbose_logs_the_end_of_every_connection_with_its_reason():
    with serving("echo", "--verbose") as server:
        connect(server.address).close()
        server.stderr.wait_for("DEBUG .*: peer_closed")
        reset(connect(server.address))
        server.stderr.wait_for("DEBUG .*: reset")


def test_a_limit_is_an_option_of_its_name():
    options = command_line._parse(["serve", "echo", "--drain-seconds", "0.5", "--backlog", "7"])
    limits = command_line._limits(options)
    assert (limits.drain_seconds, limits.backlog, limits.linger_seconds) == (0.5, 7, 5.0)


# How it ends.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_idle_server_with_status_0(number):
    with serving("echo") as server:
        server.send_signal(number)
        assert server.wait() == 0
        assert f"INFO {number.name}: draining for at most 10 seconds\n" in server.stderr.text
        assert "INFO stopped: 0 connections served, 0 cut\n" in server.stderr.text


def test_a_drain_stops_listening_and_ends_idle_connections():
    with serving("echo") as server, connect(server.address) as client:
        assert exchange(client, b"hello") == b"hello"
        server.send_signal(signal.SIGTERM)
        assert client.recv(1) == b""
        with pytest.raises(OSError):
            connect(server.address)
        client.close()
        assert server.wait() == 0
        assert "stopped: 1 connections served, 0 cut" in server.stderr.text


def test_a_drain_completes_the_reply_that_is_under_way(folder):
    with serving("mine:BigReply", cwd=folder) as server, connect(server.address) as client:
        client.sendall(b"?")
        assert receive(client, 1) == b"\0"
        server.send_signal(signal.SIGTERM)
        server.stderr.wait_for("draining")
        assert receive_all(client) == bytes(BIG_REPLY_BYTES - 1)
        client.close()
        assert server.wait() == 0


def test_a_drain_that_must_cut_a_connection_ends_with_status_1(folder):
    with serving("mine:BigReply", "--drain-seconds", "0.2", cwd=folder) as server, connect(server.address) as client:
        client.sendall(b"?")
        assert receive(client, 1) == b"\0"
        assert server.terminate() == 1
        assert "stopped: 1 connections served, 1 cut" in server.stderr.text
        with pytest.raises(ConnectionResetError):  # what it got is not the whole, and it can tell
            receive_all(client)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(folder, number):
    hour = ["--drain-seconds", "3600", "--linger-seconds", "3600"]
    with serving("mine:BigReply", *hour, cwd=folder) as server, connect(server.address) as client:
        client.sendall(b"?")
        assert receive(client, 1) == b"\0"
        server.send_signal(number)
        server.stderr.wait_for("draining")
        server.send_signal(number)
        assert server.wait() == 1
        assert f"{number.name} again: stopping at once" in server.stderr.text


def test_two_signals_at_once_end_it_too(folder):
    with serving("mine:BigReply", "--drain-seconds", "3600", cwd=folder) as server, connect(server.address) as client:
        client.sendall(b"?")
        assert receive(client, 1) == b"\0"
        server.send_signal(signal.SIGSTOP)  # so that it wakes up to both
        server.send_signal(signal.SIGINT)
        server.send_signal(signal.SIGTERM)
        server.send_signal(signal.SIGCONT)
        assert server.wait() == 1


# What it says to mistakes: one line that names the mistake, before anything is served.


def assert_refused(result, *words):
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1 and result.stderr.endswith("\n"), result.stderr
    assert result.stderr.startswith("reactor")
    for word in words:
        assert word in result.stderr


MISTAKES = {
    "no command": ([], ["COMMAND"]),
    "unknown command": (["sevre"], ["sevre", "serve"]),
    "no program": (["serve"], ["APP"]),
    "unknown option": (["serve", "echo", "--bnid", "x"], ["--bnid"]),
    "option without its value": (["serve", "echo", "--bind"], ["--bind"]),
    "unknown program": (["serve", "ehco"], ["'ehco'", "echo", "MODULE:NAME"]),
    "no module before the colon": (["serve", ":Echo"], ["':Echo'", "MODULE:NAME"]),
    "no name after the colon": (["serve", "reactor.apps.echo:"], ["'reactor.apps.echo:'", "MODULE:NAME"]),
    "missing module": (["serve", "no_such_module:Echo"], ["'no_such_module'"]),
    "missing submodule": (["serve", "reactor.no_such:Echo"], ["'reactor.no_such'"]),
    "missing attribute": (["serve", "reactor.apps.echo:Ehco"], ["'Ehco'", "reactor.apps.echo"]),
    "not callable": (["serve", "mine:NUMBER"], ["mine:NUMBER", "7"]),
    "relative module": (["serve", ".mine:BigReply"], ["'.mine:BigReply'"]),
    "port out of range": (["serve", "echo", "--bind", "127.0.0.1:65536"], ["'127.0.0.1:65536'", "65535"]),
    "negative port": (["serve", "echo", "--bind", "127.0.0.1:-1"], ["'127.0.0.1:-1'"]),
    "port that is no number": (["serve", "echo", "--bind", "127.0.0.1:http"], ["'127.0.0.1:http'", "HOST:PORT"]),
    "no port": (["serve", "echo", "--bind", "127.0.0.1"], ["'127.0.0.1'", "HOST:PORT"]),
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
    "limit that is no number": (["serve", "echo", "--backlog", "many"], ["--backlog", "many"]),
    "limit out of range": (["serve", "echo", "--backlog", "0"], ["backlog", "from 1 to 65535"]),
    "limit that is not whole": (["serve", "echo", "--backlog", "1.5"], ["--backlog", "1.5"]),
    "limit that is NaN": (["serve", "echo", "--drain-seconds", "nan"], ["drain_seconds", "nan"]),
    "limits that contradict": (
        ["serve", "echo", "--output-low-bytes", "9", "--output-high-bytes", "8"],
        ["output_low_bytes <= output_high_bytes", "9, 8"],
    ),
}


@pytest.mark.parametrize(("arguments", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_clear_line_and_status_2(arguments, words, folder):
    assert_refused(run(*arguments, cwd=folder), *words)


def test_a_port_in_use_is_one_clear_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert_refused(run("serve", "echo", "--bind", address), address, "in use")


def test_an_address_given_twice_is_one_clear_line():
    address = f"127.0.0.1:{free_port()}"
    assert_refused(run("serve", "echo", "--bind", address, "--bind", address), address, "in use")


def test_a_unix_socket_of_a_live_server_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "socket"
    with serving("echo", bind=f"unix:{path}"):
        assert_refused(run("serve", "echo", "--bind", f"unix:{path}"), str(path), "in use")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(DEADLINE_SECONDS)
            client.connect(str(path))
            assert exchange(client, b"hello") == b"hello"


def test_a_unix_socket_made_for_nothing_is_removed_again(tmp_path):
    path = tmp_path / "socket"
    assert_refused(run("serve", "echo", "--bind", f"unix:{path}", "--bind", "192.0.2.1:0"), "192.0.2.1:0")
    assert not path.exists()


def test_a_file_in_the_place_of_a_unix_socket_is_left_alone(tmp_path):
    path = tmp_path / "precious"
    path.write_text("precious")
    assert_refused(run("serve", "echo", "--bind", f"unix:{path}"), str(path), "in use")
    assert path.read_text() == "precious"


def without_the_right_to_low_ports():
    """Of root take CAP_NET_BIND_SERVICE away (capabilities(7), prctl(2)); others do not have it."""
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
        result = run("serve", "echo", "--bind", "127.0.0.1:1", preexec_fn=without_the_right_to_low_ports)
    except subprocess.SubprocessError:
        pytest.skip("this is root, and its right to low ports cannot be taken away")
    assert_refused(result, "127.0.0.1:1", "permission denied")


BROKEN_PROGRAMS = {
    "a missing import": ("import no_such_helper", ["'no_such_helper'"]),
    "a syntax error": ("def (", ["importing mine failed: SyntaxError", "line 1"]),
    "an exception": ("x = 1\nint('seven')", ["mine.py:2", "ValueError", "'seven'"]),
    "a message of several lines": ("raise OSError('one\\ntwo')", ["mine.py:1", "OSError: one two"]),
}


@pytest.mark.parametrize(("source", "words"), BROKEN_PROGRAMS.values(), ids=BROKEN_PROGRAMS)
def test_a_program_that_cannot_be_imported_is_one_line_that_says_where(source, words, tmp_path):
    (tmp_path / "mine.py").write_text(source)
    assert_refused(run("serve", "mine:Program", cwd=tmp_path), *words)


# Help.


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"]])
def test_help_fits_a_screen(arguments):
    result = run(*arguments)
    assert result.returncode == 0
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 45


def test_help_names_every_limit_with_its_default():
    words = " ".join(run("serve", "--help").stdout.split())
    assert "--drain-seconds S to finish when told to stop (10)" in words
    for field in dataclasses.fields(Limits):
        assert f"--{field.name.replace('_', '-')} " in words


# A Python that is too old.


def old_python(version):
    """That Python's interpreter, from where pyenv keeps it or from PATH."""
    places = sorted(pathlib.Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    minor = f"python{version}"
    places += [pathlib.Path(entry) / minor for entry in os.environ.get("PATH", "").split(os.pathsep)]
    for place in places:
        with contextlib.suppress(OSError):
            if subprocess.run([place, "--version"], capture_output=True, timeout=DEADLINE_SECONDS).returncode == 0:
                return place
    pytest.skip(f"there is no Python {version} here")


@pytest.mark.parametrize("version", ["3.6", "3.8", "3.10"])
def test_a_python_that_is_too_old_gets_one_line(version):
    command = [old_python(version), "-m", "reactor", "serve", "echo", "--bind", "127.0.0.1:0"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=DEADLINE_SECONDS)
    said = result.stderr.decode()
    assert result.returncode == 2
    assert re.fullmatch(rf"reactor needs Python 3\.11 or newer; this is Python {re.escape(version)}\.\d+\n", said)


def test_importing_the_package_in_a_python_that_is_too_old_says_so():
    command = [old_python("3.8"), "-c", "import reactor"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=DEADLINE_SECONDS)
    assert result.stderr.decode().splitlines()[-1].startswith("ImportError: reactor needs Python 3.11 or newer")

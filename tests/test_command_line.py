"""`python -m reactor serve` in its own process: what it serves, how it ends, its help."""

import contextlib
import dataclasses
import errno
import json
import logging
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import sys
import threading

import pytest

import reactor
from reactor import Limits, command_line
from reactor.service.statistics_table import FIGURES
from tests.support import (
    DEADLINE_SECONDS,
    ROOT,
    buffering_environment,
    connect,
    exchange,
    free_port,
    package_environment,
    receive,
    receive_all,
    reset,
    run_reactor,
    running,
    serving,
    socket_address,
    wait_until,
)

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
"""
BIG_REPLY_BYTES = 16 * 1024 * 1024


def has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")


@pytest.fixture
def folder(tmp_path):
    """A folder with a program in it."""
    (tmp_path / "mine.py").write_text(BIG_REPLY)
    return tmp_path


def answers(port):
    with contextlib.suppress(ConnectionRefusedError):
        return connect(("127.0.0.1", port))
    return None


# What it serves, and where.


def test_it_says_where_it_listens_and_echoes_there():
    with serving("echo") as server:
        assert re.fullmatch(r"127\.0\.0\.1:[1-9]\d*", server.addresses[0])
        with connect(server.address) as client:
            assert exchange(client, b"hello") == b"hello"


def test_the_line_that_says_where_is_a_log_line_on_standard_error():
    with serving("echo") as server:
        server.terminate()
        when, process = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}", rf"\[{server.pid}\]"
        assert re.match(rf"{when} {process} INFO listening on 127\.0\.0\.1:\d+\n", server.stderr.text)
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


def test_sockets_that_were_handed_in_are_served_without_being_named():
    # As systemd does: from descriptor 3 on, and with an `exec` that keeps the process number in LISTEN_PID.
    script = 'exec 3<&"$1"; shift; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd, address = listener.fileno(), listener.getsockname()
        command = ["bash", "-c", script, "bash", str(fd), sys.executable, "-m", "reactor", "serve", "echo"]
        with running(command, pass_fds=[fd]) as server:
            server.wait_until_listening()
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
    # `python -m` puts the current folder on the path; an installed script does not.
    script = "import sys; sys.path.pop(0); from reactor.command_line import main; main()"
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


# A program that starts a child, which needs a standard error, too.
SPEAKING_CHILD = """
import subprocess
from reactor.apps.echo import Echo
subprocess.run(["sh", "-c", "echo something >&2"], check=True)
"""


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_it_serves_with_standard_streams_closed_and_no_socket_takes_their_place(tmp_path, closed):
    (tmp_path / "mine.py").write_text(SPEAKING_CHILD)
    port = free_port()
    command = [sys.executable, "-m", "reactor", "serve", "mine:Echo", "--bind", f"127.0.0.1:{port}"]
    command, environment = ["sh", "-c", f'exec "$@" {closed}', "sh", *command], package_environment()
    with subprocess.Popen(command, cwd=tmp_path, env=environment) as process:
        try:
            with wait_until(lambda: process.poll() is not None or answers(port), "an answer") as client:
                assert exchange(client, b"hello") == b"hello"
                for stream in range(3):
                    assert "socket" not in os.readlink(f"/proc/{process.pid}/fd/{stream}")
            process.terminate()
            assert process.wait(DEADLINE_SECONDS) == 0
        finally:
            process.kill()


# Logs the end of a connection as the reactor does, and something else that is for debugging.
LOGGING = """
import logging
from reactor import Protocol

class Logging(Protocol):
    def connection_made(self, connection):
        logging.getLogger("reactor.access").debug("%(reason)s from %(peer)s", {"peer": "me\\x1b", "reason": "idle"})
        logging.getLogger("reactor.connections").debug("a detail")
        logging.getLogger("reactor.connections").info("that is all")
"""


@pytest.mark.parametrize(("options", "said"), [
    ([], []),
    (["--access-log"], [r"DEBUG idle from me\x1b"]),
    (["--verbose"], [r"DEBUG idle from me\x1b", "DEBUG a detail"]),
])  # fmt: skip
def test_access_log_says_each_end_and_verbose_says_all(folder, options, said):
    (folder / "mine.py").write_text(LOGGING)
    with serving("mine:Logging", *options, cwd=folder) as server:
        connect(server.address).close()
        server.stderr.wait_for("INFO that is all")
        log = server.stderr.text
    assert [text for text in (r"DEBUG idle from me\x1b", "DEBUG a detail") if text in log] == said


def test_a_json_log_has_the_items_of_a_record_by_their_names(folder):
    (folder / "mine.py").write_text(LOGGING)
    command = [sys.executable, "-m", "reactor", "serve", "mine:Logging", "--bind", "127.0.0.1:0", "--verbose"]
    options = {"stderr": subprocess.PIPE, "env": package_environment(), "cwd": folder}
    with subprocess.Popen([*command, "--log-format", "json"], **options) as process:
        records = iter(lambda: json.loads(process.stderr.readline()), None)
        try:
            host, _, port = next(records)["message"].removeprefix("listening on ").partition(":")
            connect((host, int(port))).close()
            ended = next(record for record in records if record["logger"] == "reactor.access")
            assert (ended["pid"], ended["level"], ended["peer"], ended["reason"]) == (
                process.pid, "DEBUG", "me\x1b", "idle"
            )  # fmt: skip
            process.send_signal(signal.SIGUSR1)
            asked = next(record for record in records if "statistics" in record)
            assert asked["message"] == "statistics" and asked["statistics"]["accepted"] == 1
            assert asked["statistics"].keys() == FIGURES.keys()
            process.terminate()
            *_, last = map(json.loads, process.stderr)
            assert last["message"] == "stopped: 1 connection accepted, 0 cut"
            assert process.wait(DEADLINE_SECONDS) == 0
        finally:
            process.kill()


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


# What it needs from the system.


def limited(soft, hard):
    """For `preexec_fn`: set these limits of descriptors."""
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_it_raises_the_soft_limit_of_descriptors_to_what_it_promises_and_says_nothing():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with serving("echo", "--max-connections", "500", preexec_fn=limited(100, hard)) as server:
        soft, _ = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        assert 500 < soft < 700
        assert server.terminate() == 0
        assert "WARNING" not in server.stderr.text


def test_a_hard_limit_that_is_too_low_is_told_in_one_line_and_it_serves_all_the_same():
    with serving("echo", preexec_fn=limited(100, 200)) as server, connect(server.address) as client:
        assert exchange(client, b"hello") == b"hello"
        assert resource.prlimit(server.pid, resource.RLIMIT_NOFILE) == (200, 200)
        client.close()
        assert server.terminate() == 0
        warnings = [line for line in server.stderr.text.splitlines() if "WARNING" in line]
        assert len(warnings) == 1
        assert "connections can be served, not 10,000: this process may open 200 file descriptors" in warnings[0]


# How it ends.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_idle_server_with_status_0(number):
    with serving("echo") as server:
        server.send_signal(number)
        assert server.wait() == 0
        assert f"INFO {number.name}: draining for at most 10 s; a second signal stops at once\n" in server.stderr.text
        assert "INFO stopped: 0 connections accepted, 0 cut\n" in server.stderr.text


def test_a_drain_stops_listening_and_ends_idle_connections():
    with serving("echo") as server, connect(server.address) as client:
        assert exchange(client, b"hello") == b"hello"
        server.send_signal(signal.SIGTERM)
        assert client.recv(1) == b""
        with pytest.raises(OSError):
            connect(server.address)
        client.close()
        assert server.wait() == 0
        assert "stopped: 1 connection accepted, 0 cut" in server.stderr.text


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
        assert "stopped: 1 connection accepted, 1 cut" in server.stderr.text
        with pytest.raises(ConnectionResetError):  # its reply is not complete, and it can see that
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


def test_a_terminal_that_tells_twice_that_it_goes_away_is_one_signal(folder):
    # The shell sends SIGHUP to its jobs, and the kernel sends another one.
    with serving("mine:BigReply", "--drain-seconds", "3600", cwd=folder) as server, connect(server.address) as client:
        client.sendall(b"?")
        assert receive(client, 1) == b"\0"
        server.send_signal(signal.SIGHUP)
        server.stderr.wait_for("SIGHUP: draining")
        server.send_signal(signal.SIGHUP)
        assert receive_all(client) == bytes(BIG_REPLY_BYTES - 1)
        client.close()
        assert server.wait() == 0


def test_two_signals_at_once_end_it_too(folder):
    with serving("mine:BigReply", "--drain-seconds", "3600", cwd=folder) as server, connect(server.address) as client:
        client.sendall(b"?")
        assert receive(client, 1) == b"\0"
        server.send_signal(signal.SIGSTOP)  # so that it wakes up to both signals
        server.send_signal(signal.SIGINT)
        server.send_signal(signal.SIGTERM)
        server.send_signal(signal.SIGCONT)
        assert server.wait() == 1


# What it writes, and where nothing reads it.


def test_standard_error_may_be_a_socket():
    # As systemd connects it to the journal.
    ours, theirs = socket.socketpair()
    with ours, theirs, serving_into(theirs) as (process, _):
        theirs.close()
        ours.settimeout(DEADLINE_SECONDS)
        with ours.makefile() as lines:
            assert "listening on 127.0.0.1:" in lines.readline()
            process.terminate()
            assert re.search(r"stopped: \d connections? accepted, 0 cut\n", lines.read())
            assert process.wait(DEADLINE_SECONDS) == 0


@contextlib.contextmanager
def serving_into(stderr, program="echo", **options):
    """A server whose standard error is `stderr`, once it has served one client: (process, address)."""
    address = ("127.0.0.1", free_port())
    command = [sys.executable, "-m", "reactor", "serve", program, "--bind", f"127.0.0.1:{address[1]}", "--verbose"]
    options = {"stdin": subprocess.DEVNULL, "env": buffering_environment(), **options}
    with subprocess.Popen(command, stderr=stderr, **options) as process:
        try:
            wait_until(lambda: answers(address[1]), "an answer").close()
            yield process, address
        finally:
            process.kill()


# At the end it waits for its reader as long as a test may take.
PATIENT = f"""
import sys
from reactor import command_line
from reactor.service import log
log.LogHandler.finish.__defaults__ = ({DEADLINE_SECONDS},)
sys.exit(command_line.main(["serve", "echo", "--verbose", "--bind", "127.0.0.1:0"]))
"""


def test_it_does_not_leave_before_its_last_lines_are_read():
    command, environment = [sys.executable, "-c", PATIENT], package_environment()
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment) as process:
        try:
            address = "127.0.0.1", int(re.search(rb":(\d+)$", process.stderr.readline())[1])
            for _ in range(1500):  # more lines than a pipe holds
                connect(address).close()
            with connect(address) as client:
                assert exchange(client, b"hello") == b"hello"
            process.terminate()
            lines = process.stderr.read().decode()
            served = int(re.search(r"stopped: ([\d,]+) connections accepted, 0 cut\n\Z", lines)[1].replace(",", ""))
            assert lines.count(" DEBUG connection ") == served > 1500
            assert process.wait(DEADLINE_SECONDS) == 0
        finally:
            process.kill()


def test_on_a_full_disk_it_serves_and_ends_with_status_0():
    with open("/dev/full", "w") as full, serving_into(full, stdout=full) as (process, address):
        with connect(address) as client:
            assert exchange(client, b"hello") == b"hello"
        process.terminate()
        assert process.wait(DEADLINE_SECONDS) == 0


def test_what_could_not_be_logged_is_in_the_statistics_and_told_in_its_place(tmp_path):
    log = tmp_path / "log"
    with open(log, "w") as file, serving_into(file, preexec_fn=limit_files) as (process, address):
        for _ in range(100):  # each is a line of more than 50 bytes
            connect(address).close()
        with connect(address) as client:
            assert exchange(client, b"hello") == b"hello"
        wait_until(lambda: log.stat().st_size == FILE_BYTES, "a full disk")
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        process.send_signal(signal.SIGUSR1)
        figure = re.compile(r"lost_log_lines +(\d+)$", re.MULTILINE)
        found = wait_until(lambda: figure.search(log.read_text()), "the statistics")
        lost = int(re.search(r" WARNING (\d+) lines? of the log lost here\n", found.string)[1])
        assert int(found[1]) == lost > 0
        begins = re.compile(r"\d{4}-\d\d-\d\d \S+ \[\d+\] (INFO|DEBUG|WARNING) |    ")
        assert not [line for line in found.string.splitlines() if not begins.match(line)], "a line was torn"
        process.terminate()
        assert process.wait(DEADLINE_SECONDS) == 0


FILE_BYTES = 4000


def limit_files():
    """Limit the size of files: the disk is full (setrlimit(2); Python ignores SIGXFSZ)."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, resource.RLIM_INFINITY))


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_a_program_prints_in_vain_does_not_decide_the_status(tmp_path, stream):
    (tmp_path / "mine.py").write_text(f"import sys\nfrom reactor.apps.echo import Echo\nsys.{stream}.write('here')\n")
    with open("/dev/full", "w") as full, open(tmp_path / "log", "w+") as log:
        streams = {"stdout": log, "stderr": log, stream: full}
        with serving_into(program="mine:Echo", cwd=tmp_path, **streams) as (process, _):
            process.terminate()
            assert process.wait(DEADLINE_SECONDS) == 0


REPORTING = r"""
import gc, warnings
from reactor import Protocol

class Thing:
    def __del__(self):
        raise LookupError("from \x1b[2J __del__")

class Reporting(Protocol):
    def data_received(self, data):
        warnings.warn("a warning", stacklevel=1)
        Thing()
        raise ValueError("from a peer: \x1b[2J\r\n2026-01-01 00:00:00,000 INFO forged")
"""


def test_what_python_reports_is_logged_too_and_nothing_in_it_drives_the_terminal(tmp_path):
    (tmp_path / "mine.py").write_text(REPORTING)
    environment = {**package_environment(), "PYTHONWARNINGS": "default"}
    with serving("mine:Reporting", cwd=tmp_path, env=environment) as server:
        with connect(server.address) as client, pytest.raises(ConnectionResetError):
            client.sendall(b"?")
            receive_all(client)
        assert server.terminate() == 0
        said = server.stderr.text
    assert re.search(r"^\S+ \S+ \[\d+\] WARNING \S+mine.py:\d+: UserWarning: a warning", said, re.MULTILINE)
    assert re.search(r"^\S+ \S+ \S+ ERROR Exception ignored in: <function Thing.__del__", said, re.MULTILINE)
    assert r"    LookupError: from \x1b[2J __del__" in said
    assert r"ValueError: from a peer: \x1b[2J\r" in said
    assert "\x1b" not in said
    assert not re.search(r"^\S+ \S+ (\[\d+\] )?INFO forged", said, re.MULTILINE)


def test_an_encoding_that_lacks_a_character_loses_no_line(tmp_path):
    environment = {**package_environment(), "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    path = tmp_path / "µ"
    with serving("echo", bind=f"unix:{path}", env=environment) as server:
        assert server.addresses == [f"unix:{tmp_path}/\\xb5"]
        assert server.terminate() == 0


def test_it_starts_without_the_site_module():
    command = [sys.executable, "-S", "-E", "-m", "reactor", "serve", "echo", "--bind", "127.0.0.1:0"]
    with running(command, cwd=ROOT) as server:
        server.wait_until_listening()
        assert server.terminate() == 0


# Help.


def test_help_into_a_pipe_that_nobody_reads_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    try:
        streams = {"capture_output": False, "stdout": writer, "stderr": subprocess.PIPE}
        result = run_reactor("serve", "--help", **streams, env=buffering_environment())
        assert (result.returncode, result.stderr) == (0, "")
    finally:
        os.close(writer)


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"]])
def test_help_fits_a_screen(arguments):
    result = run_reactor(*arguments)
    assert result.returncode == 0
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 23  # of 24: the next prompt has a row, too


def test_the_options_of_a_program_are_in_its_help_alone():
    help_of = {app: run_reactor("serve", app, "--help").stdout for app in ("proxy", "echo")}
    assert re.search(r"^options of proxy:\n  --to ADDRESS         where to connect", help_of["proxy"], re.MULTILINE)
    assert "--to " not in help_of["echo"]


def test_the_options_of_a_program_may_stand_before_it():
    arguments = ["serve", "--to", "127.0.0.1:1", "--backlog", "7", "proxy", "--verbose"]
    options = command_line._parse(arguments)
    assert (options.app, options.to, options.backlog, options.verbose) == ("proxy", "127.0.0.1:1", 7, True)


def test_the_help_lists_the_programs_that_there_are():
    told = re.search(r"built-in program \(([a-z, ]+)\)", " ".join(run_reactor("serve", "--help").stdout.split()))[1]
    there = [path.stem for path in (ROOT / "reactor" / "apps").glob("[a-z]*")]  # a program may be a folder
    assert sorted(told.split(", ")) == sorted(there)


def test_the_version_is_that_of_the_package():
    result = run_reactor("--version")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"reactor {reactor.__version__}\n", "")


def test_every_limit_is_listed_where_the_help_says_with_its_default_and_its_meaning():
    assert "`python -m reactor limits`" in run_reactor("serve", "--help").stdout
    result = run_reactor("limits")
    assert (result.returncode, result.stderr) == (0, "")
    assert max(map(len, result.stdout.splitlines())) <= 80
    _, *rows = (line.split(maxsplit=2) for line in result.stdout.splitlines())
    listed = {option: (default, meaning) for option, default, meaning in rows}
    assert listed["--drain-seconds"] == ("10", "to finish when told to stop")
    assert listed["--output-hard-bytes"][0] == "33,554,432"
    assert listed["--when-full"][0] == "queue"
    assert listed.keys() == {f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(Limits)}


def test_every_option_is_told_in_the_help_or_among_the_limits():
    screens = run_reactor("serve", "--help").stdout + run_reactor("limits").stdout
    told = {"--app", *re.findall(r"--[a-z\d-]+", screens)}
    options = vars(command_line._parse(["serve", "echo"])).keys() - {"command"}
    assert {f"--{name.replace('_', '-')}" for name in options} <= told


def test_what_a_thread_raises_is_logged_and_waits_for_no_reader(monkeypatch, caplog):
    """Python would write it to `sys.stderr`, which may be a full pipe."""
    for owner, name in ((sys, "unraisablehook"), (threading, "excepthook")):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # put back at the end
    monkeypatch.setattr(logging, "captureWarnings", lambda on: None)
    command_line._log_what_python_reports()
    for raises in (lambda: 1 / 0, lambda: sys.exit("of no interest")):
        thread = threading.Thread(target=raises, name="of the program")
        thread.start()
        thread.join()
    (record,) = caplog.records
    assert record.getMessage() == "a thread raised: of the program" and record.exc_info[0] is ZeroDivisionError


def test_a_full_disk_that_does_not_take_the_list_of_limits_is_told_in_one_line():
    with open("/dev/full", "w") as full:
        for environment in (buffering_environment(), {**package_environment(), "PYTHONUNBUFFERED": "1"}):
            result = run_reactor("limits", capture_output=False, stdout=full, stderr=subprocess.PIPE, env=environment)
            assert (result.returncode, result.stderr) == (2, f"reactor: {os.strerror(errno.ENOSPC)}\n")


# A Python that is too old.


def old_python(version):
    """The interpreter of that Python, from pyenv's folder or from PATH."""
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

"""Well-known clients against a server process."""

import asyncio
import shutil
import socket
import subprocess
import sys

import pytest

from tests.support import DEADLINE_SECONDS, connect, patterned

# The client of every sockets tutorial.
TUTORIAL_CLIENT = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
sock.connect((sys.argv[1], int(sys.argv[2])))
sock.sendall(b"Hello, world")
data = sock.recv(1024)
sock.close()
print("Received", repr(data))
"""


def text(server):
    host, port = server.address
    return host, str(port)


def run(command, **options):
    return subprocess.run(command, capture_output=True, timeout=DEADLINE_SECONDS, check=True, **options)


def needs(tool):
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")


def test_the_blocking_client_of_any_tutorial(echo):
    for _ in range(2):
        result = run([sys.executable, "-c", TUTORIAL_CLIENT, *text(echo)])
        assert result.stdout == b"Received b'Hello, world'\n"


def test_a_script_that_reads_lines_from_a_file_object(echo):
    with connect(echo.address) as client, client.makefile("rw", newline="\n") as file:
        for number in range(100):
            print("line", number, file=file, flush=True)
            assert file.readline() == f"line {number}\n"
        client.shutdown(socket.SHUT_WR)
        assert file.readline() == ""


def test_streams_of_asyncio(echo):
    async def client():
        reader, writer = await asyncio.open_connection(*echo.address)
        writer.write(b"hello\n" * 1000)
        writer.write_eof()
        received = await reader.read()
        writer.close()
        await writer.wait_closed()
        return received

    assert asyncio.run(asyncio.wait_for(client(), DEADLINE_SECONDS)) == b"hello\n" * 1000


@needs("socat")
def test_socat(echo):
    message = patterned(3_000_000)
    # -t: how long it waits for the other direction after its input has ended. The wait should not be needed.
    command = ["socat", f"-t{DEADLINE_SECONDS:g}", "-", f"TCP:{':'.join(text(echo))}"]
    assert run(command, input=message).stdout == message


@needs("socat")
def test_socat_by_a_unix_socket(serve, tmp_path):
    path = tmp_path / "socket"
    serve("echo", bind=f"unix:{path}")
    command = ["socat", f"-t{DEADLINE_SECONDS:g}", "-", f"UNIX-CONNECT:{path}"]
    assert run(command, input=b"hello").stdout == b"hello"


def how_nc_ends():
    """The option with which nc ends its side after its input. Several programs have the name nc."""
    help_text = subprocess.run(["nc", "-h"], capture_output=True, timeout=DEADLINE_SECONDS, stdin=subprocess.DEVNULL)
    said = (help_text.stdout + help_text.stderr).decode()
    for option in ("-N", "-q"):
        if f"\t{option}" in said or f" {option} " in said:
            return [option] if option == "-N" else [option, f"{DEADLINE_SECONDS:g}"]
    pytest.skip("this nc cannot end its side when its input has ended")


@needs("nc")
def test_nc(echo):
    message = patterned(3_000_000)
    assert run(["nc", *how_nc_ends(), *text(echo)], input=message).stdout == message


@needs("bash")
def test_the_sockets_of_bash(echo):
    script = 'exec 3<>"/dev/tcp/$1/$2"; echo "Hello, world" >&3; read -r line <&3; echo "$line"'
    assert run(["bash", "-c", script, "bash", *text(echo)]).stdout == b"Hello, world\n"

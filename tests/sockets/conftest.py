"""A server process for each test. After the test it must be as it was at its start."""

import contextlib
import pathlib

import pytest

from reactor.service.units import counted
from tests.support import serving, wait_until

HERE = pathlib.Path(__file__).parent


@contextlib.contextmanager
def as_it_was(server):
    """Check after the block that the server is idle, has its first descriptors, and has counted every connection."""
    server.statistics()
    descriptors = server.descriptors()
    yield
    wait_until(lambda: server.statistics()["open"] == 0, "the end of every connection")
    wait_until(lambda: server.descriptors() == descriptors, f"{descriptors} descriptors as at the start")
    statistics = server.statistics()
    assert statistics["accepted"] == sum(statistics["closed"].values())
    server.wait_until_idle("every client is gone")
    assert server.terminate() == 0
    assert f"stopped: {counted(statistics['accepted'], 'connection')} accepted, 0 cut" in server.stderr.text
    for complaint in ("Traceback", "Exception ignored", "Warning", "ERROR"):
        assert complaint not in server.stderr.text, server.stderr.text


@pytest.fixture(autouse=True)
def proc():
    """The tests watch a server process by /proc, which Linux has."""
    if not pathlib.Path("/proc/self/stat").exists():
        pytest.skip("no /proc to watch a server process in")


@pytest.fixture
def echo():
    """An echo server."""
    with serving("echo", "--log-format", "json") as server, as_it_was(server):
        yield server


@pytest.fixture
def serve():
    """Serve the named class of `programs`, or another program, with these options."""
    with contextlib.ExitStack() as stack:

        def serve(program, *options, **how):
            name = f"programs:{program}" if program[0].isupper() else program
            server = stack.enter_context(serving(name, "--log-format", "json", *options, cwd=HERE, **how))
            stack.enter_context(as_it_was(server))
            return server

        yield serve


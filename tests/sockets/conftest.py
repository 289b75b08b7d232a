"""A server process for each test, which must be as it was at its start when the test is done with it."""

import contextlib
import pathlib

import pytest

from tests.support import serving, wait_until

HERE = pathlib.Path(__file__).parent


@contextlib.contextmanager
def as_it_was(server):
    """Whatever happens in the block: the server ends up idle, with its descriptors, and nobody unaccounted for."""
    server.statistics()
    descriptors = server.descriptors()
    yield
    wait_until(lambda: server.statistics()["open"] == 0, "the end of every connection")
    wait_until(lambda: server.descriptors() == descriptors, f"{descriptors} descriptors as at the start")
    statistics = server.statistics()
    assert statistics["accepted"] == sum(statistics["closed"].values())
    server.wait_until_idle("everyone is gone")
    assert server.terminate() == 0
    assert f"stopped: {statistics['accepted']} connections served, 0 cut" in server.stderr.text
    for complaint in ("Traceback", "Exception ignored", "Warning", "ERROR"):
        assert complaint not in server.stderr.text, server.stderr.text


@pytest.fixture(autouse=True)
def proc():
    """A server process is watched from outside by what Linux tells of it in /proc."""
    if not pathlib.Path("/proc/self/stat").exists():
        pytest.skip("no /proc to watch a server process in")


@pytest.fixture
def echo():
    """An echo server."""
    with serving("echo") as server, as_it_was(server):
        yield server


@pytest.fixture
def serve():
    """Serve the named class of `programs`, or another program, with these options."""
    with contextlib.ExitStack() as stack:

        def serve(program, *options, **how):
            name = f"programs:{program}" if program[0].isupper() else program
            server = stack.enter_context(serving(name, *options, cwd=HERE, **how))
            stack.enter_context(as_it_was(server))
            return server

        yield serve


"""`pytest tests/failures --server NAME`: the same tests against another server. Without it, both of ours are tested."""

import contextlib

import pytest

from tests.failures.adapter import NotApplicable
from tests.failures.rivals import ADAPTERS

OURS = ("reactor", "coroutines")  # with callbacks, and with coroutines


def pytest_addoption(parser):
    parser.addoption("--server", choices=list(ADAPTERS), help="the server to test (each of ours)")


def pytest_report_header(config):
    return f"failures: against {config.getoption('--server', default=None) or ' and '.join(OURS)}"


def chosen(config):
    # If pytest starts above this folder, this file is loaded too late for the option: then the server is ours.
    return ADAPTERS[config.getoption("--server", default=None) or "reactor"]


def pytest_generate_tests(metafunc):
    if "adapter" in metafunc.fixturenames and metafunc.config.getoption("--server", default=None) is None:
        metafunc.parametrize("adapter", OURS, indirect=True)


@pytest.fixture
def adapter(request):
    """How to start the chosen server; without a choice, each of ours."""
    return ADAPTERS[request.param] if hasattr(request, "param") else chosen(request.config)


@pytest.fixture
def serve(adapter, request):
    """`with serve(PROGRAM, bind, **settings) as server`: it runs, and at the end of the block it must be at rest.

    Close the clients before the end of the block. If a test does not apply to this server, it is skipped.
    """

    @contextlib.contextmanager
    def start(*arguments, **settings):
        request.node.user_properties.append(("left_out", sorted(settings.keys() & adapter.runs_without)))
        with contextlib.ExitStack() as stack:
            try:
                server = stack.enter_context(adapter.start(*arguments, **settings))
            except NotApplicable as reason:
                pytest.skip(f"not applicable to {adapter.name}: {reason}")
            yield server

    return start

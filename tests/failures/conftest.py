"""`pytest tests/failures --server NAME`: the same tests against another server."""

import contextlib

import pytest

from tests.failures.adapter import NotApplicable
from tests.failures.rivals import ADAPTERS


def pytest_addoption(parser):
    parser.addoption("--server", choices=list(ADAPTERS), help="the server to test (reactor)")


def pytest_report_header(config):
    return f"failures: against {chosen(config).name}"


def chosen(config):
    # When pytest starts above this folder it comes here too late to know the option: then it is ours.
    return ADAPTERS[config.getoption("--server", default=None) or "reactor"]


@pytest.fixture
def adapter(request):
    """How to start the server that was chosen."""
    return chosen(request.config)


@pytest.fixture
def serve(adapter, request):
    """`with serve(PROGRAM, bind, **settings) as server`: it runs, and at the end of the block is found at rest.

    Clients are to be closed before the end of the block. A question that this server cannot be asked is a skip.
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

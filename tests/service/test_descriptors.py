"""The limit of descriptors is raised to what is promised. If that fails, one line says so (P8)."""

import pytest

from reactor.service import descriptors
from reactor.service.descriptors import OTHER_DESCRIPTORS, make_room
from tests.support import imported_without

INFINITY = -1


class FakeResource:
    """A system with these limits. `most` is the real limit where the hard one is called infinite, as on macOS."""

    RLIMIT_NOFILE, RLIM_INFINITY = 7, INFINITY

    def __init__(self, soft, hard, most=None):
        self.soft, self.hard, self.most = soft, hard, most

    def getrlimit(self, which):
        return self.soft, self.hard

    def setrlimit(self, which, limits):
        soft, hard = limits
        assert hard == self.hard
        if self.most is not None and soft > self.most or hard != INFINITY and soft > hard:
            raise ValueError("current limit exceeds maximum limit")
        self.soft = soft


NEEDED = 1000 + OTHER_DESCRIPTORS


@pytest.mark.parametrize(
    "soft, hard, raised_to",
    [
        (256, 1 << 20, NEEDED),  # not more than is needed
        (256, NEEDED, NEEDED),
        (256, INFINITY, NEEDED),
        (NEEDED, NEEDED, NEEDED),
        (5000, 1 << 20, 5000),  # never lowered
        (INFINITY, INFINITY, INFINITY),
    ],
)
def test_the_soft_limit_is_raised_to_what_is_needed(monkeypatch, soft, hard, raised_to):
    system = FakeResource(soft, hard)
    monkeypatch.setattr(descriptors, "resource", system)
    assert make_room(1000) == ""
    assert system.soft == raised_to


@pytest.mark.parametrize("system, has", [(FakeResource(256, 512), 512), (FakeResource(256, INFINITY, most=300), 256)])
def test_a_limit_that_is_too_low_is_told_with_what_can_be_served_and_what_would_help(monkeypatch, system, has):
    monkeypatch.setattr(descriptors, "resource", system)
    said = make_room(1000)
    assert system.soft == has
    served = has - OTHER_DESCRIPTORS
    assert said.startswith(f"about {served} connections can be served, not 1,000: this process may open {has} file")
    for words in ("RLIMIT_NOFILE", f"`ulimit -n {NEEDED}`", f"max_connections to {served}"):
        assert words in said
    assert "\n" not in said


def test_with_hardly_any_descriptors_no_negative_number_is_told(monkeypatch):
    monkeypatch.setattr(descriptors, "resource", FakeResource(10, 10))
    assert make_room(1000).startswith("about 0 connections can be served")


def test_where_there_is_no_such_limit_there_is_nothing_to_say(monkeypatch):
    monkeypatch.setattr(descriptors, "resource", None)
    assert make_room(10**6) == ""


def test_on_a_system_without_the_module_resource_there_is_nothing_to_say():
    lines = imported_without(
        ["resource"], "from reactor.service.descriptors import make_room", "print(repr(make_room(10**6)))"
    )
    assert lines == ["''"]

"""What the system allows: asked for in time, and explained where it is not enough."""

import errno

import pytest

from scripts.clients import descriptors


class FakeResource:
    """A system with these limits; `strict` refuses an infinite one, as macOS does."""

    RLIMIT_NOFILE, RLIM_INFINITY = 7, -1

    def __init__(self, soft, hard, strict=False):
        self.soft, self.hard, self.strict = soft, hard, strict
        self.calls = 0

    def getrlimit(self, which):
        return self.soft, self.hard

    def setrlimit(self, which, limits):
        soft, hard = limits
        self.calls += 1
        if hard != self.hard or (soft == -1 and self.strict) or (self.hard != -1 and not soft <= self.hard):
            raise ValueError("not allowed to raise maximum limit")
        self.soft = soft


@pytest.mark.parametrize(
    "limits, soft_after",
    [
        ({"soft": 1000, "hard": 5000}, 5000),
        ({"soft": 5000, "hard": 5000}, 5000),
        ({"soft": -1, "hard": -1}, -1),
        ({"soft": 256, "hard": -1}, -1),
        ({"soft": 256, "hard": -1, "strict": True}, 1032),
    ],
)
def test_the_soft_limit_is_raised_when_it_is_too_low(monkeypatch, limits, soft_after):
    system = FakeResource(**limits)
    monkeypatch.setattr(descriptors, "resource", system)
    descriptors.make_room(1000)
    assert system.soft == soft_after


def test_a_hard_limit_that_is_too_low_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setattr(descriptors, "resource", FakeResource(soft=256, hard=1024))
    descriptors.make_room(1024 - descriptors.OTHER_DESCRIPTORS)
    with pytest.raises(ValueError) as refused:
        descriptors.make_room(1000)
    assert str(refused.value).startswith("1,000 connections need 1,032 file descriptors")
    words = ["may open 1,024", "RLIMIT_NOFILE", "`ulimit -n 1032`", "/etc/security/limits.conf", "at most 992"]
    assert [word for word in words if word not in str(refused.value)] == []


def test_where_there_is_no_such_limit_nothing_is_asked(monkeypatch):
    monkeypatch.setattr(descriptors, "resource", None)
    descriptors.make_room(10**6)


def test_running_out_of_ports_is_explained_with_the_range(monkeypatch, tmp_path):
    port_range = tmp_path / "range"
    port_range.write_text("32768\t60999\n")
    monkeypatch.setattr(descriptors, "PORT_RANGE", port_range)
    said = descriptors.explain(OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address"))
    assert "no local port is left" in said
    assert "32768 to 60999 (net.ipv4.ip_local_port_range)" in said


@pytest.mark.parametrize(
    "exc, words",
    [
        (OSError(errno.EMFILE, "Too many open files"), "no file descriptor is left"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "No route to host"),
        (OSError(errno.ENETUNREACH, None), "Network is unreachable"),
        (OSError("something else"), "something else"),
    ],
)
def test_other_failures_are_told_in_words(exc, words):
    assert words in descriptors.explain(exc)

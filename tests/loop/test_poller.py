"""What the kernel watches, and how its answer comes back, with every selector of this platform."""

import select
import selectors
import socket

import pytest

from reactor.loop.poller import BROKEN, PEER_FIN, READABLE, WRITABLE, EpollPoller, SelectorPoller, make_poller
from tests import rig

pytestmark = pytest.mark.usefixtures("descriptors_come_back")

SELECTORS = [
    getattr(selectors, name)
    for name in ("EpollSelector", "PollSelector", "SelectSelector", "KqueueSelector")
    if hasattr(selectors, name)
]
needs_epoll = pytest.mark.skipif(not hasattr(select, "epoll"), reason="epoll is Linux's own")


@pytest.fixture(params=SELECTORS, ids=lambda selector: selector.__name__)
def poller(request, descriptors_come_back):
    poller = make_poller(request.param())
    yield poller
    poller.close()


@pytest.fixture
def epoll_poller(descriptors_come_back):
    poller = make_poller(selectors.EpollSelector())
    yield poller
    poller.close()


@pytest.fixture
def ends(descriptors_come_back):
    left, right = socket.socketpair()
    for end in (left, right):
        end.setblocking(False)
    with left, right:
        yield left, right


def handler(source, events):
    """Never called here, because these tests only poll."""


def test_nothing_registered_means_no_events(poller):
    assert poller.poll(0) == []


def test_input_is_told_as_readable_for_as_long_as_it_waits(poller, ends):
    left, right = ends
    poller.register(left.fileno(), READABLE, handler, left)
    assert poller.poll(0) == []
    right.send(b"x")
    for _ in range(3):
        assert poller.poll(10) == [(left.fileno(), READABLE)]
    left.recv(1)
    assert poller.poll(0) == []


def test_room_is_told_as_writable(poller, ends):
    left, _right = ends
    poller.register(left.fileno(), WRITABLE, handler, left)
    assert poller.poll(10) == [(left.fileno(), WRITABLE)]


def test_both_are_told_together(poller, ends):
    left, right = ends
    poller.register(left.fileno(), READABLE | WRITABLE, handler, left)
    right.send(b"x")
    assert poller.poll(10) == [(left.fileno(), READABLE | WRITABLE)]


def test_an_infinite_wait_ends_with_the_first_event(poller, ends):
    left, _right = ends
    poller.register(left.fileno(), WRITABLE, handler, left)
    assert poller.poll(float("inf")) == [(left.fileno(), WRITABLE)]


def test_handlers_are_found_by_descriptor(poller, ends):
    left, right = ends
    poller.register(left.fileno(), READABLE, handler, left)
    poller.register(right.fileno(), 0, handler, right)
    assert poller.handlers == {left.fileno(): (handler, left), right.fileno(): (handler, right)}


def test_no_interest_keeps_the_registration_and_watches_nothing(poller, ends):
    left, right = ends
    poller.register(left.fileno(), 0, handler, left)
    right.send(b"x")
    assert poller.poll(0) == []
    poller.modify(left.fileno(), 0, READABLE)
    assert poller.poll(10) == [(left.fileno(), READABLE)]
    poller.modify(left.fileno(), READABLE, 0)
    assert poller.poll(0) == []
    assert left.fileno() in poller.handlers


def test_a_modified_interest_replaces_the_one_before(poller, ends):
    left, right = ends
    right.send(b"x")
    poller.register(left.fileno(), READABLE, handler, left)
    poller.modify(left.fileno(), READABLE, WRITABLE)
    assert poller.poll(10) == [(left.fileno(), WRITABLE)]


@pytest.mark.parametrize("interest", [0, READABLE, READABLE | WRITABLE | BROKEN, BROKEN])
def test_what_is_unregistered_is_forgotten(poller, ends, interest):
    left, right = ends
    poller.register(left.fileno(), interest, handler, left)
    right.send(b"x")
    poller.unregister(left.fileno(), interest)
    assert poller.poll(0) == []
    assert poller.handlers == {}
    poller.register(left.fileno(), READABLE, handler, right)  # the number can be used again
    assert poller.poll(10) == [(left.fileno(), READABLE)]


def test_the_end_of_input_is_readable(poller, ends):
    left, right = ends
    poller.register(left.fileno(), READABLE | BROKEN, handler, left)
    right.close()
    ((fd, events),) = poller.poll(10)
    assert fd == left.fileno() and events & READABLE


@needs_epoll
def test_a_reset_is_told_without_interest_in_reading_or_writing(epoll_poller):
    left, right = rig.tcp_pair()
    with left:
        epoll_poller.register(left.fileno(), BROKEN, handler, left)
        right.send(b"unread")
        assert epoll_poller.poll(0) == []
        rig.reset(right)
        ((fd, events),) = epoll_poller.poll(10)
        assert fd == left.fileno() and events & BROKEN


@needs_epoll
def test_a_fin_is_told_only_to_an_interest_in_it(epoll_poller):
    left, right = rig.tcp_pair()
    with left, right:
        epoll_poller.register(left.fileno(), PEER_FIN | BROKEN, handler, left)
        right.send(b"unread")
        assert epoll_poller.poll(0) == []
        right.shutdown(socket.SHUT_WR)
        assert epoll_poller.poll(10) == [(left.fileno(), PEER_FIN)]
        epoll_poller.modify(left.fileno(), PEER_FIN | BROKEN, BROKEN)
        assert epoll_poller.poll(0) == []


@needs_epoll
def test_a_descriptor_that_was_closed_by_somebody_else_can_still_be_unregistered(epoll_poller, ends):
    left, _right = ends
    number = left.fileno()
    epoll_poller.register(number, READABLE, handler, left)
    left.close()
    epoll_poller.unregister(number, READABLE)
    assert epoll_poller.handlers == {}


def test_closing_leaves_what_was_registered_open(ends):
    left, right = ends
    for make_selector in SELECTORS:
        poller = make_poller(make_selector())
        poller.register(left.fileno(), READABLE, handler, left)
        poller.close()
        assert poller.handlers == {}
        right.send(b"x")
        assert left.recv(1) == b"x"


def test_closing_closes_the_selector_that_was_given():
    for make_selector in SELECTORS:
        selector = make_selector()
        make_poller(selector).close()
        assert not selector.get_map()


@needs_epoll
def test_the_best_wrapper_is_chosen():
    with selectors.EpollSelector() as epoll, selectors.SelectSelector() as plain:
        assert type(make_poller(plain)) is SelectorPoller
        poller = make_poller(epoll)
        assert type(poller) is EpollPoller
        assert poller.epoll.fileno() != epoll.fileno(), "one that has two owners is closed twice"
        poller.close()


def test_what_cannot_be_registered_leaves_nothing_behind(epoll_poller, tmp_path):
    with open(tmp_path / "file", "w") as file:  # epoll(7) refuses a regular file (EPERM)
        with pytest.raises(PermissionError):
            epoll_poller.register(file.fileno(), READABLE, handler, "a file")
        assert file.fileno() not in epoll_poller.handlers


def test_a_descriptor_is_registered_once(poller, ends):
    left, _ = ends
    poller.register(left.fileno(), READABLE, handler, "first")
    with pytest.raises(FileExistsError, match=f"descriptor {left.fileno()} is in use"):
        poller.register(left.fileno(), READABLE, handler, "second")
    assert poller.handlers[left.fileno()] == (handler, "first")
    poller.unregister(left.fileno(), READABLE)

"""What the kernel still holds of a connection: real sockets give an answer, all others None."""

import socket

import pytest

from reactor.connections import socket_options
from reactor.connections.socket_options import undelivered_bytes, unread_bytes
from tests.rig import StubSocket, tcp_pair
from tests.support import imported_without, receive, receive_all, wait_until


@pytest.fixture(params=[tcp_pair, socket.socketpair])
def pair(request):
    """Both ends of a connection."""
    ours, theirs = request.param()
    with ours, theirs:
        yield ours, theirs


def fill(sock):
    """Send until the kernel takes no more. Return how much it took."""
    sock.setblocking(False)
    count = 0
    while True:
        try:
            count += sock.send(bytes(1 << 16))
        except BlockingIOError:
            return count


def test_output_is_undelivered_until_the_peer_has_made_room_for_it(pair):
    ours, theirs = pair
    assert undelivered_bytes(ours) == 0
    sent = fill(ours)
    assert undelivered_bytes(ours) > 0
    receive(theirs, sent)
    wait_until(lambda: undelivered_bytes(ours) == 0, "the acknowledgement")


def test_input_is_unread_until_it_is_read(pair):
    ours, theirs = pair
    assert unread_bytes(ours) == 0
    theirs.sendall(b"hello")
    wait_until(lambda: unread_bytes(ours) == 5, "it to come")
    ours.recv(2)
    assert unread_bytes(ours) == 3


def test_a_fin_behind_output_is_one_byte_more():
    ours, theirs = tcp_pair()
    with ours, theirs:
        fill(ours)
        before = undelivered_bytes(ours)
        ours.shutdown(socket.SHUT_WR)
        assert undelivered_bytes(ours) == before + 1
        receive_all(theirs)
        wait_until(lambda: undelivered_bytes(ours) == 0, "the acknowledgement")


def test_what_has_no_kernel_or_is_closed_cannot_be_told(pair):
    closed = socket.socket()
    closed.close()
    for sock in (StubSocket(), closed):
        assert undelivered_bytes(sock) is None
        assert unread_bytes(sock) is None


def test_a_system_without_these_questions_cannot_tell(pair, monkeypatch):
    monkeypatch.delattr(socket_options.termios, "TIOCOUTQ")
    assert undelivered_bytes(pair[0]) is None
    monkeypatch.setattr(socket_options, "fcntl", None)
    assert unread_bytes(pair[0]) is None


def test_on_a_system_without_fcntl_nothing_can_be_told():
    lines = imported_without(
        ["fcntl", "termios"],
        "import socket",
        "from reactor.connections.socket_options import undelivered_bytes, unread_bytes",
        "with socket.socket() as sock: print(undelivered_bytes(sock), unread_bytes(sock))",
    )
    assert lines == ["None None"]

"""Chat over real sockets: rooms, names, `nc` as a client, and heartbeats."""

import itertools
import shutil
import subprocess
import sys
import types

import pytest

from reactor import Server
from reactor.apps.chat import A_NAME, HELP, MOST_LISTED, Chat
from tests.apps.talkers import Talker, comes, expect_closed, goes, room
from tests.support import DEADLINE_SECONDS, package_environment, running, serving, socket_address, wait_until

# Rooms and names.


def test_words_stay_in_their_room_and_all_who_are_there_are_told_who_comes_and_goes():
    with room(talkers=3) as (_, (ann, bob, cid)):
        bob.say(b"/join garden")
        assert bob.hear() == b"# you are in garden with 0 others"
        assert ann.hear() == cid.hear() == goes(bob)
        cid.say(b"/join garden")
        assert cid.hear() == b"# you are in garden with 1 other"
        assert (ann.hear(), bob.hear()) == (goes(cid), comes(cid))
        ann.say(b"alone")
        cid.say(b"in the garden")
        assert bob.hear() == cid.name + b": in the garden"
        bob.say(b"/leave")
        assert bob.hear() == b"# you are in lobby with 1 other"
        assert (ann.hear(), cid.hear()) == (comes(bob), goes(bob))
        ann.say(b"welcome")
        assert bob.hear() == ann.name + b": welcome"


def test_a_room_ends_with_the_last_who_is_in_it():
    with room(talkers=1) as (_, (talker,)):
        for number in range(3):
            talker.say(b"/join room%d" % number)
            assert talker.hear() == b"# you are in room%d with 0 others" % number
        talker.say(b"/join room0")
        assert talker.hear() == b"# you are in room0 with 0 others"


def test_nothing_is_kept_of_those_who_have_gone():
    chat = Chat()
    with Server(chat, bind="127.0.0.1:0") as server:
        place = types.SimpleNamespace(address=socket_address(server.addresses[0]))
        inside = [Talker(place) for _ in range(3)]
        for number, talker in enumerate(inside):
            talker.say(b"/join room%d\n/name ann%d" % (number, number))
        wait_until(lambda: chat.rooms.keys() == {"room0", "room1", "room2"}, "everybody is in a room of his own")
        wait_until(lambda: chat.talkers.keys() == {"ann0", "ann1", "ann2"}, "everybody has a name")
        inside[0].leave()
        inside[1].vanish()
        wait_until(lambda: (len(chat.rooms), len(chat.talkers)) == (1, 1), "two have gone")
        inside[2].leave()
        wait_until(lambda: (len(chat.rooms), len(chat.talkers)) == (0, 0), "all have gone")


def test_the_room_in_which_one_is_already_is_not_left():
    with room(talkers=2) as (_, (speaker, listener)):
        speaker.say(b"/join lobby\n/leave\nhere")
        assert speaker.hear_all(2) == [b"# you are in lobby"] * 2
        assert listener.hear() == speaker.name + b": here"


def test_a_name_belongs_to_one_client_until_it_goes_or_takes_another():
    with room(talkers=3) as (server, (first, second, third)):
        first.say(b"/name ann")
        assert first.hear() == b"# you are ann"
        assert second.hear() == third.hear() == b"# guest1 is now ann"
        second.say(b"/join elsewhere\n/name ann\n/name guest3\n/name guest2\n/name guest1")
        assert second.hear_all(5) == [
            b"# you are in elsewhere with 0 others",
            b"# that name is taken",
            b"# that name is taken",
            b"# you are guest2",
            b"# you are guest1",
        ]
        assert first.hear() == third.hear() == goes(second)
        first.say(b"me")
        assert third.hear() == b"ann: me"
        first.leave()
        assert third.hear() == b"# ann goes"
        third.say(b"/name ann")
        assert third.hear() == b"# you are ann"


def test_no_guest_gets_a_name_that_is_taken():
    with room(talkers=1) as (server, (first,)):
        first.say(b"/name guest2")
        assert first.hear() == b"# you are guest2"
        second = Talker(server)
        assert second.name == b"guest3"
        second.leave()


WRONG_NAMES = [b"", b"a b", b" a", b"a:", b"#", b"x" * 21, b"a\r\x1b", b"\xff"]
WRONG_NAMES += ["\u0430nn".encode(), "ann\u200d".encode()]  # a Cyrillic a; a letter that is not seen


@pytest.mark.parametrize("command", [b"/name", b"/join"])
def test_a_name_cannot_look_like_another_or_like_the_server(command):
    with room(talkers=1) as (_, (talker,)):
        for name in WRONG_NAMES:
            talker.say(command + b" " + name)
        assert talker.hear_all(len(WRONG_NAMES)) == [b"# " + A_NAME.encode()] * len(WRONG_NAMES)
        talker.say(command + b" " + b"x" * 20 + b"\r")
        assert talker.hear().startswith(b"# you are ") and b"x" * 20 in talker.name + talker.ask(b"/who")


def test_what_is_no_command_is_answered_and_not_said():
    with room(talkers=2) as (_, (speaker, listener)):
        speaker.say(b"/help\n/whoo\n/ who\n/\n/join\nwords")
        assert speaker.hear_all(5) == [b"# " + HELP.encode()] * 4 + [b"# " + A_NAME.encode()]
        assert listener.hear() == speaker.name + b": words"


def test_it_lists_who_is_in_the_room_but_not_thousands():
    with room(talkers=MOST_LISTED + 2) as (_, inside):
        names = [b"guest%d" % number for number in range(1, MOST_LISTED + 1)]
        assert inside[5].ask(b"/who") == b"# in lobby: " + b", ".join(names) + b" and 2 more"
        for talker in inside[:2]:
            talker.leave()
            assert inside[5].hear() == goes(talker)
        assert inside[5].ask(b"/who").endswith(b", guest51, guest52")


# What a program like a terminal sees.

needs_nc = pytest.mark.skipif(shutil.which("nc") is None, reason="there is no nc here")


@needs_nc
def test_two_who_use_nc_talk():
    with serving("chat", "--log-format", "json") as server:
        host, port = map(str, server.address)
        with nc(host, port) as ann, nc(host, port) as bob:
            ann.stdout.wait_for(r"^# you are guest\d, in lobby")
            type_in(bob, "/name bob\nhello\x1b[2J\n")
            ann.stdout.wait_for("^bob: hello\ufffd\\[2J$")
            type_in(ann, "/who\n")
            ann.stdout.wait_for(r"^# in lobby: (guest\d, bob|bob, guest\d)$")
            bob.process.stdin.close()  # Ctrl-D
            assert bob.process.wait(DEADLINE_SECONDS) == 0
            ann.stdout.wait_for("^# bob goes$")
        assert server.terminate() == 0


def nc(host, port):
    return running(["nc", "-N", host, port], stdin=subprocess.PIPE, encoding="utf-8")


def type_in(client, text):
    client.process.stdin.write(text)
    client.process.stdin.flush()


def test_nothing_of_what_a_client_sends_is_logged():
    with room("--verbose", "--frame-bytes", "1000", talkers=2) as (server, (speaker, listener)):
        speaker.say(b"/name secret\nsecret\x1b[2J\n/join secret\xff\n/secret")
        speaker.hear_all(3)
        speaker.say(b"secret\x1b" * 1000)
        assert speaker.hear_all(2) == [b"# a line has at most 1000 bytes", b""]
        speaker.leave()
        expect_closed(server, frame_too_large=1)
        assert server.terminate() == 0
        assert "secret" not in server.stderr.text and "\x1b" not in server.stderr.text


# Heartbeats.

IMPATIENT = "from reactor.apps.chat import Chat\nchat = Chat(heartbeat_seconds=0.05)\n"


def test_a_client_that_is_silent_gets_a_heartbeat_and_the_half_line_it_has_typed_is_not_lost(tmp_path):
    (tmp_path / "mine.py").write_text(IMPATIENT)
    with serving("mine:chat", cwd=tmp_path) as server:
        listener, speaker = Talker(server), Talker(server)
        speaker.socket.sendall(b"half a ")
        assert speaker.hear_all(3) == [b"#"] * 3
        speaker.say(b"line")
        heard = (listener.hear() for _ in itertools.count())
        assert next(line for line in heard if line not in (b"#", comes(speaker))) == speaker.name + b": half a line"
        for talker in (listener, speaker):
            talker.leave()


# In a network of its own, whose one interface goes down: like a cable that is cut, it tells nobody.
CUT_CABLE = """
import fcntl, socket, struct, sys
from reactor import Server
from reactor.apps.chat import Chat
from tests.support import connect, socket_address, wait_until

def set_loopback(flags):
    with socket.socket() as sock:
        fcntl.ioctl(sock, 0x8914, struct.pack("16sh", b"lo", flags))  # SIOCSIFFLAGS of netdevice(7); 1 is IFF_UP

set_loopback(1)
with Server(Chat(heartbeat_seconds=0.2), bind="127.0.0.1:0") as server:
    with connect(socket_address(server.addresses[0])) as client, client.makefile("rb") as heard:
        while heard.readline() != b"#\\n":
            pass
        assert server.statistics()["open"] == 1
        set_loopback(0)
        wait_until(lambda: server.statistics()["closed"]["reset"] == 1, "the end of a client that is not there")
"""
UNSHARE = ["unshare", "--map-root-user", "--net"]


def can_unshare():
    try:
        return subprocess.run([*UNSHARE, "true"], capture_output=True, timeout=DEADLINE_SECONDS).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not can_unshare(), reason="no network of its own can be made here (unshare(1))")
def test_a_client_whose_cable_is_cut_is_found_out():
    result = subprocess.run(
        [*UNSHARE, sys.executable, "-c", CUT_CABLE],
        env=package_environment(),
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE_SECONDS,
    )
    assert (result.returncode, result.stderr) == (0, "")

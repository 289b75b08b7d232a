"""Chat over real sockets: each line reaches all others in a room, and a client that does not read harms no other."""

import select
import signal
import socket
import threading

import pytest

from reactor.apps.chat import shown
from tests.apps.talkers import Talker, comes, expect_closed, goes, room
from tests.support import connect, receive_all, wait_until

MIB = 1 << 20


def test_everyone_hears_everyone_else_in_order_and_nobody_himself():
    def speak(talker):
        for number in range(100):
            talker.say(b"line %d" % number)

    with room(talkers=5) as (server, inside):
        threads = [threading.Thread(target=speak, args=[talker]) for talker in inside]
        for thread in threads:
            thread.start()
        for talker in inside:
            heard = {other.name: [] for other in inside if other is not talker}
            for line in talker.hear_all(400):
                name, _, words = line.partition(b": ")
                heard[name].append(words)
            assert heard == {name: [b"line %d" % number for number in range(100)] for name in heard}
        for thread in threads:
            thread.join()
        assert server.terminate() == 0


def test_newcomers_are_told_their_name_and_how_many_are_here_and_those_here_are_told_of_them():
    with room(talkers=1) as (server, (first,)):
        assert first.greeting == b"# you are guest1, in lobby with 0 others; /help tells what you can do"
        with connect(server.address) as second, second.makefile("rb") as heard:
            assert heard.readline().startswith(b"# you are guest2, in lobby with 1 other;")
            assert first.hear() == b"# guest2 comes"
        assert first.hear() == b"# guest2 goes"
        third = Talker(server)
        assert third.name == b"guest3"
        third.vanish()
        assert first.hear_all(2) == [comes(third), goes(third)]


def test_a_line_is_a_line_however_it_was_sent():
    with room(talkers=2) as (_, (speaker, listener)):
        for byte in b"one\r\n":
            speaker.socket.sendall(bytes([byte]))
        speaker.socket.sendall(b"two\n\nthree\r\nfo")
        speaker.socket.sendall(b"ur\n")
        heard = listener.hear_all(5)
        assert heard == [speaker.name + b": " + words for words in (b"one", b"two", b"", b"three", b"four")]


TEXTS = [
    "plain", "", "Grüße", "你好，王小明", "नमस्ते", "שלום", "مرحبا", "a\u200cb", "👩‍👩‍👧 🏳️‍🌈 ☕️",
    "\u3000\u00a0", "\ufffd?", "\U0010ffff",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_text_of_every_script_is_said_as_it_is(text):
    assert shown(text.encode()) == text


def test_no_control_of_any_kind_is_said():
    controls = [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
    controls += [0x200E, 0x200F, 0x061C]  # marks of direction
    controls += [0xFEFF, 0x180E, 0x200B, 0x2060, 0x00AD, *range(0xE0000 + 0x20, 0xE0080), 0xE0001]  # invisible
    controls += [0xE000, 0xF0000, 0x10FFFD]  # private use: a terminal may show anything
    for control in controls:
        assert shown(f"a{chr(control)}b".encode()) == "a\ufffdb", hex(control)


NO_UTF_8 = [bytes([byte]) for byte in range(0x80, 0x100)]
NO_UTF_8 += [b"\xc0\x9b", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x80"]  # overlong, surrogate, too high, cut short


@pytest.mark.parametrize("line", NO_UTF_8)
def test_what_is_not_utf_8_is_no_text(line):
    said = shown(b"a" + line + b"b")
    assert said.strip("\ufffd") == said and set(said[1:-1]) == {"\ufffd"}


def test_nobody_speaks_for_another_or_to_the_terminal():
    with room(talkers=2) as (_, (speaker, listener)):
        speaker.say(b"hi\r9: I owe you everything\x1b[2J\x9b2J\xc2\x9b2J\x07\r")
        said = listener.hear().decode().replace("\ufffd", "?")
        assert said == f"{speaker.name.decode()}: hi?9: I owe you everything?[2J?2J?2J?"


def test_words_without_a_newline_are_said_if_their_speaker_ends_and_not_if_it_breaks_off():
    with room(talkers=3) as (_, (first, second, listener)):
        for speaker in (first, second):
            speaker.socket.sendall(b"one\nand two")
            assert listener.hear() == speaker.name + b": one"
        first.socket.shutdown(socket.SHUT_WR)
        assert listener.hear_all(2) == [first.name + b": and two", goes(first)]
        second.vanish()
        assert listener.hear() == goes(second)


def test_all_lines_in_front_of_a_farewell_are_said():
    with room(talkers=2) as (_, (speaker, listener)):
        speaker.socket.sendall(b"".join(b"%d\n" % number for number in range(2000)))  # more than one turn handles
        speaker.socket.shutdown(socket.SHUT_WR)
        expected = [speaker.name + b": %d" % number for number in range(2000)] + [goes(speaker)]
        assert listener.hear_all(2001) == expected
        assert receive_all(speaker.socket) == b""


def test_a_line_that_is_too_long_is_answered_and_ends_its_speaker_alone():
    with room("--frame-bytes", "1000", talkers=3) as (server, (speaker, second, third)):
        speaker.say(b"x" * 1000)
        speaker.socket.sendall(b"x" * 1001 + b"\n")
        assert speaker.hear() == b"# a line has at most 1000 bytes"
        assert speaker.hear() == b""
        speaker.leave()
        for other in (second, third):
            assert other.hear_all(2) == [speaker.name + b": " + b"x" * 1000, goes(speaker)]
        second.say(b"well")
        assert third.hear() == second.name + b": well"
        expect_closed(server, frame_too_large=1)


LINE = b"x" * 999


AT_A_TIME = 64  # lines: what is on its way to a client that reads must stay below the hard mark


def speak_and_listen(speaker, listener, count):
    """`speaker` says `count` lines, some at a time. `listener` hears them before the next are said.

    Returns the other lines that `listener` has heard.
    """
    said, news = 0, []
    for total in range(AT_A_TIME, count + 1, AT_A_TIME):
        speaker.say(b"\n".join([LINE] * AT_A_TIME))
        while said < total:
            heard = listener.hear()
            assert heard, "one who reads was ended"
            if heard == speaker.name + b": " + LINE:
                said += 1
            else:
                news.append(heard)
    return news


def is_cut_off(client):
    poll = select.poll()
    poll.register(client, 0)
    return bool(poll.poll(0))


def test_one_who_does_not_read_is_ended_at_the_hard_mark_and_the_others_hear_all():
    with room("--output-hard-bytes", str(MIB), talkers=3) as (server, (speaker, listener, slow)):
        news = speak_and_listen(speaker, listener, 16 * 1024)  # 16 MiB: the kernel holds some of them for `slow`
        assert news in ([goes(slow)], [])
        assert news or listener.hear() == goes(slow)
        assert speaker.hear() == goes(slow)
        wait_until(lambda: is_cut_off(slow.socket), "the reset at its end")
        speaker.say(b"are you still there?")
        assert listener.hear() == speaker.name + b": are you still there?"
        expect_closed(server, slow_reader=1)
        assert server.peak_resident_bytes() < 64 * MIB


def test_many_who_do_not_read_are_ended_when_together_they_cost_too_much():
    with room("--memory-bytes", str(8 * MIB), talkers=8) as (server, (speaker, listener, *slow)):
        news = speak_and_listen(speaker, listener, 16 * 1024)
        wait_until(lambda: all(is_cut_off(talker.socket) for talker in slow), "the end of all who do not read")
        while len(news) < len(slow):
            news.append(listener.hear())
        assert sorted(news) == [goes(talker) for talker in slow]
        listener.say(b"I am")
        assert [line for line in speaker.hear_all(len(slow) + 1) if b":" in line] == [listener.name + b": I am"]
        expect_closed(server, memory=len(slow))
        assert server.peak_resident_bytes() < 64 * MIB


def test_one_who_does_not_read_is_not_listened_to_either():
    with room(talkers=3) as (server, (speaker, listener, slow)):
        lines = 8 * 1024
        assert speak_and_listen(speaker, listener, lines) == []
        slow.say(b"what?")
        server.wait_until_idle("it has done what it does with that")
        speaker.say(b"anyone?")
        assert listener.hear() == speaker.name + b": anyone?"  # and not "what?", which was said earlier
        assert slow.hear_all(lines) == [speaker.name + b": " + LINE] * lines
        assert slow.hear() == speaker.name + b": anyone?"
        assert listener.hear() == slow.name + b": what?"


def test_a_room_can_be_closed_with_everyone_in_it():
    with room(talkers=3) as (server, inside):
        server.send_signal(signal.SIGTERM)
        for talker in inside:
            while talker.hear():
                pass  # "# guest3 goes"
            talker.leave()
        assert server.wait() == 0
        assert "Traceback" not in server.stderr.text

"""A chat room: each line goes to all other clients.

An event loop suits this program: there are many connections, most of them are silent, and one callback writes to all
of them. A chat server without bounds also runs out of memory, because it keeps every line until the slowest reader
has read it.

Here no client waits for another. A line is written to all others at once. If a reader is slow, the line waits in the
output of that reader, and the limits bound that output. A connection over the hard mark is ended (reason
`slow_reader`). If many slow readers together take too much memory, the largest is ended (reason `memory`). A reader
that is only a little slow is not read from until it has read what waits for it (`FramedProtocol`).

A line from one client is shown on the terminals of the others, and a terminal obeys control characters. An ESC can
clear the screen. A carriage return can overwrite the speaker's name. Unicode can reverse the direction of writing, or
hide words. So each character that is not text becomes U+FFFD, the replacement character. Text of every script passes.
The cost: a few harmless characters that Unicode calls controls are lost, such as the soft hyphen. A flag that
is spelled with invisible letters, such as Scotland's, stays a black flag.

Try it: `python -m reactor serve chat`, and `nc 127.0.0.1 65432` twice.
"""

from __future__ import annotations

import unicodedata

from ..connections.connection import Connection
from ..net.framing import FramedProtocol
from ..net.splitters import FrameTooLarge

# Unicode categories (UAX #44): controls, invisible format characters (direction of writing, tags, byte order mark),
# surrogates, private use, and the two line ends that only Unicode has.
NO_TEXT = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
# Format characters that text needs: emoji and Indian scripts join letters with them; Persian separates letters.
JOINERS = "\u200c\u200d"


def shown(line: bytes) -> bytes:
    """`line`, made safe for any terminal. Bytes that are not UTF-8 are replaced too."""
    text = line.decode("utf-8", "replace")
    if not text.isprintable():
        text = text.translate({ord(sign): "\ufffd" for sign in set(text) if not _is_text(sign)})
    return text.encode()


def _is_text(sign: str) -> bool:
    return sign in JOINERS or unicodedata.category(sign) not in NO_TEXT


class Room:
    """The clients that hear each other. Calling it makes a `Talker` for a new connection, as a protocol class does."""

    def __init__(self) -> None:
        self.talkers: set[Talker] = set()
        self.entered = 0

    def __call__(self) -> Talker:
        return Talker(self)

    def say(self, line: bytes, speaker: Talker) -> None:
        """Write `line` to all talkers except `speaker`."""
        for talker in self.talkers:
            if talker is not speaker:
                talker.connection.write(line)


class Talker(FramedProtocol):
    """One connection to a room. Its name is a number: 1 for the first that entered."""

    __slots__ = ("_room", "_name")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._name = b""

    def connection_made(self, connection: Connection) -> None:
        super().connection_made(connection)
        self._room.entered += 1
        self._name = b"%d" % self._room.entered
        connection.write(b"you are %s of %d here\n" % (self._name, len(self._room.talkers) + 1))
        self._room.say(b"%s comes\n" % self._name, self)
        self._room.talkers.add(self)

    def frame_received(self, frame: bytes) -> None:
        self._room.say(b"%s: %s\n" % (self._name, shown(frame.rstrip(b"\r"))), self)

    def frame_too_large(self, error: FrameTooLarge) -> None:
        self.connection.write(b"%s\n" % str(error).encode())

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self._room.talkers:
            self._room.talkers.remove(self)
            self._room.say(b"%s goes\n" % self._name, self)


PROGRAM = Room()

"""Everyone's lines to everyone else.

The program with which an event loop is at home: many connections, mostly silent, and one callback that writes to all
of them. It is also where a server without bounds dies, for the slowest of its readers decides how much of
everyone's talk has to be kept.

Here nobody waits for anybody. A line is written to all others at once; for a reader that does not keep up, it waits in
that reader's own output, and the limits deal with it: over the hard mark that one connection is ended (reason
`slow_reader`), and when many slow ones together take too much memory, the largest is (reason `memory`). One that is
merely slow is not asked for new lines of its own until it has read what waits for it (`FramedProtocol`).

What one says is shown on the terminals of the others, and a terminal obeys what it is shown: an ESC can clear the
screen, a carriage return in the middle of a line lets it begin again as if another had said it, and Unicode can turn
the direction of writing, or hide words. So what is no text becomes U+FFFD, the sign for what cannot be shown; text of
every script passes. The cost: a few signs that Unicode counts among the controls are lost, such as the soft hyphen,
and a flag that is spelled with invisible letters, as Scotland's is, stays a black flag.

Try it: `python -m reactor serve chat`, and `nc 127.0.0.1 65432` twice.
"""

from __future__ import annotations

import unicodedata

from ..connections.connection import Connection
from ..net.framing import FramedProtocol, FrameTooLarge

# By their Unicode categories (UAX #44): controls, the invisible signs of format (what turns the direction of writing,
# tags, a byte order mark), surrogates, private use, and Unicode's own two ends of a line.
NO_TEXT = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
# Signs of format that text needs: emoji and the scripts of India join by them, and Persian keeps letters apart.
JOINERS = "\u200c\u200d"


def shown(line: bytes) -> bytes:
    """`line` as any terminal may be given it. What is not UTF-8 is no text either."""
    text = line.decode("utf-8", "replace")
    if not text.isprintable():
        text = text.translate({ord(sign): "\ufffd" for sign in set(text) if not _is_text(sign)})
    return text.encode()


def _is_text(sign: str) -> bool:
    return sign in JOINERS or unicodedata.category(sign) not in NO_TEXT


class Room:
    """Those who hear each other. Called like a protocol class, it makes a `Talker` in itself."""

    def __init__(self) -> None:
        self.talkers: set[Talker] = set()
        self.entered = 0

    def __call__(self) -> Talker:
        return Talker(self)

    def say(self, line: bytes, speaker: Talker) -> None:
        """Write `line` to everyone but `speaker`."""
        for talker in self.talkers:
            if talker is not speaker:
                talker.connection.write(line)


class Talker(FramedProtocol):
    """One connection to a room. It is called by the number in which it entered."""

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

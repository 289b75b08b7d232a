"""Chat rooms: what one client says, all others in its room read. `nc` is a client.

    $ nc 127.0.0.1 65432
    # you are guest2, in lobby with 1 other; /help tells what you can do
    guest1: hello
    /name ann
    # you are ann

An event loop suits this program: there are many connections, most of them are silent, and one line is written to many
of them. Each client has one coroutine, which reads its lines. Three things can go wrong in a chat.

A client does not read. Here no client waits for another: a line is written to all others at once, and waits in the
output of whoever is slow. The limits bound that output. A connection over the hard mark is ended (reason
`slow_reader`). If many slow readers together take too much memory, the largest is ended (reason `memory`). A client
that is only a little slow is not listened to, until it has read what waits for it.

A client is gone, and no FIN has told so: its machine is off, or its cable is cut. Nothing would ever come from it, and
nothing need be sent to it. So to a client that is silent for a minute a heartbeat is sent, a line with nothing but `#`.
A living client's kernel acknowledges it. If that does not happen within another minute, the kernel gives the connection
up (tcp(7), TCP_USER_TIMEOUT; where there is no such option, after its usual time, up to a quarter of an hour). And it
keeps `idle_seconds` from ending a client that only reads. The cost: a person sees a `#` now and then.

A client sends what a terminal obeys. An ESC can clear the screen. A carriage return can overwrite the speaker's name.
Unicode can reverse the direction of writing, or hide words. So each character that is not text becomes U+FFFD, the
replacement character. Text of every script passes. Names are ASCII, so that no two of them look the same, and have no
colon: nobody can speak for another one, or for the server, whose lines begin with `#`. Nothing that a client has sent
is logged. The cost: a few harmless characters that Unicode calls controls are lost, such as the soft hyphen. A flag
that is spelled with invisible letters, such as Scotland's, stays a black flag.

All counts are bounded by `max_connections`: a room exists as long as somebody is in it, and each client is in one.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import unicodedata

from ..coroutines.scopes import move_on_after
from ..coroutines.stream import Stream
from ..net.splitters import FrameTooLarge

LOBBY = "lobby"  # the room in which everybody begins
NAME = re.compile(r"[A-Za-z0-9_-]{1,20}")
A_NAME = "a name has 1 to 20 of the characters A-Z a-z 0-9 _ -"
MOST_LISTED = 50  # names in the answer to /who, which one short line asks for
HELP = "/join ROOM, /leave to the lobby, /who is in this room, /name NAME; all else is said to the others in the room"

# Unicode categories (UAX #44): controls, invisible format characters (direction of writing, tags, byte order mark),
# surrogates, private use, and the two line ends that only Unicode has.
NO_TEXT = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
# Format characters that text needs: emoji and Indian scripts join letters with them; Persian separates letters.
JOINERS = "\u200c\u200d"


def shown(line: bytes) -> str:
    """`line`, made safe for any terminal. Bytes that are not UTF-8 are replaced too."""
    text = line.decode("utf-8", "replace")
    if not text.isprintable():
        text = text.translate({ord(sign): "\ufffd" for sign in set(text) if not _is_text(sign)})
    return text


def _is_text(sign: str) -> bool:
    return sign in JOINERS or unicodedata.category(sign) not in NO_TEXT


class Talker:
    """One client: where it is, what it is called, and how to write to it."""

    __slots__ = ("stream", "name", "room")

    def __init__(self, stream: Stream, name: str) -> None:
        self.stream = stream
        self.name = name
        self.room = LOBBY

    def hear(self, line: str) -> None:
        """Write `line` to it. By the connection, not by the stream: its writes can wait, and here nobody waits."""
        self.stream.connection.write(f"{line}\n".encode())


class Chat:
    """All rooms and all talkers. Called with a stream, it serves one client, as an async function does."""

    def __init__(self, heartbeat_seconds: float = 60.0) -> None:
        self.talkers: dict[str, Talker] = {}  # by name
        self.rooms: dict[str, dict[Talker, None]] = {}  # a dict in place of a set: it keeps the order
        self.heartbeat_seconds = heartbeat_seconds
        self._numbers = itertools.count(1)

    async def __call__(self, stream: Stream) -> None:
        give_up_the_dead(stream, self.heartbeat_seconds)
        names = (f"guest{number}" for number in self._numbers)
        talker = Talker(stream, next(name for name in names if name not in self.talkers))
        self.talkers[talker.name] = talker
        talker.hear(f"# you are {talker.name}, in {self.enter(talker, LOBBY)}; /help tells what you can do")
        try:
            await self.listen(talker)
        except FrameTooLarge:
            talker.hear(f"# a line has at most {stream.connection.limits.frame_bytes} bytes")
            raise
        finally:
            self.go(talker)
            del self.talkers[talker.name]

    async def listen(self, talker: Talker) -> None:
        """Do what the lines of `talker` say, until its end."""
        stream = talker.stream
        while True:
            with move_on_after(self.heartbeat_seconds) as silence:
                line = await stream.read_until()
            if silence.cancelled_caught:
                talker.hear("#")
                continue
            if not line:
                return
            await stream.write(b"")  # waits while it has not read what it was told: then it is not listened to
            self.obey(talker, shown(line.rstrip(b"\r\n")))

    def obey(self, talker: Talker, line: str) -> None:
        """Do what `line` says: a command, or words for the room."""
        command, _, name = line.partition(" ")
        if not line.startswith("/"):
            self.tell(talker, f"{talker.name}: {line}")
        elif line == "/who":
            talker.hear(f"# in {talker.room}: {listed(self.rooms[talker.room])}")
        elif line == "/leave":
            self.move(talker, LOBBY)
        elif command not in ("/join", "/name"):
            talker.hear(f"# {HELP}")
        elif not NAME.fullmatch(name):
            talker.hear(f"# {A_NAME}")
        elif command == "/join":
            self.move(talker, name)
        else:
            self.rename(talker, name)

    def tell(self, talker: Talker, line: str) -> None:
        """Write `line` to all others in the room of `talker`."""
        for other in self.rooms[talker.room]:
            if other is not talker:
                other.hear(line)

    def enter(self, talker: Talker, room: str) -> str:
        """Come into `room`, and tell those who are there. Returns the room and their number, as text."""
        others = len(self.rooms.setdefault(room, {}))
        self.rooms[room][talker] = None
        talker.room = room
        self.tell(talker, f"# {talker.name} comes")
        return f"{room} with {others} other{'s' * (others != 1)}"

    def go(self, talker: Talker) -> None:
        """Go out of the room. The last one to go ends it."""
        self.tell(talker, f"# {talker.name} goes")
        del self.rooms[talker.room][talker]
        if not self.rooms[talker.room]:
            del self.rooms[talker.room]

    def move(self, talker: Talker, room: str) -> None:
        """Go from one room into another."""
        if room == talker.room:
            talker.hear(f"# you are in {room}")
        else:
            self.go(talker)
            talker.hear(f"# you are in {self.enter(talker, room)}")

    def rename(self, talker: Talker, name: str) -> None:
        """Call `talker` by `name`, if nobody else has it."""
        if self.talkers.get(name, talker) is not talker:
            talker.hear("# that name is taken")
        else:
            self.tell(talker, f"# {talker.name} is now {name}")
            talker.hear(f"# you are {name}")
            del self.talkers[talker.name]
            self.talkers[name] = talker
            talker.name = name


def listed(talkers: dict[Talker, None]) -> str:
    """The names of `talkers`, at most `MOST_LISTED` of them."""
    names = [talker.name for talker in itertools.islice(talkers, MOST_LISTED)]
    more = len(talkers) - len(names)
    return ", ".join(names) + (f" and {more:,} more" if more else "")


def give_up_the_dead(stream: Stream, seconds: float) -> None:
    """Have the kernel end the connection if `seconds` pass in which what we sent is not acknowledged (or not taken)."""
    with contextlib.suppress(AttributeError, OSError):  # not Linux; or a UNIX socket, whose peer cannot vanish
        sock = stream.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, round(seconds * 1000)))


PROGRAM = Chat()

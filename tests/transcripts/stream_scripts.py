"""What coroutines do on both kinds of streams, as data; and the intended differences, with the reasons."""

from __future__ import annotations

from tests.support import patterned
from tests.transcripts.harness import Difference
from tests.transcripts.streams import LIMIT_BYTES, Script

HELLO = b"hello"
BIG = patterned(1 << 20)
LONG = b"x" * (LIMIT_BYTES + 50)
READ, LINE, WAIT, ENDS = ("read",), ("read_line",), ("wait",), ("receive_end",)
GO = ("server",)

STREAM_SCRIPTS = [
    # Reading what comes.
    Script("a read", [READ], [("send", HELLO), ENDS]),
    Script("a read of what has come before", [WAIT, READ], [("send", HELLO), ("await", "connected"), GO, ENDS]),
    Script("an end, asked for three times", [READ, READ, READ, READ], [("send", HELLO), ("await", "read"),
                                                                         ("shutdown",), ENDS]),
    Script("an end that comes while the handler waits", [WAIT, READ],
           [("await", "connected"), ("shutdown",), GO, ENDS]),
    Script("echo up to the end", [("echo",)], [("exchange", HELLO), ("exchange", b"again"), ("shutdown",), ENDS]),
    Script("echo of much", [("small_buffer",), ("echo",)], [("exchange", BIG), ("shutdown",), ENDS]),
    # A number of bytes.
    Script("exactly so many bytes", [("read_exactly", 3), ("read_exactly", 2)], [("send", HELLO), ENDS]),
    Script("exactly none", [("read_exactly", 0)], [ENDS]),
    Script("exactly so many bytes, in two pieces", [("read_exactly", 3), ("read_exactly", 7)],
           [("send", HELLO), ("await", "read_exactly"), ("send", HELLO), ENDS]),
    Script("fewer bytes than asked for", [("read_exactly", 10), READ], [("send", HELLO), ("shutdown",), ENDS]),
    Script("a negative number of bytes", [("read_exactly", -1)], [ENDS]),
    # Up to a delimiter.
    Script("a line", [LINE, LINE], [("send", b"one\ntwo\n"), ENDS]),
    Script("a line in two pieces", [LINE, LINE],
           [("send", b"one\ntw"), ("await", "read_line"), ("send", b"o\n"), ENDS]),
    Script("a last line without its end", [LINE, LINE], [("send", HELLO), ("shutdown",), ENDS]),
    Script("up to two bytes", [("read_until", b"\r\n"), ("read_until", b"\r\n")],
           [("send", b"one\r"), ("await", "connected"), ("send", b"\ntwo\r\n"), ENDS]),
    Script("an end before the delimiter", [("read_until", b";"), READ], [("send", HELLO), ("shutdown",), ENDS]),
    Script("an empty delimiter", [("read_until", b"")], [ENDS]),
    Script("one delimiter, then another", [("read_until", b";"), ("read_until", b","), READ],
           [("send", b"a;b,c"), ENDS]),
    Script("a line over the limit", [("read_until", b"\n")], [("send", LONG + b"\n"), ENDS]),
    Script("a readline over the limit", [LINE], [("send", LONG + b"\n"), ENDS]),
    Script("all lines", [("lines",)], [("send", b"one\ntwo\nthree"), ("shutdown",), ENDS]),
    # Reads that are broken off.
    Script("a read that takes too long loses nothing", [("in_time", ("read_exactly", 10)), ("read_exactly", 10)],
           [("send", HELLO), ("await", "in_time raised"), ("send", b"world"), ENDS]),
    Script("a line that takes too long loses nothing", [("in_time", LINE), LINE],
           [("send", b"on"), ("await", "in_time raised"), ("send", b"e\n"), ENDS]),
    Script("a read in time", [("in_time", READ)], [("send", HELLO), ENDS]),
    Script("two readers", [("during", READ, READ)],
           [("await", "read raised"), ("send", HELLO), ENDS]),
    Script("two readers, and something is kept", [READ, ("during", ("read_exactly", 10), READ)],
           [("send", b"."), ("await", "read"), ("send", HELLO), ("await", "read raised"), ("send", HELLO), ENDS]),
    # Writing.
    Script("a write", [("write", HELLO)], [ENDS]),
    Script("a write of nothing", [("write", b""), ("write", HELLO)], [ENDS]),
    Script("a write that has to wait", [("small_buffer",), ("write", BIG), ("write", HELLO)],
           [("await", "connected"), ("receive", len(BIG) + 5), ENDS]),
    Script("our end, then input", [("write", HELLO), ("write_eof",), READ, READ],
           [("receive_end",), ("send", b"late"), ("await", "read"), ("shutdown",)]),
    Script("a write after our end", [("write_eof",), ("write", HELLO)], [ENDS]),
    Script("a write after the peer's end", [READ, ("write", HELLO)], [("shutdown",), ENDS]),
    Script("a write after close", [("close",), ("write", HELLO)], [ENDS]),
    Script("a read after close", [("close",), READ], [ENDS]),
    # Ends.
    Script("abort", [("abort",)], [ENDS]),
    Script("a handler that fails", [("write", HELLO), ("fail",)], [ENDS]),
    Script("a handler that returns", [("write", HELLO)], [ENDS], returns=True),
    Script("a reset while the handler reads", [READ], [("await", "connected"), ("reset",)]),
    Script("a reset while the handler waits for something else", [WAIT, READ],
           [("await", "connected"), ("reset",), ("await", "wait raised")]),
    Script("a reset while a write waits", [("small_buffer",), ("write", BIG), ("write", BIG)],
           [("await", "small_buffer"), ("receive", 5), ("reset",)]),
    Script("the address", [("ask", "nonsense")], [ENDS]),
]

A_LAST_LINE = (
    "A last line without its end is a line here, with each call that reads lines: a program reads until b\"\", and is"
    " done. asyncio gives it with `readline`, and with `readuntil` by an exception that carries the bytes."
)
STAYS_TO_BE_READ = (
    "What `read_exactly` could not complete stays to be read, as with a timeout. asyncio puts it into the exception."
)
TOO_LARGE = "One exception for all that is longer than its limit. asyncio has two, and `readline` drops what it has."
WITHOUT_NEWLINE = "`lines()` gives lines without their newlines, as most programs want them; `read_until` keeps them."
BROKEN_OFF = (
    "A wait that is broken off raises `Cancelled`, which belongs to the scope that was cancelled; asyncio"
    " raises one `CancelledError` for all."
)
CLOSED_BY_US = "The class of the error says which end it was: a pipe that we have closed is no reset."
A_RESET_TELLS = "A reset tells the peer that the data is incomplete. asyncio ends the stream as if it were complete."
ENDS_WITH_HANDLER = (
    "A connection ends with its handler. asyncio leaves it open until the program closes it, so this script would never"
    " end there."
)
LOST_IS_CANCELLED = (
    "A lost connection cancels its handler, whatever that waits for. asyncio's handler waits on, here for ever."
)
TAKEN_AT_ONCE = (
    "`write` makes no system call, and a first write is not judged before the kernel was offered it. So only the second"
    " one waits here."
)
STREAM_DIFFERENCES = {
    "fewer bytes than asked for": Difference(
        STAYS_TO_BE_READ, ("handler: read b''",), ("handler: read b'hello'",)
    ),
    "an end before the delimiter": Difference(
        A_LAST_LINE, ("handler: read_until raised IncompleteReadError",), ("handler: read_until b'hello'",)
    ),
    "a line over the limit": Difference(
        TOO_LARGE, ("handler: read_until raised LimitOverrunError",), ("handler: read_until raised FrameTooLarge",)
    ),
    "a readline over the limit": Difference(
        TOO_LARGE, ("handler: read_line raised ValueError",), ("handler: read_line raised FrameTooLarge",)
    ),
    "all lines": Difference(
        WITHOUT_NEWLINE, ("handler: lines [b'one\\n', b'two\\n', b'three']",),
        ("handler: lines [b'one', b'two', b'three']",),
    ),
    "a read that takes too long loses nothing": Difference(
        BROKEN_OFF, ("handler: read_exactly raised CancelledError",), ("handler: read_exactly raised Cancelled",)
    ),
    "a line that takes too long loses nothing": Difference(
        BROKEN_OFF, ("handler: read_line raised CancelledError",), ("handler: read_line raised Cancelled",)
    ),
    "a write after close": Difference(
        CLOSED_BY_US, ("handler: write raised ConnectionResetError",), ("handler: write raised BrokenPipeError",)
    ),
    "abort": Difference(A_RESET_TELLS, ("client: saw the end",), ("client: saw a reset",)),
    "a handler that fails": Difference(
        A_RESET_TELLS, ("client: received b'hello'", "client: saw the end"),
        ("client: received b''", "client: saw a reset"),
    ),
    "a handler that returns": Difference(
        ENDS_WITH_HANDLER, None,
        ("handler: connected", "handler: write", "handler: ended", "client: received b'hello'", "client: saw the end"),
    ),
    "a reset while the handler waits for something else": Difference(
        LOST_IS_CANCELLED, None,
        ("handler: connected", "handler: wait raised Cancelled", "handler: ended", "client: received b''"),
    ),
    "a reset while a write waits": Difference(
        TAKEN_AT_ONCE, ("handler: write raised ConnectionResetError",), ("handler: write",)
    ),
}  # fmt: skip

"""What is played on both loops, as data; and the intended differences, with the reasons.

A new script is a name, the protocol's steps by callback, and the client's steps; `harness` explains them. A
difference that is not in `DIFFERENCES` is a bug: ours, or in our reading of PEP 3156.
"""

from __future__ import annotations

from tests.support import patterned
from tests.transcripts import orderings
from tests.transcripts.harness import Difference, Script, shown
from tests.transcripts.orderings import A_RESET_TELLS

HELLO = b"hello"
BIG = patterned(1 << 20)  # more than small buffers hold, so some of it has to wait
SMALL = ("small_buffer",)
NO_MARKS = ("marks", 1 << 30)  # for scripts that are not about flow control
A_PAUSE_IS_NOT_BLIND = (
    "If a peer leaves while reading is paused and none of its input is unread, that is noticed at once (R5). asyncio"
    " watches a socket only to read from it, and notices nothing until reading is resumed, which never happens here."
)

SCRIPTS = [
    # The plain life.
    Script(
        "echo",
        {"data_received": [("echo",)]},
        [("exchange", HELLO), ("exchange", b"again"), ("close",)],
    ),
    Script(
        "echo of much",
        {"connection_made": [SMALL, NO_MARKS], "data_received": [("echo",)]},
        [("exchange", BIG), ("shutdown",), ("receive_end",)],
    ),
    Script(
        "a client that says nothing",
        {},
        [("close",)],
    ),
    Script(
        "a greeting",
        {"connection_made": [("write", HELLO)]},
        [("receive", 5), ("close",)],
    ),
    Script(
        "what is known of the connection",
        {"connection_made": [("ask_extra", "nonsense"), ("ask", "is_closing"), ("ask", "can_write_eof"),
                             ("ask", "is_reading"), ("ask", "get_write_buffer_size"),
                             ("ask", "get_write_buffer_limits"), ("write", b".")]},
        [("receive", 1), ("close",)],
    ),
    # The end of the client's side.
    Script(
        "half-close, nothing to say",
        {},
        [("send", HELLO), ("shutdown",), ("receive_end",)],
    ),
    Script(
        "half-close with the reply still to be sent",
        {"connection_made": [SMALL, NO_MARKS], "data_received": [("write", BIG)]},
        [("send", HELLO), ("shutdown",), ("await", "eof_received"), ("receive_end",)],
    ),
    Script(
        "eof_received keeps it open to reply later",
        {"eof_received": [("return", True)]},
        [("send", HELLO), ("shutdown",), ("await", "eof_received"), ("server", ("ask", "is_closing")),
         ("server", ("write", b"goodbye"), ("close",)), ("receive_end",)],
    ),
    Script(
        "eof_received writes and closes by itself",
        {"eof_received": [("write", b"goodbye"), ("close",), ("return", True)]},
        [("send", HELLO), ("shutdown",), ("receive_end",)],
    ),
    Script(
        "eof_received aborts",
        {"eof_received": [("abort",)]},
        [("send", HELLO), ("shutdown",), ("await", "connection_lost")],
    ),
    # The end of our side.
    Script(
        "close in connection_made",
        {"connection_made": [("write", HELLO), ("close",), ("ask", "is_closing")]},
        [("receive_end",)],
    ),
    Script(
        "close in data_received",
        {"data_received": [("write", HELLO), ("close",)]},
        [("send", b"?"), ("receive_end",)],
    ),
    Script(
        "close with much to be sent",
        {"connection_made": [SMALL, NO_MARKS], "data_received": [("write", BIG), ("close",)]},
        [("send", b"?"), ("await", "data_received"), ("receive_end",)],
    ),
    Script(
        "close from a callback of the loop",
        {"connection_made": [("soon", ("write", HELLO), ("close",))]},
        [("receive_end",)],
    ),
    Script(
        "close twice, and what comes after is dropped",
        {"data_received": [("close",), ("close",), ("write", b"late"), ("writelines", [b"later"])]},
        [("send", b"?"), ("receive_end",)],
    ),
    Script(
        "abort after close",
        {"connection_made": [SMALL, NO_MARKS], "data_received": [("write", BIG), ("close",), ("abort",)]},
        [("send", b"?"), ("await", "connection_lost")],
    ),
    Script(
        "abort",
        {"data_received": [("abort",), ("ask", "is_closing")]},
        [("send", b"?"), ("receive_end",)],
    ),
    Script(
        "abort in connection_made",
        {"connection_made": [("abort",)]},
        [("await", "connection_lost")],
    ),
    Script(
        "write_eof, and the client goes on",
        {"connection_made": [("write", HELLO), ("write_eof",), ("ask", "is_closing")]},
        [("receive_end",), ("send", b"still"), ("await", "data_received", 5), ("send", b" here"), ("shutdown",)],
    ),
    Script(
        "write_eof with much to be sent",
        {"connection_made": [SMALL, NO_MARKS, ("write", BIG), ("write_eof",), ("write_eof",)]},
        [("receive_end",), ("shutdown",)],
    ),
    Script(
        "write after write_eof",
        {"connection_made": [("write_eof",), ("write", b"late")]},
        [("receive_end",), ("shutdown",)],
    ),
    Script(
        "write_eof after the client's",  # both sides have ended; asyncio still keeps the socket, until `abort`
        {"eof_received": [("write", HELLO), ("write_eof",), ("return", True)]},
        [("shutdown",), ("receive_end",), ("server", ("abort",))],
    ),
    # What can be written.
    Script(
        "empty writes",
        {"data_received": [("write", b""), ("write", b"x"), ("write", b""), ("write", bytearray()), ("close",)]},
        [("send", b"?"), ("receive_end",)],
    ),
    Script(
        "empty chunks in writelines",
        {"data_received": [("writelines", []), ("writelines", [b"", b"x", b""]), ("close",)]},
        [("send", b"?"), ("receive_end",)],
    ),
    Script(
        "several writes in one callback",
        {"data_received": [("write_each", [b"one", bytearray(b"two"), memoryview(b"three")]), ("close",)]},
        [("send", b"?"), ("receive_end",)],
    ),
    Script(
        "writelines",
        {"data_received": [("writelines", [b"one", b"two"]), ("writelines", [bytearray(b"three")]), ("close",)]},
        [("send", b"?"), ("receive_end",)],
    ),
    Script(
        "a buffer that is used again after the call",
        {"connection_made": [SMALL, NO_MARKS],
         "data_received": [("write_and_spoil", HELLO), ("write", BIG), ("write_and_spoil", HELLO),
                           ("write_and_spoil", BIG), ("close",)]},
        [("send", b"?"), ("await", "data_received"), ("receive_end",)],
    ),
    Script(
        "what is no bytes",
        {"data_received": [("write", "text"), ("write", None), ("write", 7), ("close",)]},
        [("send", b"?"), ("receive_end",)],
    ),
    # Flow control.
    Script(
        "reading paused and resumed",
        {"connection_made": [("pause_reading",), ("ask", "is_reading"), ("pause_reading",)],
         "data_received": [("echo",)]},
        [("send", HELLO), ("server", ("ask", "is_reading")), ("server", ("resume_reading",), ("ask", "is_reading")),
         ("receive", 5), ("server", ("resume_reading",)), ("exchange", b"again"), ("close",)],
    ),
    Script(
        "an end behind data while reading is paused",
        {"connection_made": [("pause_reading",)], "data_received": [("echo",)]},
        [("send", HELLO), ("shutdown",), ("server", ("ask", "is_closing")), ("server", ("resume_reading",)),
         ("receive_end",)],
    ),
    Script(
        "the client ends while reading is paused",
        {"connection_made": [("pause_reading",)]},
        [("await", "connection_made"), ("shutdown",), ("receive_end",)],
    ),
    Script(
        "the client resets while reading is paused",
        {"connection_made": [("pause_reading",)]},
        [("await", "connection_made"), ("reset",)],
    ),
    Script(
        "close while reading is paused",
        {"connection_made": [("pause_reading",)]},
        [("server", ("write", HELLO), ("close",)), ("receive_end",)],
    ),
    Script(
        "a big reply pauses writing until it is read",
        {"connection_made": [SMALL], "data_received": [("write", BIG)], "resume_writing": [("close",)]},
        [("send", b"?"), ("await", "pause_writing"), ("receive_end",)],
    ),
    Script(
        "many small writes pause writing too, once",
        {"connection_made": [SMALL], "data_received": [("write_each", [bytes(1024)] * 1024)]},
        [("send", b"?"), ("await", "pause_writing"), ("receive", 1 << 20), ("await", "resume_writing"), ("close",)],
    ),
    Script(
        "close while writing is paused",
        {"connection_made": [SMALL], "data_received": [("write", BIG)]},
        [("send", b"?"), ("await", "pause_writing"), ("server", ("close",)), ("receive_end",)],
    ),
    Script(
        "a big last reply",
        {"connection_made": [SMALL], "data_received": [("write", BIG), ("close",)]},
        [("send", b"?"), ("await", "data_received"), ("receive_end",)],
    ),
    Script(
        "abort while writing is paused",
        {"connection_made": [SMALL], "data_received": [("write", BIG)], "pause_writing": [("abort",)]},
        [("send", b"?"), ("await", "connection_lost")],
    ),
    Script(
        "a reply over the high mark that the kernel takes at once",
        {"connection_made": [("marks", 10)], "data_received": [("write", bytes(1000))]},
        [("send", b"?"), ("receive", 1000), ("close",)],
    ),
    Script(
        "a reply in pieces, over the high mark together, that the kernel takes at once",
        {"connection_made": [("marks", 10)], "data_received": [("write_each", [bytes(1000)] * 2)]},
        [("send", b"?"), ("receive", 2000), ("close",)],
    ),
    Script(
        "marks that make no sense",
        {"connection_made": [("marks", 10, 20), ("marks", 10, -1), ("marks", 100), ("ask", "get_write_buffer_limits"),
                             ("marks", None, 100), ("ask", "get_write_buffer_limits"), ("marks", None),
                             ("ask", "get_write_buffer_limits"), ("write", b".")]},
        [("receive", 1), ("close",)],
    ),
    # Trouble.
    Script(
        "the client resets",
        {"data_received": [("echo",)]},
        [("exchange", HELLO), ("reset",)],
    ),
    Script(
        "the client resets while it is owed much",
        {"connection_made": [SMALL, NO_MARKS], "data_received": [("write", BIG)]},
        [("send", b"?"), ("receive", 1), ("reset",)],
    ),
    Script(
        "write and close after it was lost",
        {"connection_lost": [("write", b"late"), ("close",), ("abort",), ("ask", "is_closing")]},
        [("close",)],
    ),
    Script(
        "an exception in connection_made",
        {"connection_made": [("fail", "by request")]},
        [("close",)],
    ),
    Script(
        "an exception in data_received",
        {"data_received": [("fail", "by request")]},
        [("send", b"?"), ("receive_end",)],
    ),
    Script(
        "an exception in eof_received",
        {"eof_received": [("fail", "by request")]},
        [("shutdown",), ("receive_end",)],
    ),
    Script(
        "an exception in pause_writing",
        {"connection_made": [SMALL], "data_received": [("write", BIG)], "pause_writing": [("fail", "by request")]},
        [("send", b"?"), ("await", "pause_writing"), ("reset",)],
    ),
    Script(
        "an exception in connection_lost",
        {"connection_lost": [("fail", "by request")]},
        [("close",)],
    ),
    # Another protocol takes over.
    Script(
        "handed over to another protocol",
        {"data_received": [("echo",), ("hand_over",)], "heir data_received": [("write", b"heir")]},
        [("exchange", HELLO), ("send", b"?"), ("receive", 4), ("shutdown",), ("receive_end",)],
    ),
    *orderings.SCRIPTS,
]

DIFFERENCES = {
    **orderings.DIFFERENCES,
    "abort": Difference(A_RESET_TELLS, ("client: saw the end",), ("client: saw a reset",)),
    "an exception in data_received": Difference(A_RESET_TELLS, ("client: saw the end",), ("client: saw a reset",)),
    "an exception in eof_received": Difference(A_RESET_TELLS, ("client: saw the end",), ("client: saw a reset",)),
    "an exception in connection_made": Difference(
        "A program that failed to begin must not go on: every exception out of a callback ends its connection (law 9)."
        " asyncio reports it and keeps calling.",
        ("server: eof_received", "server: connection_lost NoneType"),
        ("server: connection_lost ValueError",),
    ),
    "an exception in pause_writing": Difference(
        "The same law: a program whose `pause_writing` failed would go on writing. asyncio reports it and continues.",
        ("server: connection_lost OSError",),
        ("server: connection_lost ValueError",),
    ),
    "a reply in pieces, over the high mark together, that the kernel takes at once": Difference(
        "Our `write` makes no system call: all that one callback writes is sent together, when it returns. So both"
        " pieces wait, and count. asyncio tries to send each piece inside `write`.",
        (),
        ("server: pause_writing", "server: resume_writing"),
    ),
    "a big last reply": Difference(
        "For the same reason: when the kernel has not taken all of it, the program has already closed and will write"
        " no more. A pause would be useless.",
        ("server: pause_writing", "server: resume_writing"),
        (),
    ),
    "a big reply pauses writing until it is read": Difference(
        "asyncio schedules the end twice when `resume_writing` closes, and the second one fails.",
        ("reported: AttributeError",),
        (),
        sometimes=True,
    ),
    "close twice, and what comes after is dropped": Difference(
        "Since 3.12 `writelines` of asyncio does not check whether the connection has ended (W4).",
        ("server: writelines raised TypeError",),
        (),
        sometimes=True,
    ),
    "a buffer that is used again after the call": Difference(
        "Since 3.12 asyncio keeps a view of a bytearray, and sends what its owner puts there later.",
        (f"client: received {shown(HELLO + BIG + b'!' * len(HELLO + BIG))}",),
        (f"client: received {shown(HELLO + BIG + HELLO + BIG)}",),
        sometimes=True,
    ),
    "empty chunks in writelines": Difference(
        "Since 3.12 asyncio waits for ever to send an empty last chunk, and never closes (W3; python/cpython#155888).",
        None,
        ("server: connection_made", "server: data_received b'?'", "server: connection_lost NoneType",
         "client: received b'x'", "client: saw the end"),
        since=(3, 12),
    ),
    "the client ends while reading is paused": Difference(
        A_PAUSE_IS_NOT_BLIND,
        None,
        ("server: connection_made", "server: eof_received", "server: connection_lost NoneType",
         "client: received b''", "client: saw the end"),
    ),
    "the client resets while reading is paused": Difference(
        A_PAUSE_IS_NOT_BLIND,
        None,
        ("server: connection_made", "server: connection_lost OSError", "client: received b''"),
    ),
}

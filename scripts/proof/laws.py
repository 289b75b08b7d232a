"""The laws of the reactor, in a form that a program can assert.

A test of an example says what happens in that example. A law says what never happens, whatever the network does. So
it can be asserted in situations that no author has thought of. The laws do not know how the core works. They use
facts, which a `Witness` collects at the system calls and the callbacks. Where the core counts the bytes that wait to
be sent, the law subtracts what the kernel took from what the program wrote. Where the core derives a deadline, the
law derives it again from the times of the events. The two results must agree in millions of steps. A law that asked
the core for the answer would prove nothing.

The laws take only these facts from the core: the name of a connection's state, each step of which is checked; and
which connections wait to be settled or reaped, for these are checked after that. (A descriptor of -1 means that the
kernel does not watch it.) The reason of an end, its error, and all counters are judged; no law relies on them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .witness import Witness

LAWS = {
    1: "interest is derived",
    2: "one setter",
    3: "once",
    4: "the grammar",
    5: "nothing lost",
    6: "nothing unbounded",
    7: "nothing stale",
    8: "nobody starves",
    9: "errors are of three kinds",
    10: "every end has a reason",
    12: "the fast path is the plain one",  # law 11 is about imports, and a test checks it
}

# Law 2. The life of a connection, written a second time. An intended change of `connections.states` must be made here
# too.
STEPS = {
    "NEW": {"OPEN", "ENDED"},
    "OPEN": {"HALF_CLOSED_REMOTE", "HALF_CLOSED_LOCAL", "CLOSING", "ENDED"},
    "HALF_CLOSED_REMOTE": {"FLUSHING", "ENDED"},
    "HALF_CLOSED_LOCAL": {"FLUSHING", "CLOSING", "ENDED"},
    "CLOSING": {"LINGERING", "FLUSHING", "ENDED"},
    "LINGERING": {"ENDED"},
    "FLUSHING": {"ENDED"},
    "ENDED": {"CLOSED"},
    "CLOSED": set(),
}
STEP_COUNT = sum(map(len, STEPS.values()))
WRITING = {"OPEN", "HALF_CLOSED_REMOTE"}
DELIVERING = {"OPEN", "HALF_CLOSED_LOCAL"}
DISCARDING = {"CLOSING", "LINGERING"}
OVER = {"ENDED", "CLOSED"}

# Law 10. The ends without trouble, and the ends at a deadline.
CLEAN = {"closed", "peer_closed"}
SILENT = CLEAN | {"aborted", "shutdown"}  # `connection_lost(None)`: the program or the operator wanted it
DEADLINES = {"first_byte_timeout", "idle_timeout", "frame_timeout", "write_stalled", "close_timeout", "linger_timeout"}

ALLOWED = {reason: reason.replace("timeout", "seconds") for reason in DEADLINES}  # the limit for each of them
ALLOWED["write_stalled"] = "write_stall_seconds"

NEVER = -math.inf
LATE_SECONDS = 0.1  # how late a deadline may act: connections are looked at once in a tick of this length


class LawBroken(BaseException):
    """The law `number` does not hold; `text` says why. Not an `Exception`, so that the core does not handle it."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(f"law {number}, {LAWS[number]}: {text}")
        self.number = number

    def first(self) -> LawBroken:
        """The one that was raised first, if it has caused others on its way out."""
        broken, before = self, self.__context__
        while before is not None:
            broken, before = before if isinstance(before, LawBroken) else broken, before.__context__
        return broken


def require(holds: object, number: int, text: str, *details: object) -> None:
    """LawBroken unless it `holds`. `details` go into the braces of `text`."""
    if not holds:
        raise LawBroken(number, text.format(*details))


def deadlines(witness: Witness) -> dict[str, float]:
    """Law 6: from when on the connection may be ended if nothing changes, for each reason."""
    limits, state = witness.world.limits, witness.state
    if state in OVER:
        return {}
    if state == "LINGERING":
        return {"linger_timeout": witness.since + limits.linger_seconds}
    if state in ("CLOSING", "FLUSHING"):
        return {"close_timeout": witness.since + limits.close_seconds}
    found = {}
    if witness.heard_at == NEVER and witness.progress_at == NEVER:
        found["first_byte_timeout"] = witness.since + limits.first_byte_seconds
    else:
        found["idle_timeout"] = max(witness.heard_at, witness.progress_at) + limits.idle_seconds
    frames = witness.frames
    if frames is not None and witness.life == "made" and frames.began_at() != NEVER and not frames.held_back():
        found["frame_timeout"] = frames.began_at() + limits.frame_seconds
    if witness.waiting() > 0:
        found["write_stalled"] = max(witness.progress_at, witness.waits_since) + limits.write_stall_seconds
    return found


def check_settled(witness: Witness, watched: int) -> None:
    """Laws 1, 4 and 5 for a connection that has been settled; `watched` are the bits that the kernel watches."""
    connection, endpoint = witness.connection, witness.endpoint
    state, waiting = witness.state, witness.waiting()
    told = not witness.end_due or witness.life != "made" or witness.known > witness.delivered
    require(told, 4, "{} was not told of the end that was read", connection)
    if state in OVER:
        require(not watched, 1, "{} has ended and is watched for {:#x}", connection, watched)
        return
    size = connection.get_write_buffer_size()
    require(size == waiting, 5, "{} says that {} bytes wait, but {} do", connection, size, waiting)
    reads = state in DISCARDING or (state in DELIVERING and not witness.reading_paused)
    require(bool(watched & 1) == reads, 1, "{} {} input and READ is {}", connection,
            "wants" if reads else "wants no", "on" if watched & 1 else "off")  # fmt: skip
    require(bool(watched & 4) == (waiting > 0), 1, "{} bytes of {} wait and WRITE is {}", waiting, connection,
            "on" if watched & 4 else "off")  # fmt: skip
    witness.check_paused()
    require(not witness.paused or waiting > witness.low, 4, "{} is paused with {} bytes waiting and a low mark of {}",
            connection, waiting, witness.low)  # fmt: skip
    if (witness.asked_eof or witness.asked_close) and not waiting:
        require(endpoint.fin_queued or endpoint.dead, 5, "all output of {} is sent, and no end behind it", connection)


def check_not_forgotten(witness: Witness, epoll: bool) -> None:
    """Laws 1, 3, 4 and 5: the loop is about to sleep, so nothing may be left for it to do."""
    connection, endpoint = witness.connection, witness.endpoint
    state = witness.state
    require(state not in OVER, 3, "{} has ended and was not reaped before the loop sleeps", connection)
    reads = state in DISCARDING or (state in DELIVERING and not witness.reading_paused)
    bits = endpoint.events()
    told = witness.known <= witness.delivered
    require(told or not reads or state in DISCARDING, 5, "what {} was handed over with is not told", connection)
    owed = state == "HALF_CLOSED_REMOTE" and witness.life == "made" and (told or not witness.reading_paused)
    require(not owed, 4, "{} was not told of the end that came before it was handed over", connection)
    require(not (reads and bits & 1), 1, "there is input for {} and the loop sleeps", connection)
    require(
        not (witness.waiting() and bits & 4), 1, "there is room for the output of {} and the loop sleeps", connection
    )
    if epoll:
        # When both directions have ended, epoll reports it for ever, whatever it is asked. So a connection that is
        # paused with unread input cannot be watched without spinning, and a reset that comes then has to wait.
        over = endpoint.fin_received and endpoint.fin_queued
        require(not endpoint.error or over, 1, "{} was broken off and the loop sleeps (R5, E5)", connection)
        unread_end = endpoint.fin_received and not endpoint.incoming
        require(
            not (unread_end and state in DELIVERING), 1, "the peer of {} has left and the loop sleeps (R5)", connection
        )


def check_deadlines(witness: Witness, until: float, slack: float) -> None:
    """Law 6: the loop is about to sleep until `until`: at most `slack` seconds past a deadline."""
    slack += LATE_SECONDS + witness.late
    found = deadlines(witness)
    if witness.frames is not None and "frame_timeout" in found:
        found["frame_timeout"] = witness.frames.must_end_at()
    if witness.world.serving.begun_at < math.inf:
        found.pop("linger_timeout", None)  # it then counts from the arrival of our FIN, and the drain has its own end
    if "linger_timeout" in found:
        # If the peer has taken output since the last look, the connection has its whole time again.
        began = max(witness.since, witness.endpoint.seen_less_at)
        found["linger_timeout"] = began + witness.world.limits.linger_seconds
    put_off = -math.inf
    for reason, due in sorted(found.items(), key=lambda item: item[1]):
        limit = getattr(witness.world.limits, ALLOWED[reason], math.inf)
        spared = [  # what falls due while the loop is away gets that time again
            back_at + min(back_at - left_at, limit)
            for left_at, back_at in witness.world.waiter.absences
            if left_at - 2 * LATE_SECONDS <= due + witness.late and due <= back_at + slack
        ]
        put_off = max([put_off, *spared])  # until then the loop does not look at later deadlines
        when = max(due, put_off)
        require(until <= when + slack, 6, "{} should end for {} at {:.3f} and the loop sleeps until {:.3f}",
                witness.connection, reason, when, until)  # fmt: skip


def check_evidence(witness: Witness, reason: str) -> None:
    """Law 6: if a peer is ended for silence, the kernel has no input from it and no room for output to it (R7, P2).

    Exceptions: the socket has just answered EAGAIN without need; the program took no input when the kernel was asked;
    the limit is 0; a drain is over. For a frame or a linger, it is enough if something was read after the deadline.
    """
    connection, state, bits = witness.connection, witness.state, witness.endpoint.events()
    world = witness.world
    if witness.refused_in == world.iteration - 1 or getattr(world.limits, ALLOWED.get(reason, ""), 1.0) == 0:
        return
    if reason == "linger_timeout" and world.serving.is_over():
        return
    due = witness.deadlines_before.get(reason, 0.0)
    if reason == "linger_timeout":
        due = world.serving.lingers_until(witness, due)
    if reason in ("frame_timeout", "linger_timeout") and witness.read_at >= due:
        return
    reads = state in DISCARDING or (state in DELIVERING and witness.reading_since < world.iteration - 1)
    said = reads and bits & 1 and reason in ("first_byte_timeout", "idle_timeout", "frame_timeout", "linger_timeout")
    require(not said, 6, "{} ends for {}, and there is input for it", connection, reason)
    taken = witness.waiting() and bits & 4 and reason in ("idle_timeout", "write_stalled")
    require(not taken, 6, "{} ends for {}, and there is room for its output", connection, reason)


def check_spared(witness: Witness, reason: str, due: float | None, now: float) -> None:
    """Law 6: what fell due while the loop was away gets that time again (P2)."""
    if due is None or (reason == "linger_timeout" and witness.world.serving.begun_at < math.inf):
        return  # a drain has its own time for that
    for left_at, back_at in witness.world.waiter.absences[-1:]:
        limit = getattr(witness.world.limits, ALLOWED[reason], math.inf)
        spared = left_at <= due <= back_at and now < back_at + min(back_at - left_at, limit)
        require(not spared, 6, "{} ends for {} at {:.3f}, due at {:.3f}, and the loop was away from {:.3f} to {:.3f}",
                witness.connection, reason, now, due, left_at, back_at)  # fmt: skip


def check_end(witness: Witness, now: float) -> None:
    """Laws 4, 5, 6, 9 and 10: a connection ends, and its reason is true."""
    connection = witness.connection
    told = not witness.end_due or witness.life != "made" or witness.known > witness.delivered
    require(told, 4, "{} ends and was not told of the end that was read", connection)
    require(connection.close_reason is not None, 10, "{} ends without a reason", connection)
    reason = connection.close_reason.value if connection.close_reason is not None else ""
    witness.world.serving.ends(witness, reason)
    if reason in DEADLINES:
        when = witness.deadlines_before.get(reason)
        if reason == "linger_timeout" and witness.world.serving.may_linger_no_more(witness):
            when = now
        require(when is not None, 10, "{} ends for {}, which does not apply to it", connection, reason)
        require(
            when is not None and when <= now + 1e-9,
            6,
            "{} ends for {} at {:.3f}, due at {:.3f}",
            connection,
            reason,
            now,
            when,
        )
        check_evidence(witness, reason)
        check_spared(witness, reason, when, now)
    limits, frames = witness.world.limits, witness.frames
    truth = {
        "closed": witness.asked_close and witness.life == "made",
        "peer_closed": (witness.life == "eof" or (witness.known and witness.end_read))
        and witness.endpoint.fin_received,
        "aborted": witness.asked_abort,
        "reset": witness.errors or (witness.endpoint.ends_plainly and witness.endpoint.dead),
        "handler_error": witness.raised,
        "slow_reader": witness.in_send  # the bytes of that `send` still count then
        or witness.waiting() > limits.output_hard_bytes
        and (witness.paused or witness.waiting() <= witness.high),  # above the high mark it was asked to pause first
        "memory": witness.world.memory.keeps_most(witness),
        "frame_too_large": frames is not None and frames.too_long(),
    }
    require(truth.get(reason, True), 10, "{} ends for {}, which is not what happened", connection, reason)
    if reason == "memory":
        asked = witness.world.memory.all_were_asked()
        require(asked, 6, "{} is ended for memory before all were asked to pause", connection)
    if reason in CLEAN:
        require(
            witness.waiting() == 0, 5, "{} ends for {} with {} bytes not sent", connection, reason, witness.waiting()
        )
        require(
            connection._error is None or witness.finished,
            9,
            "{} ends for {} with {!r}",
            connection,
            reason,
            connection._error,
        )


def check_lost(witness: Witness, exc: Exception | None) -> None:
    """Laws 9 and 10: the argument of `connection_lost` fits the reason."""
    reason = witness.connection.close_reason
    require(reason is not None, 10, "{} is lost without a reason", witness.connection)
    silent = reason is not None and reason.value in SILENT
    if reason is not None and reason.value == "linger_timeout" and witness.world.serving.begun_at < math.inf:
        silent = exc is None  # if a drain does not wait, that is no error of the peer
    require(silent == (exc is None), 9, "{} ended for {} and connection_lost was told {!r}", witness.connection,
            reason and reason.value, exc)  # fmt: skip
    if reason is not None and reason.value == "reset":
        require(isinstance(exc, OSError), 9, "a reset is told as {!r}", exc)


def check_received(witness: Witness | None, received: int, data: bytes) -> None:
    """Law 5, at the peer: after `received` bytes it has read `data`, or the end of the stream.

    Over a UNIX socket, a peer that is cut off also reads a normal end. If the connection was not ended, all that was
    accepted must come before the end there too.
    """
    if witness is None:
        require(not data, 5, "a peer has read {!r}, and no program has written it", data[:40])
        return
    if data:
        same = witness.accepted.startswith(data, received)
        require(same, 5, "the peer of {} has read {!r} at {}, where {!r} was written", witness.connection, data[:40],
                received, bytes(witness.accepted[received : received + 40]))  # fmt: skip
    elif witness.state not in OVER or not witness.endpoint.ends_plainly:
        require(received == len(witness.accepted), 5, "the peer of {} was told the end after {} bytes of {} written",
                witness.connection, received, len(witness.accepted))  # fmt: skip

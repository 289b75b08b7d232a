"""The output of strace becomes calls in their order, even if threads interrupt each other."""

import pytest

from tests.failures.standstill import Call, accepted, before_answers, parsed, read_bytes, written_bytes

LINES = r"""
7 accept4(3, NULL, NULL, SOCK_CLOEXEC) = 5
7 accept4(3, NULL, NULL, SOCK_CLOEXEC) = -1 EAGAIN (Resource temporarily unavailable)
7 recvfrom(5, "xxxxxxxx"..., 65536, 0, NULL, NULL) = 1000
8 recvfrom(6,  <unfinished ...>
7 sendto(5, "f\nf\nf\n", 6, 0, NULL, 0)  = 6
8 <... recvfrom resumed>"xx", 65536, 0, NULL, NULL) = 2
7 --- SIGUSR1 {si_signo=SIGUSR1} ---
8 sendto(6, "answer", 6, 0, NULL, 0) = 6
7 sendto(5, "answer", 6, 0, NULL, 0 <unfinished ...>
8 recvfrom(6,  <detached ...>
""".strip().splitlines()


def test_calls_come_in_the_order_in_which_they_returned_and_those_that_did_not_at_the_end():
    calls = list(parsed(LINES))
    names = "accept4 accept4 recvfrom sendto recvfrom sendto sendto recvfrom"
    assert [call.name for call in calls] == names.split()
    assert calls[4] == Call("recvfrom", '6,  "xx", 65536, 0, NULL, NULL', 2)
    assert [call.result for call in calls[-2:]] == [0, 0]


def test_what_was_done_before_so_many_answers_is_counted():
    before = list(before_answers(parsed(LINES), "answer"))
    assert (accepted(before), read_bytes(before, "xx"), written_bytes(before, r"f\nf")) == (1, 1002, 6)
    assert len(list(before_answers(parsed(LINES), "answer", 2))) == len(before) + 1
    with pytest.raises(AssertionError, match="has not seen"):
        list(before_answers(parsed(LINES), "answer", 3))

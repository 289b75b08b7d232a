"""The process (P2 in table.py): what is done to it from outside while it serves."""

import time

import pytest

from tests.failures.clients import allow_descriptors, frozen, heard_just_now, process_state, those_without
from tests.support import connect, wait_until

# Stopped and continued: Ctrl-Z and fg, a paused container, a suspended machine (P2).

P2_CLIENTS, P2_NEWCOMERS = 1000, 50
P2_DEADLINE_SECONDS, P2_STOPPED_SECONDS = 3.0, 3.5  # ten seconds in the field, shorter here


@pytest.mark.parametrize("stopped", ["asleep", "in the middle"])
def test_p2_who_is_stopped_for_longer_than_a_deadline_ends_nobody_when_it_goes_on(serve, stopped):
    """A wait for events that is stopped returns none when it continues, though there are some (signal(7))."""
    if not allow_descriptors(2 * (P2_CLIENTS + P2_NEWCOMERS)):
        pytest.skip(f"this process may not have {P2_CLIENTS} clients")
    deadlines = {"idle_seconds": P2_DEADLINE_SECONDS, "first_byte_seconds": P2_DEADLINE_SECONDS}
    with serve("echo", **deadlines) as server, heard_just_now(P2_CLIENTS, server) as clients:
        newcomers = [connect(server.address) for _ in range(P2_NEWCOMERS)]
        everyone = clients + newcomers
        if stopped == "asleep":
            wait_until(lambda: process_state(server) == "S", "the wait for events")
        else:
            for client in everyone[::2]:
                client.sendall(b"y")
        with frozen(server):
            for client in everyone[1::2] if stopped == "in the middle" else everyone:
                client.sendall(b"y")
            time.sleep(P2_STOPPED_SECONDS)
        ended = those_without(b"y", everyone)
        for client in newcomers:
            client.close()
        assert not ended, f"{len(ended)} of {len(everyone)} clients were ended, though they had not been silent"

"""The table of a connection's life, compared with a second copy of it."""

import itertools

import pytest

from reactor import CloseReason, State
from reactor.connections.states import NEXT, set_state
from tests.rig import make_connection, way_to

LEGAL = {
    ("NEW", "OPEN"), ("NEW", "ENDED"),
    ("OPEN", "HALF_CLOSED_REMOTE"), ("OPEN", "HALF_CLOSED_LOCAL"), ("OPEN", "CLOSING"), ("OPEN", "ENDED"),
    ("HALF_CLOSED_REMOTE", "FLUSHING"), ("HALF_CLOSED_REMOTE", "ENDED"),
    ("HALF_CLOSED_LOCAL", "FLUSHING"), ("HALF_CLOSED_LOCAL", "CLOSING"), ("HALF_CLOSED_LOCAL", "ENDED"),
    ("CLOSING", "LINGERING"), ("CLOSING", "FLUSHING"), ("CLOSING", "ENDED"),
    ("LINGERING", "ENDED"),
    ("FLUSHING", "ENDED"),
    ("ENDED", "CLOSED"),
}  # fmt: skip
STEPS = list(itertools.product(State, State))


def name(step):
    return step.name


@pytest.mark.parametrize(("before", "after"), [s for s in STEPS if (s[0].name, s[1].name) in LEGAL], ids=name)
def test_a_step_of_the_table_is_taken(before, after):
    connection = make_connection(before)
    assert set_state(connection, before, after)
    assert connection.state is after


@pytest.mark.parametrize(("before", "after"), [s for s in STEPS if (s[0].name, s[1].name) not in LEGAL], ids=name)
def test_a_step_that_the_table_lacks_raises_and_changes_nothing(before, after):
    connection = make_connection(before)
    with pytest.raises(AssertionError, match=f"no step from {before.name} to {after.name}"):
        set_state(connection, before, after)
    assert connection.state is before


def test_every_state_is_reached_and_every_way_ends_in_lost():
    assert set(NEXT) == set(State)
    for state in State:
        way_to(state)  # KeyError if there is none
        left, reached = [state], {state}
        while left:
            for step in set(NEXT[left.pop()]) - reached:
                reached.add(step)
                left.append(step)
        assert State.CLOSED in reached
    assert not NEXT[State.CLOSED]


def test_no_way_leads_back():
    for state in State:
        left, reached = [state], set()
        while left:
            steps = set(NEXT[left.pop()]) - reached
            reached |= steps
            left += steps
        assert state not in reached


def test_every_step_says_when_it_is_taken():
    assert all(when for steps in NEXT.values() for when in steps.values())


@pytest.mark.parametrize(
    ("state", "delivers", "discards", "writes"),
    [
        (State.NEW, False, False, False),
        (State.OPEN, True, False, True),
        (State.HALF_CLOSED_REMOTE, False, False, True),
        (State.HALF_CLOSED_LOCAL, True, False, False),
        (State.CLOSING, False, True, False),
        (State.LINGERING, False, True, False),
        (State.FLUSHING, False, False, False),
        (State.ENDED, False, False, False),
        (State.CLOSED, False, False, False),
    ],
)
def test_the_state_alone_says_what_becomes_of_input_and_output(state, delivers, discards, writes):
    assert (state.delivers, state.discards, state.writes) == (delivers, discards, writes)


def test_every_reason_has_a_name_of_its_own_fit_for_logs():
    values = [reason.value for reason in CloseReason]
    assert len(set(values)) == len(values)
    assert all(reason.value == reason.name.lower() for reason in CloseReason)

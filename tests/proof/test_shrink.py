"""A failing scenario is made small, and still fails."""

from reactor.simulation.sockets import Faults
from scripts.proof.scenarios import make
from scripts.proof.shrink import shrink, size
from scripts.proof.world import World


def sends(scenario):
    return [step for plan in scenario.peers for step in plan.steps if step[0] == "send" and step[1] >= 2]


def big_one():
    """The first with faults, three or more peers, and more than four long sends."""
    return next(
        scenario for scenario in map(make, range(1000))
        if len(sends(scenario)) > 4 and scenario.faults != Faults() and len(scenario.peers) > 2
    )  # fmt: skip


def test_what_is_not_needed_is_left_out():
    small = shrink(big_one(), sends)
    assert size(small) == (1, 1)
    assert sends(small)[0][1] in (2, 3)  # half of it would be too little
    assert small.faults == Faults()
    assert (small.limits, small.close_at) == ((), 0.0)


def test_a_scenario_of_which_all_is_needed_stays_as_it_is():
    scenario = big_one()
    assert shrink(scenario, lambda smaller: False) == scenario


def test_a_small_scenario_can_be_lived_through():
    small = shrink(big_one(), sends)
    outcome = World(small).run()
    assert outcome.law == 0, outcome.text
    assert outcome.connections == 1


def test_what_is_left_of_a_broken_law_still_breaks_it(monkeypatch):
    monkeypatch.setattr("reactor.connections.connection.Connection._check_high_mark", lambda connection: None)
    # Not `Chaos`: there, leaving something out changes all that is drawn after it.
    seeds = (seed for seed in range(500) if make(seed).program != "Chaos")
    seed = next(seed for seed in seeds if World(make(seed)).run().law == 4)
    small = shrink(make(seed), lambda smaller: World(smaller).run().law == 4)
    assert World(small).run().law == 4
    assert size(small) <= (2, 2) and size(small) <= size(make(seed))

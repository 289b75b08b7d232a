"""A sorted set is a dictionary and an order that say the same."""

import math
import random

import pytest

from reactor.apps.kv import sorted_set
from reactor.apps.kv.sorted_set import SortedSet


@pytest.fixture(params=[2, 3, 5, 1000])
def most(request, monkeypatch):
    monkeypatch.setattr(sorted_set, "MOST_IN_A_BLOCK", request.param)
    return request.param


@pytest.mark.parametrize("seed", range(5))
def test_it_is_sorted_after_every_change(seed, most):
    rand, ours, plain = random.Random(seed), SortedSet(), {}
    scores = [0.0, -0.0, 1.0, 1.0, 2.5, -1e300, math.inf, -math.inf]
    for _ in range(1000):
        member = b"%d" % rand.randrange(30)
        if rand.random() < 0.6:
            value = rand.choice(scores)
            ours.set(member, value)
            plain[member] = value
        elif member in plain:
            ours.remove(member)
            del plain[member]
        ranked = sorted((value, member) for member, value in plain.items())
        assert ours.scores == plain
        assert ours.ranks(0, len(plain)) == ranked
        start, count = rand.randrange(35), rand.randrange(1, 35)
        assert ours.ranks(start, count) == ranked[start : start + count]
        assert len(ours) == len(plain)
        assert all(0 < len(block) <= most for block in ours._blocks)


def test_it_stays_in_blocks_whatever_the_order_in_which_members_come():
    for members in (range(5000), range(5000, 0, -1), random.Random(1).sample(range(5000), 5000)):
        ours = SortedSet()
        for member in members:
            ours.set(b"%d" % member, float(member))
        assert [score for score, _ in ours.ranks(0, 5000)] == sorted(map(float, members))
        assert len(ours._blocks) <= 5000 / (sorted_set.MOST_IN_A_BLOCK / 2)
        while len(ours):
            ours.remove(ours.ranks(0, 1)[0][1])
        assert ours._blocks == []

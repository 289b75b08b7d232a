"""Latencies: percentiles within a quarter of a percent, of any number of samples, in little memory."""

import math
import random

import pytest

from scripts.clients.latencies import Latencies

FRACTIONS = [0.0, 0.5, 0.9, 0.99, 0.999, 1.0]


def recorded(samples):
    latencies = Latencies()
    for seconds in samples:
        latencies.record(1000.0, 1000.0 + seconds)
    return latencies


@pytest.mark.parametrize("count", [1, 2, 10, 999, 20_000])
def test_quantiles_are_those_of_the_nearest_rank(count):
    samples = sorted(random.Random(count).lognormvariate(-9, 2) for _ in range(count))
    expected = [samples[max(1, math.ceil(count * fraction)) - 1] for fraction in FRACTIONS]
    # A quarter of a percent; and the nanosecond that subtracting two clock readings near 1,000 s may cost.
    assert recorded(samples).quantiles(FRACTIONS) == pytest.approx(expected, rel=0.0026, abs=2e-9)


def test_the_slowest_of_a_thousand_shows_in_the_last_thousandth_alone():
    p50, p999, greatest = recorded([0.001] * 999 + [2.0]).quantiles([0.5, 0.999, 1.0])
    assert [p50, p999, greatest] == pytest.approx([0.001, 0.001, 2.0], rel=0.0026)


def test_from_nothing_to_a_day_all_fit_into_a_few_thousand_buckets():
    chance = random.Random(1)
    latencies = recorded(math.exp(chance.uniform(math.log(1e-9), math.log(86400))) for _ in range(50_000))
    latencies.record(5.0, 5.0)  # a clock that is too coarse to see the difference
    assert len(latencies) == 50_001
    assert 4_000 < len(latencies._counts) < 7_000


def test_without_samples_there_are_no_quantiles():
    assert (len(Latencies()), Latencies().quantiles(FRACTIONS)) == (0, [None] * 6)

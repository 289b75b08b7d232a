"""Numbers with their units."""

import pytest

from reactor.service.units import counted, duration, size


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0 B"), (640, "640 B"), (999.4, "999 B"), (999.6, "1 kB"), (1250, "1.25 kB"), (999_499, "999 kB"),
     (999_500, "1 MB"), (12_345_678, "12.3 MB"), (2.5e9, "2.5 GB"), (9.99e20, "999 EB")],
)  # fmt: skip
def test_a_size_has_three_digits_and_its_unit(number, shown):
    assert size(number) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 µs"), (16e-6, "16 µs"), (0.000_999_6, "1 ms"), (0.001_048_576, "1.05 ms"), (0.5, "500 ms"), (10.0, "10 s"),
     (999.4, "999 s"), (1073.741824, "1,074 s"), (1e6, "1,000,000 s")],
)  # fmt: skip
def test_a_duration_has_three_digits_and_its_unit(seconds, shown):
    assert duration(seconds) == shown


@pytest.mark.parametrize(("number", "shown"), [(0, "0 lines"), (1, "1 line"), (2000, "2,000 lines")])
def test_what_is_counted_is_plural_unless_it_is_one(number, shown):
    assert counted(number, "line") == shown

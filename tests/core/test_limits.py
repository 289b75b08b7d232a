"""Every bound has a safe default, a range, a unit in its name and a precedent."""

import dataclasses
import math

import pytest

from reactor import Limits

FIELDS = dataclasses.fields(Limits)
UNITS = ("_bytes", "_seconds", "_per_iteration")
COUNTS = ("backlog",)  # whole things that need no unit beside their name


def name(field):
    return field.name


@pytest.mark.parametrize("field", FIELDS, ids=name)
def test_a_field_has_a_unit_a_meaning_a_precedent_and_a_default_within_its_range(field):
    assert field.name.endswith(UNITS) or field.name in COUNTS or field.name.startswith("max_")
    assert field.metadata["meaning"] and field.metadata["precedent"]
    assert field.metadata["low"] <= field.default <= field.metadata["high"]
    assert math.isfinite(field.metadata["high"]), "a bound that may be infinite is none"


@pytest.mark.parametrize("field", FIELDS, ids=name)
@pytest.mark.parametrize(
    "nonsense",
    [math.nan, math.inf, -math.inf, -1, 10**400, None, "1", True, b"1"],
    ids="nan inf -inf -1 huge None text True bytes".split(),
)
def test_a_value_that_makes_no_sense_is_refused_with_the_field_and_its_range(field, nonsense):
    with pytest.raises(ValueError, match=f"{field.name} must be a (whole )?number from .* to .*, not "):
        Limits(**{field.name: nonsense})


@pytest.mark.parametrize("field", [field for field in FIELDS if field.type == "int"], ids=name)
def test_a_count_takes_no_fraction(field):
    with pytest.raises(ValueError, match=f"{field.name} must be a whole number"):
        Limits(**{field.name: float(field.default)})


@pytest.mark.parametrize("field", [field for field in FIELDS if field.type == "float"], ids=name)
def test_seconds_may_be_whole(field):
    assert getattr(Limits(**{field.name: 1}), field.name) == 1


def test_both_ends_of_a_range_belong_to_it():
    for end in ("low", "high"):
        values = {field.name: field.metadata[end] for field in FIELDS}
        limits = Limits(**values)
        assert all(getattr(limits, name) == value for name, value in values.items())


def test_one_beyond_either_end_does_not():
    for field in FIELDS:
        for value in (field.metadata["low"] - 1, field.metadata["high"] + 1):
            with pytest.raises(ValueError, match=field.name):
                Limits(**{field.name: value})


def test_the_low_mark_must_not_lie_above_the_high_one():
    with pytest.raises(ValueError, match=r"output_low_bytes must be at most output_high_bytes \(10\), not 11"):
        Limits(output_high_bytes=10, output_low_bytes=11)
    assert Limits(output_high_bytes=10, output_low_bytes=10).output_low_bytes == 10


def test_limits_cannot_be_changed_under_a_running_server():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Limits().backlog = 1

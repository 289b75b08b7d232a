"""Every bound has a safe default, a range, a unit in its name and a precedent."""

import dataclasses
import math
import sys

import pytest

from reactor import Limits

FIELDS = dataclasses.fields(Limits)
COUNTS = [field for field in FIELDS if field.type == "int"]
SECONDS = [field for field in FIELDS if field.type == "float"]
CHOICES = [field for field in FIELDS if field.type == "str"]


def name(field):
    return field.name


def refused(**given):
    with pytest.raises(ValueError) as caught:
        Limits(**given)
    return str(caught.value)


def test_every_field_is_a_count_a_time_or_a_choice():
    assert len(COUNTS) + len(SECONDS) + len(CHOICES) == len(FIELDS)


@pytest.mark.parametrize("field", FIELDS, ids=name)
def test_a_field_has_a_unit_in_its_name_a_meaning_and_a_precedent(field):
    if field in COUNTS:
        assert field.name.endswith(("_bytes", "_bits", "_per_iteration")) or field.name.startswith("max_") or (
            field.name == "backlog"
        )
    if field in SECONDS:
        assert field.name.endswith("_seconds")
    assert field.metadata["meaning"] and field.metadata["precedent"]


@pytest.mark.parametrize("field", COUNTS + SECONDS, ids=name)
def test_the_defaults_are_bounds_within_their_range(field):
    assert field.metadata["low"] <= field.default <= field.metadata["high"]
    assert math.isfinite(field.default), "a bound that is infinite is none"


@pytest.mark.parametrize("field", COUNTS + SECONDS, ids=name)
@pytest.mark.parametrize(
    "nonsense",
    [math.nan, -math.inf, -1, None, "1", True, b"1", [1]],
    ids="nan -inf -1 None text True bytes list".split(),
)
def test_a_number_that_makes_no_sense_is_refused_with_the_field_and_its_range(field, nonsense):
    words = refused(**{field.name: nonsense})
    assert words.startswith(f"{field.name} must be a") and words.endswith(f", not {nonsense!r}")
    assert " from " in words and " to " in words


@pytest.mark.parametrize("field", COUNTS, ids=name)
@pytest.mark.parametrize("endless", [math.inf, 10**400], ids=["inf", "huge"])
def test_a_queue_cannot_be_endless(field, endless):
    assert f"{field.name} must be a whole number" in refused(**{field.name: endless})


@pytest.mark.parametrize("field", COUNTS + SECONDS, ids=name)
@pytest.mark.parametrize("huge", [10**400, 10**5000, -(10**400)], ids=["huge", "beyond printing", "negative"])
def test_a_number_that_no_float_holds_is_refused_in_a_short_line(field, huge):
    words = refused(**{field.name: huge})
    assert words.startswith(f"{field.name} must be a") and words.endswith(", not a number that no float can hold")


@pytest.mark.parametrize("field", SECONDS, ids=name)
def test_a_deadline_may_be_the_largest_float(field):
    assert getattr(Limits(**{field.name: int(sys.float_info.max)}), field.name) == sys.float_info.max


@pytest.mark.parametrize("field", COUNTS, ids=name)
def test_a_count_takes_no_fraction(field):
    assert f"{field.name} must be a whole number" in refused(**{field.name: float(field.default)})


@pytest.mark.parametrize("field", SECONDS, ids=name)
@pytest.mark.parametrize("seconds", [0, 1, 0.001, 1e9, math.inf])
def test_a_deadline_may_be_anything_from_nothing_to_infinite(field, seconds):
    assert getattr(Limits(**{field.name: seconds}), field.name) == seconds


@pytest.mark.parametrize("field", CHOICES, ids=name)
def test_a_choice_takes_its_words_alone(field):
    for choice in field.metadata["choices"]:
        assert getattr(Limits(**{field.name: choice}), field.name) == choice
    for nonsense in ("", field.default.upper(), None, 1, ["queue"]):
        words = refused(**{field.name: nonsense})
        assert field.name in words and all(choice in words for choice in field.metadata["choices"])


def test_both_ends_of_a_range_belong_to_it():
    for end in ("low", "high"):
        limits = Limits(**{field.name: field.metadata[end] for field in COUNTS})
        assert all(getattr(limits, field.name) == field.metadata[end] for field in COUNTS)


@pytest.mark.parametrize("field", COUNTS, ids=name)
def test_one_beyond_either_end_does_not(field):
    for value in (field.metadata["low"] - 1, field.metadata["high"] + 1):
        assert refused(**{field.name: value}).startswith(field.name)


@pytest.mark.parametrize(
    ("low", "high", "hard"), [(11, 10, 20), (5, 21, 20), (30, 30, 20), (20, 10, 15)]
)
def test_the_marks_must_be_in_order(low, high, hard):
    words = refused(output_low_bytes=low, output_high_bytes=high, output_hard_bytes=hard)
    assert words == (
        f"output_low_bytes <= output_high_bytes <= output_hard_bytes must hold, not {low}, {high}, {hard}"
    )


def test_the_marks_may_be_equal():
    assert Limits(output_low_bytes=7, output_high_bytes=7, output_hard_bytes=7).output_hard_bytes == 7


def test_limits_cannot_be_changed_under_a_running_server():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Limits().backlog = 1

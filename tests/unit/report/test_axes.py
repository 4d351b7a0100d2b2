from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ckpt_tier.report.axes import Across, Down, duration_ticks, round_values, time_ticks, value_ticks


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("first", "last", "labels"),
    [
        ("2026-11-21T10:00", "2026-11-25T10:00", ["22 Nov", "23 Nov", "24 Nov", "25 Nov"]),
        ("2026-11-21T10:10", "2026-11-21T10:19", ["21 Nov 10:10", "10:15"]),
        ("2026-11-21T20:00", "2026-11-22T04:00", ["21 Nov 20:00", "22:00", "22 Nov", "02:00", "04:00"]),
        ("2026-12-28T09:00", "2027-01-02T09:00", ["29 Dec 2026", "30 Dec", "31 Dec", "1 Jan 2027", "2 Jan"]),
        ("2026-11-21T10:10", "2026-11-21T10:10", ["21 Nov 10:10"]),
    ],
)
def test_moments_are_round_and_named_as_people_do(first: str, last: str, labels: list[str]) -> None:
    assert [tick.label for tick in time_ticks(Across(at(first), at(last)))] == labels


@given(st.floats(0, 2.5e11), st.floats(0, 2.5e11))
@example(0.0, 1.5)
def test_there_are_a_few_moments_whatever_the_span(one: float, other: float) -> None:
    ticks = time_ticks(Across(min(one, other), max(one, other)))
    assert 1 <= len(ticks) <= 8
    assert all(0 <= tick.at <= 100 for tick in ticks)


@pytest.mark.parametrize(
    ("low", "high", "values"),
    [
        (0, 10, [0, 5, 10]),
        (1.58, 3.8, [2, 2.5, 3, 3.5]),
        (0, 8.98, [0, 2, 4, 6, 8]),
        (-2, 2, [-2, -1, 0, 1, 2]),
        (7, 7, [7]),
    ],
)
def test_values_are_round(low: float, high: float, values: list[float]) -> None:
    assert round_values(low, high, 5) == values


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_any_two_floats_have_an_axis(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    scale = Down(low, high, 10, 200)
    assert 1 <= len(value_ticks(scale)) <= 6
    assert 9 < scale(high) <= scale(low) < 201


def test_durations_stand_on_a_scale_of_logarithms() -> None:
    ticks = duration_ticks(Down(0.0, 4.0, 0, 100))
    assert [(tick.at, tick.label) for tick in ticks[:2]] == [(100, "1 s"), (75, "10 s")]
    assert ticks[-1].label == "1 h"

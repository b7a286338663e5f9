from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icefloe.lab.figures import (
    Spread,
    counted,
    counts_text,
    percentile,
    seconds_text,
)

SECONDS = st.lists(st.floats(0, 1000), min_size=1)


@pytest.mark.parametrize(
    "percent, expected", [(1, 1), (50, 50), (90, 90), (99, 99), (100, 100)]
)
def test_a_percentile_of_a_hundred_values_is_the_one_of_that_rank(
    percent: float, expected: float
) -> None:
    assert percentile(list(range(100, 0, -1)), percent) == expected


@given(SECONDS, st.floats(0.1, 100))
def test_a_percentile_is_one_of_the_values(values: list[float], percent: float) -> None:
    assert percentile(values, percent) in values


@given(SECONDS)
def test_a_spread_is_in_order(values: list[float]) -> None:
    spread = Spread.of(values)
    assert spread is not None
    assert spread.count == len(values)
    assert spread.p50 <= spread.p90 <= spread.p99 <= spread.longest


def test_nothing_measured_has_no_spread() -> None:
    assert Spread.of([]) is None


def test_counts_are_said_with_the_most_frequent_first() -> None:
    assert counts_text(counted(["cut-off", "signed", "signed"])) == (
        "2 signed, 1 cut-off"
    )
    assert counts_text({}) == "none"


@pytest.mark.parametrize(
    "seconds, text",
    [
        (None, "-"),
        (0.0004, "0 ms"),
        (0.0426, "43 ms"),
        (0.0999, "0.10 s"),
        (1.0, "1.00 s"),
        (9.996, "10.0 s"),
        (61.26, "61.3 s"),
    ],
)
def test_a_duration_is_said_as_short_as_it_is_useful(
    seconds: float | None, text: str
) -> None:
    assert seconds_text(seconds) == text

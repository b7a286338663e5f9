"""How often something may happen: one timestamp a key, exact to the moment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icefloe.enrollment.rates import Meter, Rate

RATE = Rate(count=4, seconds=60.0)

counts = st.integers(min_value=1, max_value=50)
periods = st.sampled_from([1.0, 60.0, 86_400.0])
pauses = st.lists(st.floats(min_value=0.0, max_value=90.0), min_size=1, max_size=200)


def test_so_many_at_once_and_then_one_each_interval() -> None:
    meter = Meter(RATE)
    for _ in range(4):
        assert meter.admits_at("a", 100.0) == 100.0
        meter.take("a", 100.0)
    assert meter.admits_at("a", 100.0) == 115.0
    assert meter.admits_at("a", 114.0) == 115.0
    assert meter.admits_at("a", 115.0) == 115.0
    meter.take("a", 115.0)
    assert meter.admits_at("a", 115.0) == 130.0


def test_keys_do_not_feel_each_other() -> None:
    meter = Meter(RATE)
    for _ in range(9):
        meter.take("a", 100.0)
    assert meter.admits_at("b", 100.0) == 100.0


def test_what_is_given_back_was_never_taken() -> None:
    meter = Meter(RATE)
    for _ in range(4):
        meter.take("a", 100.0)
    meter.give_back("a")
    assert meter.admits_at("a", 100.0) == 100.0
    assert meter.has_taken("a", 100.0) == 3.0
    meter.give_back("nobody")
    assert len(meter) == 1


def test_who_took_far_too_much_waits_no_longer_than_who_took_enough() -> None:
    """What was under way when the rate was reached; the wait stays one interval."""
    meter = Meter(RATE)
    for _ in range(1000):
        meter.take("a", 100.0)
    assert meter.admits_at("a", 100.0) == 115.0


@given(counts, periods, pauses)
def test_never_more_are_admitted_than_the_count_and_the_rate(
    count: int, seconds: float, waits: list[float]
) -> None:
    """In every stretch of time: `count` at once, and one more each interval."""
    meter = Meter(Rate(count, seconds))
    now, admitted = 1000.0, []
    for wait in waits:
        now += wait
        if meter.admits_at("a", now) <= now:
            meter.take("a", now)
            admitted.append(now)
    for first, begin in enumerate(admitted):
        for last in range(first, len(admitted)):
            most = count + (admitted[last] - begin) * count / seconds
            assert last - first + 1 <= most + 1e-6


@given(counts, periods, pauses)
def test_the_time_told_is_exact(count: int, seconds: float, waits: list[float]) -> None:
    """Refused until then, admitted then; and it does not move while nothing is taken."""
    meter = Meter(Rate(count, seconds))
    now = 1000.0
    for wait in waits:
        now += wait
        at = meter.admits_at("a", now)
        if at > now:
            middle = now + (at - now) / 2
            assert meter.admits_at("a", middle) == at or middle in (now, at)
            assert meter.admits_at("a", at) == at
            assert at - now <= seconds / count + 1e-6
        else:
            meter.take("a", now)


@given(counts, pauses)
def test_it_is_even_for_whoever_comes_exactly_when_told(
    count: int, waits: list[float]
) -> None:
    meter = Meter(Rate(count))
    now = 1000.0
    for _ in range(count):
        meter.take("a", now)
    for _ in waits:
        now = meter.admits_at("a", now)
        assert meter.admits_at("a", now) == now
        meter.take("a", now)
    assert now == pytest.approx(1000.0 + len(waits) * 60.0 / count)


@given(
    st.lists(
        st.tuples(
            st.integers(min_value=0, max_value=30),
            st.floats(min_value=0.0, max_value=20.0),
            st.booleans(),
        ),
        max_size=300,
    )
)
def test_it_never_remembers_more_keys_than_it_may(
    takes: list[tuple[int, float, bool]],
) -> None:
    meter, now = Meter(RATE, keys_max=10), 1000.0
    for key, wait, back in takes:
        now += wait
        if back:
            meter.give_back(str(key))
        else:
            meter.take(str(key), now)
            assert meter.has_taken(str(key), now) > 0, "a newcomer is counted"
        assert len(meter) <= 10


def test_when_it_is_full_whoever_took_most_is_remembered() -> None:
    meter = Meter(RATE, keys_max=100)
    for _ in range(4):
        meter.take("flood", 100.0)
    for number in range(10_000):
        meter.take(f"once-{number}", 100.0)
    assert len(meter) == 100
    assert meter.admits_at("flood", 100.0) == 115.0


def test_who_is_done_is_forgotten_first() -> None:
    meter = Meter(RATE)
    for number in range(1000):
        meter.take(str(number), 100.0 + number * 60)
    assert len(meter) == 1


def test_another_rate_counts_from_now_on() -> None:
    meter = Meter(Rate(1, 86_400.0))
    meter.take("a", 100.0)
    assert meter.admits_at("a", 100.0) == 100.0 + 86_400.0
    meter.reconfigure(Rate(60))
    assert meter.admits_at("a", 100.0) == 101.0


@pytest.mark.parametrize("count, seconds", [(0, 60.0), (-1, 60.0), (1, 0.0)])
def test_a_rate_of_nothing_is_none(count: int, seconds: float) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Rate(count, seconds)

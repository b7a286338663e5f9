"""When to dial."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icefloe.cluster.pacing import (
    FIRST_RETRY_SECONDS,
    JITTER,
    RETRY_SECONDS_MAX,
    STABLE_SECONDS,
    DialPacer,
    backoff,
)
from icefloe.doors import Entropy
from tests.cluster.helpers import MONO, mono


class Middle(Entropy):
    """Draws the middle, so that delays are round; or one of the ends."""

    def __init__(self, place: float = 0.5) -> None:
        self.place = place

    def bytes(self, count: int) -> bytes:
        raise NotImplementedError

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.place


def pacer(*endpoints: str) -> DialPacer:
    made = DialPacer(entropy=Middle())
    made.set_targets(endpoints, mono(0))
    return made


def test_new_targets_are_due_at_once_in_their_order() -> None:
    dials = pacer("m2", "m1")
    assert dials.due(mono(0)) == ("m2", "m1")
    assert dials.next_deadline == mono(0)


def test_no_targets_are_never_due() -> None:
    assert pacer().next_deadline is None
    assert pacer().due(mono(9)) == ()


def test_endpoint_being_dialled_or_connected_is_not_due() -> None:
    dials = pacer("m1", "m2")
    dials.dialling("m1")
    dials.connected("m2", mono(0))
    assert dials.due(mono(1000)) == ()
    assert dials.next_deadline is None


def test_retries_begin_soon_and_become_rare() -> None:
    dials = pacer("m1")
    now, delays = 0.0, []
    for _ in range(7):
        dials.dialling("m1")
        dials.failed("m1", mono(now))
        deadline = dials.next_deadline
        assert deadline is not None
        assert dials.due(mono(deadline - MONO - 0.001)) == ()
        assert dials.due(deadline) == ("m1",)
        delays.append(round(deadline - MONO - now, 6))
        now = deadline - MONO
    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, 12.0, 12.0]


def test_connection_that_lasted_makes_the_next_retry_a_first_one() -> None:
    dials = pacer("m1")
    for _ in range(6):
        dials.failed("m1", mono(0))
    dials.connected("m1", mono(10))
    dials.disconnected("m1", mono(10 + STABLE_SECONDS))
    assert dials.next_deadline == mono(10 + STABLE_SECONDS + FIRST_RETRY_SECONDS)


def test_connection_that_did_not_last_is_another_failure() -> None:
    dials = pacer("m1")
    dials.failed("m1", mono(0))
    dials.connected("m1", mono(1))
    dials.disconnected("m1", mono(2))
    assert dials.next_deadline == mono(2 + 2 * FIRST_RETRY_SECONDS)


def test_link_that_ends_before_it_counted_as_connected_is_a_failure() -> None:
    dials = pacer("m1")
    dials.dialling("m1")
    dials.disconnected("m1", mono(1))
    assert dials.next_deadline == mono(1 + FIRST_RETRY_SECONDS)


def test_failed_dial_of_an_endpoint_that_dialled_us_meanwhile_means_nothing() -> None:
    dials = pacer("m1")
    dials.dialling("m1")
    dials.connected("m1", mono(0))
    dials.failed("m1", mono(1))
    assert dials.next_deadline is None


def test_endpoints_that_are_no_targets_are_ignored() -> None:
    dials = pacer("m1")
    dials.dialling("x")
    dials.connected("x", mono(0))
    dials.failed("x", mono(0))
    dials.disconnected("x", mono(0))
    assert dials.due(mono(99)) == ("m1",)


def test_new_targets_keep_the_pace_of_those_that_stay() -> None:
    dials = pacer("m1", "m2")
    dials.failed("m1", mono(0))
    dials.set_targets(["m3", "m1"], mono(0.1))
    assert dials.due(mono(0.1)) == ("m3",)
    assert dials.due(mono(0.5)) == ("m3", "m1")


@pytest.mark.parametrize("place", [0.0, 1.0])
def test_jitter_spreads_to_both_sides(place: float) -> None:
    factor = 1 + JITTER * (1 if place else -1)
    assert backoff(0, Middle(place)) == FIRST_RETRY_SECONDS * factor
    assert backoff(50, Middle(place)) == RETRY_SECONDS_MAX * factor


@given(failures=st.integers(0, 10**9), place=st.floats(0, 1))
def test_lost_parent_is_dialled_again_within_15_seconds(
    failures: int, place: float
) -> None:
    assert 0.3 < backoff(failures, Middle(place)) <= 15

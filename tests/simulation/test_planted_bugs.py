"""The simulator finds bugs: each planted one within some seeds."""

from __future__ import annotations

import pytest

from icefloe.simulation import run_seeds
from tests.simulation.planted import PLANTED, SEEDS_MAX, Planted, found


@pytest.mark.no_cover  # tracing would make it three times as long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
def test_a_planted_bug_is_found(
    planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted.plant(monkeypatch)
    assert found(planted) is not None, f"not found within {SEEDS_MAX} seeds"


def test_there_are_many_and_no_two_are_alike() -> None:
    assert len({planted.name for planted in PLANTED}) == len(PLANTED) >= 30


def test_without_a_planted_bug_the_same_seeds_are_clean() -> None:
    run_seeds(range(10)).raise_if_failed()

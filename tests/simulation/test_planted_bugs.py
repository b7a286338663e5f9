"""The simulator finds bugs: each planted one within a few seeds."""

from __future__ import annotations

import pytest

from icefloe.simulation import Report, simulate
from tests.simulation.planted import PLANTED, Planted

SEEDS_MAX = 150


def found(planted: Planted) -> Report | None:
    for seed in range(SEEDS_MAX):
        report = simulate(seed)
        if planted.promises & {each.promise for each in report.violations}:
            return report
    return None


@pytest.mark.no_cover  # tracing would make it three times as long
@pytest.mark.timeout(240)
@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
def test_a_planted_bug_is_found(
    planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted.plant(monkeypatch)
    report = found(planted)
    assert report is not None, f"not found within {SEEDS_MAX} seeds"
    assert f"simulate({report.seed})" in report.story()


def test_without_a_planted_bug_the_same_seeds_are_clean() -> None:
    assert all(simulate(seed).kept for seed in range(10))

"""A flood of wrong tickets in simulated worlds: it refuses only itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from icefloe.enrollment.failures import Asker
from icefloe.simulation import FaultPlan, Report, simulate
from icefloe.simulation.cluster import chain

SEEDS_MAX = 300


def floods(relays: int, wanted: int) -> Iterator[Report]:
    """Live through worlds without faults until so many had a flood that was heard of."""
    for seed in range(SEEDS_MAX):
        report = simulate(
            seed,
            faults=FaultPlan.none(),
            cluster=chain(relays),
            kinds=("valid", "corrected", "approval"),
            varied=True,
        )
        if report.figures.get("flood.not-heard"):
            yield report
            wanted -= 1
            if not wanted:
                return
    pytest.fail("no flood came about")


@pytest.mark.parametrize("relays", [0, 1])
def test_a_flood_is_refused_and_everybody_else_is_served(relays: int) -> None:
    for report in floods(relays, 2):
        assert report.kept, report.story()
        assert report.figures["turned away"] > 0


def test_a_rate_that_all_strangers_share_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def everybody(_address: str) -> Asker:
        return Asker("from anywhere", "anywhere", member=False)

    monkeypatch.setattr(Asker, "_of_stranger", staticmethod(everybody))
    broken = {
        violation.promise for report in floods(0, 8) for violation in report.violations
    }
    assert "a_flood_refuses_only_itself" in broken

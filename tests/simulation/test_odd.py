"""Who asks for what cannot be had is told why."""

from __future__ import annotations

import pytest

from icefloe.simulation import FaultPlan, simulate
from icefloe.simulation.cluster import chain
from icefloe.simulation.odd import ODD_KINDS, oddity
from icefloe.simulation.world import SECRET


@pytest.mark.parametrize("kind", ODD_KINDS)
@pytest.mark.parametrize("relays", [0, 1, 2])
def test_an_odd_asking_is_answered_with_its_reason(kind: str, relays: int) -> None:
    report = simulate(3, faults=FaultPlan.none(), cluster=chain(relays), kinds=[kind])
    assert report.kept, report.story()
    odd = oddity(kind, "x", 1)
    if odd.everywhere or not relays:
        assert report.figures[f"reason.{odd.due.value}"] > 0


@pytest.mark.parametrize("kind", ODD_KINDS)
def test_odd_askings_show_no_ticket(kind: str) -> None:
    assert SECRET not in repr(oddity(kind, "x", 1))

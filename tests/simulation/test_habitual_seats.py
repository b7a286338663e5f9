"""Nodes that are not ours in each seat: what is still promised beside each release."""

from __future__ import annotations

import pytest

from icefloe.simulation import FaultPlan, Report, simulate
from icefloe.simulation.cluster import VERSIONS, chain
from icefloe.simulation.faults import Spell

OURS = ("valid", "approval", "renewal", "corrected", "agent-ticket", "agent-approval")
REAL = (
    "real-command-valid",
    "real-command-approval",
    "real-agent-ticket",
    "real-agent-approval",
)


def live(
    kind: str, relays: int = 1, *, seats: dict[str, str] | None = None, **habits: str
) -> Report:
    habits |= seats or {}
    named = {name.replace("_", "-"): version for name, version in habits.items()}
    cluster = chain(relays, habits=named)
    return simulate(4, faults=FaultPlan.none(), cluster=cluster, kinds=[kind])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", OURS)
def test_ours_are_signed_through_a_real_relay(version: str, kind: str) -> None:
    report = live(kind, relays=2, relay_1=version)
    assert report.kept, report.story()
    assert report.figures["ended.signed"] == 1


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", OURS)
def test_ours_are_signed_by_a_real_signer(version: str, kind: str) -> None:
    report = live(kind, signer=version)
    assert report.kept, report.story()
    assert report.figures["ended.signed"] == 1


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("seat", ["signer", "relay_1"])
def test_a_valid_ticket_at_our_relay_is_signed_on_the_first_call(
    version: str, seat: str
) -> None:
    """Whatever stands above: the relay asks again while it holds its asker."""
    report = live("valid", relays=2, seats={seat: version})
    assert report.kept, report.story()
    assert report.figures["asks"] == 1


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", OURS)
def test_ours_are_signed_where_every_node_above_is_real(
    version: str, kind: str
) -> None:
    report = live(kind, signer=version, relay_1=version)
    assert report.kept, report.story()
    assert report.figures["ended.signed"] == 1


@pytest.mark.parametrize("kind", REAL)
@pytest.mark.parametrize("relays", [0, 1, 2])
def test_real_requesters_are_signed_by_our_nodes(kind: str, relays: int) -> None:
    report = live(kind, relays=relays)
    assert report.kept, report.story()
    assert report.figures["ended.signed"] == 1


def test_a_refusal_of_a_real_signer_comes_through_our_relay() -> None:
    report = live("wrong", signer="2.14.5")
    assert report.kept, report.story()
    assert report.figures["ended.refused"] == 1


def test_a_refusal_is_swallowed_by_a_real_relay_and_nobody_is_signed() -> None:
    report = live("wrong", relay_1="2.14.5")
    assert report.kept, report.story()
    assert report.figures["ended.pending"] == 1
    assert report.figures["exempt.a-refusal-is-swallowed-by-a-real-relay"] == 1


@pytest.mark.parametrize("seconds", [200.0, -200.0])
def test_a_real_signer_whose_clock_is_not_ours_is_believed(seconds: float) -> None:
    """It dates from now: to a node behind it no certificate of its had ever begun."""
    plan = FaultPlan(until=1.0, notice_late=0.0, spells=(clock_step(seconds),))
    cluster = chain(1, habits={"signer": "2.14.5"})
    report = simulate(4, faults=plan, cluster=cluster, kinds=["valid"])
    assert report.kept, report.story()
    assert report.figures["ended.signed"] == 1


def clock_step(seconds: float) -> Spell:
    return Spell("clock_step_every", 0.5, 500.0, "relay-1", amount=seconds)


@pytest.mark.parametrize("kind", ["valid", "approval", "corrected", "wrong"])
@pytest.mark.parametrize("relays", [0, 1, 2])
def test_a_memberless_gateway_serves_its_clients(kind: str, relays: int) -> None:
    report = simulate(
        4,
        faults=FaultPlan.none(),
        cluster=chain(relays, gateway=True),
        kinds=[kind],
    )
    assert report.kept, report.story()
    assert report.figures["asked-by-a-gateway"] >= 1


@pytest.mark.parametrize("version", VERSIONS)
def test_a_gateway_beside_a_real_satellite_signs_on_the_first_call(
    version: str,
) -> None:
    """2.14.4 cuts its "pending" off; the gateway asks again while it holds its client."""
    cluster = chain(1, gateway=True, habits={"signer": version, "relay-1": version})
    report = simulate(4, faults=FaultPlan.none(), cluster=cluster, kinds=["valid"])
    assert report.kept, report.story()
    assert report.figures["asks"] == 1

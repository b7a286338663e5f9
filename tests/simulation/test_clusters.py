"""Clusters with several signers: each has a ledger of its own."""

from __future__ import annotations

import pytest

from icefloe.enrollment.model import RequestState
from icefloe.simulation import FaultPlan, Report, simulate
from icefloe.simulation.cluster import SIGNER, chain
from icefloe.simulation.faults import CrashPoint
from icefloe.simulation.promises import Promises
from icefloe.simulation.timeline import Timeline

KINDS = ("valid", "wrong", "approval", "declined", "renewal", "daemon-approval")


def live(kind: str, *, relays: int, signers: int, seed: int = 3) -> Report:
    cluster = chain(relays, signers=signers)
    return simulate(seed, faults=FaultPlan.none(), cluster=cluster, kinds=[kind])


def issued(report: Report) -> int:
    return sum("certificate issued" in line for line in report.trace)


@pytest.mark.parametrize("signers", [2, 3])
@pytest.mark.parametrize("relays", [0, 1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_where_nothing_goes_wrong_one_signer_signs_and_the_others_do_not(
    kind: str, relays: int, signers: int
) -> None:
    report = live(kind, relays=relays, signers=signers)
    assert report.kept, report.story()
    assert issued(report) == (0 if kind in {"wrong", "declined"} else 1)


def test_an_agent_of_ours_behind_two_signers_is_signed_once() -> None:
    """It used to ask every parent at once, and both of them signed."""
    report = live("agent-ticket", relays=0, signers=2)
    assert report.kept, report.story()
    assert issued(report) == 1


def test_two_signers_may_both_sign_when_one_dies_before_it_answers() -> None:
    """Promise 3 is each signer's own: what is surplus is written down at the relay."""
    base = live("valid", relays=1, signers=2)
    surplus = 0
    for name in (SIGNER, f"{SIGNER}-2"):
        for boundary in range(base.boundaries[name]):
            plan = FaultPlan(
                until=0.0,
                notice_late=0.0,
                crash_at=(CrashPoint(name, boundary, 3.0),),
            )
            cluster = chain(1, signers=2)
            report = simulate(3, faults=plan, cluster=cluster, kinds=["valid"])
            assert report.kept, f"{boundary}\n{report.story()}"
            assert report.figures["ended.signed"] == 1
            surplus += issued(report) == 2
    assert surplus


def judge() -> Promises:
    return Promises(Timeline(), lambda _cn, _ticket: False, "secret")


def test_a_certificate_that_no_signer_signed_is_seen() -> None:
    promises = judge()
    promises.a_signer_signed("somebody", "cn", "key", "ab")
    assert promises.violations[0].promise == "only_a_parent_changes_an_identity"


def test_a_request_has_reached_the_same_states_at_each_signer_of_a_zone() -> None:
    """What no parent could decide waits at every signer; one approval is enough."""
    report = live("approval", relays=1, signers=3)
    awaits = RequestState.AWAITING_APPROVAL.value
    assert report.figures[f"signer.received -> {awaits}"] == 3
    assert report.figures["decision.approval"] == 1

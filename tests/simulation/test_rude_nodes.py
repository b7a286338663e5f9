"""Rude nodes: whatever they send, nothing wrong is believed, and they are outlasted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from icefloe.doors import WallTime
from icefloe.enrollment.answers import Responder
from icefloe.enrollment.events import CallId, LinkId
from icefloe.enrollment.turn import Turn
from icefloe.pki.certificates import common_name, key_id
from icefloe.pki.errors import PKIError
from icefloe.pki.trust import verify_issued
from icefloe.simulation import FaultPlan, rude_child, simulate
from icefloe.simulation import rude as rudeness
from icefloe.simulation.cluster import chain
from icefloe.simulation.exercised import RUDENESS
from icefloe.simulation.identities import (
    authority,
    false_certificate,
    self_signed_identity,
)
from icefloe.simulation.report import Report
from icefloe.simulation.rude import LIES, MANNERS
from icefloe.simulation.timeline import WALL_START
from icefloe.wire.catalogue import CertificateResult

KINDS = ("valid", "approval", "daemon-ticket", "agent-ticket", "real-command-valid")
RUDE_SECONDS = 40.0


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_not_the_certificate_that_was_asked_for(lie: str) -> None:
    asked = self_signed_identity("agent", 300).certificate
    with pytest.raises(PKIError):
        verify_issued(
            false_certificate(asked, lie),
            cn=common_name(asked),
            key_id=key_id(asked),
            anchor=authority().anchor,
            at=WallTime(WALL_START),
        )


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("where", ["signer", "relay-1"])
def test_who_has_only_a_rude_parent_is_signed_when_it_stops(
    manner: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then nothing wrong is installed, handed out or recorded."""
    monkeypatch.setattr(rudeness, "MANNERS", {manner: MANNERS[manner]})
    plan = replace(FaultPlan.none(), until=RUDE_SECONDS)
    cluster = chain(1, rude=[where])
    for kind in KINDS:
        report = simulate(6, faults=plan, cluster=cluster, kinds=[kind])
        assert report.kept, report.story()
        assert report.figures["ended.signed"] == 1


def test_a_lying_parent_beside_a_good_one_is_passed_over() -> None:
    """Two signers, one of which lies: the other one's certificate is taken at once."""
    plan = replace(FaultPlan.none(), until=RUDE_SECONDS)
    cluster = chain(1, signers=2, rude=["signer"])
    for seed in range(10):
        report = simulate(seed, faults=plan, cluster=cluster, kinds=["agent-ticket"])
        assert report.kept, report.story()
        assert report.figures["ended.signed"] == 1


def test_a_rude_child_costs_nobody_their_answer() -> None:
    plan = replace(FaultPlan.none(), until=RUDE_SECONDS)
    cluster = chain(1, rude_children=["rude-child"])
    kinds = ["valid", "wrong", "approval", "corrected", "daemon-approval"]
    for seed in range(10):
        report = simulate(seed, faults=plan, cluster=cluster, kinds=kinds)
        assert report.kept, report.story()


ONE_ID_TWICE = {"one-id-twice": rude_child.CHILD_MANNERS["one-id-twice"]}


def live_with_one_id_twice(seed: int) -> Report:
    plan = replace(FaultPlan.none(), until=RUDE_SECONDS)
    cluster = chain(0, rude_children=["rude-child"])
    kinds = ["valid", "approval", "wrong"]
    return simulate(seed, faults=plan, cluster=cluster, kinds=kinds)


def test_two_calls_with_one_id_get_each_its_own_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seeds 3410, 3501 and 6629: the judge took the one's answer for the other's."""
    monkeypatch.setattr(rude_child, "CHILD_MANNERS", ONE_ID_TWICE)
    for seed in range(10):
        report = live_with_one_id_twice(seed)
        assert report.kept, report.story()


def test_an_answer_to_another_call_of_the_same_id_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing in the answer shows it; the judge goes by the call itself."""
    monkeypatch.setattr(rude_child, "CHILD_MANNERS", ONE_ID_TWICE)
    right = Responder._answer

    def mixed_up(
        self: Responder,
        turn: Turn,
        link: LinkId,
        call: CallId,
        result: CertificateResult,
    ) -> None:
        calls = [each.call for each in self._waiters.of_link(link)]
        same = [each for each in calls if each == call]
        right(self, turn, link, same[-1] if same else call, result)

    monkeypatch.setattr(Responder, "_answer", mixed_up)
    found = {
        violation.promise
        for seed in range(10)
        for violation in live_with_one_id_twice(seed).violations
    }
    assert "one_call_one_answer" in found


def test_every_manner_is_met_in_drawn_worlds_or_here() -> None:
    plan = replace(FaultPlan.none(), until=120.0)
    cluster = chain(1, rude=["relay-1"], rude_children=["rude-child"])
    met: set[str] = set()
    for seed in range(12):
        report = simulate(seed, faults=plan, cluster=cluster, kinds=["approval"] * 6)
        assert report.kept, report.story()
        met |= {name for name, count in report.figures.items() if count}
    assert set(RUDENESS) <= met


def test_a_rude_world_replays_exactly() -> None:
    plan = replace(FaultPlan.none(), until=60.0)
    cluster = chain(1, rude=["relay-1"], habits={"signer": "2.16.5"})
    one, other = (
        simulate(7, faults=plan, cluster=cluster, kinds=["valid", "real-agent-ticket"])
        for _ in range(2)
    )
    assert one.trace_hash == other.trace_hash

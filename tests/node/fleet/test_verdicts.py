from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from tests.node.fleet.rig import KINDS, Materials, Shows
from tests.node.tls.material import DAY, der, pem, self_signed

from icefloe.doors import WallTime
from icefloe.node.fleet.sightings import Cause, Presented, Unreached
from icefloe.node.fleet.states import Names, State
from icefloe.node.fleet.targets import Target
from icefloe.node.fleet.verdicts import Measure, Verdict, judge
from icefloe.pki.trust import TrustAnchor

NAME = "web1.example.org"
NOW = WallTime(time.time())


@pytest.fixture(scope="module")
def materials() -> Materials:
    return Materials()


def measure(materials: Materials | None = None, **changes: Any) -> Measure:
    anchor = None
    if materials is not None:
        crl = materials.crl() if materials.revoked else None
        anchor = TrustAnchor.from_pem(pem(materials.ca.certificate), crl)
    return Measure(**{"at": NOW, "anchor": anchor, **changes})


def judged(
    certificate: Any, by: Measure, *, name: str | None = NAME, chain: Any = ()
) -> Verdict:
    target = Target(label=NAME, host=NAME, name=name)
    sighting = Presented(leaf=der(certificate), chain=tuple(map(der, chain)))
    return judge(target, sighting, by)


def states(verdict: Verdict) -> list[State]:
    return [finding.state for finding in verdict.findings]


@pytest.mark.parametrize(
    "kind", [name for name, row in KINDS.items() if isinstance(row, Shows)]
)
def test_each_kind_of_certificate_has_its_state(
    materials: Materials, kind: str
) -> None:
    row = KINDS[kind]
    assert isinstance(row, Shows)
    node = row.make(materials, NAME)
    verdict = judged(node.certificate, measure(materials))
    assert verdict.state is row.state
    assert verdict.facts is not None
    assert verdict.detail or verdict.state is State.OK


@pytest.mark.parametrize("kind", ["good", "foreign", "strange"])
def test_without_a_ca_nobody_can_tell_ours_from_theirs(
    materials: Materials, kind: str
) -> None:
    row = KINDS[kind]
    assert isinstance(row, Shows)
    verdict = judged(row.make(materials, NAME).certificate, measure())
    assert verdict.state is State.UNJUDGED
    assert verdict.findings == ()


@pytest.mark.parametrize(
    "kind", ["stuck", "expired", "early", "cloned", "ending", "nameless"]
)
def test_without_a_ca_what_a_certificate_says_of_itself_still_counts(
    materials: Materials, kind: str
) -> None:
    row = KINDS[kind]
    assert isinstance(row, Shows)
    verdict = judged(row.make(materials, NAME).certificate, measure())
    assert verdict.state is row.state


def test_the_ca_that_signed_is_known_if_the_node_shows_it(
    materials: Materials,
) -> None:
    """All of Icinga's CAs have one name: only the certificate tells them apart."""
    ours = materials.issue(NAME).certificate
    theirs = materials.other.issue(NAME).certificate
    cas = (materials.other.certificate, materials.ca.certificate)
    first = judged(ours, measure(), chain=cas)
    second = judged(theirs, measure(), chain=cas)
    assert first.facts is not None
    assert second.facts is not None
    assert first.facts.issuer == second.facts.issuer
    assert first.facts.ca_fingerprint != second.facts.ca_fingerprint != ""


def test_a_ca_in_the_chain_that_did_not_sign_says_nothing(
    materials: Materials,
) -> None:
    ours = materials.issue(NAME).certificate
    verdict = judged(ours, measure(), chain=(materials.other.certificate,))
    assert verdict.facts is not None
    assert verdict.facts.ca_fingerprint == ""


def test_all_troubles_are_told_and_the_worst_names_the_state(
    materials: Materials,
) -> None:
    lost = materials.other.issue("other", ends=-DAY, starts=-9 * DAY).certificate
    verdict = judged(lost, measure(materials))
    assert states(verdict) == [State.FOREIGN_CA, State.EXPIRED, State.WRONG_NAME]
    assert verdict.state is State.FOREIGN_CA
    assert "expired on" in verdict.detail


def test_a_self_signed_certificate_that_expired_is_stuck_first() -> None:
    node = self_signed(NAME)
    later = WallTime(NOW + 4000 * 86400)
    verdict = judged(node.certificate, measure(at=later))
    assert states(verdict) == [State.SELF_SIGNED, State.EXPIRED]


@pytest.mark.parametrize(
    "left, days, state",
    [
        (31, 30, State.OK),
        (29, 30, State.EXPIRING),
        (29, 7, State.OK),
        (1, 0, State.OK),
        (300, 365, State.EXPIRING),
    ],
)
def test_how_early_expiring_begins_can_be_told(
    materials: Materials, left: int, days: int, state: State
) -> None:
    cert = materials.issue(NAME, ends=timedelta(days=left, hours=1)).certificate
    # Without the revocation list, which has an end of its own.
    anchor = TrustAnchor.from_pem(pem(materials.ca.certificate))
    by = Measure(at=WallTime(time.time()), anchor=anchor, days=days)
    assert judged(cert, by).state is state


@pytest.mark.parametrize(
    "cn, asked, names, state",
    [
        ("web1.example.org", "web1.example.org", Names.EXACT, State.UNJUDGED),
        ("web1.example.org", "web1", Names.EXACT, State.WRONG_NAME),
        ("web1.example.org", "web1", Names.SHORT, State.UNJUDGED),
        ("WEB1.example.org", "web1.other.org", Names.SHORT, State.UNJUDGED),
        ("web1.example.org", "web2", Names.SHORT, State.WRONG_NAME),
        ("web1.example.org", "WEB1.example.org", Names.EXACT, State.WRONG_NAME),
        ("web1.example.org", "web2", Names.ANY, State.UNJUDGED),
        ("web1.example.org", None, Names.EXACT, State.UNJUDGED),
    ],
)
def test_names_are_compared_as_asked(
    materials: Materials, cn: str, asked: str | None, names: Names, state: State
) -> None:
    cert = materials.issue(cn).certificate
    assert judged(cert, measure(names=names), name=asked).state is state


@pytest.mark.parametrize(
    "asked, hint",
    [("WEB1.example.org", "the case differs"), ("web1", "the short form")],
)
def test_a_near_miss_of_a_name_is_explained(
    materials: Materials, asked: str, hint: str
) -> None:
    cert = materials.issue("web1.example.org").certificate
    assert hint in judged(cert, measure(), name=asked).detail


def test_bytes_that_are_no_certificate_are_invalid() -> None:
    target = Target(label=NAME, host=NAME, name=NAME)
    for leaf in (b"", b"\x30\x00", b"-----BEGIN CERTIFICATE-----", None):
        verdict = judge(target, Presented(leaf=leaf), measure())
        assert verdict.state is State.INVALID
        assert verdict.facts is None


@pytest.mark.parametrize("cause", list(Cause))
def test_who_was_not_reached_keeps_the_cause(cause: Cause) -> None:
    target = Target(label=NAME, host=NAME, name=NAME)
    verdict = judge(target, Unreached(cause=cause, detail="why"), measure())
    assert (verdict.state, verdict.cause, verdict.detail) == (
        State.UNREACHABLE,
        cause,
        "why",
    )
    assert cause.words


def test_every_state_says_what_to_do() -> None:
    for state in State:
        assert bool(state.next_step) is (state is not State.OK)
    assert [state.rank for state in State] == list(range(len(State)))
    assert {state for state in State if state.is_well} == {State.OK, State.UNJUDGED}

"""Whether the peer of an open connection still stands where it stood."""

from __future__ import annotations

from dataclasses import replace

import pytest

from icefloe.cluster.peer import Peer, Standing, identify
from icefloe.cluster.standing import Change, change_of, changes, is_upstream, objections
from icefloe.cluster.zones import Endpoint, Zone, ZoneTree
from icefloe.doors import WallTime
from icefloe.pki.trust import TrustAnchor
from tests.enrollment.playbook import (
    DAY,
    START,
    anchor,
    der,
    issued_certificate,
    revoking,
    tree,
)

SATELLITE = issued_certificate("s1", 70, serial=70)
NOW = WallTime(START)


def zones(*parts: Zone, own: str = "m1") -> ZoneTree:
    names = {name for zone in parts for name in zone.endpoints}
    return ZoneTree(
        zones=list(parts), endpoints=[Endpoint(n) for n in names], node_name=own
    )


BEFORE = tree("m1")


def peer(name: str = "s1", *, verified: bool = True, before: ZoneTree = BEFORE) -> Peer:
    certificate = SATELLITE if name == "s1" else issued_certificate(name, 71, serial=71)
    return identify(
        tree=before,
        certificate_der=der(certificate),
        verified=verified,
        address="192.0.2.1:5665",
    )


def judged(
    who: Peer,
    *,
    before: ZoneTree = BEFORE,
    now: ZoneTree | None = BEFORE,
    trust: TrustAnchor | None = None,
    at: float = START,
) -> Change | None:
    return change_of(
        who, before=before, tree=now, anchor=trust or anchor(), at=WallTime(at)
    )


def test_nothing_changes_for_who_stands_as_before() -> None:
    assert judged(peer()) is None
    assert judged(peer(), trust=revoking()) is None, "a list that does not name it"


def test_a_revoked_member_has_to_go_and_the_log_says_when_it_was_revoked() -> None:
    change = judged(peer(), trust=revoking(SATELLITE))
    assert change is not None
    assert change.reason == "certificate-not-valid"
    assert "revoked" in change.detail


def test_a_member_of_another_ca_than_the_new_one_has_to_go() -> None:
    change = judged(peer(), trust=anchor(1))
    assert change is not None
    assert change.reason == "certificate-not-valid"


def test_a_certificate_that_ended_meanwhile_is_seen_at_a_reload() -> None:
    change = judged(peer(), at=START + 398 * DAY)
    assert change is not None
    assert "expired" in change.detail


@pytest.mark.parametrize("days", [901, -10])
def test_a_list_out_of_date_speaks_against_the_list_and_not_against_a_member(
    days: float,
) -> None:
    trust = revoking()
    long = issued_certificate("s1", 70, serial=70, days_left=2000)
    who = replace(peer(), certificate=der(long))
    at = WallTime(START + days * DAY)
    assert trust.problems(long, at), "no new connection with it is a member's"
    assert judged(who, trust=trust, at=at) is None


def test_a_list_out_of_date_still_names_whom_it_names() -> None:
    at = START + 901 * DAY
    long = issued_certificate("s1", 70, serial=70, days_left=2000)
    who = replace(peer(), certificate=der(long))
    change = judged(who, trust=revoking(long), at=at)
    assert change is not None
    assert "revoked" in change.detail


def test_an_endpoint_that_no_zone_has_any_more_has_to_go() -> None:
    change = judged(peer(), now=zones(Zone("master", ("m1",))))
    assert change is not None
    assert change.reason == "endpoint-removed"


def test_another_zone_or_another_relation_is_another_standing() -> None:
    same = zones(Zone("master", ("m1", "s1")))
    moved = zones(
        Zone("master", ("m1",)),
        Zone("mid", (), parent="master"),
        Zone("sat", ("s1",), parent="mid"),
    )
    for now in (same, moved):
        change = judged(peer(), now=now)
        assert change is not None
        assert change.reason == "standing-changed"


def test_a_peer_of_our_zone_is_a_parent_no_more_when_there_is_a_parent_zone() -> None:
    before = zones(Zone("sat", ("s1", "s2")), own="s2")
    after = zones(
        Zone("top", ("m1",)), Zone("sat", ("s1", "s2"), parent="top"), own="s2"
    )
    who = peer(before=before)
    assert is_upstream(who, before)
    assert not is_upstream(who, after)
    change = judged(who, before=before, now=after)
    assert change is not None
    assert change.reason == "standing-changed"


def test_a_verified_stranger_that_is_an_endpoint_now_comes_again_as_a_member() -> None:
    small = zones(Zone("master", ("m1",)))
    who = peer(before=small)
    assert who.standing is Standing.ANONYMOUS
    change = judged(who, before=small, now=BEFORE)
    assert change is not None
    assert change.reason == "standing-changed"
    assert judged(who, before=small, now=small) is None


def test_who_proved_nothing_has_nothing_to_lose() -> None:
    assert judged(peer(verified=False), trust=revoking(SATELLITE)) is None
    nobody = Peer(standing=Standing.ANONYMOUS, common_name=None)
    assert judged(nobody, now=None) is None


def test_a_node_that_trusts_nobody_any_more_keeps_nobody() -> None:
    assert change_of(peer(), before=BEFORE, tree=BEFORE, anchor=None, at=NOW)


def test_many_are_judged_and_only_those_who_have_to_go_are_named() -> None:
    found = changes(
        {1: peer(), 2: peer("o1")},
        before=BEFORE,
        tree=BEFORE,
        anchor=revoking(SATELLITE),
        at=NOW,
    )
    assert set(found) == {1}


def test_bytes_that_are_no_certificate_prove_nothing() -> None:
    assert objections(b"junk", anchor(), NOW)

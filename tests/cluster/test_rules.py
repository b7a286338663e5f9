"""Who may say what: the whole of it, enumerated."""

from __future__ import annotations

from dataclasses import replace

import pytest

from icefloe.cluster.peer import Peer
from icefloe.cluster.rules import (
    Treatment,
    concerns_enrollment,
    is_worth_holding,
    may_acknowledge,
    may_command,
    treat,
    treat_response,
)
from icefloe.cluster.states import Role
from icefloe.cluster.zones import Relation
from icefloe.wire.catalogue import KNOWN_METHODS
from tests.cluster.helpers import SETTINGS, member, stranger

LISTENER, DIALLER = Role.LISTENER, Role.DIALLER
OWN = "icefloe::Own"
EXTENDED = replace(SETTINGS, delivered_methods=SETTINGS.delivered_methods | {OWN})
PEERS = {
    **{relation.value: member(relation) for relation in Relation},
    "stranger": stranger(),
    "verified": stranger(verified=True),
}
MEMBERS = {relation.value for relation in Relation}
STRANGERS = {"stranger", "verified"}
EVERYBODY = MEMBERS | STRANGERS

# For each method, the peers it is accepted from when they dialled us, and when we
# dialled them; everybody else is denied.
ACCEPTED = {
    "icinga::Hello": (Treatment.SESSION, EVERYBODY, EVERYBODY),
    "event::Heartbeat": (Treatment.SESSION, EVERYBODY, EVERYBODY),
    "log::SetLogPosition": (Treatment.SESSION, MEMBERS, MEMBERS),
    "pki::RequestCertificate": (Treatment.DELIVER, EVERYBODY, EVERYBODY),
    "pki::UpdateCertificate": (
        Treatment.DELIVER,
        {"parent", "same-zone"},
        {"parent", "same-zone"} | STRANGERS,
    ),
    "event::ExecuteCommand": (
        Treatment.DELIVER,
        {"parent", "same-zone"},
        {"parent", "same-zone"},
    ),
    OWN: (Treatment.DELIVER, MEMBERS, EVERYBODY),
}


@pytest.mark.parametrize("who", PEERS)
@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("method", sorted({*KNOWN_METHODS, OWN, "made::Up", ""}))
def test_treatment_follows_from_method_peer_and_who_dialled(
    method: str, role: Role, who: str
) -> None:
    if method in ACCEPTED:
        treatment, when_listening, when_dialling = ACCEPTED[method]
        accepted = when_listening if role is LISTENER else when_dialling
        expected = treatment if who in accepted else Treatment.DENY
    else:
        known = method in KNOWN_METHODS
        expected = Treatment.COUNT if known else Treatment.UNKNOWN
    assert treat(method, peer=PEERS[who], role=role, settings=EXTENDED) is expected


def test_method_of_our_own_that_nobody_acts_on_is_unknown() -> None:
    verdict = treat(OWN, peer=member(), role=LISTENER, settings=SETTINGS)
    assert verdict is Treatment.UNKNOWN


def test_strangers_may_be_allowed_a_method_of_our_own() -> None:
    allowed = replace(EXTENDED, anonymous_methods=frozenset({OWN}))
    for method, expected in {
        OWN: Treatment.DELIVER,
        "pki::RequestCertificate": Treatment.DENY,
    }.items():
        verdict = treat(method, peer=stranger(), role=LISTENER, settings=allowed)
        assert verdict is expected


@pytest.mark.parametrize(
    "peer,role,expected",
    [
        (member(Relation.CHILD), LISTENER, Treatment.DELIVER),
        (member(Relation.PARENT), DIALLER, Treatment.DELIVER),
        (stranger(), DIALLER, Treatment.DELIVER),
        (stranger(), LISTENER, Treatment.DENY),
        (stranger(verified=True), LISTENER, Treatment.DENY),
    ],
)
def test_response_is_taken_from_those_we_may_have_asked(
    peer: Peer, role: Role, expected: Treatment
) -> None:
    assert treat_response(peer=peer, role=role) is expected


@pytest.mark.parametrize("who", PEERS)
def test_parents_and_peers_command_and_are_acknowledged_and_nobody_else(
    who: str,
) -> None:
    expected = who in {"parent", "same-zone"}
    assert may_command(PEERS[who]) is expected
    assert may_acknowledge(PEERS[who]) is expected


@pytest.mark.parametrize(
    "method,enrollment,worth",
    [
        ("pki::RequestCertificate", True, True),
        ("icefloe::Anything", True, True),
        ("event::ExecuteCommand", False, True),
        ("event::CheckResult", False, False),
        ("config::Update", False, False),
        ("", False, False),
    ],
)
def test_large_frames_are_held_for_enrollment_and_commands_only(
    method: str, *, enrollment: bool, worth: bool
) -> None:
    assert concerns_enrollment(method) is enrollment
    assert is_worth_holding(method) is worth
    assert not is_worth_holding(None)

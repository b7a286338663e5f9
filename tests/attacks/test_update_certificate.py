"""Who may replace a node's certificate and CA: a parent, when it was asked, and rightly.

GHSA-vj39-ww8j-vvx5 (Icinga 2.14.9, 2.15.4, 2.16.2): anybody who could open a connection
sent `pki::UpdateCertificate` and became the CA of the node. The check of the sender's
zone let a sender without a zone pass.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from tests.attacks.attacker import UPDATE, Identity, attack, cluster, issued, nobody
from tests.enrollment.playbook import (
    DAY,
    START,
    Bench,
    asks,
    issued_certificate,
    key,
    none_of,
    only,
    own_asks,
    relay,
    request_certificate,
    signer,
)
from tests.node.cluster import Authority
from tests.node.tls.joined import in_loop

from icefloe.cluster.zones import Relation
from icefloe.doors import WallTime
from icefloe.enrollment import commands as cmd
from icefloe.enrollment.model import RequestState
from icefloe.enrollment.settings import OwnIdentity
from icefloe.pki.certificates import fingerprint, load_pem, to_pem
from icefloe.pki.profiles import ca_certificate

WHO = ["nobody", "no-certificate", "self-signed-parent", "foreign-parent", "child",
       "cousin", "own-name", "no-endpoint"]  # fmt: skip


def identity_of(who: str, ours: Authority, foreign: Authority) -> Identity | None:
    """What the attacker shows in TLS."""
    if who == "no-certificate":
        return None
    if who in {"nobody", "self-signed-parent"}:
        return nobody("m1" if who == "self-signed-parent" else "stranger")
    if who == "foreign-parent":
        return issued(foreign, "m1")
    names = {"child": "agent", "cousin": "o1", "own-name": "s1", "no-endpoint": "ghost"}
    return issued(ours, names[who])


@pytest.mark.parametrize("who", WHO)
@in_loop
async def test_ghsa_vj39_nobody_but_a_parent_replaces_certificate_or_ca(
    tmp_path: Path, who: str
) -> None:
    """GHSA-vj39: a valid certificate for the victim's own key, of the attacker's CA.

    And one of the victim's own CA, which an attacker may hold who recorded it.
    """
    async with cluster(tmp_path) as victims:
        foreign = Authority()
        before = victims.identity_files()
        victim = victims.satellite.directories
        own = load_pem(victim.node_certificate("s1").read_bytes())
        key: Any = own.public_key()

        class _Public:
            def public_key(self) -> Any:
                return key

        public: Any = _Public()
        identity = identity_of(who, victims.ca, foreign)
        async with attack(victims.satellite.port, identity) as attacker:
            attacker.say("icinga::Hello", {"version": 21600, "capabilities": 3})
            for authority in (foreign, victims.ca):
                for call in ({}, {"id": "u"}):
                    params = {
                        "status_code": 0,
                        "cert": to_pem(authority.issue("s1", public)),
                        "ca": authority.pem,
                        "fingerprint_request": fingerprint(own),
                    }
                    attacker.say(UPDATE, params, **call)
            await attacker.ask(ticket="")
        assert victims.identity_files() == before
        assert not victims.satellite.logs.seen("own certificate received")
        assert not victims.satellite.task.done()


# -- what even a parent may not ---------------------------------------------------------


OWN = 5
FIT = issued_certificate("s1", OWN, serial=40)
WAITING = request_certificate("s1", OWN)
NEW = issued_certificate("s1", OWN, serial=41)


def satellite(certificate: x509.Certificate = WAITING) -> Bench:
    return relay(own=OwnIdentity(certificate=certificate, ticket="t"))


def unrelated_ca() -> x509.Certificate:
    return ca_certificate(
        key(9_777),
        serial=3,
        not_before=WallTime(START - DAY),
        not_after=WallTime(START + 3_000 * DAY),
    )


def test_a_parent_replaces_a_certificate_that_is_waited_for() -> None:
    """The measure of the refusals below: this is how it is meant to be."""
    bench = satellite()
    parent = bench.parent()
    assert own_asks(bench.said)
    ordered = bench.update(parent, NEW, request=fingerprint(WAITING))
    assert load_pem(only(cmd.InstallIdentity, ordered).certificate) == NEW


@pytest.mark.parametrize(
    "relation",
    [Relation.CHILD, Relation.DESCENDANT, Relation.SAME_ZONE, Relation.ANCESTOR,
     Relation.UNRELATED],
)  # fmt: skip
def test_ghsa_vj39_a_member_that_is_no_parent_replaces_nothing(
    relation: Relation,
) -> None:
    """GHSA-vj39: members are many, and most of them are somebody's agent."""
    bench = satellite()
    bench.parent()
    name = {"same-zone": "s2", "child": "agent"}.get(relation.value, "o1")
    link = bench.member(name, relation=relation, number=55)
    assert none_of(cmd.InstallIdentity, bench.update(link, NEW, request="ab"))


@pytest.mark.parametrize(
    "offer",
    [
        issued_certificate("s1", OWN + 1, serial=42),
        issued_certificate("m1", OWN, serial=43),
        issued_certificate("s1", OWN, serial=44, ca_number=1),
        issued_certificate("s1", OWN, serial=45, days_left=-1),
        request_certificate("s1", OWN, serial=46),
    ],
    ids=["another-key", "another-name", "another-CA", "expired", "self-signed"],
)
def test_ghsa_vj39_a_parent_installs_no_certificate_that_does_not_verify(
    offer: x509.Certificate,
) -> None:
    """GHSA-vj39: a hacked parent, or one that was given another CA."""
    bench = satellite()
    parent = bench.parent()
    for request in (fingerprint(WAITING), fingerprint(offer), "ab"):
        ordered = bench.update(parent, offer, request=request)
        assert none_of(cmd.InstallIdentity, ordered)


@pytest.mark.parametrize("given", ["unrelated", "junk", "leaf"])
def test_ghsa_vj39_a_parent_installs_no_ca_that_ours_does_not_vouch_for(
    given: str,
) -> None:
    """GHSA-vj39, and "received CA not validated": the CA came along unchecked."""
    bench = satellite()
    parent = bench.parent()
    ca_pem = {"unrelated": to_pem(unrelated_ca()), "junk": "x", "leaf": to_pem(FIT)}
    ordered = bench.update(parent, NEW, request="ab", ca_pem=ca_pem[given])
    assert none_of(cmd.InstallIdentity, ordered)


def test_a_parent_installs_nothing_that_nobody_asked_for() -> None:
    """An older certificate of ours, still valid, kept by a hacked parent."""
    bench = satellite(FIT)
    parent = bench.parent()
    assert own_asks(bench.said) == []
    older = issued_certificate("s1", OWN, serial=39, days_left=200)
    for offer in (older, NEW):
        ordered = bench.update(parent, offer, request=fingerprint(FIT))
        assert none_of(cmd.InstallIdentity, ordered)
        assert only(cmd.Log, ordered).event.startswith("own certificate was not asked")


def test_a_signer_takes_its_certificate_from_nobody() -> None:
    """A second master of the same zone is no parent of a node that signs."""
    bench = signer(own=OwnIdentity(certificate=request_certificate("m1", 6)))
    peer = bench.member("m2", relation=Relation.SAME_ZONE, number=61)
    new = issued_certificate("m1", 6, serial=47)
    assert none_of(cmd.InstallIdentity, bench.update(peer, new, request="ab"))


# -- other people's requests --------------------------------------------------------------


REQUESTED = request_certificate()
SIGNED = issued_certificate()


def test_an_update_for_no_request_of_ours_reaches_nobody() -> None:
    """A hacked parent guesses: only what was forwarded by its fingerprint counts."""
    bench = relay()
    parent = bench.parent()
    assert asks(bench.ask(bench.stranger(REQUESTED)))
    for guess in ("", "ab", fingerprint(SIGNED), fingerprint(WAITING)):
        ordered = bench.update(parent, SIGNED, request=guess)
        assert none_of(cmd.Answer, ordered)
        assert none_of(cmd.Push, ordered)
    assert bench.request().state is RequestState.FORWARDED


def test_an_update_from_a_parent_that_was_not_asked_is_not_passed_on() -> None:
    """A hacked second master, with what it once saw signed."""
    bench = relay()
    bench.parent("m1")
    assert asks(bench.ask(bench.stranger(REQUESTED)))
    other = bench.parent("m2")
    ordered = bench.update(other, SIGNED, request=fingerprint(REQUESTED))
    assert none_of(cmd.Answer, ordered)
    assert none_of(cmd.Push, ordered)
    assert bench.request().state is RequestState.FORWARDED


def test_an_update_from_a_child_is_not_passed_on_to_another() -> None:
    """A hacked agent answers the request of its neighbour."""
    bench = relay()
    bench.parent()
    only(cmd.Ask, bench.ask(bench.stranger(REQUESTED)))
    child = bench.member("agent", relation=Relation.CHILD, number=55)
    ordered = bench.update(child, SIGNED, request=fingerprint(REQUESTED))
    assert none_of(cmd.Answer, ordered)
    assert bench.request().state is RequestState.FORWARDED


@pytest.mark.parametrize(
    "offer",
    [
        issued_certificate("agent", 2),
        issued_certificate("other", 1),
        issued_certificate("agent", 1, ca_number=1),
        issued_certificate("agent", 1, days_left=-1),
    ],
    ids=["another-key", "another-name", "another-CA", "expired"],
)
def test_an_update_that_does_not_verify_reaches_no_requester(
    offer: x509.Certificate,
) -> None:
    """ "Signer does not notice CA mismatch" (not fixed in Icinga): a relay does."""
    bench = relay()
    parent = bench.parent()
    assert asks(bench.ask(bench.stranger(REQUESTED), given="a" * 40))
    ordered = bench.update(parent, offer, request=fingerprint(REQUESTED))
    assert none_of(cmd.Answer, ordered)
    assert none_of(cmd.Push, ordered)
    assert bench.ledger.certificate(bench.request().request_id) is None


def test_an_update_does_not_undo_an_administrators_no() -> None:
    """A parent signed what was declined here meanwhile."""
    bench = relay()
    parent = bench.parent()
    bench.ask(bench.stranger(REQUESTED))
    bench.remove(bench.request())
    ordered = bench.update(parent, SIGNED, request=fingerprint(REQUESTED))
    assert none_of(cmd.Answer, ordered)
    assert bench.request().state is RequestState.REMOVED


def test_a_signer_takes_no_signature_of_others() -> None:
    """Two masters: the other one pushes a certificate for what we are to decide."""
    bench = signer()
    bench.ask(bench.stranger(REQUESTED))
    peer = bench.member("m2", relation=Relation.SAME_ZONE, number=61)
    ordered = bench.update(peer, SIGNED, request=fingerprint(REQUESTED))
    assert none_of(cmd.Answer, ordered)
    assert bench.ledger.certificate(bench.request().request_id) is None


def test_an_update_does_not_become_a_known_key() -> None:
    """Else a hacked child would own a reserved name's "first key"."""
    bench = relay()
    bench.parent()
    child = bench.member("agent", relation=Relation.CHILD, number=55)
    bench.update(child, issued_certificate("m2", 99), request="ab")
    assert bench.ledger.known_key("m2") is None

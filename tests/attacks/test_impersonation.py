"""Being taken for somebody else: TLS that says yes too early, names that grant too much."""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from tests.attacks.attacker import (
    Identity,
    attack,
    client_context,
    cluster,
    issued,
    nobody,
)
from tests.cluster.helpers import SETTINGS, member, stranger
from tests.enrollment.playbook import (
    answers,
    issued_certificate,
    key,
    none_of,
    request_certificate,
    revoking,
    signer,
    ticket_for,
)
from tests.node.cluster import Authority, Zones, free_port, running, until, write_node
from tests.node.fake_parent import fake_parent, stays_silent
from tests.node.tls.joined import in_loop
from tests.node.tls.material import Authority as OtherAuthority

from icefloe.cluster.rules import Treatment, treat
from icefloe.cluster.states import Role
from icefloe.cluster.zones import Relation
from icefloe.doors import WallTime
from icefloe.enrollment import commands as cmd
from icefloe.enrollment.model import RequestState
from icefloe.node.tls.verdict import Verdict
from icefloe.pki.profiles import (
    assemble,
    leaf_tbs,
    sign_tbs,
)
from icefloe.storage.keys import generate_key

NOW = time.time()


def expired(ours: Authority, cn: str) -> Identity:
    key = generate_key()
    tbs = leaf_tbs(
        cn=cn,
        public_key=key.public_key(),
        issuer=ours.certificate,
        serial=77,
        not_before=WallTime(time.time() - 200),
        not_after=WallTime(time.time() - 20),
    )
    return Identity(assemble(tbs, sign_tbs(ours.key, tbs), ours.key.public_key()), key)


def twin(cn: str) -> Identity:
    """Of another CA that bears the name of ours."""
    return issued(Authority(), cn)


def tampered(ours: Authority, cn: str) -> Identity:
    """A certificate of ours for another name, with the name changed in its bytes."""
    key = generate_key()
    good = ours.issue("o" * len(cn), key)
    der = good.public_bytes(Encoding.DER)
    forged = der.replace(b"o" * len(cn), cn.encode())
    return Identity(x509.load_der_x509_certificate(forged), key)


# -- CVE-2024-49369 ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "who", ["self-signed", "another-ca-of-the-name", "expired", "tampered"]
)
@in_loop
async def test_cve_2024_49369_a_name_is_nobody_without_a_certificate_that_verifies(
    tmp_path: Path, who: str
) -> None:
    """CVE-2024-49369: the verdict began with "good" and was left so.

    The attacker names itself like the master and gives a command, and orders a check.
    """
    async with cluster(tmp_path) as victims:
        identity = {
            "self-signed": lambda: nobody("m1"),
            "another-ca-of-the-name": lambda: twin("m1"),
            "expired": lambda: expired(victims.ca, "m1"),
            "tampered": lambda: tampered(victims.ca, "m1"),
        }[who]()
        async with attack(victims.satellite.port, identity) as attacker:
            attacker.say("icinga::Hello", {})
            command = {"command": "x", "host": "h", "command_type": "check_command"}
            attacker.say("event::ExecuteCommand", command)
            attacker.say("log::SetLogPosition", {"log_position": NOW + 1e6})
            answer = await attacker.ask(ticket="")
            assert answer["status_code"] != 0
        methods = [message.get("method") for message in attacker.received]
        assert "event::CheckResult" not in methods
        # It has not taken the real master's place.
        assert victims.satellite.node is not None
        assert not victims.satellite.logs.seen("second connection closed")
        connected = [
            fields["standing"]
            for _, event, fields in victims.satellite.logs.events
            if event == "connected" and fields.get("peer") == "m1"
        ]
        assert connected.count("member") == 1


def test_cve_2024_49369_a_verdict_begins_with_no() -> None:
    """CVE-2024-49369: nothing seen is nothing proven."""
    assert not Verdict().chain_verified


@in_loop
async def test_cve_2024_49369_no_session_is_resumed(tmp_path: Path) -> None:
    """CVE-2024-49369: a resumed session skips the callback that verifies."""
    async with cluster(tmp_path) as victims:
        identity = issued(victims.ca, "agent")
        context = client_context(identity)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        sessions: list[Any] = []
        for _ in range(2):
            sock = socket.create_connection(("127.0.0.1", victims.satellite.port))
            sock.settimeout(None)
            earlier = sessions[0] if sessions else None

            def handshake(sock: Any = sock, earlier: Any = earlier) -> Any:
                with context.wrap_socket(sock, session=earlier) as tls:
                    return tls.session, tls.session_reused

            session, reused = await asyncio.to_thread(handshake)
            sessions.append(session)
            assert not reused


# -- #10415 ---------------------------------------------------------------------------------


@in_loop
async def test_10415_a_valid_certificate_without_an_endpoint_is_a_stranger(
    tmp_path: Path,
) -> None:
    """2.15.0 #10415: whoever once had a certificate stayed a member for ever."""
    async with cluster(tmp_path) as victims:
        ghost = issued(victims.ca, "ghost")
        posted = nobody("victim-of-a-forwarder")
        async with attack(victims.master.port, ghost) as attacker:
            attacker.say("event::ExecuteCommand", {"command": "x", "host": "h"})
            # Only a member may forward somebody else's renewal.
            theirs = issued(victims.ca, "agent")
            answer = await attacker.ask(cert_request=theirs.pem)
            assert answer["status_code"] == 1
        async with attack(victims.master.port, ghost) as attacker:
            answer = await attacker.ask(cert_request=posted.pem)
            assert answer["status_code"] == 2  # a stranger's request: a person decides
        attempts = victims.master.ledger.requests()
        assert {request.cn for request in attempts} == {"victim-of-a-forwarder"}
        standings = {
            fields["standing"]
            for _, event, fields in victims.master.logs.events
            if event == "connected" and fields.get("peer") == "ghost"
        }
        assert standings == {"anonymous"}


# -- CVE-2025-48057 -------------------------------------------------------------------------


@in_loop
async def test_cve_2025_48057_a_foreign_certificate_is_renewed_at_no_asking(
    tmp_path: Path,
) -> None:
    """CVE-2025-48057: verified a second time, a foreign certificate counted as ours.

    Shown in TLS, asked with again and again on one connection and on new ones, and
    posted through a child.
    """
    async with cluster(tmp_path) as victims:
        foreign = twin("agent")
        for _ in range(3):
            async with attack(victims.master.port, foreign) as attacker:
                answer = await attacker.ask()
                assert answer["status_code"] in {1, 2}
                assert not answer.get("cert")
        child = issued(victims.ca, "o1")
        async with attack(victims.master.port, child) as attacker:
            for number in range(3):
                params = {"cert_request": foreign.pem, "ticket": ""}
                attacker.say("pki::RequestCertificate", params, id=f"{number}")
            # Held for approval: what matters is that no certificate is made.
            await attacker.ask(cert_request="junk")
        ledger = victims.master.ledger
        for request in ledger.requests():
            assert ledger.certificate(request.request_id) is None


# -- CVE-2020-29663 -------------------------------------------------------------------------


@pytest.mark.parametrize("days_left", [10.0, 200.0], ids=["due", "not-due"])
@pytest.mark.parametrize("given", ["", ticket_for()], ids=["no-ticket", "ticket"])
@pytest.mark.parametrize("verified", [False, True])
def test_cve_2020_29663_a_revoked_certificate_is_not_renewed(
    days_left: float, given: str, *, verified: bool
) -> None:
    """CVE-2020-29663: the signing path did not look at the revocation list.

    Not even with the ticket, which lives for ever: a person has to decide.
    """
    revoked = issued_certificate(days_left=days_left)
    bench = signer(anchor=revoking(revoked))
    link = bench.stranger(revoked, verified=verified)
    bench.ask(link, given=given)
    bench.ask(bench.child("s1"), given=given, posting=revoked, call="forwarded")
    assert none_of(cmd.Sign, bench.said)
    assert all(
        bench.ledger.certificate(request.request_id) is None
        for request in bench.ledger.requests()
    )


def test_cve_2020_29663_the_key_of_a_revoked_certificate_does_not_come_back() -> None:
    """CVE-2020-29663's sequel: the thief makes a fresh request with the stolen key."""
    stolen = issued_certificate()
    bench = signer()
    bench.ask(bench.stranger(request_certificate()), given=ticket_for())
    signed = bench.ledger.certificate(bench.request().request_id)
    assert signed is not None
    revoked = x509.load_der_x509_certificate(signed.certificate)
    bench.core.reconfigure(signer(anchor=revoking(revoked, stolen)).settings, bench.now)
    bench.said.clear()
    bench.ask(
        bench.stranger(request_certificate(serial=9)), given=ticket_for(), call="again"
    )
    assert none_of(cmd.Sign, bench.said)
    assert bench.request().state is RequestState.AWAITING_APPROVAL


# -- GHSA-cxfm-8j5v-5qr2 --------------------------------------------------------------------


def test_ghsa_cxfm_a_node_gives_its_ticket_to_no_parent_that_does_not_verify(
    tmp_path: Path,
) -> None:
    """GHSA-cxfm-8j5v-5qr2: outgoing connections were not verified.

    Here the attacker sits where the parent is dialled, with a certificate of the right
    name and of another CA, and waits for the ticket.
    """
    with fake_parent(stays_silent, ca=OtherAuthority(), name="m1") as evil:

        @in_loop
        async def run() -> None:
            ca = Authority()
            zones = Zones(
                {
                    "master": (None, {"m1": evil.port}),
                    "sat": ("master", {"s1": free_port()}),
                }
            )
            waiting = nobody("s1")
            written = write_node(
                tmp_path,
                "s1",
                zones,
                dialled={"m1"},
                ca=ca,
                certificate=waiting.certificate,
                key=waiting.key,
                ticket="5ec7e7" * 6 + "aaaa",
            )
            async with running(written) as (node,):
                event = "parent or child not verified, treated as a stranger"
                await until(functools.partial(node.logs.seen, event), event, 15)
                # A child's request is not carried to it, either.
                async with attack(node.port, nobody("agent")) as child:
                    answer = await child.ask(ticket="b" * 40)
                    assert answer["status_code"] == 2

        run()
        assert evil.asked == []
        assert "5ec7e7" not in repr(evil.heard)


# -- power that a name gives ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["m1", "m2", "s1"])
def test_a_ticket_makes_no_second_master(name: str) -> None:
    """One ticket signs any number of keys; a reserved name's next key takes a person."""
    bench = signer()
    bench.ask(bench.stranger(request_certificate(name, 1)), given=ticket_for(name))
    bench.ask(
        bench.stranger(request_certificate(name, 2)), given=ticket_for(name), call="c2"
    )
    second = bench.request_for(request_certificate(name, 2))
    assert second.state is RequestState.AWAITING_APPROVAL


def test_a_hacked_satellite_forwards_for_its_own_subtree_only() -> None:
    """It holds tickets of its agents, and no others count through it."""
    bench = signer()
    bench.ask(
        bench.child("o1"), given=ticket_for("agent"), posting=request_certificate()
    )
    assert bench.request().state is RequestState.AWAITING_APPROVAL


def test_a_stranger_that_posts_another_nodes_certificate_renews_nothing() -> None:
    """ "No proof of possession for `cert_request`" (not fixed in Icinga)."""
    bench = signer()
    due = issued_certificate(days_left=10)
    ordered = bench.ask(bench.stranger(), posting=due)
    (result,) = answers(ordered)
    assert (result.status_code, result.reason) == (1, "no-possession")


def test_a_request_whose_self_signature_is_anothers_is_refused() -> None:
    """The name of a node, and a key that somebody else holds."""
    good = request_certificate()
    other = request_certificate(number=2)
    builder = (
        x509.CertificateBuilder()
        .subject_name(good.subject)
        .issuer_name(good.subject)
        .public_key(good.public_key())
        .serial_number(5)
        .not_valid_before(good.not_valid_before_utc)
        .not_valid_after(good.not_valid_after_utc)
    )
    forged = builder.sign(key(2), hashes.SHA256())
    assert forged.public_key() != other.public_key()
    bench = signer()
    (result,) = answers(bench.ask(bench.stranger(), given=ticket_for(), posting=forged))
    assert (result.status_code, result.reason) == (1, "bad-certificate")


def test_a_member_of_another_zone_commands_nothing() -> None:
    """Every cluster message is checked against the zone tree: see also test_rules."""
    peers = {relation: member(relation) for relation in Relation}
    for method in ("event::ExecuteCommand", "pki::UpdateCertificate"):
        accepted = {
            relation
            for relation, peer in peers.items()
            if treat(method, peer=peer, role=Role.LISTENER, settings=SETTINGS)
            is Treatment.DELIVER
        }
        assert accepted == {Relation.PARENT, Relation.SAME_ZONE}
        verdict_of_stranger = treat(
            method, peer=stranger(), role=Role.LISTENER, settings=SETTINGS
        )
        assert verdict_of_stranger is Treatment.DENY

"""What is asked for: which certificate, whose key, which request."""

from __future__ import annotations

import pytest
from cryptography import x509
from tests.enrollment.playbook import (
    DAY,
    START,
    Bench,
    ca,
    der,
    expiring_ca,
    issued_certificate,
    key,
    only,
    relay,
    renewed_ca,
    request_certificate,
    result_of,
    signer,
    ticket_for,
)
from tests.pki import makers

from icefloe.cluster.peer import Peer, Standing
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment import intake
from icefloe.pki.certificates import common_name, fingerprint, key_id, to_pem
from icefloe.pki.trust import TrustAnchor
from icefloe.wire.catalogue import CertificateResult, RequestCertificate


def posted(bench: Bench, certificate: x509.Certificate) -> CertificateResult:
    link = bench.stranger()
    return result_of(only(cmd.Answer, bench.ask(link, posting=certificate)))


def test_a_name_that_no_node_may_have_is_refused_as_such() -> None:
    result = posted(signer(), makers.certificate(subject="a,DNS:b"))
    assert (result.status_code, result.reason) == (1, "bad-name")
    assert "comma" in result.error


def test_a_certificate_in_the_message_goes_before_the_one_in_tls() -> None:
    """A daemon that forwards shows its own certificate in TLS."""
    bench = signer()
    link = bench.stranger(request_certificate("mine", 2))
    bench.ask(link, posting=request_certificate("other", 3))
    (request,) = bench.ledger.requests()
    assert request.cn == "other"


def test_what_tls_shows_may_be_unreadable() -> None:
    bench = signer()
    peer = Peer(
        standing=Standing.ANONYMOUS, common_name=None, certificate=b"junk", key_id="k"
    )
    bench.tell(ev.LinkUp(ev.LinkId(7), peer))
    asking = ev.CertificateAsked(ev.LinkId(7), ev.CallId(1), RequestCertificate())
    result = result_of(only(cmd.Answer, bench.tell(asking)))
    assert result.reason == "bad-certificate"


def test_what_only_the_cas_key_can_make_renews_nothing_when_it_is_posted() -> None:
    """Self-issued and yet signed by the CA: a leaf for the CA's own key."""
    own = makers.certificate(
        subject=common_name(ca()),
        key=key(9_000),
        start=START - 30 * DAY,
        end=START + 10 * DAY,
    )
    result = posted(signer(), own)
    assert (result.status_code, result.reason) == (1, "no-possession")


@pytest.mark.parametrize("shown", ["in TLS", "unreadable in TLS"])
def test_the_root_that_tls_shows_tells_whether_it_is_due(shown: str) -> None:
    """Real nodes say nothing of their root: they send it along in the handshake."""
    anchor = TrustAnchor.from_pem(to_pem(renewed_ca()))
    bench = signer(issuer=renewed_ca(), anchor=anchor)
    held = issued_certificate()
    peer = Peer(
        standing=Standing.ANONYMOUS,
        common_name="agent",
        certificate=der(held),
        key_id=key_id(held),
        presented_root=der(expiring_ca()) if shown == "in TLS" else b"junk",
    )
    bench.tell(ev.LinkUp(ev.LinkId(7), peer))
    answer = only(cmd.Answer, bench.ask(ev.LinkId(7)))
    assert result_of(answer).status_code == (0 if shown == "in TLS" else 1)


def test_a_chain_of_renewals_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "RENEWALS_MAX", 2)
    bench = signer()
    request = request_certificate()
    results = []
    for _ in range(3):
        link = bench.stranger(request)
        result = result_of(only(cmd.Answer, bench.ask(link, given=ticket_for())))
        bench.tell(ev.LinkDown(link))
        results.append(result)
        bench.pass_time(380 * DAY)
    assert [result.status_code for result in results] == [0, 0, 1]
    assert results[-1].reason == "limit"


def test_asking_again_is_the_same_attempt_with_a_newer_time() -> None:
    bench = relay()
    for _ in range(3):
        bench.ask(bench.stranger(request_certificate()), given=ticket_for())
        bench.pass_time(1)
    (attempt,) = bench.attempts()
    assert attempt.asked_at == START + 2
    assert attempt.fingerprint == fingerprint(request_certificate())

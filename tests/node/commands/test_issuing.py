"""Signing by hand goes the way of every certificate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from tests.pki.makers import AGENT, DAY, NOW, ec_key
from tests.storage.material import CA, CA_KEY, FOREIGN_CA, NEW_CA_KEY, CountingEntropy

from icefloe.doors import MonotonicTime, Now, WallTime
from icefloe.enrollment.administration import remove
from icefloe.enrollment.ledger import StoreRequest
from icefloe.enrollment.model import (
    DecisionKind,
    RequestRecord,
    RequestState,
    request_id,
)
from icefloe.node.commands import issuing
from icefloe.node.commands.issuing import IssuingRefused, issue
from icefloe.pki.canaries import CANARY_LIFETIME
from icefloe.pki.certificates import common_name, key_id, load_der
from icefloe.pki.profiles import sign_tbs
from icefloe.pki.trust import TrustAnchor
from icefloe.storage.authority import CertificateAuthority
from icefloe.storage.ledger import SQLiteLedger

AUTHORITY = CertificateAuthority(certificate=CA, key=CA_KEY)
PUBLIC_KEY = ec_key(40).public_key()
RID = request_id(cn=AGENT, key_id=key_id(PUBLIC_KEY), renews="")


ENTROPY = CountingEntropy()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SQLiteLedger]:
    with SQLiteLedger.open(tmp_path / "icefloe/ledger.sqlite") as opened:
        yield opened


def issued(
    ledger: SQLiteLedger, authority: CertificateAuthority = AUTHORITY, at: float = NOW
) -> bytes:
    certificate = issue(
        ledger,
        authority,
        cn=AGENT,
        public_key=PUBLIC_KEY,
        actor="operator",
        now=Now(wall=WallTime(at), mono=MonotonicTime(0.0)),
        entropy=ENTROPY,
    )
    return certificate.public_bytes(Encoding.DER)


def test_a_certificate_is_signed_and_everything_about_it_recorded(
    ledger: SQLiteLedger,
) -> None:
    der = issued(ledger)
    TrustAnchor(ca=CA, all_cas=(CA,)).verify(load_der(der), NOW)
    assert common_name(load_der(der)) == AGENT
    request, decision = ledger.request(RID), ledger.decision(RID)
    record, intent = ledger.certificate(RID), ledger.intent(RID)
    known = ledger.known_key(AGENT)
    assert request is not None
    assert request.state is RequestState.ISSUED
    assert decision is not None
    assert (decision.kind, decision.actor) == (DecisionKind.APPROVAL, "operator")
    assert record is not None
    assert record.certificate == der
    assert intent is not None
    assert intent.serial == record.serial
    assert known is not None
    assert known.key_id == key_id(PUBLIC_KEY)


def test_the_same_key_gets_the_same_certificate(ledger: SQLiteLedger) -> None:
    assert issued(ledger) == issued(ledger)


def test_a_key_whose_certificate_is_due_gets_another_one(ledger: SQLiteLedger) -> None:
    first = issued(ledger)
    second = issued(ledger, at=NOW + 80 * DAY)
    assert first != second
    assert issued(ledger, at=NOW + 80 * DAY) != first


def test_a_crash_before_the_signature_leads_to_the_same_certificate(
    ledger: SQLiteLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_args: object) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(issuing, "sign_tbs", dies)
        with pytest.raises(KeyboardInterrupt):
            issued(ledger)
    intent = ledger.intent(RID)
    assert intent is not None
    assert ledger.certificate(RID) is None
    assert intent.tbs in issued(ledger)


def test_a_daemon_that_was_faster_is_no_error(
    ledger: SQLiteLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took the intent up at its start and signed the same bytes."""
    others: list[bytes] = []

    def signs_twice(*args: Any) -> bytes:
        monkeypatch.undo()
        others.append(issued(ledger))
        return sign_tbs(*args)

    monkeypatch.setattr(issuing, "sign_tbs", signs_twice)
    assert [issued(ledger)] == others


def test_a_request_that_an_operator_removed_is_not_signed(ledger: SQLiteLedger) -> None:
    request = RequestRecord(
        request_id=RID,
        cn=AGENT,
        key_id=key_id(PUBLIC_KEY),
        renews="",
        state=RequestState.RECEIVED,
        created_at=NOW,
        updated_at=NOW,
    )
    ledger.begin()
    ledger.apply([StoreRequest(request)])
    ledger.apply(remove(request, actor="operator", at=NOW))
    ledger.commit()
    with pytest.raises(IssuingRefused, match="restore it first"):
        issued(ledger)


def test_an_intent_of_another_ca_key_is_not_signed(
    ledger: SQLiteLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_args: object) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(issuing, "sign_tbs", dies)
        with pytest.raises(KeyboardInterrupt):
            issued(ledger)
    other = CertificateAuthority(certificate=FOREIGN_CA, key=NEW_CA_KEY)
    with pytest.raises(IssuingRefused, match="another CA key"):
        issued(ledger, other)


def test_a_certificate_of_a_former_ca_is_not_given_out_again(
    ledger: SQLiteLedger,
) -> None:
    issued(ledger)
    other = CertificateAuthority(certificate=FOREIGN_CA, key=NEW_CA_KEY)
    der = issued(ledger, other)
    TrustAnchor(ca=FOREIGN_CA, all_cas=(FOREIGN_CA,)).verify(load_der(der), NOW)


def test_a_canary_signed_by_hand_ends_before_it_is_forgotten(
    ledger: SQLiteLedger,
) -> None:
    certificate = issue(
        ledger,
        AUTHORITY,
        cn="icefloe-canary-x",
        public_key=PUBLIC_KEY,
        actor="operator",
        now=Now(wall=WallTime(NOW), mono=MonotonicTime(0.0)),
        entropy=ENTROPY,
    )
    ends = certificate.not_valid_after_utc.timestamp()
    assert ends <= NOW + CANARY_LIFETIME
    assert ledger.known_key("icefloe-canary-x") is None

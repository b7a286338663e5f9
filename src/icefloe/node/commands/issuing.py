"""Signing by hand: `pki sign-csr`, and a master's own certificate.

The way of every certificate (promise 4) is kept: the decision and the intent are in
the ledger before there is a signature.  So a command that was killed is simply run
again and arrives at the same certificate, asking twice for one key gives one
certificate, and the daemon knows what the commands have signed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from icefloe.doors import Entropy, Now, WallTime
from icefloe.enrollment.ledger import (
    AddHop,
    LedgerWriter,
    RememberKey,
    StoreCertificate,
    StoreDecision,
    StoreIntent,
    StoreRequest,
    Write,
)
from icefloe.enrollment.model import (
    CertificateRecord,
    DecisionKind,
    DecisionRecord,
    HopRecord,
    IntentRecord,
    KnownKey,
    RequestRecord,
    RequestState,
    request_id,
    serial_text,
)
from icefloe.enrollment.reasons import HopDid
from icefloe.errors import IcefloeError
from icefloe.pki.canaries import is_canary, lifetime_for
from icefloe.pki.certificates import key_id, load_der
from icefloe.pki.keys import PublicKey
from icefloe.pki.profiles import (
    BACKDATE,
    SERIAL_BYTES,
    assemble,
    leaf_tbs,
    serial_from,
    sign_tbs,
)
from icefloe.pki.trust import TrustAnchor, up_to_date, verify_issued
from icefloe.storage.authority import CertificateAuthority

__all__ = ["IssuingRefused", "issue"]

_RENEWALS_MAX: Final = 200
"""As in the core: a key's chain of certificates grows by one a year."""


class IssuingRefused(IcefloeError):
    """The ledger says that this certificate is not to be signed; the text says why."""


def issue(
    ledger: LedgerWriter,
    authority: CertificateAuthority,
    *,
    cn: str,
    public_key: PublicKey,
    actor: str,
    now: Now,
    entropy: Entropy,
) -> x509.Certificate:
    """Sign a node's key, or return the certificate it already has.

    Args:
        ledger: Where decision, intent and certificate are recorded; open, outside a
            transaction.
        authority: The CA.
        cn: The node's name, as `check_common_name` lets it pass.
        public_key: The node's key; its owner has shown that he has it.
        actor: Who decides, for the record.
        now: The time.
        entropy: For the serial number.

    Returns:
        A certificate that verifies under the CA.

    Raises:
        IssuingRefused: An operator removed this request.
        PKIError: The CA has expired, or the name is the CA's own.
        LedgerUnavailableError: It could not be recorded; nothing was signed.
    """
    anchor = TrustAnchor(ca=authority.certificate, all_cas=(authority.certificate,))
    ledger.begin()
    try:
        record, known = _find(ledger, anchor, cn=cn, public_key=public_key, now=now)
        if known is not None:
            return known
        intent = ledger.intent(record.request_id)
        if intent is None:
            intent = _intend(record, authority, public_key, now, entropy)
            ledger.apply(_decided(ledger, record, intent, actor=actor, at=now.wall))
            ledger.commit()
    finally:
        ledger.rollback()
    if intent.ca_key_id != key_id(authority.certificate):
        raise IssuingRefused(
            f"the certificate of '{cn}' is to be signed by another CA key than the "
            "one that is here now; restore that one"
        )
    certificate = assemble(
        intent.tbs,
        sign_tbs(authority.key, intent.tbs),
        authority.key.public_key(),
    )
    verify_issued(certificate, cn=cn, key_id=record.key_id, anchor=anchor, at=now.wall)
    _record(ledger, record.request_id, certificate, actor=actor, at=now.wall)
    return certificate


def _find(
    ledger: LedgerWriter,
    anchor: TrustAnchor,
    *,
    cn: str,
    public_key: PublicKey,
    now: Now,
) -> tuple[RequestRecord, x509.Certificate | None]:
    """Return the request that is meant, and its certificate if that still serves."""
    own_key_id = key_id(public_key)
    renews = ""
    for _ in range(_RENEWALS_MAX):
        name = request_id(cn=cn, key_id=own_key_id, renews=renews)
        request = ledger.request(name)
        certificate = ledger.certificate(name)
        if request is None:
            fresh = RequestRecord(
                request_id=name,
                cn=cn,
                key_id=own_key_id,
                renews=renews,
                state=RequestState.RECEIVED,
                created_at=now.wall,
                updated_at=now.wall,
            )
            return fresh, None
        if certificate is None:
            if request.state is RequestState.REMOVED:
                raise IssuingRefused(
                    f"the request of '{cn}' with this key was removed by an operator; "
                    "restore it first ('ca restore')"
                )
            return request, None
        cert = load_der(certificate.certificate)
        if anchor.is_signed(cert, now.wall) and up_to_date(cert, now.wall):
            return request, cert
        renews = certificate.serial
    raise IssuingRefused(f"'{cn}' has been signed with this key too often")


def _intend(
    request: RequestRecord,
    authority: CertificateAuthority,
    public_key: PublicKey,
    now: Now,
    entropy: Entropy,
) -> IntentRecord:
    serial = serial_from(entropy.bytes(SERIAL_BYTES))
    tbs = leaf_tbs(
        cn=request.cn,
        public_key=public_key,
        issuer=authority.certificate,
        serial=serial,
        not_before=WallTime(now.wall - BACKDATE),
        not_after=WallTime(now.wall + lifetime_for(request.cn)),
    )
    return IntentRecord(
        request_id=request.request_id,
        serial=serial_text(serial),
        tbs=tbs,
        ca_key_id=key_id(authority.certificate),
        at=now.wall,
    )


def _decided(
    ledger: LedgerWriter,
    request: RequestRecord,
    intent: IntentRecord,
    *,
    actor: str,
    at: WallTime,
) -> list[Write]:
    """Record decision and intent; a decision that is there already stays."""
    writes: list[Write] = [
        StoreRequest(replace(request, state=RequestState.INTENDED, updated_at=at))
    ]
    if ledger.decision(request.request_id) is None:
        decision = DecisionRecord(
            request_id=request.request_id,
            kind=DecisionKind.APPROVAL,
            actor=actor,
            at=at,
            # Whoever has the CA key at hand needs nobody's leave.
            reserved=True,
        )
        writes.append(StoreDecision(decision))
    did = HopDid.APPROVED.value
    hop = HopRecord(request_id=request.request_id, node=actor, did=did, at=at)
    return [*writes, StoreIntent(intent), AddHop(hop)]


def _record(
    ledger: LedgerWriter,
    request_id: str,
    certificate: x509.Certificate,
    *,
    actor: str,
    at: WallTime,
) -> None:
    """Record the certificate, unless a daemon beside us was faster."""
    ledger.begin()
    try:
        request = ledger.request(request_id)
        assert request is not None, "it has an intent, so it is never forgotten"
        if request.state is not RequestState.INTENDED:
            return
        record = CertificateRecord(
            serial=serial_text(certificate.serial_number),
            request_id=request.request_id,
            certificate=certificate.public_bytes(Encoding.DER),
            source=actor,
            at=at,
        )
        key = KnownKey(cn=request.cn, key_id=request.key_id, how="issued", at=at)
        hop = HopRecord(
            request_id=request_id, node=actor, did=HopDid.SIGNED.value, at=at
        )
        issued = replace(request, state=RequestState.ISSUED, updated_at=at)
        writes: list[Write] = [StoreCertificate(record), StoreRequest(issued)]
        if not is_canary(request.cn):
            writes.append(RememberKey(key))
        ledger.apply([*writes, AddHop(hop)])
        ledger.commit()
    finally:
        ledger.rollback()

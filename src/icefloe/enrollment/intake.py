"""An asking arrives: which certificate, whose key, which request, which attempt.

Rules 0 to 2 of the life of a request (docs/architecture.md):

0. the presented certificate is ours, valid and not due: nothing to do;
1. a certificate for this request is known: answer with it now;
2. else record the attempt; signer or relay go on from there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from icefloe.enrollment.events import CertificateAsked
from icefloe.enrollment.links import LinkState
from icefloe.enrollment.model import (
    OPEN_ATTEMPT_STATES,
    AttemptRecord,
    AttemptState,
    CertificateRecord,
    Origin,
    Refusal,
    RequestRecord,
    RequestState,
    attempt_id,
    request_id,
    serial_text,
    ticket_digest,
)
from icefloe.enrollment.reasons import HopDid, Reason
from icefloe.enrollment.settings import EnrollmentSettings
from icefloe.enrollment.turn import Turn
from icefloe.pki.certificates import load_der, load_pem, to_pem
from icefloe.pki.errors import CommonNameInvalid, PKIError
from icefloe.pki.requests import PresentedCertificate, check_request_certificate
from icefloe.pki.trust import ca_due_for, up_to_date
from icefloe.wire.catalogue import RequestCertificate

# A renewal chain grows by one a year; longer ones are made by somebody.
RENEWALS_MAX = 200


class Turned(Exception):
    """The asking is answered at the door with a refusal."""

    def __init__(self, refusal: Refusal) -> None:
        """Carry the refusal."""
        super().__init__(refusal.reason)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class _Asking:
    """One asking and what it stands on."""

    turn: Turn
    settings: EnrollmentSettings
    link: LinkState
    params: RequestCertificate
    presented: PresentedCertificate
    origin: Origin

    @property
    def node_name(self) -> str:
        return self.settings.node_name


@dataclass(frozen=True, slots=True)
class Intake:
    """What an asking turned out to be.

    Attributes:
        known: the certificate that answers it at once (rule 1), if any.
        attempt: the recorded attempt (rule 2), if `known` is None.
    """

    request: RequestRecord
    fingerprint: str
    known: CertificateRecord | None
    attempt: AttemptRecord | None


def take_in(
    turn: Turn,
    settings: EnrollmentSettings,
    link: LinkState,
    event: CertificateAsked,
) -> Intake:
    """Apply rules 0 to 2 to an asking.

    Raises:
        Turned: it is refused, or there is nothing to do; nothing was recorded.
    """
    name = settings.node_name
    presented, origin = _presented(name, link, event.params)
    asking = _Asking(turn, settings, link, event.params, presented, origin)
    renews = _renews(asking)
    request, known, chain_end = _find(turn, settings, presented, renews)
    if known is not None and request is not None:
        return Intake(request, presented.fingerprint, known, None)
    if request is not None and request.state is RequestState.REMOVED:
        raise Turned(_declined(name, request))
    if request is None:
        request = _new_request(turn, settings, presented, chain_end)
    attempt = _record(asking, request)
    return Intake(request, presented.fingerprint, None, attempt)


def declined(node_name: str, request: RequestRecord) -> Refusal:
    """Word the refusal of a request that an administrator removed."""
    return _declined(node_name, request)


# -- which certificate ------------------------------------------------------------


def _presented(
    name: str, link: LinkState, params: RequestCertificate
) -> tuple[PresentedCertificate, Origin]:
    try:
        if params.cert_request:
            certificate = load_pem(params.cert_request)
        elif link.peer.certificate is not None:
            certificate = load_der(link.peer.certificate)
        else:
            text = f"{name} was shown no certificate to sign."
            raise Turned(_refusal(name, Reason.NO_CERTIFICATE, text))
        presented = check_request_certificate(certificate)
    except CommonNameInvalid as error:
        text = f"{name} refused the request: {error}"
        raise Turned(_refusal(name, Reason.BAD_NAME, text)) from error
    except PKIError as error:
        text = f"{name} refused the certificate in the request: {error}"
        raise Turned(_refusal(name, Reason.BAD_CERTIFICATE, text)) from error
    if presented.key_id == link.peer.key_id:
        return presented, Origin.DIRECT
    if link.member:
        return presented, Origin.RELAYED
    if not presented.self_issued:
        # Nothing shows who posts it: its self-signature cannot be checked.
        text = (
            f"{name} refused the request for '{presented.cn}': a certificate that "
            "is not self-signed must be presented by its owner."
        )
        raise Turned(_refusal(name, Reason.NO_POSSESSION, text))
    return presented, Origin.POSTED


def _renews(asking: _Asking) -> str:
    """Apply rule 0; return the serial to renew, or ""."""
    anchor, at = asking.settings.anchor, asking.turn.now.wall
    presented, name = asking.presented, asking.node_name
    certificate = presented.certificate
    if anchor is None or not anchor.is_signed(certificate, at):
        return ""
    root = _load_root(_requestor_ca(asking))
    if up_to_date(certificate, at) and not ca_due_for(root, anchor.ca, at):
        text = (
            f"The certificate of '{presented.cn}' and its CA certificate are "
            "valid and up to date: nothing to do."
        )
        raise Turned(_refusal(name, Reason.NOTHING_TO_DO, text))
    if asking.origin is Origin.POSTED:
        text = (
            f"{name} refused to renew the certificate of '{presented.cn}': "
            "it must be presented by its owner or forwarded by a member."
        )
        raise Turned(_refusal(name, Reason.NO_POSSESSION, text))
    return serial_text(certificate.serial_number)


def _requestor_ca(asking: _Asking) -> str:
    """The CA certificate the requester uses, PEM: as it says, or as it shows in TLS."""
    if asking.params.requestor_ca or asking.origin is not Origin.DIRECT:
        return asking.params.requestor_ca
    root = asking.link.peer.presented_root
    try:
        return to_pem(load_der(root)) if root is not None else ""
    except PKIError:
        return ""  # a root nobody can read says nothing


def _load_root(pem: str) -> x509.Certificate | None:
    try:
        return load_pem(pem) if pem else None
    except PKIError:
        return None


# -- which request -----------------------------------------------------------------


def _find(
    turn: Turn,
    settings: EnrollmentSettings,
    presented: PresentedCertificate,
    renews: str,
) -> tuple[RequestRecord | None, CertificateRecord | None, str]:
    """Follow the chain of a key's certificates to the request that is meant now.

    Returns:
        The request, if it exists; its certificate, if it can still be given
        out; and what the request renews.
    """
    for _ in range(RENEWALS_MAX):
        found = turn.request(
            request_id(cn=presented.cn, key_id=presented.key_id, renews=renews)
        )
        if found is None:
            return None, None, renews
        record = turn.certificate(found.request_id)
        if record is None:
            return found, None, renews
        if _can_be_given(turn, settings, record):
            return found, record, renews
        renews = record.serial
    name = settings.node_name
    text = f"{name} has signed '{presented.cn}' with this key too often."
    raise Turned(_refusal(name, Reason.LIMIT, text))


def _can_be_given(
    turn: Turn, settings: EnrollmentSettings, record: CertificateRecord
) -> bool:
    """Whether a known certificate is still valid, unrevoked, ours and not due."""
    anchor = settings.anchor
    certificate = x509.load_der_x509_certificate(record.certificate)
    return (
        anchor is not None
        and anchor.is_signed(certificate, turn.now.wall)
        and up_to_date(certificate, turn.now.wall)
    )


def _new_request(
    turn: Turn,
    settings: EnrollmentSettings,
    presented: PresentedCertificate,
    renews: str,
) -> RequestRecord:
    limits = settings.limits
    if turn.ledger.open_request_count() >= limits.open_requests_max:
        raise Turned(_full(settings.node_name))
    record = RequestRecord(
        request_id=request_id(cn=presented.cn, key_id=presented.key_id, renews=renews),
        cn=presented.cn,
        key_id=presented.key_id,
        renews=renews,
        state=RequestState.RECEIVED,
        created_at=turn.now.wall,
        updated_at=turn.now.wall,
    )
    turn.store_request(record)
    turn.add_hop(record.request_id, HopDid.RECEIVED)
    return record


# -- which attempt -----------------------------------------------------------------


def _record(asking: _Asking, request: RequestRecord) -> AttemptRecord:
    turn, params, presented = asking.turn, asking.params, asking.presented
    digest = ticket_digest(params.ticket)
    name = attempt_id(
        request_id=request.request_id,
        fingerprint=presented.fingerprint,
        digest=digest,
    )
    known = turn.attempt(name)
    if known is None:
        _make_room(turn, asking.settings, request)
        known = AttemptRecord(
            attempt_id=name,
            request_id=request.request_id,
            fingerprint=presented.fingerprint,
            certificate=presented.certificate.public_bytes(Encoding.DER),
            ticket=params.ticket,
            ticket_digest=digest,
            requestor_ca=_requestor_ca(asking),
            origin=asking.origin,
            via=asking.link.name,
            state=AttemptState.RECEIVED,
            asked_at=turn.now.wall,
        )
        return turn.store_attempt(known)
    # Asked again: a refusal is not replayed, the ticket is judged anew. What
    # the owner of the key proved once is not taken back by a stranger.
    proven = known.origin is Origin.DIRECT and asking.origin is not Origin.DIRECT
    again = replace(
        known,
        ticket=params.ticket,
        origin=known.origin if proven else asking.origin,
        via=known.via if proven else asking.link.name,
        asked_at=turn.now.wall,
        state=known.state
        if known.state in OPEN_ATTEMPT_STATES
        else AttemptState.RECEIVED,
        refusal=None,
    )
    return turn.store_attempt(again)


def _make_room(
    turn: Turn, settings: EnrollmentSettings, request: RequestRecord
) -> None:
    attempts = turn.attempts(request.request_id)
    if len(attempts) < settings.limits.attempts_max:
        return
    # Refused attempts make room first, then unproven ones; the owner's own
    # open attempt is never evicted for another's.
    for candidate in sorted(attempts, key=_worth):
        proven = candidate.origin is Origin.DIRECT
        if candidate.state is AttemptState.REFUSED or not proven:
            turn.forget_attempt(candidate)
            return
    raise Turned(_full(settings.node_name))


def _worth(attempt: AttemptRecord) -> tuple[bool, bool, float]:
    return (
        attempt.state is not AttemptState.REFUSED,
        attempt.origin is Origin.DIRECT,
        attempt.asked_at,
    )


# -- words ---------------------------------------------------------------------------


def _refusal(
    name: str, reason: Reason, text: str, retry_after: float | None = None
) -> Refusal:
    return Refusal(reason=reason.value, text=text, hop=name, retry_after=retry_after)


def _declined(name: str, request: RequestRecord) -> Refusal:
    text = (
        f"The certificate request for '{request.cn}' was declined by an "
        f"administrator on {name}. It can be restored there (ca restore)."
    )
    return _refusal(name, Reason.DECLINED, text)


def _full(name: str) -> Refusal:
    text = f"{name} keeps too many unfinished certificate requests; ask again later."
    return _refusal(name, Reason.LIMIT, text, retry_after=60.0)

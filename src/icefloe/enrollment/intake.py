"""An asking arrives: which certificate, whose key, which request, which attempt.

Rules 0 to 2 of the life of a request (docs/architecture.md):

0. the presented certificate is ours, valid, and neither due nor to be renewed early
   (`renewal`): nothing to do;
1. a certificate for this request is known: answer with it now;
2. else record the attempt; signer or relay go on from there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from icefloe.enrollment.crowding import is_full
from icefloe.enrollment.events import CertificateAsked
from icefloe.enrollment.failures import Asker
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
from icefloe.enrollment.quotas import Quotas
from icefloe.enrollment.reasons import HopDid, Reason
from icefloe.enrollment.renewal import is_wanted_early
from icefloe.enrollment.returning import may_come_back
from icefloe.enrollment.settings import EnrollmentSettings
from icefloe.enrollment.turn import Turn
from icefloe.pki.certificates import (
    common_name,
    key_id,
    load_der,
    load_pem,
    serial_number,
    to_pem,
)
from icefloe.pki.errors import CommonNameInvalid, PKIError
from icefloe.pki.requests import PresentedCertificate, check_request_certificate
from icefloe.pki.trust import ca_due_for, moment_for, up_to_date
from icefloe.wire.catalogue import RequestCertificate

# A renewal chain grows by one a year; longer ones are made by somebody.
RENEWALS_MAX = 200
# A ticket has 40 characters; a token of ours is not much longer.
TICKET_CHARS_MAX = 1024


_Encoded = TypeVar("_Encoded", str, bytes)


class Turned(Exception):
    """The asking is refused before anything of it is kept."""

    def __init__(self, refusal: Refusal, *, is_failure: bool = False) -> None:
        """Carry the refusal.

        Args:
            refusal: what is told.
            is_failure: it counts as a wrong ticket does: nobody who means well asks
                like that often.
        """
        super().__init__(refusal.reason)
        self.refusal = refusal
        self.is_failure = is_failure


@dataclass(frozen=True, slots=True)
class _Asking:
    """One asking and what it stands on."""

    turn: Turn
    settings: EnrollmentSettings
    link: LinkState
    params: RequestCertificate
    presented: PresentedCertificate
    origin: Origin
    asker: Asker
    quotas: Quotas
    is_awaited: Callable[[AttemptRecord], bool]

    @property
    def node_name(self) -> str:
        return self.settings.node_name


@dataclass(frozen=True, slots=True)
class Intake:
    """What an asking turned out to be.

    Attributes:
        found: the certificate that answers it at once (rule 1), or the attempt
            that was recorded (rule 2).
    """

    request: RequestRecord
    fingerprint: str
    found: CertificateRecord | AttemptRecord


def take_in(
    turn: Turn,
    settings: EnrollmentSettings,
    link: LinkState,
    event: CertificateAsked,
    *,
    asker: Asker,
    quotas: Quotas,
    refuse_name: Callable[[str], None],
    is_awaited: Callable[[AttemptRecord], bool],
) -> Intake:
    """Apply rules 0 to 2 to an asking.

    Args:
        turn: the working table.
        settings: what the node stands on.
        link: who asks.
        event: what is asked.
        asker: who asks, as limits count.
        quotas: who brought which request.
        refuse_name: raises `Turned` when no ticket for a name is looked at.
        is_awaited: whether somebody waits for an attempt; such a one is not
            evicted.

    Raises:
        Turned: it is refused, or there is nothing to do; nothing was recorded.
    """
    name = settings.node_name
    if len(event.params.ticket) > TICKET_CHARS_MAX:
        text = f"{name} refused the request: no ticket is that long."
        raise Turned(_refusal(name, Reason.WRONG_TICKET, text), is_failure=True)
    presented, origin = _presented(name, link, event.params)
    asking = _Asking(
        turn=turn,
        settings=settings,
        link=link,
        params=event.params,
        presented=presented,
        origin=origin,
        asker=asker,
        quotas=quotas,
        is_awaited=is_awaited,
    )
    renews = _renews(asking)
    _refuse_authority(settings, presented)
    request, known, chain_end = _find(turn, settings, presented, renews)
    if known is not None and request is not None:
        return Intake(request, presented.fingerprint, known)
    if request is not None and request.state is RequestState.REMOVED:
        raise Turned(_declined(name, request))
    if event.params.ticket:
        refuse_name(presented.cn)
    if request is None:
        request = _new_request(asking, chain_end)
    attempt = _record(asking, request)
    return Intake(request, presented.fingerprint, attempt)


def declined(node_name: str, request: RequestRecord) -> Refusal:
    """Word the refusal of a request that an administrator removed."""
    return _declined(node_name, request)


def full(node_name: str) -> Refusal:
    """Word the refusal of an attempt that there is no room for."""
    text = (
        f"{node_name} keeps too many unfinished certificate requests; ask again later."
    )
    return _refusal(node_name, Reason.LIMIT, text, retry_after=60.0)


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
        raise Turned(_refusal(name, Reason.BAD_NAME, text), is_failure=True) from error
    except PKIError as error:
        text = f"{name} refused the certificate in the request: {error}"
        raise Turned(
            _refusal(name, Reason.BAD_CERTIFICATE, text), is_failure=True
        ) from error
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
        raise Turned(_refusal(name, Reason.NO_POSSESSION, text), is_failure=True)
    return presented, Origin.POSTED


def _refuse_authority(
    settings: EnrollmentSettings, presented: PresentedCertificate
) -> None:
    """Refuse the CA's own name: a leaf of that name could not be told from the CA."""
    anchor = settings.anchor
    names = {common_name(ca) for ca in anchor.all_cas} if anchor is not None else set()
    if settings.issuer is not None:
        names.add(common_name(settings.issuer))
    if presented.cn in names:
        name = settings.node_name
        text = f"{name} refused the request: '{presented.cn}' is the name of the CA."
        raise Turned(_refusal(name, Reason.BAD_NAME, text))


def _renews(asking: _Asking) -> str:
    """Apply rule 0; return the serial to renew, or ""."""
    anchor, at = asking.settings.anchor, asking.turn.now.wall
    presented, name = asking.presented, asking.node_name
    certificate = presented.certificate
    if anchor is None:
        return ""
    if not anchor.is_signed(certificate, moment_for(certificate, at)):
        return _renews_expired(asking)
    root_due = ca_due_for(_requestor_ca(asking), anchor.ca, at)
    # A leaf issued under our CA certificate came with it: its owner has it.
    before_ca = certificate.not_valid_before_utc < anchor.ca.not_valid_before_utc
    is_wanted = is_wanted_early(certificate, asking.params.icefloe, at)
    if up_to_date(certificate, at) and not ((root_due and before_ca) or is_wanted):
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
    return serial_text(serial_number(certificate))


def _renews_expired(asking: _Asking) -> str:
    """Return the serial of an expired certificate that the policy renews, or ""."""
    certificate = asking.presented.certificate
    comes_back = may_come_back(
        asking.turn,
        asking.settings,
        cn=asking.presented.cn,
        certificate=certificate,
        origin=asking.origin,
    )
    return serial_text(serial_number(certificate)) if comes_back else ""


def _requestor_ca(asking: _Asking) -> x509.Certificate | None:
    """The CA certificate the requester uses, as it says or as it shows in TLS.

    Only one with a trusted CA's key says anything; what strangers make up could
    cause renewals without end, and would be stored.
    """
    anchor = asking.settings.anchor
    root = None
    if asking.params.requestor_ca:
        root = _load_root(load_pem, asking.params.requestor_ca)
    elif asking.origin is Origin.DIRECT and asking.link.peer.presented_root:
        root = _load_root(load_der, asking.link.peer.presented_root)
    if root is None or anchor is None:
        return None
    trusted = {key_id(ca) for ca in anchor.all_cas}
    return root if key_id(root) in trusted else None


def _load_root(
    load: Callable[[_Encoded], x509.Certificate], data: _Encoded
) -> x509.Certificate | None:
    try:
        return load(data)
    except PKIError:
        return None  # a root nobody can read says nothing


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
        and anchor.is_signed(certificate, moment_for(certificate, turn.now.wall))
        and up_to_date(certificate, turn.now.wall)
    )


def _new_request(asking: _Asking, renews: str) -> RequestRecord:
    turn, settings, presented = asking.turn, asking.settings, asking.presented
    # Where nobody looks at tickets, anything would do for one.
    looked_at = settings.checks_tickets or not settings.signs
    preferred = asking.link.member or (looked_at and bool(asking.params.ticket))
    if is_full(turn, settings.limits, preferred=preferred):
        raise Turned(full(settings.node_name))
    if asking.quotas.is_full(turn, asking.asker, settings.limits):
        raise Turned(_share_full(settings.node_name, asking.asker))
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
    asking.quotas.brought(asking.asker, record.request_id)
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
        _make_room(asking, request)
        root = _requestor_ca(asking)
        known = AttemptRecord(
            attempt_id=name,
            request_id=request.request_id,
            fingerprint=presented.fingerprint,
            certificate=presented.certificate.public_bytes(Encoding.DER),
            ticket=params.ticket,
            ticket_digest=digest,
            requestor_ca=to_pem(root) if root is not None else "",
            origin=asking.origin,
            via=asking.link.name,
            state=AttemptState.RECEIVED,
            asked_at=turn.now.wall,
        )
        return turn.store_attempt(known)
    # Asked again: a refusal is not replayed, the ticket is judged anew. What was
    # proven about it once is not taken back by a lesser asker.
    raised = _RANKS[asking.origin] >= _RANKS[known.origin]
    again = replace(
        known,
        ticket=params.ticket,
        origin=asking.origin if raised else known.origin,
        via=asking.link.name if raised else known.via,
        asked_at=turn.now.wall,
        state=known.state
        if known.state in OPEN_ATTEMPT_STATES
        else AttemptState.RECEIVED,
        refusal=None,
    )
    return turn.store_attempt(again)


def _make_room(asking: _Asking, request: RequestRecord) -> None:
    """Evict an attempt where there are too many.

    A stranger's source has a few places at one request, and only its own attempts
    make room for another one there. In all, refused ones go first, then lesser ones,
    then of the asker with the most for one certificate: whoever tries tickets with
    the owner's certificate meets his own attempts before the owner's. Never an open one
    that proves more than the newcomer, nor one that somebody waits for; unless a stranger
    does, and the newcomer has the key.
    """
    limits = asking.settings.limits
    attempts = asking.turn.attempts(request.request_id)
    own = [a for a in attempts if Asker.of_attempt(a).key == asking.asker.key]
    if not asking.asker.member and len(own) >= limits.attempts_per_source:
        _evict(asking, own)
    elif len(attempts) >= limits.attempts_max:
        _evict(asking, attempts)


def _evict(asking: _Asking, attempts: Sequence[AttemptRecord]) -> None:
    crowds = Counter(map(_crowd_of, attempts))

    def worth(attempt: AttemptRecord) -> tuple[bool, int, int, float]:
        return (
            attempt.state is not AttemptState.REFUSED,
            _RANKS[attempt.origin],
            -crowds[_crowd_of(attempt)],
            attempt.asked_at,
        )

    for candidate in sorted(attempts, key=worth):
        lesser = _RANKS[candidate.origin] <= _RANKS[asking.origin]
        refused = candidate.state is AttemptState.REFUSED
        if (refused or lesser) and not asking.is_awaited(candidate):
            asking.turn.forget_attempt(candidate)
            return
    if asking.origin is Origin.DIRECT:
        # Strangers who wait for their guesses must not keep the owner out.
        for candidate in sorted(attempts, key=worth):
            if candidate.origin is Origin.POSTED:
                asking.turn.forget_attempt(candidate)
                return
    # All of them are waited for: so many tickets at once for one certificate.
    raise Turned(full(asking.node_name), is_failure=not asking.asker.member)


def _crowd_of(attempt: AttemptRecord) -> tuple[str, str]:
    return Asker.of_attempt(attempt).key, attempt.fingerprint


_RANKS = {Origin.POSTED: 0, Origin.RELAYED: 1, Origin.DIRECT: 2}


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


def _share_full(name: str, asker: Asker) -> Refusal:
    text = (
        f"{name} keeps too many unfinished certificate requests from {asker.label}; "
        "ask again later."
    )
    return _refusal(name, Reason.LIMIT, text, retry_after=60.0)

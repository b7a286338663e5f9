"""Taking over what a real Icinga 2 left: its stored certificate requests.

They are imported into the ledger at start and left as they are, so that the
node can be given back to icinga2 at any time. A file that was imported is
known by its fingerprint and not imported again.
"""

from __future__ import annotations

from collections.abc import Iterator

from cryptography import x509

from icefloe.config.layout import NodeDirectories
from icefloe.doors import Now
from icefloe.enrollment.commands import Level
from icefloe.enrollment.ledger import (
    AddHop,
    Ledger,
    LedgerWriter,
    RememberKey,
    StoreAttempt,
    StoreCertificate,
    StoreDecision,
    StoreRequest,
    Write,
)
from icefloe.enrollment.model import (
    AttemptRecord,
    AttemptState,
    CertificateRecord,
    DecisionKind,
    DecisionRecord,
    HopRecord,
    KnownKey,
    Origin,
    RequestRecord,
    RequestState,
    attempt_id,
    request_id,
    serial_text,
    ticket_digest,
)
from icefloe.enrollment.reasons import HopDid
from icefloe.node.logs import Logger
from icefloe.pki.certificates import load_der, serial_number
from icefloe.pki.errors import PKIError
from icefloe.pki.requests import PresentedCertificate, check_request_certificate
from icefloe.storage.icinga_requests import IcingaRequest, read_icinga_requests

# Whose decision an imported answer or removal was, as far as we can know.
ACTOR = "icinga2"
BATCH = 500


def import_icinga_requests(
    directories: NodeDirectories, ledger: LedgerWriter, now: Now, log: Logger
) -> int:
    """Import what stands in `certificate-requests/` and is not known yet.

    Returns:
        How many requests were imported.

    Raises:
        LedgerUnavailableError: the ledger could not be written.
    """
    found = read_icinga_requests(directories.certificate_requests)
    for problem in found.problems:
        log.log(Level.WARNING, "request of icinga2 not imported", detail=str(problem))
    count = 0
    for start in range(0, len(found.requests), BATCH):
        ledger.begin()
        try:
            for imported in found.requests[start : start + BATCH]:
                writes = tuple(writes_for(ledger, imported, now))
                ledger.apply(writes)
                count += bool(writes)
            ledger.commit()
        except BaseException:
            ledger.rollback()
            raise
    if count:
        log.log(Level.INFO, "requests of icinga2 imported", count=count)
    return count


def writes_for(ledger: Ledger, imported: IcingaRequest, now: Now) -> Iterator[Write]:
    """Return the writes that record one request of Icinga's; none for a known one."""
    if ledger.attempts_by_fingerprint(imported.fingerprint):
        return
    try:
        presented = check_request_certificate(load_der(imported.certificate))
    except PKIError:
        return  # nothing we would sign or hand out
    renews = "" if presented.self_issued else _serial(presented.certificate)
    name = request_id(cn=presented.cn, key_id=presented.key_id, renews=renews)
    answer = _answer(imported, presented)
    if ledger.request(name) is None:
        if answer is not None and ledger.certificate_by_serial(_serial(answer)):
            return  # somebody else's serial number: not a certificate of ours
        yield from _request_writes(
            presented, imported, answer, name=name, renews=renews, now=now
        )
    state = AttemptState.RECEIVED if answer is None else AttemptState.SIGNED
    digest = ticket_digest(imported.ticket)
    attempt = attempt_id(
        request_id=name, fingerprint=imported.fingerprint, digest=digest
    )
    yield StoreAttempt(
        AttemptRecord(
            attempt_id=attempt,
            request_id=name,
            fingerprint=imported.fingerprint,
            certificate=imported.certificate,
            ticket=imported.ticket if answer is None else "",
            ticket_digest=digest,
            requestor_ca=imported.requestor_ca,
            origin=Origin.RELAYED,
            via=ACTOR,
            state=state,
            asked_at=imported.stored_at,
        )
    )


def _request_writes(
    presented: PresentedCertificate,
    imported: IcingaRequest,
    answer: x509.Certificate | None,
    *,
    name: str,
    renews: str,
    now: Now,
) -> Iterator[Write]:
    state = RequestState.RECEIVED
    if answer is not None:
        state = RequestState.ANSWERED
    elif imported.removed:
        state = RequestState.REMOVED
    yield StoreRequest(
        RequestRecord(
            request_id=name,
            cn=presented.cn,
            key_id=presented.key_id,
            renews=renews,
            state=state,
            created_at=imported.stored_at,
            updated_at=now.wall,
        )
    )
    hop = HopRecord(
        request_id=name, node=ACTOR, did=HopDid.RECEIVED.value, at=imported.stored_at
    )
    yield AddHop(hop)
    if state is RequestState.RECEIVED:
        return
    removed = state is RequestState.REMOVED
    yield StoreDecision(
        DecisionRecord(
            request_id=name,
            kind=DecisionKind.REMOVAL if removed else DecisionKind.APPROVAL,
            actor=ACTOR,
            at=imported.stored_at,
        )
    )
    if answer is not None and imported.answer is not None:
        key = KnownKey(
            cn=presented.cn,
            key_id=presented.key_id,
            how="issued",
            at=imported.stored_at,
        )
        yield RememberKey(key)
        yield StoreCertificate(
            CertificateRecord(
                serial=_serial(answer),
                request_id=name,
                certificate=imported.answer,
                source=ACTOR,
                at=imported.stored_at,
            )
        )


def _answer(
    imported: IcingaRequest, presented: PresentedCertificate
) -> x509.Certificate | None:
    """Return the stored certificate if it is for the presented key.

    Whether it still verifies is looked at when it is handed out.
    """
    if imported.answer is None:
        return None
    try:
        answer = load_der(imported.answer)
    except PKIError:
        return None
    same = answer.public_key() == presented.public_key
    return answer if same else None


def _serial(certificate: x509.Certificate) -> str:
    return serial_text(abs(serial_number(certificate)))

"""Records of the ledger as rows of SQLite, and back.

For each record: its columns as a SELECT to which a WHERE is added, a function to a
row in that order and one from it.
Rows hold str, bytes, float, int (for booleans) and None; enums are stored by value.
"""

from __future__ import annotations

from typing import Any

from icefloe.doors import WallTime
from icefloe.enrollment.model import (
    AttemptRecord,
    AttemptState,
    CertificateRecord,
    DecisionKind,
    DecisionRecord,
    HopRecord,
    IntentRecord,
    KnownKey,
    Origin,
    Refusal,
    RequestRecord,
    RequestState,
)

Row = tuple[Any, ...]
"""What sqlite3 takes and gives; its types follow from the schema."""

SELECT_REQUEST = """
    SELECT request_id, cn, key_id, renews, state, created_at, updated_at, note
    FROM requests
"""
SELECT_ATTEMPT = """
    SELECT attempt_id, request_id, fingerprint, certificate, ticket, ticket_digest,
        requestor_ca, origin, via, state, asked_at,
        refusal_reason, refusal_text, refusal_hop, refusal_retry_after
    FROM attempts
"""
SELECT_DECISION = """
    SELECT request_id, kind, actor, at, attempt_id, reserved FROM decisions
"""
SELECT_INTENT = "SELECT request_id, serial, tbs, ca_key_id, at FROM intents"
SELECT_CERTIFICATE = """
    SELECT serial, request_id, certificate, source, at, surplus FROM certificates
"""
SELECT_HOP = "SELECT request_id, node, did, at FROM hops"
SELECT_KNOWN_KEY = "SELECT cn, key_id, how, at FROM known_keys"


def bindable(row: Row) -> Row:
    """Return the row with text that is not valid Unicode as the bytes it stands for.

    sqlite3 takes no lone surrogates, and strangers may send them.
    """
    return tuple(_bytes_if_broken(v) if isinstance(v, str) else v for v in row)


def _bytes_if_broken(value: str) -> str | bytes:
    encoded = value.encode("utf-8", "surrogatepass")
    try:
        encoded.decode("utf-8")
    except UnicodeDecodeError:
        return encoded
    return value


def _text(value: str | bytes) -> str:
    """Undo `bindable` for text that came from outside."""
    if isinstance(value, str):
        return value
    return value.decode("utf-8", "surrogatepass")


def request_row(record: RequestRecord) -> Row:
    """Return the row of a request."""
    return (
        record.request_id,
        record.cn,
        record.key_id,
        record.renews,
        record.state.value,
        record.created_at,
        record.updated_at,
        record.note,
    )


def request_from(row: Row) -> RequestRecord:
    """Return the request of a row.

    Raises:
        ValueError: a value that Icefloe never wrote. So for the functions below.
    """
    request_id, cn, key_id, renews, state, created_at, updated_at, note = row
    return RequestRecord(
        request_id=_text(request_id),
        cn=_text(cn),
        key_id=_text(key_id),
        renews=_text(renews),
        state=RequestState(state),
        created_at=WallTime(created_at),
        updated_at=WallTime(updated_at),
        note=_text(note),
    )


def attempt_row(record: AttemptRecord) -> Row:
    """Return the row of an attempt."""
    refusal = record.refusal
    return (
        record.attempt_id,
        record.request_id,
        record.fingerprint,
        record.certificate,
        record.ticket,
        record.ticket_digest,
        record.requestor_ca,
        record.origin.value,
        record.via,
        record.state.value,
        record.asked_at,
        None if refusal is None else refusal.reason,
        None if refusal is None else refusal.text,
        None if refusal is None else refusal.hop,
        None if refusal is None else refusal.retry_after,
    )


def attempt_from(row: Row) -> AttemptRecord:
    """Return the attempt of a row."""
    *head, reason, text, hop, retry_after = row
    attempt_id, request_id, fingerprint, certificate, ticket, digest, *tail = head
    requestor_ca, origin, via, state, asked_at = tail
    refusal = None
    if reason is not None:
        refusal = Refusal(
            reason=_text(reason),
            text=_text(text),
            hop=_text(hop),
            retry_after=retry_after,
        )
    return AttemptRecord(
        attempt_id=_text(attempt_id),
        request_id=_text(request_id),
        fingerprint=_text(fingerprint),
        certificate=certificate,
        ticket=_text(ticket),
        ticket_digest=_text(digest),
        requestor_ca=_text(requestor_ca),
        origin=Origin(origin),
        via=_text(via),
        state=AttemptState(state),
        asked_at=WallTime(asked_at),
        refusal=refusal,
    )


def decision_row(record: DecisionRecord) -> Row:
    """Return the row of a decision."""
    return (
        record.request_id,
        record.kind.value,
        record.actor,
        record.at,
        record.attempt_id,
        int(record.reserved),
    )


def decision_from(row: Row) -> DecisionRecord:
    """Return the decision of a row."""
    request_id, kind, actor, at, attempt_id, reserved = row
    return DecisionRecord(
        request_id=_text(request_id),
        kind=DecisionKind(kind),
        actor=_text(actor),
        at=WallTime(at),
        attempt_id=_text(attempt_id),
        reserved=bool(reserved),
    )


def intent_row(record: IntentRecord) -> Row:
    """Return the row of an intent."""
    return (
        record.request_id,
        record.serial,
        record.tbs,
        record.ca_key_id,
        record.at,
    )


def intent_from(row: Row) -> IntentRecord:
    """Return the intent of a row."""
    request_id, serial, tbs, ca_key_id, at = row
    return IntentRecord(
        request_id=_text(request_id),
        serial=_text(serial),
        tbs=tbs,
        ca_key_id=_text(ca_key_id),
        at=WallTime(at),
    )


def certificate_row(record: CertificateRecord) -> Row:
    """Return the row of a certificate."""
    return (
        record.serial,
        record.request_id,
        record.certificate,
        record.source,
        record.at,
        int(record.surplus),
    )


def certificate_from(row: Row) -> CertificateRecord:
    """Return the certificate of a row."""
    serial, request_id, certificate, source, at, surplus = row
    return CertificateRecord(
        serial=_text(serial),
        request_id=_text(request_id),
        certificate=certificate,
        source=_text(source),
        at=WallTime(at),
        surplus=bool(surplus),
    )


def hop_row(record: HopRecord) -> Row:
    """Return the row of a hop."""
    return (record.request_id, record.node, record.did, record.at)


def hop_from(row: Row) -> HopRecord:
    """Return the hop of a row."""
    request_id, node, did, at = row
    return HopRecord(
        request_id=_text(request_id), node=_text(node), did=_text(did), at=WallTime(at)
    )


def known_key_row(record: KnownKey) -> Row:
    """Return the row of a known key."""
    return (record.cn, record.key_id, record.how, record.at)


def known_key_from(row: Row) -> KnownKey:
    """Return the known key of a row."""
    cn, key_id, how, at = row
    return KnownKey(cn=_text(cn), key_id=_text(key_id), how=_text(how), at=WallTime(at))

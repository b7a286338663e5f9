"""The writes of the core as SQL: one function per kind of write.

Each expects a transaction. What a write must not do is refused twice: by a look at
what is there, which can say which rule it would break, and by the constraints of
the schema, which no bug gets past.
"""

from __future__ import annotations

import sqlite3
from typing import assert_never

from icefloe.enrollment.ledger import (
    AbandonIntent,
    AddHop,
    ForgetAttempt,
    ForgetCanary,
    ForgetRequest,
    RememberKey,
    StoreAttempt,
    StoreCertificate,
    StoreDecision,
    StoreIntent,
    StoreRequest,
    WithdrawDecision,
    Write,
)
from icefloe.enrollment.ledger_conflict import (
    LedgerConflictError,
    LedgerRule,
    same_certificate,
)
from icefloe.enrollment.model import (
    AttemptRecord,
    CertificateRecord,
    IntentRecord,
    RequestRecord,
)
from icefloe.pki.canaries import is_canary
from icefloe.storage import ledger_rows as rows
from icefloe.storage.ledger_rows import Row, bindable

_STORE_REQUEST = """
    INSERT INTO requests (
        request_id, cn, key_id, renews, state, created_at, updated_at, note
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (request_id) DO UPDATE SET
        state = excluded.state,
        created_at = excluded.created_at,
        updated_at = excluded.updated_at,
        note = excluded.note
    WHERE cn = excluded.cn AND key_id = excluded.key_id AND renews = excluded.renews
"""
_STORE_ATTEMPT = """
    INSERT INTO attempts (
        attempt_id, request_id, fingerprint, certificate, ticket, ticket_digest,
        requestor_ca, origin, via, state, asked_at,
        refusal_reason, refusal_text, refusal_hop, refusal_retry_after
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (attempt_id) DO UPDATE SET
        certificate = excluded.certificate,
        ticket = excluded.ticket,
        ticket_digest = excluded.ticket_digest,
        requestor_ca = excluded.requestor_ca,
        origin = excluded.origin,
        via = excluded.via,
        state = excluded.state,
        asked_at = excluded.asked_at,
        refusal_reason = excluded.refusal_reason,
        refusal_text = excluded.refusal_text,
        refusal_hop = excluded.refusal_hop,
        refusal_retry_after = excluded.refusal_retry_after
    WHERE request_id = excluded.request_id AND fingerprint = excluded.fingerprint
"""
_STORE_DECISION = """
    INSERT INTO decisions (request_id, kind, actor, at, attempt_id, reserved)
    VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (request_id) DO UPDATE SET
        kind = excluded.kind,
        actor = excluded.actor,
        at = excluded.at,
        attempt_id = excluded.attempt_id,
        reserved = excluded.reserved
"""
_STORE_INTENT = """
    INSERT INTO intents (request_id, serial, tbs, ca_key_id, at)
    VALUES (?, ?, ?, ?, ?)
"""
_ABANDON_INTENT = "DELETE FROM intents WHERE request_id = ?"
_REOPEN_REQUEST = """
    INSERT OR IGNORE INTO open_requests
    SELECT request_id, coalesce(
        (SELECT max(asked_at) FROM attempts
         WHERE attempts.request_id = requests.request_id),
        created_at
    )
    FROM requests WHERE request_id = ?
"""
_STORE_CERTIFICATE = """
    INSERT INTO certificates (serial, request_id, certificate, source, at, surplus)
    VALUES (?, ?, ?, ?, ?, ?)
"""
_ADD_HOP = """
    INSERT INTO hops (request_id, node, did, at, position)
    SELECT ?, ?, ?, ?, coalesce(max(position), 0) + 1 FROM hops WHERE request_id = ?
"""
_REMEMBER_KEY = """
    INSERT INTO known_keys (cn, key_id, how, at) VALUES (?, ?, ?, ?)
    ON CONFLICT (cn) DO NOTHING
"""
_REPLACE_KEY = """
    INSERT INTO known_keys (cn, key_id, how, at) VALUES (?, ?, ?, ?)
    ON CONFLICT (cn) DO UPDATE
    SET key_id = excluded.key_id, how = excluded.how, at = excluded.at
"""
_SERIAL_OF_ANOTHER = """
    SELECT 1 FROM certificates WHERE serial = ? AND request_id <> ?
    UNION ALL SELECT 1 FROM intents WHERE serial = ? AND request_id <> ?
"""
_HAS_HISTORY = """
    SELECT 1 FROM intents WHERE request_id = ?
    UNION ALL SELECT 1 FROM certificates WHERE request_id = ?
"""
_WITHDRAW_DECISION = "DELETE FROM decisions WHERE request_id = ?"
_FORGET_ATTEMPT = "DELETE FROM attempts WHERE attempt_id = ?"
_FORGET_REQUEST = (
    # First, or the trigger on attempts would keep its age for nothing.
    "DELETE FROM open_requests WHERE request_id = ?",
    "DELETE FROM attempts WHERE request_id = ?",
    "DELETE FROM decisions WHERE request_id = ?",
    "DELETE FROM hops WHERE request_id = ?",
    "DELETE FROM requests WHERE request_id = ?",
)
_FORGET_HISTORY = (
    "DELETE FROM intents WHERE request_id = ?",
    "DELETE FROM certificates WHERE request_id = ?",
)
_HAS_REQUEST = "SELECT 1 FROM requests WHERE request_id = ?"
_HAS_INTENT = "SELECT 1 FROM intents WHERE request_id = ?"
_HAS_CERTIFICATE = "SELECT 1 FROM certificates WHERE request_id = ? AND surplus = 0"


def execute(
    connection: sqlite3.Connection, statement: str, values: Row
) -> sqlite3.Cursor:
    """Execute a statement with values that may be text of strangers.

    Raises:
        sqlite3.Error: as SQLite says.
    """
    try:
        return connection.execute(statement, values)
    except UnicodeEncodeError:
        return connection.execute(statement, bindable(values))


def write(  # noqa: C901 - one row an order
    connection: sqlite3.Connection, order: Write
) -> None:
    """Carry out one write inside a transaction.

    Raises:
        LedgerConflictError: it contradicts what is there.
        sqlite3.Error: SQLite failed.
    """
    match order:
        case StoreRequest(record=request):
            _store_request(connection, request)
        case StoreAttempt(record=attempt):
            _store_attempt(connection, attempt)
        case StoreDecision(record=decision):
            row = rows.decision_row(decision)
            _of_request(connection, _STORE_DECISION, row, decision.request_id)
        case WithdrawDecision(request_id=request_id):
            execute(connection, _WITHDRAW_DECISION, (request_id,))
        case StoreIntent(record=intent):
            _store_intent(connection, intent)
        case AbandonIntent(request_id=request_id):
            _abandon_intent(connection, request_id)
        case StoreCertificate(record=certificate):
            _store_certificate(connection, certificate)
        case AddHop(record=hop):
            row = (*rows.hop_row(hop), hop.request_id)
            _of_request(connection, _ADD_HOP, row, hop.request_id)
        case RememberKey(record=key, replaces=replaces):
            statement = _REPLACE_KEY if replaces else _REMEMBER_KEY
            execute(connection, statement, rows.known_key_row(key))
        case ForgetRequest(request_id=request_id):
            _forget_request(connection, request_id)
        case ForgetCanary(request_id=request_id):
            _forget_canary(connection, request_id)
        case ForgetAttempt(attempt_id=attempt_id):
            execute(connection, _FORGET_ATTEMPT, (attempt_id,))
        case _:
            assert_never(order)


def _store_request(connection: sqlite3.Connection, new: RequestRecord) -> None:
    done = execute(connection, _STORE_REQUEST, rows.request_row(new))
    if done.rowcount == 0:
        raise LedgerConflictError(LedgerRule.REQUEST_IS_FIXED, about=new.request_id)


def _store_attempt(connection: sqlite3.Connection, new: AttemptRecord) -> None:
    row = rows.attempt_row(new)
    done = _of_request(connection, _STORE_ATTEMPT, row, new.request_id)
    if done.rowcount == 0:
        raise LedgerConflictError(LedgerRule.ATTEMPT_IS_FIXED, about=new.attempt_id)


def _store_intent(connection: sqlite3.Connection, new: IntentRecord) -> None:
    _expect_request(connection, new.request_id)
    if _finds(connection, _HAS_INTENT, new.request_id):
        raise LedgerConflictError(LedgerRule.ONE_INTENT, about=new.request_id)
    _expect_free_serial(connection, new.serial, request_id=new.request_id)
    execute(connection, _STORE_INTENT, rows.intent_row(new))


def _abandon_intent(connection: sqlite3.Connection, request_id: str) -> None:
    if _finds(connection, _HAS_CERTIFICATE, request_id):
        raise LedgerConflictError(LedgerRule.HISTORY_IS_KEPT, about=request_id)
    execute(connection, _ABANDON_INTENT, (request_id,))
    execute(connection, _REOPEN_REQUEST, (request_id,))


def _store_certificate(connection: sqlite3.Connection, new: CertificateRecord) -> None:
    _expect_request(connection, new.request_id)
    _expect_free_serial(connection, new.serial, request_id=new.request_id)
    old = _find_certificate(connection, new.serial)
    if old is not None:
        if same_certificate(old, new):
            return
        raise LedgerConflictError(LedgerRule.SERIAL_IS_UNIQUE, about=new.serial)
    if not new.surplus and _finds(connection, _HAS_CERTIFICATE, new.request_id):
        raise LedgerConflictError(LedgerRule.ONE_CERTIFICATE, about=new.request_id)
    execute(connection, _STORE_CERTIFICATE, rows.certificate_row(new))


def _find_certificate(
    connection: sqlite3.Connection, serial: str
) -> CertificateRecord | None:
    statement = rows.SELECT_CERTIFICATE + "WHERE serial = ?"
    found = execute(connection, statement, (serial,)).fetchall()
    return rows.certificate_from(found[0]) if found else None


def _expect_request(connection: sqlite3.Connection, request_id: str) -> None:
    if not _finds(connection, _HAS_REQUEST, request_id):
        raise LedgerConflictError(LedgerRule.REQUEST_EXISTS, about=request_id)


def _expect_free_serial(
    connection: sqlite3.Connection, serial: str, *, request_id: str
) -> None:
    """Refuse a serial number that another request has, intended or issued."""
    if _finds(connection, _SERIAL_OF_ANOTHER, *(serial, request_id) * 2):
        raise LedgerConflictError(LedgerRule.SERIAL_IS_UNIQUE, about=serial)


def _forget_request(connection: sqlite3.Connection, request_id: str) -> None:
    if _finds(connection, _HAS_HISTORY, request_id, request_id):
        raise LedgerConflictError(LedgerRule.HISTORY_IS_KEPT, about=request_id)
    for statement in _FORGET_REQUEST:
        execute(connection, statement, (request_id,))


def _forget_canary(connection: sqlite3.Connection, request_id: str) -> None:
    statement = rows.SELECT_REQUEST + " WHERE request_id = ?"
    found = execute(connection, statement, (request_id,)).fetchall()
    if found and not is_canary(rows.request_from(found[0]).cn):
        raise LedgerConflictError(LedgerRule.CANARIES_ALONE, about=request_id)
    for forget in (*_FORGET_HISTORY, *_FORGET_REQUEST):
        execute(connection, forget, (request_id,))


def _of_request(
    connection: sqlite3.Connection, statement: str, row: Row, request_id: str
) -> sqlite3.Cursor:
    """Write a row that refers to a request, which must be there.

    Attempts, decisions and hops are written at every turn: here the foreign key
    looks, and not a statement of its own.
    """
    try:
        return execute(connection, statement, row)
    except sqlite3.IntegrityError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
            raise
        raise LedgerConflictError(
            LedgerRule.REQUEST_EXISTS, about=request_id
        ) from error


def _finds(connection: sqlite3.Connection, statement: str, *values: str) -> bool:
    return bool(execute(connection, statement, values).fetchall())

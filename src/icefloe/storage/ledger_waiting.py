"""The requests of a ledger that wait for something, read beside a running daemon.

Only reads, with one statement; works on a ledger of any version that this release may
use.
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from icefloe.doors import WallTime
from icefloe.enrollment.model import SETTLED_STATES, RequestState
from icefloe.storage.ledger_copies import open_for_reading
from icefloe.storage.ledger_errors import from_sqlite
from icefloe.storage.ledger_schema import check_schema

__all__ = ["WaitingRow", "read_waiting"]

ROWS_MAX: Final = 50_000
"""The most requests that are read, the oldest ones."""

_WAITING: Final = tuple(
    sorted(
        state.value
        for state in frozenset(RequestState) - SETTLED_STATES - {RequestState.REMOVED}
        | {RequestState.ISSUED, RequestState.ANSWERED}
    )
)
"""Without a certificate; or with one that nobody has fetched."""

_TOLD_NO: Final = (
    "(EXISTS (SELECT 1 FROM attempts WHERE attempts.request_id = requests.request_id)"
    " AND NOT EXISTS (SELECT 1 FROM attempts"
    " WHERE attempts.request_id = requests.request_id AND state <> 'refused'))"
)
"""Everybody who asked was refused, and told so: nobody waits."""

_OURS_TO_HAND_OUT: Final = (
    "EXISTS (SELECT 1 FROM attempts WHERE attempts.request_id = requests.request_id"
    " AND origin = 'direct' AND via <> cn)"
)
"""Its owner asked here, on a connection that ends when it has the answer. What a relay
took, what was signed by hand and what is our own never gets any further here than
issued or answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingRow:
    """One request.

    Attributes:
        cn: The name asked for.
        fingerprint: Hex SHA-256 of the certificate that was presented last; "" when
            there is none.
        state: Where it stands.
        created_at: When it first came.
        updated_at: When its state changed last.
        note: Why it waits, or "".
    """

    cn: str
    fingerprint: str
    state: RequestState
    created_at: WallTime
    updated_at: WallTime
    note: str


def read_waiting(path: Path) -> list[WaitingRow]:
    """Read what waits, the oldest first.

    Raises:
        SQLiteLedgerError: The ledger cannot be read; a later release's may be one.
    """
    marks = ", ".join("?" * len(_WAITING))
    statement = (
        "SELECT cn, state, created_at, updated_at, note, coalesce((SELECT fingerprint"
        " FROM attempts WHERE attempts.request_id = requests.request_id"
        " ORDER BY asked_at DESC, attempt_id DESC LIMIT 1), '')"
        f" FROM requests WHERE state IN ({marks})"
        " AND CASE WHEN state IN ('issued', 'answered')"
        f" THEN {_OURS_TO_HAND_OUT} ELSE state NOT IN ('received', 'forwarded')"
        f" OR NOT {_TOLD_NO} END"
        " ORDER BY created_at, request_id LIMIT ?"
    )
    try:
        with contextlib.closing(open_for_reading(path)) as connection:
            check_schema(connection, path)
            rows = connection.execute(statement, (*_WAITING, ROWS_MAX)).fetchall()
    except sqlite3.Error as error:
        raise from_sqlite(error, path=path, doing="read it") from error
    return [
        WaitingRow(
            cn=_text(cn),
            fingerprint=_text(fingerprint),
            state=RequestState(_text(state)),
            created_at=WallTime(created_at),
            updated_at=WallTime(updated_at),
            note=_text(note),
        )
        for cn, state, created_at, updated_at, note, fingerprint in rows
    ]


def _text(value: str | bytes) -> str:
    # What is no valid Unicode is kept as bytes (`ledger_schema`).
    return value if isinstance(value, str) else value.decode(errors="replace")

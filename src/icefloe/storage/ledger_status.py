"""How a ledger stands, for `icefloe ledger status`. Changes nothing.

Works beside a running daemon, and on a ledger of any version: what a later release
wrote is described as far as this one can.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from icefloe.storage.ledger_copies import (
    Copy,
    integrity_faults,
    list_copies,
    open_for_reading,
    size_of,
)
from icefloe.storage.ledger_errors import (
    LedgerProblem,
    LedgerTooNewError,
    SQLiteLedgerError,
    from_sqlite,
)
from icefloe.storage.ledger_schema import LEDGER_SCHEMA, Schema, check_schema
from icefloe.storage.ledger_upgrade import Upgrade

TABLES: Final = (
    "requests",
    "attempts",
    "decisions",
    "intents",
    "certificates",
    "hops",
    "known_keys",
    "open_requests",
)
"""Those of schema version 1; later ones have them too."""


@dataclass(frozen=True, slots=True)
class LedgerStatus:
    """What stands where.

    Attributes:
        path: the ledger's file.
        version: its schema version.
        opens_from: the oldest schema version whose release may use it.
        known_version: the schema version that this release writes.
        usable: whether this release can use it.
        upgrade: what the daemon would do at its next start; None for nothing.
        size_bytes: the file's length.
        log_bytes: that of its write-ahead log.
        rows: how many rows each table has.
        faults: what SQLite's quick check found; empty when the ledger is whole.
        copies: those kept beside it, the latest first.
    """

    path: Path
    version: int
    opens_from: int
    known_version: int
    usable: bool
    upgrade: Upgrade | None
    size_bytes: int
    log_bytes: int
    rows: Mapping[str, int] = field(repr=False)
    faults: tuple[str, ...]
    copies: tuple[Copy, ...]


def ledger_status(path: Path, schema: Schema = LEDGER_SCHEMA) -> LedgerStatus:
    """Look at a ledger.

    Raises:
        SQLiteLedgerError: There is none, or it cannot be read at all.
    """
    doing = "look at it"
    if size_of(path) == 0:
        raise SQLiteLedgerError(LedgerProblem.MISSING, path=path, doing=doing)
    try:
        with contextlib.closing(open_for_reading(path)) as connection:
            connection.execute("BEGIN")
            version, opens_from, usable = _schema_of(connection, path, schema)
            faults = integrity_faults(connection)
            rows = {} if faults else _count(connection)
    except sqlite3.Error as error:
        raise from_sqlite(error, path=path, doing=doing) from error
    return LedgerStatus(
        path=path,
        version=version,
        opens_from=opens_from,
        known_version=schema.version,
        usable=usable,
        upgrade=_upgrade(version, schema),
        size_bytes=size_of(path),
        log_bytes=size_of(path.with_name(path.name + "-wal")),
        rows=rows,
        faults=tuple(faults),
        copies=list_copies(path),
    )


def _schema_of(
    connection: sqlite3.Connection, path: Path, schema: Schema
) -> tuple[int, int, bool]:
    try:
        found = check_schema(connection, path, schema)
    except LedgerTooNewError as error:
        return error.found, error.opens_from, False
    return found.version, found.opens_from, True


def _upgrade(version: int, schema: Schema) -> Upgrade | None:
    if not 0 < version < schema.version:
        return None
    return Upgrade(schema.stamp_after(version), schema.stamp)


def _count(connection: sqlite3.Connection) -> dict[str, int]:
    return {
        table: int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
        for table in TABLES
    }

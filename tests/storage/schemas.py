"""Schemas of releases that do not exist: the next one, and one from before."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from icefloe.storage.ledger_copies import open_for_reading
from icefloe.storage.ledger_schema import LEDGER_SCHEMA, Migration, Schema
from icefloe.storage.ledger_status import TABLES

DATA = Path(__file__).parent / "data"

_NEXT = LEDGER_SCHEMA.version + 1

ADDITIVE = Schema(
    (
        *LEDGER_SCHEMA.migrations,
        Migration(
            (
                "ALTER TABLE attempts ADD COLUMN shoe_size INTEGER NOT NULL DEFAULT 43",
                "CREATE INDEX attempts_by_shoe_size ON attempts (shoe_size)",
                "CREATE TABLE shoes (size INTEGER NOT NULL PRIMARY KEY)",
                "INSERT INTO shoes SELECT DISTINCT shoe_size FROM attempts",
            ),
            opens_from=LEDGER_SCHEMA.stamp.opens_from,
        ),
    )
)
"""The next release only adds: this one opens what it leaves."""

BREAKING = Schema(
    (
        *LEDGER_SCHEMA.migrations,
        Migration(
            (
                "ALTER TABLE hops RENAME COLUMN did TO done",
                "UPDATE hops SET done = upper(done)",
                "CREATE TABLE shoes (size INTEGER NOT NULL PRIMARY KEY)",
            ),
            opens_from=_NEXT,
        ),
    )
)
"""The next release changes what is there: this one must not open it."""


def old_ledger(path: Path, *, version: int = 1) -> Path:
    """Make the ledger that an earlier release has left; see the dump's first lines."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.touch(mode=0o600)
    script = (DATA / f"ledger-schema-{version}.sql").read_text(encoding="utf-8")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    return path


def rows_of(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return every row of every table of schema version 1, in the columns it had."""
    with contextlib.closing(open_for_reading(path)) as connection:
        return {table: _rows(connection, table) for table in TABLES}


def _rows(connection: sqlite3.Connection, table: str) -> list[tuple[object, ...]]:
    found = connection.execute(f"SELECT * FROM {table}").fetchall()
    if table == "hops":
        found = [(*row[:3], str(row[3]).lower(), row[4]) for row in found]
    if table == "attempts":
        found = [row[:15] for row in found]
    return sorted(found, key=repr)

"""The tables of the ledger on SQLite, and how an older ledger becomes a newer one.

A migration that was ever released is never changed: a new one is added behind it.

Going back. `PRAGMA user_version` holds two numbers, the `Stamp`: how many migrations
the file has seen, and the oldest schema version whose release may still use it. A
migration that only adds (an index, a table, a column with a default) keeps the second
one as it was, and an older release opens what a newer one has made of its ledger. One
that changes or removes what is there raises it to itself. Both numbers change in the
transaction of the migration. What an operator does to return is in `ledger_restore`;
the copy kept before the first step is `ledger_upgrade`'s.

Statements that are not obvious:

* `open_requests` is derived: one row per request with neither an intent nor a
  certificate, with the time it was last asked for. The limits on strangers are
  checked against it at every new request, so it must be cheap to count and to
  read by age. Triggers keep it, whoever writes.
* Text columns hold text, except that text which is not valid Unicode (half of a
  surrogate pair in a JSON string from a stranger) is kept as a BLOB of its bytes:
  what was stored is read back, and a bad ticket fails as a ticket.
* Nothing newer than SQLite 3.24 (UPSERT) is used; RHEL 9 has 3.34.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from icefloe.storage.ledger_errors import (
    LedgerProblem,
    LedgerTooNewError,
    SQLiteLedgerError,
)

# "ICEF": says to `file` and to us whose database it is.
APPLICATION_ID = 0x49434546

_FIRST = (
    """
    CREATE TABLE requests (
        request_id TEXT NOT NULL PRIMARY KEY,
        cn TEXT NOT NULL,
        key_id TEXT NOT NULL,
        renews TEXT NOT NULL,
        state TEXT NOT NULL,
        created_at REAL NOT NULL,
        updated_at REAL NOT NULL,
        note TEXT NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX requests_by_age ON requests (created_at, request_id)",
    "CREATE INDEX requests_by_state ON requests (state, created_at, request_id)",
    """
    CREATE TABLE attempts (
        attempt_id TEXT NOT NULL PRIMARY KEY,
        request_id TEXT NOT NULL REFERENCES requests,
        fingerprint TEXT NOT NULL,
        ticket TEXT NOT NULL,
        ticket_digest TEXT NOT NULL,
        origin TEXT NOT NULL,
        via TEXT NOT NULL,
        state TEXT NOT NULL,
        asked_at REAL NOT NULL,
        refusal_reason TEXT,
        refusal_text TEXT,
        refusal_hop TEXT,
        refusal_retry_after REAL,
        requestor_ca TEXT NOT NULL,
        certificate BLOB NOT NULL
    )
    """,
    "CREATE INDEX attempts_of_request ON attempts (request_id, asked_at, attempt_id)",
    """
    CREATE INDEX attempts_with_certificate
    ON attempts (fingerprint, asked_at, attempt_id)
    """,
    """
    CREATE INDEX attempts_open ON attempts (asked_at, attempt_id)
    WHERE state IN ('received', 'forwarded', 'pending')
    """,
    """
    CREATE TABLE decisions (
        request_id TEXT NOT NULL PRIMARY KEY REFERENCES requests,
        kind TEXT NOT NULL,
        actor TEXT NOT NULL,
        at REAL NOT NULL,
        attempt_id TEXT NOT NULL,
        reserved INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE intents (
        request_id TEXT NOT NULL PRIMARY KEY REFERENCES requests,
        serial TEXT NOT NULL UNIQUE,
        ca_key_id TEXT NOT NULL,
        at REAL NOT NULL,
        tbs BLOB NOT NULL
    )
    """,
    """
    CREATE TABLE certificates (
        serial TEXT NOT NULL PRIMARY KEY,
        request_id TEXT NOT NULL REFERENCES requests,
        source TEXT NOT NULL,
        at REAL NOT NULL,
        surplus INTEGER NOT NULL,
        certificate BLOB NOT NULL
    )
    """,
    "CREATE INDEX certificates_of_request ON certificates (request_id)",
    """
    CREATE UNIQUE INDEX certificate_of_request ON certificates (request_id)
    WHERE surplus = 0
    """,
    """
    CREATE TABLE hops (
        request_id TEXT NOT NULL REFERENCES requests,
        position INTEGER NOT NULL,
        node TEXT NOT NULL,
        did TEXT NOT NULL,
        at REAL NOT NULL,
        PRIMARY KEY (request_id, position)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE known_keys (
        cn TEXT NOT NULL PRIMARY KEY,
        key_id TEXT NOT NULL,
        how TEXT NOT NULL,
        at REAL NOT NULL
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE open_requests (
        request_id TEXT NOT NULL PRIMARY KEY REFERENCES requests,
        asked_at REAL NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX open_requests_by_age ON open_requests (asked_at, request_id)",
    """
    CREATE TRIGGER request_opens AFTER INSERT ON requests BEGIN
        INSERT INTO open_requests VALUES (new.request_id, new.created_at);
    END
    """,
    """
    CREATE TRIGGER request_ages AFTER UPDATE OF created_at ON requests
    WHEN new.created_at <> old.created_at BEGIN
        UPDATE open_requests SET asked_at = coalesce(
            (SELECT max(asked_at) FROM attempts WHERE request_id = new.request_id),
            new.created_at
        ) WHERE request_id = new.request_id;
    END
    """,
    """
    CREATE TRIGGER attempt_asks AFTER INSERT ON attempts BEGIN
        UPDATE open_requests SET asked_at =
            (SELECT max(asked_at) FROM attempts WHERE request_id = new.request_id)
        WHERE request_id = new.request_id;
    END
    """,
    """
    CREATE TRIGGER attempt_asks_again AFTER UPDATE OF asked_at ON attempts
    WHEN new.asked_at <> old.asked_at BEGIN
        UPDATE open_requests SET asked_at =
            (SELECT max(asked_at) FROM attempts WHERE request_id = new.request_id)
        WHERE request_id = new.request_id;
    END
    """,
    """
    CREATE TRIGGER attempt_is_forgotten AFTER DELETE ON attempts BEGIN
        UPDATE open_requests SET asked_at = coalesce(
            (SELECT max(asked_at) FROM attempts WHERE request_id = old.request_id),
            (SELECT created_at FROM requests WHERE request_id = old.request_id)
        ) WHERE request_id = old.request_id;
    END
    """,
    """
    CREATE TRIGGER intent_closes_request AFTER INSERT ON intents BEGIN
        DELETE FROM open_requests WHERE request_id = new.request_id;
    END
    """,
    """
    CREATE TRIGGER certificate_closes_request AFTER INSERT ON certificates BEGIN
        DELETE FROM open_requests WHERE request_id = new.request_id;
    END
    """,
)


_VERSION_BITS = 16


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a file says about its own schema.

    Attributes:
        version: how many migrations it has seen; 0 for an empty file.
        opens_from: the oldest schema version whose release may use it.
    """

    version: int
    opens_from: int

    @classmethod
    def from_number(cls, number: int) -> Self:
        """Read `user_version`. The first releases wrote the version alone."""
        version = number & ((1 << _VERSION_BITS) - 1)
        return cls(version, (number >> _VERSION_BITS) or version)

    @property
    def number(self) -> int:
        """What stands in `user_version`."""
        if self.opens_from == self.version:
            return self.version
        return self.version | self.opens_from << _VERSION_BITS


@dataclass(frozen=True, slots=True)
class Migration:
    """What leads from one schema version to the next.

    Attributes:
        statements: SQL, in order.
        opens_from: the oldest schema version whose release may use the ledger after
            it: 1 for a step that only adds, the step's own version for one that an
            older release would trip over.
    """

    statements: tuple[str, ...]
    opens_from: int


@dataclass(frozen=True, slots=True)
class Schema:
    """The migrations that one release knows, the first from an empty file."""

    migrations: tuple[Migration, ...]

    @property
    def version(self) -> int:
        """The schema version that this release writes."""
        return len(self.migrations)

    def stamp_after(self, version: int) -> Stamp:
        """Return what a file bears after that many migrations."""
        done = self.migrations[:version]
        return Stamp(version, max((step.opens_from for step in done), default=version))

    @property
    def stamp(self) -> Stamp:
        """What a file bears that is up to date."""
        return self.stamp_after(self.version)

    def may_use(self, stamp: Stamp) -> bool:
        """Whether this release may use a file as it is, without a migration."""
        return stamp.opens_from <= self.version <= stamp.version


LEDGER_SCHEMA = Schema((Migration(_FIRST, opens_from=1),))
"""What this release knows."""


def check_schema(
    connection: sqlite3.Connection, path: Path, schema: Schema = LEDGER_SCHEMA
) -> Stamp:
    """Refuse a file that is not a ledger, or one from the future. Changes nothing.

    To be called in a transaction: another process may be making the tables just now.

    Returns:
        What the file says; of version 0 for an empty one.

    Raises:
        SQLiteLedgerError: not a ledger.
        LedgerTooNewError: a later version wrote it, and this one may not use it.
        sqlite3.Error: it could not be read.
    """
    found = read_stamp(connection)
    application_id = _pragma(connection, "application_id")
    if application_id != APPLICATION_ID:
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        if application_id or found.number or tables != [(0,)]:
            raise SQLiteLedgerError(
                LedgerProblem.NOT_A_LEDGER,
                path=path,
                doing="open it",
                detail="a database of something else",
            )
    if found.version > schema.version and not schema.may_use(found):
        raise LedgerTooNewError(
            path=path,
            found=found.version,
            known=schema.version,
            opens_from=found.opens_from,
        )
    return found


def apply_migrations(
    connection: sqlite3.Connection, *, found: Stamp, schema: Schema
) -> None:
    """Carry out the steps from a file's version to the schema's.

    To be called in a write transaction, which the caller commits.

    Raises:
        sqlite3.Error: a step failed; the caller must roll back.
    """
    for step in schema.migrations[found.version :]:
        for statement in step.statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {schema.stamp.number}")


def read_stamp(connection: sqlite3.Connection) -> Stamp:
    """Return what the file says about its schema."""
    return Stamp.from_number(_pragma(connection, "user_version"))


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    ((value,),) = connection.execute(f"PRAGMA {name}").fetchall()
    return int(value)

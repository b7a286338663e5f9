"""An older ledger becomes a newer one, with a copy kept first.

The order, of which any step may fail or be the last before a power cut:

1. the write lock is taken: nobody changes the ledger until the end;
2. there must be room for a copy, which is made, brought to disk and checked;
3. all migrations and the new stamp are one transaction.

Until that commits the ledger is what it was, and the older release may go on with it.
When it fails before, the copy is removed again: nothing was changed that it could undo.
When the commit itself fails nobody can say: the disk would not promise to keep what was
written, and may have kept it. Then the copy stays, and the next start sees what is so.

Who may do it: a daemon at its start, and a command while no daemon runs. A command of
a new release beside a running daemon of the old one (a package was upgraded, the
service not restarted yet) must not change the ledger under that daemon's feet.

No consent is asked for: an upgrade of a package at night must not stop a fleet. What
is promised instead: the copy, the way back (`way_back`), and that `icefloe daemon -C`
and `icefloe ledger status` say beforehand what would happen.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from icefloe.doors import WallTime
from icefloe.storage.ledger_copies import (
    keep_copy,
    open_for_reading,
    remove_old_copies,
)
from icefloe.storage.ledger_errors import (
    LedgerProblem,
    SQLiteLedgerError,
    from_sqlite,
)
from icefloe.storage.ledger_schema import (
    LEDGER_SCHEMA,
    Schema,
    Stamp,
    apply_migrations,
    check_schema,
    read_stamp,
)
from icefloe.storage.lock import LockError, holder_pid, is_held

LOCK_NAME: Final = "lock"
"""The daemon's lock lies beside its ledger."""


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A step from one schema version to another, to be done or done.

    Attributes:
        before: what the file said.
        after: what it says afterwards.
        copy: the copy that was kept; None while nothing was done.
    """

    before: Stamp
    after: Stamp
    copy: Path | None = None

    @property
    def is_open_to_older(self) -> bool:
        """Whether the release that wrote the ledger opens it afterwards, too."""
        return self.after.opens_from <= self.before.version

    @property
    def what(self) -> str:
        """One sentence: what changes, and who can use it then."""
        return (
            f"The ledger's schema goes from version {self.before.version} to "
            f"{self.after.version}; releases that know version "
            f"{self.after.opens_from} or later can use it then."
        )

    @property
    def way_back(self) -> str:
        """How an operator returns to the older release."""
        if self.is_open_to_older:
            return "The older release opens it as it is: stop, install, start."
        copy = "COPY" if self.copy is None else str(self.copy)
        return (
            "The older release cannot open it. To return: stop the daemon, run "
            f"`icefloe ledger restore {copy}` with this release, install the older "
            "one, start. What happened since the copy is forgotten then."
        )


def planned_upgrade(path: Path, schema: Schema = LEDGER_SCHEMA) -> Upgrade | None:
    """Say what opening a ledger would do to its schema. Changes nothing.

    Returns:
        None when there is no ledger, or nothing to do.

    Raises:
        SQLiteLedgerError: It cannot be read, or is no ledger.
        LedgerTooNewError: This release cannot use it.
    """
    if not os.path.lexists(path) or path.lstat().st_size == 0:
        return None
    try:
        with contextlib.closing(open_for_reading(path)) as connection:
            connection.execute("BEGIN")
            found = check_schema(connection, path, schema)
    except sqlite3.Error as error:
        raise from_sqlite(error, path=path, doing="look at it") from error
    if found.version == 0 or found.version >= schema.version:
        return None
    return Upgrade(found, schema.stamp)


def bring_up_to_date(
    connection: sqlite3.Connection,
    path: Path,
    *,
    schema: Schema,
    owner: tuple[int, int] | None,
    now: Callable[[], WallTime],
) -> Upgrade | None:
    """Make the tables of a new ledger, or upgrade an older one.

    Args:
        connection: To the ledger, outside a transaction.
        path: The ledger's file.
        schema: What this release knows.
        owner: Who gets the copy when we are root.
        now: The time, for the copy's name.

    Returns:
        What was done; None for a new ledger and for one that is up to date.

    Raises:
        SQLiteLedgerError, LedgerTooNewError: the ledger is as it was.
        sqlite3.Error: so too.
    """
    if read_stamp(connection).version >= schema.version:
        return None
    connection.execute("BEGIN IMMEDIATE")
    copy: Path | None = None
    committing = False
    try:
        # Another process may have been faster: look again, now alone.
        found = check_schema(connection, path, schema)
        if 0 < found.version < schema.version:
            _expect_no_other_daemon(path)
            remove_old_copies(path)
            at = now()
            copy = keep_copy(path, version=found.version, at=at, owner=owner)
        if found.version < schema.version:
            apply_migrations(connection, found=found, schema=schema)
        if copy is not None:
            # The copy took its time, in which a daemon may have been started.
            _expect_no_other_daemon(path)
        committing = True
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if copy is not None and not committing:
            with contextlib.suppress(OSError):
                copy.unlink()
        raise
    if copy is None:
        return None
    remove_old_copies(path, spared=copy)
    return Upgrade(found, schema.stamp, copy)


def _expect_no_other_daemon(path: Path) -> None:
    lock = path.with_name(LOCK_NAME)
    try:
        other = is_held(lock) and holder_pid(lock) != os.getpid()
    except LockError as error:
        raise SQLiteLedgerError(
            LedgerProblem.NOT_PERMITTED,
            path=path,
            doing="upgrade it",
            detail=str(error),
        ) from error
    if other:
        raise SQLiteLedgerError(
            LedgerProblem.DAEMON_OLDER, path=path, doing="upgrade it"
        )

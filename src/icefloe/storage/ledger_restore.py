"""The way back: a copy takes the ledger's place.

Only while no daemon runs (its lock is held meanwhile), and only a copy that reads well
from end to end. The order, of which any step may be the last before a power cut:

1. what is there is kept: as a copy beside it, or, when it cannot be read any more, as
   the very bytes, under `ledger.sqlite.damaged.<time>`;
2. the new file is written under another name, brought to disk and checked;
3. the old ledger's log is emptied and removed: it must never meet the new file;
4. the new file takes the name.

Before the last step the old ledger is whole, after it the new one is.

The schema stays what the copy has. So a copy from before an upgrade can be restored by
the newer release, and the older one started on it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from icefloe.doors import WallTime
from icefloe.storage.ledger_copies import (
    check_ledger_file,
    copy_ledger,
    keep_copy,
    open_for_reading,
    remove_unfinished,
    size_of,
)
from icefloe.storage.ledger_errors import (
    LedgerProblem,
    SQLiteLedgerError,
    from_os,
    from_sqlite,
    is_busy,
)
from icefloe.storage.ledger_file import SIDE_FILES, prepare_ledger_file, sync_directory
from icefloe.storage.ledger_schema import read_stamp
from icefloe.storage.ledger_upgrade import LOCK_NAME
from icefloe.storage.lock import DaemonLock

NAMES_MAX = 20
"""How many names of each kind are listed; the numbers tell of all."""

BUSY_SECONDS = 5.0
"""How long to wait for commands that have the ledger open."""

_DOING = "restore it"

_LOGS = ("-journal", *SIDE_FILES)
"""What SQLite would apply to whatever file stands beside it."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What the ledger holds and the copy does not.

    Attributes:
        requests: how many requests.
        decisions: how many decisions: approvals, removals, good tickets; also those
            that it knows as they were before: what was taken back would hold again.
        certificates: how many certificates. Their owners keep them; asking again with
            the same key will make new ones.
        names: the first common names of what is forgotten, sorted.
        unreadable: why the ledger cannot be compared; "" when it can.
    """

    requests: int = 0
    decisions: int = 0
    certificates: int = 0
    names: tuple[str, ...] = ()
    unreadable: str = ""

    @property
    def anything(self) -> bool:
        """Whether there is something to be lost."""
        return bool(
            self.requests or self.decisions or self.certificates or self.unreadable
        )


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done.

    Attributes:
        kept: where the ledger is now that stood there before; None without one.
        version: the schema version of the restored ledger.
    """

    kept: Path | None
    version: int


def what_is_forgotten(ledger: Path, copy: Path) -> Forgotten:
    """Compare a ledger with the copy that is to take its place.

    Raises:
        SQLiteLedgerError: The copy is damaged, or no ledger.
        LedgerTooNewError: A later version wrote the copy.
    """
    check_ledger_file(copy)
    if size_of(ledger) == 0:
        return Forgotten()
    try:
        check_ledger_file(ledger, any_version=True)
        with contextlib.closing(open_for_reading(ledger)) as connection:
            other = copy.absolute().as_uri() + "?mode=rw"
            connection.execute("ATTACH ? AS other", (other,))
            return _compare(connection)
    except SQLiteLedgerError as error:
        return Forgotten(unreadable=str(error))
    except sqlite3.Error as error:
        raise from_sqlite(error, path=ledger, doing="compare it") from error


def restore_ledger(
    ledger: Path, copy: Path, *, at: WallTime, owner: tuple[int, int] | None = None
) -> Restored:
    """Put a copy in the ledger's place.

    Args:
        ledger: The ledger's file; it may be missing or damaged.
        copy: Stays as it is.
        at: The time, for the name of what is kept.
        owner: Who gets what is made here when we are root.

    Raises:
        DaemonRunningError: A daemon runs on this ledger.
        LockUnusableError: Whether one runs could not be found out.
        SQLiteLedgerError, LedgerTooNewError: The ledger is as it was; or, should only
            the last look at the new one have failed, the text says so.
    """
    check_ledger_file(copy)
    if os.path.lexists(ledger) and ledger.samefile(copy):
        raise SQLiteLedgerError(
            LedgerProblem.NOT_A_LEDGER, path=copy, doing=_DOING, detail="not a copy"
        )
    lock = ledger.with_name(LOCK_NAME)
    with DaemonLock.acquire(lock, owner=owner):
        remove_unfinished(ledger)
        part = ledger.with_name(f".{ledger.name}.tmp-{secrets.token_hex(8)}")
        try:
            with _alone_with(ledger) as readable:
                kept = _keep(ledger, at=at, owner=owner, readable=readable)
                copy_ledger(copy, part, owner=owner)
                _remove_log(ledger)
                part.replace(ledger)
            sync_directory(ledger.parent)
        except OSError as error:
            raise from_os(error, path=ledger, doing=_DOING) from error
        except sqlite3.Error as error:
            raise from_sqlite(error, path=ledger, doing=_DOING) from error
        finally:
            with contextlib.suppress(OSError):
                part.unlink()
        prepare_ledger_file(ledger, create=False, owner=None)
        version = check_ledger_file(ledger)
    return Restored(kept, version)


_SAME_DECISION = (
    "theirs.request_id = mine.request_id AND theirs.kind = mine.kind"
    " AND theirs.actor = mine.actor AND theirs.at = mine.at"
)


def _compare(connection: sqlite3.Connection) -> Forgotten:
    """Count the rows that only the first database has."""
    missing = {
        table: f"FROM main.{table} AS mine WHERE NOT EXISTS (SELECT 1 FROM"
        f" other.{table} AS theirs WHERE {same})"
        for table, same in (
            ("requests", "theirs.request_id = mine.request_id"),
            ("decisions", _SAME_DECISION),
            ("certificates", "theirs.serial = mine.serial"),
        )
    }
    counts = {
        table: int(connection.execute(f"SELECT count(*) {rest}").fetchone()[0])
        for table, rest in missing.items()
    }
    ids = " UNION ".join(f"SELECT request_id {rest}" for rest in missing.values())
    names = connection.execute(
        f"SELECT DISTINCT CAST(cn AS TEXT) FROM main.requests"
        f" WHERE request_id IN ({ids}) ORDER BY 1 LIMIT {NAMES_MAX}"
    ).fetchall()
    return Forgotten(
        requests=counts["requests"],
        decisions=counts["decisions"],
        certificates=counts["certificates"],
        names=tuple(str(name) for (name,) in names),
    )


def _keep(
    ledger: Path, *, at: WallTime, owner: tuple[int, int] | None, readable: bool
) -> Path | None:
    if size_of(ledger) == 0:
        return None
    if not readable:
        return _set_aside(ledger, at, owner)
    with contextlib.closing(open_for_reading(ledger)) as connection:
        version = read_stamp(connection).version
    return keep_copy(ledger, version=version, at=at, owner=owner)


def _set_aside(ledger: Path, at: WallTime, owner: tuple[int, int] | None) -> Path:
    """Keep the bytes of a ledger that cannot be read, and those of its log."""
    time = datetime.fromtimestamp(at, tz=UTC).strftime("%Y%m%dT%H%M%SZ")
    kept = ledger.with_name(f"{ledger.name}.damaged.{time}")
    for side in ("", "-journal", SIDE_FILES[0]):
        source = ledger.with_name(ledger.name + side)
        if size_of(source) == 0:
            continue
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        target = os.open(kept.with_name(kept.name + side), flags, 0o600)
        with os.fdopen(target, "wb") as into, source.open("rb") as content:
            if owner is not None and os.geteuid() == 0:
                os.fchown(target, *owner)
            shutil.copyfileobj(content, into)
            into.flush()
            os.fsync(target)
    sync_directory(ledger.parent)
    return kept


@contextlib.contextmanager
def _alone_with(ledger: Path) -> Iterator[bool]:
    """Keep commands from writing to a ledger, and be rid of its log.

    Yields:
        Whether the ledger can be read. One that cannot is not locked either.

    Raises:
        sqlite3.OperationalError, SQLiteLedgerError: another process has it open.
    """
    if size_of(ledger) == 0:
        yield False
        return
    uri = ledger.absolute().as_uri() + "?mode=rw"
    with contextlib.closing(
        sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    ) as connection:
        try:
            check_ledger_file(ledger, any_version=True)
            # Nobody else can have it open now. What is in the log goes into the file.
            connection.execute("PRAGMA journal_mode = DELETE").fetchall()
            connection.execute("BEGIN IMMEDIATE")
        except (SQLiteLedgerError, sqlite3.DatabaseError) as error:
            if _is_locked(error):
                raise
            yield False
            return
        yield True
        connection.execute("ROLLBACK")


def _is_locked(error: SQLiteLedgerError | sqlite3.DatabaseError) -> bool:
    """Whether somebody else has it, which says nothing against the ledger."""
    if isinstance(error, SQLiteLedgerError):
        return error.problem is LedgerProblem.LOCKED
    return is_busy(error)


def _remove_log(ledger: Path) -> None:
    """Remove what belongs to a ledger that is about to be replaced."""
    for side in _LOGS:
        ledger.with_name(ledger.name + side).unlink(missing_ok=True)
    sync_directory(ledger.parent)

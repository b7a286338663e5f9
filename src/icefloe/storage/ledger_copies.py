"""Copies of the ledger: whole, private, durable and checked, or not there at all.

A copy is one file that SQLite writes anew (`VACUUM INTO`) from what is committed, while
others go on reading and writing. It is made under a name nobody can guess, brought to
disk, read through, and only then gets its own name. So a file of that name is a copy,
whatever was killed or cut in between.

Copies that Icefloe makes itself lie beside the ledger and say what they are:

    ledger.sqlite.v1.20261122T182339Z     schema version 1, made at that time (UTC)

Of each of the last `VERSIONS_KEPT` schema versions the last `KEPT_OF_A_VERSION` are
kept. What an operator copied elsewhere is the operator's.

A copy holds what the ledger holds: the tickets of open requests are in it.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from icefloe.doors import WallTime
from icefloe.storage.ledger_errors import (
    LedgerProblem,
    LedgerTooNewError,
    SQLiteLedgerError,
    from_os,
    from_sqlite,
)
from icefloe.storage.ledger_file import FILE_MODE, SIDE_FILES, sync_directory
from icefloe.storage.ledger_schema import check_schema

VERSIONS_KEPT: Final = 3
KEPT_OF_A_VERSION: Final = 2
"""More than one: the second of two upgrades in a row, the first one half done, must
not push the copy out that has everything."""

SPACE_MARGIN_BYTES: Final = 1 << 20
"""What is to be left when a copy has been made, for what else lives on the disk."""

_NAME: Final = re.compile(r"\.v(\d{1,5})\.(\d{8}T\d{6})Z(?:\.\d+)?")
_TIME: Final = "%Y%m%dT%H%M%S"
_UNFINISHED: Final = ".tmp-"


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy that lies beside the ledger.

    Attributes:
        path: its file.
        version: the schema version of what is in it, as its name says.
        made_at: when it was made.
        size_bytes: its length.
    """

    path: Path
    version: int
    made_at: WallTime
    size_bytes: int


def copy_ledger(
    source: Path, target: Path, *, owner: tuple[int, int] | None = None
) -> None:
    """Copy what is committed in a ledger to a new file.

    Args:
        source: The ledger, in use or not; its schema may be of any version.
        target: The copy; nothing may have that name yet.
        owner: Who gets the copy when we are root.

    Raises:
        SQLiteLedgerError: It could not be copied, or there is no room for it. There
            is no such file then.
    """
    doing = f"copy it to {target}"
    part = target.with_name(f".{target.name}{_UNFINISHED}{secrets.token_hex(8)}")
    try:
        if os.path.lexists(target):
            raise FileExistsError(0, "there is a file of that name already")
        expect_space(source, target.parent, doing=doing)
        _create(part, owner)
        try:
            _write_copy(source, part, doing)
            _bring_to_disk(part)
            check_ledger_file(part, any_version=True)
            # Without replacing what might have got the name meanwhile.
            os.link(part, target, follow_symlinks=False)
        finally:
            for name in (part, part.with_name(part.name + "-journal")):
                with contextlib.suppress(OSError):
                    name.unlink()
        sync_directory(target.parent)
    except OSError as error:
        raise from_os(error, path=source, doing=doing) from error


def keep_copy(
    ledger: Path, *, version: int, at: WallTime, owner: tuple[int, int] | None
) -> Path:
    """Make a copy beside the ledger, named with version and time.

    Returns:
        The copy.

    Raises:
        SQLiteLedgerError: as `copy_ledger`.
    """
    time = datetime.fromtimestamp(at, tz=UTC).strftime(_TIME)
    name = f"{ledger.name}.v{version}.{time}Z"
    target = ledger.with_name(name)
    number = 1
    while os.path.lexists(target):
        number += 1
        target = ledger.with_name(f"{name}.{number}")
    copy_ledger(ledger, target, owner=owner)
    return target


def list_copies(ledger: Path) -> tuple[Copy, ...]:
    """Return the copies beside a ledger, the latest first.

    Raises:
        SQLiteLedgerError: The directory could not be read.
    """
    found: list[tuple[WallTime, str, Copy]] = []
    try:
        for entry in os.scandir(ledger.parent):
            if not entry.name.startswith(ledger.name):
                continue
            parts = _NAME.fullmatch(entry.name[len(ledger.name) :])
            if parts is None or not entry.is_file(follow_symlinks=False):
                continue
            made_at = _time_of(parts[2])
            if made_at is not None:
                size = entry.stat(follow_symlinks=False).st_size
                copy = Copy(Path(entry.path), int(parts[1]), made_at, size)
                found.append((made_at, entry.name, copy))
    except OSError as error:
        raise from_os(error, path=ledger, doing="look for its copies") from error
    return tuple(copy for *_, copy in sorted(found, key=_order, reverse=True))


def remove_old_copies(ledger: Path, *, spared: Path | None = None) -> None:
    """Remove the copies that are not kept, and what a killed process left unfinished.

    Failures are passed over: it is tried again at the next copy.

    Args:
        ledger: The ledger's file.
        spared: A copy that stays, whatever the others say: names tell of versions and
            of times, and a clock may have been wrong.
    """
    with contextlib.suppress(OSError, SQLiteLedgerError):
        for path in surplus_of(list_copies(ledger)):
            if path != spared:
                path.unlink()
    remove_unfinished(ledger)


def remove_unfinished(ledger: Path) -> None:
    """Remove what a killed copy or restore left: whole ledgers, tickets included.

    Failures are passed over. Not to be called while another process restores.
    """
    with contextlib.suppress(OSError):
        for path in list(ledger.parent.iterdir()):
            name = path.name.lstrip(".")
            ours = name.startswith(ledger.name + ".") and name != path.name
            if ours and _UNFINISHED in name:
                path.unlink()


def surplus_of(copies: Iterable[Copy]) -> list[Path]:
    """Return which copies are not kept.

    Args:
        copies: The latest first.
    """
    of_version: dict[int, list[Path]] = {}
    for copy in copies:
        of_version.setdefault(copy.version, []).append(copy.path)
    surplus: list[Path] = []
    for rank, version in enumerate(sorted(of_version, reverse=True)):
        kept = KEPT_OF_A_VERSION if rank < VERSIONS_KEPT else 0
        surplus += of_version[version][kept:]
    return surplus


def check_ledger_file(path: Path, *, any_version: bool = False) -> int:
    """Read a whole ledger through: its structure, its references, its schema.

    Args:
        path: The file.
        any_version: It may also be one that this release cannot use.

    Returns:
        Its schema version.

    Raises:
        SQLiteLedgerError: It is damaged, no ledger, or cannot be read.
        LedgerTooNewError: A later version of Icefloe wrote it.
    """
    doing = "check it"
    try:
        with contextlib.closing(open_for_reading(path)) as connection:
            connection.execute("BEGIN")
            version = _version_of(connection, path, any_version=any_version)
            if version == 0:
                raise SQLiteLedgerError(
                    LedgerProblem.NOT_A_LEDGER, path=path, doing=doing, detail="empty"
                )
            faults = integrity_faults(connection)
    except sqlite3.Error as error:
        raise from_sqlite(error, path=path, doing=doing) from error
    if faults:
        raise SQLiteLedgerError(
            LedgerProblem.DAMAGED, path=path, doing=doing, detail=faults[0]
        )
    return version


def _version_of(
    connection: sqlite3.Connection, path: Path, *, any_version: bool
) -> int:
    try:
        return check_schema(connection, path).version
    except LedgerTooNewError as error:
        if any_version:
            return error.found
        raise


def integrity_faults(connection: sqlite3.Connection) -> list[str]:
    """Return what SQLite finds wrong in a ledger; empty when nothing is.

    Raises:
        sqlite3.Error: It could not be looked at, for another reason than damage.
    """
    try:
        found = connection.execute("PRAGMA quick_check(20)").fetchall()
        faults = [str(text) for (text,) in found if text != "ok"]
        orphans = connection.execute("PRAGMA foreign_key_check").fetchmany(20)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:
            raise
        return [str(error)]  # so badly that it cannot even be checked
    return faults + [f"a row of {row[0]} refers to no {row[2]}" for row in orphans]


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open a database to read it, whatever its schema.

    Raises:
        sqlite3.Error: It cannot be opened.
    """
    # Not mode=ro: what a killed process left half written has to be taken back before
    # anything can be read. Who may only read gets no more than that from SQLite.
    uri = path.absolute().as_uri() + "?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=5.0, isolation_level=None)
    for pragma in ("trusted_schema = OFF", "cell_size_check = ON"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def expect_space(source: Path, directory: Path, *, doing: str) -> None:
    """See that a directory's file system has room for a ledger once more.

    Raises:
        SQLiteLedgerError: It has not.
        OSError: It could not be looked at.
    """
    needed = SPACE_MARGIN_BYTES + sum(
        size_of(source.with_name(source.name + side)) for side in ("", SIDE_FILES[0])
    )
    status = os.statvfs(directory)
    free = status.f_bavail * status.f_frsize
    if free < needed:
        raise SQLiteLedgerError(
            LedgerProblem.FULL,
            path=source,
            doing=doing,
            detail=f"{needed} bytes are needed in {directory}, {free} are free",
        )


def size_of(path: Path) -> int:
    """Return a file's length; 0 for one that is not there."""
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def _create(path: Path, owner: tuple[int, int] | None) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, FILE_MODE)
    try:
        if owner is not None and os.geteuid() == 0:
            os.fchown(descriptor, *owner)
    finally:
        os.close(descriptor)


def _write_copy(source: Path, target: Path, doing: str) -> None:
    try:
        with contextlib.closing(open_for_reading(source)) as connection:
            # Sorting must not spill tickets into a temporary file.
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("VACUUM INTO ?", (str(target),))
    except sqlite3.Error as error:
        raise from_sqlite(error, path=source, doing=doing) from error


def _bring_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _time_of(text: str) -> WallTime | None:
    try:
        return WallTime(datetime.strptime(text, _TIME).replace(tzinfo=UTC).timestamp())
    except ValueError:
        return None


def _order(entry: tuple[WallTime, str, Copy]) -> tuple[WallTime, int, str]:
    made_at, name, _ = entry
    return made_at, len(name), name

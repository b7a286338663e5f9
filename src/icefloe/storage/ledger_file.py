"""The ledger's file and directory: readable by one user from their first moment on.

A ledger holds tickets and the history of a CA. SQLite gives its -wal and -shm files
the mode of the main file (and, when it runs as root, its owner), so it is enough to
make that one with care before SQLite sees it.

An existing file is looked at and never opened here: closing any descriptor of it
would drop the locks that SQLite holds on it elsewhere in this process (POSIX
advisory locks belong to the process; https://www.sqlite.org/howtocorrupt.html, 2.2).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from icefloe.storage.ledger_errors import LedgerProblem, SQLiteLedgerError

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
SIDE_FILES = ("-wal", "-shm")

FileIdentity = tuple[int, int]
"""Device and inode: tells a file from another one that took its name."""


def prepare_ledger_file(
    path: Path, *, create: bool, owner: tuple[int, int] | None
) -> None:
    """See that the file is there and private.

    Args:
        path: The ledger's file. Its directory is made when missing, that one's
            parent is not.
        create: Make an empty file when there is none.
        owner: uid and gid that get what is made here; None leaves it to the
            current user.

    Raises:
        SQLiteLedgerError: missing, not a plain file, readable by others, or it
            could not be made.
    """
    try:
        if not os.path.lexists(path):
            if not create:
                raise SQLiteLedgerError(
                    LedgerProblem.MISSING, path=path, doing="open it"
                )
            _create(path, owner)
        _check(path)
    except PermissionError as error:
        raise _failed(LedgerProblem.NOT_PERMITTED, path, error) from error
    except OSError as error:
        raise _failed(LedgerProblem.IO_ERROR, path, error) from error


def identify_file(path: Path) -> FileIdentity | None:
    """Return which file stands at the path now, or None when none does."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _create(path: Path, owner: tuple[int, int] | None) -> None:
    directory = path.parent
    try:
        directory.mkdir(mode=DIRECTORY_MODE)
    except FileExistsError:
        pass
    else:
        if owner is not None:
            # Not through a link that somebody put there in between.
            os.chown(directory, *owner, follow_symlinks=False)
        _sync_directory(directory.parent)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, FILE_MODE)
    except FileExistsError:
        return  # another process was faster
    try:
        if owner is not None:
            os.fchown(descriptor, *owner)
    finally:
        os.close(descriptor)
    _sync_directory(directory)


def _sync_directory(directory: Path) -> None:
    """Make a new name durable: SQLite syncs the file, not the name we gave it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check(path: Path) -> None:
    if not stat.S_ISREG(path.lstat().st_mode):
        raise SQLiteLedgerError(
            LedgerProblem.NOT_A_LEDGER,
            path=path,
            doing="open it",
            detail="not a plain file",
        )
    for name in (path, *(path.with_name(path.name + side) for side in SIDE_FILES)):
        try:
            mode = stat.S_IMODE(name.lstat().st_mode)
        except FileNotFoundError:
            continue
        # Not mended in silence: who could read it until now should be known, and
        # as root a chmod by name could be led astray.
        if mode & 0o077:
            raise SQLiteLedgerError(
                LedgerProblem.EXPOSED,
                path=name,
                doing="open it",
                detail=f"its mode is {mode:04o}",
            )


def _failed(problem: LedgerProblem, path: Path, error: OSError) -> SQLiteLedgerError:
    if isinstance(error, FileNotFoundError):
        problem = LedgerProblem.NOT_PERMITTED
    return SQLiteLedgerError(
        problem, path=path, doing="open it", detail=error.strerror or str(error)
    )

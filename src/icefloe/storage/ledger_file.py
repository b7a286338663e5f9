"""The ledger's file and directory: readable by one user from their first moment on.

A ledger holds tickets and the history of a CA. SQLite gives its -wal and -shm files
the mode of the main file (and, when it runs as root, its owner), so it is enough to
make that one with care before SQLite sees it.

An existing file is looked at and never opened here: closing any descriptor of it
would drop the locks that SQLite holds on it elsewhere in this process (POSIX
advisory locks belong to the process; https://www.sqlite.org/howtocorrupt.html, 2.2).
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from pathlib import Path

from icefloe.storage.ledger_errors import (
    LedgerProblem,
    SQLiteLedgerError,
    from_os,
)
from icefloe.storage.walking import opened_directory

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
        with opened_directory(path.parent):
            _check(path)
    except OSError as error:
        raise from_os(error, path=path, doing="open it") from error


def identify_file(path: Path) -> FileIdentity | None:
    """Return which file stands at the path now, or None when none does."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _create(path: Path, owner: tuple[int, int] | None) -> None:
    with opened_directory(path.parent.parent) as above:
        try:
            os.mkdir(path.parent.name, DIRECTORY_MODE, dir_fd=above)
        except FileExistsError:
            pass
        else:
            if owner is not None:
                # Not through a link that somebody put there in between.
                name = path.parent.name
                os.chown(name, *owner, dir_fd=above, follow_symlinks=False)
            os.fsync(above)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with opened_directory(path.parent) as directory:
        try:
            descriptor = os.open(path.name, flags, FILE_MODE, dir_fd=directory)
        except FileExistsError:
            return  # another process was faster
        try:
            if owner is not None:
                os.fchown(descriptor, *owner)
        finally:
            os.close(descriptor)
        os.fsync(directory)


def sync_directory(directory: Path) -> None:
    """Make a new name durable: SQLite syncs the file, not the name we gave it.

    Raises:
        OSError: it could not be opened or brought to disk.
    """
    with opened_directory(directory) as descriptor:
        os.fsync(descriptor)


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


def is_full(directory: Path) -> bool:
    """Find out whether a directory takes a few pages more.

    SQLite tells a full disk by name for writes to its files, but not a quota that is
    used up, nor a log's shared memory that found no room: these are "I/O errors".
    """
    name = f".probe.{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with opened_directory(directory) as here:
            descriptor = os.open(name, flags, FILE_MODE, dir_fd=here)
            try:
                for _ in range(_PROBE_PAGES):
                    os.write(descriptor, bytes(4096))
                os.fsync(descriptor)
            finally:
                os.unlink(name, dir_fd=here)
                os.close(descriptor)
    except OSError as error:
        return error.errno in {errno.ENOSPC, errno.EDQUOT}
    return False


_PROBE_PAGES = 10
"""The shared memory of a log has eight."""

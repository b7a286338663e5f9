"""What can be wrong with the ledger's file, and what to do about it.

    LedgerUnavailableError (enrollment)
      LedgerConflictError    a write contradicts what is there: a bug   (enrollment)
      SQLiteLedgerError      the file or its disk
        LedgerTooNewError    written by a later Icefloe

SQLite's own errors are translated here, once, into problems that an operator knows.
"""

from __future__ import annotations

import enum
import errno
import sqlite3
from pathlib import Path

from icefloe.enrollment.ledger import LedgerUnavailableError


class LedgerProblem(enum.Enum):
    """A kind of trouble: a stable code, what happened, what to do."""

    MISSING = (
        "missing",
        "there is no such file",
        "Start the daemon or set the node up first.",
    )
    LOCKED = (
        "locked",
        "another process held its lock for too long",
        "Look who has it open (fuser FILE) and try again.",
    )
    FULL = (
        "full",
        "the disk or the quota is full",
        "Free some space and try again; what was committed is safe.",
    )
    IO_ERROR = (
        "io-error",
        "the disk failed to read or write",
        "Look into the kernel's log for the disk or file system, then restart.",
    )
    DAMAGED = (
        "damaged",
        "the file is damaged",
        "Stop the daemon and run `icefloe ledger restore` with a copy.",
    )
    READ_ONLY = (
        "read-only",
        "the file, its directory or its file system is read-only for this user",
        "Run this as root or as the daemon's user, or mount it writable.",
    )
    NOT_PERMITTED = (
        "not-permitted",
        "the file cannot be opened",
        "Run this as root or as the daemon's user, and see that the directory exists.",
    )
    EXPOSED = (
        "exposed",
        "other users may read the file, and it holds secrets",
        "Run `chmod 600` on it and on its -wal and -shm files.",
    )
    NOT_A_LEDGER = (
        "not-a-ledger",
        "the file is not a ledger of Icefloe",
        "Move it away, or point the node at another directory.",
    )
    TOO_NEW = (
        "too-new",
        "a later version of Icefloe wrote it",
        "Install that version; its `icefloe ledger restore` goes back to a copy.",
    )
    NO_WAL = (
        "no-wal",
        "its file system cannot share memory between processes",
        "Move the data directory from the network to a local disk.",
    )
    REPLACED = (
        "replaced",
        "the file was moved, deleted or replaced while it was open",
        "Restart the daemon; replace a ledger only while it is stopped.",
    )
    DAEMON_OLDER = (
        "daemon-older",
        "the running daemon is of an older version and has it open",
        "Restart the daemon, which brings the ledger up to date.",
    )
    UPGRADED = (
        "upgraded",
        "a later version of Icefloe upgraded it while it was open",
        "Restart the daemon with that version.",
    )
    CLOSED = (
        "closed",
        "it was closed",
        "This is a bug of Icefloe; please report it.",
    )
    ABANDONED = (
        "abandoned",
        "an earlier write of the transaction had failed",
        "See that failure; nothing of the transaction was kept.",
    )
    UNEXPECTED = (
        "unexpected",
        "SQLite failed in a way that Icefloe does not know",
        "This is a bug of Icefloe; please report it with the text in brackets.",
    )

    def __init__(self, code: str, happened: str, remedy: str) -> None:
        self.code = code
        self.happened = happened
        self.remedy = remedy


# SQLite's primary result codes: https://www.sqlite.org/rescode.html
_PROBLEMS = {
    sqlite3.SQLITE_BUSY: LedgerProblem.LOCKED,
    sqlite3.SQLITE_LOCKED: LedgerProblem.LOCKED,
    sqlite3.SQLITE_PROTOCOL: LedgerProblem.LOCKED,
    sqlite3.SQLITE_FULL: LedgerProblem.FULL,
    sqlite3.SQLITE_IOERR: LedgerProblem.IO_ERROR,
    sqlite3.SQLITE_NOLFS: LedgerProblem.IO_ERROR,
    sqlite3.SQLITE_CORRUPT: LedgerProblem.DAMAGED,
    sqlite3.SQLITE_NOTADB: LedgerProblem.NOT_A_LEDGER,
    sqlite3.SQLITE_READONLY: LedgerProblem.READ_ONLY,
    sqlite3.SQLITE_PERM: LedgerProblem.NOT_PERMITTED,
    sqlite3.SQLITE_AUTH: LedgerProblem.NOT_PERMITTED,
    sqlite3.SQLITE_CANTOPEN: LedgerProblem.NOT_PERMITTED,
}


class SQLiteLedgerError(LedgerUnavailableError):
    """The ledger's file could not be used.

    Attributes:
        problem: The kind of trouble.
        path: The ledger's file.
        doing: What was tried, as in "cannot commit a transaction".
        detail: The operating system's or SQLite's own words; may be empty. Never
            holds a value of the ledger.
    """

    def __init__(
        self, problem: LedgerProblem, *, path: Path, doing: str, detail: str = ""
    ) -> None:
        super().__init__(problem, path, doing, detail)
        self.problem = problem
        self.path = path
        self.doing = doing
        self.detail = detail

    def __str__(self) -> str:
        words = f" ({self.detail})" if self.detail else ""
        return (
            f"Ledger {self.path}: cannot {self.doing}: {self.problem.happened}{words}. "
            f"{self.problem.remedy}"
        )


class LedgerTooNewError(SQLiteLedgerError):
    """The ledger was written by a later Icefloe; it was not touched.

    Attributes:
        found: The schema version of the file.
        known: The latest schema version that this Icefloe knows.
        opens_from: The oldest schema version whose release may use the file.
    """

    def __init__(self, *, path: Path, found: int, known: int, opens_from: int) -> None:
        super().__init__(
            LedgerProblem.TOO_NEW,
            path=path,
            doing="open it",
            detail=f"its schema is version {found}, which takes an Icefloe that knows "
            f"version {opens_from}; this one knows up to {known}",
        )
        self.found = found
        self.known = known
        self.opens_from = opens_from


def from_sqlite(error: sqlite3.Error, *, path: Path, doing: str) -> SQLiteLedgerError:
    """Translate an error of SQLite; raise the result `from` it."""
    # Complaints of Python's own have no code.
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE)
    name: str = getattr(error, "sqlite_errorname", type(error).__name__)
    # The low byte is the primary code, the rest says where it happened.
    problem = _PROBLEMS.get(code & 0xFF, LedgerProblem.UNEXPECTED)
    return SQLiteLedgerError(problem, path=path, doing=doing, detail=f"{name}: {error}")


def from_os(
    error: OSError,
    *,
    path: Path,
    doing: str,
    otherwise: LedgerProblem = LedgerProblem.IO_ERROR,
) -> SQLiteLedgerError:
    """Translate an error of the operating system; raise the result `from` it."""
    problem = _OS_PROBLEMS.get(error.errno or 0, otherwise)
    detail = error.strerror or str(error)
    return SQLiteLedgerError(problem, path=path, doing=doing, detail=detail)


_OS_PROBLEMS = {
    errno.ENOSPC: LedgerProblem.FULL,
    errno.EDQUOT: LedgerProblem.FULL,
    errno.EFBIG: LedgerProblem.FULL,
    errno.EACCES: LedgerProblem.NOT_PERMITTED,
    errno.EPERM: LedgerProblem.NOT_PERMITTED,
    errno.ENOENT: LedgerProblem.NOT_PERMITTED,
    errno.EROFS: LedgerProblem.READ_ONLY,
}


def is_busy(error: sqlite3.Error) -> bool:
    """Return whether another process had what was needed; it may pass by waiting."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE)
    return code & 0xFF == sqlite3.SQLITE_BUSY

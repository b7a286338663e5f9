"""The ledger on SQLite: the durable record of a node's enrollments.

One file, shared by the daemon and the commands of an operator: write-ahead log, so
that readers never wait; `BEGIN IMMEDIATE`, so that a turn reads what it will write
upon; synchronous=FULL, so that commit means "survives power loss".

The modules beside it: `ledger_file` (the file and its mode), `ledger_schema` (tables
and migrations), `ledger_rows` (records as rows), `ledger_reads` and `ledger_writes`
(the SQL), `ledger_errors` (what went wrong and what to do); `ledger_upgrade`,
`ledger_copies` and `ledger_restore` (a newer release, and the way back).

Tickets are secrets. SQLite overwrites what is deleted or replaced in the file
(secure_delete), but pages as they were stand in the -wal file until it is used anew:
`checkpoint()` empties it. The daemon calls that now and then.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from icefloe.doors import WallTime
from icefloe.enrollment.ledger import LedgerUnavailableError, Write
from icefloe.storage.ledger_errors import (
    LedgerProblem,
    SQLiteLedgerError,
    from_sqlite,
    is_busy,
)
from icefloe.storage.ledger_file import (
    identify_file,
    is_full,
    prepare_ledger_file,
)
from icefloe.storage.ledger_reads import LedgerReads
from icefloe.storage.ledger_rows import Row
from icefloe.storage.ledger_schema import (
    LEDGER_SCHEMA,
    Schema,
    check_schema,
    read_stamp,
)
from icefloe.storage.ledger_upgrade import Upgrade, bring_up_to_date
from icefloe.storage.ledger_writes import execute, write

R = TypeVar("R")

BUSY_SECONDS = 5.0
"""How long to wait for another process's transaction: they last for milliseconds,
on a slow disk for some tenths of a second."""

# SQLite knows no queue: whoever asks while the lock is free has it. By itself it asks
# ever more seldom, at last every 0.1 s, and a command could wait for long beside a
# busy daemon, which frees the lock for a blink. So SQLite waits for this long, asking
# after 1, 2, 5 and 10 ms, and then we let it begin anew until `busy_seconds` are over.
_ASK_MILLISECONDS = 20

# Set anew on every connection; only the journal mode is kept in the file.
_PRAGMAS = (
    "PRAGMA foreign_keys = ON",
    "PRAGMA synchronous = FULL",
    "PRAGMA secure_delete = ON",
    # Sorting must not spill tickets into a temporary file.
    "PRAGMA temp_store = MEMORY",
    # Against a file that was tampered with (https://www.sqlite.org/security.html).
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    # A -wal file that one large transaction blew up shrinks again.
    "PRAGMA journal_size_limit = 16777216",
)


class SQLiteLedger(LedgerReads):
    """A `LedgerWriter` on an SQLite file.

    Made by `open()`. It may be handed from thread to thread, but only one thread
    may use it at a time. All errors are `SQLiteLedgerError`, or
    `LedgerConflictError` for a write that contradicts what is there.

    Attributes:
        path: The file.
        upgraded: What opening did to an older ledger's schema; None for nothing.
    """

    def __init__(
        self,
        path: Path,
        *,
        busy_seconds: float,
        schema: Schema,
        owner: tuple[int, int] | None,
    ) -> None:
        """Use `open()`."""
        self.path = path
        self.upgraded: Upgrade | None = None
        self._schema = schema
        self._owner = owner
        self._busy_seconds = busy_seconds
        self._failure: BaseException | None = None
        self._connections = 0
        self._broken = False
        self._closed = False
        self._file = identify_file(path)
        self._connection = self._connect()

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        create: bool = True,
        owner: tuple[int, int] | None = None,
        busy_seconds: float = BUSY_SECONDS,
        schema: Schema = LEDGER_SCHEMA,
    ) -> Self:
        """Open a ledger; make it, or bring its schema up to date, where needed.

        A copy of an older ledger is kept beside it first (`ledger_upgrade`).

        Args:
            path: The file. Its directory is made (0700) when missing.
            create: Make the ledger when there is none.
            owner: uid and gid for a file and directory made here (0600 and 0700);
                None leaves them to the current user. SQLite keeps the owner for the
                -wal and -shm files, also when root writes.
            busy_seconds: How long to wait for another process's transaction.
            schema: What this release knows; tests bring others.

        Raises:
            SQLiteLedgerError: it cannot be used; the message says what to do.
            LedgerTooNewError: a later version of Icefloe wrote it.
        """
        prepare_ledger_file(path, create=create, owner=owner)
        return cls(path, busy_seconds=busy_seconds, schema=schema, owner=owner)

    def close(self) -> None:
        """Close the ledger; an open transaction is forgotten. May be repeated."""
        self.rollback()
        self._closed = True
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- transactions -----------------------------------------------------------

    def begin(self) -> None:
        """Begin a write transaction; waits `busy_seconds` for other writers.

        Raises:
            SQLiteLedgerError: another writer did not end in time, the file was
                replaced or upgraded under us, or IO failed.
        """
        self._mend()
        if self._failure is not None or self._connection.in_transaction:
            raise RuntimeError("begin() inside a transaction")
        if identify_file(self.path) != self._file:
            # SQLite would go on writing into a file that nobody will read again.
            raise self._problem(LedgerProblem.REPLACED, "begin a transaction")
        try:
            with self._errors("begin a transaction"):
                self._execute("BEGIN IMMEDIATE")
                stamp = read_stamp(self._connection)
            if not self._schema.may_use(stamp):
                raise self._problem(LedgerProblem.UPGRADED, "begin a transaction")
        except LedgerUnavailableError:
            self.rollback()
            raise

    def apply(self, writes: Iterable[Write]) -> None:
        """Apply writes inside the transaction, in order.

        Raises:
            SQLiteLedgerError: SQLite failed; the caller must roll back.
            LedgerConflictError: a write contradicts what is there; so too.
        """
        self._expect_transaction("apply")
        self._refuse_after_failure("write")
        try:
            with self._errors("write"):
                for order in writes:
                    write(self._connection, order)
        except BaseException as error:
            self._failure = error  # half of the writes must not be committed
            raise

    def commit(self) -> None:
        """Make the transaction durable.

        Raises:
            SQLiteLedgerError: it was rolled back, and nothing of it is kept as long as
                this process goes on. What the disk would not promise to keep it may
                have kept all the same: should the process die before its next commit,
                the next one may find the transaction whole.
        """
        self._expect_transaction("commit")
        try:
            self._refuse_after_failure("commit a transaction")
            with self._errors("commit a transaction"):
                self._connection.execute("COMMIT")
        except LedgerUnavailableError:
            self.rollback()
            raise

    def rollback(self) -> None:
        """Forget the transaction. Allowed at any time; never raises."""
        self._failure = None
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            # Closing it forgets the transaction too; the next use connects anew.
            self._broken = True
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()

    def change_token(self) -> int:
        """Return a number that changes when another process has committed."""
        (version,) = self._fetch(_number, "PRAGMA data_version")
        # SQLite counts per connection; a new one begins anew.
        return (self._connections << 32) + version

    def checkpoint(self) -> bool:
        """Move everything from the -wal file into the ledger and empty it.

        With it go pages in which tickets stand that were cleared since. Hardly
        waits for other processes.

        Returns:
            Whether it was done; False when another process was reading or writing.
        """
        self._mend()
        with self._errors("write back the log"):
            ((busy, _, _),) = self._connection.execute(
                "PRAGMA wal_checkpoint(TRUNCATE)"
            ).fetchall()
        return not busy

    # -- inside -----------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        with self._errors("open it"):
            connection = sqlite3.connect(
                # mode=rw: a file that is missing now is not made with any old mode.
                self.path.absolute().as_uri() + "?mode=rw",
                uri=True,
                timeout=self._busy_seconds,
                isolation_level=None,  # transactions begin and end where we say
                check_same_thread=False,  # opened at start, used by another thread
            )
            try:
                connection.execute("BEGIN")
                check_schema(connection, self.path, self._schema)
                connection.execute("COMMIT")
                self._enter_wal_mode(connection)
                for pragma in _PRAGMAS:
                    connection.execute(pragma).fetchall()
                upgraded = bring_up_to_date(
                    connection,
                    self.path,
                    schema=self._schema,
                    owner=self._owner,
                    now=lambda: WallTime(time.time()),
                )
                connection.execute(f"PRAGMA busy_timeout = {_ASK_MILLISECONDS}")
            except BaseException:
                connection.close()
                raise
        self._connections += 1
        self.upgraded = upgraded or self.upgraded
        return connection

    def _enter_wal_mode(self, connection: sqlite3.Connection) -> None:
        """Switch a new file to write-ahead logging; later it is so by itself.

        SQLite does not wait here when another process opens the same new file.
        """
        deadline = time.monotonic() + self._busy_seconds
        mode = ""
        while not mode:
            try:
                ((mode,),) = connection.execute("PRAGMA journal_mode = WAL").fetchall()
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.005)
        if mode != "wal":
            raise self._problem(LedgerProblem.NO_WAL, "open it")

    def _mend(self) -> None:
        """Connect anew after a failure that the old connection did not survive."""
        if self._closed:
            raise self._problem(LedgerProblem.CLOSED, "use it")
        if self._broken:
            self._connection = self._connect()
            self._broken = False

    def _expect_transaction(self, what: str) -> None:
        # After a failure SQLite may have ended the transaction by itself.
        if self._failure is None and not self._connection.in_transaction:
            raise RuntimeError(f"{what}() outside a transaction")

    def _refuse_after_failure(self, doing: str) -> None:
        if self._failure is not None:
            raise self._problem(LedgerProblem.ABANDONED, doing) from self._failure

    def _problem(self, problem: LedgerProblem, doing: str) -> SQLiteLedgerError:
        return SQLiteLedgerError(problem, path=self.path, doing=doing)

    def _fetch(
        self, record_from: Callable[[Row], R], statement: str, *values: object
    ) -> list[R]:
        self._mend()
        try:
            # All rows at once: a statement left half-read would block checkpoints.
            found = self._execute(statement, values).fetchall()
            return [record_from(row) for row in found]
        except sqlite3.Error as error:
            raise self._translated(error, "read") from error
        except ValueError as error:
            raise SQLiteLedgerError(
                LedgerProblem.DAMAGED, path=self.path, doing="read", detail=str(error)
            ) from error

    def _execute(self, statement: str, values: Row = ()) -> sqlite3.Cursor:
        """Execute a statement that begins a transaction; waits for other processes."""
        deadline: float | None = None
        while True:
            try:
                return execute(self._connection, statement, values)
            except sqlite3.OperationalError as error:
                if not is_busy(error) or self._connection.in_transaction:
                    raise
                now = time.monotonic()
                deadline = deadline or now + self._busy_seconds
                if now >= deadline:
                    raise

    @contextlib.contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._translated(error, doing) from error

    def _translated(self, error: sqlite3.Error, doing: str) -> SQLiteLedgerError:
        found = from_sqlite(error, path=self.path, doing=doing)
        if found.problem is LedgerProblem.IO_ERROR and is_full(self.path.parent):
            return SQLiteLedgerError(
                LedgerProblem.FULL, path=self.path, doing=doing, detail=found.detail
            )
        return found


def _number(row: Row) -> int:
    return int(row[0])

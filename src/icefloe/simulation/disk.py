"""A node's ledger on a disk that can be full, and that says what was committed.

What holds is what SQLite promises with a write-ahead log and synchronous=FULL: a
commit that returned is durable, also when the power fails; one that was under way is
there whole or not at all, and who survived does not know which.  A commit that failed
may yet have been kept (`CommitFate`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from icefloe.enrollment.ledger import LedgerUnavailableError, Write
from icefloe.enrollment.memory_ledger import MemoryLedger, _Disk
from icefloe.simulation.faults import CommitFate

Operation = Literal["begin", "read", "apply", "commit"]
OPERATIONS: tuple[Operation, ...] = ("begin", "read", "apply", "commit")
Trouble = Literal["begin", "read", "apply", "commit", "full", "io"]

Backup = Mapping[str, Mapping[str, Any]]
"""A copy of a ledger."""


class SimulatedLedger(MemoryLedger):
    """The ledger in memory, with a disk under it that fails for a while.

    Attributes:
        trouble: what fails at present: one operation, all writing (``full``), or
            every second operation (``io``).
        before_commit: called where a crash cuts a transaction; says what becomes of it.
        io_fails: whether an operation on a failing disk fails.
        on_commit: told what is durable from now on.
    """

    def __init__(self) -> None:
        """Make an empty ledger on a good disk."""
        super().__init__()
        self.trouble: Trouble | None = None
        self.before_commit: Callable[[], CommitFate] = _durable
        self.io_fails: Callable[[], bool] = _always
        self.on_commit: Callable[[tuple[Write, ...]], None] = _do_nothing
        self._applied: list[Write] = []
        # What stands in the log of the disk behind the last commit; shared, as it is.
        self._in_the_log: list[tuple[Write, ...]] = []

    def for_operator(self) -> SimulatedLedger:
        """Return the view of a command beside the daemon; the disk is the same."""
        other = SimulatedLedger()
        other._disk = self._disk
        other._in_the_log = self._in_the_log
        other.trouble = self.trouble
        other.io_fails = self.io_fails
        other.on_commit = self.on_commit
        return other

    @property
    def _readable(self) -> _Disk:
        if self.trouble is not None:
            self._expect_no_trouble("read")
        return super()._readable

    def begin(self) -> None:
        """Begin a transaction."""
        self._expect_no_trouble("begin")
        super().begin()

    def apply(self, writes: Iterable[Write]) -> None:
        """Apply writes inside the transaction."""
        applied = tuple(writes)
        if applied:
            self._expect_no_trouble("apply")
        super().apply(applied)
        self._applied += applied

    def commit(self) -> None:
        """Keep the transaction, unless the disk is full or the power fails."""
        fate = self.before_commit()
        if self.trouble in ("commit", "full"):
            fate = CommitFate.REFUSED
        if fate in (CommitFate.DURABLE, CommitFate.KEPT):
            self.keep()
        elif fate is CommitFate.RESTART:
            self._in_the_log[:] = [tuple(self._applied)]
        if fate is not CommitFate.DURABLE:
            raise LedgerUnavailableError(f"simulated: commit failed, {fate.value}")

    def keep(self) -> None:
        """Make the transaction durable."""
        super().commit()
        # Its pages are written over those of a transaction that had failed.
        self._in_the_log.clear()
        durable, self._applied = tuple(self._applied), []
        self.on_commit(durable)

    def rollback(self) -> None:
        """Forget the transaction."""
        self._applied = []
        super().rollback()

    def reopen(self) -> bool:
        """Be the ledger of a new process.

        Returns:
            Whether a transaction that had failed is there all the same.
        """
        self.crash()
        if not self._in_the_log:
            return False
        found = self._in_the_log.pop()
        MemoryLedger.begin(self)
        MemoryLedger.apply(self, found)
        MemoryLedger.commit(self)
        self.on_commit(found)
        return True

    # -- copies -------------------------------------------------------------------------

    def back_up(self) -> Backup:
        """Return a copy of what is committed."""
        return {name: dict(table) for name, table in self._tables()}

    def restore(self, backup: Backup) -> None:
        """Put a copy in the place of the ledger, while no process has it open."""
        self.rollback()
        self._in_the_log.clear()
        for name, table in self._tables():
            table.clear()
            table.update(backup[name])

    # -- inside -------------------------------------------------------------------------

    def _tables(self) -> list[tuple[str, dict[str, Any]]]:
        parts = vars(self._disk).items()
        return [(name, part) for name, part in parts if isinstance(part, dict)]

    def _expect_no_trouble(self, operation: Operation) -> None:
        trouble = self.trouble
        if trouble is None:
            return
        if trouble == operation or (trouble == "io" and self.io_fails()):
            raise LedgerUnavailableError(f"simulated: {operation} failed")


def _durable() -> CommitFate:
    return CommitFate.DURABLE


def _always() -> bool:
    return True


def _do_nothing(_writes: tuple[Write, ...] = ()) -> None:
    pass

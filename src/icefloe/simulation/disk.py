"""A node's ledger on a disk that can be full, and that says what was committed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from icefloe.enrollment.ledger import LedgerUnavailableError, Write
from icefloe.enrollment.memory_ledger import MemoryLedger
from icefloe.enrollment.model import RequestRecord

Trouble = Literal["begin", "read", "apply", "commit"]
TROUBLES: tuple[Trouble, ...] = ("begin", "read", "apply", "commit")


class SimulatedLedger(MemoryLedger):
    """The ledger in memory, with a disk under it that fails for a while.

    Attributes:
        trouble: the operation that fails at present, or None.
        before_commit: called where a crash loses the whole transaction.
        on_commit: told what is durable from now on.
    """

    def __init__(self) -> None:
        """Make an empty ledger on a good disk."""
        super().__init__()
        self.trouble: Trouble | None = None
        self.before_commit: Callable[[], None] = _do_nothing
        self.on_commit: Callable[[tuple[Write, ...]], None] = _do_nothing
        self._applied: list[Write] = []

    def for_operator(self) -> SimulatedLedger:
        """Return the view of a command beside the daemon; the disk is the same."""
        other = SimulatedLedger()
        other._disk = self._disk
        other.trouble = self.trouble
        other.on_commit = self.on_commit
        return other

    def request(self, request_id: str) -> RequestRecord | None:
        """Return one request; this is where reading fails, if it does."""
        if self.trouble == "read":
            raise LedgerUnavailableError("simulated: the disk cannot be read")
        return super().request(request_id)

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
        self.before_commit()
        self._expect_no_trouble("commit")
        super().commit()
        durable, self._applied = tuple(self._applied), []
        self.on_commit(durable)

    def rollback(self) -> None:
        """Forget the transaction."""
        self._applied = []
        super().rollback()

    def _expect_no_trouble(self, operation: Trouble) -> None:
        if self.trouble == operation:
            raise LedgerUnavailableError(f"simulated: {operation} failed, disk full")


def _do_nothing(_writes: tuple[Write, ...] = ()) -> None:
    pass

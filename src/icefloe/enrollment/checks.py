"""Which ticket is compared next: a few at a time, each peer in its turn.

Comparing one takes 10-20 ms of CPU (PBKDF2). A peer that brings thousands waits for
its own; one that brings a single ticket waits for one of each other peer at most.
"""

from __future__ import annotations

from icefloe.enrollment.circle import Circle


class TicketChecks:
    """Attempts whose tickets wait to be compared, or are being compared.

    Not persistent: after a restart they are made again from the ledger.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._waiting: Circle[str] = Circle()
        self._known: set[str] = set()
        self._under_way: set[str] = set()

    def __len__(self) -> int:
        """Return how many wait or are under way."""
        return len(self._known)

    def __contains__(self, attempt_id: str) -> bool:
        """Whether an attempt's ticket waits or is being compared."""
        return attempt_id in self._known

    @property
    def under_way(self) -> int:
        """How many are being compared."""
        return len(self._under_way)

    def waiting_for(self, peer: str) -> int:
        """Return how many of a peer wait."""
        return self._waiting.waiting_for(peer)

    def add(self, attempt_id: str, *, peer: str) -> None:
        """Put an attempt at the end of its peer's line; again: no effect."""
        if attempt_id not in self._known:
            self._known.add(attempt_id)
            self._waiting.add(peer, attempt_id)

    def take(self) -> str | None:
        """Return the next attempt, the peers in turn; it is under way from now on."""
        if not len(self._waiting):
            return None
        attempt_id = self._waiting.take()
        self._under_way.add(attempt_id)
        return attempt_id

    def done(self, attempt_id: str) -> None:
        """Forget an attempt that was compared, or need not be."""
        if attempt_id in self._under_way:
            self._under_way.discard(attempt_id)
            self._known.discard(attempt_id)

    def clear(self) -> None:
        """Forget all: they are started again from the ledger."""
        self._waiting.clear()
        self._known.clear()
        self._under_way.clear()

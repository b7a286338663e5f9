"""How many unfinished requests each peer has brought, so that none takes all the room.

The room itself is the ledger's count (`crowding.py`). Who brought a request first has
it in its share, until the request is finished or forgotten; who asks for a request
that exists takes nothing. Not persistent: made again from the ledger at the start.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from icefloe.doors import MonotonicTime
from icefloe.enrollment.failures import Asker
from icefloe.enrollment.ledger import (
    ForgetCanary,
    ForgetRequest,
    StoreCertificate,
    Write,
)
from icefloe.enrollment.model import SETTLED_STATES, RequestState
from icefloe.enrollment.settings import EnrollmentLimits
from icefloe.enrollment.turn import Turn

# A share that is full is counted anew at most this often: it reads each request.
RECOUNT_EVERY = 10.0

_FINISHED = SETTLED_STATES | {RequestState.REMOVED}


class Quotas:
    """Who brought which unfinished request."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._bringers: dict[str, str] = {}
        self._counts: Counter[str] = Counter()
        self._recounted_at: dict[str, MonotonicTime] = {}

    def __len__(self) -> int:
        """Return how many requests are remembered."""
        return len(self._bringers)

    def started(self, turn: Turn) -> None:
        """Count what the ledger holds."""
        for attempt in turn.ledger.open_attempts():
            self.brought(Asker.of_attempt(attempt), attempt.request_id)

    def is_full(self, turn: Turn, asker: Asker, limits: EnrollmentLimits) -> bool:
        """Whether a peer's share of the room is used up."""
        most = limits.open_requests_per_source
        if asker.member:
            most = limits.open_requests_per_relay
        if self._counts[asker.key] < most:
            return False
        self._recount(turn, asker.key)
        return self._counts[asker.key] >= most

    def brought(self, asker: Asker, request_id: str) -> None:
        """Note who brought a new request."""
        if request_id not in self._bringers:
            self._bringers[request_id] = asker.key
            self._counts[asker.key] += 1

    def see(self, writes: Iterable[Write]) -> None:
        """Forget the requests that a turn finished."""
        for write in writes:
            match write:
                case StoreCertificate(record):
                    self._forget(record.request_id)
                case ForgetRequest(request_id) | ForgetCanary(request_id):
                    self._forget(request_id)

    def _recount(self, turn: Turn, key: str) -> None:
        """Forget what was finished unseen: by an operator, or by a failed commit."""
        now = turn.now.mono
        due = self._recounted_at.get(key)
        if due is not None and now - due < RECOUNT_EVERY:
            return
        self._recounted_at = {
            k: at for k, at in self._recounted_at.items() if now - at < RECOUNT_EVERY
        }
        self._recounted_at[key] = now
        for request_id in [r for r, b in self._bringers.items() if b == key]:
            request = turn.request(request_id)
            if request is None or request.state in _FINISHED:
                self._forget(request_id)

    def _forget(self, request_id: str) -> None:
        key = self._bringers.pop(request_id, None)
        if key is not None:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]
